"""Effects of latents against effects of factors: right where the model is the world, refused where it is turned."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from ivekit import MultimodalVAE, Views, explain, synth
from ivekit.distributions import Delta
from ivekit.explain import effects
from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts


class Linear(nn.Module):
    """A world as its own model: codes are the factors, turned; a view is a linear map of the codes, bent or not."""

    def __init__(self, turn: torch.Tensor, fields: torch.Tensor, table: torch.Tensor):
        super().__init__()
        self.turn, self.fields, self.table, self.condition = turn, fields, table, ()

    def encode(self, views):
        return {"shared": Delta(views["code"] @ self.turn)}

    def decode(self, z, context=None):
        f = z["shared"] @ self.turn.mT
        bent = torch.stack([f[:, 0] * f[:, 1], f[:, 1]], 1)  # what factor 0 does depends on factor 1
        return {"field": Delta(f @ self.fields), "table": Delta(f @ self.table), "bent": Delta(bent)}


FIELDS = torch.tensor([[1.0, 0.0, 0.5, 0.0], [0.0, 1.0, 0.0, -1.0], [0.0, 0.0, 0.0, 0.0]])
TABLE = torch.tensor([[100.0, 0.0], [0.0, 0.01], [0.0, 0.0]])


def world(turn: torch.Tensor | None = None, b: int = 300) -> tuple[Linear, Views, pd.DataFrame]:
    f = torch.randn(b, 3, generator=torch.Generator().manual_seed(0))
    model = Linear(torch.eye(3) if turn is None else turn, FIELDS, TABLE)
    said = model.decode({"shared": f @ model.turn})
    views = Views({"code": f, **{name: p.mean for name, p in said.items()}})
    return model, views, pd.DataFrame(f.numpy(), columns=["size", "side", "idle"])


def truth(factors: pd.DataFrame) -> dict:
    """What the factors do, exactly."""
    found = {}
    for i, name in enumerate(["size", "side"]):
        low, high = effects.step(factors[name])
        found[name] = {"field": (high - low) * FIELDS[i], "table": (high - low) * TABLE[i]}
    return found


def cell(table: pd.DataFrame, index: int, factor: str, view: str) -> pd.Series:
    return table[(table["index"] == index) & (table.factor == factor) & (table.view == view)].iloc[0]


def test_data_say_what_a_factor_does_and_leave_out_what_is_missing():
    _, views, factors = world(b=3000)
    found, exact = explain.factor_effects(views, factors), truth(factors)
    torch.testing.assert_close(found["size"]["field"], exact["size"]["field"], atol=0.25, rtol=0)
    assert abs(float(found["side"]["table"][0])) < 0.1 * float(found["size"]["table"][0])
    present = torch.ones(3000, 4, dtype=torch.bool)
    present[::2, 0] = False
    spoilt = views.replace(field=torch.where(present, views["field"], 1e6)).masked(field=present)
    torch.testing.assert_close(
        explain.factor_effects(spoilt, factors)["size"]["field"], found["size"]["field"], atol=0.25, rtol=0
    )


def test_high_and_low_are_the_outer_fifths():
    assert effects.step(np.array([3.0, 0, 4, 1, 2]), 0.4) == (0.5, 3.5)
    with pytest.raises(ValueError, match="a share of 0.2 of 2 rows is 0 rows"):
        effects.step(np.arange(2))


def test_the_latent_that_is_the_factor_does_what_it_does_whichever_way_round_it_is():
    for turn in (torch.eye(3), torch.diag(torch.tensor([-1.0, 1, 1]))):
        model, views, factors = world(turn)
        table = explain.match_effects(model, views, factors, truth(factors), starts=range(5), draws=50)
        for index, factor in enumerate(["size", "side"]):
            for view in ("field", "table"):
                row = cell(table, index, factor, view)
                assert row.r == pytest.approx(1, abs=1e-5) and row.low == pytest.approx(1, abs=1e-5)
                assert row.gain == pytest.approx(1, abs=1e-4) and row.moves == pytest.approx(row.should, rel=1e-4)
        assert abs(cell(table, 0, "side", "field").r) < 1e-5 and abs(cell(table, 2, "size", "field").moves) < 1e-5


def test_columns_of_a_table_count_alike_whatever_their_units():
    model, views, factors = world()
    model.table = TABLE + torch.tensor([[0.0, 0.01], [0.0, 0.0], [0.0, 0.0]])  # latent 0 moves both columns by 1 s.d.
    table = explain.match_effects(model, views, factors, truth(factors), starts=range(5), draws=50)
    assert cell(table, 0, "size", "table").r == pytest.approx(0.5**0.5, abs=0.03)


def test_effects_that_depend_on_the_rest_are_compared_trial_by_trial():
    model, views, factors = world()
    starts = np.arange(0, 300, 10)
    low, high = effects.step(factors["size"])
    per_trial = {"size": {"bent": (high - low) * torch.stack([views["code"][starts, 1], torch.zeros(30)], 1)}}
    table = explain.match_effects(model, views, factors, per_trial, starts=starts)
    assert cell(table, 0, "size", "bent").r == pytest.approx(1, abs=1e-5)
    swapped = {"size": {"bent": per_trial["size"]["bent"].flip(0)}}  # the effects of other trials
    row = cell(explain.match_effects(model, views, factors, swapped, starts=starts), 0, "size", "bent")
    assert abs(row.r) < 0.6 and row.low < row.r < row.high and row.high - row.low > 0.2
    with pytest.raises(ValueError, match=r"a row's shape \(2,\), or of 30 starts', got \(29, 2\)"):
        explain.match_effects(model, views, factors, {"size": {"bent": torch.zeros(29, 2)}}, starts=starts)


def test_an_axis_that_is_the_factor_passes_and_one_of_a_turned_code_does_not():
    model, views, factors = world()
    size = truth(factors)["size"]
    good = explain.check_effect(model, views, ("shared", 0), factors["size"].to_numpy(), size)
    assert good.passed and good.value == pytest.approx(1, abs=1e-5) and len(good.null) == 99
    assert good.note == "field 1.00, table 1.00; the best other latent 0.00"
    s = 0.5**0.5
    turned, views, factors = world(torch.tensor([[s, s, 0], [-s, s, 0], [0, 0, 1.0]]))
    bad = explain.check_effect(turned, views, ("shared", 0), factors["size"].to_numpy(), size)
    assert not bad.passed and bad.value < 0.85
    along = explain.check_effect(turned, views, ("shared", torch.tensor([s, s, 0])), factors["size"].to_numpy(), size)
    assert along.passed and along.value == pytest.approx(1, abs=1e-5)
    wrong = explain.check_effect(model, views, ("shared", 1), factors["size"].to_numpy(), size)
    assert not wrong.passed and wrong.value < 0.2


class Conditioned(nn.Module):
    """What a latent does depends on the condition: a mean whose slope is a token's."""

    def __init__(self):
        super().__init__()
        self.net = MLPDecoder(2, 3)

    def forward(self, z, context=None):
        return self.net(z) * context.mean()[:, :1]


def conditional() -> tuple[MultimodalVAE, Views]:
    torch.manual_seed(0)
    encoders = {name: MLPEncoder(n, 8) for name, n in {"a": 3, "b": 4}.items()}
    model = MultimodalVAE(
        encoders, ProductOfExperts(["a"], 8, 2), {"a": Gaussian(Conditioned())}, condition=("b",)
    ).eval()
    return model, Views({"a": torch.randn(6, 3), "b": 3 * torch.randn(6, 4)})


def test_each_start_keeps_its_own_condition():
    model, views = conditional()
    found = explain.latent_effects(model, views, [[-1, 1]], [("shared", 0)])["a"][0]
    for i in range(6):
        low, high = explain.traverse(model, views[i : i + 1], "shared", 0, [-1.0, 1.0])["a"]
        torch.testing.assert_close(found[i], high - low)


def test_what_does_not_fit_is_named():
    model, views, factors = world()
    with pytest.raises(ValueError, match="299 rows of the factor 'size' for 300 rows"):
        explain.match_effects(model, views, factors[1:])
    with pytest.raises(ValueError, match="300 rows of the factor 'size' for 299 rows"):
        explain.match_effects(model, views[1:], factors)
    with pytest.raises(ValueError, match="1 rows of the factor 'size' are no numbers"):
        explain.factor_effects(views, factors.assign(size=factors["size"].where(factors.index > 0)))
    still = views.replace(code=torch.zeros(300, 3))
    with pytest.raises(ValueError, match=r"0 latents of \['shared'\] are active"):
        explain.check_effect(model, still, ("shared", 0), factors["size"].to_numpy(), truth(factors)["size"])


def test_a_column_that_never_varies_changes_nothing():
    model, views, factors = world()
    model.table = torch.cat([TABLE, torch.zeros(3, 1)], 1)
    wide = views.replace(table=torch.cat([views["table"], torch.full((300, 1), 5.0)], 1))
    for index, name in enumerate(["size", "side"]):
        effect = {name: {"table": torch.cat([truth(factors)[name]["table"], torch.zeros(1)])}}
        row = cell(explain.match_effects(model, wide, factors, effect, starts=range(5), draws=50), index, name, "table")
        assert row.r == pytest.approx(1, abs=1e-5) and row.gain == pytest.approx(1, abs=1e-4)


def test_a_simulator_knows_what_its_factors_do_in_each_trial():
    made = synth.audiovisual(12, n_subjects=3)
    rows = [3, 7]
    found = synth.true_effects(made, rows, {"position": (-1.0, 1.0), "contrast": (0.0, 2.0)})
    field = 2 * np.outer(made.topographies["position"], made.time_courses["position"])
    np.testing.assert_allclose(found["position"]["meg"], np.stack([field, field]))
    assert not found["contrast"]["meg"].any() and not found["contrast"]["behaviour"].any()
    film = found["position"]["video"][0, 0, 7]  # bright where the patch is, dark where it was
    assert np.abs(film).max() > 0.1 and film.argmax() % 32 > 16 > film.argmin() % 32
    assert found["position"]["behaviour"][0, 0] > 0.05  # slower to the right
    assert not np.allclose(found["position"]["video"][0], found["position"]["video"][1])
    with pytest.raises(ValueError, match="no factors"):
        synth.true_effects(made, rows, {"size of things": (0, 1)})
    with pytest.raises(ValueError, match="effects of synth.audiovisual"):
        synth.true_effects(synth.small(12), rows, {"position": (0, 1)})


def test_a_code_that_no_trial_has_is_outside():
    torch.manual_seed(0)
    z = torch.randn(500, 1) @ torch.tensor([[1.0, 0.99]]) + 0.1 * torch.randn(500, 2)
    model = Linear(torch.eye(2), torch.ones(2, 4), torch.ones(2, 2))
    views = Views({"code": z})
    region = explain.Support.of(model, views)
    far = region.far({"shared": torch.tensor([[1.5, 1.5], [1.5, -1.5], [0.0, 0.0]])})
    assert far[0] < 1 < far[1] and far[2] < 0.1  # each value is common, their combination is not
    assert float((region.far({"shared": z}) <= 1).float().mean()) == pytest.approx(0.99, abs=0.005)
    found = explain.departures(model, views, [[0.0, 0.05], [0.0, 3.0]], region=region)
    assert (found[:, 0] < 0.3).all() and found[0, 1] < 1 < found[1, 1]
    with pytest.raises(ValueError, match=r"codes of \{'shared': 2\} are needed, got \{'shared': 3\}"):
        region.far({"shared": torch.zeros(1, 3)})


def test_along_a_latent_the_limit_is_where_99_of_100_codes_of_a_normal_distribution_are():
    """2.576 standard deviations from the middle on either side; along a direction, of the codes seen from there."""
    sd = torch.tensor([2.0, 0.5])
    region = explain.Support({"shared": 2}, torch.tensor([1.0, 0.0]), torch.diag(1 / sd.square()), limit=3.0)
    z = {"shared": torch.tensor([1.0, 0.0]) + 2.5758 * torch.tensor([[2.0, 0.0], [-1.0, 9.0], [0.0, 0.5], [0.0, 0.0]])}
    torch.testing.assert_close(region.along(z, ("shared", 0)), torch.tensor([1.0, 0.5, 0, 0]), rtol=1e-4, atol=1e-6)
    s = 0.5**0.5  # of the sum of both the variance is (4 + 0.25) / 2
    torch.testing.assert_close(
        region.along(z, ("shared", torch.tensor([s, s])))[2], torch.tensor(0.5 / 4.25**0.5), rtol=1e-4, atol=1e-6
    )
    half = explain.Support(region.blocks, region.centre, region.precision, 3.0, share=0.5)
    assert float(half.along(z, ("shared", 0))[0]) == pytest.approx(2.5758 / 0.67449, rel=1e-4)
