"""The card of an explanation: its rows, its verdict, its figure; and what is trained for it is trained once."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from torch import Tensor, nn

from ivekit import Views, explain, viz
from ivekit.explain import Card, Check, card, imputers, one_latent
from ivekit.explain.maps import answers
from ivekit.models import MultimodalVAE
from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts

VIEWS = Views({"a": torch.randn(12, 8, generator=torch.Generator().manual_seed(0))})
LATENT = one_latent("shared", 0)


def made(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    net = {"a": MLPEncoder(8, 8)}
    return MultimodalVAE(net, ProductOfExperts("a", 8, 2), {"a": Gaussian(MLPDecoder(2, 8))}).eval()


def gradient(model: nn.Module, views: Views, target) -> dict[str, Tensor]:
    x = views["a"].clone().requires_grad_()
    return {"a": torch.autograd.grad(answers(model, views.replace(a=x), target).sum(), x)[0]}


def a_card(explainer=gradient, **settings) -> Card:
    return card(made(), VIEWS, LATENT, explainer, "shared 0", draws=3, **settings)


def test_cheap_rows_are_made_of_what_is_given():
    assert [c.name for c in a_card().checks] == ["weights", "specificity", "robustness", "traversal"]
    full = a_card(imputers=[imputers.Mean.fit(VIEWS)], baseline={"a": torch.zeros(8)})
    names = ["completeness", "weights", "specificity", "deletion (mean)", "robustness", "traversal"]
    assert [c.name for c in full.checks] == names
    torch.testing.assert_close(full.explanation["a"], gradient(made(), VIEWS, LATENT)["a"])
    total = lambda out: out.p["a"].mean.sum(1)  # noqa: E731 (no latent: neither its rivals nor its traversal)
    assert [c.name for c in card(made(), VIEWS, total, gradient, draws=3).checks] == ["weights", "robustness"]


def test_nothing_is_called_a_drive_when_a_row_failed():
    noise = lambda model, views, target: {"a": torch.randn(12, 8)}  # noqa: E731
    bad = a_card(noise)
    assert "robustness" in bad.failed and bad.verdict.startswith("Not to be believed")
    assert bad.title.startswith("shared 0: a map that failed") and "drives" not in bad.title
    good = Card("shared 0", {}, (Check("weights", 1.0, passed=True),), bad.asked, {})
    assert good.title == "what drives shared 0" and good["weights"].passed
    with pytest.raises(KeyError, match="no check 'truth'"):
        good["truth"]


def test_dear_rows_are_added_and_trained_once():
    calls = []

    def retrain(seed: int, data: Views) -> nn.Module:
        calls.append((seed, torch.equal(data["a"], VIEWS["a"])))
        return made(seed + 1)

    cheap = a_card()
    dear = cheap.falsify(retrain, VIEWS, seeds=2, shuffles=2, progress=list, draws=3)
    assert [c.name for c in dear.checks] == ["weights", "specificity", "robustness", "traversal", "seeds", "labels"]
    assert calls == [(1000, True), (1001, True), (0, False), (1, False)]
    assert "other seeds (2)" in dear["weights"].note and "ceiling is 1" in cheap["weights"].note
    again = cheap.falsify(retrain, VIEWS, seeds=2, shuffles=2, progress=list, draws=3)
    assert len(calls) == 4, "trained again"
    assert [c.value for c in again.checks] == [c.value for c in dear.checks]
    dear.falsify(retrain, VIEWS, seeds=3, shuffles=2, progress=list, draws=3)
    assert len(calls) == 5
    dear.falsify(retrain, VIEWS, progress=list, draws=3)
    assert calls[5:] == [(2, False)], "three of each where nothing else is said"


def test_an_explanation_is_made_once_for_the_same_question():
    asked = []

    def counting(model, views, target):
        asked.append(views is VIEWS and target is LATENT)
        return gradient(model, views, target)

    mine = a_card(counting, baseline={"a": torch.zeros(8)})
    assert sum(asked) == 1 + 3, "the model's once, and that of each random network"
    mine.asked[3](mine.asked[0], VIEWS, LATENT)
    assert sum(asked) == 4


def rows() -> dict:
    null = np.linspace(-1, 1, 19)
    return {"good": (2.0, null, 0.9, True), "bad": (0.1, null, 0.9, False), "bar": (0.99, np.empty(0), 0.95, True)}


def test_the_figure_shows_each_check_beside_chance():
    ax = viz.card(rows(), "Not to be believed: it failed bad (1 of 3 checks).")
    marks = [line for line in ax.lines if line.get_marker() in ("o", "X")]
    assert [m.get_marker() for m in marks] == ["o", "X", "o"]
    assert len({to_rgb(m.get_color()) for m in marks}) == 2
    assert [bool(m.get_xdata()[0] > 0) for m in marks] == [True, False, True], "the side of the line is the verdict"
    assert sum(len(line.get_xdata()) for line in ax.lines if line.get_marker() == ".") == 38
    assert [t.get_text() for t in ax.texts] == ["2 (chance 0.9, p 0.05)", "0.1 (chance 0.9, p 0.5)", "0.99 (bar 0.95)"]
    assert ax.get_title(loc="left").startswith("Not to be believed") and ax.get_xlabel()
    with pytest.raises(ValueError, match="at least one check"):
        viz.card({})


def test_the_figure_is_drawn_where_it_is_asked_to_and_fits():
    figure, (left, right) = plt.subplots(1, 2, layout="constrained")
    assert a_card().draw(right) is right and not left.has_data()
    ax = viz.card(rows(), "Nothing speaks against it.")
    ax.figure.canvas.draw()
    sizes = [t.get_fontsize() for t in ax.findobj(plt.Text) if t.get_text() and t.get_visible()]
    assert min(sizes) >= 6 and round(25.4 * ax.figure.get_figwidth()) == 85
    page = ax.figure.bbox
    for text in ax.texts:
        box = text.get_window_extent()
        assert page.x0 <= box.x0 and box.x1 <= page.x1, f"{text.get_text()} is cut off"


def test_a_claim_is_the_title_of_the_axes():
    _, ax = plt.subplots()
    assert viz.claim("shared 3", ["weights"], ax) in ax.get_title().replace("\n", " ")
    assert explain.verdict([]).startswith("Nothing may be claimed")
