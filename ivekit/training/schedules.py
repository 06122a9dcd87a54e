"""Learning rates over a whole run: each is made for its number of steps, and ends where it should.

A schedule is any function of an optimiser and the number of steps: give it to `train` as `scheduler`, with
`functools.partial` to change its settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau


def _over(optimizer: Optimizer, total_steps: int, factor: Callable[[float], float]) -> LambdaLR:
    """The learning rate times `factor` of the part of the run that is done; past the end it stays."""
    return LambdaLR(optimizer, lambda step: factor(min(1.0, step / total_steps)))


def _glide(low: float, high: float, done: float) -> float:
    """Half a cosine from `low` to `high`."""
    return low + (high - low) * 0.5 * (1 - math.cos(math.pi * done))


def cosine(optimizer: Optimizer, total_steps: int, warmup: float = 0.0, end: float = 0.0) -> LambdaLR:
    """Down half a cosine to `end` times the learning rate (Loshchilov & Hutter, 2017), after a linear warm-up.

    warmup : the part of the run over which the rate rises from 0; the first step is taken at a 100th of it.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    >>> rate = cosine(optimizer, 4, end=0.1)
    >>> rates = []
    >>> for _ in range(6): rates += rate.get_last_lr(); optimizer.step(); rate.step()
    >>> [round(r, 2) for r in rates]
    [1.0, 0.87, 0.55, 0.23, 0.1, 0.1]
    """

    def factor(done: float) -> float:
        return max(0.01, done / warmup) if done < warmup else _glide(1.0, end, (done - warmup) / (1 - warmup))

    return _over(optimizer, total_steps, factor)


def step_decay(
    optimizer: Optimizer, total_steps: int, factor: float = 0.1, at: Sequence[float] = (0.5, 0.75)
) -> LambdaLR:
    """The learning rate times `factor` at each of these parts of the run.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    >>> rate = step_decay(optimizer, 4)
    >>> rates = []
    >>> for _ in range(5): rates += rate.get_last_lr(); optimizer.step(); rate.step()
    >>> [round(r, 2) for r in rates]
    [1.0, 1.0, 0.1, 0.01, 0.01]
    """
    return _over(optimizer, total_steps, lambda done: factor ** sum(done >= part for part in at))


def one_cycle(
    optimizer: Optimizer, total_steps: int, warmup: float = 0.3, start: float = 0.04, end: float = 1e-4
) -> LambdaLR:
    """Up from `start` times the learning rate to all of it, then down to `end` times it (Smith & Topin, 2019).

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    >>> rate = one_cycle(optimizer, 4, warmup=0.5)
    >>> rates = []
    >>> for _ in range(6): rates += rate.get_last_lr(); optimizer.step(); rate.step()
    >>> [round(r, 2) for r in rates]
    [0.04, 0.52, 1.0, 0.5, 0.0, 0.0]
    """

    def factor(done: float) -> float:
        if done < warmup:
            return _glide(start, 1.0, done / warmup)
        return _glide(1.0, end, (done - warmup) / (1 - warmup))

    return _over(optimizer, total_steps, factor)


def plateau(optimizer: Optimizer, total_steps: int, factor: float = 0.5, patience: int = 5) -> ReduceLROnPlateau:
    """The learning rate times `factor` whenever the epoch's mean loss has not fallen for `patience` epochs.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    >>> rate = plateau(optimizer, 100, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0): rate.step(loss)
    >>> rate.get_last_lr()
    [0.5]
    """
    return ReduceLROnPlateau(optimizer, factor=factor, patience=patience)
