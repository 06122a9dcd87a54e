"""Where every attention of a model looks: weights by name, with what their rows and columns are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor, nn

from ..nn import Tokens
from ..views import Views
from .check import Target
from .forward import evaluating, value

Axes = Mapping[str, Mapping[str, int]]  # view -> axis -> how many places along it


@dataclass(frozen=True, repr=False, eq=False)
class Attended:
    """The weights of one attention in a batch of rows: how much each of its queries took from each of its keys.

    weights : ``(b, heads, q, k)``; over the keys they sum to 1, or to 0 where nothing was there to look at.
    rows, columns : what queries and keys are, ``{view: {axis: places}}``; the keys of several views are side by side.

    >>> Attended(torch.ones(2, 4, 3, 6) / 6, {"series": {"time": 3}}, {"image": {"height": 2, "width": 3}})
    Attended: 2 rows, 4 heads, series (time 3) -> image (height 2, width 3)
    """

    weights: Float[Tensor, "b heads q k"]
    rows: Axes
    columns: Axes

    def __repr__(self) -> str:
        b, heads = self.weights.shape[:2]
        return f"Attended: {b} rows, {heads} heads, {_said(self.rows)} -> {_said(self.columns)}"

    def on(self, view: str) -> Float[Tensor, "b heads q *axes"]:
        """The weights on one view's tokens, laid out along its own axes.

        >>> Attended(torch.ones(2, 4, 3, 6), {"a": {"time": 3}}, {"b": {"height": 2, "width": 3}}).on("b").shape
        torch.Size([2, 4, 3, 2, 3])
        """
        if view not in self.columns:
            raise ValueError(f"no keys of view {view!r}; there are {list(self.columns)}")
        start = 0
        for name, axes in self.columns.items():
            n = math.prod(axes.values())
            if name == view:
                return self.weights[..., start : start + n].unflatten(-1, tuple(axes.values()))
            start += n
        raise AssertionError("unreachable")

    def row_names(self) -> list[str]:
        """A name a query, such as "time 3".

        >>> Attended(torch.ones(1, 1, 2, 2), {"a": {"time": 2}}, {"b": {"height": 2, "width": 1}}).column_names()
        ['height 0, width 0', 'height 1, width 0']
        """
        return _names(self.rows)

    def column_names(self) -> list[str]:
        """A name a key, with its view where there are several."""
        return _names(self.columns)


def attention(model: nn.Module, views: Views) -> dict[str, Attended]:
    """Every head of every attention in a model on some rows, by the name of the module, in the order of the model.

    Rows and columns are named by what encoders and decoders' networks say of their tokens (their attribute `axes`):
    image region x time point, say; of others, the tokens are numbered. Likelihoods that run a network when they are
    asked (texts, diffusion) are asked for the density of what is in `views`. The model is left as it was.

    >>> from ivekit import models, nn
    >>> net = nn.TokenDecoder(0, (2, 8), [nn.CrossAttention(8, heads=2)], 8, heads=2)
    >>> model = models.Conditional({"a": nn.ColumnEncoder(3, 8)}, {"b": nn.Gaussian(net)})
    >>> for name, attended in attention(model, Views({"a": torch.zeros(5, 3)})).items():
    ...     print(name, attended)
    decoders.b.net.queries.conditioners.0.attend Attended: 5 rows, 2 heads, b (time 2) -> a (column 3)
    decoders.b.net.queries.blocks.0.attend Attended: 5 rows, 2 heads, b (time 2) -> b (time 2)
    """
    found = {name: module for name, module in model.named_modules() if hasattr(module, "keep")}
    with evaluating(model) as device, _kept(found) as looked_outside, _counted(model) as counts, torch.no_grad():
        views = views.to(device)
        out = model(views)
        for name, p in out.p.items():
            if name in views:
                p.log_prob(views[name], views.present[name])
        weights: dict[str, Any] = {name: module.weights for name, module in found.items()}
    return {
        name: Attended(w, *_axes(model, name, w.shape[-2:], name in looked_outside, counts))
        for name, w in weights.items()
        if w is not None
    }


def gradient_attention(model: nn.Module, views: Views, target: Target) -> dict[str, Attended]:
    """Attention as far as it raises a quantity: each weight times the gradient in it, where that is positive.

    ``(dy/dA * A)^+`` of Chefer, Gur & Wolf (2021), "Generic attention-model explainability", for every head of every
    attention that the target depends on; average over heads, or `rollout`, as you would the weights. Unlike these it
    knows what is explained; like any gradient it sees the weights' surroundings only.

    >>> from ivekit import models, nn
    >>> net = nn.TokenDecoder(0, (2, 8), [nn.CrossAttention(8, heads=2)], 8, heads=2)
    >>> model = models.Conditional({"a": nn.ColumnEncoder(3, 8)}, {"b": nn.Gaussian(net)})
    >>> found = gradient_attention(model, Views({"a": torch.zeros(5, 3)}), lambda out: out.p["b"].mean[:, 0, 0])
    >>> found["decoders.b.net.queries.conditioners.0.attend"]
    Attended: 5 rows, 2 heads, b (time 2) -> a (column 3)
    """
    found = {name: module for name, module in model.named_modules() if hasattr(module, "keep")}
    with evaluating(model) as device, _kept(found) as looked_outside, _counted(model) as counts, torch.enable_grad():
        with _with_gradients(found) as made:
            here = views.to(device)
            y = value(target, model(here), lambda: here)
        if y.ndim != 1:
            raise ValueError(f"gradient x attention is of one number a row, (b,); the target says {tuple(y.shape)}")
        slopes = torch.autograd.grad(y.sum(), list(made.values()), allow_unused=True)
    raised = {name: (w * g).clamp(min=0).detach() for (name, w), g in zip(made.items(), slopes) if g is not None}
    return {
        name: Attended(w, *_axes(model, name, w.shape[-2:], name in looked_outside, counts))
        for name, w in raised.items()
    }


@contextmanager
def _with_gradients(modules: Mapping[str, Any]) -> Iterator[dict[str, Tensor]]:
    """The weights of every attention's last call within the block, still part of what is computed from them."""
    made: dict[str, Tensor] = {}
    for name, module in modules.items():

        def noted(*args: Any, name: str = name, weigh: Any = module._weigh) -> Tensor:
            made[name] = weigh(*args)
            if not made[name].requires_grad:
                made[name].requires_grad_()
            return made[name]

        module._weigh = noted
    try:
        yield made
    finally:
        for module in modules.values():
            del module._weigh  # what it has of its class comes back


@contextmanager
def _kept(modules: Mapping[str, Any]) -> Iterator[set[str]]:
    """Weights are kept within the block; the names of those attentions that looked at a context."""
    outside: set[str] = set()
    before, hooks = {name: module.keep for name, module in modules.items()}, []
    for name, module in modules.items():

        def note(_, args: tuple, kwargs: dict, __: Any, name: str = name):
            if any(isinstance(a, Tokens) for a in (*args, *kwargs.values())):
                outside.add(name)

        module.keep, module.weights = True, None
        hooks.append(module.register_forward_hook(note, with_kwargs=True))
    try:
        yield outside
    finally:
        for (name, module), hook in zip(modules.items(), hooks):
            module.keep, module.weights = before[name], None
            hook.remove()


@contextmanager
def _counted(model: nn.Module) -> Iterator[dict[str, int]]:
    """How many tokens each encoder gave."""
    counts: dict[str, int] = {}
    hooks = []
    for name, encoder in _parts(model, "encoders"):

        def note(_, __: Any, said: Any, name: str = name):
            counts[name] = (said.x if isinstance(said, Tokens) else said).shape[1]

        hooks.append(encoder.register_forward_hook(note))
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()


def _parts(model: nn.Module, role: str) -> list[tuple[str, nn.Module]]:
    parts = getattr(model, role, None)
    return list(parts.items()) if isinstance(parts, nn.ModuleDict) else []


def _axes(model: nn.Module, name: str, shape: Sequence[int], outside: bool, counts: Mapping[str, int]) -> Any:
    """What the rows and columns of an attention are, by where in the model it is."""
    role, view, *_ = [*name.split("."), ""]
    part = dict(_parts(model, role)).get(view)
    if part is None:
        return {role: {"query": shape[0]}}, {role: {"token": shape[1]}}
    own = _layout(part if role == "encoders" else getattr(part, "net", part), shape[0])
    if not outside:
        return {view: own}, {view: own}
    if role == "encoders":  # queries of its own that look at what it made of the view
        return {view: {"query": shape[0]}}, {view: _layout(part, shape[1])}
    told = getattr(model, "condition", None) or counts
    return {view: own}, {source: _layout(dict(_parts(model, "encoders"))[source], counts[source]) for source in told}


def _layout(part: Any, n: int) -> dict[str, int]:
    """The axes of n tokens as a part names them; -1 is however many there are."""
    axes = dict(getattr(part, "axes", None) or {})
    known = math.prod(size for size in axes.values() if size > 0)
    axes = {name: size if size > 0 else n // known for name, size in axes.items()}
    return axes if axes and math.prod(axes.values()) == n else {"token": n}


def _said(axes: Axes) -> str:
    return " + ".join(f"{view} ({', '.join(f'{a} {n}' for a, n in of.items())})" for view, of in axes.items())


def _names(axes: Axes) -> list[str]:
    names = []
    for view, of in axes.items():
        for place in itertools.product(*(range(n) for n in of.values())):
            words = ", ".join(f"{axis} {i}" for axis, i in zip(of, place))
            names.append(f"{view}: {words}" if len(axes) > 1 else words)
    return names


# what attention is like --------------------------------------------------------------------------------------------


def entropy(weights: Float[Tensor, "*b k"]) -> Float[Tensor, "*b"]:
    """How evenly attention is spread: 0 on one key, 1 on all alike (Shannon's entropy over that of k equal keys).

    >>> entropy(torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
    tensor([0., 1.])
    """
    if weights.shape[-1] < 2:
        raise ValueError("over one key attention has no choice: there is no entropy to take")
    return -torch.xlogy(weights, weights).sum(-1) / math.log(weights.shape[-1]) + 0.0


def sparsity(weights: Float[Tensor, "*b k"]) -> Float[Tensor, "*b"]:
    """How few keys have the attention: 1 on one key, 0 on all alike (Hoyer, 2004).

    ``(sqrt(k) - |w|_1 / |w|_2) / (sqrt(k) - 1)``.

    >>> sparsity(torch.tensor([[1.0, 0.0], [0.5, 0.5]])).round(decimals=4).abs()
    tensor([1., 0.])
    """
    root = math.sqrt(weights.shape[-1])
    if root == 1:
        raise ValueError("over one key attention has no choice: there is no sparsity to take")
    return (root - weights.sum(-1) / weights.norm(dim=-1).clamp(min=1e-12)) / (root - 1)


def rollout(layers: Sequence[Float[Tensor, "b heads n n"]]) -> Float[Tensor, "b n n"]:
    """How much of each input token is in each output token, through all layers (Abnar & Zuidema, 2020).

    Half of a token is itself, by the way around the attention; the other half is what it took, the mean over heads:
    ``R = prod_l (A_l + 1) / 2``, first layer first. For a decoder's attention over what an encoder of several layers
    made, multiply: ``cross.mean(1) @ rollout(layers)``.

    >>> swap = torch.tensor([[[[0.0, 1.0], [1.0, 0.0]]]])
    >>> rollout([swap])
    tensor([[[0.5000, 0.5000],
             [0.5000, 0.5000]]])
    """
    if not layers:
        raise ValueError("rollout takes the weights of at least one layer, (b, heads, n, n) each")
    total = torch.eye(layers[0].shape[-1], dtype=layers[0].dtype, device=layers[0].device)
    for weights in layers:
        mixed = reduce(weights, "b heads q k -> b q k", "mean") + torch.eye(weights.shape[-1]).to(weights)
        total = mixed / mixed.sum(-1, keepdim=True) @ total
    return total
