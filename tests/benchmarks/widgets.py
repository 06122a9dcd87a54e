"""From a key on a slider to the picture: the explorer in a page, in JupyterLab and through its kernel, beside what
one would otherwise write: `mne.viz.plot_topomap` with matplotlib, and plotly's FigureWidget, both on ipywidgets.

python tests/benchmarks/widgets.py [moves] [pixels]

An IVE of 12 latents, 102 sensors x 100 samples, 30 frames and 6 columns; its weights are random, which changes no
time. Times are medians over single key presses, from the key's event until the new picture is drawn (canvases),
loaded (the image of matplotlib) or in its place (plotly's); the screen shows each with its next frame.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import nbformat
import numpy as np
import torch

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1]))
TARGETS = {"page, browser": 20, "JupyterLab, browser": 20, "JupyterLab, kernel": 100}  # ms

# the press of a key is when it starts; `done` is called by whoever sees the new picture
CLOCK = """() => {
  const clock = (globalThis.clock = { began: 0, times: [], done() {
    if (clock.began) clock.times.push(performance.now() - clock.began);
    clock.began = 0;
  } });
  document.addEventListener("keydown", () => (clock.began = performance.now()), true);
}"""
PAINTED = '(node) => new MutationObserver(() => clock.done()).observe(node, { attributeFilter: ["data-painted"] })'
LOADED = '(node) => node.addEventListener("load", () => clock.done())'
REDRAWN = """(node) => new MutationObserver((all) => all.some((m) => m.target.tagName === "image") && clock.done())
  .observe(node, { subtree: true, attributes: true })"""
CELLS = [
    "import runpy; b = runpy.run_path({here!r}, run_name='benchmark'); model, views = b['build']({pixels})",
    "from ivekit.widgets import explore\nexplore(model, views).translate()",
    "slow = explore(model, views)\nslow._net = lambda: ({{'ready': False, 'why': ''}}, [])\nslow",
    "b['with_matplotlib'](model, views)",
    "b['with_plotly'](model, views)",
]


def build(pixels: int = 32) -> tuple[Any, Any]:
    """The model and some rows."""
    import mne

    import ivekit as ive
    from ivekit.recipes import ive as recipe

    torch.set_num_threads(1)
    torch.manual_seed(0)
    info = mne.channels.read_meg_canonical_info("neuromag")
    info = mne.pick_info(info, mne.channel_indices_by_type(info)["mag"])
    with info._unlock():
        info["sfreq"] = 200.0
    shapes = {"meg": (102, 100), "video": (1, 30, pixels, pixels), "behaviour": (6,)}
    tensors = {name: torch.randn(64, *shape) for name, shape in shapes.items()}
    about = {"meg": ive.Sensors.from_info(info, tmin=-0.1), "video": {"fps": 30.0}}
    views = ive.Views(tensors, about=about)
    return recipe.model(views, shared=3, private=3).eval(), views


def decoded(model: Any, z: float) -> dict[str, np.ndarray]:
    """What the model says of a code of which one latent has a value."""
    parts = {block: torch.zeros(1, 3) for block in ("shared", *model.decoders)}
    parts["shared"][0, 0] = z
    with torch.no_grad():
        return {name: p.mean[0].numpy() for name, p in model.decode(parts).items()}


def with_matplotlib(model: Any, views: Any) -> Any:
    """A slider of ipywidgets, and a figure drawn anew for each of its values."""
    import io

    import ipywidgets
    import matplotlib.pyplot as plt
    import mne

    slider, image = ipywidgets.FloatSlider(min=-3, max=3, step=0.1), ipywidgets.Image(format="png")
    slider.add_class("with-matplotlib")
    image.add_class("with-matplotlib")

    def draw(_: Any = None) -> None:
        told, file = decoded(model, slider.value), io.BytesIO()
        figure, (a, b, c) = plt.subplots(1, 3, figsize=(8, 2.6))
        mne.viz.plot_topomap(told["meg"][:, 50], views.about["meg"].info, axes=a, show=False)
        b.imshow(told["video"][0, 15], cmap="gray")
        c.barh(range(6), told["behaviour"])
        figure.savefig(file, format="png")
        plt.close(figure)
        image.value = file.getvalue()

    slider.observe(draw, "value")
    draw()
    return ipywidgets.VBox([slider, image])


def with_plotly(model: Any, views: Any) -> Any:
    """A slider of ipywidgets, and a live figure of which the numbers are changed."""
    import ipywidgets
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    import ivekit as ive

    topo, told = ive.topomap.Topomap(views.about["meg"]), decoded(model, 0.0)
    figure = go.FigureWidget(make_subplots(1, 3))
    figure.add_heatmap(z=topo(told["meg"][:, 50]), row=1, col=1)
    figure.add_heatmap(z=told["video"][0, 15], colorscale="gray", row=1, col=2)
    figure.add_bar(y=told["behaviour"], row=1, col=3)
    figure.update_layout(width=800, height=300)
    slider = ipywidgets.FloatSlider(min=-3, max=3, step=0.1)
    slider.add_class("with-plotly")

    def draw(change: Any) -> None:
        told = decoded(model, change["new"])
        with figure.batch_update():
            figure.data[0].z = topo(told["meg"][:, 50])
            figure.data[1].z = told["video"][0, 15]
            figure.data[2].y = told["behaviour"]

    slider.observe(draw, "value")
    return ipywidgets.VBox([slider, figure])


def presses(page: Any, handle: Any, moves: int) -> float:
    """The median over single key presses; the first five warm up."""
    handle.scroll_into_view_if_needed()
    handle.focus()
    print(".", end="", flush=True, file=sys.stderr)
    page.evaluate("() => (clock.times = [])")
    for i in range(moves + 5):
        page.keyboard.press("ArrowRight" if i < (moves + 5) // 2 else "ArrowLeft")
        page.wait_for_function("(n) => clock.times.length >= n", arg=i + 1)
        page.wait_for_timeout(250)  # the band and the words that follow a picture at rest are not timed with the next
    return median(page.evaluate("() => clock.times")[5:])


def of_explorer(page: Any, which: int, where: str, moves: int) -> float:
    """The time of one of the explorers on a page."""
    from browser.hand import Explorer

    explorer = Explorer(page, which)
    explorer.decodes_in(where)
    explorer.root.evaluate(PAINTED)
    return presses(page, explorer.slider("shared:0"), moves)


def in_a_page(browser: Any, folder: Path, moves: int, pixels: int) -> dict[str, float]:
    """The exported page, from the disk."""
    from browser.chromium import Watched

    from ivekit.widgets import explore

    watched = Watched(browser, offline=True)
    watched.page.goto(explore(*build(pixels)).export(folder / "page.html").as_uri())
    watched.page.evaluate(CLOCK)
    found = {"page, browser": of_explorer(watched.page, 0, "browser", moves)}
    watched.close()
    return found


def in_jupyterlab(browser: Any, folder: Path, moves: int, pixels: int) -> dict[str, float]:
    """One notebook with all of them, one after the other."""
    from browser.chromium import Watched
    from browser.lab import jupyterlab, open_notebook, run_all

    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    cells = [nbformat.v4.new_code_cell(cell.format(here=str(HERE), pixels=pixels)) for cell in CELLS]
    (folder / "files").mkdir()
    nbformat.write(nbformat.v4.new_notebook(metadata={"kernelspec": kernel}, cells=cells), folder / "files" / "n.ipynb")
    with jupyterlab(folder / "jupyter", folder / "files") as lab:
        watched = Watched(browser)
        page = watched.page
        open_notebook(page, lab, "n.ipynb")
        run_all(page)
        page.evaluate(CLOCK)
        found = {"JupyterLab, browser": of_explorer(page, 0, "browser", moves)}
        found["JupyterLab, kernel"] = of_explorer(page, 1, "kernel", moves)
        page.locator("img.with-matplotlib").evaluate(LOADED)
        found["mne.viz.plot_topomap, matplotlib"] = presses(page, page.locator(".with-matplotlib .noUi-handle"), moves)
        page.locator(".js-plotly-plot").first.evaluate(REDRAWN)
        found["plotly FigureWidget"] = presses(page, page.locator(".with-plotly .noUi-handle"), moves)
        watched.close()
    return found


def main(moves: int = 25, pixels: int = 32) -> None:
    """All in one run, as a table."""
    from browser.chromium import chromium, why_not
    from results import VERSIONS, keep

    if reason := why_not():
        print(f"nothing was timed: {reason}")
        return
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parents[2]), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        found = in_a_page(browser, Path(folder), moves, pixels) | in_jupyterlab(browser, Path(folder), moves, pixels)
    best, told = found["JupyterLab, browser"], []
    for name, number in found.items():
        row = {"what": name, "measured": f"{number:.1f} ms, {number / best:.1f} x", "number": number}
        if name in TARGETS:
            row["asked"] = f"under {TARGETS[name]} ms: {'met' if number < TARGETS[name] else 'missed'}"
        told.append(row | {"readme": f"from a key on a slider to the picture: {name}"})
        print(f"{name}: {row['measured']}")
    note = (
        f"12 latents, 102 sensors x 100 samples, 30 frames of {pixels} x {pixels}, 6 columns; medians of {moves} keys "
        "each, from the key's event until the picture is drawn; x: beside the explorer in JupyterLab."
    )
    packages = (*VERSIONS, "jupyterlab", "plotly", "ipywidgets")
    keep("widgets", "Widgets", "python tests/benchmarks/widgets.py", told, note, packages)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
