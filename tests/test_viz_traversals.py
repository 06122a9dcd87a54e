"""Traversals on paper: shared scales, no overlaps, letters that can be read, and files that a journal takes."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import av
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from ivekit import viz
from ivekit.topomap import Topomap

TIMES = np.linspace(-0.1, 0.4, 26)
VALUES = [-2.0, 0.0, 2.0]
NAMES = ["shared 0\nposition", "shared 1\nmotion", "video 3\nnothing known"]
COLUMNS = ["reaction_time", "pupil", "movement_time"]


@pytest.fixture(scope="module")
def topo() -> Topomap:
    pos = 0.03 * np.stack(np.meshgrid([-2, -1, 0, 1, 2], [-2, -1, 0, 1]), -1).reshape(20, 2)
    pos = pos + 0.002 * np.random.default_rng(0).normal(size=pos.shape)
    return Topomap(SimpleNamespace(names=[f"S{i}" for i in range(20)], kinds=["mag"] * 20, pos=pos, info=None), size=24)


@pytest.fixture(scope="module")
def decoded(topo) -> dict[str, np.ndarray]:
    """Latents 0 and 1 move all views, at 0.1 and 0.3 s; the last moves the film alone."""
    rng, z = np.random.default_rng(0), np.array(VALUES)
    bump = lambda at: np.exp(-(((TIMES - at) / 0.03) ** 2))  # noqa: E731
    fields = [1e4 * np.outer(topo.pos[:, 0], bump(0.1)), 2e4 * np.outer(topo.pos[:, 1], bump(0.3)), np.zeros((20, 26))]
    films = rng.random((3, 1, 6, 8, 8))
    films[:, :, 2] += 1
    return {
        "meg": np.stack([[v * field for v in z] for field in fields]),
        "video": np.stack([[0.5 + 0.1 * v * film for v in z] for film in films]),  # most of all in frame 2
        "behaviour": np.stack([np.outer(z, weights) for weights in ([1.0, 0, 0.5], [0.0, 2, 0], [0.0, 0, 0])]),
    }


def drawn(decoded, topo, **more):
    spans = np.array([[-3.0, 3], [-3, 3], [-3, 3]])
    return viz.traversals(VALUES, decoded, NAMES, topo, TIMES, COLUMNS, spans, **more)


def texts(figure) -> list[Text]:
    figure.canvas.draw()
    return [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]


def overlapping(figure) -> list[tuple[str, str]]:
    """Pairs of texts whose ink meets; turned ones are left out, since their boxes are larger than they are."""
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts(figure) if t.get_rotation() % 90 == 0]
    return [(a, b) for (a, x), (b, y) in itertools.combinations(boxes, 2) if x.padded(-0.5).overlaps(y.padded(-0.5))]


@pytest.mark.parametrize("draw", ["traversals", "changes"])
def test_a_page_has_no_overlaps_no_small_letters_and_nothing_beyond_its_edge(decoded, topo, draw):
    outside = np.array([[True, False, True]] * 3)
    if draw == "traversals":
        axes = drawn(decoded, topo, outside=outside)
    else:
        begin = {name: x[0, 1] for name, x in decoded.items()}
        axes = viz.changes(VALUES, decoded, begin, NAMES, topo, TIMES, COLUMNS, outside=outside)
    figure = axes[0][0].figure
    assert round(25.4 * figure.get_figwidth()) == 170 and overlapping(figure) == []
    assert min(t.get_fontsize() for t in texts(figure)) >= 6
    edge = figure.bbox.padded(0.5)
    assert [t.get_text() for t in texts(figure) if not _within(t.get_window_extent(), edge)] == []
    assert len(axes) == 3 and len({len(row) for row in axes}) == 1


def _within(box, edge) -> bool:
    return box.x0 >= edge.x0 and box.x1 <= edge.x1 and box.y0 >= edge.y0 and box.y1 <= edge.y1


def test_each_modality_is_drawn_in_its_own_way_on_scales_that_latents_share(decoded, topo):
    axes = drawn(decoded, topo)
    assert [ax.get_title("left") for ax in axes[0] if ax.get_title("left")] == [
        "meg, map", "at the ring (fT)", "video, frame 2", "behaviour",
    ]  # fmt: skip
    maps, courses, frames, numbers = axes[1][:3], axes[1][3], axes[1][4:7], axes[1][7]
    limits = {ax.images[0].get_clim() for row in axes for ax in row[:3]}
    assert len(limits) == 1 and limits.pop()[1] == pytest.approx(np.abs(decoded["meg"]).max(), rel=0.02)
    peak = np.asarray(maps[2].images[0].get_array())[topo.inside]
    np.testing.assert_allclose(
        peak, topo(decoded["meg"][1, 2, :, np.abs(TIMES - 0.3).argmin()])[topo.inside], rtol=1e-4
    )
    loudest = int(np.abs(topo.pos[:, 1]).argmax())  # the sensor that latent 1 moves most
    np.testing.assert_allclose(courses.lines[2].get_ydata(), decoded["meg"][1, 2, loudest])
    assert courses.get_ylim() == axes[0][3].get_ylim()
    np.testing.assert_allclose(frames[0].images[0].get_array(), decoded["video"][1, 0, 0, 2], rtol=1e-5)
    pupil = [line.get_ydata()[1] for line in numbers.lines[:3]]
    assert pupil == pytest.approx([1 / 8, 0.5, 7 / 8], abs=1e-6) or pupil == pytest.approx([0, 0.5, 1])
    rings = [len([line for line in row[0].lines if line.get_marker() == "o"]) for row in axes]
    assert rings == [1, 1, 0]  # where nothing changes there is no loudest sensor


def test_bands_and_steps_outside_the_data_are_marked(decoded, topo):
    bands = {name: np.stack([x - 0.5, x + 0.5]) for name, x in decoded.items() if name != "video"}
    outside = np.array([[False, False, True], [False] * 3, [False] * 3])
    plain, axes = drawn(decoded, topo), drawn(decoded, topo, bands=bands, outside=outside)
    assert not plain[0][3].collections and len(axes[0][3].collections) == 2  # the first and the last step's
    low, high = axes[0][7].collections[2].get_segments()[0][:, 1] if axes[0][7].collections else (0, 0)
    assert high > low
    frames = [[len(ax.patches) for ax in row[4:7]] for row in axes]
    assert frames == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
    said = [t.get_text() for t in axes[0][0].figure.legends[0].get_texts()]
    assert said[-1] == "outside 99 % of the data's codes" and said[0] == "z = \N{MINUS SIGN}2"


def test_a_change_is_nothing_at_the_start_and_has_a_sign(decoded, topo):
    begin = {name: x[0, 1] for name, x in decoded.items()}
    axes = viz.changes(VALUES, decoded, begin, NAMES, topo, TIMES, COLUMNS)
    assert not np.asarray(axes[0][1].images[0].get_array())[topo.inside].any()
    film = axes[0][6].images[0]
    low, high = film.get_clim()
    assert film.get_cmap().name == "RdBu_r" and -low == high > 0
    assert axes[0][7].lines[1].get_ydata().tolist() == [0.5, 0.5, 0.5]


def test_traces_pictures_and_classes_are_drawn_too():
    z = np.array(VALUES)
    chances = np.stack([np.stack([0.5 + 0.2 * z, 0.5 - 0.2 * z], 1)] * 2)
    decoded = {
        "physio": np.random.default_rng(0).normal(size=(2, 3, 2, 50)),
        "face": np.random.default_rng(1).random((2, 3, 3, 8, 8)),
        "choice": chances,
    }
    axes = viz.traversals(VALUES, decoded, ["a 0", "a 1"], columns=["left", "right"], unit="mV", width=170)
    assert len(axes[0][0].lines) >= 6  # both courses of all steps
    assert axes[0][1].images[0].get_array().shape == (8, 8, 3)
    np.testing.assert_allclose([line.get_ydata()[0] for line in axes[0][4].lines[:3]], [0.1, 0.5, 0.9], atol=1e-9)
    assert [t.get_text() for t in axes[1][4].get_xticklabels()] == ["left", "right"]


def test_what_has_no_room_or_no_shape_says_so(decoded):
    with pytest.raises(ValueError, match="85 mm leave .* for each of 3 steps of 1 views, and 5 are the least"):
        viz.traversals(VALUES, {"video": decoded["video"], "behaviour": decoded["behaviour"]}, ["x" * 40] * 3, width=85)
    with pytest.raises(ValueError, match="2 latents take 3 values each, but decoded are"):
        viz.traversals(VALUES, decoded, NAMES[:2])
    with pytest.raises(ValueError, match=r"view 'a' has rows of \(4, 4, 4\)"):
        viz.traversals(VALUES, {"a": np.zeros((3, 3, 4, 4, 4))}, NAMES)


def test_a_figure_is_stored_as_a_journal_takes_it(decoded, topo, tmp_path):
    axes = drawn({name: decoded[name] for name in ("video", "behaviour")}, topo)
    first, second = (viz.save(axes[0][0], tmp_path / name, width=170).read_bytes() for name in ("a.svg", "b.svg"))
    assert first == second and b">nothing known</" in first.replace(b"\n", b"") or b"nothing known" in first
    assert b"<text" in first and b'width="481.8' in first  # 170 mm in points
    pdf = viz.save(axes[0][0], tmp_path / "a.pdf")
    assert pdf.read_bytes() == viz.save(axes[0][0], tmp_path / "b.pdf").read_bytes()
    with pytest.raises(ValueError, match="the figure is 170 mm wide, the journal prints 85 mm"):
        viz.save(axes[0][0], tmp_path / "c.pdf", width=85)
    with pytest.raises(ValueError, match="stored as .pdf, .svg, .png, not 'c.tiff'"):
        viz.save(axes[0][0], tmp_path / "c.tiff")
    axes[0][0].set_title("tiny", fontsize=5)
    with pytest.raises(ValueError, match=r"texts below 6 pt: \['tiny'\]"):
        viz.save(axes[0][0], tmp_path / "c.pdf")


@pytest.mark.parametrize("end", [".gif", ".mp4"])
def test_a_traversal_is_a_film_there_and_back(decoded, topo, tmp_path, end):
    path = tmp_path / f"film{end}"
    viz.animate_traversal(VALUES, {name: x[0] for name, x in decoded.items()}, path, topo, TIMES, COLUMNS, fps=5)
    if end == ".gif":
        with Image.open(path) as image:
            found = [np.asarray(image.convert("RGB"), float) for i in range(image.n_frames) if not image.seek(i)]
            assert image.info["duration"] == 200
    else:
        with av.open(str(path)) as container:
            found = [frame.to_ndarray(format="rgb24").astype(float) for frame in container.decode(video=0)]
    far = lambda a, b: np.abs(found[a] - found[b]).mean()  # noqa: E731
    assert len(found) == 4 and far(1, 3) < 0.3 < far(0, 2)  # low, middle, high, middle
    assert not plt.get_fignums()


def test_any_drawing_is_a_film(tmp_path):
    figure, ax = plt.subplots(figsize=(1, 1), dpi=60)
    path = viz.record(viz.pictures(figure, lambda i: ax.set_facecolor("rk"[i]), 2), tmp_path / "a.gif", fps=2)
    with Image.open(path) as image:
        assert image.n_frames == 2
    with pytest.raises(ValueError, match="stored as .gif or .mp4, not 'a.webm'"):
        viz.record(iter([]), tmp_path / "a.webm")
