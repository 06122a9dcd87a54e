"""Objectives: every term against a number worked out in another way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import distributions as oracle

from ivekit import Cyclical, Linear, Objective, Outputs, Plan, Views, plans
from ivekit.distributions import Delta, Mixture, Normal, kl_by_latent, standard_normal_like
from ivekit.objectives import KL, NLL, Leak, SubsetKL, TotalCorrelation, balance, log_densities

ANY = Views({"x": torch.zeros(1, 1)})  # for terms that do not look at the data


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, dtype="f4"))


def belief(b: int = 6, k: int = 3, seed: int = 0) -> Normal:
    return Normal(noise(b, k, seed=seed).requires_grad_(), (0.5 * noise(b, k, seed=seed + 1)).exp().requires_grad_())


def some(b: int = 6) -> tuple[Outputs, Views]:
    """Two views, of which rows and elements are missing, and what a model might say of them."""
    holes = torch.ones(b, 4, dtype=torch.bool)
    holes[0, 1:], holes[1] = False, False
    v = Views({"a": noise(b, 4), "b": noise(b, 2, seed=1)}, {"a": holes, "b": torch.arange(b) % 3 > 0})
    p = {"a": Normal(noise(b, 4, seed=2), 0.5), "b": Normal(noise(b, 2, seed=3), 2.0)}
    return Outputs({"shared": belief(b), "a": belief(b, 2, seed=7)}, {}, p), v


# likelihood ----------------------------------------------------------------------------------------------------


def test_nll_by_hand():
    out, v = some()
    a = -(out.p["a"].loc - v["a"]).square() / (2 * 0.25) - math.log(0.5) - 0.5 * math.log(2 * math.pi)
    b = -(out.p["b"].loc - v["b"]).square() / (2 * 4.0) - math.log(2.0) - 0.5 * math.log(2 * math.pi)
    by_hand = -(a * v.present["a"]).sum(1) * 0.3 - (b * v.present["b"][:, None]).sum(1)
    torch.testing.assert_close(NLL({"a": 0.3})(out, v, 0), by_hand)
    assert NLL()(out, v, 0)[3] == -out.p["a"].log_prob(v["a"])[3]  # row 3 has no b


def test_balance_makes_views_count_alike():
    v = Views({"film": torch.zeros(2, 1, 16, 32, 32), "meg": torch.zeros(2, 102, 60), "table": torch.zeros(2, 6)})
    weights = balance(v)
    counts = [weights[name] * v[name][0].numel() for name in v]
    assert counts == pytest.approx([counts[0]] * 3, rel=1e-4)
    sizes = [16384, 6120, 6]
    assert counts[0] == pytest.approx(math.prod(sizes) ** (1 / 3), rel=1e-4)
    assert balance(Views({"a": torch.zeros(3, 5), "b": torch.zeros(3, 5)})) == {"a": 1, "b": 1}
    assert balance(Views({"a": torch.zeros(3)})) == {"a": 1}
    assert balance(Views({"a": torch.zeros(3, 3), "b": torch.zeros(3, 7)})) == {"a": 1.527525, "b": 0.654654}


def test_weights_for_what_is_not_there_are_refused():
    out, v = some()
    with pytest.raises(ValueError, match=r"weights are given for \['vidoe'\], but the views are \['a', 'b'\]"):
        NLL({"vidoe": 0.3})(out, v, 0)
    with pytest.raises(
        ValueError, match=r"weights are given for \['shard'\], but the blocks are \['a', 'b', 'shared'\]"
    ):
        KL(weights={"shard": 1.4})(out, v, 0)


# divergence ----------------------------------------------------------------------------------------------------


def exact(q: Normal) -> torch.Tensor:
    return oracle.kl_divergence(oracle.Normal(q.loc, q.scale), oracle.Normal(0.0, 1.0))


def test_kl_is_that_of_torch_by_block_and_beta():
    out, v = some()
    by_block = {block: exact(q).sum(1) for block, q in out.q.items()}
    torch.testing.assert_close(KL()(out, v, 0), by_block["shared"] + by_block["a"])
    term = KL(beta=lambda step: 0.1 * (step or 10), weights={"shared": 1.4})
    torch.testing.assert_close(term(out, v, 3), 0.3 * (1.4 * by_block["shared"] + by_block["a"]))
    torch.testing.assert_close(term(out, v, None), 1.4 * by_block["shared"] + by_block["a"])


def test_rows_scored_on_nothing_have_no_divergence():
    out, v = some()
    v = v.masked(a=torch.arange(6) > 2, b=torch.arange(6) != 1)
    kl = KL()(out, v, 0)
    assert not v.rows_present("a")[1] and not v.rows_present("b")[1]
    assert (kl == 0).tolist() == [not bool(v.rows_present("a")[i] or v.rows_present("b")[i]) for i in range(6)]
    assert kl[1] == 0 and (kl[3:] > 0).all()


def test_kl_of_points_and_mixtures():
    v = Views({"x": torch.zeros(4, 1)})
    p = {"x": Normal(torch.zeros(4, 1), 1.0)}
    point = Delta(noise(4, 3))
    torch.testing.assert_close(
        KL()(Outputs({"shared": point}, {}, p), v, 0), -oracle.Normal(0.0, 1.0).log_prob(point.point).sum(1)
    )
    q = Mixture(noise(2, 4, 3), noise(2, 4, 3, seed=1).exp(), torch.tensor([[0.25, 1, 0, 0.5], [0.75, 0, 1, 0.5]]))
    each = torch.stack([exact(Normal(m, s)).sum(1) for m, s in zip(q.means, q.scales)])
    torch.testing.assert_close(KL()(Outputs({"shared": q}, {}, p), v, 0), (q.weights * each).sum(0))
    torch.testing.assert_close(kl_by_latent(q, standard_normal_like(q)).sum(1), (q.weights * each).sum(0))


def test_free_bits_cost_nothing_and_pull_at_nothing():
    loc = torch.tensor([[0.1, 2.0], [0.2, 1.0], [9.0, 9.0]]).requires_grad_()
    q = Normal(loc, torch.ones(3, 2))
    v = Views({"x": torch.zeros(3, 1)}, {"x": torch.tensor([True, True, False])})  # the third row is not scored
    out = Outputs({"shared": q}, {}, {"x": Normal(torch.zeros(3, 1), 1.0)})
    free = KL(free_bits=0.5)(out, v, 0)
    assert free.tolist() == pytest.approx([0.5 + 2.0, 0.5 + 0.5, 0])  # mean KL of latent 0: 0.0125, of latent 1: 1.25
    free.sum().backward()
    assert (loc.grad[:, 0] == 0).all() and loc.grad[:, 1].tolist() == [2, 1, 0]
    torch.testing.assert_close(KL(free_bits=1e-9)(out, v, 0), KL()(out, v, 0))


def test_free_bits_of_a_mixture():
    q = Mixture(noise(2, 4, 3), torch.ones(2, 4, 3), torch.full((2, 4), 0.5))
    v = Views({"x": torch.zeros(4, 1)})
    out = Outputs({"shared": q}, {}, {"x": Normal(torch.zeros(4, 1), 1.0)})
    assert KL(free_bits=100.0)(out, v, 0).tolist() == [300] * 4
    torch.testing.assert_close(KL(free_bits=1e-9)(out, v, 0), KL()(out, v, 0))


# schedules -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (Linear(0.0, 2.0, 4), {0: 0, 1: 0.5, 3: 1.5, 4: 2, 400: 2, None: 2}),
        (Linear(1.0, 0.0, 2), {0: 1, 1: 0.5, 2: 0, None: 0}),
        (Linear(0.0, 1.0, 0), {0: 1, 5: 1, None: 1}),
        (Cyclical(0.0, 1.0, 4), {0: 0, 1: 0.5, 2: 1, 3: 1, 4: 0, 5: 0.5, 403: 1, None: 1}),
        (Cyclical(0.5, 1.0, 10), {0: 0.5, 4: 0.9, 5: 1, 9: 1, 10: 0.5, None: 1}),
    ],
)
def test_schedules_by_hand(schedule, values):
    assert {step: schedule(step) for step in values} == pytest.approx(values)


# total correlation ---------------------------------------------------------------------------------------------


def aggregate(n: int, rho: float, sd: float, seed: int = 0) -> tuple[Normal, torch.Tensor, torch.Tensor]:
    """Beliefs whose aggregate is normal with a known covariance: means of correlation rho, each with spread sd."""
    mix = torch.linalg.cholesky(torch.tensor([[1.0, rho], [rho, 1.0]]))
    loc = noise(n, 2, seed=seed) @ mix.mT
    covariance = torch.tensor([[1.0, rho], [rho, 1.0]]) + sd**2 * torch.eye(2)
    return Normal(loc, sd), loc + sd * noise(n, 2, seed=seed + 1), covariance


@pytest.mark.parametrize(("rho", "sd"), [(0.0, 0.7), (0.8, 0.6), (-0.9, 0.5)])
def test_the_parts_of_kl_are_those_of_a_correlated_normal(rho, sd):
    q, z, covariance = aggregate(2000, rho, sd)
    conditional, joint, each = log_densities(q, z, n_rows=2000)
    log_det, diagonal = torch.logdet(covariance), covariance.diagonal()
    mutual, total = (conditional - joint).mean(), (joint - each.sum(1)).mean()
    prior = oracle.Normal(0.0, 1.0).log_prob(z)
    assert mutual.item() == pytest.approx(0.5 * (log_det - 4 * math.log(sd)).item(), abs=0.05)
    assert total.item() == pytest.approx(0.5 * (diagonal.log().sum() - log_det).item(), abs=0.05)
    by_latent = 0.5 * (diagonal - 1 - diagonal.log()).sum()
    assert (each - prior).sum(1).mean().item() == pytest.approx(by_latent.item(), abs=0.08)
    whole = mutual + total + (each - prior).sum(1).mean()
    assert whole.item() == pytest.approx(exact(q).sum(1).mean().item(), abs=0.08)


def test_a_minibatch_estimates_what_all_rows_say():
    q, z, _ = aggregate(2000, 0.8, 0.6)
    _, joint, each = log_densities(q, z, n_rows=2000)
    whole = (joint - each.sum(1)).mean().item()
    parts = []
    for rows in torch.arange(2000).split(200):
        some = Normal(q.loc[rows], 0.6)
        _, joint, each = log_densities(some, z[rows], n_rows=2000)
        parts.append((joint - each.sum(1)).mean().item())
    assert np.mean(parts) == pytest.approx(whole, abs=0.06)


def test_densities_of_the_aggregate_by_hand():
    q, z = belief(3, 2), noise(3, 2, seed=5)
    conditional, joint, each = log_densities(q, z, n_rows=10)
    components = oracle.Normal(q.loc, q.scale)
    for i in range(3):
        share = torch.full((3,), 0.9 / 2)
        share[i] = 0.1  # a row stands for itself once in ten, for the other nine by those that are there
        density = components.log_prob(z[i]).exp()
        assert joint[i].item() == pytest.approx((share * density.prod(1)).sum().log().item(), rel=1e-5)
        torch.testing.assert_close(each[i], (share[:, None] * density).sum(0).log())
        assert conditional[i].item() == pytest.approx(density[i].prod().log().item(), rel=1e-5)


def test_total_correlation_is_a_term_with_a_weight_and_lowers_the_correlation():
    q, z, _ = aggregate(300, 0.9, 0.5)
    loc = q.loc.clone().requires_grad_()
    optimizer = torch.optim.Adam([loc], lr=0.05)
    term, v = TotalCorrelation(300, weight=Linear(0.0, 5.0, 4)), Views({"x": torch.zeros(300, 1)})
    first = None
    for _ in range(30):
        out = Outputs({"shared": Normal(loc, 0.5)}, {"shared": loc + 0.5 * noise(300, 2, seed=9)}, {})
        value = term(out, v, None)
        first = value.mean().item() if first is None else first
        torch.testing.assert_close(term(out, v, 1), value / 4)
        optimizer.zero_grad()
        value.mean().backward()
        optimizer.step()
    assert value.mean().item() < 0.3 * first
    single = Outputs({"shared": Normal(loc[:1], 0.5)}, {"shared": loc[:1]}, {})
    assert term(single, v, 0).isfinite().all()  # a batch of one row


# subsets -------------------------------------------------------------------------------------------------------


def test_subset_kl_by_hand():
    b, q = 4, belief(12)
    out = Outputs({"shared": q}, {}, {})
    value = SubsetKL(subsets=3, of=0, to=(1, 2), weight=2.0)(out, ANY, 0)
    whole = oracle.Normal(q.loc[:b], q.scale[:b])
    by_hand = sum(
        oracle.kl_divergence(whole, oracle.Normal(q.loc[s * b :][:b], q.scale[s * b :][:b])).sum(1) for s in (1, 2)
    )
    torch.testing.assert_close(value[:b], 2 * by_hand)
    assert (value[b:] == 0).all() and SubsetKL(subsets=3)(out, ANY, None).abs().sum() == 0
    last = SubsetKL(subsets=3, of=-1, to=(0, 1))(out, ANY, 0)
    assert torch.equal(last, SubsetKL(subsets=3, of=2, to=(0, 1))(out, ANY, 0)) and (last[2 * b :] > 0).all()
    assert torch.equal(SubsetKL(subsets=3, to=())(out, ANY, 0), torch.zeros(3 * b))
    value.sum().backward()
    assert (q.loc.grad != 0).all()  # both sides move


def test_subset_kl_leaves_out_what_saw_nothing():
    loc = noise(6, 3)
    loc[4] = 0.0  # the second subset saw nothing of row 2: its belief is the prior
    q = Normal(loc, torch.where(loc == 0, 1.0, 0.5))
    value = SubsetKL(subsets=3, to=(1, 2))(Outputs({"shared": q}, {}, {}), ANY, 0)
    full = SubsetKL(subsets=3, to=(1,))(Outputs({"shared": q}, {}, {}), ANY, 0)
    assert value[0] == full[0] and value[1] > full[1]


# leaks ---------------------------------------------------------------------------------------------------------


def leak(u: torch.Tensor, **private: torch.Tensor) -> torch.Tensor:
    q = {"shared": Normal(u, 0.1), **{name: Normal(w, 0.1) for name, w in private.items()}}
    return Leak(ridge=1e-4)(Outputs(q, {}, {}), ANY, 0)


def test_leak_is_0_for_independent_codes_and_the_number_of_latents_for_copies():
    u, w = noise(4000, 3), noise(4000, 2, seed=1)
    assert leak(u, a=w).max() < 0.01
    assert leak(u, a=u.clone()).mean().item() == pytest.approx(3, abs=0.02)
    assert leak(u, a=5 * u + 7, b=w).mean().item() == pytest.approx(3, abs=0.02)  # scale and shift hide nothing
    assert leak(u, a=u[:, :1] + w[:, :1]).mean().item() == pytest.approx(0.5, abs=0.05)
    assert leak(u).shape == (4000,) and leak(u).abs().max() == 0


def test_leak_moves_the_private_codes_alone():
    u, w = noise(200, 3).requires_grad_(), noise(200, 3).requires_grad_()
    leak(u, a=w).mean().backward()
    assert u.grad is None and (w.grad != 0).any() and w.grad.isfinite().all()


def test_leak_is_that_of_the_rows_that_saw_the_view():
    u, w = noise(500, 2), noise(500, 2, seed=1)
    w[:250] = u[:250]
    alone = leak(u[:250], a=w[:250]).mean()
    w[250:] = 0.0  # the code of a view that was not seen
    torch.testing.assert_close(leak(u, a=w).mean(), alone, rtol=1e-3, atol=0)
    assert leak(u, a=torch.zeros(500, 2)).abs().max() == 0


# plans ---------------------------------------------------------------------------------------------------------


def test_plans_are_those_of_their_papers():
    each, every = "a -> a, b, c; b -> a, b, c; c -> a, b, c", "a+b+c -> a, b, c"
    assert {
        name: str(getattr(plans, name)("abc")) for name in ("joint", "mvae", "mmvae", "mopoe", "mvtcae", "dmvae")
    } == {
        "joint": f"Plan: {every}",
        "mvae": f"Plan: {every}; a -> a; b -> b; c -> c",  # a subset tells what it sees
        "mmvae": f"Plan: {each}",  # each tells all
        "mopoe": f"Plan: {each}; a+b -> a, b, c; a+c -> a, b, c; b+c -> a, b, c; {every}",  # all subsets tell all
        "mvtcae": f"Plan: {every}; a -> ; b -> ; c -> ",  # the single beliefs are compared, not decoded
        "dmvae": f"Plan: {every}; {each}",
    }
    assert str(plans.jmvae("abc")) == str(plans.mvtcae("abc")) and str(plans.mmvae_plus("abc")) == str(
        plans.mmvae("abc")
    )
    assert str(plans.leave_one_out("abc")).endswith("a+b -> a, b, c; a+c -> a, b, c; b+c -> a, b, c")
    assert plans.dmvae("ab").unseen(torch.ones(2)).tolist() == [0, 0]
    assert plans.mmvae_plus("ab").unseen(torch.ones(2)).tolist() == [1, 1]


def test_a_plan_with_a_view_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"the plan names \['vidoe'\], but the views are \['a', 'b'\]"):
        plans.joint(["a", "vidoe"]).views(some()[1])


def test_a_subset_is_not_scored_on_rows_of_which_it_has_nothing():
    v = Views(
        {n: torch.ones(4, 1) for n in "ab"}, {"a": torch.tensor([True, False, True, False]), "b": torch.arange(4) < 2}
    )
    stacked = plans.mmvae("ab").views(v)  # a -> a, b; b -> a, b
    assert stacked.present["a"].tolist() == [True, False, True, False, True, False, False, False]
    assert stacked.present["b"].tolist() == [True, False, False, False, True, True, False, False]
    nothing = Plan(("a", "b"), torch.zeros(1, 2) > 0, torch.ones(1, 2) > 0)  # a subset of no views is asked for
    assert nothing.views(v).present["b"].tolist() == v.present["b"].tolist()


def test_an_objective_averages_its_terms_over_rows():
    out, v = some()
    terms = Objective(nll=NLL(), kl=KL(beta=2.0))(out, v, 0)
    assert terms["nll"].item() == pytest.approx(NLL()(out, v, 0).mean().item())
    assert terms["kl"].item() == pytest.approx(2 * KL()(out, v, 0).mean().item())
    assert repr(Objective(nll=NLL(), kl=KL(beta=Linear(0.0, 1.0, 9)))) == (
        "Objective(nll=NLL(weights={}), kl=KL(beta=Linear(low=0.0, high=1.0, steps=9), weights={}, free_bits=0.0))"
    )
