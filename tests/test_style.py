"""Rules that a linter does not know: no bare change of shape, small files and functions, docstrings."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "ivekit"
FILE, FUNCTION = 400, 45  # lines


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function below its signature and docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def is_bare_shape_change(call: ast.Call) -> bool:
    """A call of view, permute, transpose, or of squeeze without an axis; a view as another number format is none."""
    if not isinstance(call.func, ast.Attribute):
        return False
    name, anything = call.func.attr, [*call.args, *call.keywords]
    if name == "squeeze":
        axes = anything if not is_module(call.func.value) else anything[1:]
        return not axes
    number_format = len(anything) == 1 and isinstance(call.args[0] if call.args else None, ast.Attribute)
    return name in {"permute", "transpose"} or (name == "view" and not number_format)


def is_module(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in {"torch", "np", "numpy"}


def is_broad(handler: ast.ExceptHandler) -> bool:
    """Whether it catches everything and may go on; what ends by raising only says it in other words."""
    if isinstance(handler.body[-1], ast.Raise):
        return False
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or getattr(kind, "id", "") in {"Exception", "BaseException"} for kind in kinds)


def undescribed(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and name of what is public in a module and has no docstring: the module, its classes, its functions."""
    if ast.get_docstring(tree) is None:
        yield 1, "the module"
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            if ast.get_docstring(node) is None:
                yield node.lineno, node.name


def faults(source: str, public: bool = True) -> Iterator[str]:
    """What breaks the rules in a module's source, in words."""
    tree = ast.parse(source)
    if (lines := source.count("\n")) > FILE:
        yield f"1: a file of {lines} lines, {FILE} at most"
    for function in functions(tree):
        if (lines := body_lines(function)) > FUNCTION:
            yield f"{function.lineno}: {function.name} is {lines} lines long, {FUNCTION} at most"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and is_bare_shape_change(node):
            yield f"{node.lineno}: a bare {node.func.attr}(); write an einops pattern"
        if isinstance(node, ast.ExceptHandler) and is_broad(node):
            yield f"{node.lineno}: a broad except; name the errors"
    for line, name in undescribed(tree) if public else ():
        yield f"{line}: {name} has no docstring"


def test_ivekit_keeps_the_rules():
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        public = not any(part.startswith("_") and not part.startswith("__") for part in parts)
        found += [f"{path.relative_to(ROOT)}:{fault}" for fault in faults(path.read_text(encoding="utf-8"), public)]
    assert found == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("x.view(3, -1)", "bare view"),
        ("x.view(3)", "bare view"),
        ("x.permute(1, 0)", "bare permute"),
        ("np.transpose(x)", "bare transpose"),
        ("x.squeeze()", "bare squeeze"),
        ("torch.squeeze(x)", "bare squeeze"),
        ("try:\n    f()\nexcept Exception:\n    pass", "broad except"),
        ("try:\n    f()\nexcept (OSError, BaseException):\n    pass", "broad except"),
        ("try:\n    f()\nexcept:\n    pass", "broad except"),
        ("x = 1\n" * (FILE + 1), "a file of 401 lines"),
        ("def f():\n    '''Words.'''\n" + "    x = 1\n" * (FUNCTION + 1), "f is 46 lines long"),
        ("def f():\n    return 1", "f has no docstring"),
        ("class Thing:\n    x: int", "Thing has no docstring"),
    ],
)
def test_what_breaks_a_rule_is_found(source, found):
    (fault,) = faults(f"'''A module.'''\n{source}" if "a file of" not in found else source, public="docstring" in found)
    assert found in fault


@pytest.mark.parametrize(
    "source",
    [
        "x.view(torch.int32)",
        "x.squeeze(-1)",
        "torch.squeeze(x, -1)",
        "rearrange(x, 'b c t -> b t c')",
        "view(3)",
        "try:\n    f()\nexcept (OSError, ValueError):\n    pass",
        "try:\n    f()\nexcept Exception as error:\n    raise ValueError('in our words') from error",
        "def _f():\n    return 1",
        "def f():\n    '''Words.'''\n" + "    x = 1\n" * FUNCTION,
    ],
)
def test_what_keeps_the_rules_passes(source):
    assert list(faults(f"'''A module.'''\n{source}")) == []


def test_a_module_without_a_docstring_is_found():
    assert list(faults("x = 1")) == ["1: the module has no docstring"]
