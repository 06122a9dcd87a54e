"""Field maps: from values at sensors to a picture of the head, as one precomputed linear map.

What `mne.viz.plot_topomap` draws is linear in the values: Clough-Tocher cubic interpolation on a Delaunay
triangulation of the sensors and of a ring of points around them. So the pictures of unit vectors are the columns
of a matrix, and every further map is one product with it: a thousand maps in the time MNE takes for one figure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from einops import rearrange
from jaxtyping import Bool, Float, Int, Real
from matplotlib.path import Path
from mne.channels.layout import _find_topomap_coords
from mne.defaults import HEAD_SIZE_DEFAULT
from mne.utils.check import _check_sphere
from mne.viz.topomap import _make_head_outlines, _setup_interp
from numpy import ndarray

KINDS = ("mag", "grad", "eeg")


class Topomap:
    """Turn values at sensors into pictures of the head, as `mne.viz.plot_topomap` interpolates them.

    Parameters
    ----------
    sensors : anything with ``names``, ``kinds`` (one a sensor), ``pos`` (c, 2) in metres and ``info`` (`mne.Info`
        or None). With an ``info`` the sensors lie where MNE projects them, otherwise at ``pos``.
    kind : "mag", "grad" or "eeg": the sensors that are drawn. Planar gradiometers that share a place are drawn as
        their root mean square, as MNE does; one that has lost its partner stands alone, by its absolute value.
        Gradiometers without any pair (axial ones) keep their sign.
    size : pixels a side.
    sphere : head sphere as in MNE: None (MNE's own choice), a radius, or (x, y, z, radius) in metres.

    Attributes
    ----------
    pos (n, 2), names : the points that are interpolated, in metres; nose up, right ear right
    extent : (left, right, bottom, top) of the picture, for ``imshow(..., origin="lower", extent=...)``
    outlines : {"head", "nose", "ear_left", "ear_right": (x, y)}, lines to draw
    border (m, 2) : the polygon where the picture ends; inside (size, size) : the pixels within it
    full, matrix (size * size, n) : the linear map without and with NaN outside the border

    Notes
    -----
    The interpolation is Clough-Tocher's (Alfeld, 1984, Comput. Aided Geom. Des. 1), with gradients that minimise
    curvature (Nielson, 1983, Math. Comp. 40). scipy stops improving gradients at an absolute tolerance, so MNE's map
    of values in tesla (1e-13) is another, worse one than that of the same values in fT. Here the matrix is made
    from unit vectors, and the unit of the values does not matter.

    >>> from types import SimpleNamespace
    >>> pos = 0.04 * np.stack(np.meshgrid([-2, -1, 0, 1, 2], [-1, 0, 1]), -1).reshape(15, 2)
    >>> sensors = SimpleNamespace(names=[f"M{i}" for i in range(15)], kinds=["mag"] * 15, pos=pos, info=None)
    >>> topo = Topomap(sensors, "mag", size=32)
    >>> topo
    Topomap(15 mag -> 32 x 32)
    >>> maps = topo(np.stack([np.ones(15), pos[:, 0]]))
    >>> maps.shape, bool(np.isnan(maps[0, 0, 0])), round(float(maps[0, 16, 16]), 3)
    ((2, 32, 32), True, 1.0)
    >>> bool(maps[1, 16, 24] > 0 > maps[1, 16, 8])
    True
    """

    def __init__(self, sensors: Any, kind: str = "mag", size: int = 64, sphere: Any = None):
        self.kind, self.size, self.n_chans = kind, size, len(sensors.names)
        picks = _of_kind(sensors, kind)
        pos, ball = _place(sensors, picks, sphere)
        self.pairs = _pairs(pos) if kind == "grad" else None
        first = np.arange(len(picks)) if self.pairs is None else self.pairs[:, 0]
        self.picks = picks if self.pairs is None else picks[self.pairs]
        self.pos, self.names = pos[first], [str(sensors.names[i]) for i in picks[first]]
        _check_spread(self.pos, self.names)
        shape = _make_head_outlines(ball, self.pos, "head", (0.0, 0.0))
        self.outlines = {part: shape[part] for part in ("head", "nose", "ear_left", "ear_right")}
        self._interpolate(shape)

    def _interpolate(self, shape: dict) -> None:
        """Ask MNE's interpolator for the picture of each unit vector."""
        edge = "head" if self.kind == "eeg" else "local"  # MNE's "auto": MEG ends at its sensors, EEG at the head
        self.extent, x, y, grid = _setup_interp(self.pos, self.size, "cubic", edge, shape, "mean")
        grid.set_locations(x, y)
        columns = np.stack([grid.set_values(unit)() for unit in np.eye(len(self.pos))], -1)
        self.border = np.asarray(grid.mask_pts if edge == "local" else np.stack(shape["mask_pos"], 1))
        within = Path(self.border).contains_points(np.stack([x.ravel(), y.ravel()], 1))
        known = rearrange(within, "(h w) -> h w", h=self.size) & np.isfinite(columns).all(-1)
        self.inside: Bool[ndarray, "h w"] = known
        self.full: Float[ndarray, "p n"] = rearrange(columns, "h w n -> (h w) n").astype(np.float32)
        # NaN times anything is NaN: the product itself clears the outside, without a second pass over the pixels
        self.matrix: Float[ndarray, "p n"] = np.where(self.inside.ravel()[:, None], self.full, np.float32(np.nan))

    def merge(self, values: Real[Any, "*b c"]) -> Float[ndarray, "*b n"]:
        """The numbers that are interpolated: those of the map's own sensors, pairs as their root mean square.

        >>> from types import SimpleNamespace
        >>> pos = np.repeat([[0, .08], [.08, 0], [-.08, 0], [0, -.06]], 2, axis=0)
        >>> planar = SimpleNamespace(names=list("abcdefgh"), kinds=["grad"] * 8, pos=pos, info=None)
        >>> print(Topomap(planar, "grad", 8).merge(np.array([3.0, 4, 1, 1, 0, 2, 5, 5])).round(2))
        [3.54 1.   1.41 5.  ]
        """
        x = np.asarray(values, np.float32)
        if x.ndim == 0 or x.shape[-1] != self.n_chans:
            raise ValueError(f"{self} takes one value a sensor, (..., {self.n_chans}), got shape {x.shape}")
        picked = x[..., self.picks]
        return picked if self.pairs is None else np.sqrt(np.square(picked).mean(-1))

    def __call__(self, values: Real[Any, "*b c"], full: bool = False) -> Float[ndarray, "*b h w"]:
        """One picture a row of values, in their unit; NaN outside the border unless `full`.

        values (..., c), one a sensor of those the map was made with -> (..., size, size), bottom row first.
        """
        maps = np.tensordot(self.merge(values), self.full if full else self.matrix, (-1, -1))
        return rearrange(maps, "... (h w) -> ... h w", h=self.size)

    def __repr__(self) -> str:
        what = self.kind if self.pairs is None else f"{self.kind} pairs"
        return f"Topomap({len(self.names)} {what} -> {self.size} x {self.size})"


def _of_kind(sensors: Any, kind: str) -> Int[ndarray, "n"]:
    if kind not in KINDS:
        raise ValueError(f"kind is one of {', '.join(KINDS)}, got {kind!r}")
    picks = np.flatnonzero([str(k) == kind for k in sensors.kinds])
    if not len(picks):
        raise ValueError(f"no sensor is of kind {kind!r}; there are {sorted({str(k) for k in sensors.kinds})}")
    return picks


def _place(sensors: Any, picks: Int[ndarray, "n"], sphere: Any) -> tuple[Float[ndarray, "n 2"], Float[ndarray, "4"]]:
    """Where the sensors lie in the picture, and the head's sphere (x, y, z, radius)."""
    info = getattr(sensors, "info", None)
    ball = _check_sphere(sphere, info)
    if info is not None:
        index = {name: i for i, name in enumerate(info.ch_names)}
        channels = [index[str(sensors.names[i])] for i in picks]
        return _find_topomap_coords(info, channels, ignore_overlap=True, sphere=ball), ball
    pos = np.asarray(sensors.pos, float)[picks, :2]
    reach = np.linalg.norm(np.nan_to_num(pos), axis=1).max()
    # positions of another unit (a layout from 0 to 1, centimetres) would be drawn around a dot of a head
    if sphere is None and reach > 2 * HEAD_SIZE_DEFAULT:
        ball = np.array([0.0, 0.0, 0.0, reach])
    return pos, ball


def _pairs(pos: Float[ndarray, "n 2"]) -> Int[ndarray, "m 2"] | None:
    """Sensors that share a place, by their first; one alone is paired with itself; None where no two share one."""
    scale = max(np.abs(pos).max(), 1e-12)
    place, at = np.unique((pos / scale).round(5), axis=0, return_inverse=True)
    groups = [np.flatnonzero(at.ravel() == i) for i in range(len(place))]
    if max(map(len, groups)) > 2:
        raise ValueError(f"at most two planar gradiometers share a place, got {max(map(len, groups))}")
    if max(map(len, groups)) == 1:
        return None
    return np.array(sorted((g[0], g[-1]) for g in groups))


def _check_spread(pos: Float[ndarray, "n 2"], names: list[str]) -> None:
    """A map needs sensors at known, different places, and a triangulation of them."""
    if lost := [n for n, p in zip(names, pos) if not np.isfinite(p).all()]:
        raise ValueError(f"sensors without a position cannot be drawn: {', '.join(lost)}")
    unit = (pos - pos.mean(0)) / max(np.ptp(pos), 1e-12)
    _, first, count = np.unique(unit.round(7), axis=0, return_index=True, return_counts=True)
    if len(first) > 1 and (count > 1).any():
        raise ValueError(f"sensors share a place with another: {', '.join(names[i] for i in first[count > 1])}")
    # points of one circle or line: x, y, x^2 + y^2 and 1 depend on one another, and Delaunay's triangles are undefined
    lifted = np.column_stack([unit, np.square(unit).sum(1), np.ones(len(unit))])
    if np.linalg.matrix_rank(lifted, tol=1e-6) < 4:
        raise ValueError(f"a map needs at least 4 sensors that are not on one line or circle, got {', '.join(names)}")
