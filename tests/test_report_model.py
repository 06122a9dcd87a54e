"""What a report says of the model itself: its diagram, its latents, their traversals, reasons, fields and limits."""

from __future__ import annotations

import re

import mne
import numpy as np
import pandas as pd
import pytest
import torch
from test_report import HOSTILE, Reader, neuromag

from ivekit import Conditional, MultimodalVAE, Sensors, Standardise, Views, Whiten, ZScore, report
from ivekit.nn import Categorical, Columns, Gaussian, LogNormal, MLPDecoder, MLPEncoder, ProductOfExperts
from ivekit.report.architecture import architecture, names
from ivekit.report.diagram import diagram
from ivekit.training import train

N = 160
SPLIT = ["train"] * 100 + ["validation"] * 20 + ["test"] * 40


def sensors() -> Sensors:
    info = neuromag("mag").info
    return Sensors.from_info(mne.pick_info(info, np.arange(0, 102, 6)), tmin=-0.1)


def world() -> tuple[Views, pd.DataFrame]:
    """Rows whose MEG and behaviour follow `size`, and whose behaviour follows `speed` too."""
    rng = np.random.default_rng(0)
    size, speed = rng.standard_normal((2, N))
    field, course = rng.standard_normal(17), np.exp(-0.5 * np.square(np.arange(20) / 3 - 4))
    meg = 100 * size[:, None, None] * np.multiply.outer(field, course) + 20 * rng.standard_normal((N, 17, 20))
    table = np.stack([np.exp(0.3 * size), speed, size + speed], 1) + 0.01 * rng.random((N, 3))
    metadata = pd.DataFrame({"split": SPLIT, "subject": ["s1", "s2"] * (N // 2)})
    about = {"meg": sensors(), "behaviour": {"columns": ["rt", "vigour", "rating"], "units": ["s", "", "points"]}}
    tensors = {"meg": torch.from_numpy(meg).float(), "behaviour": torch.from_numpy(table).float()}
    return Views(tensors, metadata=metadata, about=about), pd.DataFrame({"size": size, "speed": speed})


def vae(data: Views) -> MultimodalVAE:
    torch.manual_seed(0)
    flat = torch.nn.Sequential(torch.nn.Flatten(), MLPEncoder(17 * 20, 16))
    return MultimodalVAE(
        {"meg": flat, "behaviour": MLPEncoder(3, 16)},
        ProductOfExperts(["meg", "behaviour"], 16, 2),
        {
            "meg": Gaussian(MLPDecoder(3, (17, 20))),
            "behaviour": Columns(rt=LogNormal(MLPDecoder(3, 1)), rest=Gaussian(MLPDecoder(3, 2))),
        },
        private={name: ProductOfExperts([name], 16, 1) for name in ("meg", "behaviour")},
        standardise=Standardise.fit(data, meg=Whiten(), behaviour=ZScore()),
    )  # fmt: skip


def given(data: Views, model: torch.nn.Module, **more) -> dict:
    rows = data[np.array(SPLIT) == "test"]
    with torch.no_grad():
        outputs = model.eval()(rows)
    losses = pd.DataFrame({"step": [1, 2], "loss": [2.0, 1.0]})
    has = hasattr(model, "encode")
    return dict(
        title="A run", settings={"recipe": "ive", "seed": 7}, data=data, scores={}, losses=losses, outputs=outputs,
        views=rows, latents=outputs.z if has else {}, kl={}, model=model, draws=19,
    ) | more  # fmt: skip


@pytest.fixture(scope="module")
def trained() -> tuple[MultimodalVAE, Views, pd.DataFrame]:
    data, factors = world()
    learn = data[np.array(SPLIT) == "train"]
    model = vae(learn)
    from ivekit import KL, NLL, Objective

    for _ in train(model, Objective(nll=NLL(), kl=KL(1.0)), learn, epochs=25, batch_size=25, lr=5e-3, seed=0):
        pass
    return model, data, factors


@pytest.fixture(scope="module")
def page(trained, tmp_path_factory) -> str:
    model, data, factors = trained
    owners = {"size": {"meg", "behaviour"}, "speed": {"behaviour"}}
    path = tmp_path_factory.mktemp("run") / "report.html"
    more = dict(factors=factors, owners=owners, links=[("Move <them>", "latents.html")], notes=["Kept is epoch 3."])
    return report.write(path, **given(data, model, **more)).read_text(encoding="utf-8")


def part(page: str, name: str) -> str:
    return re.search(rf'<section id="{name}">(.*?)</section>', page, re.DOTALL)[1]


def test_every_part_is_there_and_in_the_contents(page):
    order = ["data", "model", "training", "scores", "reconstructions", "latents", "traversals", "attributions"]
    order += ["disentanglement", "topomaps", "limits", "again"]
    assert re.findall(r'<section id="(\w+)">', page) == order
    assert re.findall(r'<a href="#(\w+)">', page) == order
    assert '<a href="latents.html">Move &lt;them&gt;</a>' in page


def test_the_page_asks_nothing_and_is_no_load(page):
    assert "http" not in page and "<script" not in page and len(page) < 6e6
    tags = Reader(page).tags
    assert {a["href"] for name, a in tags if name == "a" and not a["href"].startswith("#")} == {"latents.html"}


def test_figures_are_numbered_in_order_and_have_words(page):
    numbers = [int(n) for n in re.findall(r"<figcaption><b>Figure (\d+)\. ", page)]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) >= 12
    assert all(len(words) > 20 for words in re.findall(r"<figcaption><b>[^<]*</b>(.*?)</figcaption>", page, re.DOTALL))
    labels = [a.get("aria-label") or "title" for name, a in Reader(page).tags if name == "svg"]
    assert len(labels) == len(numbers)  # the diagram has a title of its own


def test_the_diagram_is_the_model(page):
    drawn = re.search(r'<svg[^>]*class="diagram".*?</svg>', page, re.DOTALL)[0]
    for word in ("MLPEncoder", "ProductOfExperts", "MLPDecoder", "LogNormal", "Whiten", "2 latents", "of meg alone"):
        assert f">{word}<" in drawn, word
    assert drawn.count('class="box shared"') == 1 and drawn.count('class="box private"') == 2
    assert drawn.count('class="way private"') == 4 and drawn.count('class="way shared"') == 4


def test_latents_have_the_names_of_what_they_follow(page):
    rows = re.findall(r"<tr><td><b>(\w+ \d)</b></td><td>(\w+)</td>(.*?)</tr>", part(page, "latents"))
    said = {latent: (match, "✓ above chance" in rest) for latent, match, rest in rows}
    assert ("size", True) in {said[name] for name in said if name.startswith("shared")}
    text = Reader(page).text
    assert re.search(r"\d of 4 latents are in use, and \d go with something known; most surely \w+ \d with s", text)
    assert "the true factors, on 40 held-out rows" in text


def test_traversals_attributions_and_fields_are_drawn(page):
    assert re.search(
        r"shared \d \(goes with s\w+, r = −?0\.\d\d\), decoded from −\d\.\d\d to \d", part(page, "traversals")
    )
    why = part(page, "attributions")
    for check in ("completeness", "weights", "specificity", "deletion (mean)", "robustness", "traversal"):
        assert f"<td><b>{check}</b></td>" in why
    assert re.search(r"meg: \|attribution\| of shared \d", why) and "time (s)" in why
    assert "seeds and labels" in why and "<code>Card.falsify</code>" in why
    assert re.search(r"fT\nhalves r = 0\.9\d|halves r = 0\.9\d", part(page, "topomaps"))


def test_verdicts_of_the_page_are_those_of_the_checks(page):
    """A card that failed is said to have, at the top and below."""
    for mark, n, of in re.findall(r'<span class="mark (\w+)">[✓✗] (?:passed|failed) (\d) of (\d)</span>', page):
        assert (mark == "yes") == (n == of) or mark == "no"
    below = re.findall(r'<span class="mark (?:yes|no)">([✓✗] \w+ \d of \d)</span>', part(page, "attributions"))
    above = re.findall(r'<span class="mark (?:yes|no)">([✓✗] \w+ \d of \d)</span>', page[: page.index("<section")])
    assert below and below == above


def test_disentanglement_stands_beside_its_floor(page):
    said = part(page, "disentanglement")
    assert all(f"<td><b>{name}</b></td>" in said for name in ("coverage", "mig", "modularity", "compactness"))
    assert "95 of 100 shuffles" in said and "Block score" in said and "R2, held-out rows" in said


def test_limits_are_those_of_this_run(page):
    said = Reader(part(page, "limits")).text
    assert "2 of the 2 subjects among the test rows are among the training rows too" in said
    assert "Kept is epoch 3." in said and "weighted sums" in said and "The truth is not known" not in said


def test_the_model_is_as_it_was_and_metadata_stand_in_for_factors(trained, tmp_path):
    model, data, factors = trained
    known = Views(data.tensors, data.present, data.metadata.assign(pupil=factors["size"]), data.about)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    asked = given(known, model, draws=0)
    page = report.write(tmp_path / "r.html", **asked | {"model": model.train()}).read_text(encoding="utf-8")
    assert model.training and all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert "the numeric columns of the metadata" in page and ">pupil<" in part(page, "latents")
    assert "The truth is not known in these data" in page and 'id="attributions"' not in page


def test_a_classifier_gets_what_applies(tmp_path):
    data, factors = world()
    labels = torch.tensor((factors["size"] > 0).tolist()).long()
    about = {"meg": data.about["meg"], "seen": {"classes": ["small", HOSTILE]}}
    data = Views({"meg": data["meg"], "seen": labels}, metadata=data.metadata, about=about)
    torch.manual_seed(0)
    encoder = torch.nn.Sequential(torch.nn.Flatten(), MLPEncoder(17 * 20, 16))
    model = Conditional(
        {"meg": encoder},
        {"seen": Categorical(MLPDecoder(16, 2))},
        standardise=Standardise.fit(data[:100], meg=ZScore()),
    )
    html = report.write(tmp_path / "r.html", **given(data, model)).read_text(encoding="utf-8")
    text = Reader(html).text
    assert "This model has no latents" in text and "log p(seen)" in text and "mean of tokens" in html
    assert re.findall(r'<section id="(\w+)">', html)[-4:] == ["attributions", "topomaps", "limits", "again"]
    assert "fT per nat of log-probability" in text and "2 classes" in html
    assert "<script" not in html and "alert(&quot;x&quot;)" in html


def test_names_in_the_model_are_text_not_html():
    net = type("<script>", (MLPEncoder,), {})(3, 8)
    views = Views({HOSTILE: torch.randn(3, 3)})
    found = diagram(architecture(_Named(net), views))
    assert "<script" not in found and "&lt;script&gt;" in found


class _Named(torch.nn.Module):
    """A model of one view whose class and name are hostile."""

    def __init__(self, net):
        super().__init__()
        self.net, self.decoders, self.standardise = net, {}, None

    @property
    def encoders(self):
        return {HOSTILE: self.net}

    def tokens(self, views):
        from ivekit.nn import Tokens

        return {HOSTILE: Tokens.of(self.net(views[HOSTILE]), views.rows_present(HOSTILE))}

    def forward(self, views):
        from ivekit import Outputs

        return Outputs({}, {"shared": views[HOSTILE]}, {})


def test_holes_and_nan_do_not_reach_the_page(trained, tmp_path):
    """Rows without a view, columns with NaN: the page is made, and says them."""
    model, data, factors = trained
    there = torch.arange(N) % 5 != 0
    gone = Views(
        {"meg": torch.where(there[:, None, None], data["meg"], torch.nan), "behaviour": data["behaviour"]},
        {"meg": there}, data.metadata, data.about,
    )  # fmt: skip
    factors = factors.assign(speed=np.where(np.arange(N) % 2, np.nan, factors["speed"]))
    html = report.write(tmp_path / "r.html", **given(gone, model, factors=factors, draws=0)).read_text(encoding="utf-8")
    text = Reader(html).text
    assert "32 rows of 160 lack a view" in text and ">nan<" not in html and "NaN" not in text
    assert "size" in part(html, "disentanglement") and ">speed<" not in part(html, "disentanglement")


def test_what_is_no_model_of_ours_is_said():
    assert architecture(torch.nn.Linear(2, 2), Views({"a": torch.zeros(2, 2)})) is None
    assert names(torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(2, 2))) == ("Linear",)


def test_factors_of_other_rows_are_refused(trained, tmp_path):
    model, data, factors = trained
    with pytest.raises(ValueError, match="factors have 3 rows, the data 160"):
        report.write(tmp_path / "r.html", **given(data, model, factors=factors[:3]))
