"""Brain-like slices and the BOLD responses they bring about, with a planted relation between the two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from einops import rearrange, reduce
from jaxtyping import Bool, Float, Int
from numpy.random import Generator

from ..signal.fmri import hrf
from ..views import Views
from .world import World

SIZE, CELL = 24, 6  # pixels of a slice and of the grid cells in whose middles regions lie
SPOTS = ((0, 1), (0, 2), (1, 0), (1, 3), (2, 0), (2, 3), (3, 1), (3, 2))  # cells of grey matter, by row and column
LAGS = (0.0, 3.0, 6.0, 9.0)  # seconds after the event, in turn


@dataclass(frozen=True, repr=False, eq=False)
class Brains(World):
    """A world of slices and BOLD, with the relation that was planted between them.

    regions : the pixels of each region. drives : the region that drives each parcel. lags : seconds after the event
    at which it does. expected : the mean of the BOLD given the slice, ``(b, parcels, times)``, and where responses
    may be late, the means of the two cases, in time and late, in `cases`. covariance : of a row's BOLD around it,
    parcel by parcel, ``(parcels * times, parcels * times)``. tr : seconds from one volume to the next.
    """

    regions: Bool[np.ndarray, "r h w"] = field(default_factory=lambda: np.zeros((0, SIZE, SIZE), bool))
    drives: Int[np.ndarray, "p"] = field(default_factory=lambda: np.zeros(0, int))
    lags: Float[np.ndarray, "p"] = field(default_factory=lambda: np.zeros(0))
    expected: Float[np.ndarray, "b p t"] = field(default_factory=lambda: np.zeros((0, 0, 0)))
    cases: tuple[Float[np.ndarray, "b p t"], ...] = ()
    covariance: Float[np.ndarray, "pt pt"] = field(default_factory=lambda: np.zeros((0, 0)))
    tr: float = 1.5

    def relation(self, times: int, cells: Sequence[int]) -> Bool[np.ndarray, "q k"]:
        """The planted relation for `times` even stretches of time and a grid of `cells`, row by row.

        True where a region of the cell drives some parcel whose response is above half its peak in the stretch.

        >>> world = brains(4)
        >>> world.relation(4, (4, 4)).shape, world.relation(1, (4, 4)).sum()
        ((4, 16), np.int64(4))
        """
        n_times = self.expected.shape[-1]
        if len(cells) != 2 or n_times % times or any(SIZE % n for n in cells):
            raise ValueError(f"{times} stretches and cells of {tuple(cells)} do not divide {(n_times, SIZE, SIZE)}")
        strong = hrf(self.tr * np.arange(n_times) - self.lags[:, None]) > 0.5
        strong = reduce(strong, "p (q t) -> p q", "max", q=times)
        inside = reduce(self.regions, "r (a h) (c w) -> r (a c)", "max", a=cells[0], c=cells[1])
        return np.asarray((strong[:, :, None] & inside[self.drives][:, None]).any(0))


def brains(
    n_rows: int = 1024, seed: int = 0, n_regions: int = 6, n_parcels: int = 4, n_times: int = 16, tr: float = 1.5,
    noise: float = 0.15, drift: float = 0.15, late: float = 0.0, late_by: float = 7.5,
) -> Brains:  # fmt: skip
    """Slices whose regions are brighter or darker, and the BOLD of parcels that some of those regions drive.

    - ``image (b, 1, 24, 24)``: an oval of grey matter within a skull, ventricles of some size in the middle, and
      `n_regions` round regions (8 at most), each of its own brightness.
    - ``bold (b, parcels, times)``: one event at time 0. **Planted**: parcel p answers with the haemodynamic response
      (`signal.fmri.hrf`) of its region's brightness, at its lag of 0, 3, 6 or 9 s. The other regions, and the
      ventricles, drive nothing. On it lie each parcel's own drift (a line and a parabola, of standard deviation
      `drift` each) and noise that has a memory in time (AR(1), 0.4) and is shared by neighbouring parcels (0.5).

    late : the part of the rows whose whole response comes `late_by` seconds later, which no slice tells: given the
    slice, the BOLD then has two modes, and its mean is a curve that never happens.

    Factors: the regions' brightness, from 0 to 1; `ventricles`; and `late` where some are.

    >>> world = brains(8)
    >>> world.views["image"].shape, world.views["bold"].shape, world.drives.tolist(), world.lags.tolist()
    (torch.Size([8, 1, 24, 24]), torch.Size([8, 4, 16]), [5, 3, 0, 1], [0.0, 6.0, 3.0, 9.0])
    """
    if not 1 <= n_regions <= len(SPOTS) or not 1 <= n_parcels:
        raise ValueError(f"there are 1 to {len(SPOTS)} regions and at least 1 parcel, got {n_regions} and {n_parcels}")
    if noise <= 0 or drift < 0 or not 0 <= late <= 1:
        raise ValueError(f"noise must be above 0, drift not below, late in [0, 1]; got {noise}, {drift}, {late}")
    plan, pixels, signal, when = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(4))
    drives = np.resize(plan.permutation(n_regions), n_parcels)
    lags = np.resize(plan.permutation(np.resize(LAGS, n_parcels)), n_parcels)
    regions = _regions(plan.permutation(len(SPOTS))[:n_regions])
    bright, ventricles, is_late = signal.random((n_rows, n_regions)), pixels.random(n_rows), when.random(n_rows) < late
    seconds = tr * np.arange(n_times)
    cases = [bright[:, drives, None] * hrf(seconds - lags[:, None] - wait) for wait in (0.0, late_by)]
    covariance = _covariance(n_parcels, n_times, noise, drift)
    around = signal.multivariate_normal(np.zeros(len(covariance)), covariance, n_rows, method="cholesky")
    bold = np.where(is_late[:, None, None], cases[1], cases[0]) + rearrange(around, "b (p t) -> b p t", p=n_parcels)
    factors = pd.DataFrame(bright, columns=[f"region_{i}" for i in range(n_regions)]).assign(ventricles=ventricles)
    owners = {f"region_{i}": frozenset({"image", "bold"} if i in drives else {"image"}) for i in range(n_regions)}
    owners["ventricles"] = frozenset({"image"})
    if late:
        factors, owners["late"] = factors.assign(late=is_late.astype(float)), frozenset({"bold"})
    images = _slices(pixels, regions, bright, ventricles)
    views = Views(
        {"image": torch.from_numpy(images), "bold": torch.from_numpy(bold).float()},
        about={"bold": {"tr": tr, "channels": [f"parcel {p}" for p in range(n_parcels)]}},
    )
    mean = (1 - late) * cases[0] + late * cases[1]
    both = tuple(cases) if late else (cases[0],)
    return Brains(
        views, factors, owners, regions=regions, drives=drives, lags=lags, expected=mean, cases=both,
        covariance=covariance, tr=tr,
    )  # fmt: skip


def _regions(spots: Int[np.ndarray, "r"]) -> Bool[np.ndarray, "r h w"]:
    """Discs of 2.5 pixels in the middles of cells."""
    place = np.arange(SIZE) + 0.5
    middles = [CELL * (np.array(SPOTS[i]) + 0.5) for i in spots]
    return np.stack([np.hypot(place[:, None] - y, place - x) < 2.5 for y, x in middles])


def _slices(
    rng: Generator, regions: np.ndarray, bright: np.ndarray, ventricles: np.ndarray
) -> Float[np.ndarray, "b 1 h w"]:
    place = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    y, x = place[:, None], place
    radius = np.hypot(y, x / 0.95)
    head = np.where(radius < 0.88, 0.35, np.where(radius < 0.98, 0.8, 0.0))
    wide = 0.12 + 0.12 * ventricles[:, None, None]
    dark = np.exp(-(((np.abs(x) - 0.15) / 0.1) ** 2) - (y / wide) ** 2)
    image = head - 0.3 * dark + np.tensordot(bright - 0.5, regions, 1)
    return rearrange(image + 0.05 * rng.standard_normal(image.shape), "b h w -> b 1 h w").astype("f4")


def _covariance(n_parcels: int, n_times: int, noise: float, drift: float) -> Float[np.ndarray, "pt pt"]:
    """Of drift and noise, parcel by parcel."""
    apart = np.abs(np.subtract.outer(np.arange(n_times), np.arange(n_times)))
    between = np.abs(np.subtract.outer(np.arange(n_parcels), np.arange(n_parcels)))
    line = np.linspace(-1, 1, n_times)
    slow = np.stack([line, 1.5 * line**2 - 0.5])
    own = drift**2 * slow.T @ slow
    return np.kron(0.5**between, noise**2 * 0.4**apart) + np.kron(np.eye(n_parcels), own)
