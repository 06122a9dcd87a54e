"""Noise that does not depend on how many processes share a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

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
