"""What a network costs: parameters, operations, memory and time, measured rather than asserted."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..views import Views


class Cost(NamedTuple):
    """parameters : of the model. flop : floating-point operations of one row, forward; a multiplication and an
    addition are two. megabytes : kept a row for the gradient. seconds : of a row, forward and backward.
    """

    parameters: int
    flop: int
    megabytes: float
    seconds: float


def cost(model: nn.Module, views: Views, repeats: int = 3) -> Cost:
    """What a row costs in training, from a batch of rows.

    Operations are those of matrix products, convolutions and attention (`torch.utils.flop_counter`), memory is what
    autograd saves of activations, each storage once, and time is the fastest of `repeats`.

    >>> class Line(nn.Linear):
    ...     def forward(self, views): return super().forward(views["x"])
    >>> found = cost(Line(100, 10), Views({"x": torch.zeros(8, 100)}))
    >>> found.parameters, found.flop
    (1010, 2000)
    """
    with _training(model):
        counter = FlopCounterMode(display=False)
        with warnings.catch_warnings():  # of devices that are not there
            warnings.simplefilter("ignore")
            with torch.backends.mkldnn.flags(enabled=False), counter:  # whose recurrent layers the counter misses
                _said(model, views)
        seconds, megabytes = zip(*(_once(model, views) for _ in range(repeats)))
    n, flop = len(views), counter.get_total_flops()
    return Cost(sum(p.numel() for p in model.parameters()), round(flop / n), megabytes[0] / n, min(seconds) / n)


@contextmanager
def _training(model: nn.Module) -> Iterator[None]:
    """The model in training mode, without gradients and with its modes and buffers as before when the block ends."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        with torch.random.fork_rng([]):
            model.train()
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
        model.zero_grad(set_to_none=True)


def _said(model: nn.Module, views: Views) -> Tensor:
    """All that a model says, as one number."""
    out: Any = model(views)
    if isinstance(out, Tensor):
        return out.sum()
    return torch.stack([p.mean.sum() for p in out.p.values()]).sum()


def _once(model: nn.Module, views: Views) -> tuple[float, float]:
    """Seconds of a step, and megabytes that it keeps for the gradient."""
    kept: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def keep(x: Tensor) -> Tensor:
        if (where := x.untyped_storage().data_ptr()) not in weights:
            kept[where] = x.untyped_storage().nbytes()
        return x

    began = time.perf_counter()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        said = _said(model, views)
    said.backward()
    return time.perf_counter() - began, sum(kept.values()) / 1e6
