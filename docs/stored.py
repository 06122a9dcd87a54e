"""Stored notebooks become sources of pages: the same cells and outputs, with what a browser needs to show them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nbformat

PLOTLY = "application/vnd.plotly.v1+json"
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


def plotly_beside(static: Path) -> None:
    """The JavaScript that draws plotly's figures, from the installed package: one file for all pages."""
    import plotly

    static.mkdir(parents=True, exist_ok=True)
    script = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    if not (static / script.name).is_file():
        shutil.copy2(script, static)


def page(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """The notebook with its plotly figures as scripts, which no page of Sphinx would draw otherwise."""
    for position, cell in enumerate(notebook.cells):
        for out in cell.get("outputs", []):
            if PLOTLY in out.get("data", {}):
                out.data = {"text/html": figure(out.data[PLOTLY], f"figure-{name}-{position}")}
    return notebook


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
