"""What the site makes of docstrings and of stored notebooks, without its builder."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import nbformat

DOCS = Path(__file__).parents[1] / "docs"


def part(name: str):
    """A module of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_bars_and_stars_are_themselves_unless_in_code():
    said = part("docstrings").as_rst(["|x - y| of 2 * 3 in ``a * |b|``, *zeros*"])
    assert said == [r"\|x - y\| of 2 \* 3 in ``a * |b|``, *zeros*"]


def test_names_and_their_meanings_are_a_list():
    lines = ["sfreq, n : in Hz,", "    and how many. other : after it", "last : one"]
    assert part("docstrings").as_rst(lines) == [
        "* `sfreq, n`: in Hz, and how many.",
        "* `other`: after it",
        "* `last`: one",
    ]


def test_a_section_does_not_take_what_follows_it():
    lines = ["Raises", "------", "ValueError : when |x| is", "    too large.", "", ">>> 2 * 3", "6"]
    said = part("docstrings").as_rst(lines)
    assert said == ["**Raises**", "", r"* `ValueError`: when \|x\| is too large.", "", ">>> 2 * 3", "6"]


def test_a_plotly_figure_becomes_a_script_that_its_text_cannot_end():
    stored = part("stored")
    plot = {"data": [{"y": [1, 2]}], "layout": {"title": {"text": "</script>"}}}
    out = nbformat.v4.new_output("display_data", {stored.PLOTLY: plot})
    cell = nbformat.v4.new_code_cell("plot()", outputs=[out])
    shown = stored.page(nbformat.v4.new_notebook(cells=[cell]), "00_a").cells[0].outputs[0].data
    (said,) = re.findall(r'newPlot\("figure-00_a-0", (\[.*?\]), (\{.*?\}), \{', shown["text/html"])
    assert [json.loads(text) for text in said] == [plot["data"], plot["layout"]]
    assert shown["text/html"].count("</script>") == 2 and "https:" not in shown["text/html"]


def test_every_notebook_has_a_page_and_nothing_else_has(tmp_path):
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "98_gone.ipynb").write_text("{}")
    part("stored").prepare(DOCS.parent / "notebooks", pages, tmp_path / "static")
    names = sorted(path.stem for path in (DOCS.parent / "notebooks").glob("[0-9]*.ipynb"))
    assert sorted(path.stem for path in pages.glob("*.ipynb")) == names
    assert re.findall(r"<(\w+)>$", (pages / "index.md").read_text(), re.MULTILINE) == names
    assert (tmp_path / "static" / "plotly.min.js").is_file()


def test_every_public_module_has_a_page():
    listed = set(re.findall(r"^   ivekit\.(\w+)$", (DOCS / "api" / "index.md").read_text(), re.MULTILINE))
    package = DOCS.parent / "ivekit"
    public = {path.stem for path in package.glob("*.py")} | {path.parent.name for path in package.glob("*/__init__.py")}
    inside = set("__init__ __main__ atomic fif guard history loader masks memory noise ondisk recipes store".split())
    assert listed == public - inside
