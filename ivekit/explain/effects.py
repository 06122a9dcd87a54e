"""Does moving a latent do what its factor does? Effects of latents against effects of factors, where those are known.

A factor's effect on a view is how the mean row differs between rows in which it is high and rows in which it is low. A
latent's effect is how what is decoded differs when it is set high and when it is set low. High and low are the means of
the highest and of the lowest fifth, of the factor's values and of the latent's codes: both are steps between the same
quantiles. Effects that depend on everything else (how a patch moves over a film's pixels depends on where it is) are
averages over that in data; a simulator may tell them trial by trial, and then trials are compared one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from einops import einsum, repeat
from jaxtyping import Bool, Float, Int, Real
from numpy import ndarray
from torch import Tensor

from ..views import Views
from .check import Check
from .rotations import ACTIVE
from .traverse import Latent, beliefs, decoded, direction_of, every_latent, moved

Truth = Mapping[str, Mapping[str, Any]]  # factor -> view -> its effect: of a row's shape, or of each starting row
FIFTH = 0.2


def factor_effects(
    views: Views, factors: pd.DataFrame, share: float = FIFTH
) -> dict[str, dict[str, Float[Tensor, "..."]]]:
    """What each factor does to each view, as the data say: the mean row where it is high less that where it is low.

    factors : a column a factor, a row a row. share : what part of the rows is high, and what part is low. Factors must
    be independent of one another, or what one does is also told of the others. Elements and rows that are missing are
    left out. The noise of two means is left in it; where a world knows an effect exactly, take that.

    Returns
    -------
    {factor: {view: (*shape)}}, in the view's unit.

    >>> x = torch.arange(10.0)
    >>> factor_effects(Views({"a": torch.stack([3 * x, 0 * x], 1)}), pd.DataFrame({"size": x.numpy()}))
    {'size': {'a': tensor([24.,  0.])}}
    """
    found = {}
    for name in factors:
        low, high = outer(_column(views, factors[name]), share)
        found[str(name)] = {view: _mean_row(views, view, high) - _mean_row(views, view, low) for view in views}
    return found


def step(values: Real[Any, "_"], share: float = FIFTH) -> tuple[float, float]:
    """Where low and high are: the means of the lowest and of the highest fifth (`share`) of some values.

    >>> step(np.arange(10))
    (0.5, 8.5)
    """
    x = np.asarray(values, float)
    low, high = outer(x, share)
    return float(x[low].mean()), float(x[high].mean())


def outer(values: Real[Any, "b"], share: float = FIFTH) -> tuple[Bool[ndarray, "b"], Bool[ndarray, "b"]]:
    """Which rows are low, and which are high; as many of each, by rank.

    >>> [side.nonzero()[0].tolist() for side in outer(np.array([5.0, 1.0, 3.0, 2.0, 4.0]))]
    [[1], [0]]
    """
    n = round(share * len(values))
    if not 1 <= n <= len(values) // 2:
        raise ValueError(
            f"a share of {share:g} of {len(values)} rows is {n} rows: at least 1 and at most half are needed"
        )
    rank = np.argsort(np.argsort(np.asarray(values, float), kind="stable"))
    return rank < n, rank >= len(values) - n


def latent_effects(
    model: Any, views: Views, ends: Sequence[Any] | Real[Any, "l 2"], latents: Sequence[Latent] | None = None
) -> dict[str, Float[Tensor, "l b *shape"]]:
    """What moving each latent from low to high does to each view, from every row, decoded at once.

    views : the rows to start from; their other latents, and what conditions the decoders, stay each row's own. ends :
    low and high of each latent (`step` of its codes, for example). latents : by block and number, or direction; by
    default all there are.

    >>> from ivekit.models import MultimodalVAE
    >>> from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
    >>> model = MultimodalVAE(dict(a=MLPEncoder(3, 8)), ProductOfExperts("a", 8, 2), dict(a=Gaussian(MLPDecoder(2, 3))))
    >>> latent_effects(model, Views({"a": torch.randn(4, 3)}), [[-1, 1], [-1, 1]])["a"].shape
    torch.Size([2, 4, 3])
    """
    z = {block: q.mean.cpu() for block, q in beliefs(model, views).items()}
    said = decoded(model, views, moved(z, latents or every_latent(model, views), ends))
    return {name: x[:, :, 1] - x[:, :, 0] for name, x in said.items()}


def match_effects(
    model: Any,
    views: Views,
    factors: pd.DataFrame,
    truth: Truth | None = None,
    latents: Sequence[Latent] | None = None,
    starts: Sequence[int] | Int[Any, "s"] | None = None,
    draws: int = 999,
    seed: int = 0,
) -> pd.DataFrame:
    """Each latent's effect against each factor's, view by view: are they alike, and as large?

    views, factors : rows that say where high and low are, and which way round a latent goes with a factor (the sign of
        their correlation). starts : the numbers of the rows that latents are moved from; by default 24, evenly spread.
    truth : {factor: {view: effect}} for a step of the factor between the same ends (`step`), of a row's shape, or
        (s, *shape), what the factor does in each starting row. By default what these rows say (`factor_effects`).

    Returns
    -------
    A row a latent, factor and view:

    - r : correlation about zero over the view's elements, ``e.t / |e||t|`` (the congruence of Tucker, 1951), of the
      effect averaged over starts, or, where the truth is known for each start, over the elements of all starts; low and
      high, 95 % of what it is when the starts are drawn anew `draws` times;
    - gain : ``e.t / t.t``, how much of the factor's effect the latent's has: 1 all, 0 none;
    - moves and should : how large the latent's effect and the factor's are, in standard deviations of the data
      (root mean squares over elements).

    A table of numbers (rt, pupil) is taken in standard deviations of its columns, since their units differ. Where the
    factor does nothing to a view (`should` near 0), r says nothing: look at `moves`, which should be near 0 too.

    >>> from ivekit.models import MultimodalVAE
    >>> from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
    >>> model = MultimodalVAE(dict(a=MLPEncoder(3, 8)), ProductOfExperts("a", 8, 2), dict(a=Gaussian(MLPDecoder(2, 3))))
    >>> x = torch.randn(40, 3)
    >>> found = match_effects(model, Views({"a": x}), pd.DataFrame({"size": x[:, 0].numpy()}))
    >>> list(found.columns)
    ['block', 'index', 'factor', 'view', 'r', 'low', 'high', 'gain', 'moves', 'should']
    """
    latents, rows = latents or every_latent(model, views), _rows(views, starts, 24)
    truth = truth or factor_effects(views, factors)
    z = {block: q.mean.cpu() for block, q in beliefs(model, views).items()}
    codes = [(z[block] @ direction_of(z, block, index)).double().numpy() for block, index in latents]
    signs = _signs(np.stack(codes, 1), np.stack([_column(views, factors[name]) for name in truth], 1))
    effects = latent_effects(model, views[rows], [step(code) for code in codes], latents)
    found = []
    for view in dict.fromkeys(view for of in truth.values() for view in of):
        told = _flat(views, view, effects[view], 2)
        for j, factor in enumerate(truth):
            if view in truth[factor]:
                numbers = _likeness(told, _true(views, view, truth[factor][view], rows), draws, seed)
                for (block, index), sign, (r, low, high, gain, moves, should) in zip(latents, signs[:, j], numbers.T):
                    ends = sorted((sign * low, sign * high))
                    name = index if isinstance(index, int) else "direction"
                    found.append((block, name, factor, view, sign * r, *ends, sign * gain, moves, should))
    columns = ["block", "index", "factor", "view", "r", "low", "high", "gain", "moves", "should"]
    return pd.DataFrame(found, columns=pd.Index(columns))


def check_effect(
    model: Any,
    views: Views,
    latent: Latent,
    factor: Real[Any, "b"],
    truth: Mapping[str, Any],
    among: Sequence[str] | None = None,
    starts: Sequence[int] | Int[Any, "s"] | None = None,
    draws: int = 99,
    seed: int = 0,
) -> Check:
    """Does moving a latent do what its factor does, more than moving along any other direction would?

    views : rows that say where high and low are; factor, its value in each. truth : {view: the factor's effect}, of the
        views that it drives, of a row's shape or one a start (`match_effects`). starts : by default 8 rows.
    among : the blocks whose active latents the other directions are drawn from; by default the latent's own.

    The value is the correlation about zero of both effects, mean over the views of `truth`. The null are directions
    drawn evenly, each moved between the ends of its own codes and turned so that it goes with the factor: what any
    rotation of the latents would have done as well is no merit of this one. It passes when fewer than one in twenty is
    as good. The note names the views, and the best other latent.

    Raises
    ------
    ValueError : when there are fewer than two active latents (Burda et al., 2016), and so no other direction.

    >>> from ivekit.models import MultimodalVAE
    >>> from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
    >>> model = MultimodalVAE(dict(a=MLPEncoder(3, 8)), ProductOfExperts("a", 8, 2), dict(a=Gaussian(MLPDecoder(2, 3))))
    >>> x = 9 * torch.randn(40, 3)
    >>> check_effect(model, Views({"a": x}), ("shared", 0), x[:, 0], {"a": torch.tensor([1.0, 0, 0])}).name
    'effect'
    """
    z = {block: q.mean.cpu() for block, q in beliefs(model, views).items()}
    own, blocks = direction_of(z, *latent), list(among or [latent[0]])
    axes, n_others = _directions(z, latent[0], own, blocks, draws, seed)
    joint = torch.cat([z[block] for block in blocks], 1)
    codes = (joint @ axes.mT).double().numpy()
    rows = _rows(views, starts, 8)
    path = moved({"": joint[rows]}, [("", axis) for axis in axes], [step(code) for code in codes.T])[""]
    others = {name: repeat(x[rows], "s k -> l s v k", l=len(axes), v=2) for name, x in z.items()}
    parts = dict(zip(blocks, path.split([z[block].shape[1] for block in blocks], -1)))
    said = decoded(model, views[rows], others | parts)
    sign = _signs(codes, _column(views, pd.Series(np.asarray(factor, float)))[:, None])[:, 0]
    r = {}
    for view, effect in truth.items():
        told = _flat(views, view, said[view][:, :, 1] - said[view][:, :, 0], 2)
        r[view] = sign * _likeness(told, _true(views, view, effect, rows), 1, seed)[0]
    each = np.mean(list(r.values()), axis=0)
    null, rest = each[1 + n_others :], each[1 : 1 + n_others].max()
    note = f"{', '.join(f'{view} {x[0]:.2f}' for view, x in r.items())}; the best other latent {rest:.2f}"
    check = Check("effect", float(each[0]), null, note=note)
    return Check(check.name, check.value, null, check.p <= 0.05, note)


# what they are made of ---------------------------------------------------------------------------------------------


def _directions(
    z: Mapping[str, Float[Tensor, "b _"]],
    block: str,
    own: Float[Tensor, "k"],
    blocks: Sequence[str],
    draws: int,
    seed: int,
) -> tuple[Float[Tensor, "n j"], int]:
    """The latent's own direction among the latents of some blocks, the other active latents, and random directions."""
    if block not in blocks:
        raise ValueError(f"the latent is of block {block!r}, the other directions would be of {list(blocks)}")
    mine = torch.cat([own if name == block else torch.zeros(z[name].shape[1]) for name in blocks])
    active = torch.cat([z[name].var(0) for name in blocks]) > ACTIVE
    if int(active.sum()) < 2:
        raise ValueError(f"{int(active.sum())} latents of {list(blocks)} are active: name more blocks in `among`")
    rest = torch.eye(len(mine))[active & (mine.abs() < mine.abs().max())]
    random = torch.randn(draws, len(mine), generator=torch.Generator().manual_seed(seed)) * active
    return torch.cat([mine[None], rest, random / random.norm(dim=1, keepdim=True)]), len(rest)


def _column(views: Views, values: pd.Series) -> Float[ndarray, "b"]:
    x, name = values.to_numpy(float), "" if values.name is None else f" {values.name!r}"
    if len(x) != len(views):
        raise ValueError(f"{len(x)} rows of the factor{name} for {len(views)} rows of views")
    if not np.isfinite(x).all():
        raise ValueError(f"{int((~np.isfinite(x)).sum())} rows of the factor{name} are no numbers: leave them out")
    return x


def _rows(views: Views, starts: Any, n: int) -> Int[Tensor, "s"]:
    if starts is None:
        return torch.linspace(0, len(views) - 1, min(n, len(views))).round().long()
    return torch.as_tensor(np.asarray(starts, int))


def _mean_row(views: Views, view: str, rows: Bool[ndarray, "b"]) -> Float[Tensor, "*shape"]:
    some = torch.from_numpy(rows)
    x, there = views[view][some], views.present[view][some]
    there = there.reshape(*there.shape, *[1] * (x.ndim - there.ndim)).expand_as(x)
    return torch.where(there, x, 0).double().sum(0).div(there.sum(0).clamp(min=1)).to(torch.get_default_dtype())


def _signs(codes: Float[ndarray, "b l"], factors: Float[ndarray, "b f"]) -> Float[ndarray, "l f"]:
    """Which way round each latent goes with each factor."""
    return np.where((codes - codes.mean(0)).T @ (factors - factors.mean(0)) < 0, -1.0, 1.0)


def _flat(views: Views, view: str, x: Any, lead: int) -> Float[ndarray, "*lead p"]:
    """Effects as rows of numbers, in standard deviations of the data: of the whole view, or of a table's columns."""
    sd = views[view].float().std(0).clamp(min=1e-12)
    unit = sd if sd.ndim == 1 else sd.square().mean().sqrt()
    scaled = torch.as_tensor(x).float() / unit  # films of many directions and starts are large
    return scaled.reshape(*scaled.shape[:lead], -1).numpy()


def _true(views: Views, view: str, effect: Any, rows: Int[Tensor, "s"]) -> Float[ndarray, "*s p"]:
    """A factor's effect as a row of numbers, or as one a start."""
    shape, row = tuple(effect.shape), tuple(views[view].shape[1:])
    if shape not in (row, (len(rows), *row)):
        raise ValueError(f"the effect on {view!r} is of a row's shape {row}, or of {len(rows)} starts', got {shape}")
    return _flat(views, view, effect, len(shape) - len(row))


def _likeness(e: Float[ndarray, "l s p"], t: Float[ndarray, "*s p"], draws: int, seed: int) -> Float[ndarray, "6 l"]:
    """r, its interval, gain and both sizes. Of drawn starts only the products of effects are needed."""
    _, s, p = e.shape
    random = np.random.default_rng(seed).multinomial(s, np.full(s, 1 / s), draws) / s
    weights = np.concatenate([np.full((1, s), 1 / s), random])  # the starts as they are, and drawn anew
    if t.ndim == 1:  # of mean effects
        dots, sizes = einsum(weights, e @ t, "d s, l s -> l d"), np.full(len(weights), t @ t)
        squares = einsum(weights, einsum(e, e, "l s p, l u p -> l s u"), weights, "d s, l s u, d u -> l d")
    else:  # of all starts, each with its own truth
        dots = einsum(weights, einsum(e, t, "l s p, s p -> l s"), "d s, l s -> l d")
        squares, sizes = einsum(weights, np.square(e).sum(2), "d s, l s -> l d"), weights @ np.square(t).sum(1)
    r = dots / np.sqrt(np.maximum(squares * sizes, 1e-300))
    low, high = np.quantile(r[:, 1:], [0.025, 0.975], axis=1)
    moves = np.sqrt(np.maximum(squares[:, 0], 0) / p)
    gain = dots[:, 0] / max(sizes[0], 1e-300)
    return np.stack([r[:, 0], low, high, gain, moves, np.full(len(e), (sizes[0] / p) ** 0.5)])
