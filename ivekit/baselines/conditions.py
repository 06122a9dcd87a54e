"""Does a conditional model use its condition? Its score beside the one with the conditions of other rows."""

from __future__ import annotations

import torch
from torch import nn

from ..views import Views
from . import _at_rest, _device, _predict, _Ruler, is_label


def conditioned(model: nn.Module, train: Views, test: Views, seed: int = 0) -> dict[str, dict[str, float]]:
    """How well each decoded view is told from the encoded ones, and from those of other rows: ``{view: scores}``.

    The scores are those of `held_out` (R2; for labels and texts the accuracy) of

    - model: the condition of the row itself,
    - shuffled: that of another row, for every row. A model that uses its condition falls to the constant's score, or
      below it, since it is now sure of the wrong thing; one that has only learnt what all rows share does not fall.
    - constant: the mean of the training rows, or their most frequent class.

    >>> from ivekit import models, nn
    >>> x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    >>> model = models.Conditional({"a": nn.MLPEncoder(3, 8)}, {"b": nn.Gaussian(nn.MLPDecoder(8, 3))})
    >>> views = Views({"a": x, "b": 2 * x})
    >>> list(conditioned(model, views[:40], views[40:])["b"])
    ['model', 'shuffled', 'constant']
    """
    if len(test) < 2:
        raise ValueError(f"there must be at least 2 test rows to exchange their conditions, got {len(test)}")
    train, test, scores = train.to("cpu"), test.to("cpu"), {}
    others = _other_rows(len(test), seed)
    swapped = test[others].replace(**{name: test[name] for name in test if name not in _encoded(model)})
    with _at_rest(model, seed):
        for name, p in model(test[:2].to(_device(model))).p.items():
            ruler = _Ruler.of(train, name, is_label(p))
            said = {"model": _predict(model, test, name), "shuffled": _predict(model, swapped, name)}
            found = ruler.scores(test, said | {"constant": ruler.constant[None]}, 1, seed)
            scores[name] = {who: found[who] for who in ("model", "shuffled", "constant")}
    return scores


def _encoded(model: nn.Module) -> set[str]:
    if not isinstance(encoders := getattr(model, "encoders", None), nn.ModuleDict):
        raise ValueError(f"{type(model).__name__} has no encoders, so its conditions are not known")
    return {*encoders}


def _other_rows(n: int, seed: int) -> torch.Tensor:
    """A random order in which no row is in its own place: a cycle through all of them."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    others = torch.empty_like(order)
    others[order] = order.roll(1)
    return others
