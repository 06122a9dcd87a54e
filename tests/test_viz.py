"""Figures: what is drawn is what was given, every axis says what it is, and nothing is lost on a dark page."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb

from ivekit import viz
from ivekit.topomap import Topomap

TIMES = np.linspace(-0.1, 0.4, 51)


def sensors(kind: str = "mag", twins: int = 1) -> SimpleNamespace:
    pos = 0.03 * np.stack(np.meshgrid([-2, -1, 0, 1, 2], [-2, -1, 0, 1]), -1).reshape(20, 2)
    pos = np.repeat(pos + 0.002 * np.random.default_rng(0).normal(size=pos.shape), twins, axis=0)
    names = [f"S{i}" for i in range(len(pos))]
    return SimpleNamespace(names=names, kinds=[kind] * len(pos), pos=pos, info=None)


@pytest.fixture(scope="module")
def topo() -> Topomap:
    return Topomap(sensors())


@pytest.fixture(scope="module")
def field(topo) -> np.ndarray:
    """(20, 51) fT: a left-right pattern that peaks at 0.1 s."""
    return 1e4 * np.outer(topo.pos[:, 0], np.exp(-(((TIMES - 0.1) / 0.03) ** 2)))


def every_figure(topo: Topomap, field: np.ndarray) -> dict[str, Callable]:
    rng = np.random.default_rng(0)
    z, table = rng.normal(size=(60, 4)), pd.DataFrame({"step": range(60), "loss": rng.normal(size=60).cumsum()})
    scores = {"meg": {"model": 0.4, "constant": 0.0, "zero": -0.1, "linear": 0.3, "interval": [0.3, 0.5]}}
    return {
        "topomap": lambda ax: viz.topomap(field[:, 20], topo, ax),
        "butterfly": lambda ax: viz.butterfly(field, TIMES, ax, pos=topo.pos),
        "frames": lambda ax: viz.frames(rng.random((1, 16, 8, 8)), ax, fps=30.0),
        "bars": lambda ax: viz.bars(z[0], list("abcd"), np.stack([z[0] - 1, z[0] + 1], 1), z[1], ax, "s"),
        "losses": lambda ax: viz.losses(table, ax),
        "matrix": lambda ax: viz.matrix(z[:3], list("xyz"), list("abcd"), ax, label="R2"),
        "presence": lambda ax: viz.presence(z > -1, list("abcd"), ax),
        "latents": lambda ax: viz.latents(z, z[:, 0], ax, label="a factor"),
        "kl": lambda ax: viz.kl(np.abs(z[0]), ax),
        "scores": lambda ax: viz.scores(scores, ax, "R2"),
    }


NAMES = ["topomap", "butterfly", "frames", "bars", "losses", "matrix", "presence", "latents", "kl", "scores"]


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_says_what_its_axes_are(topo, field, name):
    ax = every_figure(topo, field)[name](None)
    ax.figure.canvas.draw()
    said = [label for a in ax.figure.axes for label in (a.get_xlabel(), a.get_ylabel()) if label]
    assert said, "no axis has a label"
    assert round(25.4 * ax.figure.get_figwidth()) in (70, 85, 170)
    sizes = [t.get_fontsize() for a in ax.figure.axes for t in a.findobj(plt.Text) if t.get_text() and t.get_visible()]
    assert min(sizes) >= 6  # points, at the size of print


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_is_drawn_where_it_is_asked_to(topo, field, name):
    figure, (left, right) = plt.subplots(1, 2)
    before, style = len(plt.get_fignums()), dict(plt.rcParams)
    assert every_figure(topo, field)[name](right) is right
    assert len(plt.get_fignums()) == before, "a figure of its own was opened"
    assert not left.has_data() and right.has_data()
    assert dict(plt.rcParams) == style, "the style of the caller's later figures changed"


@pytest.mark.parametrize("name", NAMES)
def test_text_and_axes_are_seen_on_a_dark_page(topo, field, name):
    with plt.style.context("dark_background"):
        ax = every_figure(topo, field)[name](None)
        ax.figure.canvas.draw()
        words = [t for t in (ax.xaxis.label, ax.yaxis.label, *ax.get_xticklabels(), *ax.get_yticklabels())]
    assert all(sum(to_rgb(t.get_color())) > 1 for t in words if t.get_text())


def test_no_two_labels_overlap(topo, field):
    for name, draw in every_figure(topo, field).items():
        ax = draw(None)
        ax.figure.canvas.draw()
        for axis in (ax.xaxis, ax.yaxis):
            ticks = [t.label1 for t in axis.get_major_ticks() if t.label1.get_text() and t.label1.get_visible()]
            if any(t.get_rotation() for t in ticks):
                continue  # the boxes of slanted words overlap while the words do not
            boxes = [t.get_window_extent() for t in ticks]
            overlapping = [a for a, b in zip(boxes, boxes[1:]) if a.overlaps(b)]
            assert not overlapping, f"tick labels of {name} overlap"


def test_a_map_is_centred_on_zero_and_shows_the_interpolated_values(topo, field):
    ax = viz.topomap(field[:, 20], topo)
    image = ax.images[0]
    low, high = image.get_clim()
    assert -low == high == pytest.approx(np.abs(field[:, 20]).max())
    np.testing.assert_allclose(np.asarray(image.get_array())[topo.inside], topo(field[:, 20])[topo.inside], rtol=1e-5)
    assert viz.topomap(field[:, 20], topo, limit=7).images[0].get_clim() == (-7, 7)


def test_planar_pairs_have_no_sign():
    topo = Topomap(sensors("grad", twins=2), "grad", size=16)
    ax = viz.topomap(-np.ones(40), topo, unit="fT/cm")
    assert ax.images[0].get_clim() == (0, 1) and ax.images[0].colorbar.ax.get_ylabel() == "field gradient (fT/cm)"


def test_a_map_of_zeros_is_blank_not_an_error(topo):
    assert viz.topomap(np.zeros(20), topo).images[0].get_clim() == (-1, 1)


def test_tensors_are_taken(topo, field):
    ax = viz.butterfly(torch.tensor(field), torch.tensor(TIMES), pos=torch.tensor(topo.pos))
    np.testing.assert_allclose(ax.lines[3].get_ydata(), field[3])
    assert len(ax.lines) == 20 + 2  # the channels, zero field, the event


def test_neighbours_look_alike(topo):
    colours = viz.place_colours(topo.pos)
    apart = np.linalg.norm(topo.pos[:, None] - topo.pos, axis=-1)
    unlike = np.linalg.norm(colours[:, None] - colours, axis=-1)
    assert np.corrcoef(apart.ravel(), unlike.ravel())[0, 1] > 0.7
    assert colours.min() >= 0.1 and colours.max() <= 0.95  # seen on black and on white


def test_a_film_strip_shows_the_frames_at_their_times():
    film = np.linspace(0, 1, 30)[None, :, None, None] * np.ones((1, 30, 4, 4))
    ax = viz.frames(film, n=4, fps=10, start=-1.0)
    strip = np.asarray(ax.images[0].get_array())
    assert [t.get_text() for t in ax.get_xticklabels()] == ["-1.00", "0.00", "0.90", "1.90"]
    centres = [int(x) for x in ax.get_xticks()]
    np.testing.assert_allclose(strip[2, centres, 0], [film[0, i, 0, 0] for i in (0, 10, 19, 29)])
    assert strip[..., 3].min() == 0, "no gap between frames"


def test_a_film_in_colour_keeps_its_colours_and_more_frames_than_there_are_are_not_made_up():
    film = np.zeros((3, 2, 4, 4))
    film[0] = 1
    ax = viz.frames(film, n=8)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0", "1"]
    np.testing.assert_allclose(np.asarray(ax.images[0].get_array())[0, 0], [1, 0, 0, 1])


def test_losses_are_drawn_by_name_and_validation_apart():
    steps = np.arange(100)
    table = pd.DataFrame({"step": steps, "kl": 1.0, "loss": 3.0 + np.sin(steps), "lr": 0.1, "seconds": 2.0})
    table["validation"] = np.where(steps % 10 == 9, 4.0, np.nan)
    ax = viz.losses(table)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["loss", "kl", "validation"]
    validation = next(line for line in ax.lines if line.get_label() == "validation")
    assert list(validation.get_xdata()) == list(range(9, 100, 10))
    assert [t.get_text() for t in viz.losses(table, columns=["kl"]).get_legend().get_texts()] == ["kl"]


def test_wild_first_steps_do_not_flatten_the_rest():
    value = np.r_[np.full(3, 1e6), np.linspace(2, 1, 97)]
    low, high = viz.losses(pd.DataFrame({"step": range(100), "loss": value})).get_ylim()
    assert 0.8 < low < 1 and 1.9 < high < 2.2


def test_a_small_term_beside_a_large_one_is_seen():
    ax = viz.losses(pd.DataFrame({"step": range(50), "nll": 6000.0, "kl": np.linspace(1, 3, 50)}))
    drawn = {line.get_label(): ax.transData.transform(np.stack(line.get_data(), 1))[:, 1] for line in ax.lines}
    assert np.ptp(drawn["kl"]) > 0.05 * ax.bbox.height


def test_a_matrix_writes_its_numbers_readably():
    ax = viz.matrix(np.array([[-1.0, 0.0], [np.nan, -0.001]]), ["a", "b"], ["x", "y"])
    written = [(text.get_text(), text.get_color()) for text in ax.texts]
    assert written == [("-1.00", "white"), ("0.00", "black"), ("0.00", "black")]
    assert ax.images[0].get_clim() == (-1, 1)
    many = [f"z{i}" for i in range(20)]
    assert not viz.matrix(np.ones((20, 20)), many, many).texts  # too small to read


def test_presence_loses_no_single_row():
    there = np.ones((100_000, 2), bool)
    there[500, 1] = False
    ax = viz.presence(there, ["meg", "video"])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["meg  100 %", "video  99 %"]
    meg, video = (np.asarray(image.get_array()) for image in ax.images)
    assert meg.min() == 1 and video.min() < 1 and (video < 1).sum() == 1


def test_collapsed_latents_are_counted_and_pale():
    ax = viz.kl(np.array([1.0, 0.002, 0.3]))
    assert ax.get_title("left") == "2 of 3 latents used"
    used, collapsed, _ = (bar.get_facecolor() for bar in ax.patches)
    assert used != collapsed


def test_scores_stand_beside_their_baselines():
    table = {
        "meg": {"model": 0.4, "constant": 0.0, "linear": 0.3, "interval": [0.3, 0.5]},
        "video": {"model": 0.9, "zero": float("nan"), "linear": 0.8},
    }
    for given in (table, pd.DataFrame.from_dict(table, orient="index")):
        ax = viz.scores(given, label="R2")
        assert [t.get_text() for t in ax.get_legend().get_texts()] == ["model", "constant", "linear"]
        assert [t.get_text() for t in ax.get_yticklabels()] == ["meg", "video"]
        drawn = {(line.get_label(), float(line.get_xdata()[0])) for line in ax.lines}
        assert drawn == {("model", 0.4), ("constant", 0.0), ("linear", 0.3), ("model", 0.9), ("linear", 0.8)}


def test_a_reconstruction_shows_both_at_the_peak_on_one_scale(topo, field):
    left, right, course = viz.reconstruction(field, 0.5 * field, TIMES, topo)
    assert left.get_title() == "data, 0.100 s" and right.get_title() == "model, 0.100 s"
    assert left.images[0].get_clim() == right.images[0].get_clim()
    best = int(np.abs(field[:, 20]).argmax())
    assert course.get_title("right") == topo.names[best]
    np.testing.assert_allclose(course.lines[0].get_ydata(), field[best], atol=1e-3)
    np.testing.assert_allclose(course.lines[1].get_ydata(), 0.5 * field[best], atol=1e-3)
    assert viz.reconstruction(field, field, TIMES, topo, at=0.2)[0].get_title() == "data, 0.200 s"
    part = plt.figure().subfigures(1, 2)[1]
    assert all(ax.figure is part for ax in viz.reconstruction(field, field, TIMES, topo, figure=part))


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: viz.frames(np.zeros((2, 4, 8, 8))), r"1 or 3 colours.*got shape \(2, 4, 8, 8\)"),
        (lambda: viz.bars(np.zeros(3), ["a", "b"]), "3 values need as many names, got 2"),
        (lambda: viz.matrix(np.zeros((2, 3)), ["a"], ["x", "y", "z"]), r"1 rows and 3 columns.*\(2, 3\)"),
    ],
)
def test_what_does_not_fit_says_so(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


def test_one_colour_bar_is_for_maps_on_one_scale():
    _, axes = plt.subplots(1, 3)
    for ax, limit in zip(axes, (1, 1, 2)):
        ax.imshow([[0, 1]], vmin=-limit, vmax=limit)
    viz.colour_bar(axes[:2], "field (fT)")
    assert axes[1].images[0].colorbar.ax.get_ylabel() == "field (fT)"
    with pytest.raises(ValueError, match=r"one scale, but these maps have \[\(-2.0, 2.0\), \(-1.0, 1.0\)\]"):
        viz.colour_bar(axes, "field (fT)")


def test_losses_differ_in_dashes_where_colours_are_lost():
    ax = viz.losses(pd.DataFrame({"step": range(50), "nll": 1.0, "kl": 2.0, "agree": 3.0}))
    dashes = {line.get_label(): line.get_linestyle() for line in ax.lines if not line.get_label().startswith("_")}
    assert len(set(dashes.values())) == len(dashes) == 3
