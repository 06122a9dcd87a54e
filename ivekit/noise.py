"""Noise that does not depend on how many processes share a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_share: ContextVar[tuple[Tensor, int] | None] = ContextVar("share", default=None)


@contextmanager
def share_of_batch(rows: Tensor, of: int) -> Iterator[None]:
    """Within the block, noise is drawn for a whole batch of `of` rows and this process keeps that of its own `rows`.

    Every process seeds alike and draws alike, so a row's noise does not depend on how many processes there are.

    >>> import torch
    >>> from ivekit.noise import noise
    >>> _ = torch.manual_seed(0)
    >>> whole = noise(torch.randn, torch.zeros(4, 1))
    >>> _ = torch.manual_seed(0)
    >>> with share_of_batch(torch.tensor([1, 3]), of=4):
    ...     part = noise(torch.randn, torch.zeros(2, 1))
    >>> bool((whole[[1, 3]] == part).all())
    True
    """
    token = _share.set((rows, of))
    try:
        yield
    finally:
        _share.reset(token)


def noise(draw: Any, like: Tensor, sample_shape: Sequence[int] = ()) -> Tensor:
    """Noise ``(*sample_shape, *like.shape)``, keyed by row when a batch is shared between processes."""
    share, kind = _share.get(), {"dtype": like.dtype, "device": like.device}
    if share is None:
        return draw(*sample_shape, *like.shape, **kind)
    rows, of = share
    copies = like.shape[0] // len(rows)  # a plan stacks the batch several times over
    drawn = draw(*sample_shape, copies, of, *like.shape[1:], **kind)
    kept = drawn.index_select(len(sample_shape) + 1, rows.to(like.device, non_blocking=True))
    return kept.flatten(len(sample_shape), len(sample_shape) + 1)


def dropped(x: Tensor, p: float) -> Tensor:
    """Numbers, of which a share `p` is set to 0 at random while the others grow, as `torch.nn.functional.dropout` does.

    The draws are those of that function for the whole batch, however it is shared (Srivastava et al., 2014).

    >>> _ = torch.manual_seed(0)
    >>> whole = dropped(torch.ones(4, 5), 0.5)
    >>> _ = torch.manual_seed(0)
    >>> with share_of_batch(torch.tensor([1, 3]), of=4):
    ...     part = dropped(torch.ones(2, 5), 0.5)
    >>> bool((whole[[1, 3]] == part).all())
    True
    """
    if _share.get() is None:
        return F.dropout(x, p)
    axes = range(x.ndim)
    order = sorted(axes, key=lambda axis: (-x.stride(axis), axis == 0))  # PyTorch draws as numbers lie in memory
    lying, at = x.movedim(order, tuple(axes)), order.index(0)
    kept = noise(lambda *shape, **kind: F.dropout(torch.ones(shape, **kind), p), lying[(0,) * at], lying.shape[:at])
    return x * kept.movedim(tuple(axes), order)
