"""The notebooks as they are stored: whole, small, and free of what belongs to one machine."""

from __future__ import annotations

import ast
import json
import re
import statistics
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"

# A path from the root of a disk: at least two parts after the slash, and no web address, fraction or closing tag.
WIDGET = "application/vnd.jupyter.widget-view+json"
SHAPE = re.compile(r"\(\w+(, \w+)*,?\) = \(?\d")  # (n_trials, n_chans) = (256, 102)

ABSOLUTE = re.compile(r"(?<![\w.:/<)\]}*~])/(?:[\w.+-]+/)+[\w.+-]+|\b[A-Z]:\\\w")


def long_functions(source: str, most: int = 10) -> list[str]:
    tree = ast.parse(TransformerManager().transform_cell(source))
    return [
        f"{node.name} has {node.end_lineno - node.lineno + 1} lines, {most} at most"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.end_lineno - node.lineno + 1 > most
    ]


def unexplained(code) -> list[str]:
    """Cells that are not compared without a comment that says why."""
    ways = re.compile(r"nbval-(ignore-output|skip)|(?i:#\s*nbval_(ignore_output|skip))|raises-exception")
    asked = [cell for cell in code if ways.search(" ".join([cell.source, *cell.metadata.get("tags", [])]))]
    silent = [cell for cell in asked if not re.search(r"^# not compared: \w+( \S+){3,}", cell.source, re.MULTILINE)]
    return [f"does not say why a cell is not compared: {cell.source.splitlines()[0]}" for cell in silent]


def blind(outputs) -> list[str]:
    """Widgets of which a reader without a kernel sees nothing."""
    shown = [out.data for out in outputs if WIDGET in out.get("data", {})]
    return ["shows a widget without a picture of it" for data in shown if "image/png" not in data]


def words(cell) -> str:
    """Everything a person can read in a cell, pictures aside."""
    outputs = cell.get("outputs", [])
    texts = [out.get("text", "") for out in outputs] + [
        json.dumps(value) for out in outputs for kind, value in out.get("data", {}).items() if "image" not in kind
    ]
    return "\n".join([cell.source, *texts])


def faults(path: Path) -> list[str]:
    """What is wrong with a stored notebook, in words."""
    book = nbformat.read(path, 4)
    code = [cell for cell in book.cells if cell.cell_type == "code" and cell.source.strip()]
    prose = "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")
    outputs = [out for cell in code for out in cell.outputs]
    lines = [sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in code]
    found = {
        "is not named NN_what.ipynb": not re.fullmatch(r"\d\d_[a-z0-9_]+\.ipynb", path.name),
        "was not executed in order": [cell.execution_count for cell in code] != [*range(1, len(code) + 1)],
        "has no outputs": not outputs,
        "has an error": any(out.output_type == "error" for out in outputs),
        "has widget state": "widgets" in book.metadata,
        "has no kernelspec": "kernelspec" not in book.metadata,
        "is over 2 MB": path.stat().st_size > 2_000_000,
        "does not open with a question": not re.match(r"# [^\n]+\?\n", book.cells[0].source),
        "prints no shape with its names": not any(SHAPE.search(out.get("text", "")) for out in outputs),
        "has long cells": statistics.median(lines) > 8,
        "has no part 'What could be wrong'": not re.search(r"^#.*What could be wrong", prose, re.MULTILINE),
        "has no part 'Try'": not re.search(r"^#.*Try", prose, re.MULTILINE),
    }
    paths = [f"holds the path {match}" for cell in book.cells for match in ABSOLUTE.findall(words(cell))]
    long = [line for cell in code for line in long_functions(cell.source)]
    return [fault for fault, wrong in found.items() if wrong] + paths + long + unexplained(code) + blind(outputs)


def test_stored_notebooks_are_whole():
    found = {path.name: faults(path) for path in sorted(NOTEBOOKS.glob("*.ipynb"))}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_a_cell_is_a_few_lines():
    books = [nbformat.read(path, 4) for path in NOTEBOOKS.glob("*.ipynb")]
    code = [cell.source for book in books for cell in book.cells if cell.cell_type == "code"]
    assert statistics.median(sum(bool(line.strip()) for line in source.splitlines()) for source in code) <= 6


def test_every_notebook_is_in_both_tables():
    names = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
    for table in (NOTEBOOKS / "README.md", NOTEBOOKS.parent / "README.md"):
        assert re.findall(r"^\| \[(\d\d_\w+)\]\(\S+\.ipynb\) \| [^|]+\?", table.read_text(), re.MULTILINE) == names
    times = re.findall(r"^\| \[\d\d_.*\| +(\d+) s \|$", (NOTEBOOKS / "README.md").read_text(), re.MULTILINE)
    assert len(times) == len(names)
    assert sum(map(int, times)) <= 2 * 15 * 60, "the whole set under 15 minutes on two cores"


WITH_SHAPE = nbformat.v4.new_output("stream", text="(n_rows,) = (1,)\n")


def planted(tmp_path: Path, source: str = "print(1)", name: str = "00_a.ipynb", **changes) -> list[str]:
    """The faults of a good notebook of one code cell in which something was changed."""
    cell = nbformat.v4.new_code_cell(source, execution_count=1, outputs=[WITH_SHAPE])
    cell.update(changes.pop("cell", {}))
    prose = changes.pop("opening", "# Why?\n\nIndeed."), "## What could be wrong\n\n## Try"
    first, last = map(nbformat.v4.new_markdown_cell, prose)
    book = nbformat.v4.new_notebook(cells=[first, cell, last])
    book.metadata = nbformat.from_dict({"kernelspec": {"name": "python3", "display_name": "Python 3"}} | changes)
    nbformat.write(book, tmp_path / name)
    return faults(tmp_path / name)


def test_a_good_notebook_has_no_fault(tmp_path):
    source = "%matplotlib inline\n# see docs/a/b and https://example.org/a/b, 3 fT/cm/s\nprint(1)"
    assert planted(tmp_path, source) == []


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"name": "a.ipynb"}, "is not named"),
        ({"cell": {"execution_count": 3}}, "was not executed in order"),
        ({"opening": "# Why\n\nIndeed?"}, "does not open with a question"),
        ({"cell": {"outputs": [nbformat.v4.new_output("stream", text="(1, 2)")]}}, "prints no shape"),
        ({"cell": {"metadata": {"tags": ["nbval-ignore-output"]}}}, "does not say why"),
        ({"source": "# NBVAL_SKIP\nprint(1)"}, "does not say why"),
        (
            {"cell": {"outputs": [WITH_SHAPE, nbformat.v4.new_output("display_data", {WIDGET: {}})]}},
            "without a picture",
        ),
        ({"source": "x = 1\n" * 9}, "has long cells"),
        ({"cell": {"outputs": [WITH_SHAPE, nbformat.v4.new_output("error", ename="E")]}}, "has an error"),
        ({"widgets": {"state": {}}}, "has widget state"),
        ({"source": "open('/home/someone/meg.fif')"}, "holds the path /home/someone/meg.fif"),
        ({"source": r"open(r'C:\meg.fif')"}, "holds the path"),
        ({"source": "def f():\n    return [\n" + "\n" * 8 + "    ]\n"}, "f has 11 lines"),
        ({"source": "#" * 2_100_000}, "is over 2 MB"),
    ],
)
def test_a_fault_is_found(tmp_path, changes, found):
    faults = planted(tmp_path, **changes)
    assert len(faults) == 1 and found in faults[0]
