"""Attention against removal: weights that are reasons pass, weights that are not fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ivekit import Views, explain
from ivekit.explain import attention_check as ac
from ivekit.models import Conditional, Outputs
from ivekit.nn import Attention, ColumnEncoder, CrossAttention, Gaussian, SensorAttention, TokenDecoder, Tokens


class Reader(nn.Module):
    """Sensors are tokens; the values are scaled by `gain`, so weights and effects agree where gains are equal."""

    def __init__(self, gain: torch.Tensor, loud: torch.Tensor):
        super().__init__()
        self.attend = Attention(4, heads=1)
        self.gain, self.loud = gain, loud
        nn.init.eye_(self.attend.to_q.weight)
        nn.init.zeros_(self.attend.to_q.bias)
        kv = torch.zeros(8, 4)
        kv[0, 0], kv[4, 1] = 4.0, 1.0  # keys are the loudness, values the token's content
        self.attend.to_kv.weight.data, self.attend.to_kv.bias.data = kv, torch.zeros(8)
        nn.init.eye_(self.attend.to_out.weight)
        nn.init.zeros_(self.attend.to_out.bias)

    def forward(self, views: Views) -> Outputs:
        x = views["meg"].masked_fill(~views.present["meg"], 0) if views.present["meg"].ndim > 1 else views["meg"]
        b, c = x.shape[:2]
        tokens = torch.zeros(b, c, 4)
        tokens[..., 0], tokens[..., 1] = self.loud, self.gain * x.mean(-1)
        query = torch.tensor([1.0, -1.0, 0.0, 0.0]).expand(b, 1, 4)
        said = self.attend(query, Tokens.of(tokens, torch.ones(b, dtype=torch.bool)))
        return Outputs({}, {"shared": said[:, 0]}, {})


def value(out: Outputs) -> torch.Tensor:
    return out.z["shared"][:, 0]


def rows(b: int = 40, c: int = 12) -> Views:
    return Views({"meg": 1 + 0.1 * torch.randn(b, c, 5, generator=torch.Generator().manual_seed(0))})


LOUD = torch.linspace(-1, 1, 12)[torch.randperm(12, generator=torch.Generator().manual_seed(1))]


def test_weights_that_decide_pass_and_those_that_mislead_fail():
    honest = Reader(torch.ones(12), LOUD)
    check = explain.check_attention(honest, rows(), value)
    # of content that hardly differs what counts is how far a token is from the weighted mean: compare with removal
    effects = ac.token_effects(honest, rows(), value, "attend", None, 12)
    weights = ac.token_weights(explain.attention(honest, rows())["attend"])
    assert weights.shape == effects.shape == (40, 12) and len(check.null) == 1000
    silent = Reader(torch.where(LOUD > 0, 0.0, 1.0), LOUD)  # it looks where there is nothing to take
    assert explain.check_attention(silent, rows(), value).value < check.value or not check.passed


def test_the_value_is_the_mean_rank_correlation_with_removal():
    from scipy.stats import spearmanr

    model, views = Reader(torch.rand(12, generator=torch.Generator().manual_seed(2)), LOUD), rows()
    check = explain.check_attention(model, views, value, n=300)
    weights = ac.token_weights(explain.attention(model, views)["attend"])
    effects = ac.token_effects(model, views, value, "attend", None, 12)
    by_row = [spearmanr(w, e).statistic for w, e in zip(weights, effects)]
    assert check.value == pytest.approx(np.mean(by_row), abs=1e-6)
    assert abs(check.null.mean()) < 0.1 and check.null.std() > 0.1  # rows that look alike are not independent


def test_a_hidden_token_is_a_token_that_is_not_there():
    torch.manual_seed(0)
    attend, x = Attention(8, heads=2).eval(), torch.randn(3, 5, 8)
    less = torch.cat([x[:, :2], x[:, 3:]], 1)
    with ac.hidden(attend, 2):
        within = attend(x)
        outside = attend(x[:, :1], Tokens.of(x, torch.ones(3, dtype=torch.bool)))
        named = attend(x[:, :1], context=Tokens.of(x, torch.ones(3, dtype=torch.bool)))
    torch.testing.assert_close(within[:, :2], attend(less)[:, :2])
    torch.testing.assert_close(outside, attend(x[:, :1], Tokens.of(less, torch.ones(3, dtype=torch.bool))))
    torch.testing.assert_close(named, outside)
    assert not attend._forward_pre_hooks and not torch.allclose(attend(x)[:, :2], within[:, :2])


def test_removing_from_the_input_marks_it_absent():
    views = Views({"film": torch.ones(2, 1, 4, 6, 6)})
    gone = ac.without("film", {1: 2, 2: 3, 3: 3})(views, 9 + 4)  # second half, the middle ninth
    mask = ~gone.present["film"][0, 0]
    assert mask.sum() == 2 * 2 * 2 and mask[2:, 2:4, 2:4].all()
    assert not views.present["film"].ndim > 1
    check = explain.check_attention(Reader(torch.ones(12), LOUD), rows(), value, remove=ac.without("meg", {0: 12}))
    assert "removed from the input" in check.note


def test_tokens_that_are_not_there_do_not_count():
    weights, changes = np.array([[0.5, 0.3, 0.2, 0.0, 0.0]]), np.array([[1.0, 2.0, 3.0, 0.0, 0.0]])
    value, _ = ac._predicts(weights, changes, weights > 0, 50, 0)
    assert value == pytest.approx(-1)  # with the absent two as tokens of weight and effect 0 it would be above 0
    value, _ = ac._predicts(weights, np.ones((1, 5)), weights > 0, 50, 0)
    assert value == 0


def test_several_attentions_are_told_apart_by_name():
    net = TokenDecoder(0, (2, 8), [CrossAttention(8, heads=2)], 8, heads=2)
    model = Conditional({"a": ColumnEncoder(6, 8)}, {"b": Gaussian(net)})
    views = Views({"a": torch.randn(9, 6)})
    first = lambda out: out.p["b"].mean[:, 0, 0]  # noqa: E731
    with pytest.raises(ValueError, match=r"name one of the model's attentions: decoders.b.*; got None"):
        explain.check_attention(model, views, first)
    name = "decoders.b.net.queries.conditioners.0.attend"
    check = explain.check_attention(model, views, first, explain.gradient_attention, name=name)
    assert -1 <= check.value <= 1 and name in check.note
    assert not any(m._forward_pre_hooks or "_weigh" in vars(m) for m in model.modules())


def test_a_title_says_what_the_check_said():
    failed = explain.Check("attention", 0.12, np.zeros(5), False)
    assert explain.map_title(failed) == "attention: weights, not evidence (r = 0.12)"


# gradient x attention --------------------------------------------------------------------------------------------


def test_gradient_attention_is_weights_times_their_gradient():
    """Of one head and one query whose output is linear in the weights, it is each token's part of the output."""
    torch.manual_seed(0)
    encoder = SensorAttention(5, 6, 8, n_queries=2, heads=2)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoders = nn.ModuleDict({"meg": encoder})

        def forward(self, views: Views) -> Outputs:
            return Outputs({}, {"shared": self.encoders["meg"](views["meg"])[:, 0]}, {})

    model, views = Model(), Views({"meg": torch.randn(3, 5, 6)})
    model.train()
    state = {name: p.grad for name, p in model.named_parameters()}
    found = explain.gradient_attention(model, views, lambda out: out.z["shared"][:, 1])
    (attended,) = found.values()
    assert attended.weights.shape == (3, 2, 2, 5) and (attended.weights >= 0).all()
    assert (attended.weights[:, :, 1] == 0).all() and (attended.weights[:, :, 0] > 0).any()  # query 1 is not looked at
    # by finite differences: scale one weight up a little
    weights = explain.attention(model, views)["encoders.meg.attend"].weights
    attend: Any = encoder.attend
    eps = 1e-3

    def said(change: torch.Tensor) -> torch.Tensor:
        attend._weigh = lambda *_: weights + change
        attend.keep = True
        try:
            return model(views).z["shared"][:, 1]
        finally:
            del attend._weigh
            attend.keep = False

    model.eval()
    step = torch.zeros_like(weights)
    step[:, 1, 0, 3] = eps
    with torch.no_grad():
        slope = (said(step) - said(-step)) / (2 * eps)
    expected = (slope * weights[:, 1, 0, 3]).clamp(min=0)
    torch.testing.assert_close(attended.weights[:, 1, 0, 3], expected, atol=2e-4, rtol=0.02)
    assert all(state[name] is p.grad for name, p in model.named_parameters())
    with pytest.raises(ValueError, match=r"one number a row, \(b,\); the target says \(3, 8\)"):
        explain.gradient_attention(model, views, lambda out: out.z["shared"])


# figures ---------------------------------------------------------------------------------------------------------


def test_the_figure_has_a_head_a_map_and_its_title():
    import matplotlib.pyplot as plt

    from ivekit import synth, viz
    from ivekit.topomap import Topomap

    world, rng = synth.small(20), np.random.default_rng(0)
    sensors = world.views.about["meg"]
    maps = {"attention": rng.random(28), "attribution": rng.random(28), "truth": np.abs(world.topographies["motion"])}
    courses = {"attribution": rng.random(40), "truth": world.time_courses["motion"]}
    patches = {"attention": rng.random((2, 3, 3))}
    title = explain.map_title(explain.Check("attention", 0.2, np.zeros(3), False))
    film = world.views["video"][0].numpy()
    axes = viz.attention_evidence(title, maps, Topomap(sensors, size=24), courses, sensors.times(40), film, patches)
    assert plt.gcf().get_suptitle() == "attention: weights, not evidence (r = 0.20)"
    assert [ax.get_title() for ax in axes[:3]] == list(maps) and len(axes) == 3 + 1 + 2
    assert all(ax.images[0].get_clim()[0] == 0 for ax in axes[:3])  # sizes: from white
    line = np.asarray(axes[3].lines[1].get_ydata())
    assert np.max(line) == 1 and np.argmax(line) == np.argmax(np.abs(world.time_courses["motion"]))
    assert axes[4].get_title() == "attention, frame 1" and axes[5].get_title() == "attention, frame 3"
    plt.close("all")
    with pytest.raises(ValueError, match="give both"):
        viz.attention_evidence(title, maps, Topomap(sensors, size=24), courses)


def test_a_scoreboard_shows_medians_and_chance():
    import matplotlib.pyplot as plt

    from ivekit import viz

    ax = viz.scoreboard({"good": np.array([0.8, 0.9, 1.0, np.nan]), "none": np.array([])}, floors={"good": 0.6})
    drawn: list[Any] = list(ax.collections)
    bars = [c.get_segments()[0][0][0] for c in drawn if c.get_linewidth()[0] > 1.2]
    assert bars == [0.9, 0.6] and np.size(ax.lines[0].get_xdata()) == 3
    assert [t.get_text() for t in ax.get_yticklabels()] == ["good", "none"]
    plt.close("all")


def test_what_is_removed_is_missing_beside_what_was_missing_before():
    here = torch.rand(3, 4, 6, generator=torch.Generator().manual_seed(0)) > 0.3
    for present in (here, torch.tensor([True, False, True])):
        views = Views({"meg": torch.ones(3, 4, 6)}, {"meg": present})
        less = ac.without("meg", {0: 2, 1: 3})(views, 4).present["meg"]  # the second pair of sensors, samples 2 and 3
        expected = (present if present.ndim == 3 else present[:, None, None].expand(3, 4, 6)).clone()
        expected[:, 2:, 2:4] = False
        assert torch.equal(less, expected)
