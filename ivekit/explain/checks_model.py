"""Does an explanation depend on what the model learnt? Checks against networks that learnt nothing, or learnt anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import nn

from ..views import Views
from .check import Check, Explainer, Target
from .maps import Maps, Match, assigned, codes, latent_of, one_latent, ranked, ranked_with_sign, told
from .randomise import layers, randomised, shuffled_pairs

Retrain = Callable[[int, Views], nn.Module]
ALPHA, MOST = 0.05, 999  # the level of a single check; permutations that are counted where there are more


def check_weights(
    model: nn.Module,
    views: Views,
    target: Target,
    explainer: Explainer,
    others: Sequence[nn.Module] = (),
    draws: int = 19,
    match: Match = assigned,
    seed: int = 0,
) -> Check:
    """Is the explanation another one when the weights are random (Adebayo et al., 2018)?

    others : the same model trained with other seeds: how alike explanations can be is their agreement with this one.
    draws : networks with random weights. match : which question to ask the others (latents come in another order).

    With others, ``(rho_seeds - rho_random) / (1 - rho_random)``, rho being the rank correlation over elements of |map|
    with the model's own, the mean over rows. Its null: retrained and random networks change places, in all ways.
    Passed when p <= 0.05 and the lower end of the 95 % bootstrap interval over rows is above 0, in the worst view.

    Without others there is no ceiling but 1, to which everything that is not blind compares well. What can be asked is
    less: is the map unlike those of networks that learnt nothing? The value is how far off it is in three ways
    (agreement with their maps, agreement between rows, concentration), in their standard deviations, root mean square;
    its null is the same for each of them among the others.

    >>> views, edges = Views({"a": torch.rand(8, 6)}), lambda model, views, target: {"a": views["a"].diff()}
    >>> check_weights(nn.Identity(), views, len, edges)
    weights: 0, by chance up to 0 (p = 1, 19 draws): FAILED
    """
    own = explainer(model, views, target)
    blank = [randomised(model, seed + i) for i in range(draws)]
    if not others:
        return _unlike_random(own, [explainer(net, views, target) for net in blank])
    alike, blind = ([explainer(n, views, match(model, n, views, target)) for n in nets] for nets in (others, blank))
    return _against("weights", own, alike, blind, "random weights", seed)


def cascade(
    model: nn.Module, views: Views, target: Target, explainer: Explainer, draws: int = 1, seed: int = 0
) -> pd.DataFrame:
    """How alike an explanation stays while layers are re-initialised one after the other, from the output back.

    Each line has the layers of the lines above it at random weights as well. Rank correlation of |map| with that of
    the whole model, by view, the mean over rows and draws; of a faithful explanation it falls at once.

    >>> from ivekit.models import MultimodalVAE
    >>> from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
    >>> model = MultimodalVAE({"a": MLPEncoder(3, 4)}, ProductOfExperts("a", 4, 2), {"a": Gaussian(MLPDecoder(2, 3))})
    >>> edges = lambda model, views, target: {"a": views["a"].diff()}
    >>> cascade(model, Views({"a": torch.rand(8, 3)}), lambda out: out.z["shared"][:, 0], edges).round(3)
                          a
    none                1.0
    posterior.heads.a   1.0
    encoders.a.net.4    1.0
    encoders.a.net.2    1.0
    encoders.a.net.0    1.0
    """
    own, order = explainer(model, views, target), layers(model, views, target)
    names, reset, lines = told(own), [], [{name: 1.0 for name in told(own)}]
    for stage in order:
        reset = [*reset, *stage]
        each = [explainer(randomised(model, seed + i, reset), views, target) for i in range(draws)]
        lines.append({name: float(_agreement(own, each, name).mean()) for name in names})
    return pd.DataFrame(lines, index=["none", *(" + ".join(stage) for stage in order)])


def check_labels(
    model: nn.Module,
    views: Views,
    target: Target,
    explainer: Explainer,
    retrain: Retrain,
    data: Views,
    others: Sequence[nn.Module] = (),
    draws: int = 3,
    shuffle: Callable[[Views, int], Views] = shuffled_pairs,
    match: Match = assigned,
    seed: int = 0,
) -> Check:
    """Is the explanation another one when the model had nothing to learn (Adebayo et al., 2018)?

    retrain : ``(seed, data) -> model``. data : training rows, whose views `shuffle` pairs at random, so that nothing is
    shared (for a latent of one view's own block another way of shuffling is needed). others : models trained on `data`
    itself; two are trained when there are none.

    The value is that of `check_weights`. Few networks can be trained, so p can only be as small as their number allows:
    passed when no other way of calling them shuffled does better and the bootstrap bound over rows is above 0.

    >>> views, edges = Views({"a": torch.rand(8, 6)}), lambda model, views, target: {"a": views["a"].diff()}
    >>> check_labels(nn.Identity(), views, len, edges, lambda seed, data: nn.Identity(), views)
    labels: 0, by chance up to 0 (p = 1, 9 draws): FAILED
    """
    own = explainer(model, views, target)
    others = others or [retrain(seed + 1000 + i, data) for i in range(2)]
    blank = [retrain(seed + i, shuffle(data, seed + i)) for i in range(draws)]
    alike, blind = ([explainer(n, views, match(model, n, views, target)) for n in nets] for nets in (others, blank))
    return _against("labels", own, alike, blind, "shuffled pairs", seed)


def check_stability(
    model: nn.Module,
    views: Views,
    target: Target,
    explainer: Explainer,
    others: Sequence[nn.Module],
    match: Match = assigned,
) -> Check:
    """Does a model trained with another seed give the same explanation of the latent that is this one's partner?

    Rank correlation over elements, with signs, of the model's map with those of `others`, the mean over rows and
    models; its null, their other latents of the same block. Latents are paired by `match`. Passed when all of them
    are less alike, or p <= 0.05; in the worst view.

    >>> check_stability(nn.Identity(), Views({"a": torch.rand(8)}), lambda out: out["a"], lambda *_: {}, [])
    Traceback (most recent call last):
    ValueError: stability is that of one latent over models of other seeds: give such a target and `others`
    """
    latent = latent_of(model, views, target)
    if latent is None or not others:
        raise ValueError("stability is that of one latent over models of other seeds: give such a target and `others`")
    own, block = explainer(model, views, target), latent[0]
    partners = [explainer(net, views, match(model, net, views, target)) for net in others]
    wrong = [(net, question) for net in others for question in _rivals(model, net, views, target, match)]
    strangers = [explainer(net, views, question) for net, question in wrong]
    if not strangers:
        raise ValueError(f"block {block!r} has a single latent: there is none to take it for")
    found = []
    for name in told(own):
        value = float(_agreement(own, partners, name, ranked_with_sign).mean())
        null = np.abs(_agreement(own, strangers, name, ranked_with_sign).mean(1))
        found.append((value, null, name))
    value, null, worst = min(found, key=lambda view: view[0] - view[1].max())
    said = ", ".join(f"{name} {v:.2f}" for v, _, name in found)
    return _passing(Check("seeds", value, null, note=f"{said} ({len(others)} models); worst view: {worst}"))


def check_specificity(
    model: nn.Module,
    views: Views,
    target: Target,
    explainer: Explainer,
    rivals: Sequence[Target] | None = None,
    draws: int = MOST,
    seed: int = 0,
) -> Check:
    """Can this latent's map be told from those of the other latents of its block?

    rivals : the other questions; by default the block's other latents. Each row's maps are compared with the mean maps
    of other rows (the other half) by rank correlation of |map|, and called by the most alike. The value is how often
    the target's map is called by its name, less how often a rival's is; its null, the names of a row's maps drawn
    anew. Passed when p <= 0.05, in the worst view.

    >>> views, (first, second) = Views({"a": torch.rand(20, 2)}), (lambda out: out["a"][:, i] for i in (0, 1))
    >>> right = lambda model, views, target: {"a": torch.eye(2)[int(target is second)].expand(20, 2)}
    >>> check_specificity(nn.Identity(), views, first, right, [second]).passed
    True
    """
    rivals = list(_rivals(model, model, views, target, assigned) if rivals is None else rivals)
    if not rivals:
        raise ValueError("there is no other latent in the block; give rivals=, such as the logits of other classes")
    if len(views) < 4:
        raise ValueError(f"{len(views)} rows are too few to compare with the mean of others; give at least 4")
    maps = [explainer(model, views, question) for question in (target, *rivals)]
    found, generator = [], np.random.default_rng(seed)
    for name in told(maps[0]):
        called = _called(np.stack([ranked({name: each[name]})[name] for each in maps], 1), generator)
        named = generator.integers(len(maps), size=(draws, len(called)))
        null = np.array([_informed(called, one) for one in named])
        found.append((_informed(called, np.zeros(len(called), int)), null, name))
    value, null, worst = min(found, key=lambda view: view[0])
    said = ", ".join(f"{name} {v:.2f}" for v, _, name in found)
    return _passing(Check("specificity", value, null, note=f"{said}, among {len(maps)}; worst view: {worst}"))


# what they are made of ---------------------------------------------------------------------------------------------


def _passing(check: Check) -> Check:
    """Passed when chance reaches the value in at most 5 %, or, with too few draws for that, never."""
    check = Check(check.name, round(check.value, 9), check.null.round(9), note=check.note)  # no wins by rounding errors
    fine = check.value > 0 and check.p <= max(ALPHA, 1 / (1 + len(check.null)))
    return replace(check, passed=bool(fine))


def _agreement(own: Maps, others: Sequence[Maps], name: str, rank: Any = ranked) -> Float[ndarray, "n b"]:
    """Rank correlation with other maps of the same rows, by map and row."""
    mine = rank({name: own[name]})[name]
    return np.stack([(mine * rank({name: other[name]})[name]).sum(1) for other in others])


def _against(name: str, own: Maps, seeds: Sequence[Maps], blank: Sequence[Maps], what: str, seed: int) -> Check:
    """Agreement with maps of equal models, against that with maps of models that know nothing; of the worst view."""
    found = []
    for view in told(own):
        alike, blind = _agreement(own, seeds, view), _agreement(own, blank, view)
        null, bound = _exchanged(alike.mean(1), blind.mean(1), seed), _lower_bound(alike.mean(0), blind.mean(0), seed)
        check = _passing(Check(name, float(_normalised(alike.mean(), blind.mean())), null))
        said = f"{view}: {alike.mean():.2f} with other seeds ({len(seeds)}), {blind.mean():.2f} with {what}"
        found.append((check.passed and bound > 0, check, f"{said}, bound {bound:.2f}"))
    fine, check, _ = min(found, key=lambda view: (view[0], view[1].value))
    return Check(name, check.value, check.null, fine, "; ".join(note for *_, note in found))


def _normalised(seeds: Any, blind: Any) -> Float[ndarray, "*n"]:
    """(seeds - blind) / (1 - blind), and 0 where nothing changes anything."""
    room = np.asarray(1 - blind, float)
    return np.divide(seeds - blind, room, out=np.zeros_like(room), where=room > 1e-9)


def _exchanged(seeds: Float[ndarray, "n"], blind: Float[ndarray, "m"], seed: int) -> Float[ndarray, "draws"]:
    """The statistic when n of the n + m networks are called retrained, in all other ways or in many drawn ones."""
    pool, n = np.concatenate([seeds, blind]), len(seeds)
    if comb(len(pool), n) - 1 <= MOST:
        chosen = np.array(list(combinations(range(len(pool)), n)))[1:]  # the first is how it is
    else:
        generator = np.random.default_rng(seed)
        chosen = generator.random((MOST, len(pool))).argsort(1)[:, :n]
    mean = pool[chosen].mean(1)
    return _normalised(mean, (pool.sum() - n * mean) / (len(pool) - n))


def _lower_bound(seeds: Float[ndarray, "b"], blind: Float[ndarray, "b"], seed: int) -> float:
    """The lower end of the 95 % bootstrap interval over rows of the normalised difference."""
    rows = np.random.default_rng(seed).integers(len(seeds), size=(MOST, len(seeds)))
    return float(np.quantile(_normalised(seeds[rows].mean(1), blind[rows].mean(1)), 0.025))


def _unlike_random(own: Maps, blank: Sequence[Maps]) -> Check:
    """How far a map is from those of random networks, against how far each of them is from the rest."""
    features = np.concatenate([_features([m[name] for m in (own, *blank)]) for name in told(own)], 1)
    off = np.array([_off(features, i) for i in range(len(features))])
    agree = ", ".join(f"{name} {_agreement(own, blank, name).mean():.2f}" for name in told(own))
    note = f"rank correlation with random networks: {agree}; no other seeds were given, so the ceiling is 1"
    return _passing(Check("weights", float(off[0]), off[1:], note=note))


def _features(maps: Sequence[torch.Tensor]) -> Float[ndarray, "n 3"]:
    """Of each of several networks' maps of one view: agreement with the others', between rows, and concentration."""
    ranks = np.stack([ranked({"": m})[""] for m in maps])  # (n, b, elements)
    alike = np.einsum("ibp,jbp->ij", ranks, ranks) / ranks.shape[1]
    with_others = (alike.sum(1) - alike.diagonal()) / (len(maps) - 1)
    between_rows = np.square(ranks.mean(1)).sum(1)
    sizes = [m.detach().abs().flatten(1).double() for m in maps]
    peaked = [float((x.norm(dim=1) / x.sum(1).clamp(min=1e-300)).mean()) for x in sizes]
    return np.stack([with_others, between_rows, np.log(np.maximum(peaked, 1e-300))], 1)


def _off(features: Float[ndarray, "n f"], i: int) -> float:
    """How far one is from the rest in standard deviations of the rest, root mean square over features."""
    rest = np.delete(features, i, axis=0)
    sd = rest.std(0, ddof=1)
    far = np.divide(features[i] - rest.mean(0), sd, out=np.zeros(len(sd)), where=sd > 1e-9)
    return float(np.sqrt(np.square(far).mean()))


def _rivals(model: nn.Module, other: nn.Module, views: Views, target: Target, match: Match) -> list[Target]:
    """The other latents of the block that the target's partner in the other model is in."""
    latent = latent_of(model, views, target)
    if latent is None:
        raise ValueError("the target is no latent of the model, so it has no other latents beside it: give rivals=")
    found = latent_of(other, views, match(model, other, views, target)) or latent
    return [one_latent(found[0], i) for i in range(codes(other, views)[found[0]].shape[1]) if i != found[1]]


def _called(ranks: Float[ndarray, "b k n"], generator: np.random.Generator) -> Int[ndarray, "b k"]:
    """Which question each row's maps are most like, by the mean maps of the other half of the rows; ties by lot."""
    halves = np.arange(len(ranks)) % 2
    called = np.zeros(ranks.shape[:2], int)
    for half in (0, 1):
        means = ranks[halves != half].mean(0)
        means = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        alike = np.einsum("bkn,ln->bkl", ranks[halves == half], means).round(9)
        called[halves == half] = (alike + 1e-10 * generator.random(alike.shape)).argmax(-1)
    return called


def _informed(called: Int[ndarray, "b k"], which: Int[ndarray, "b"]) -> float:
    """How often the map that is the target's in a row is called so, less how often another is.

    The names of a row's maps are exchanged between `which` and the target, number 0, when chance is drawn.
    """
    rows = np.arange(len(called))
    own = called[rows, which] == 0
    others = ((called == 0).sum(1) - own) / (called.shape[1] - 1)
    return float((own - others).mean())
