"""What holds for any rows, signals, codes, beliefs and settings, not only for those of an example."""

from __future__ import annotations

import math
import tempfile
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import ivekit as ive
from ivekit import Views, io, metrics, plans
from ivekit.distributions import LogNormal, Normal
from ivekit.nn import MixtureOfExperts, MixtureOfProducts, ProductOfExperts, Tokens
from ivekit.recipe import Recipe
from ivekit.signal import band_pass, resample

few = settings(max_examples=15)
DTYPES = (torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool)
names = st.text("abcXYZ019 -_éß.%", min_size=1, max_size=8).filter(
    lambda name: not name.startswith(".") and name.strip() == name and not name.endswith(".present")
)
seeds = st.integers(0, 2**31)


@st.composite
def rows(draw) -> Views:
    """Views of any names, types, shapes and masks, with metadata."""
    n, random = draw(st.integers(1, 6)), torch.Generator().manual_seed(draw(seeds))
    tensors, present = {}, {}
    for name in draw(st.lists(names, min_size=1, max_size=3, unique_by=str.casefold)):
        shape = (n, *draw(st.lists(st.integers(1, 3), max_size=2)))
        tensors[name] = (9 * torch.rand(shape, generator=random)).to(draw(st.sampled_from(DTYPES)))
        if draw(st.booleans()):
            present[name] = torch.rand(draw(st.sampled_from([(n,), shape])), generator=random) > 0.4
    words = draw(st.lists(st.text("ab=+'\t\"é ", max_size=4) | st.none(), min_size=n, max_size=n))
    return Views(tensors, present, pd.DataFrame({"word": words, "number": np.arange(n)}))


def same(a: Views, b: Views) -> None:
    assert list(a) == list(b) and len(a) == len(b)
    for name in a:
        assert a[name].dtype == b[name].dtype and torch.equal(a[name] + 0, b[name] + 0), name
        assert torch.equal(a.rows_present(name), b.rows_present(name)), name
    assert a.metadata["number"].tolist() == b.metadata["number"].tolist()


# rows ----------------------------------------------------------------------------------------------------------


@few
@given(rows())
def test_rows_that_are_saved_come_back(views):
    with tempfile.TemporaryDirectory() as folder:
        views.save(f"{folder}/rows")
        again = Views.open(f"{folder}/rows")
        same(views, again)
        said = [[None if pd.isna(word) else word for word in v.metadata["word"]] for v in (views, again)]
        assert said[0] == said[1]


@few
@given(rows(), st.data())
def test_parts_that_are_put_together_are_the_rows(views, data):
    cut = data.draw(st.integers(0, len(views)))
    same(Views.concat([views[:cut], views[cut:]]), views)
    order = data.draw(st.permutations(range(len(views))))
    same(views[order][np.argsort(order)], views)


@few
@given(rows(), st.data())
def test_taking_a_view_away_touches_no_other_and_comes_before_or_after_taking_rows(views, data):
    name = data.draw(st.sampled_from(list(views)))
    less = views.without(name)
    assert not less.rows_present(name).any() and torch.equal(less[name], views[name])
    assert all(torch.equal(less.present[n], views.present[n]) for n in views if n != name)
    key = data.draw(st.lists(st.integers(0, len(views) - 1), min_size=1, max_size=4))
    same(views[key].without(name), less[key])
    same(views.replace(**{name: views[name]}), views)


# signals -------------------------------------------------------------------------------------------------------


@few
@given(seeds, st.floats(-5, 5), st.floats(-5, 5))
def test_filters_and_resampling_are_linear(seed, a, b):
    x, y = np.random.default_rng(seed).standard_normal((2, 120))
    for of in (lambda s: band_pass(s, 100, 2, 20), lambda s: resample(s, 100, 64), lambda s: resample(s, 50, 125)):
        np.testing.assert_allclose(of(a * x + b * y), a * of(x) + b * of(y), atol=1e-9)


@few
@given(seeds, st.floats(-12, 6), st.sampled_from([ive.ZScore, ive.RobustZScore, ive.Whiten]))
def test_what_is_standardised_is_had_back(seed, power, kind):
    x = 10**power * (2 + torch.randn(30, 3, 5, generator=torch.Generator().manual_seed(seed)))
    of = kind().fit(x, torch.ones(30) > 0)
    torch.testing.assert_close(of.inverse(of(x)) / 10**power, x / 10**power, rtol=1e-3, atol=1e-3)


# beliefs -------------------------------------------------------------------------------------------------------

GRID = torch.linspace(-30, 30, 60001, dtype=torch.float64)


def density(mean: float, log_variance: float) -> Tensor:
    return torch.distributions.Normal(mean, math.exp(0.5 * log_variance)).log_prob(GRID)


@few
@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-4, 2), st.booleans()), min_size=1, max_size=3))
def test_a_product_of_experts_is_the_product_of_their_densities(experts):
    """Against numerical integration: prior times experts that are there, divided by their integral."""
    posterior, tokens = fixed(ProductOfExperts, experts)
    q = posterior.requires_grad_(False)(tokens)
    log_p = density(0.0, 0.0) + sum(density(m, v) for m, v, there in experts if there)
    p = (log_p - torch.logsumexp(log_p, 0)).exp()
    mean = float((p * GRID).sum())
    assert float(q.mean) == pytest.approx(mean, abs=1e-4)
    assert float(q.variance) == pytest.approx(float((p * (GRID - mean) ** 2).sum()), rel=1e-3)


@few
@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-4, 2), st.booleans()), min_size=1, max_size=3))
def test_a_mixture_of_experts_is_their_mean_density_and_the_prior_where_there_is_none(experts):
    posterior, tokens = fixed(MixtureOfExperts, experts)
    z = torch.linspace(-4, 4, 9)
    said = torch.stack([posterior(tokens).log_prob(x.reshape(1, 1)) for x in z])[:, 0]
    there = [torch.distributions.Normal(m, math.exp(0.5 * v)).log_prob(z) for m, v, here in experts if here]
    there = there or [torch.distributions.Normal(0.0, 1.0).log_prob(z)]
    torch.testing.assert_close(said, torch.stack(there).logsumexp(0) - math.log(len(there)), rtol=1e-4, atol=1e-4)


@few
@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-4, 2), st.booleans()), min_size=1, max_size=4))
def test_a_mixture_of_products_is_the_mean_density_of_the_products_of_all_subsets_that_are_there(experts):
    posterior, tokens = fixed(MixtureOfProducts, experts)
    alone = ProductOfExperts(list(tokens), 1, 1)
    alone.load_state_dict(posterior.state_dict())
    there = [name for name, (_, _, here) in zip(tokens, experts) if here]
    subsets = [some for n in range(1, len(there) + 1) for some in combinations(there, n)] or [()]
    z = torch.linspace(-4, 4, 9)[:, None]
    each = []
    for some in subsets:
        q = alone({name: Tokens.of(t.x, torch.tensor([name in some])) for name, t in tokens.items()})
        each.append(torch.stack([q.log_prob(x[None])[0] for x in z]))
    said = torch.stack([posterior(tokens).log_prob(x[None])[0] for x in z])
    mean = torch.stack(each).logsumexp(0) - math.log(len(subsets))
    torch.testing.assert_close(said, mean, rtol=1e-4, atol=1e-4)


def fixed(kind, experts):
    """A posterior whose experts say known means and log variances of one latent, and tokens that some of them lack."""
    views = [f"v{i}" for i in range(len(experts))]
    posterior = kind(views, 1, 1)
    with torch.no_grad():
        for name, (mean, log_variance, _) in zip(views, experts):
            posterior.heads[name].weight.zero_()
            raw = 10 * math.atanh(log_variance / 10)  # they are kept within +-10 by a tanh
            posterior.heads[name].bias.copy_(torch.tensor([mean, raw]))
    there = {n: torch.tensor([here]) for n, (_, _, here) in zip(views, experts)}
    return posterior, {n: Tokens.of(torch.ones(1, 1, 1), there[n]) for n in views}


@few
@given(st.floats(-2, 2), st.floats(0.05, 1.5), st.floats(-1, 1))
def test_densities_integrate_to_one_and_have_the_moments_they_say(mean, scale, shift):
    x = torch.linspace(-40, 40, 400001, dtype=torch.float64)[:, None]
    normal = Normal(torch.full((1, 1), mean, dtype=torch.float64).expand(len(x), 1), scale)
    p = normal.log_prob(x).exp() * (80 / 400000)
    assert float(p.sum()) == pytest.approx(1, abs=1e-4)
    assert float((p * x[:, 0]).sum()) == pytest.approx(mean, abs=1e-3)
    u = torch.linspace(-12, 12, 48001, dtype=torch.float64)
    above = shift + (mean + scale * u).exp()  # where the logarithm lies on an even grid
    log_normal = LogNormal(Normal(torch.full((len(u), 1), mean, dtype=torch.float64), scale), shift)
    weight = log_normal.log_prob(above[:, None]).exp() * (above - shift) * scale * (24 / 48000)
    assert float(weight.sum()) == pytest.approx(1, abs=1e-3)
    assert float((weight * above).sum()) == pytest.approx(float(log_normal.mean[0]), rel=1e-2)


# settings ------------------------------------------------------------------------------------------------------


@few
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "seed": st.integers(0, 2**62),
            "epochs": st.integers(1, 10**6),
            "lr": st.floats(1e-12, 1e3),
            "dim": st.integers(1, 999),
            "data": st.text("abc é:#'\"{}[]-=\\/", min_size=1, max_size=9),
            "split_by": st.none() | st.text("ab #:é", min_size=1, max_size=5),
            "precision": st.sampled_from(["float32", "bfloat16"]),
        },
    )
)
def test_settings_that_are_printed_are_read_back(said):
    recipe = Recipe("ive", said)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        file.write(recipe.config())
        file.flush()
        assert Recipe.parse("ive", (), file.name).settings == recipe.settings


# metrics and sensors -------------------------------------------------------------------------------------------


@few
@given(seeds, st.permutations(range(4)), st.lists(st.sampled_from([-3.0, 0.1, 1.0, 20.0]), min_size=4, max_size=4))
def test_scores_know_neither_order_nor_scale_nor_sign_of_latents(seed, order, scales):
    random = np.random.default_rng(seed)
    factors = random.standard_normal((120, 2))
    mixed = np.stack([factors[:, 0] + random.standard_normal(120), random.standard_normal(120)], 1)
    codes = np.concatenate([factors, mixed], 1)
    a, b = metrics.scores(codes, factors), metrics.scores((codes * scales)[:, order], factors)
    assert {n: b[n] for n in a if np.ndim(a[n]) == 0} == pytest.approx({n: x for n, x in a.items() if np.ndim(x) == 0})


@few
@given(st.lists(names, min_size=1, max_size=5, unique=True), seeds, st.floats(1, 5000), st.floats(-10, 10))
def test_sensors_come_back_with_the_rows(called, seed, sfreq, tmin):
    random, n = np.random.default_rng(seed), len(called)
    kinds = random.choice(["mag", "grad", "eeg", "misc"], n).tolist()
    sensors = ive.Sensors(called, random.standard_normal((n, 2)), kinds, sfreq, tmin=tmin)
    with tempfile.TemporaryDirectory() as folder:
        Views({"meg": torch.zeros(2, n, 3)}, about={"meg": sensors}).save(f"{folder}/rows")
        there = Views.open(f"{folder}/rows").about["meg"]
    assert (there.names, there.kinds, there.units) == (sensors.names, sensors.kinds, sensors.units)
    assert (there.sfreq, there.tmin) == (sfreq, tmin)
    np.testing.assert_array_equal(there.pos, sensors.pos)


# subsets of views, and trials of several recordings --------------------------------------------------------------

PLANS = (plans.joint, plans.mvae, plans.mmvae, plans.mopoe, plans.mvtcae, plans.dmvae, plans.leave_one_out)


@few
@given(st.sampled_from(PLANS), st.integers(1, 3), st.integers(1, 5), seeds)
def test_what_a_plan_scores_is_what_each_of_its_subsets_would_score_by_itself(plan, n_views, n, seed):
    random = torch.Generator().manual_seed(seed)
    called = ["a", "b", "c"][:n_views]
    there = {name: torch.rand(n, generator=random) > 0.3 for name in called}
    batch = Views({name: torch.randn(n, 4, generator=random) for name in called}, there)
    told = {name: ive.nn.Gaussian(ive.nn.MLPDecoder(2, 4), 1.0) for name in called}
    model = ive.MultimodalVAE({name: ive.nn.MLPEncoder(4, 8) for name in called}, ProductOfExperts(called, 8, 2), told)
    plan, model = plan(called), model.eval()
    found = ive.NLL()(model(batch, plan), plan.views(batch), 0).unflatten(0, (len(plan), n))
    for seen, scored, nll in zip(plan.seen.tolist(), plan.scored.tolist(), found):
        some = [name for name, one in zip(called, seen) if one]
        alone = model(batch.without(*set(called) - set(some)))
        anything = torch.stack([there[name] for name in some]).any(0)
        each = [
            -alone.p[name].log_prob(batch[name], there[name] & anything) for name, one in zip(called, scored) if one
        ]
        torch.testing.assert_close(nll, sum(each, torch.zeros(n)), rtol=1e-4, atol=1e-4)


@few
@given(st.lists(st.sets(st.integers(0, 8), min_size=1), min_size=2, max_size=3), seeds)
def test_trials_are_joined_whatever_their_order_and_what_one_recording_lacks_is_missing(recorded, seed):
    random, parts = np.random.default_rng(seed), {}
    for name, trials in zip("abc", recorded):
        order = random.permutation(sorted(trials | {9}))  # one that all have
        about = pd.DataFrame({"subject": "s1", "trial": order})
        parts[name] = Views({"x": torch.tensor(order)[:, None].float()}, metadata=about)
    joined = io.join(parts)
    assert joined.metadata["trial"].tolist() == sorted({9}.union(*recorded))
    for name, trials in zip("abc", recorded):
        there = joined.rows_present(name)
        of = torch.tensor(joined.metadata["trial"].to_numpy())
        assert {*of[there].tolist()} == trials | {9} and torch.equal(joined[name][there, 0], of[there].float())
