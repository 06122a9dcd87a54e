"""Sensors: what the channels of a view are, where they sit, and the grids they are laid on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

UNITS = {"mag": "fT", "grad": "fT/cm", "eeg": "uV"}  # of these kinds everywhere in ivekit; others say theirs


MNE_KINDS = {"mag", "grad", "eeg", "eog", "ecg", "emg", "seeg", "ecog", "dbs", "ref_meg", "resp", "gsr", "stim", "bio"}


@dataclass(frozen=True, eq=False)
class Sensors:
    """What the channels of a view are.

    names : one a channel.
    pos : (c, 2), where each is on the flattened head, nose up, in metres.
    kinds : "mag", "grad", "eeg" or another, one a channel.
    sfreq : samples a second. tmin : seconds from the event to the first sample.
    info : the `mne.Info` they came from, if any; kept when views are saved.
    history : what was done to their numbers, a sentence a step (`Views.history`).
    units : one a channel; by default fT, fT/cm and uV for "mag", "grad" and "eeg", and "", not known, for others.

    >>> Sensors(["a", "b"], np.zeros((2, 2)), ["mag", "ecg"], 125.0)
    1 mag and 1 ecg at 125 Hz
    >>> _.units
    ('fT', '')
    """

    names: Sequence[str]
    pos: Float[np.ndarray, "c 2"]
    kinds: Sequence[str]
    sfreq: float
    tmin: float = 0.0
    info: Any = field(default=None, repr=False)
    history: tuple[str, ...] = field(default=(), repr=False)
    units: Sequence[str] = field(default=(), repr=False)

    def __post_init__(self):
        if not self.units:
            object.__setattr__(self, "units", tuple(UNITS.get(kind, "") for kind in self.kinds))
        sizes = {name: len(getattr(self, name)) for name in ("names", "pos", "kinds", "units")}
        if len(set(sizes.values())) != 1 or np.shape(self.pos)[1:] != (2,):
            raise ValueError(
                f"names, pos (c, 2), kinds and units must be of one length, got {sizes}, pos {np.shape(self.pos)}"
            )

    @classmethod
    def from_info(cls, info: Any, tmin: float = 0.0, history: Sequence[str] = ()) -> Sensors:
        """The sensors of an `mne.Info`, projected onto the plane as MNE's maps are; NaN where no place is known."""
        from mne.channels.layout import _find_topomap_coords

        kinds = [k if k != "ref_meg" else "reference" for k in info.get_channel_types()]
        pos = np.full((len(kinds), 2), np.nan)
        placed = [np.isfinite(ch["loc"][:3]).all() and ch["loc"][:3].any() for ch in info["chs"]]
        for kind in ("mag", "grad", "eeg"):
            if picks := [i for i, k in enumerate(kinds) if k == kind and placed[i]]:
                pos[picks] = _find_topomap_coords(info, picks, ignore_overlap=True)
        return cls(list(info.ch_names), pos, kinds, float(info["sfreq"]), tmin, info, tuple(history))

    def to_info(self) -> Any:
        """What MNE wants to know of them, as an `mne.Info`: the one they came from, or one that is made.

        One that is made has each sensor on a sphere of 95 mm, MNE's own head, where its map puts it at `pos`; sensors
        of unknown place have none, and kinds that MNE does not know are "misc". What was done to the numbers is in
        ``info["description"]``.

        >>> sensors = Sensors(["a", "b"], np.array([[0.0, 0.05], [0.03, 0.0]]), ["mag", "eeg"], 125.0)
        >>> sensors.to_info().get_channel_types(), Sensors.from_info(sensors.to_info()).pos.round(3).tolist()
        (['mag', 'eeg'], [[0.0, 0.05], [0.03, 0.0]])
        """
        import mne

        if self.info is not None and set(self.names) <= set(self.info.ch_names):
            info = mne.pick_info(self.info, [self.info.ch_names.index(name) for name in self.names], verbose="error")
        else:
            types = [{"reference": "ref_meg"}.get(kind, kind if kind in MNE_KINDS else "misc") for kind in self.kinds]
            info = mne.create_info(list(self.names), self.sfreq, types, verbose="error")
            for channel, place in zip(info["chs"], _on_sphere(self.pos)):
                channel["loc"][:3] = place
        with info._unlock():
            info["sfreq"] = float(self.sfreq)
        info["description"] = "; ".join(self.history) or info["description"]
        return info

    def times(self, n_times: int) -> Float[np.ndarray, "t"]:
        """Seconds of each sample from the event."""
        return self.tmin + np.arange(n_times) / self.sfreq

    def __repr__(self) -> str:
        counts = {kind: list(self.kinds).count(kind) for kind in dict.fromkeys(self.kinds)}
        return f"{' and '.join(f'{n} {kind}' for kind, n in counts.items())} at {self.sfreq:g} Hz"

    def cells(self, shape: tuple[int, int]) -> Int[Tensor, "c"]:
        """The cell of a grid (rows from the nose backward, columns from left to right) that each sensor takes.

        Each sensor has a cell of its own: the assignment that moves them least (Kuhn, 1955).

        Raises
        ------
        ValueError : when there are fewer cells than sensors; names those that would collide. When no place is known.
        """
        from scipy.optimize import linear_sum_assignment

        h, w = shape
        if h * w < len(self.names):
            raise ValueError(
                f"a grid of {shape} has {h * w} cells, so of {len(self.names)} sensors "
                f"{list(self.names[h * w :])} collide"
            )
        if np.isnan(self.pos).all():
            raise ValueError(f"of {list(self.names)} no position is known, so they cannot be laid on a grid")
        pos = np.nan_to_num(self.pos - np.nanmin(self.pos, 0))
        unit = pos / np.maximum(pos.max(0), 1e-12)
        y, x = np.mgrid[:h, :w]
        centres = np.stack([x.ravel() / max(w - 1, 1), 1 - y.ravel() / max(h - 1, 1)], 1)
        cost = np.square(unit[:, None] - centres[None]).sum(-1)
        return torch.from_numpy(linear_sum_assignment(cost)[1])

    def to_grid(self, x: Float[Tensor, "*b c t"], shape: tuple[int, int]) -> Float[Tensor, "*b t h w"]:
        """Sensors laid on a grid that loses none; empty cells are 0.

        >>> s = Sensors(["a", "b"], np.array([[0.0, 0.0], [1.0, 0.0]]), ["mag"] * 2, 100.0)
        >>> s.to_grid(torch.tensor([[1.0], [2.0]]), (1, 3))
        tensor([[[1., 0., 2.]]])
        """
        grid = x.new_zeros(*x.shape[:-2], shape[0] * shape[1], x.shape[-1])
        grid[..., self.cells(shape).to(x.device), :] = x
        return rearrange(grid, "... (h w) t -> ... t h w", h=shape[0])

    def from_grid(self, grid: Float[Tensor, "*b t h w"]) -> Float[Tensor, "*b c t"]:
        """The inverse of `to_grid`."""
        h, w = grid.shape[-2:]
        return rearrange(grid, "... t h w -> ... (h w) t")[..., self.cells((h, w)).to(grid.device), :]

    def save(self, info: str | Path) -> dict:
        """These sensors as JSON; their mne.Info, if any, goes to the file `info`."""
        if self.info is not None:
            import mne

            mne.io.write_info(info, self.info, verbose="error")
        pos = [[None if np.isnan(v) else float(v) for v in p] for p in self.pos]
        return {
            "names": list(self.names),
            "pos": pos,
            "kinds": list(self.kinds),
            "sfreq": self.sfreq,
            "tmin": self.tmin,
            "history": list(self.history),
            "units": list(self.units),
        }

    @classmethod
    def open(cls, said: Mapping[str, Any], info: str | Path) -> Sensors:
        """What `save` stored."""
        kept = None
        if Path(info).exists():
            import mne

            kept = mne.io.read_info(info, verbose="error")
        pos = np.array([[np.nan if v is None else v for v in p] for p in said["pos"]], float)
        later = tuple(said.get("history", ())), tuple(said.get("units", ()))  # what older folders do not hold
        if odd := [
            word
            for words in (said["names"], said["kinds"], *later)
            for word in words
            if not isinstance(word, str | int | float)
        ]:
            raise ValueError(f"names, kinds, history and units are words, got {odd[0]!r}")
        if not isinstance(said["sfreq"], int | float) or not isinstance(said["tmin"], int | float):
            raise ValueError(f"sfreq and tmin are numbers, got {said['sfreq']!r} and {said['tmin']!r}")
        return cls(said["names"], pos, said["kinds"], said["sfreq"], said["tmin"], kept, *later)


def _on_sphere(pos: Float[np.ndarray, "c 2"], radius: float = 0.095) -> Float[np.ndarray, "c 3"]:
    """Places on a sphere that MNE's map flattens to `pos`: distances from its middle are angles from the top."""
    far = np.linalg.norm(pos, axis=1)
    angle = far * (np.pi / 2) / radius
    across = np.where(far > 0, radius * np.sin(angle) / np.where(far > 0, far, 1), 0)
    return np.column_stack([pos * across[:, None], radius * np.cos(angle)])
