"""Tables whose columns are of different kinds, in the data's own units."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from ivekit import MultimodalVAE, Standardise, Views, ZScore
from ivekit.distributions import Bernoulli, Columns, LogNormal, Normal, in_units
from ivekit.nn import Bernoulli as Yes
from ivekit.nn import Columns as Table
from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
from ivekit.nn import LogNormal as Times


def times(n: int = 400) -> torch.Tensor:
    return 0.25 + torch.from_numpy(np.random.default_rng(0).lognormal(-0.9, 0.4, (n, 1))).float()


def fitted(x: torch.Tensor) -> ZScore:
    return ZScore().fit(x, torch.ones(len(x), dtype=torch.bool))


def test_a_log_normal_is_scipy_s():
    p = LogNormal(Normal(torch.full((3, 1), 0.4), 0.7), shift=0.2, middle=0.5, step=0.3)
    oracle = stats.lognorm(s=0.3 * 0.7, scale=0.5 * np.exp(0.3 * 0.4), loc=0.2)
    x = torch.tensor([[0.5], [0.8], [1.4]])
    torch.testing.assert_close(p.log_prob(x), torch.from_numpy(oracle.logpdf(x[:, 0].numpy())).float())
    assert p.mean[0, 0].item() == pytest.approx(oracle.mean(), rel=1e-5)
    assert p.stddev[0, 0].item() == pytest.approx(oracle.std(), rel=1e-4)
    torch.manual_seed(0)
    drawn = p.sample((20000,))[:, 0, 0].numpy()
    assert stats.kstest(drawn, oracle.cdf).pvalue > 0.01
    near = torch.linspace(-0.01, 0.01, 3)[:, None] + p.mode[0, 0]
    assert p.log_prob(near).argmax() == 1


def test_a_log_normal_in_units_begins_where_the_data_are():
    """An output of 0 is the training mean; one of 1 multiplies by about what one standard deviation adds."""
    x, shift = times(), 0.2
    transform = fitted(x)
    one = in_units(LogNormal(Normal(torch.tensor([[0.0], [1.0]]), 1e-3), shift), transform)
    loc, scale = transform.loc.item(), transform.scale.item()
    told = loc, shift + (loc - shift) * np.exp(scale / (loc - shift))
    torch.testing.assert_close(one.mean[:, 0], torch.tensor(told, dtype=torch.float32), rtol=1e-4, atol=0)


def test_a_density_in_units_integrates_to_one():
    p = in_units(LogNormal(Normal(torch.tensor([[0.3]]), 0.8), 0.2), fitted(times()))
    x = torch.linspace(0.2001, 12, 60001)
    density = LogNormal(Normal(torch.full((len(x), 1), 0.3), 0.8), 0.2, p.middle, p.step).log_prob(x[:, None]).exp()
    assert torch.trapezoid(density, x).item() == pytest.approx(1, abs=1e-3)


def test_numbers_that_cannot_be_are_refused():
    p = LogNormal(Normal(torch.zeros(2, 1), 1.0), shift=0.2)
    with pytest.raises(ValueError, match="a log-normal of shift 0.2 has no number as small as 0.1"):
        p.log_prob(torch.tensor([[0.5], [0.1]]))
    masked = p.log_prob(torch.tensor([[0.5], [np.nan]]), torch.tensor([True, False]))
    assert masked[1] == 0 and masked[0].isfinite()
    with pytest.raises(ValueError, match="shift 3.0 is not below the training means"):
        in_units(LogNormal(Normal(torch.zeros(2, 1), 1.0), shift=3.0), fitted(times()))


def test_columns_are_the_sum_of_their_parts_each_in_its_units():
    x = torch.cat([times(), (times() > 0.7).float(), 50 + 10 * times()], 1)
    transform = fitted(x)
    rt, yes, rest = (LogNormal(Normal(torch.zeros(400, 1), 1.0)), Bernoulli(torch.full((400, 1), 0.3)),
                     Normal(torch.ones(400, 1), 1.0))  # fmt: skip
    p = in_units(Columns([rt, yes, rest]), transform)
    each = [in_units(one, transform.part(slice(i, i + 1))).log_prob(x[:, i : i + 1])
            for i, one in enumerate((rt, yes, rest))]  # fmt: skip
    torch.testing.assert_close(p.log_prob(x), sum(each))
    assert p.parts[1] is yes  # 0 and 1 are no standardised numbers
    assert p.mean[0, 1].item() == pytest.approx(1 / (1 + np.exp(-0.3)), rel=1e-5)
    assert p.mean[0, 2].item() == pytest.approx((transform.loc + transform.scale)[2].item(), rel=1e-5)
    mask = torch.ones(400, 3, dtype=torch.bool)
    mask[:, 1] = False
    torch.testing.assert_close(p.log_prob(x, mask), each[0] + each[2])
    assert p.sample().shape == p.mode.shape == p.stddev.shape == (400, 3)


def test_a_model_with_columns_speaks_in_the_table_s_units():
    x = torch.cat([times(), (times() > 0.7).float()], 1)
    views = Views({"behaviour": x})
    table = Table(rt=Times(MLPDecoder(2, 1), 1.0), choice=Yes(MLPDecoder(2, 1)))
    model = MultimodalVAE({"behaviour": MLPEncoder(2, 8)}, ProductOfExperts(["behaviour"], 8, 2), {"behaviour": table},
                          standardise=Standardise.fit(views, behaviour=ZScore()))  # fmt: skip
    p = model(views).p["behaviour"]
    assert isinstance(p, Columns) and (p.mean[:, 0] > 0).all() and (0 < p.mean[:, 1]).all() and (p.mean[:, 1] < 1).all()
    assert p.mean[:, 0].mean().item() == pytest.approx(x[:, 0].mean().item(), rel=0.8)
    p.log_prob(x).sum().backward()


def test_a_table_needs_a_decoder():
    with pytest.raises(ValueError, match="a table needs at least one decoder"):
        Table()
    assert "shift=0.2" in repr(Times(Gaussian(MLPDecoder(2, 1)), shift=0.2))
