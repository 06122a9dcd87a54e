"""The report of a run: one file that needs nothing, says what was given, and is safe with any name."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.pyplot as plt
import mne
import numpy as np
import pandas as pd
import pytest
import torch

from ivekit import Outputs, Sensors, Views, report
from ivekit.distributions import Categorical, Normal

N = 12


def neuromag(*kinds: str) -> Sensors:
    info = mne.channels.read_meg_canonical_info("neuromag")
    picks = np.sort(np.concatenate([mne.channel_indices_by_type(info)[kind] for kind in kinds]))
    return Sensors.from_info(mne.pick_info(info, picks), tmin=-0.1)


def recording(**about) -> Views:
    """Random rows of every shape that is drawn; `about` says what they are."""
    random = torch.Generator().manual_seed(0)
    shapes = {"meg": (102, 25), "video": (1, 8, 6, 6), "behaviour": (3,), "heart": (2, 40), "volume": (3, 4, 5)}
    tensors = {name: torch.rand(N, *shape, generator=random) for name, shape in shapes.items()}
    present = {"video": torch.arange(N) != 3, "heart": torch.rand(N, 2, 40, generator=random) > 0.1}
    metadata = pd.DataFrame({"subject": ["s1", "s2"] * (N // 2), "split": ["train"] * 6 + ["test"] * 6})
    said = {"meg": neuromag("mag"), "video": {"fps": 25.0}, "behaviour": {"columns": ["rt", "choice", "sure"]}}
    return Views(tensors, present, metadata, said | about)


def told(views: Views) -> Outputs:
    return Outputs({}, {}, {name: Normal(0.5 * views[name], 1.0) for name in views})


def parts(views: Views) -> dict:
    """What a run hands to its report."""
    steps = np.arange(1, 41)
    losses = pd.DataFrame({"step": steps, "loss": 5.0 / steps, "kl": 0.1 * steps, "lr": 1e-3})
    losses["validation"] = np.where(steps % 10 == 0, 1.0, np.nan)
    z = {"shared": np.random.default_rng(0).normal(size=(N, 3)), "meg": np.zeros((N, 2))}
    score = {"model": 0.41, "constant": 0.0, "zero": -0.2, "linear": 0.3, "interval": [0.35, 0.47]}
    return {
        "title": "A run",
        "settings": {"recipe": "ive", "seed": 7, "latent": [3, 2]},
        "data": views,
        "scores": {"meg": {"reconstruction": score}, "behaviour": {"mse": {"model": 2.5, "constant": 2.0}}},
        "losses": losses,
        "outputs": told(views),
        "views": views,
        "latents": z,
        "kl": {"shared": np.array([1.0, 0.5, 0.002]), "meg": np.full(2, np.nan)},
    }


class Reader(HTMLParser):
    """The words of a page outside its figures, and its tags; says what is not closed."""

    VOID = {"meta", "br", "hr", "img"}

    def __init__(self, page: str):
        super().__init__()
        self.open, self.words, self.tags = [], [], []
        self.feed(page)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, name, attributes):
        self.tags.append((name, dict(attributes)))
        if name not in self.VOID:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        self.tags.append((name, dict(attributes)))

    def handle_endtag(self, name):
        assert self.open and self.open[-1] == name, f"</{name}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, text):
        if "svg" not in self.open and "style" not in self.open:
            self.words.append(text)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("run") / "report.html"
    return report.write(path, **parts(recording())).read_text(encoding="utf-8")


def test_the_page_needs_nothing_but_itself(page):
    assert "http" not in page and "//" not in re.sub(r"data:[^\"]*", "", page).replace("<!--", "")
    for _, attributes in Reader(page).tags:
        for key in ("src", "href", "xlink:href"):
            assert attributes.get(key, "#").startswith(("#", "data:")), attributes


def test_the_page_is_well_formed_and_its_links_lead_somewhere(page):
    tags = Reader(page).tags
    names = {attributes["id"] for _, attributes in tags if "id" in attributes}
    links = {a["href"] for name, a in tags if name == "a"}
    assert len(links) == 7 and links == {f"#{name}" for name in names if f"#{name}" in links}
    # what a figure refers to (clip paths, markers) is on the page
    assert set(re.findall(r"url\(#([^)]*)\)", page)) <= names


def test_it_says_what_was_run_and_found(page):
    text = Reader(page).text
    assert "seed 7" in text and "[3, 2]" in text and f"torch {torch.__version__}" in text
    assert "meg 102 mag at 125 Hz" not in text and "102 × 25 12 0" in text  # canonical sensors are at 1000 Hz
    assert "video fps: 25.0 1 × 8 × 6 × 6 11 1" in text
    assert "train 6 2 test 6 2" in text
    assert "meg reconstruction 0.410 0.350 to 0.470 0.000 −0.200 0.300 better" in text
    assert "better than the constant predictor in 1 of 2 scores, than the linear baseline in 1 of 1" in text
    assert "1 row of 12 lack a view" in text and re.search(r"recorded rows of heart, \d+\.\d\d% of the numbers", text)
    assert "python -m ivekit train ive --config settings.json" in text


def test_every_view_is_drawn_by_its_shape(page):
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    numbers = [int(re.search(r"Figure (\d+)", caption)[1]) for caption in captions]
    assert numbers == list(range(1, len(numbers) + 1))
    about = {name: sum(f"</b>{name}" in caption for caption in captions) for name in recording()}
    assert about == {"meg": 3, "video": 1, "behaviour": 2, "heart": 1, "volume": 1}
    figures = re.findall(r"<figure>(.*?)</figure>", page, re.DOTALL)
    bars = next(figure for figure in figures if "behaviour, one held-out row" in figure)
    assert all(f">{name}<" in bars for name in ("rt", "choice", "sure"))
    film = next(figure for figure in figures if "</b>video" in figure)
    assert "time (s)" in film and "0.28" in film  # the last of 8 frames at 25 a second


def test_collapse_is_said(page):
    text = Reader(page).text
    assert "The block meg collapsed" in text and "meg 2 0 –" in text and "shared 3 3 1.502" in text


def test_figures_take_the_ink_of_the_page(page):
    assert "#010203" not in page and page.count("currentColor") > 100
    style = page[page.index("<style>") : page.index("</style>")]
    assert "prefers-color-scheme: dark" in style


def test_the_same_run_gives_the_same_bytes(page, tmp_path):
    assert report.write(tmp_path / "again.html", **parts(recording())).read_text(encoding="utf-8") == page


HOSTILE = '<script>alert("x")</script> & $\\frac$ --> ]]>'


def test_names_from_data_are_text_not_html(tmp_path):
    views = recording(behaviour={"columns": [HOSTILE] * 3, "units": [HOSTILE] * 3}, heart={HOSTILE: HOSTILE})
    views = Views(
        {HOSTILE: views["behaviour"], "heart": views["heart"]},
        metadata=pd.DataFrame({"split": [HOSTILE] * N}),
        about={HOSTILE: views.about["behaviour"], "heart": views.about["heart"]},
    )
    given = parts(views) | {
        "title": HOSTILE,
        "question": HOSTILE,
        "command": HOSTILE,
        "notes": [HOSTILE],
        "settings": {HOSTILE: HOSTILE},
        "scores": {HOSTILE: {HOSTILE: {"model": 1.0, "constant": 0.0}}},
        "losses": pd.DataFrame({"step": [1, 2], HOSTILE: [2.0, 1.0]}),
        "latents": {HOSTILE: np.ones((N, 2))},
        "kl": {HOSTILE: np.ones(2)},
    }
    page = report.write(tmp_path / "report.html", **given).read_text(encoding="utf-8")
    assert "<script" not in page and "alert(&quot;x&quot;)" in page
    read = Reader(page)
    assert {name for name, _ in read.tags} & {"script", "iframe", "object", "img"} == set()
    assert read.text.count('<script>alert("x")</script>') > 10


def test_all_kinds_of_sensors_are_mapped_and_those_without_places_traced(tmp_path):
    views = Views({"meg": torch.randn(N, 306, 9)}, about={"meg": neuromag("mag", "grad")})
    page = report.write(tmp_path / "all.html", **parts(views)).read_text(encoding="utf-8")
    assert "</b>meg, mag, mean" in page and "</b>meg, grad, mean" in page and "field gradient (fT/cm)" in page
    lost = Sensors(["a", "b", "c"], np.full((3, 2), np.nan), ["mag"] * 3, 100.0)
    views = Views({"meg": torch.randn(N, 3, 9)}, about={"meg": lost})
    page = report.write(tmp_path / "lost.html", **parts(views)).read_text(encoding="utf-8")
    assert "</b>meg, one held-out row" in page and "time (s)" in page and ">b<" in page


def test_a_bare_run_is_a_page_too(tmp_path):
    views = Views({"a": torch.zeros(3, 2)})
    given = parts(views) | {"scores": {}, "losses": pd.DataFrame(), "latents": {}, "kl": {}, "settings": {}}
    text = Reader(report.write(tmp_path / "r.html", **given | {"outputs": Outputs({}, {}, {})}).read_text()).text
    for said in (
        "No scores were given",
        "No losses were kept",
        "no latents",
        "no view that can be drawn",
        "every view",
    ):
        assert said in text


def test_what_cannot_be_drawn_is_listed(tmp_path):
    views = Views({"label": torch.zeros(N, 2, dtype=torch.int64)})
    out = Outputs({}, {}, {"label": Categorical(torch.zeros(N, 2, 4))})
    text = Reader(report.write(tmp_path / "r.html", **parts(views) | {"outputs": out}).read_text()).text
    assert "label is not drawn: the model tells (2, 4) for a row of (2,)" in text


def test_labels_are_a_confusion_matrix(tmp_path):
    """Which class is taken for which, by the names that the rows give them; and no latents where there are none."""
    labels = torch.arange(N) % 3
    views = Views({"seen": labels}, about={"seen": {"classes": ["face", "house", "shoe"]}})
    logits = 9.0 * torch.eye(3)[(labels + (labels == 2)) % 3]  # every shoe is taken for a face
    given = parts(recording()) | {
        "data": views,
        "views": views,
        "outputs": Outputs({}, {}, {"seen": Categorical(logits)}),
    }
    html = report.write(tmp_path / "report.html", **(given | {"latents": {}, "kl": {}})).read_text()
    assert "the class that is most probable to the model, by the true one" in html
    assert "no view that can be drawn" not in html and "This model has no latents" in html
    (one,), undrawn = report.compare(given["outputs"], views)
    assert not undrawn and one.about == {"classes": ["face", "house", "shoe"]}
    ((_, draw, _),) = report.figures.pictures(one)
    draw(figure := plt.figure())
    shares = np.array([float(text.get_text()) for text in figure.axes[0].texts]).reshape(3, 3)
    np.testing.assert_array_equal(shares, [[1, 0, 0], [0, 1, 0], [1, 0, 0]])


def test_the_watch_over_training_is_drawn(tmp_path):
    epochs = [
        pd.DataFrame({"block": ["shared"] * 2, "epoch": e, "active": [True, e > 1], "drift": 0.1}) for e in range(4)
    ]
    given = parts(Views({"a": torch.zeros(N, 2)})) | {"watch": pd.concat(epochs)}
    assert "moved (prior s.d.)" in report.write(tmp_path / "r.html", **given).read_text(encoding="utf-8")


def test_the_old_page_stands_when_the_new_one_fails(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    given = parts(Views({"a": torch.zeros(N, 2)}))
    with pytest.raises(KeyError, match="no view 'b'"):
        report.write(path, **given | {"outputs": Outputs({}, {}, {"b": Normal(torch.zeros(N, 2), 1.0)})})
    assert path.read_text() == "old"
    report.write(path, **given)
    assert path.read_text().startswith("<!DOCTYPE html>") and [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_the_row_shown_is_neither_the_best_nor_the_worst():
    data = np.zeros((7, 2))
    model = np.array([6.0, 1, 5, 2, 4, 3, 0])[:, None] * np.ones((7, 2))
    assert report.typical_row({"a": (data, model)}) == 5
    data[5:] = np.nan  # a row that lacks a view is not shown while another has it
    assert report.typical_row({"a": (data, model), "b": (np.zeros((7, 1)), np.zeros((7, 1)))}) == 4


def test_masked_numbers_do_not_reach_the_figures(tmp_path):
    x = torch.rand(N, 2, 40)
    there = torch.ones(N, 2, 40, dtype=torch.bool)
    there[:, 0, 5] = False
    pages = []
    for name, garbage in (("a", 0.0), ("b", 1e9)):
        views = Views({"heart": torch.where(there, x, garbage)}, {"heart": there})
        out = Outputs({}, {}, {"heart": Normal(x, 1.0)})
        path: Path = report.write(tmp_path / name, **parts(views) | {"outputs": out})
        pages.append(path.read_text(encoding="utf-8"))
    assert pages[0] == pages[1]
