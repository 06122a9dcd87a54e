"""Arrows point one way: a module imports only from the rows above it.

views   distributions   signal            import nothing of ours (but what is in BENEATH)
     \\       nn                           tensors and Tokens only: nn never sees Views
      \\      |
        models
  objectives   plans   training   explain   baselines
        watch   widgets   report
        recipe -> recipes -> __main__
beside: io, synth make Views; metrics, viz, topomap know only arrays.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "ivekit"

GROUND = {"views", "distributions", "signal"}
ARRAYS = {"metrics", "viz", "topomap"}  # know only arrays, so whoever is not on the ground may use them
MAKERS = {"io", "synth"}
BENEATH = {  # what views are made of
    "atomic", "guard", "fif", "store", "loader", "masks", "memory", "ondisk", "history", "noise",
}  # fmt: skip
ROWS = [
    {"nn"},
    {"models"},
    {"objectives", "plans", "training", "explain", "baselines"},
    {"watch", "widgets", "report"},
    {"recipe"},
    {"recipes", "tune"},
    {"__main__"},
]
USE_EVERYTHING = {"recipe", "recipes", "__main__"}  # these put the parts together, so they also make the data


def allowed() -> dict[str, set[str]]:
    """Which of our modules each of our modules may import."""
    may = {name: set() for name in GROUND | ARRAYS}
    may |= {"atomic": set(), "guard": set(), "memory": set(), "fif": {"guard"}, "loader": set()}
    may |= {"store": {"atomic", "fif", "guard", "signal", "masks", "ondisk"}}
    may |= {"views": {"store", "loader", "masks", "history"}}
    may |= {"ondisk": {"guard"}, "masks": {"ondisk"}, "history": {"signal"}}
    may |= {"noise": set(), "distributions": {"noise"}}
    may["viz"] = {"atomic"}  # figures and films are files, too
    may |= {
        name: {"atomic", "fif", "guard", "views", "store", "ondisk", "history", "signal", "topomap"} for name in MAKERS
    }
    above = GROUND | BENEATH | ARRAYS
    for row in ROWS:
        may |= {name: above | (MAKERS if name in USE_EVERYTHING else set()) for name in row}
        above = above | row
    may["nn"] -= {"views"}
    return may


def imported(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Line and name of each module of ours that a file imports, wherever in the file; `ivekit` itself is `__init__`."""
    package = ["ivekit", *path.relative_to(root).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            targets = [[*base, alias.name] for alias in node.names]
        else:
            continue
        for target in targets:
            if target[0] == "ivekit":
                yield node.lineno, module_of(target[1:], root)


def module_of(parts: list[str], root: Path) -> str:
    """The top-level module that dotted parts name; a name that is no module comes from the package itself."""
    is_module = parts and (root / f"{parts[0]}.py").is_file() or parts and (root / parts[0]).is_dir()
    return parts[0] if is_module else "__init__"


def upward(root: Path) -> list[str]:
    """Every import that breaks the rule, in words."""
    may, found = allowed(), []
    for path in sorted(root.rglob("*.py")):
        here = path.relative_to(root).with_suffix("").parts[0]
        if here == "__init__":
            continue
        if here not in may:
            found.append(f"{here}: no row of the architecture has this module; give it one in tests/test_layers.py")
            continue
        reach = may[here] | {here} | ({"__init__"} if here in USE_EVERYTHING else set())
        where = path.relative_to(root)
        found += [f"{where}:{line} imports {name}" for line, name in imported(path, root) if name not in reach]
    return found


def test_no_import_points_up():
    assert upward(ROOT) == []


def test_every_module_of_the_architecture_is_placed_once():
    rows = [GROUND, ARRAYS, MAKERS, BENEATH, *ROWS]
    assert sum(map(len, rows)) == len(set().union(*rows)) == len(allowed())


@pytest.mark.parametrize(
    ("module", "line", "found"),
    [
        ("nn/blocks.py", "from ..models import Outputs", "imports models"),
        ("nn/blocks.py", "from ..views import Views", "imports views"),
        ("nn/blocks.py", "from .. import training", "imports training"),
        ("metrics.py", "from .views import Views", "imports views"),
        ("views.py", "def f():\n    import ivekit.signal", "imports signal"),
        ("models.py", "from . import explain", "imports explain"),
        ("models.py", "import ivekit as ive", "imports __init__"),
        ("training.py", "from ivekit.objectives import Objective", "imports objectives"),
        ("helpers.py", "", "no row of the architecture"),
    ],
)
def test_an_arrow_that_points_up_is_found(tmp_path, module, line, found):
    for name in ("views", "signal", "models", "training", "objectives", "explain"):
        (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "nn").mkdir()
    (tmp_path / module).write_text(line)
    assert len(upward(tmp_path)) == 1 and found in upward(tmp_path)[0]


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("nn/encoders.py", "from .blocks import Tokens\nfrom ..signal import Sensors"),
        ("recipes/ive.py", "import ivekit as ive\nfrom ivekit import Views"),
        ("report.py", "from .explain import traverse\nfrom . import viz"),
        ("synth.py", "from .views import Views\nimport numpy as np"),
    ],
)
def test_an_arrow_that_points_down_is_fine(tmp_path, module, line):
    for folder in ("nn", "recipes"):
        (tmp_path / folder).mkdir()
    for name in ("views", "signal", "explain", "viz", "nn/blocks"):
        (tmp_path / f"{name}.py").write_text("")
    (tmp_path / module).write_text(line)
    assert upward(tmp_path) == []
