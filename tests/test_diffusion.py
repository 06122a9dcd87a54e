"""The diffusion decoder against a case that is known exactly: normal data, whose best denoiser is a formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import ivekit as ive
from ivekit import Conditional, MultimodalVAE, Objective, Views, metrics
from ivekit.nn import (
    CrossAttention,
    Diffusion,
    FiLM,
    Gaussian,
    MLPDecoder,
    MLPDenoiser,
    MLPEncoder,
    ProductOfExperts,
    TokenDenoiser,
    Tokens,
)
from ivekit.nn.diffusion import Cosine, Epsilon, Velocity
from ivekit.objectives import KL, NLL
from ivekit.training import evaluate, train

A = torch.tensor([[0.9, -0.4], [0.2, 0.8], [-0.6, 0.3]])
ROOT = torch.tensor([[0.6, 0.0, 0.0], [0.3, 0.4, 0.0], [-0.2, 0.2, 0.3]])
S = ROOT @ ROOT.T
Z = torch.tensor([[1.0, -0.5], [0.3, 2.0]])
VELOCITY = Velocity()


class Best(nn.Module):
    """The best denoiser of x ~ N(A z, S): the mean of x given ``y = a x + s e`` is a regression on y."""

    def __init__(self, target=VELOCITY):
        super().__init__()
        self.target, self.calls = target, 0

    def clean(self, y, t, z):
        angle = Cosine()(t)[:, None]
        a, s = angle.cos(), angle.sin()
        mean = z @ A.T
        spread = a[..., None] ** 2 * S + s[..., None] ** 2 * torch.eye(3)
        return mean + a * (torch.linalg.solve(spread, (y - a * mean)[..., None])[..., 0] @ S), a, s

    def forward(self, y, t, z, context=None):
        self.calls += 1
        x, a, s = self.clean(y, t, z)
        e = (y - a * x) / s
        return e if isinstance(self.target, Epsilon) else a * e - s * x


def best(target=VELOCITY, **settings) -> Diffusion:
    return Diffusion(Best(target), 3, target=target, **settings).eval()


def moments(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x.mean(0), torch.cov(x.T)


def draw(decoder: Diffusion, z: torch.Tensor, n: int = 8000, seed: int = 0) -> torch.Tensor:
    return decoder(z).sample((n,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("settings", "off"),
    [
        (dict(steps=25), 0.04),
        (dict(steps=10), 0.08),
        (dict(steps=100, order=1), 0.06),
        (dict(steps=150, eta=1.0), 0.08),
        (dict(steps=150, eta=0.5), 0.08),
        (dict(steps=25, target=Epsilon(), draws=8), 0.05),
    ],
)
def test_samples_have_the_mean_and_covariance_of_the_truth(settings, off):
    for b, x in enumerate(draw(best(**settings), Z).unbind(1)):
        mean, covariance = moments(x)
        assert (mean - Z[b] @ A.T).abs().max() < 0.05
        assert (covariance - S).norm() / S.norm() < off


def test_the_second_order_keeps_variance_that_plain_ddim_loses():
    kept = [moments(draw(best(steps=15, order=order), Z)[:, 0])[1].trace() / S.trace() for order in (1, 2)]
    assert kept[0] < 0.93 and abs(kept[1] - 1) < 0.04


@pytest.mark.parametrize(
    ("settings", "off"), [({}, 1e-6), (dict(draws=8), 1e-3), (dict(target=Epsilon(), draws=8), 0.06)]
)
def test_the_mean_is_the_conditional_mean(settings, off):
    decoder = best(**settings)
    mean = decoder(Z).mean
    assert decoder.net.calls == (decoder.steps if decoder.draws else 1)
    assert (mean - Z @ A.T).abs().max() < off and torch.equal(decoder(Z).mean, mean)


def test_the_mode_of_a_normal_is_its_mean():
    assert (best()(Z).mode - Z @ A.T).abs().max() < 1e-3


def test_guidance_of_one_is_the_conditional_and_costs_nothing():
    plain, guided = best(), best(guidance=1.0)
    assert torch.equal(draw(plain, Z, 5), draw(guided, Z, 5)) and plain.net.calls == guided.net.calls == plain.steps


@pytest.mark.parametrize("guidance", [0.0, 0.5, 2.0])
def test_guidance_moves_the_mean_of_a_normal_in_proportion(guidance):
    """Two normals of one covariance: their guided score is that of a third, with the mean g A z."""
    decoder = best(guidance=guidance)
    mean, covariance = moments(draw(decoder, Z)[:, 1])
    assert (mean - guidance * Z[1] @ A.T).abs().max() < 0.05 and (covariance - S).norm() / S.norm() < 0.05
    assert decoder.net.calls == decoder.steps * (1 if guidance == 0 else 2)


def test_samples_follow_their_generator_and_leave_the_other_alone():
    decoder, before = best(eta=1.0), torch.get_rng_state()
    assert torch.equal(draw(decoder, Z, 4, seed=3), draw(decoder, Z, 4, seed=3))
    assert not torch.equal(draw(decoder, Z, 4, seed=3), draw(decoder, Z, 4, seed=4))
    assert torch.equal(torch.get_rng_state(), before)
    x = decoder(Z).sample()
    torch.set_rng_state(before)
    assert torch.equal(decoder(Z).sample(), x) and x.shape == (2, 3)


def test_the_error_in_training_is_on_average_the_least_there_is():
    """Minus half the trace of Cov(x | y) / s^2, over times: what no denoiser can know."""
    decoder, n = best(drop=0.0).train(), 60000
    z = Z[:1].expand(n, 2)
    torch.manual_seed(0)
    x = z @ A.T + torch.randn(n, 3) @ ROOT.T
    t = (torch.arange(4000) + 0.5) / 4000
    a, s = (f(Cosine()(t))[:, None, None] for f in (torch.cos, torch.sin))
    unknown = S - a**2 * S @ torch.linalg.solve(a**2 * S + s**2 * torch.eye(3), S)
    least = -0.5 * (unknown.diagonal(dim1=1, dim2=2).sum(1) / s[:, 0, 0] ** 2).mean()
    torch.testing.assert_close(decoder(z).log_prob(x).mean(), least, rtol=0.03, atol=0)


def test_evaluation_is_the_same_on_every_call_and_prefers_the_truth():
    decoder = best()
    x = draw(decoder, Z, 200)
    scores = torch.stack([decoder(Z).log_prob(row) for row in x])
    assert torch.equal(scores[0], decoder(Z).log_prob(x[0]))
    wrong = torch.stack([decoder(Z.flip(0)).log_prob(row) for row in x])
    assert (scores.mean(0) > wrong.mean(0) + 0.3).all()


def test_what_is_masked_is_not_scored_and_may_hold_anything():
    decoder, x = best(), draw(best(), Z, 1)[0]
    rows = torch.tensor([True, False])
    spoilt = torch.where(rows[:, None], x, torch.nan)
    score = decoder(Z).log_prob(spoilt, rows)
    assert score[1] == 0 and torch.equal(score[0], decoder(Z).log_prob(x)[0])
    mask = torch.tensor([[True, True, False], [True, False, True]])
    holes = torch.where(mask, x, torch.nan)
    some = decoder(Z).log_prob(holes, mask)
    assert torch.equal(some, decoder(Z).log_prob(torch.where(mask, x, 9.0), mask)) and some.isfinite().all()
    assert (some > decoder(Z).log_prob(torch.where(mask, x, 0))).all()


def test_a_stacked_batch_needs_one_copy_of_its_rows():
    decoder, x = best(), draw(best(), Z, 1)[0]
    twice = decoder(Z.repeat(2, 1))
    assert torch.equal(twice.log_prob(x), twice.log_prob(x.repeat(2, 1)))


class Spy(nn.Module):
    """Says 0 and keeps what it was shown."""

    def forward(self, y, t, z, context=None):
        self.z, self.context, self.t = z, context, t
        return 0 * y


def test_in_training_some_rows_lose_their_whole_condition():
    decoder, n = Diffusion(Spy(), 3, drop=0.25), 4000
    context = Tokens.of(torch.ones(n, 2, 5), torch.ones(n, dtype=torch.bool))
    torch.manual_seed(0)
    decoder(torch.ones(n, 2), context).log_prob(torch.zeros(n, 3))
    hidden = (decoder.net.z == 0).all(1)
    assert abs(float(hidden.float().mean()) - 0.25) < 0.03
    assert torch.equal(hidden, ~decoder.net.context.mask.any(1)) and torch.equal(
        ~hidden, decoder.net.context.mask.all(1)
    )
    assert decoder.net.t.min() < 0.01 and decoder.net.t.max() > 0.99
    decoder.eval()(torch.ones(n, 2), context).log_prob(torch.zeros(n, 3))
    assert (decoder.net.z == 1).all() and decoder.net.context.mask.all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (dict(steps=0), "at least 1, got 0 and 8"),
        (dict(order=3), "order must be 1 .DDIM. or 2, got 3"),
        (dict(drop=1.0), "drop must be in"),
        (dict(target=Epsilon()), "average samples, say draws=16"),
    ],
)
def test_a_decoder_that_cannot_be_made_says_why(settings, said):
    with pytest.raises(ValueError, match=said):
        Diffusion(Spy(), 3, **settings)


# trained -------------------------------------------------------------------------------------------------------


def two_moods(n: int = 2048, seed: int = 0) -> Views:
    """y is near +c or near -c (3 numbers each, in units of 10), which of them nothing tells; and c is told."""
    rng = np.random.default_rng(seed)
    c = rng.uniform(0.5, 1.5, (n, 1))
    y = c * rng.choice([-1, 1], (n, 1)) * np.array([[1.0, -1.0, 0.5]]) + 0.1 * rng.standard_normal((n, 3))
    return Views({"x": torch.tensor(c).float(), "y": torch.tensor(10 * y + 3).float()})


def conditional(decoder: nn.Module, data: Views) -> Conditional:
    scale = ive.Standardise.fit(data, x=ive.ZScore(), y=ive.ZScore())
    return Conditional({"x": MLPEncoder(1, 16)}, {"y": decoder}, standardise=scale)


def trained(decoder: nn.Module, data: Views, epochs: int = 40) -> Conditional:
    model = conditional(decoder, data)
    for _ in train(model, Objective(nll=NLL()), data, epochs=epochs, batch_size=128, lr=3e-3, seed=0):
        pass
    return model


def test_it_learns_two_modes_that_a_gaussian_decoder_averages():
    torch.manual_seed(0)
    data, new = two_moods(), two_moods(256, seed=1)
    models = {
        "gaussian": trained(Gaussian(MLPDecoder(16, 3, (64,)), nn.Parameter(torch.zeros(3))), data, 15),
        "diffusion": trained(Diffusion(MLPDenoiser(16, 3, 64), 3, steps=20), data),
    }
    torch.manual_seed(1)
    with torch.no_grad():
        samples = {name: model(new).p["y"].sample((32,)).numpy() for name, model in models.items()}
        mean = models["diffusion"](new).p["y"].mean
    score = {name: metrics.energy_score(x, new["y"].numpy()).mean() for name, x in samples.items()}
    crps = {name: metrics.crps(x, new["y"].numpy()).mean() for name, x in samples.items()}
    assert score["diffusion"] < 0.9 * score["gaussian"] and crps["diffusion"] < 0.95 * crps["gaussian"]
    first, told = (samples["diffusion"][..., 0] - 3) / 10, new["x"].numpy()[:, 0]
    assert np.mean(np.abs(np.abs(first) - told) < 0.35) > 0.8  # near one mode or the other, at the height that was told
    assert 0.35 < np.mean(first > 0) < 0.65
    assert (mean - 3).abs().mean() < 3  # the conditional mean is 0, between the modes, where no sample lies


def test_a_series_is_made_of_its_context():
    """A bump at the time that a table tells: samples follow it, and do not when the condition is shuffled."""
    rng = np.random.default_rng(0)
    when = rng.integers(0, 4, 768)
    t = np.arange(16)
    y = np.exp(-(((t - 4 * when[:, None] - 2) / 1.5) ** 2)) + 0.1 * rng.standard_normal((768, 16))
    data = Views({"x": torch.eye(4)[when], "y": torch.tensor(y[:, None]).float()})
    net = TokenDenoiser(32, (1, 16), [CrossAttention(32), FiLM(32)], 32, patch=2)
    model = Conditional(
        {"x": MLPEncoder(4, 32)},
        {"y": Diffusion(net, (1, 16), steps=15)},
        standardise=ive.Standardise.fit(data, y=ive.ZScore()),
    )
    torch.manual_seed(0)
    fit, new = data[:640], data[640:]
    before = evaluate(model, Objective(nll=NLL()), new)["nll"]
    for _ in train(model, Objective(nll=NLL()), fit, epochs=25, batch_size=64, lr=3e-3, seed=0):
        pass
    after = [evaluate(model, Objective(nll=NLL()), new)["nll"] for _ in range(2)]
    assert after[0] == after[1] < 0.7 * before
    with torch.no_grad():
        p = model(new).p["y"]
        error = {"mean": p.mean, "sample": p.sample(), "shuffled": p.sample().roll(1, 0)}
        average = p.sample((16,)).mean(0)
    assert (p.mean - average).square().mean() < 0.04 * new["y"].var()  # one evaluation is as good as 16 walks
    error = {name: float((x - new["y"]).square().mean() / new["y"].var()) for name, x in error.items()}
    assert error["mean"] < 0.15 and error["sample"] < 0.3 and error["shuffled"] > 1.0


def test_it_is_a_decoder_of_a_multimodal_vae():
    torch.manual_seed(0)
    data = two_moods(512)
    decoders = {"x": Gaussian(MLPDecoder(2, 1), 0.3), "y": Diffusion(MLPDenoiser(2, 3, 32), 3, steps=8)}
    encoders = {"x": MLPEncoder(1, 16), "y": MLPEncoder(3, 16)}
    scale = ive.Standardise.fit(data, x=ive.ZScore(), y=ive.ZScore())
    model = MultimodalVAE(encoders, ProductOfExperts(["x", "y"], 16, 2), decoders, standardise=scale)
    objective = Objective(nll=NLL(), kl=KL(0.05))  # at 0.3 it would tell y without z
    for _ in train(model, objective, data, epochs=40, batch_size=64, lr=5e-3, seed=0):
        pass
    with torch.no_grad():
        p = model(data).p["y"]
    error = (p.mean - data["y"]).square().mean() / data["y"].var(0).mean()
    assert error < 0.3 and p.sample((2,)).shape == (2, 512, 3)
    holes = torch.rand(512, 3) > 0.3
    v = data.masked(y=holes).replace(y=torch.where(holes, data["y"], torch.nan))
    score = model(v).p["y"].log_prob(v["y"], v.present["y"])
    assert score.isfinite().all()


# the scores that judge samples ---------------------------------------------------------------------------------


def test_crps_of_normal_samples_is_the_formula():
    """``s (u (2 Phi(u) - 1) + 2 phi(u) - 1 / sqrt(pi))``, u = (y - m) / s (Gneiting et al., 2005)."""
    from scipy.stats import norm

    rng = np.random.default_rng(0)
    samples, y = 1 + 2 * rng.standard_normal((200000, 1, 1)), np.array([[2.5]])
    u = 0.75
    exact = 2 * (u * (2 * norm.cdf(u) - 1) + 2 * norm.pdf(u) - 1 / np.sqrt(np.pi))
    assert metrics.crps(samples, y)[0] == pytest.approx(exact, rel=0.01)


def test_the_energy_score_is_that_of_all_pairs_and_least_for_the_truth():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((5, 3, 2)), rng.standard_normal((3, 2))
    pairs = [np.linalg.norm(x[i] - x[j], axis=-1) for i in range(5) for j in range(5) if i != j]
    plain = np.linalg.norm(x - y, axis=-1).mean(0) - 0.5 * np.mean(pairs, 0)
    np.testing.assert_allclose(metrics.energy_score(x, y), plain)
    truth = rng.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], 3000)
    right = rng.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], (64, 3000))
    scores = [metrics.energy_score(s, truth).mean() for s in (right, rng.standard_normal((64, 3000, 2)))]
    assert scores[0] < 0.99 * scores[1]  # the same widths, but not the correlation
    with pytest.raises(ValueError, match="1 samples say nothing"):
        metrics.energy_score(x[:1], y)
