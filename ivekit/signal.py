"""Sensors and the numbers they give: where they are, grids, and standardisation fitted on training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Sensors:
    """What the channels of a view are.

    names : one a channel.
    pos : (c, 2), where each is on the flattened head, nose up, in metres.
    kinds : "mag", "grad", "eeg" or another, one a channel. Units are fT, fT/cm and uV.
    sfreq : samples a second. tmin : seconds from the event to the first sample.
    info : the `mne.Info` they came from, if any; kept when views are saved.

    >>> Sensors(["a", "b"], np.zeros((2, 2)), ["mag", "mag"], 125.0)
    2 mag at 125 Hz
    """

    names: Sequence[str]
    pos: Float[np.ndarray, "c 2"]
    kinds: Sequence[str]
    sfreq: float
    tmin: float = 0.0
    info: Any = field(default=None, repr=False)

    def __post_init__(self):
        sizes = {"names": len(self.names), "pos": len(self.pos), "kinds": len(self.kinds)}
        if len(set(sizes.values())) != 1 or np.shape(self.pos)[1:] != (2,):
            raise ValueError(
                f"names, pos (c, 2) and kinds must be of one length, got {sizes}, pos {np.shape(self.pos)}"
            )

    @classmethod
    def from_info(cls, info: Any, tmin: float = 0.0) -> Sensors:
        """The sensors of an `mne.Info`, projected onto the plane as MNE's maps are; NaN where no place is known."""
        from mne.channels.layout import _find_topomap_coords

        kinds = [k if k != "ref_meg" else "reference" for k in info.get_channel_types()]
        pos = np.full((len(kinds), 2), np.nan)
        placed = [np.isfinite(ch["loc"][:3]).all() and ch["loc"][:3].any() for ch in info["chs"]]
        for kind in ("mag", "grad", "eeg"):
            if picks := [i for i, k in enumerate(kinds) if k == kind and placed[i]]:
                pos[picks] = _find_topomap_coords(info, picks, ignore_overlap=True)
        return cls(list(info.ch_names), pos, kinds, float(info["sfreq"]), tmin, info)

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
        }

    @classmethod
    def open(cls, said: Mapping[str, Any], info: str | Path) -> Sensors:
        """What `save` stored."""
        kept = None
        if Path(info).exists():
            import mne

            kept = mne.io.read_info(info, verbose="error")
        pos = np.array([[np.nan if v is None else v for v in p] for p in said["pos"]], float)
        return cls(said["names"], pos, said["kinds"], said["sfreq"], said["tmin"], kept)


# standardisation ---------------------------------------------------------------------------------------------


class ZScore(nn.Module):
    """Mean 0 and standard deviation 1 over the training rows: for each channel, column or colour by itself.

    A constant channel is centred and left at its own scale. `log_det` is ``log |du / dx|`` of each number.

    >>> z = ZScore().fit(torch.tensor([[1.0], [3.0]]), torch.ones(2, dtype=torch.bool))
    >>> z(torch.tensor([[3.0]])), z.inverse(torch.tensor([[1.0]]))
    (tensor([[1.]]), tensor([[3.]]))
    """

    loc: Tensor
    scale: Tensor
    log_det: Tensor

    def fit(self, x: Num[Tensor, "b *event"], mask: Bool[Tensor, "b *any"]) -> ZScore:
        """Takes the statistics of the training rows, of what was recorded in them."""
        shape = (x.shape[1], *[1] * (x.ndim - 2)) if x.ndim > 1 else ()
        flat = rearrange(x.double(), "b c ... -> c (b ...)") if x.ndim > 1 else rearrange(x.double(), "b -> 1 b")
        spread = mask if mask.ndim == x.ndim else mask.reshape(-1, *[1] * (x.ndim - 1)).expand_as(x)
        here = rearrange(spread, "b c ... -> c (b ...)") if x.ndim > 1 else rearrange(spread, "b -> 1 b")
        n = here.sum(1).clamp(min=1)
        mean = torch.where(here, flat, 0).sum(1) / n
        sd = (torch.where(here, flat - mean[:, None], 0).square().sum(1) / n).sqrt()
        sd = torch.where(sd > 1e-12 * mean.abs().clamp(min=1e-30), sd, 1.0)
        for name, value in {"loc": mean, "scale": sd, "log_det": -sd.log()}.items():
            self.register_buffer(name, value.reshape(shape).to(_floating(x)))
        return self

    def forward(self, x: Num[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return (x - self.loc) / self.scale

    def inverse(self, u: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Back to the data's units."""
        return u * self.scale + self.loc

    def spread(self, sd: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """A standard deviation of standardised numbers in the data's units."""
        return sd * self.scale


class Whiten(nn.Module):
    """Sensors made uncorrelated and equally noisy: in space by the baseline's covariance, then in time.

    n_baseline : the first samples of each row, in which nothing has happened yet. All of them when None.
    noise : (c, c), a noise covariance in the data's units squared, instead of the baseline's.
    shrink : the part of the mean variance added to each, in space and in time (Engemann & Gramfort, 2015).

    The mean over rows is taken off. Both matrices are symmetric square roots (ZCA), the rotation that changes the
    channels least. In this space squared error is the log-likelihood of what the sensors really do: unwhitened,
    ongoing rhythms take over the latents. `log_det` is ``log |du / dx|`` of a row, shared evenly by its numbers.
    """

    loc: Tensor
    space: Tensor
    unspace: Tensor
    time: Tensor
    untime: Tensor
    log_det: Tensor

    def __init__(
        self,
        n_baseline: int | None = None,
        noise: Float[Tensor, "c c"] | None = None,
        shrink: tuple[float, float] = (1e-3, 2e-2),
    ):
        super().__init__()
        if n_baseline is not None and n_baseline < 1:
            raise ValueError(f"n_baseline is {n_baseline}: give the samples before the event, or None to take them all")
        self.n_baseline, self.noise, self.shrink = n_baseline, noise, shrink

    def fit(self, x: Num[Tensor, "b c t"], mask: Bool[Tensor, "b *any"]) -> Whiten:
        """Takes mean and covariances of the training rows, of what was recorded in them."""
        n_chans, n_times = x.shape[1:]
        here = (mask if mask.ndim == 3 else mask[:, None, None].expand_as(x)).double()
        x64 = torch.where(here > 0, x.double(), 0)
        mean = x64.sum(0) / here.sum(0).clamp(min=1)
        x64 = (x64 - mean) * here
        base, seen = x64[..., : self.n_baseline], here[..., : self.n_baseline]
        in_space = self.noise.double() if self.noise is not None else _covariance(base, seen, "b c t -> c (b t)")
        space, unspace = _square_roots(in_space, self.shrink[0])
        x64 = space @ x64
        time, untime = _square_roots(_covariance(x64, here, "b c t -> t (b c)"), self.shrink[1])
        for name, value in {"loc": mean, "space": space, "unspace": unspace, "time": time, "untime": untime}.items():
            self.register_buffer(name, value.to(_floating(x)))
        log_det = torch.linalg.slogdet(space)[1] / n_chans + torch.linalg.slogdet(time)[1] / n_times
        self.register_buffer("log_det", log_det.reshape(1, 1).to(_floating(x)))
        return self

    def forward(self, x: Num[Tensor, "*b c t"]) -> Float[Tensor, "*b c t"]:
        return self.space @ ((x - self.loc) @ self.time)

    def inverse(self, u: Float[Tensor, "*b c t"]) -> Float[Tensor, "*b c t"]:
        """Back to the data's units."""
        return self.unspace @ (u @ self.untime) + self.loc

    def spread(self, sd: Float[Tensor, "*b c t"]) -> Float[Tensor, "*b c t"]:
        """A standard deviation of standardised numbers in the data's units: variances add."""
        return (self.unspace.square() @ (sd.square() @ self.untime.square())).sqrt()


class Standardise(nn.Module):
    """Data to numbers that networks like, and back: one transform a view, fitted on training rows only.

    It is a part of the model: its statistics are buffers saved with the weights, encoders see what it makes, and
    likelihoods are told in the data's own units. What is masked is 0 after it.

    >>> from ivekit import Views
    >>> train = Views({"rt": torch.tensor([[1.0], [3.0]])})
    >>> Standardise.fit(train, rt=ZScore())(train)["rt"]
    tensor([[-1.],
            [ 1.]])
    """

    def __init__(self, **transforms: nn.Module):
        super().__init__()
        self.transforms = nn.ModuleDict(transforms)

    @classmethod
    def fit(cls, train: Any, **transforms: Any) -> Standardise:
        """Fits a transform a view on training rows; a view that none is named for stays as it is.

        Raises
        ------
        ValueError : when a view is unknown, or the rows hold some marked as test.
        """
        if unknown := set(transforms) - set(train):
            raise ValueError(f"no view {sorted(unknown)} to standardise; there are {list(train)}")
        if train.metadata is not None and "split" in train.metadata and (train.metadata["split"] == "test").any():
            raise ValueError("statistics are fitted on training rows, and some of these are marked split = 'test'")
        train.require_finite()
        return cls(**{name: t.fit(train[name], train.present[name]) for name, t in transforms.items()})

    def forward(self, views: Any) -> Any:
        """The same rows, standardised, with 0 wherever nothing was recorded."""
        new = {}
        for name, x in views.items():
            mask = views.present[name]
            mask = mask if mask.ndim == x.ndim else mask.reshape(-1, *[1] * (x.ndim - 1))
            whole = mask.device.type == "cpu" and bool(mask.all())
            if name in self.transforms:
                transform: Any = self.transforms[name]
                x = transform(x if whole else torch.where(mask, x, transform.loc))
            new[name] = x if whole else torch.where(mask, x, torch.zeros((), dtype=x.dtype, device=x.device))
        return views.replace(**new)


def _floating(x: Tensor) -> torch.dtype:
    """The type of statistics of `x`: its own, or that of real numbers for whole ones (pixels, say)."""
    return x.dtype if x.is_floating_point() else torch.get_default_dtype()


def _covariance(x: Tensor, here: Tensor, pattern: str) -> Float[Tensor, "n n"]:
    """Over the pairs of numbers that were both recorded."""
    rows, seen = rearrange(x, pattern), rearrange(here, pattern)
    return rows @ rows.mT / (seen @ seen.mT).clamp(min=1)


def _square_roots(covariance: Tensor, shrink: float) -> tuple[Tensor, Tensor]:
    """The inverse square root of a covariance, and its square root. Of nothing (no rows), the identity."""
    level = covariance.diagonal().mean()
    if not level > 0:
        eye = torch.eye(len(covariance), dtype=covariance.dtype)
        return eye, eye
    d, u = torch.linalg.eigh(covariance)
    d = d.clamp(min=0) + shrink * level
    return (u / d.sqrt()) @ u.mT, (u * d.sqrt()) @ u.mT
