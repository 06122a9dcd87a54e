"""Copies of a model that forgot what they learnt, all of it or from the output back; rows that lost their pairs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..views import Views
from .maps import answers


def layers(model: nn.Module, views: Views, target: Any) -> list[list[str]]:
    """The layers that a target comes through, from the output back; those of parallel branches go together.

    A layer is a module with parameters of its own. How far it is from the output is counted in the graph of the
    target's gradient, along the shortest way; layers that the target does not depend on are not there.

    Raises
    ------
    ValueError : when the target has no gradient, so that no way back is known.

    >>> from ivekit.models import MultimodalVAE
    >>> from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
    >>> model = MultimodalVAE({"a": MLPEncoder(3, 4)}, ProductOfExperts("a", 4, 2), {"a": Gaussian(MLPDecoder(2, 3))})
    >>> layers(model, Views({"a": torch.ones(2, 3)}), lambda out: out.z["shared"][:, 0])
    [['posterior.heads.a'], ['encoders.a.net.4'], ['encoders.a.net.2'], ['encoders.a.net.0']]
    """
    with torch.enable_grad():
        value = answers(model, views, target)
    if value.grad_fn is None:
        raise ValueError("the target has no gradient to any parameter: its layers have no order from the output back")
    far = _distances(value)
    apart: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        if steps := [far[p] for p in module.parameters(recurse=False) if p in far]:
            apart.setdefault(min(steps), []).append(name)
    return [apart[steps] for steps in sorted(apart)]


def _distances(value: Tensor) -> dict[Tensor, int]:
    """Steps of the backward graph from a value to each parameter it depends on."""
    far: dict[Tensor, int] = {}
    seen: set[Any] = set()
    here: set[Any] = {value.grad_fn}
    steps = 0
    while here:
        far |= {node.variable: steps for node in here if hasattr(node, "variable")}
        seen |= here
        here = {after for node in here for after, _ in node.next_functions if after is not None} - seen
        steps += 1
    return far


def randomised(model: nn.Module, seed: int = 0, only: Sequence[str] | None = None) -> nn.Module:
    """A copy whose weights were drawn anew, of all layers or of those named (Adebayo et al., 2018).

    A module with `reset_parameters` draws as when it was made; the parameters that others hold themselves (positions,
    queries) become their own numbers in another order. Buffers, so what standardises the data, stay.

    >>> layer = nn.Linear(2, 2)
    >>> one, same, other = (randomised(layer, seed).weight for seed in (1, 1, 2))
    >>> bool((one == same).all()), bool((one == other).any()), bool((one == layer.weight).any())
    (True, False, False)
    """
    new = copy.deepcopy(model)
    modules = dict(new.named_modules())
    if only is not None and (unknown := set(only) - set(modules)):
        raise ValueError(f"the model has no layer {sorted(unknown)}; there are {[name for name in modules if name]}")
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for name in modules if only is None else only:
            _forget(modules[name])
    return new


def _forget(module: Any) -> None:
    """New weights for a module's own parameters."""
    own = dict(module.named_parameters(recurse=False))
    before = {name: p.clone() for name, p in own.items()}
    if own and hasattr(module, "reset_parameters"):
        module.reset_parameters()
    for name, p in own.items():  # one that is as it was: nothing resets it, or it starts as a constant
        if torch.equal(p, before[name]):
            p.copy_(p.flatten()[torch.randperm(p.numel(), device=p.device)].reshape(p.shape))


def shuffled_pairs(views: Views, seed: int = 0) -> Views:
    """The rows of each view in an order of its own: every view as it was, and nothing that they share.

    >>> views = Views({"a": torch.arange(4), "b": torch.arange(4)})
    >>> bool((shuffled_pairs(views)["a"] == shuffled_pairs(views)["b"]).all())
    False
    """
    generator = torch.Generator().manual_seed(seed)
    orders = {name: torch.randperm(len(views), generator=generator).to(x.device) for name, x in views.items()}
    tensors = {name: x[orders[name]] for name, x in views.items()}
    return Views(tensors, {n: mask[orders[n]] for n, mask in views.present.items()}, views.metadata, views.about)
