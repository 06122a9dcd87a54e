"""Stored notebooks become sources of pages: the same cells and outputs, with what a browser needs to show them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nbformat

PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
LIVE = """<p>On this page nothing runs; <a href="../live.html">the live page</a> has the explorer of the run that
the notebooks load, with its decoder in your browser.</p>"""
CONTENTS = """
```{{toctree}}
:hidden:

{}
```
"""
FIGURE = """<div id="{name}"></div>
<script src="../_static/plotly.min.js"></script>
<script>Plotly.newPlot("{name}", {data}, {layout}, {{responsive: true, displaylogo: false}});</script>"""


def prepare(source: Path, pages: Path, static: Path) -> None:
    """Write the notebooks of one folder to another, and what they need beside them; what is as it was is left alone."""
    pages.mkdir(exist_ok=True)
    for old in {path.name for path in pages.glob("*.ipynb")} - {path.name for path in source.glob("[0-9]*.ipynb")}:
        (pages / old).unlink()
    paths = sorted(source.glob("[0-9]*.ipynb"))
    for path in paths:
        write_if_new(pages / path.name, nbformat.writes(page(nbformat.read(path, 4), path.stem)))
    table = (source / "README.md").read_text(encoding="utf-8")
    write_if_new(pages / "index.md", table + CONTENTS.format("\n".join(map(entry, paths))))
    plotly_beside(static)


def entry(path: Path) -> str:
    """A notebook in the list at the side, by its number and subject: the questions are in the table.

    >>> entry(Path("notebooks/03_missing_views.ipynb"))
    '03 missing views <03_missing_views>'
    """
    return f"{path.stem.replace('_', ' ')} <{path.stem}>"


def write_if_new(path: Path, text: str) -> None:
    """Sphinx reads a file again when its time changes."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8", newline="\n")


def latents_beside(static: Path, run: Path) -> None:
    """The explorer of a stored run as a page of its own, exported once: sliders that need no Python."""
    path = static / "latents.html"
    if path.is_file():
        return
    from ivekit import recipe, synth, widgets

    model, _ = recipe.load(run, recipe="ive")
    world = synth.audiovisual(2048, seed=0)
    rows = (world.views.metadata["split"] == "test").to_numpy()
    explorer = widgets.explore(
        model, world.views[rows], world.factors[rows], title="Latents of MEG, film and behaviour"
    )
    explorer.export(path)


def plotly_beside(static: Path) -> None:
    """The JavaScript that draws plotly's figures, from the installed package: one file for all pages."""
    import plotly

    static.mkdir(parents=True, exist_ok=True)
    script = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    if not (static / script.name).is_file():
        shutil.copy2(script, static)


def page(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """The notebook with its plotly figures as scripts, and its widgets as pictures: Sphinx shows neither."""
    for position, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            cell.outputs = [seen for out in cell.outputs for seen in shown(out, f"figure-{name}-{position}")]
    return notebook


def shown(out: nbformat.NotebookNode, name: str) -> list[nbformat.NotebookNode]:
    """One output as outputs that a page can show."""
    data = out.get("data", {})
    if PLOTLY in data:
        return [html(figure(data[PLOTLY], name))]
    if WIDGET in data:
        del data[WIDGET]
        return [out, html(LIVE)] if data.get("text/plain", "").startswith("Explorer") else [out]
    return [out]


def html(text: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_output("display_data", {"text/html": text})


def figure(plot: dict, name: str) -> str:
    """A plotly figure as HTML."""
    data, layout = (json_for_script(plot.get(part, {})) for part in ("data", "layout"))
    return FIGURE.format(name=name, data=data, layout=layout)


def json_for_script(value: object) -> str:
    """JSON that no text in it can end the script of.

    >>> json_for_script({"title": "</script>"})
    '{"title": "<\\\\/script>"}'
    """
    return json.dumps(value).replace("</", "<\\/")
