"""The notebooks as they are stored: whole, small, and free of what belongs to one machine."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"

# A path from the root of a disk: at least two parts after the slash, and no web address, fraction or closing tag.
ABSOLUTE = re.compile(r"(?<![\w.:/<)\]}*~])/(?:[\w.+-]+/)+[\w.+-]+|\b[A-Z]:\\\w")


def long_functions(source: str, most: int = 10) -> list[str]:
    tree = ast.parse(TransformerManager().transform_cell(source))
    return [
        f"{node.name} has {node.end_lineno - node.lineno + 1} lines, {most} at most"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.end_lineno - node.lineno + 1 > most
    ]


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
    found = {
        "is not named NN_what.ipynb": not re.fullmatch(r"\d\d_[a-z0-9_]+\.ipynb", path.name),
        "was not executed in order": [cell.execution_count for cell in code] != [*range(1, len(code) + 1)],
        "has no outputs": not outputs,
        "has an error": any(out.output_type == "error" for out in outputs),
        "has widget state": "widgets" in book.metadata,
        "has no kernelspec": "kernelspec" not in book.metadata,
        "is over 2 MB": path.stat().st_size > 2_000_000,
        "has no part 'What could be wrong'": not re.search(r"^#.*What could be wrong", prose, re.MULTILINE),
        "has no part 'Try'": not re.search(r"^#.*Try", prose, re.MULTILINE),
    }
    paths = [f"holds the path {match}" for cell in book.cells for match in ABSOLUTE.findall(words(cell))]
    long = [line for cell in code for line in long_functions(cell.source)]
    return [fault for fault, wrong in found.items() if wrong] + paths + long


def test_stored_notebooks_are_whole():
    found = {path.name: faults(path) for path in sorted(NOTEBOOKS.glob("*.ipynb"))}
    assert {name: lines for name, lines in found.items() if lines} == {}


def planted(tmp_path: Path, source: str = "print(1)", name: str = "00_a.ipynb", **changes) -> list[str]:
    """The faults of a good notebook of one code cell in which something was changed."""
    cell = nbformat.v4.new_code_cell(source, execution_count=1, outputs=[nbformat.v4.new_output("stream", text="1\n")])
    cell.update(changes.pop("cell", {}))
    book = nbformat.v4.new_notebook(cells=[cell, nbformat.v4.new_markdown_cell("## What could be wrong\n\n## Try")])
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
        ({"cell": {"outputs": []}}, "has no outputs"),
        ({"cell": {"outputs": [nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])]}}, "has an error"),
        ({"widgets": {"state": {}}}, "has widget state"),
        ({"source": "open('/home/someone/meg.fif')"}, "holds the path /home/someone/meg.fif"),
        ({"source": r"open(r'C:\meg.fif')"}, "holds the path"),
        ({"source": "def f():\n" + "    x = 1\n" * 10}, "f has 11 lines"),
        ({"source": "#" * 2_100_000}, "is over 2 MB"),
    ],
)
def test_a_fault_is_found(tmp_path, changes, found):
    faults = planted(tmp_path, **changes)
    assert len(faults) == 1 and found in faults[0]
