"""A linear-Gaussian world, whose evidence is known: beliefs and scores are right to a hundredth of a nat."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from einops.layers.torch import Rearrange
from torch import nn

from ivekit import KL, NLL, MultimodalVAE, Objective, Plan, Standardise, Views, ZScore
from ivekit.nn import Gaussian, MixtureOfExperts, MLPDecoder, ProductOfExperts
from ivekit.synth import LinearGaussian, linear_gaussian
from ivekit.training import log_evidence, one_cycle, train

NAMES, D, K = ("a", "b", "c"), 6, 3
SUBSETS = [list(s) for r in range(1, 4) for s in combinations(NAMES, r)]
patterns = pytest.mark.parametrize("seen", SUBSETS, ids="+".join)


@pytest.fixture(scope="module")
def world() -> LinearGaussian:
    """Three views of 4, 5 and 6 numbers, three latents, noise of 0.5; unequally strong latents, at right angles."""
    return linear_gaussian(n_rows=4096, n_latents=K)


def parts(world: LinearGaussian, posterior: nn.Module, scales: dict[str, nn.Parameter | float]) -> MultimodalVAE:
    """Linear encoders and decoders around a posterior."""
    widths = {name: len(a) for name, a in world.loadings.items()}
    encoders = {n: nn.Sequential(nn.Linear(c, D), Rearrange("b d -> b 1 d")) for n, c in widths.items()}
    decoders = {n: Gaussian(MLPDecoder(K, c, ()), scales[n]) for n, c in widths.items()}
    return MultimodalVAE(encoders, posterior, decoders)


def set_linear(layer: nn.Linear, weight: torch.Tensor, bias: torch.Tensor | float = 0.0) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    layer.weight.data[: len(weight), : weight.shape[1]] = weight.float()
    layer.bias.data[: len(weight)] += bias


def solved(
    world: LinearGaussian, kind: type = ProductOfExperts, shrunk: float = 1.0, unsure: float = 1.0
) -> MultimodalVAE:
    """The model that knows the world: the decoders are its loadings, the experts what each view says of z.

    A view says ``N(z; A'x / |A|^2, s^2 / |A|^2)``, latent by latent, as its columns are at right angles; as an expert
    in a mixture, which has to believe by itself, times the prior. `shrunk` and `unsure` spoil means and variances.
    """
    model = parts(world, kind(NAMES, D, K), world.noise).requires_grad_(False)
    for name, a in world.loadings.items():
        precision = a.square().sum(0) / world.noise[name] ** 2
        alone = 0.0 if kind is ProductOfExperts else 1.0
        weight = (a / world.noise[name] ** 2 / (precision + alone)).mT * shrunk
        raw = 10 * torch.atanh((unsure / (precision + alone)).log() / 10)  # heads keep log variances within +-10
        set_linear(model.encoders[name][0], torch.eye(len(a)))
        set_linear(model.posterior.heads[name], torch.cat([weight, torch.zeros_like(weight)]))
        model.posterior.heads[name].bias.data[K:] = raw.float()
        set_linear(model.decoders[name].net.net[0], a)
    return model


def only(v: Views, seen: list[str]) -> Views:
    return v.without(*[name for name in NAMES if name not in seen])


def bound(model: MultimodalVAE, v: Views, draws: int = 16) -> torch.Tensor:
    """The evidence lower bound of each row, averaged over draws of the posterior."""
    torch.manual_seed(0)
    model.train()
    with torch.no_grad():
        outs = [model(v) for _ in range(draws)]
        return -torch.stack([NLL()(out, v, None) + KL()(out, v, None) for out in outs]).mean(0)


def gap(model: MultimodalVAE, world: LinearGaussian, v: Views) -> float:
    return float((world.log_evidence(v) - bound(model, v)).mean())


# the solution by hand ------------------------------------------------------------------------------------------


@patterns
def test_the_product_of_experts_is_the_posterior_whatever_is_missing(world, seen):
    v = only(world.views, seen)
    q = solved(world).encode(v)["shared"]
    mean, covariance = world.posterior(v)
    torch.testing.assert_close(q.mean, mean.float(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(torch.diag_embed(q.variance), covariance.float(), atol=1e-5, rtol=1e-4)


@patterns
def test_its_bound_is_the_evidence_whatever_is_missing(world, seen):
    assert abs(gap(solved(world), world, only(world.views, seen))) < 0.02


@patterns
def test_its_importance_weights_are_all_the_evidence_row_by_row(world, seen):
    v = only(world.views[:200], seen)
    for n_samples in (1, 3):  # where the posterior is exact, so is every sample's weight
        found = log_evidence(solved(world), v, n_samples)
        torch.testing.assert_close(found, world.log_evidence(v), atol=1e-3, rtol=0)


def test_rows_that_miss_different_views_are_right_in_one_batch(world):
    masks = {
        name: torch.tensor([name in SUBSETS[i % 8] if i % 8 < 7 else False for i in range(4096)]) for name in NAMES
    }
    v = world.views.masked(**masks)
    torch.testing.assert_close(log_evidence(solved(world), v, 1), world.log_evidence(v), atol=1e-3, rtol=0)
    by_pattern = (world.log_evidence(v) - bound(solved(world), v, 64)).unflatten(0, (-1, 8)).mean(0)
    assert by_pattern.abs().max() < 0.03 and by_pattern[7] == 0  # of nothing, the evidence is 1 and so is its bound


def test_holes_in_a_view_are_left_out_of_the_evidence(world):
    random = torch.Generator().manual_seed(0)
    masks = {name: torch.rand(x.shape, generator=random) > 0.15 for name, x in world.views[:300].items()}
    v = world.views[:300].masked(**masks)
    model = solved(world, unsure=6.0)  # its linear experts know nothing of holes: wide proposals, many samples
    off = {n: float((world.log_evidence(v) - log_evidence(model, v, n)).mean()) for n in (1, 8, 400)}
    assert off[1] > off[8] > off[400] > -0.005 and off[400] < 0.02
    full = world.log_evidence(world.views[:300]).mean()
    assert (full - world.log_evidence(v).mean()).abs() > 0.5  # which is another one than that of all


def test_the_evidence_is_in_the_units_of_the_data(world):
    """The same world in other units, standardised inside the model: only the volume of a unit changes."""
    units, shift = {"a": 40.0, "b": 0.02, "c": 3.0}, 7.0
    v = world.views.replace(**{name: units[name] * (x + shift) for name, x in world.views.items()})
    standardise = Standardise.fit(v, **{name: ZScore() for name in NAMES})
    scaled = {
        name: standardise.transforms[name].scale / units[name] for name in NAMES
    }  # a standard unit in the world's
    centred = {name: standardise.transforms[name].loc / units[name] - shift for name in NAMES}
    model = solved(world)
    model.standardise = standardise
    for name, a in world.loadings.items():
        set_linear(model.encoders[name][0], torch.diag(scaled[name]), centred[name])
        set_linear(model.decoders[name].net.net[0], a / scaled[name][:, None], -centred[name] / scaled[name])
        model.decoders[name].scale = nn.Parameter((world.noise[name] / scaled[name]).log())
    volume = sum(x.shape[1] * torch.tensor(units[name]).log() for name, x in world.views.items())
    exact = world.log_evidence(world.views) - volume
    torch.testing.assert_close(log_evidence(model, v, 1), exact, atol=2e-3, rtol=0)
    assert float((exact - bound(model, v)).mean()) == pytest.approx(0, abs=0.02)


# what is worse -------------------------------------------------------------------------------------------------


@patterns
def test_importance_weights_come_closer_than_the_bound_and_stay_below(world, seen):
    v, model = only(world.views[:1000], seen), solved(world, shrunk=0.85, unsure=1.6)
    exact = world.log_evidence(v)
    loose = float((exact - bound(model, v)).mean())
    close = float((exact - log_evidence(model, v, 64)).mean())
    assert loose > 0.05 and -0.005 < close < loose / 5


def test_a_mixture_of_experts_is_further_from_the_evidence_the_more_it_sees(world):
    v = world.views
    mixture = {"+".join(seen): gap(solved(world, MixtureOfExperts), world, only(v, seen)) for seen in SUBSETS}
    assert all(abs(mixture[name]) < 0.02 for name in NAMES)  # alone, an expert is right
    assert all(mixture[pair] > 0.3 for pair in ("a+b", "a+c", "b+c")) and mixture["a+b+c"] > 0.6
    exact = world.log_evidence(v[:1000])
    weighted = float((exact - log_evidence(solved(world, MixtureOfExperts), v[:1000], 64)).mean())
    assert -0.005 < weighted < mixture["a+b+c"] / 2


def test_without_right_angles_a_product_of_independent_beliefs_cannot_be_exact():
    oblique = linear_gaussian(n_rows=2048, n_latents=K, orthogonal=False)
    assert gap(solved(oblique), oblique, oblique.views) > 0.05


# the same, learned ---------------------------------------------------------------------------------------------


def test_training_finds_it_whatever_is_missing():
    """From random weights, with every subset telling what it sees: decoders, scales and experts are all learned."""
    world = linear_gaussian(n_rows=20_480, n_latents=K, seed=1)
    fit, fresh = world.views[:16_384], world.views[16_384:]
    torch.manual_seed(0)
    model = parts(world, ProductOfExperts(NAMES, D, K), {name: nn.Parameter(torch.zeros(())) for name in NAMES})
    seen = torch.tensor([[name in s for name in NAMES] for s in SUBSETS])
    plan, objective = Plan(NAMES, seen, seen), Objective(nll=NLL(), kl=KL())
    for _ in train(model, objective, fit, plan=plan, epochs=12, batch_size=256, lr=2e-2, scheduler=one_cycle, seed=0):
        pass
    gaps = {"+".join(s): gap(model, world, only(fresh, s)) for s in SUBSETS}
    assert max(gaps.values()) < 0.02, gaps
    scales = torch.stack([model.decoders[name].scale.exp() for name in NAMES])
    torch.testing.assert_close(scales, torch.full((3,), 0.5), atol=0.01, rtol=0)
    close = {
        "+".join(s): float((world.log_evidence(v := only(fresh[:1000], s)) - log_evidence(model, v, 16)).mean())
        for s in SUBSETS
    }
    assert all(-0.01 < close[name] < max(gaps[name], 0.01) for name in gaps), close
