"""What checks share: a target's values, maps as ranks, and which question to ask of another model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from ..views import Views
from .check import Explainer, Target
from .forward import evaluating, value

Maps = Mapping[str, Tensor]
Match = Callable[[nn.Module, nn.Module, Views, Target], Target]


def said(model: Any, views: Views) -> Any:
    """What a model says of rows; its likelihoods only when asked for.

    >>> said(nn.Identity(), Views({"a": torch.zeros(2)}))
    Views of 2 rows
      a  ()
    """
    return model.tell(model.tokens(views)) if hasattr(model, "tell") and not model.training else model(views)


def answers(model: nn.Module, views: Views, target: Target) -> Float[Tensor, "b"]:
    """The target's value in each row.

    >>> answers(nn.Identity(), Views({"a": torch.ones(2, 3)}), lambda out: out["a"].sum(1))
    tensor([3., 3.])
    """
    with evaluating(model) as device:
        here = views.to(device)
        y = value(target, said(model, here), lambda: here)
    if y.shape != (len(views),):
        raise ValueError(f"a check takes a target of one number a row, ({len(views)},); got {tuple(y.shape)}")
    return y


def codes(model: nn.Module, views: Views) -> dict[str, Float[ndarray, "b k"]]:
    """The latents of rows by block; nothing of a model that has none.

    >>> codes(nn.Identity(), Views({"a": torch.zeros(2)}))
    {}
    """
    with evaluating(model) as device, torch.no_grad():
        z = getattr(said(model, views.to(device)), "z", None) or {}
    return {block: x.double().cpu().numpy() for block, x in z.items()}


# maps as ranks -----------------------------------------------------------------------------------------------------


def ranked(maps: Maps) -> dict[str, Float[ndarray, "b n"]]:
    """Each row's map as ranks of its absolute values, centred and of length 1, so that a product is a correlation.

    A row whose map is the same everywhere is 0, and correlates with nothing.

    >>> ranked({"a": torch.tensor([[-3.0, 1.0, 2.0], [1.0, 1.0, 1.0]])})["a"].round(2)
    array([[ 0.71, -0.71,  0.  ],
           [ 0.  ,  0.  ,  0.  ]])
    """
    return {name: _ranks(x.detach().abs()) for name, x in maps.items()}


def ranked_with_sign(maps: Maps) -> dict[str, Float[ndarray, "b n"]]:
    """As `ranked`, of the values with their signs.

    >>> ranked_with_sign({"a": torch.tensor([[-3.0, 1.0, 2.0]])})["a"].round(2)
    array([[-0.71,  0.  ,  0.71]])
    """
    return {name: _ranks(x.detach()) for name, x in maps.items()}


def _ranks(x: Tensor) -> Float[ndarray, "b n"]:
    from scipy.stats import rankdata

    flat = rearrange(x, "b ... -> b (...)").double().cpu().numpy()
    ranks = rankdata(flat, axis=1)
    ranks -= ranks.mean(1, keepdims=True)
    return ranks / np.maximum(np.linalg.norm(ranks, axis=1, keepdims=True), 1e-12)


def told(maps: Maps) -> list[str]:
    """The views of which an explanation says something: not the same number everywhere.

    >>> told({"a": torch.zeros(2, 3), "b": torch.tensor([[1.0, 2.0]])})
    ['b']
    """
    there = [name for name, x in maps.items() if bool((x != x.flatten()[0]).any())]
    if not there:
        raise ValueError(f"the explanation is one number everywhere in {list(maps)}: there is nothing to check")
    return there


# the same question to another model --------------------------------------------------------------------------------


def latent_of(model: nn.Module, views: Views, target: Target) -> tuple[str, int] | None:
    """The block and number of the latent that a target is, up to its scale and sign; None if it is something else.

    >>> latent_of(nn.Identity(), Views({"a": torch.rand(5)}), lambda out: out["a"]) is None
    True
    """
    y = answers(model, views, target).detach().double().cpu().numpy()
    best = [(np.abs(correlations(y[:, None], z))[0], block) for block, z in codes(model, views).items()]
    found = [(r.max(), block, int(r.argmax())) for r, block in best]
    top = max(found, default=(0.0, "", 0))
    return (top[1], top[2]) if top[0] > 1 - 1e-6 else None


def assigned(model: nn.Module, other: nn.Module, views: Views, target: Target) -> Target:
    """The same question to a model trained anew: of a latent, its partner there, with its sign; else the target itself.

    Latents come in another order and with other signs after every training. Those of a block are paired so that the
    sum of their absolute correlations over the rows is largest (Kuhn, 1955).

    >>> same = assigned(nn.Identity(), nn.Identity(), Views({"a": torch.rand(5)}), len)
    >>> same is len
    True
    """
    from scipy.optimize import linear_sum_assignment

    latent = latent_of(model, views, target) if codes(model, views) else None
    if latent is None:
        return target
    block, index = latent
    r = correlations(codes(model, views)[block], codes(other, views)[block])
    partner = int(linear_sum_assignment(-np.abs(r))[1][index])
    return one_latent(block, partner, -1.0 if r[index, partner] < 0 else 1.0)


@cache
def one_latent(block: str, index: int, sign: float | int = 1) -> Target:
    """The target that is one latent of a block; asked again, the same function.

    >>> from types import SimpleNamespace
    >>> one_latent("shared", 1, -1)(SimpleNamespace(z={"shared": torch.tensor([[1.0, 2.0]])}))
    tensor([-2.])
    """
    return lambda out: sign * out.z[block][:, index]


def regressed(model: nn.Module, other: nn.Module, views: Views, target: Target) -> Target:
    """The same question to a model trained anew: the direction among all its latents that tells the target best.

    For targets which are no single latent, such as a readout of a block. Ridge regression on the rows, of which there
    should be several times as many as latents.

    >>> regressed(nn.Identity(), nn.Identity(), Views({"a": torch.rand(5)}), lambda out: out["a"])
    Traceback (most recent call last):
    ValueError: the other model has no latents to tell the target from
    """
    y, z = answers(model, views, target).detach().double().cpu().numpy(), codes(other, views)
    if not z:
        raise ValueError("the other model has no latents to tell the target from")
    x = np.concatenate(list(z.values()), axis=1)
    x = x - x.mean(0)
    weights = np.linalg.solve(x.T @ x + 1e-3 * len(x) * np.eye(x.shape[1]), x.T @ (y - y.mean()))
    w, blocks = torch.from_numpy(weights), list(z)

    def direction(out: Any) -> Tensor:
        at = torch.cat([out.z[block] for block in blocks], 1)
        return at @ w.to(at)

    return direction


def correlations(a: Float[ndarray, "b k"], b: Float[ndarray, "b l"]) -> Float[ndarray, "k l"]:
    """Correlations of columns over rows; 0 where one of them does not vary.

    >>> correlations(np.array([[0.0], [1.0]]), np.array([[0.0, 3.0], [-1.0, 3.0]]))
    array([[-1.,  0.]])
    """
    a, b = a - a.mean(0), b - b.mean(0)
    size = np.outer(np.linalg.norm(a, axis=0), np.linalg.norm(b, axis=0))
    return np.divide(a.T @ b, size, out=np.zeros_like(size), where=size > 1e-12) + 0.0


class Remembered:
    """An explainer that explains the same rows of the same models once; what others ask is passed on, and not kept.

    views : those rows. models : those models; more can be appended.

    >>> asked, views = [], Views({"a": torch.zeros(2)})
    >>> explain = Remembered(lambda model, views, target: asked.append(1) or {}, views, [len])
    >>> _ = [explain(len, views, len) for _ in range(3)]
    >>> len(asked)
    1
    """

    def __init__(self, explainer: Explainer, views: Views, models: list[Any]):
        self.explainer, self.views, self.models, self.known = explainer, views, models, {}

    def __call__(self, model: Any, views: Any, target: Any) -> Maps:
        if views is not self.views or all(model is not known for known in self.models):
            return self.explainer(model, views, target)
        key = (id(model), target)
        if key not in self.known:
            self.known[key] = self.explainer(model, views, target)
        return self.known[key]


def only(explainer: Explainer, *names: str) -> Explainer:
    """The same explainer, of which only some views are looked at, and checked.

    >>> explain = only(lambda model, views, target: views, "b")
    >>> explain(nn.Identity(), Views({"a": torch.zeros(2), "b": torch.ones(2)}), len)
    {'b': tensor([1., 1.])}
    """

    def some(model: nn.Module, views: Views, target: Target) -> Maps:
        maps = explainer(model, views, target)
        if unknown := set(names) - set(maps):
            raise ValueError(f"the explanation has no view {sorted(unknown)}; there are {list(maps)}")
        return {name: maps[name] for name in names}

    return some
