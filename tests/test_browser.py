"""The explorer as a person meets it: in JupyterLab, and as a page from the disk with the network off.

Skipped, with the reason, only where no browser can be had. Screenshots stay in ``tests/browser/screenshots``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from browser.chromium import Watched, chromium, renderers, why_not
from browser.hand import Explorer, tab_order, unlabelled
from browser.lab import Lab, jupyterlab, open_notebook, run_all

import ivekit as ive
from ivekit.widgets import explore

REPOSITORY = Path(__file__).parents[1]
NOTEBOOK = "00_quickstart.ipynb"
SIZES = {"shared": 6, "meg": 6, "video": 6, "behaviour": 6}  # of the code, in the notebook and in the stored run
LATENTS = [f"{block}:{i}" for block, size in SIZES.items() for i in range(size)]
ALL = {"meg", "video", "behaviour"}
pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "a browser is here")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


# what a slider does ---------------------------------------------------------------------------------------------


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """The canvases whose pixels are others than they were."""
    return {name for name in before if before[name] != after[name]}


def check_slider(explorer: Explorer, latent: str, touches: set[str], move: Any) -> None:
    """Moves a latent: the pixels of every view that it may touch change, of no other view; reset restores them all."""
    explorer.click("reset")
    before, z = explorer.pixels(), explorer.z()
    move()
    assert np.flatnonzero(explorer.z() != z).tolist() == [LATENTS.index(latent)]
    found = changed(before, explorer.pixels())
    views = {name.split("/")[0] for name in found}
    assert views == touches, f"{latent} may touch {sorted(touches)}; canvases that changed: {sorted(found)}"
    explorer.click("reset")
    assert changed(before, explorer.pixels()) == set()


def assert_close(found: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> None:
    """Equal to 1e-4 of the range of each view."""
    for name, x in want.items():
        far = np.abs(found[name] - np.asarray(x, float).ravel()).max()
        assert far <= 1e-4 * max(np.ptp(x), 1e-6), f"{name} is {far:.2g} away, over a range of {np.ptp(x):.3g}"


def check_drawn(explorer: Explorer, film: np.ndarray) -> None:
    """The frame that is seen is one of the decoded film's: grey beside grey, pixel by pixel."""
    seen = explorer.picture("video", "frame")[..., :3].mean(-1)
    h, w = film.shape[-2:]
    rows, columns = (np.arange(n) * seen.shape[i] // n + seen.shape[i] // n // 2 for i, n in enumerate((h, w)))
    small = seen[np.ix_(rows, columns)]
    alike = [np.corrcoef(small.ravel(), frame.ravel())[0, 1] for frame in film.reshape(-1, h, w)]
    assert max(alike) > 0.97, f"the frame on the screen is like no decoded one: r is {max(alike):.3f} at most"


def drag_about(explorer: Explorer, latent: str, seconds: float) -> int:
    """Drags to and fro as fast as it goes and lets go at a fifth of the way; how many redraws were still to come."""
    slider = explorer.slider(latent)
    box, mouse = slider.bounding_box(), explorer.page.mouse
    y, end = box["y"] + box["height"] / 2, time.monotonic() + seconds
    mouse.move(explorer._thumb(slider, box), y)
    mouse.down()
    step = 0
    while time.monotonic() < end:
        step += 1
        mouse.move(box["x"] + box["width"] * (0.5 + 0.45 * np.sin(step / 3)), y)
    mouse.move(box["x"] + 0.2 * box["width"], y)
    mouse.up()
    painted = explorer.painted()
    explorer.settled()
    assert step > 20
    return explorer.painted() - painted


# the page ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run() -> tuple[Any, ive.Views]:
    model, _ = ive.recipe.load(REPOSITORY / "data_samples" / "runs" / "world", recipe="ive")
    return model, ive.synth.audiovisual(256, seed=0).views


@pytest.fixture(scope="module")
def pages(run, tmp_path_factory) -> dict[str, Path]:
    """The explorer as a page, with its decoder and in its light form."""
    folder, explorer = tmp_path_factory.mktemp("pages"), explore(*run, title="A world")
    explorer.translation.begin(explorer.scene.decode, explorer.scene.rows)  # in a process without the shapes' checks
    assert explorer.translation.wait() and explorer.translation.why is None, explorer.translation.why
    return {"page": explorer.export(folder / "page.html"), "light": explorer.export(folder / "light.html", light=True)}


@pytest.fixture(scope="module")
def page(browser, pages) -> Iterator[Explorer]:
    """The page from the disk, opened without a network."""
    watched = Watched(browser, offline=True)
    watched.page.goto(pages["page"].as_uri())
    explorer = Explorer(watched.page)
    explorer.watched = watched
    yield explorer
    watched.close()


def decoded(model: Any, z: np.ndarray) -> dict[str, np.ndarray]:
    """What PyTorch decodes of a code, blocks side by side."""
    parts = dict(zip(SIZES, torch.as_tensor(z, dtype=torch.float32)[None].split(list(SIZES.values()), 1)))
    with torch.no_grad():
        return {name: p.mean[0].numpy() for name, p in model.eval().decode(parts).items()}


def test_the_page_is_small_and_opens_fast(browser, pages):
    assert pages["page"].stat().st_size < 10e6 and pages["light"].stat().st_size < 3e6
    took = []
    for _ in range(3):  # the machine may be busy with something else: the fastest counts, and not the waiting
        watched = Watched(browser, offline=True)
        before = renderers(browser)
        watched.page.goto(pages["page"].as_uri())
        explorer = Explorer(watched.page)
        took.append(max(used - before.get(name, 0.0) for name, used in renderers(browser).items()))
        assert explorer.root.get_attribute("data-decoder") == "browser"
        assert watched.asked == [] and watched.errors == []
        watched.close()
    assert min(took) < 2, f"seconds of processor time from address to picture: {took}"


def test_the_page_decodes_what_pytorch_decodes(page, run):
    page.decodes_in("browser")
    rng, z = np.random.default_rng(0), page.z()
    for latent in rng.choice(page.latents(), 4, replace=False):
        page.drag(latent, rng.uniform(0.1, 0.9))
    assert np.count_nonzero(page.z() != z) == 4
    want = decoded(run[0], page.z())
    assert_close(page.outputs(), want)
    check_drawn(page, want["video"])
    page.shot("page")
    page.click("reset")


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_a_slider_of_the_page_moves_what_it_may_touch(page, by):
    moves = {
        "mouse": partial(page.drag, to=0.85),
        "keyboard": partial(page.press, key="ArrowRight", times=8),
    }
    touched = {"shared:0": ALL, "meg:1": {"meg"}, "behaviour:0": {"behaviour"}}
    for latent, views in touched.items():
        check_slider(page, latent, views, partial(moves[by], latent))


def test_one_latent_turned_too_far_is_said_to_be_outside_the_data(page, run):
    ends = dict(zip(LATENTS, explore(*run).scene.said["support"]["ends"]))
    warning = page.root.locator("[role=alert]")
    page.press("shared:0", "ArrowRight", 3)
    assert page.z()[0] < ends["shared:0"][1] and warning.text_content() == ""
    page.press("shared:0", "End")
    assert page.z()[0] > ends["shared:0"][1] and warning.text_content().startswith("Outside the data")
    page.click("reset")
    assert warning.text_content() == ""


def test_dragging_ends_on_the_final_value(page, run):
    late = drag_about(page, "shared:0", 5)
    (sd,) = (latent["sd"] for latent in explore(*run).scene.said["latents"] if latent["id"] == "shared:0")
    at = page.z()[LATENTS.index("shared:0")]
    assert at == pytest.approx(sd * float(page.slider("shared:0").input_value()), rel=1e-5)
    assert late <= 3, f"{late} pictures came after the mouse was let go"
    assert_close(page.outputs(), decoded(run[0], page.z()))
    page.click("reset")


def test_a_dead_slider_is_found(browser, pages):
    """A slider that nothing listens to fails the check that the others pass."""
    watched = Watched(browser, offline=True)
    watched.page.goto(pages["page"].as_uri())
    explorer = Explorer(watched.page)
    explorer.slider("shared:0").evaluate("(node) => node.replaceWith(node.cloneNode(true))")
    with pytest.raises(AssertionError):
        check_slider(explorer, "shared:0", ALL, lambda: explorer.drag("shared:0", 0.85))
    watched.close()


def test_all_can_be_reached_and_has_a_name(page):
    root = "[data-testid=explorer]"
    assert unlabelled(page.page, root) == []
    order = tab_order(page.page, root)
    shown = page.root.locator("input[data-latent]:visible").evaluate_all(
        "(nodes) => nodes.map((n) => n.dataset.latent)"
    )
    assert [name for name in order if name in shown] == shown  # sliders, from top to bottom
    assert {"reset", "start"} <= set(order)


def test_the_light_page_walks_one_latent(browser, pages, run):
    watched = Watched(browser, offline=True)
    watched.page.goto(pages["light"].as_uri())
    explorer = Explorer(watched.page)
    assert explorer.root.get_attribute("data-decoder") == "grid"
    before = explorer.pixels()
    explorer.drag("shared:0", 0.85)
    views = {name.split("/")[0] for name in changed(before, explorer.pixels())}
    assert views == ALL
    want, found = decoded(run[0], explorer.z()), explorer.outputs()
    for name in ("meg", "video"):
        assert np.abs(found[name] - want[name].ravel()).max() < 0.05 * np.ptp(want[name])
    assert watched.asked == [] and watched.errors == []
    explorer.shot("light")
    watched.close()


def test_the_page_asked_for_nothing(page):
    """Last of the page's tests: all that was done to it needed nobody."""
    assert page.watched.asked == [] and page.watched.errors == []


# panels -----------------------------------------------------------------------------------------------------------


def test_a_panel_on_a_page_of_its_own_answers(browser, run, tmp_path):
    views = run[1][:8]
    said = ive.explain.Attribution(dict(views.items()), "InputXGradient", "none")
    watched = Watched(browser, offline=True)
    page = watched.page
    page.goto(explore.attribution(said, views).export(tmp_path / "panel.html").as_uri())
    canvas, choose = page.locator("[data-testid=panel] canvas"), partial(page.get_by_label, exact=True)
    before = canvas.evaluate("(node) => node.toDataURL()")
    page.locator("[data-action=time]").press("ArrowRight")
    assert canvas.evaluate("(node) => node.toDataURL()") != before  # another time, another map
    choose("row").select_option("row 3")
    choose("view").select_option("behaviour")
    page.get_by_text("numbers as a table").click()
    page.locator("[data-testid=panel] td").first.wait_for()  # a browser tells of an opened fold a little later
    cells = page.locator("[data-testid=panel] td").all_inner_texts()
    np.testing.assert_allclose([float(cell) for cell in cells], views["behaviour"][3], rtol=6e-3)  # three digits
    assert unlabelled(page, "[data-testid=panel]") == [] == watched.errors == watched.asked
    watched.close()


# JupyterLab -------------------------------------------------------------------------------------------------------

MORE = [
    """from ivekit.widgets import explore
slow = explore(model, test)
slow._net = lambda: ({"ready": False, "why": "a test"}, [])  # so that the kernel decodes for good
slow""",
    "explore.disentanglement(model, test)",
]
DECODE = """
def _decode(z, sizes):
    import torch
    parts = dict(zip(sizes, torch.tensor([z]).split(list(sizes.values()), 1)))
    with torch.no_grad():
        return {name: p.mean[0].flatten().tolist() for name, p in model.eval().decode(parts).items()}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[Lab]:
    """A JupyterLab with a copy of the first notebook, and cells after it."""
    files = tmp_path_factory.mktemp("files")
    (files / "notebooks").mkdir()
    (files / "data_samples").symlink_to(REPOSITORY / "data_samples")
    notebook = nbformat.read(REPOSITORY / "notebooks" / NOTEBOOK, 4)
    assert any("explore(" in cell.source for cell in notebook.cells), f"{NOTEBOOK} shows no explorer"
    notebook.cells += [nbformat.v4.new_code_cell(source) for source in MORE]
    nbformat.write(notebook, files / "notebooks" / NOTEBOOK)
    with jupyterlab(tmp_path_factory.mktemp("jupyter"), files) as server:
        yield server


@pytest.fixture(scope="module")
def notebook(browser, lab) -> Iterator[Watched]:
    """The first notebook in JupyterLab, every cell run."""
    watched = Watched(browser)
    open_notebook(watched.page, lab, f"notebooks/{NOTEBOOK}")
    run_all(watched.page)
    yield watched
    watched.close()


@pytest.fixture
def live(notebook) -> Explorer:
    """The explorer of the notebook, its decoder in the browser."""
    explorer = Explorer(notebook.page)
    explorer.decodes_in("browser")
    return explorer


def in_kernel(lab: Lab, z: np.ndarray) -> dict[str, np.ndarray]:
    """What PyTorch decodes in the notebook's kernel."""
    (told,) = lab.ask(DECODE, f"_decode({z.tolist()}, {SIZES})")
    return {name: np.array(x) for name, x in told.items()}


def test_the_notebooks_explorer_moves_by_mouse_and_keyboard(live, lab):
    first, own = live.latents()[0], next(name for name in live.latents() if name.startswith("meg:"))
    check_slider(live, first, ALL, lambda: live.drag(first, 0.85))
    check_slider(live, own, {"meg"}, lambda: live.press(own, "ArrowRight", 8))
    live.drag(first, 0.8)
    want = in_kernel(lab, live.z())
    assert_close(live.outputs(), want)
    check_drawn(live, want["video"].reshape(-1, 32, 32))
    live.shot("lab")


def test_the_notebooks_explorer_ends_on_the_final_value(live, lab):
    assert drag_about(live, live.latents()[0], 5) <= 3
    assert_close(live.outputs(), in_kernel(lab, live.z()))


def test_the_kernel_decodes_where_the_browser_may_not(notebook, lab):
    explorer = Explorer(notebook.page, 1)
    assert explorer.root.get_attribute("data-decoder") == "kernel"
    first = explorer.latents()[0]
    check_slider(explorer, first, ALL, lambda: explorer.press(first, "ArrowLeft", 8))
    assert drag_about(explorer, first, 3) <= 3  # no queue: at most the one under way and one after it
    assert_close(explorer.outputs(), in_kernel(lab, explorer.z()))


def test_python_and_the_page_share_the_code(notebook, lab):
    """A slider sets the trait, and the trait the slider: what links to other widgets."""
    explorer, end = Explorer(notebook.page, 1), time.monotonic() + 60
    explorer.press(explorer.latents()[0], "ArrowRight", 3)
    while not np.allclose(lab.ask("", "list(slow.z)")[0], explorer.z(), atol=1e-5):
        assert time.monotonic() < end, "Python never heard of the slider"
    lab.ask(f"slow.z = {[0.25] * len(LATENTS)}")
    while not np.allclose(explorer.z(), 0.25, atol=1e-6):
        assert time.monotonic() < end, "the page never heard of the trait"
    explorer.settled()
    assert_close(explorer.outputs(), in_kernel(lab, explorer.z()))


def test_the_notebooks_controls_have_names(notebook):
    assert unlabelled(notebook.page, "[data-testid=explorer]") == []
    assert unlabelled(notebook.page, "[data-testid=panel]") == []


def test_a_panel_in_the_notebook_answers_to_the_keyboard(notebook):
    panel = notebook.page.locator("[data-testid=panel]")
    panel.locator("canvas[data-part=matrix]").focus()
    notebook.page.keyboard.press("ArrowDown")
    assert panel.locator("[role=status]").inner_text().startswith("shared 1 → ")
    notebook.page.keyboard.press("Enter")
    assert panel.locator("[data-part=walk]").get_attribute("data-latent") == "shared 1"
    assert panel.locator("[data-part=walk] canvas").count() == 3 * 5


def test_the_notebook_asked_nobody_else(notebook):
    """Last: all of JupyterLab's requests went to this machine."""
    assert notebook.asked == [] and notebook.errors == []
