"""Numbers at the edge: not finite, constant, alone, tiny, huge, too large for half precision; gradients in float64."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import test_contracts as contracts
import torch
from test_contracts import B, D, K
from torch import Tensor

import ivekit as ive
from ivekit import Views
from ivekit import nn as parts
from ivekit.signal import band_pass, resample, z_score


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def small(data: Views) -> ive.MultimodalVAE:
    torch.manual_seed(0)
    return ive.MultimodalVAE(
        {name: parts.MLPEncoder(data[name].shape[1], 8) for name in data},
        parts.ProductOfExperts(list(data), 8, 2),
        {name: parts.Gaussian(parts.MLPDecoder(2, data[name].shape[1]), 1.0) for name in data},
        standardise=ive.Standardise.fit(data, **{name: ive.ZScore() for name in data}),
    )


def objective() -> ive.Objective:
    return ive.Objective(nll=ive.NLL(), kl=ive.KL())


def losses(data: Views, **how: Any) -> Tensor:
    steps = ive.train(
        small(data), objective(), data, **{"epochs": 3, "batch_size": 4, "seed": 0, "device": "cpu"} | how
    )
    return torch.stack([step.loss for step in steps])


# what is not a number ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("what", ["train", "fit", "save"])
def test_what_is_not_finite_is_refused_by_its_view_and_row(bad, what, tmp_path):
    x = noise(12, 3)
    x[7, 1] = bad
    data, good = Views({"meg": x}), Views({"meg": noise(12, 3)})
    does = {
        "train": lambda: list(ive.train(small(good), objective(), data, epochs=1, device="cpu")),
        "fit": lambda: ive.Standardise.fit(data, meg=ive.ZScore()),
        "save": lambda: data.save(tmp_path / "rows"),
    }
    with pytest.raises(ValueError, match=r"view 'meg' holds 1 value .* row 7, .*views.mask_nan\(\)"):
        does[what]()
    assert not (tmp_path / "rows").exists()
    masked = data.mask_nan()
    assert losses(masked).isfinite().all() and masked.present["meg"].sum() == 35


def test_what_is_masked_may_be_anything():
    x, there = noise(12, 3), torch.ones(12, 3, dtype=torch.bool)
    there[3, 1], there[8] = False, False
    said = [
        losses(Views({"a": torch.where(there, x, junk)}, {"a": there})) for junk in (0.0, 1e30, torch.nan, torch.inf)
    ]
    assert said[0].isfinite().all() and all(torch.equal(said[0], other) for other in said)


# rows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5, 9], ids="{} rows".format)
def test_batches_of_one_row_and_a_last_one_of_one_row(n):
    assert losses(Views({"a": noise(n, 3), "b": noise(n, 2, seed=1)}), plan=None).isfinite().all()


def test_rows_that_are_all_the_same_and_channels_that_do_not_vary():
    same = Views({"a": noise(1, 3).expand(8, 3), "b": torch.full((8, 2), 5.0)})
    assert losses(same).isfinite().all()
    z = ive.Standardise.fit(same, a=ive.ZScore(), b=ive.RobustZScore())(same)
    assert (z["a"] == 0).all() and (z["b"] == 0).all(), "a constant channel is centred"
    constant = torch.cat([noise(8, 1, 6), torch.ones(8, 1, 6)], 1)
    whiten = ive.Whiten().fit(constant, torch.ones(8) > 0)
    assert whiten(constant).isfinite().all()
    torch.testing.assert_close(whiten.inverse(whiten(constant)), constant, rtol=1e-3, atol=1e-3)


def test_rows_of_which_nothing_is_there_teach_nothing():
    gone = Views({"a": noise(8, 3), "b": noise(8, 2)}, {"a": torch.zeros(8) > 0, "b": torch.zeros(8) > 0})
    seen = Views({"a": noise(8, 3), "b": noise(8, 2)})
    model = small(seen)
    out = model.eval()(gone)
    assert (out.q["shared"].mean == 0).all() and (out.q["shared"].stddev == 1).all()
    terms = objective()(out, gone, None)
    assert terms["nll"] == 0 and terms["kl"] == 0


# scales --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-30, 1e-13, 1e-6, 1e6, 1e12, 1e30], ids="{:g}".format)
@pytest.mark.parametrize("of", [ive.ZScore, ive.RobustZScore], ids=lambda kind: kind.__name__)
def test_units_do_not_matter(of, scale):
    """MEG in tesla is 1e-13: what a network sees is what it sees of the same numbers in femtotesla."""
    x = noise(40, 3) + 2
    plain, scaled = (of().fit(y, torch.ones(40) > 0) for y in (x, x * scale))
    torch.testing.assert_close(scaled(x * scale), plain(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scaled.inverse(plain(x)) / scale, x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-13, 1e12], ids="{:g}".format)
def test_sensors_in_any_unit_are_whitened_alike(scale):
    x = noise(40, 3, 6)
    plain, scaled = (ive.Whiten().fit(y, torch.ones(40) > 0) for y in (x, x * scale))
    torch.testing.assert_close(scaled(x * scale), plain(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("scale", [1e-13, 1e12], ids="{:g}".format)
def test_training_on_tiny_and_huge_units_is_that_on_plain_ones(scale):
    x = noise(24, 3)
    shift = 3 * np.log(scale)  # of the density of three numbers in other units
    torch.testing.assert_close(losses(Views({"a": x * scale})) - shift, losses(Views({"a": x})), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("scale", [1e-15, 1e12], ids="{:g}".format)
def test_signals_are_filtered_alike_in_any_unit(scale):
    x = np.random.default_rng(0).standard_normal((2, 200))
    for of in (lambda y: band_pass(y, 100, 1, 30), lambda y: resample(y, 100, 64)):
        np.testing.assert_allclose(of(x * scale) / scale, of(x), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(z_score(x * scale), z_score(x), rtol=1e-9)


# too large -----------------------------------------------------------------------------------------------------


def exploding(a: float, from_step: int) -> Any:
    def odd(out: ive.Outputs, views: Views, step: int) -> Tensor:
        return (a if step >= from_step else 1.0) * out.q["shared"].mean.square().sum(1)

    return ive.Objective(nll=ive.NLL(), odd=odd)


def test_steps_that_are_not_finite_change_nothing_and_are_said(caplog):
    data = Views({"a": noise(16, 3)})
    model = small(data)
    kept: dict[int, Tensor] = {}
    with caplog.at_level(logging.WARNING, "ivekit.training"):
        for step in ive.train(model, exploding(torch.inf, 4), data, epochs=3, batch_size=4, seed=0, device="cpu"):
            kept[step.step] = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert not torch.equal(kept[3], kept[4]) and all(torch.equal(kept[4], kept[i]) for i in range(5, 13))
    assert "epoch 2: 4 of 4 steps changed nothing" in caplog.text and kept[12].isfinite().all()


def test_a_loss_that_stays_infinite_ends_the_run_with_the_last_good_weights():
    data = Views({"a": noise(16, 3)})
    model = small(data)
    steps = ive.train(model, exploding(torch.nan, 4), data, epochs=30, batch_size=4, seed=0, device="cpu")
    with pytest.raises(FloatingPointError, match=r"not finite: odd.*weights are those of step 4.*smaller lr"):
        list(steps)
    assert all(p.isfinite().all() for p in model.parameters())


def test_numbers_too_large_for_half_precision_do_not_end_a_run():
    """65504 is the largest number of float16; bfloat16 has the range of float32."""
    data = Views({"a": 1e6 * noise(16, 3)})
    bare = ive.MultimodalVAE(
        {"a": parts.MLPEncoder(3, 8)},
        parts.ProductOfExperts("a", 8, 2),
        {"a": parts.Gaussian(parts.MLPDecoder(2, 3), 1e6)},
    )
    for precision in ("float16", "bfloat16"):
        steps = list(
            ive.train(bare, objective(), data, epochs=2, batch_size=4, seed=0, precision=precision, device="cpu")
        )
        assert all(p.isfinite().all() for p in bare.parameters())
    assert torch.stack([step.loss for step in steps]).isfinite().all()
    assert losses(data, precision="float16").isfinite().all(), "standardised, they fit"


# gradients -----------------------------------------------------------------------------------------------------

# Their gradient is scaled or stopped by intention, or they are told in single precision, whatever they are given.
NOT_PLAIN = {"OwnGradient", "Jitter", "Diffusion, samples' mean", "Autoregressive", "Columns", "MultimodalVAE, private"}


@pytest.fixture
def double(monkeypatch):
    """The tables' numbers, and those that modules make, in float64."""
    made = contracts.noise
    monkeypatch.setattr(contracts, "noise", lambda *a, **k: made(*a, **k).double())
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", [name for name in contracts.CASES if name not in NOT_PLAIN])
def test_a_gradient_is_the_slope_in_float64(name, double):
    """Along one direction in all parameters at once: ``(f(w + h v) - f(w - h v)) / 2h`` against the gradient's."""
    module, case = contracts.fresh(name).eval(), contracts.CASES[name]
    weights = [*module.double().parameters()]
    way = [torch.randn(p.shape, generator=torch.Generator().manual_seed(i)) for i, p in enumerate(weights)]
    out = case.run(module, B)
    mix = contracts.noise(*out.shape, seed=8)
    (out * mix).sum().backward()
    slope = sum(float((p.grad * v).sum()) for p, v in zip(weights, way) if p.grad is not None)
    ends, h = [], 1e-6
    with torch.no_grad():
        for step in (h, -2 * h):
            for p, v in zip(weights, way):
                p.add_(step * v)
            ends.append(float((case.run(module, B) * mix).sum()))
    assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(slope, rel=2e-4, abs=2e-4)


@pytest.mark.parametrize("name", [name for name in contracts.DECODERS if name not in NOT_PLAIN])
def test_the_density_s_gradient_by_the_latent_is_right(name):
    """`torch.autograd.gradcheck` of ``log_prob`` by z: every entry of the Jacobian, in float64."""
    make, row = contracts.DECODERS[name]
    torch.manual_seed(0)
    decoder = make().double().eval()
    z = contracts.noise(2, K, seed=5).double().requires_grad_()
    discrete = isinstance(decoder, parts.Categorical)
    x = contracts.labels(2, *row) if discrete else contracts.noise(2, *row, seed=6).double()
    x = x.sigmoid() if type(decoder) is parts.Bernoulli else x

    def density(z: Tensor) -> Tensor:
        torch.manual_seed(0)
        return decoder(z).log_prob(x)

    assert torch.autograd.gradcheck(density, (z,), atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("name", ["ProductOfExperts", "MixtureOfExperts", "MixtureOfProducts"])
def test_the_divergence_s_gradient_is_right(name):
    torch.manual_seed(0)
    posterior = contracts.POSTERIORS[name]().double()
    x = {n: contracts.noise(2, 1, D, seed=i).double().requires_grad_() for i, n in enumerate(contracts.VIEWS)}
    there = {n: torch.tensor([True, n != "b"]) for n in x}
    z = contracts.noise(2, K, seed=9).double()

    def evidence(*values: Tensor) -> Tensor:
        q = posterior({n: parts.Tokens.of(v, there[n]) for n, v in zip(x, values)})
        return q.log_prob(z)

    assert torch.autograd.gradcheck(evidence, tuple(x.values()), atol=1e-5, rtol=1e-3)
