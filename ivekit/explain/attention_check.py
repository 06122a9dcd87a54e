"""Does attention say what matters? The weight of a token beside what happens when that token is not there.

Attention weights are part of how a model computes, not by themselves a reason (Jain & Wallace, 2019; Wiegreffe &
Pinter, 2019). They are evidence about the input as far as they foretell what removing it does, and this can be tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from einops import rearrange, reduce
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.stats import rankdata
from torch import Tensor, nn

from ..nn import Tokens
from ..views import Views
from .attention import Attended, attention
from .check import Check, Target
from .forward import at_rest, value

Remove = Callable[[Views, int], Views]  # the rows without what the i-th token stands for


def check_attention(
    model: nn.Module,
    views: Views,
    target: Target,
    explainer: Callable[[nn.Module, Views, Target], Mapping[str, Attended]] | None = None,
    name: str | None = None,
    remove: Remove | None = None,
    least: float = 0.5,
    n: int = 1000,
    seed: int = 0,
    alpha: float = 0.05,
) -> Check:
    """Does the weight of a token predict how much a quantity changes when the token is removed?

    explainer : what is checked, of the kind of `attention` (the default; the target is not used) or
        `gradient_attention`; heads and queries are averaged.
    name : which attention, where the model has several.
    remove : ``(views, i) -> views`` without what the token stands for, such as a masked sensor or patch (`without`); by
        default the token is hidden from this attention alone.
    least : the rank correlation over tokens (mean over rows) that it takes, beside being above chance, to call the
        weights evidence: at 0.5 weights order tokens half as well as removing them would.

    Returns
    -------
    Check : the value is the mean over rows of Spearman's correlation of weights and |changes| over the tokens that are
        there. The null deals the weights to other tokens, in the same way in all rows: rows that look alike are no
        independent witnesses. Draw a map that failed under the title of `map_title`.
    """
    looked = attention(model, views)
    found = looked if explainer is None else explainer(model, views, target)
    name = _one(found, name)
    weights, there = token_weights(found[name]), token_weights(looked[name]) > 0
    changes = token_effects(model, views, target, name, remove, weights.shape[1])
    value, null = _predicts(weights, changes, there, n, seed)
    check = Check("attention", value, null)
    passed = bool(check.p <= alpha and value >= least)
    how = "hidden from the attention" if remove is None else "removed from the input"
    note = f"rank correlation over {weights.shape[1]} tokens of {name}, each {how}; {least:g} is needed"
    return Check(check.name, value, null, passed, note)


def map_title(check: Check, what: str = "attention") -> str:
    """What a map of attention may be called after its check.

    >>> map_title(Check("attention", 0.1, np.zeros(9), False)), map_title(Check("attention", 0.8, np.zeros(9), True))
    ('attention: weights, not evidence (r = 0.10)', 'attention (r = 0.80 with what removal does)')
    """
    if check.passed:
        return f"{what} (r = {check.value:.2f} with what removal does)"
    return f"{what}: weights, not evidence (r = {check.value:.2f})"


def token_weights(attended: Attended) -> Float[ndarray, "b n"]:
    """What each token got of one attention in every row: the mean over heads and queries.

    >>> token_weights(Attended(torch.ones(2, 4, 3, 6) / 6, {"a": {"time": 3}}, {"a": {"token": 6}})).shape
    (2, 6)
    """
    return reduce(attended.weights.double().cpu(), "b heads q k -> b k", "mean").numpy()


def token_effects(
    model: nn.Module, views: Views, target: Target, name: str, remove: Remove | None = None, n_tokens: int = 0
) -> Float[ndarray, "b n"]:
    """How far a quantity moves in every row when one token at a time is hidden from an attention, or from the model.

    name : of the attention's module. remove, n_tokens : as in `check_attention`; without `remove` tokens are hidden.
    """
    module: Any = dict(model.named_modules())[name]
    with at_rest(model) as device, torch.no_grad():
        here = views.to(device)

        def said(rows: Views) -> Tensor:
            return value(target, model(rows), lambda: rows).double().cpu()

        whole, moved = said(here), []
        for i in range(n_tokens):
            if remove is not None:
                moved.append(said(remove(here, i)))
                continue
            with hidden(module, i):
                moved.append(said(here))
    return (torch.stack(moved, 1) - whole[:, None]).abs().numpy()


@contextmanager
def hidden(module: nn.Module, i: int) -> Iterator[None]:
    """Within the block one attention does not see its i-th key: `Tokens.mask` is False there.

    >>> from ivekit.nn import Attention
    >>> attend = Attention(4, heads=1)
    >>> attend.keep = True
    >>> with hidden(attend, 1):
    ...     said = attend(torch.zeros(1, 3, 4))
    >>> attend.weights[0, 0, 0]
    tensor([0.5000, 0.0000, 0.5000])
    """

    def without(_: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        def kept(mask: Bool[Tensor, "b n"]) -> Bool[Tensor, "b n"]:
            return mask & (torch.arange(mask.shape[1], device=mask.device) != i)

        outside = [x for x in (*args, *kwargs.values()) if isinstance(x, Tokens)]
        if outside:
            args = tuple(replace(x, mask=kept(x.mask)) if isinstance(x, Tokens) else x for x in args)
            fresh = {k: replace(x, mask=kept(x.mask)) if isinstance(x, Tokens) else x for k, x in kwargs.items()}
            return args, fresh
        mask = kwargs.get("mask")
        mask = torch.ones(args[0].shape[:2], dtype=torch.bool, device=args[0].device) if mask is None else mask
        return args, {**kwargs, "mask": kept(mask)}

    hook = module.register_forward_pre_hook(without, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def without(view: str, axes: Mapping[int, int]) -> Remove:
    """A way to remove tokens from the input: they cut a view's rows into equal blocks along some axes.

    axes : axis of a row -> how many blocks; tokens are numbered along them in this order. What is removed is marked as
    absent, so a model puts the training mean there.

    >>> views = Views({"meg": torch.ones(2, 4, 6)})
    >>> less = without("meg", {0: 4})(views, 2)  # sensor 2
    >>> less.present["meg"][0].all(1).tolist()
    [True, True, False, True]
    """

    def remove(views: Views, i: int) -> Views:
        places = np.unravel_index(i, tuple(axes.values()))
        shape = views[view].shape
        gone = torch.ones(shape[1:], dtype=torch.bool)
        for (axis, n), place in zip(axes.items(), places):
            block = torch.arange(shape[axis + 1]) * n // shape[axis + 1] == int(place)
            gone &= block.reshape([-1 if a == axis else 1 for a in range(gone.ndim)])
        here = views.present[view]
        here = here if here.ndim == len(shape) else here.reshape(-1, *[1] * gone.ndim).expand(shape)
        return views.masked(**{view: here & ~gone.to(here.device)})

    return remove


def _one(found: Mapping[str, Attended], name: str | None) -> str:
    if name is None and len(found) == 1:
        return next(iter(found))
    if name is None or name not in found:
        raise ValueError(f"name one of the model's attentions: {', '.join(found) or 'it has none'}; got {name!r}")
    return name


def _predicts(
    weights: Float[ndarray, "b n"], changes: Float[ndarray, "b n"], there: Bool[ndarray, "b n"], n: int, seed: int
) -> tuple[float, Float[ndarray, "d"]]:
    """The mean over rows of the rank correlation, and what it is when weights are dealt to other tokens."""
    a, b = _standard_ranks(weights, there), _standard_ranks(changes, there)
    together = rearrange(a, "b n -> n b") @ b / len(a)  # (n, n): weights of one token with changes of another
    rng, tokens = np.random.default_rng(seed), np.arange(len(together))
    null = np.array([together[rng.permutation(tokens), tokens].sum() for _ in range(n)])
    return float(np.trace(together)), null


def _standard_ranks(x: Float[ndarray, "b n"], there: Bool[ndarray, "b n"]) -> Float[ndarray, "b n"]:
    """Ranks over the tokens that are there, centred, of length 1 in every row; 0 elsewhere, and where all are equal."""
    ranks = rankdata(np.where(there, x, np.inf), axis=1)  # those that are not there come last and are left out
    ranks = np.where(there, ranks, 0.0)
    ranks = np.where(there, ranks - ranks.sum(1, keepdims=True) / np.maximum(there.sum(1, keepdims=True), 1), 0.0)
    length = np.linalg.norm(ranks, axis=1, keepdims=True)
    return ranks / np.where(length > 0, length, 1)
