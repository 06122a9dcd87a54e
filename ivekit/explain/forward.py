"""A model and a target as one function of numbers, which is what attribution methods take."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..views import Views
from .check import Target
from .imputers import real


def value(target: Target, out: Any, views: Any) -> Float[Tensor, "b *k"]:
    """What a target says of a model's outputs; one with two parameters is given the rows that are explained, too.

    views : a function without parameters that returns those rows.

    >>> value(lambda out: out[:, 0], torch.ones(3, 2), lambda: None)
    tensor([1., 1., 1.])
    """
    asked = inspect.signature(target.forward if isinstance(target, nn.Module) else target).parameters.values()
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in asked if p.kind in plain and p.default is inspect.Parameter.empty]
    return target(out, views()) if len(needed) > 1 else target(out)


class Explained(nn.Module):
    """``(*inputs, rows) -> (b,)``: the target of a model where each row of the inputs replaces one of the views' rows.

    names : the views that the inputs are, in their order. rows : for each row of the inputs the number of the views'
    row that it stands for, whose masks and other views it has; so whatever stacks or repeats rows repeats these.
    A view of bytes is given as its embedding, ``(b, n, d)``.

    >>> f = Explained(nn.Identity(), Views({"a": torch.zeros(2, 3)}), lambda views: views["a"].sum(1), ["a"])
    >>> f(torch.ones(4, 3), torch.tensor([0, 1, 0, 1]))
    tensor([3., 3., 3., 3.])
    """

    def __init__(self, model: nn.Module, views: Views, target: Target, names: Sequence[str]):
        super().__init__()
        self.model, self.names = model, tuple(names)
        self.views, self.target = views, target
        self.tables = {name: table for name in names if (table := embedding(model, views, name)) is not None}

    def forward(self, *inputs: Tensor) -> Float[Tensor, "b"]:
        *xs, rows = inputs
        xs = _tied(xs) if torch.is_grad_enabled() else xs
        given, embedded = {}, {}
        for name, x in zip(self.names, xs):
            (embedded if name in self.tables else given)[name] = x
        others = [name for name in self._needed() if name not in given]
        tensors = given | {name: self.views[name][rows] for name in others}
        present = {name: self.views.present[name][rows] for name in tensors}
        batch = Views(tensors, present, about={n: a for n, a in self.views.about.items() if n in tensors})
        with ExitStack() as stack:
            for name, x in embedded.items():
                stack.enter_context(_reading(self.tables[name], x))
            y = value(self.target, self.model(batch), lambda: self.views[rows])
        if y.shape != rows.shape:
            raise ValueError(
                f"a target says one number a row, ({len(rows)},), got {tuple(y.shape)}; several at once are explained "
                "by attribute_latents, occlusion, ablation, shapley and integrated_gradients"
            )
        return y

    def _needed(self) -> list[str]:
        encoders = getattr(self.model, "encoders", None)
        return list(self.views) if encoders is None else list(encoders)

    def inputs(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Views' tensors as inputs: real numbers, bytes by their embedding."""
        return tuple(self._real(name, tensors[name]).detach().contiguous() for name in self.names)

    def _real(self, name: str, x: Tensor) -> Tensor:
        table = self.tables.get(name)
        if table is not None and x.is_floating_point():  # no byte, but the place of one: as nothing is embedded
            return table.weight.new_zeros(*x.shape, table.embedding_dim)
        return table(x) if table is not None else x.to(real(x))


def encoded(model: nn.Module, views: Views) -> list[str]:
    """The views that can be explained: those with an encoder; of a model without encoders, all of real numbers.

    >>> encoded(nn.Identity(), Views({"a": torch.zeros(2), "label": torch.tensor([0, 1])}))
    ['a']
    """
    encoders = getattr(model, "encoders", None)
    if encoders is None:
        names = [name for name, x in views.items() if x.is_floating_point()]
        if not names:
            raise ValueError(f"no view holds real numbers, which can be explained: {views.tensors.keys()}")
        return names
    if unknown := set(encoders) - set(views):
        raise ValueError(f"the model encodes {list(encoders)}, and the views lack {sorted(unknown)}")
    return list(encoders)


def embedding(model: nn.Module, views: Views, name: str) -> nn.Embedding | None:
    """The table by which a view's encoder reads whole numbers as vectors; None of a view of other numbers.

    >>> embedding(nn.Identity(), Views({"a": torch.zeros(2)}), "a")
    """
    encoders = getattr(model, "encoders", None)
    if encoders is None or views[name].is_floating_point():
        return None
    return next((m for m in encoders[name].modules() if isinstance(m, nn.Embedding)), None)


def _tied(xs: Sequence[Tensor]) -> list[Tensor]:
    """Each input plus 0 times the others: autograd refuses inputs that a target does not look at."""
    tie = torch.stack([x.flatten(1)[:, 0] for x in xs]).sum(0) * 0
    return [x + tie.reshape(-1, *[1] * (x.ndim - 1)) for x in xs]


@contextmanager
def _reading(table: nn.Embedding, x: Tensor) -> Iterator[None]:
    """Within the block a table gives `x`, whatever it is asked."""
    hook = table.register_forward_hook(lambda *_: x)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[torch.device]:
    """Evaluation mode; the modes are as before when the block ends. Gives the model's device.

    >>> net = nn.Dropout()
    >>> with evaluating(net):
    ...     net.training
    False
    >>> net.training
    True
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield next(iter(model.parameters()), torch.empty(0)).device
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def at_rest(model: nn.Module) -> Iterator[torch.device]:
    """Evaluation mode, weights without gradients; the model is as before when the block ends. Gives its device.

    >>> model = nn.Linear(2, 2)
    >>> with at_rest(model):
    ...     model.training, model.weight.requires_grad
    (False, False)
    >>> model.training, model.weight.requires_grad
    (True, True)
    """
    wants = {weight: weight.requires_grad for weight in model.parameters()}
    model.requires_grad_(False)
    try:
        with evaluating(model) as device:
            yield device
    finally:
        for weight, wanted in wants.items():
            weight.requires_grad_(wanted)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's and numpy's own generators start at `seed` within the block, and are as before when it ends.

    >>> with seeded(0):
    ...     a = torch.rand(1)
    >>> with seeded(0):
    ...     bool(a == torch.rand(1))
    True
    """
    before = np.random.get_state()  # noqa: NPY002 (captum draws from the global one)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(before)  # noqa: NPY002
