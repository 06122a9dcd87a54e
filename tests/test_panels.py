"""The small panels: what they send, what is stored of them, and that a page needs nobody."""

from __future__ import annotations

import base64
import io
import math
import re

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from ivekit import Sensors, Views, models, nn
from ivekit.explain import Attribution, attention, card, traverse
from ivekit.metrics import relation
from ivekit.training import latents
from ivekit.widgets import panels

ANGLE = np.linspace(0, 2 * np.pi, 12, endpoint=False)
POS = 0.08 * np.stack([np.cos(ANGLE), np.sin(ANGLE)], 1) * np.where(np.arange(12) % 2, 1.0, 0.5)[:, None]
SENSORS = Sensors([f"M{i}" for i in range(12)], POS, ["mag"] * 12, 100.0, tmin=-0.02)


@pytest.fixture(scope="module")
def views() -> Views:
    generator = torch.Generator().manual_seed(0)
    tensors = {"meg": (50, 12, 5), "video": (50, 1, 3, 8, 8), "behaviour": (50, 2)}
    about = {"meg": SENSORS, "video": {"fps": 10.0}, "behaviour": {"columns": ["rt", "choice"], "units": ["s", ""]}}
    return Views({k: torch.randn(shape, generator=generator) for k, shape in tensors.items()}, about=about)


@pytest.fixture(scope="module")
def model(views) -> models.MultimodalVAE:
    torch.manual_seed(0)
    shapes = {name: tuple(x.shape[1:]) for name, x in views.items()}
    encoders = {k: torch.nn.Sequential(torch.nn.Flatten(), nn.MLPEncoder(math.prod(s), 8)) for k, s in shapes.items()}
    decoders = {k: nn.Gaussian(nn.MLPDecoder(3 + 2 * (k == "meg"), s)) for k, s in shapes.items()}
    private = {"meg": nn.ProductOfExperts(["meg"], 8, 2)}
    return models.MultimodalVAE(encoders, nn.ProductOfExperts(list(shapes), 8, 3), decoders, private)


class Page:
    """What a browser would hear from a panel."""

    def __init__(self, panel: panels.Panel, monkeypatch):
        heard: list = []
        monkeypatch.setattr(panel, "send", lambda message, buffers=None: heard.append((message, buffers)))
        panel._handle_custom_msg({"ask": "scene", "id": "me"}, [])
        ((self.message, raw),) = heard
        self.scene, self.raw = self.message["scene"], dict(zip(self.message["buffers"], raw))

    def __getitem__(self, name: str) -> np.ndarray:
        return np.frombuffer(self.raw[name], np.float32)


def test_attention_sends_every_head_of_every_row(monkeypatch):
    net = nn.TokenDecoder(0, (6, 8), [nn.CrossAttention(8, heads=2)], 8, heads=2)
    model = models.Conditional({"a": nn.ColumnEncoder(3, 8)}, {"b": nn.Gaussian(net)})
    views = Views({"a": torch.arange(12.0).reshape(4, 3)})
    page = Page(panels.attention(model, views), monkeypatch)
    found = attention(model, views)
    assert [told["name"] for told in page.scene["maps"]] == list(found)
    for i, (told, attended) in enumerate(zip(page.scene["maps"], found.values())):
        assert (told["rows"], told["columns"]) == (attended.row_names(), attended.column_names())
        np.testing.assert_allclose(page[f"map:{i}"], attended.weights.numpy().ravel())


def test_a_model_without_attention_is_refused(model, views):
    with pytest.raises(ValueError, match="MultimodalVAE of meg, video, behaviour has no attention"):
        panels.attention(model, views)


def test_too_many_rows_are_cut_and_said(monkeypatch, views):
    monkeypatch.setattr(panels, "MOST", 20_000)
    said = Attribution({"meg": views["meg"]}, "InputXGradient", "none")
    page = Page(panels.attribution(said, views), monkeypatch)
    assert page.scene["note"][-1] == "the first 41 of 50 rows" and len(page.scene["rows"]) == 41
    np.testing.assert_array_equal(page["attribution:meg"], views["meg"][:41].numpy().ravel())


def test_an_attribution_is_drawn_by_what_its_views_are(monkeypatch, views):
    said = Attribution({name: 2 * x for name, x in views.items()}, "InputXGradient", "zeros")
    page = Page(panels.attribution(said, views, what="speed"), monkeypatch)
    kinds = {told["name"]: told["kind"] for told in page.scene["views"]}
    assert kinds == {"meg": "field", "video": "film", "behaviour": "numbers"}
    meg, video, behaviour = page.scene["views"]
    np.testing.assert_allclose(meg["times"], SENSORS.times(5))
    assert video["fps"] == 10.0 and behaviour["columns"] == ["rt", "choice"]
    inside = np.frombuffer(page.raw["inside:meg"], np.uint8).astype(bool)
    assert inside.any() and np.isfinite(page["topo:meg"].reshape(64 * 64, 12)[inside]).all()
    np.testing.assert_array_equal(page["data:video"], views["video"].numpy().ravel())
    assert "no check was made" in page.scene["title"] and "baseline: zeros" in page.scene["note"][0]


def test_a_model_and_a_target_are_attributed_and_a_card_says_its_verdict(monkeypatch, model, views):
    target = lambda out: out.z["shared"][:, 0]  # noqa: E731
    explain = lambda model, views, target: {k: x.abs() for k, x in views.items()}  # noqa: E731
    made = card(model, views[:8], target, explain, "shared 0", draws=3)
    page = Page(panels.attribution(made, views[:8]), monkeypatch)
    assert page.scene["title"] == made.title and page.scene["note"][0] == made.verdict
    page = Page(panels.attribution(model, views[:4], target, n_steps=2), monkeypatch)
    assert np.abs(page["attribution:meg"]).max() > 0 and "IntegratedGradients" in page.scene["note"][0]
    with pytest.raises(ValueError, match="needs a target"):
        panels.attribution(model, views)


def test_the_matrix_is_the_relation_and_a_walk_is_the_traversal(monkeypatch, model, views):
    codes = latents(model, views)
    factors = pd.DataFrame({"size": codes["shared"][:, 1].numpy(), "label": "x", "side": codes["meg"][:, 0] > 0})
    page = Page(panels.disentanglement(model, views, factors), monkeypatch)
    z = torch.cat([codes["shared"], codes["meg"]], 1).numpy()
    want = relation(z, factors[["size", "side"]].to_numpy(float))
    np.testing.assert_allclose(page["relation"].reshape(5, 2), want, atol=1e-6)
    assert page.scene["factors"] == ["size", "side"]  # words are no factor
    assert page.scene["latents"] == ["shared 0", "shared 1", "shared 2", "meg 0", "meg 1"]
    moved = traverse(model, views, "meg", 1, panels.STEPS)
    sent = {told["name"]: told for told in page.scene["views"]}
    np.testing.assert_allclose(page["walk:behaviour"].reshape(5, 5, 2)[4], moved["behaviour"], atol=1e-5)
    most = int(np.square(np.ptp(moved["meg"].numpy(), 0)).sum(0).argmax())
    assert sent["meg"]["at"][4] == f"{SENSORS.times(5)[most]:.3f} s"
    np.testing.assert_allclose(page["walk:meg"].reshape(5, 5, 12)[4], moved["meg"][..., most], atol=1e-5)


def test_codes_alone_have_no_traversal_and_no_factor_is_an_error(monkeypatch, views):
    z = {"shared": np.random.default_rng(0).standard_normal((100, 2))}
    page = Page(panels.disentanglement(z, factors=pd.DataFrame({"size": z["shared"][:, 0]})), monkeypatch)
    assert page.scene["views"] == [] and page["relation"][0] > 0.5 > page["relation"][1]
    with pytest.raises(ValueError, match="no factors"):
        panels.disentanglement(z, factors=pd.DataFrame({"name": ["a"] * 100}))


@pytest.fixture
def panel(views):
    return panels.attribution(Attribution({"behaviour": views["behaviour"]}, "InputXGradient", "none"), views)


def test_what_is_stored_is_small_fixed_and_a_picture(panel, views):
    stored, _ = panel._repr_mimebundle_()
    assert stored["text/plain"] == repr(panel) == "Attribution of the target to behaviour, 50 rows"
    picture = Image.open(io.BytesIO(base64.b64decode(stored["image/png"])))
    assert min(picture.size) > 50 and len(picture.convert("L").getcolors(1000) or []) > 3
    again = panels.attribution(Attribution({"behaviour": views["behaviour"]}, "InputXGradient", "none"), views)
    assert again.picture == panel.picture
    state = {name: value for name, value in panel.get_state().items() if name not in ("_esm", "_css")}
    assert len(str(state)) < 2000  # numbers travel by message, so a saved notebook does not hold them


def test_a_page_holds_all_it_needs(tmp_path, panel):
    page = panel.export(tmp_path / "panel.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|src=|import\s", page)
    assert page.count("<script") == page.count("</script>") == 1 and len(page) < 1e6
