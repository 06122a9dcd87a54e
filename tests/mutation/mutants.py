"""Every small change of a module's source that a test should notice: cosmic-ray's operators, at each place.

Left out are changes that no test is asked to notice (annotations, texts of errors and of ``__repr__``, decorators) and
those that any call at all would notice, since they raise by the types alone (a bit shift of a float, ``is`` for
``<``): they would make the score look better than it is.
"""

from __future__ import annotations

import ast
import random
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice, permutations
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.provider import OperatorProvider

ROOT = Path(__file__).parents[2]
OPERATORS = OperatorProvider()
ARITHMETIC = ("Add", "Sub", "Mul", "Div", "FloorDiv", "Pow")
ORDER = ("Eq", "NotEq", "Lt", "LtE", "Gt", "GtE")
USED = [f"ReplaceBinaryOperator_{a}_{b}" for a, b in [*permutations(ARITHMETIC, 2), *permutations(("BitAnd", "BitOr"))]]
USED += [f"ReplaceComparisonOperator_{a}_{b}" for a, b in [*permutations(ORDER, 2), *permutations(("Is", "IsNot"))]]
USED += [f"ReplaceUnaryOperator_Delete_{name}" for name in ("USub", "Invert", "Not")]
USED += ["AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd"]
USED += ["ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "NumberReplacer", "ZeroIterationForLoop"]


@dataclass(frozen=True)
class Place:
    """Where an operator can change a module: which of the places it finds, and of those on the like lines."""

    module: str
    operator: str
    occurrence: int
    line: int
    nth: int

    @property
    def path(self) -> Path:
        return ROOT / (self.module.replace(".", "/") + ".py")


@dataclass(frozen=True)
class Mutant:
    """One change of one module; the line as it was and became names it, wherever the line moves to."""

    place: Place
    before: str
    after: str

    @property
    def key(self) -> tuple[str, ...]:
        return self.place.module, self.place.operator, self.before, self.after, str(self.place.nth)


def modules(package: str) -> list[str]:
    """The modules of one of our packages, by name."""
    paths = sorted((ROOT / "ivekit" / package).glob("*.py"))
    return [f"ivekit.{package}.{path.stem}" for path in paths if path.stem != "__init__"]


@cache
def places(module: str) -> tuple[Place, ...]:
    """Every place of a module where something can be changed, in the order of the operators and of the lines."""
    source = Place(module, "", 0, 0, 0).path.read_text(encoding="utf-8")
    text, without, nodes, found = source.splitlines(), spared(source), list(ast_nodes(get_ast(source))), []
    for name in USED:
        operator, seen = OPERATORS[name](), Counter()
        starts = [start for node in nodes for start, _ in operator.mutation_positions(node)]
        for occurrence, (line, column) in enumerate(starts):
            if not any(first <= (line, column) < last for first, last in without):
                before = text[line - 1].strip()
                found.append(Place(module, name, occurrence, line, seen[before]))
                seen[before] += 1
    return tuple(found)


def sample(package: str, n: int, seed: int) -> Iterator[Mutant]:
    """So many mutants of a package, drawn evenly; a larger sample begins with the smaller ones."""
    found = [place for module in modules(package) for place in places(module)]
    random.Random(seed).shuffle(found)
    return islice((mutant for place in found if (mutant := at(place))), n)


def known(package: str, keys: Collection[tuple[str, ...]]) -> Iterator[Mutant]:
    """The mutants of a package that have one of these keys, as far as their lines are still there."""
    lines = {(*key[:3], key[4]) for key in keys}
    for place in (place for module in modules(package) for place in places(module)):
        before = place.path.read_text(encoding="utf-8").splitlines()[place.line - 1].strip()
        if (place.module, place.operator, before, str(place.nth)) in lines:
            mutant = at(place)
            if mutant and mutant.key in keys:
                yield mutant


def at(place: Place) -> Mutant | None:
    """What becomes of a line at a place; None where the operator makes no Python of it."""
    source, made = place.path.read_text(encoding="utf-8"), changed(place)
    return Mutant(place, *difference(source, made)) if runs(made) else None


def changed(place: Place) -> str:
    """The module's source with the change in it."""
    made = mutate_code(place.path.read_text(encoding="utf-8"), OPERATORS[place.operator](), place.occurrence)
    if made is None:
        raise ValueError(f"{place.path} has no place {place.occurrence} for {place.operator}")
    return made


def runs(source: str) -> bool:
    """Whether a source is Python at all."""
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def difference(source: str, changed: str) -> tuple[str, str]:
    """The line that differs, as it was and as it is, without its indentation."""
    pairs = zip(source.splitlines(), changed.splitlines(), strict=True)
    before, after = next((a, b) for a, b in pairs if a != b)
    return before.strip(), re.sub(r"(?<=\S) {2,}", " ", after.strip())


@cache
def spared(source: str) -> tuple[tuple[tuple[int, int], tuple[int, int]], ...]:
    """Where nothing is changed: annotations, errors, texts for reading, decorators."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation:
            found.append(node.annotation)
        if isinstance(node, ast.FunctionDef):
            found += [*node.decorator_list, *([node.returns] if node.returns else [])]
            if node.name in ("__repr__", "__str__", "_repr_html_"):
                found.append(node)
        if isinstance(node, ast.ClassDef):
            found += node.decorator_list
        if isinstance(node, ast.Raise) or is_alias(node):
            found.append(node)
    return tuple(((x.lineno, x.col_offset), (x.end_lineno, x.end_col_offset)) for x in found)


def is_alias(node: ast.AST) -> bool:
    """Whether a line names a type, as in ``Codes = Real[ndarray, "n k"] | Binned``."""
    said = ast.unparse(node.value) if isinstance(node, ast.Assign) else ""
    return "ndarray, " in said or "Tensor, " in said


def statement(source: str, line: int) -> tuple[tuple[int, int], tuple[int, int] | None]:
    """The lines of the innermost statement (its head, where it has a body) that holds a line, and of its function."""
    inner, function = (line, line), None
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.stmt) or not node.lineno <= line <= (node.end_lineno or node.lineno):
            continue
        last = node.body[0].lineno - 1 if isinstance(getattr(node, "body", None), list) else node.end_lineno
        if line <= max(last, node.lineno):
            inner = node.lineno, max(last, node.lineno)
        if isinstance(node, ast.FunctionDef) and line > max(last, node.lineno):
            function = node.body[0].lineno, node.end_lineno  # the innermost comes last
    return inner, function
