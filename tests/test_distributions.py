"""Distributions: the formulas of torch.distributions, masks that let nothing through, and the algebra of beliefs."""

from __future__ import annotations

import pytest
import torch
from torch import distributions as oracle
from torch.distributions import kl_divergence

from ivekit.distributions import (
    Bernoulli,
    Categorical,
    Delta,
    Laplace,
    Mixture,
    Normal,
    Standardised,
    Votes,
    kl_by_latent,
    product,
    standard_normal_like,
)
from ivekit.noise import share_of_batch
from ivekit.signal import Whiten, ZScore

B, EVENT, S = 6, (3, 4), 2


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def whitened(loc: torch.Tensor) -> Standardised:
    x = 30 * noise(40, *EVENT, seed=9)
    return Standardised(Normal(loc, 0.5), Whiten().fit(x, torch.ones(40, dtype=torch.bool)))


def z_scored(loc: torch.Tensor) -> Standardised:
    x = 30 * noise(40, *EVENT, seed=9)
    return Standardised(Laplace(loc, 0.5), ZScore().fit(x, torch.ones(40, dtype=torch.bool)))


# A likelihood from its parameters (b, 3, 4), data for it, and the same in torch.distributions where that has it.
LIKELIHOODS = {
    "Normal": (lambda a: Normal(a, 0.7), noise, lambda a: oracle.Normal(a, 0.7)),
    "Normal, a scale a column": (
        lambda a: Normal(a, torch.arange(1.0, 5.0)),
        noise,
        lambda a: oracle.Normal(a, torch.arange(1.0, 5.0)),
    ),
    "Normal, a scale a row": (
        lambda a: Normal(a, torch.arange(1.0, 1 + len(a))[:, None, None]),
        noise,
        lambda a: oracle.Normal(a, torch.arange(1.0, 1 + len(a))[:, None, None]),
    ),
    "Normal, a scale each": (lambda a: Normal(a, a.exp()), noise, lambda a: oracle.Normal(a, a.exp())),
    "Laplace": (lambda a: Laplace(a, 0.7), noise, lambda a: oracle.Laplace(a, 0.7)),
    "Laplace, a scale each": (lambda a: Laplace(a, a.exp()), noise, lambda a: oracle.Laplace(a, a.exp())),
    "Bernoulli": (Bernoulli, lambda *s: (noise(*s) > 0).float(), lambda a: oracle.Bernoulli(logits=a)),
    "Categorical": (
        lambda a: Categorical(torch.stack([a, -a, 2 * a], -1)),
        lambda *s: (noise(*s) > 0).long() + 1,
        lambda a: oracle.Categorical(logits=torch.stack([a, -a, 2 * a], -1)),
    ),
    "Whiten": (whitened, noise, None),
    "ZScore": (z_scored, noise, None),
}
each = pytest.mark.parametrize("name", LIKELIHOODS)
with_oracle = pytest.mark.parametrize("name", [name for name, (_, _, o) in LIKELIHOODS.items() if o])


def made(name: str, rows: int = B):
    make, data, _ = LIKELIHOODS[name]
    return make, noise(rows, *EVENT, seed=1), data(rows, *EVENT)


MASKS = {
    "rows": torch.arange(B) % 3 > 0,
    "elements": noise(B, *EVENT, seed=2) > 0,
    "nothing": torch.zeros(B, dtype=torch.bool),
    "everything": torch.ones(B, *EVENT, dtype=torch.bool),
}


def elements(mask: torch.Tensor | None) -> torch.Tensor:
    """A mask of rows or elements, or none, as one of elements."""
    if mask is None or mask.ndim == 3:
        return torch.ones((), dtype=torch.bool) if mask is None else mask
    return mask[:, None, None].expand(len(mask), *EVENT)


# likelihoods ---------------------------------------------------------------------------------------------------


@with_oracle
@pytest.mark.parametrize("mask", [None, *MASKS])
def test_log_prob_is_that_of_torch(name, mask):
    make, a, x = made(name)
    mask = MASKS.get(mask)
    log_p = LIKELIHOODS[name][2](a).log_prob(x)
    torch.testing.assert_close(make(a).log_prob(x, mask), torch.where(elements(mask), log_p, 0).sum((1, 2)))


@with_oracle
def test_moments_are_those_of_torch(name):
    make, a, _ = made(name)
    p, q = make(a), LIKELIHOODS[name][2](a)
    if name == "Categorical":
        torch.testing.assert_close(p.mean, q.probs)
        assert torch.equal(p.mode, q.probs.argmax(-1))
        return
    for moment in ("mean", "variance", "stddev", "mode"):
        if moment == "mode" and name == "Bernoulli":
            assert torch.equal(p.mode, (q.probs > 0.5).float())
        else:
            torch.testing.assert_close(getattr(p, moment), getattr(q, moment))
    if name != "Bernoulli":
        torch.testing.assert_close(p.entropy(), q.entropy().sum((1, 2)))


@each
def test_samples_have_the_shape_and_the_moments_said(name):
    make, a, x = made(name)
    torch.manual_seed(0)
    p = make(a)
    drawn = p.sample((4000,))
    assert p.sample().shape == x.shape == drawn.shape[1:] and p.batch_shape + p.event_shape == x.shape
    assert not drawn.requires_grad and p.sample().dtype in (torch.float32, torch.int64)
    if name == "Categorical":
        share = torch.stack([(drawn == k).float().mean(0) for k in range(3)], -1)
        torch.testing.assert_close(share, p.mean, atol=0.04, rtol=0)
        return
    error = (drawn.mean(0) - p.mean) / p.stddev
    assert error.abs().max() < 5 / 4000**0.5
    torch.testing.assert_close(drawn.std(0), p.stddev, rtol=0.12, atol=0.01)
    assert p.mode.shape == p.mean.shape == x.shape


@each
@pytest.mark.parametrize("mask", ["rows", "elements", "nothing"])
def test_what_is_masked_reaches_neither_value_nor_gradient(name, mask):
    make, a, x = made(name)
    mask, results = MASKS[mask], []
    hidden = ~elements(mask)
    for garbage in (0, 1, 10**6, torch.nan, -torch.inf):
        if name == "Categorical" and not 0 <= garbage < 3:
            continue
        spoilt = torch.where(hidden, torch.tensor(garbage, dtype=x.dtype), x)
        a.requires_grad_(True).grad = None
        value = make(a).log_prob(spoilt, mask)
        value.sum().backward()
        results.append((value.detach(), a.grad))
    for value, gradient in results:
        assert torch.equal(value, results[0][0]) and torch.equal(gradient, results[0][1])
        assert value.isfinite().all() and gradient.isfinite().all()
        if name != "Whiten":  # which mixes what is there, but only that
            assert (gradient[hidden] == 0).all()
        assert (value[~mask.flatten(1).any(1) if mask.ndim == 3 else ~mask] == 0).all()
        assert (gradient[~mask if mask.ndim == 1 else ~mask.flatten(1).any(1)] == 0).all()


def test_labels_that_are_masked_may_be_nan_or_none_of_the_classes():
    mask = torch.tensor([True, False, False, True])
    p = Categorical(noise(4, 3))
    torch.testing.assert_close(
        p.log_prob(torch.tensor([1.0, torch.nan, -1.0, 2.0]), mask), p.log_prob(torch.tensor([1, 0, 0, 2]), mask)
    )


@each
@pytest.mark.parametrize("mask", [None, "rows", "elements"])
def test_one_copy_of_a_stacked_batch_is_the_repeated_batch(name, mask):
    make, _, x = made(name, B)
    a = noise(S * B, *EVENT, seed=3)
    masks = {"rows": noise(S * B, seed=4) > 0, "elements": noise(S * B, *EVENT, seed=4) > 0}.get(mask)
    repeated = torch.cat([x] * S)
    torch.testing.assert_close(make(a).log_prob(x, masks), make(a).log_prob(repeated, masks))
    if mask and x.is_floating_point():  # what no copy is scored on may hold anything
        scored = elements(masks).unflatten(0, (S, B)).any(0)
        spoilt = torch.where(scored, x, torch.nan)
        torch.testing.assert_close(make(a).log_prob(spoilt, masks), make(a).log_prob(x, masks))


def test_one_number_a_row():
    x, loc = noise(5), noise(5, seed=1)
    for ours, theirs in ((Normal, oracle.Normal), (Laplace, oracle.Laplace)):
        torch.testing.assert_close(ours(loc, 0.7).log_prob(x), theirs(loc, 0.7).log_prob(x))
        torch.testing.assert_close(ours(loc, 0.7).log_prob(x, x > 0), theirs(loc, 0.7).log_prob(x) * (x > 0))
        torch.testing.assert_close(ours(loc, loc.exp()).log_prob(x), theirs(loc, loc.exp()).log_prob(x))


def test_as_many_scales_as_rows_or_as_columns_are_not_taken_for_one_another():
    """Two rows of two columns: a scale a column is no scale a row."""
    x, loc, scale = noise(2, 2), noise(2, 2, seed=1), torch.tensor([0.5, 3.0])
    for spread in (scale, scale[:, None], scale[None]):
        torch.testing.assert_close(Normal(loc, spread).log_prob(x), oracle.Normal(loc, spread).log_prob(x).sum(1))


def test_whole_numbers_are_scored_as_real_ones():
    counts, a = torch.tensor([[0, 3], [1, 2]]), torch.tensor([[0.4, 2.6], [1.2, 1.9]])
    for p in (Normal(a, 0.5), Laplace(a, 0.5)):
        torch.testing.assert_close(p.log_prob(counts), p.log_prob(counts.float()))
    yes = counts > 1
    torch.testing.assert_close(Bernoulli(a).log_prob(yes), Bernoulli(a).log_prob(yes.float()))
    torch.testing.assert_close(Bernoulli(a).log_prob(yes.long()), Bernoulli(a).log_prob(yes.float()))


def test_a_mean_in_half_precision_is_scored_in_full():
    x, loc = noise(4, 1000), noise(4, 1000, seed=1)
    half = Normal(loc.bfloat16(), 0.05)
    assert half.log_prob(x).dtype == torch.float32 and half.rsample().shape == x.shape
    exact = oracle.Normal(loc.bfloat16().float(), 0.05).log_prob(x).sum(1)
    torch.testing.assert_close(half.log_prob(x), exact)
    torch.testing.assert_close(Normal(loc.bfloat16(), torch.tensor(0.05)).log_prob(x), exact)


def test_classes_told_in_half_precision_are_scored_in_full():
    logits, label = noise(4, 3, 5).bfloat16(), torch.tensor([0, 4, 2, 1])
    one = oracle.Categorical(logits=logits[:, 0].float()).log_prob(label)
    assert Categorical(logits[:, 0]).log_prob(label).dtype == torch.float32
    torch.testing.assert_close(Categorical(logits[:, 0]).log_prob(label), one, atol=1e-6, rtol=0)
    several = oracle.Categorical(logits=logits.float()).log_prob(label[:, None]).mean(1)
    torch.testing.assert_close(Votes(logits).log_prob(label), several, atol=1e-6, rtol=0)
    doubled = logits.double()  # what is more than single precision stays so
    assert Categorical(doubled[:, 0]).log_prob(label).dtype == Votes(doubled).log_prob(label).dtype == torch.float64


def test_noise_is_that_of_the_row_whatever_the_share():
    rows = torch.tensor([1, 3, 4])
    for p in (
        Normal(noise(2 * B, 3), 0.5),
        Laplace(noise(2 * B, 3), 0.5),
        Bernoulli(noise(2 * B, 3)),
        Categorical(noise(2 * B, 3)),
    ):
        whole_seed = torch.manual_seed(3)
        whole = p.sample((5,)).unflatten(1, (2, B))[:, :, rows].flatten(1, 2)
        torch.manual_seed(whole_seed.initial_seed())
        parameter = "loc" if hasattr(p, "loc") else "logits"
        part = getattr(p, parameter).unflatten(0, (2, B))[:, rows].flatten(0, 1)
        mine = type(p)(part, 0.5) if parameter == "loc" else type(p)(part)
        with share_of_batch(rows, of=B):
            assert torch.equal(mine.sample((5,)), whole)


@pytest.mark.parametrize("u", [0.0, 0.25, 0.5, 0.75])
def test_a_laplace_is_drawn_by_its_quantiles_and_never_infinite(u, monkeypatch):
    monkeypatch.setattr("ivekit.distributions.normal.noise", lambda *_: torch.full((2, 3), u))
    loc, scale = noise(2, 3), noise(2, 3, seed=1).exp()
    drawn, quantile = Laplace(loc, scale).rsample(), oracle.Laplace(loc, scale).icdf(torch.tensor(max(u, 1e-7)))
    torch.testing.assert_close(drawn, quantile, rtol=2e-2 if u == 0 else 1e-5, atol=1e-5)  # 1e-7 is about one rounding


def test_what_can_be_drawn_with_its_gradient_says_so():
    for p in (Normal(noise(2, 3), 1.0), Laplace(noise(2, 3), 1.0), Delta(noise(2, 3)), mixture()[0]):
        assert p.has_rsample and p.rsample().shape == p.batch_shape + p.event_shape


def test_a_share_ends_with_its_block():
    with pytest.raises(RuntimeError, match="stop"), share_of_batch(torch.tensor([0]), of=2):
        raise RuntimeError("stop")
    assert Normal(torch.zeros(3, 1), 1.0).rsample().shape == (3, 1)


# beliefs -------------------------------------------------------------------------------------------------------


def beliefs(m: int = 3, b: int = 5, k: int = 4):
    return 2 * noise(m, b, k), noise(m, b, k, seed=1), noise(m, b, seed=2) > -0.3


def test_the_product_is_that_of_the_densities_and_the_prior():
    mean, log_variance, present = beliefs()
    mu, lv = product(mean, log_variance, present)
    z = torch.linspace(-3, 3, 50)[:, None, None]
    log_p = oracle.Normal(0.0, 1.0).log_prob(z).expand(50, 5, 4).clone()
    for i in range(3):
        expert = oracle.Normal(mean[i], (0.5 * log_variance[i]).exp()).log_prob(z)
        log_p += torch.where(present[i][:, None], expert, 0)
    apart = log_p - oracle.Normal(mu, (0.5 * lv).exp()).log_prob(z)
    torch.testing.assert_close(apart - apart[:1], torch.zeros_like(apart), atol=2e-4, rtol=0)


def test_the_product_of_nobody_is_the_prior_exactly_and_absent_experts_do_not_matter():
    mean, log_variance, present = beliefs()
    mu, lv = product(mean, log_variance, torch.zeros_like(present))
    assert (mu == 0).all() and (lv == 0).all()
    some = product(mean, log_variance, present)
    for garbage in (torch.nan, torch.inf, -1e30):
        spoilt = (torch.where(present[..., None], x, garbage).requires_grad_() for x in (mean, log_variance))
        m, v = spoilt
        again = product(m, v, present)
        assert torch.equal(again[0], some[0]) and torch.equal(again[1], some[1])
        (again[0].sum() + again[1].sum()).backward()
        for x in (m, v):
            assert (x.grad[~present] == 0).all() and x.grad.isfinite().all() and (x.grad[present] != 0).any()


def test_the_product_of_very_sure_and_very_unsure_experts_is_finite():
    sure = torch.tensor([-80.0, 80.0, -200.0])[:, None, None]
    mean, lv = product(torch.tensor([1.0, 2.0, 3.0])[:, None, None], sure, torch.ones(3, 1, dtype=torch.bool))
    assert mean.item() == 3 and lv.item() == pytest.approx(-200)


def test_kl_of_normals_is_that_of_torch():
    q, p = Normal(noise(5, 4), noise(5, 4, seed=1).exp()), Normal(noise(5, 4, seed=2), noise(5, 4, seed=3).exp())
    exact = kl_divergence(oracle.Normal(q.loc, q.scale), oracle.Normal(p.loc, p.scale))
    torch.testing.assert_close(kl_by_latent(q, p), exact)
    torch.testing.assert_close(kl_divergence(q, p), exact.sum(1))
    assert kl_divergence(q, q).abs().max() < 1e-6 and (kl_by_latent(q, p) >= 0).all()


def test_kl_of_a_laplace_is_not_taken_for_that_of_a_normal():
    for q, p in ((Laplace, Normal), (Normal, Laplace), (Laplace, Laplace)):
        with pytest.raises(NotImplementedError, match=rf"KL\({q.__name__} \|\| {p.__name__}\)"):
            kl_divergence(q(noise(2, 3), 1.0), p(noise(2, 3), 1.0))


def test_a_point_moves_towards_the_prior():
    point = noise(4, 3).requires_grad_()
    q = Delta(point)
    assert torch.equal(q.rsample((2,)), point.expand(2, 4, 3)) and (q.stddev == 0).all() and q.mode is point
    kl_divergence(q, standard_normal_like(q)).sum().backward()
    torch.testing.assert_close(point.grad, point.detach())


def mixture() -> tuple[Mixture, oracle.MixtureSameFamily]:
    means, scales = 2 * noise(3, 5, 2), noise(3, 5, 2, seed=1).exp()
    weights = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0], [0.4, 0.4, 0.2]]).mT
    components = oracle.Independent(oracle.Normal(means.movedim(0, 1), scales.movedim(0, 1)), 1)
    return Mixture(means, scales, weights), oracle.MixtureSameFamily(oracle.Categorical(weights.mT), components)


def test_a_mixture_is_that_of_torch():
    ours, theirs = mixture()
    torch.testing.assert_close(ours.mean, theirs.mean)
    torch.testing.assert_close(ours.variance, theirs.variance)
    torch.testing.assert_close(ours.stddev, theirs.stddev)
    z = noise(5, 2, seed=7)
    weights = ours.weights.mT[:, :, None]
    log_p = (oracle.Normal(ours.means, ours.scales).log_prob(z).sum(2).exp() * weights[..., 0].mT).sum(0).log()
    torch.testing.assert_close(ours.log_prob(z), log_p)


def test_samples_of_a_mixture_have_its_moments_and_reach_its_components():
    ours, _ = mixture()
    ours.means.requires_grad_()
    torch.manual_seed(0)
    drawn = ours.rsample((20_000,))
    assert ((drawn.mean(0) - ours.mean).abs() < 5 * ours.stddev / 20_000**0.5).all()
    torch.testing.assert_close(drawn.std(0), ours.stddev, rtol=0.05, atol=0)
    drawn.sum().backward()
    share = ours.means.grad[..., 0] / 20_000
    torch.testing.assert_close(share, ours.weights, atol=0.02, rtol=0)
    assert ours.rsample().shape == (5, 2) and ours.rsample((2, 3)).shape == (2, 3, 5, 2)


def test_the_spread_of_a_mixture_far_from_0_does_not_cancel():
    q = Mixture(torch.full((2, 1, 1), 1000.0), torch.full((2, 1, 1), 0.01), torch.full((2, 1), 0.5))
    assert q.stddev.item() == pytest.approx(0.01, rel=1e-3)


def test_kl_of_a_mixture_is_an_upper_bound_and_exact_for_one_component():
    q, _ = mixture()
    bound = kl_divergence(q, standard_normal_like(q))
    torch.manual_seed(0)
    z = q.rsample((400,))
    prior = standard_normal_like(q)
    exact = torch.stack([q.log_prob(row) - prior.log_prob(row) for row in z]).mean(0)
    assert (bound > exact - 0.2).all() and (bound[[0, 2]] > exact[[0, 2]] + 0.2).all()
    alone = Normal(q.means[2, 3:4], q.scales[2, 3:4])
    torch.testing.assert_close(bound[3:4], kl_divergence(alone, standard_normal_like(alone)))


@pytest.mark.parametrize(
    "q",
    [
        Normal(torch.zeros(2, 3), 1.0),
        Laplace(torch.zeros(2, 3), 1.0),
        Bernoulli(torch.zeros(2, 3)),
        Categorical(torch.zeros(2, 3, 4)),
        Delta(torch.zeros(2, 3)),
        Mixture(torch.zeros(4, 2, 3), torch.ones(4, 2, 3), torch.full((4, 2), 0.25)),
        Standardised(Normal(torch.zeros(2, 3), 1.0), ZScore()),
    ],
    ids=lambda q: type(q).__name__,
)
def test_repr_says_rows_and_event(q):
    assert repr(q) == f"{type(q).__name__}(rows=2, event=(3,))"
