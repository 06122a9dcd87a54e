"""What the densities share: masks that say what was recorded, and batches stacked several times over."""

from __future__ import annotations

import torch
from einops import reduce, repeat
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Distribution


def said(self: Distribution) -> str:
    """What a distribution is called: its rows, and what one of them is."""
    return f"{type(self).__name__}(rows={self.batch_shape[0]}, event={tuple(self.event_shape)})"


def clean(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Zeros where nothing was recorded, so that a NaN there reaches neither value nor gradient."""
    if mask is None or all_there(mask):
        return x, None
    spread = mask.unflatten(0, (-1, len(x))).any(0)  # what is scored in no copy of the batch may hold anything
    spread = spread if mask.ndim == x.ndim else spread.reshape(-1, *[1] * (x.ndim - 1))
    return torch.where(spread, x, torch.zeros((), dtype=x.dtype, device=x.device)), mask


def all_there(mask: Bool[Tensor, "*any"]) -> bool:
    """Whether a mask is True everywhere, where that is known without waiting for a device: on the CPU.

    >>> all_there(torch.tensor([True, True])), all_there(torch.tensor([True, False]))
    (True, False)
    """
    return mask.device.type == "cpu" and not torch.compiler.is_compiling() and bool(mask.numpy().all())


def real(x: Tensor) -> Tensor:
    """Whole numbers as real ones."""
    return x if x.is_floating_point() else x.to(torch.get_default_dtype())


def apart(x: Tensor, loc: Tensor) -> Tensor:
    """x minus the mean, of the rows of `loc`; x is as many rows, or one copy of those that are stacked there."""
    return (x - loc.unflatten(0, (-1, len(x)))).flatten(0, 1) if len(x) else x - loc


def stacked(x: Tensor, rows: int) -> Tensor:
    """x once for every copy of the batch that is in so many rows."""
    return x if len(x) == rows else repeat(x, "b ... -> (s b) ...", s=rows // len(x))


def total(log_p: Tensor, mask: Tensor | None) -> Float[Tensor, "b"]:
    """The sum over what a row holds and the mask admits."""
    if mask is not None and mask.ndim > 1:
        log_p = torch.where(mask, log_p, 0)
    rows = reduce(log_p, "b ... -> b", "sum")
    return rows if mask is None or mask.ndim > 1 else rows * mask
