"""Maps of explanations, films and traversals: what is drawn is what was given, and each says what it is."""

from __future__ import annotations

from types import SimpleNamespace

import av
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from ivekit import viz
from ivekit.topomap import Topomap

TIMES = np.linspace(-0.1, 0.4, 26)


@pytest.fixture(scope="module")
def topo() -> Topomap:
    pos = 0.03 * np.stack(np.meshgrid([-2, -1, 0, 1, 2], [-2, -1, 0, 1]), -1).reshape(20, 2)
    pos = pos + 0.002 * np.random.default_rng(0).normal(size=pos.shape)
    return Topomap(SimpleNamespace(names=[f"S{i}" for i in range(20)], kinds=["mag"] * 20, pos=pos, info=None), size=24)


@pytest.fixture(scope="module")
def field(topo) -> np.ndarray:
    return 1e4 * np.outer(topo.pos[:, 0], np.exp(-(((TIMES - 0.1) / 0.03) ** 2)))


def test_a_map_of_an_explanation_says_what_it_is(topo, field):
    peak = field[:, 10]
    ax = viz.explained(peak, topo, "pattern", of="motion", unit="fT")
    assert ax.get_title() == "pattern of motion"
    assert ax.images[0].colorbar.ax.get_ylabel() == "pattern (fT)"
    low, high = ax.images[0].get_clim()
    assert -low == high == pytest.approx(np.abs(peak).max())
    assert viz.explained(peak, topo, "filter").get_title() == "filter"
    with pytest.raises(ValueError, match="a map says what it is, one of pattern, filter.*got 'topomap'"):
        viz.explained(peak, topo, "topomap")


def test_a_size_without_sign_goes_from_white_to_red(topo, field):
    ax = viz.explained(np.abs(field[:, 10]), topo, "|attribution|")
    assert ax.images[0].get_clim()[0] == 0 and ax.images[0].get_cmap().name == "Reds"
    with pytest.raises(ValueError, match=r"\|attribution\| has no sign, but the values go down to -"):
        viz.explained(field[:, 10], topo, "|attribution|")


def test_a_film_is_on_one_scale_at_the_moments_that_are_asked_for(topo, field):
    axes = viz.film(field, TIMES, topo, at=[-0.1, 0.1, 0.121], title="pattern")
    assert [ax.get_title() for ax in axes] == ["-100 ms", "100 ms", "120 ms"]
    limits = {ax.images[0].get_clim() for ax in axes}
    assert len(limits) == 1 and limits.pop()[1] == pytest.approx(np.abs(field[:, 10]).max())
    drawn = np.asarray(axes[1].images[0].get_array())
    np.testing.assert_allclose(drawn[topo.inside], topo(field[:, 10])[topo.inside], rtol=1e-5)
    assert "pattern" in [text.get_text() for text in axes[0].texts]
    axes[0].figure.canvas.draw()
    sizes = [t.get_fontsize() for a in axes[0].figure.axes for t in a.findobj(plt.Text) if t.get_text()]
    assert min(sizes) >= 6 and round(25.4 * axes[0].figure.get_figwidth()) == 170


def test_a_film_is_drawn_where_it_is_asked_to_and_seen_on_a_dark_page(topo, field):
    _, axes = plt.subplots(1, 3)
    before, style = len(plt.get_fignums()), dict(plt.rcParams)
    assert viz.film(field, TIMES, topo, list(axes), n=3, limit=7) == list(axes)
    assert len(plt.get_fignums()) == before and dict(plt.rcParams) == style
    assert axes[0].images[0].get_clim() == (-7, 7)
    with plt.style.context("dark_background"):
        axes = viz.film(field, TIMES, topo, n=2, title="pattern")
    words = [axes[0].title, *axes[0].texts, axes[-1].images[0].colorbar.ax.yaxis.label]
    assert all(sum(to_rgb(word.get_color())) > 1 for word in words)


@pytest.mark.parametrize("end", [".gif", ".mp4"])
def test_a_film_is_stored_picture_by_picture(topo, field, tmp_path, end):
    path = viz.animate(field[:, 8:12], TIMES[8:12], topo, tmp_path / f"film{end}", fps=10, title="pattern")
    if end == ".gif":
        with Image.open(path) as image:
            assert image.n_frames == 4 and image.info["duration"] == 100
            pictures = []
            for i in range(4):
                image.seek(i)
                pictures.append(np.asarray(image.convert("RGB"), float))
    else:
        with av.open(str(path)) as container:
            pictures = [frame.to_ndarray(format="rgb24").astype(float) for frame in container.decode(video=0)]
    assert len(pictures) == 4 and len({p.shape for p in pictures}) == 1
    colour = [np.ptp(p, 2).mean() for p in pictures]  # the field grows to its peak at 0.1 s, and so does the colour
    assert colour[2] == max(colour) and colour[2] > 1.2 * colour[0]
    assert not plt.get_fignums()


@pytest.mark.parametrize("end", [".gif", ".mp4"])
@pytest.mark.parametrize("before", [None, b"the film of yesterday"])
def test_a_film_that_is_ended_in_the_midst_leaves_what_was_there(tmp_path, end, before):
    path = tmp_path / f"film{end}"
    if before:
        path.write_bytes(before)
    seen = []

    def drawn():
        yield np.zeros((16, 16, 3), np.uint8)
        seen.append(path.read_bytes() if path.exists() else None)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        viz.record(drawn(), path)
    assert seen == [before] and [p.read_bytes() for p in tmp_path.iterdir()] == [before] * bool(before)


@pytest.mark.parametrize("end", [".gif", ".mp4"])
def test_a_film_of_no_picture_is_refused_and_home_is_known(tmp_path, monkeypatch, end):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ValueError, match=f"needs a picture at least, and there is none for 'film{end}'"):
        viz.record(iter([]), f"~/film{end}")
    assert viz.record([np.zeros((16, 16, 3), np.uint8)], f"~/film{end}") == tmp_path / f"film{end}"
    assert [path.name for path in tmp_path.iterdir()] == [f"film{end}"]


@pytest.mark.parametrize("end", [".pdf", ".svg", ".png"])
def test_a_figure_that_is_ended_in_the_midst_leaves_the_one_before(tmp_path, monkeypatch, end):
    ax = viz.matrix(np.eye(3), list("abc"), list("abc"))
    before = viz.save(ax, tmp_path / f"a{end}").read_bytes()

    def cut(_, path, **__):
        assert path.suffix == end
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(type(ax.figure), "savefig", cut)
    with pytest.raises(KeyboardInterrupt):
        viz.save(ax, tmp_path / f"a{end}")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [before]


def test_what_cannot_be_a_film_says_so(topo, field, tmp_path):
    with pytest.raises(ValueError, match=r"stored as .gif or .mp4, not 'film.avi'"):
        viz.animate(field, TIMES, topo, tmp_path / "film.avi")
    with pytest.raises(ValueError, match=r"\(sensors, 25 times\), got \(20, 26\)"):
        viz.film(field, TIMES[:-1], topo)
    with pytest.raises(ValueError, match="3 moments need as many axes, got 2"):
        viz.film(field, TIMES, topo, list(plt.subplots(1, 2)[1]), n=3)


def test_a_traversal_has_a_row_a_value_and_every_view_in_its_own_way(topo, field):
    values = [-1.0, 0.0, 2.0]
    decoded = {
        "meg": np.stack([v * field for v in values]),
        "video": np.random.default_rng(0).random((3, 1, 8, 6, 6)),
        "behaviour": np.outer(values, [0.5, 1.0]),
    }
    axes = viz.traversal(values, decoded, topo, TIMES, ["reaction_time", "pupil"], spans=np.array([[-1, 1], [-2, 2.0]]))
    assert [len(row) for row in axes] == [4, 4, 4]
    assert [ax.get_title() for ax in axes[0]] == ["meg, map", "meg, courses (fT)", "video", "behaviour"]
    limits = {row[0].images[0].get_clim() for row in axes}
    assert len(limits) == 1  # all steps on one scale
    np.testing.assert_allclose(axes[2][1].lines[3].get_ydata(), 2 * field[3])
    assert axes[0][1].get_ylim() == axes[2][1].get_ylim()
    widths = [patch.get_width() for patch in axes[2][3].patches[2:]]
    assert widths == [1.0, 1.0] and [t.get_text() for t in axes[2][3].texts] == ["1", "2"]
    assert [p.get_width() for p in axes[1][3].patches[2:]] == [0.5, 0.5]
    assert [t.get_text() for row in axes for t in row[0].texts][:1] == ["z = -1"]


def test_a_traversal_needs_a_value_a_step_and_shapes_it_knows():
    with pytest.raises(ValueError, match=r"2 values of the latent, but decoded are \{'a': \(3, 4\)\}"):
        viz.traversal([0, 1], {"a": np.zeros((3, 4))})
    with pytest.raises(ValueError, match=r"view 'a' has rows of \(4, 4, 4\)"):
        viz.traversal([0, 1], {"a": np.zeros((2, 4, 4, 4))})
