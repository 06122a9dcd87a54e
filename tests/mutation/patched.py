"""A mutant's code put in place of a module's, in this process: nothing is imported again, so a trial starts at once."""

from __future__ import annotations

import gc
import sys
from collections import defaultdict
from collections.abc import Iterator
from inspect import CO_OPTIMIZED, unwrap
from types import CodeType, FunctionType, ModuleType
from typing import Any

PLAIN = (int, float, str, tuple, frozenset, dict, type(None))


class Elsewhere(Exception):
    """The change is in what only a new import would make again (a class's bases, a dataclass's defaults)."""


def functions_of(folder: str) -> dict[str, list[FunctionType]]:
    """Every function that came from the files of a folder, by file."""
    found: dict[str, list[FunctionType]] = defaultdict(list)
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__code__.co_filename.startswith(folder):
            found[thing.__code__.co_filename].append(thing)
    return found


def put(module: ModuleType, source: str, changed: str, functions: list[FunctionType]) -> None:
    """Gives the functions of a module the code and the defaults that they have in a changed source, and its constants
    their values, wherever these have been imported to. Raises Elsewhere where none of that shows the change."""
    old, new = compiled(module, source), compiled(module, changed)
    table = dict(pairs(old, new))
    functions = [f for f in functions if f.__code__ in table]
    done = sum(f.__code__ != table[f.__code__] for f in functions)
    if bodies(old) != bodies(new):
        done += again(module, new, table, functions)
    for function in functions:
        function.__code__ = table[function.__code__]
    if not done:
        raise Elsewhere(module.__name__)


def bodies(code: CodeType) -> list[tuple[bytes, list[Any]]]:
    """What a module and its classes do when they are imported, without what is in their functions."""
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    plain = [repr(const) for const in code.co_consts if not isinstance(const, CodeType)]
    classes = [found for const in inner if not const.co_flags & CO_OPTIMIZED for found in bodies(const)]
    return [(code.co_code, plain), *classes]


def compiled(module: ModuleType, source: str) -> CodeType:
    """What the module's own loader makes of a source: with shapes checked, if it checks them."""
    return module.__spec__.loader.source_to_code(source.encode(), module.__file__)


def pairs(old: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """The codes of functions, each beside the one that takes its place: the nth of its name."""
    ours, theirs = by_name(old), by_name(new)
    if {name: len(codes) for name, codes in ours.items()} != {name: len(codes) for name, codes in theirs.items()}:
        raise Elsewhere("other functions than there were")
    for name, codes in ours.items():
        yield from zip(codes, theirs[name])


def by_name(code: CodeType) -> dict[str, list[CodeType]]:
    found: dict[str, list[CodeType]] = defaultdict(list)

    def walk(outer: CodeType) -> None:
        for inner in outer.co_consts:
            if isinstance(inner, CodeType):
                found[inner.co_qualname].append(inner)
                walk(inner)

    walk(code)
    return found


def again(module: ModuleType, code: CodeType, table: dict[CodeType, CodeType], functions: list[FunctionType]) -> int:
    """Runs the changed module beside the old one and takes over defaults and constants; how many differ."""
    fresh = ModuleType(module.__name__)
    vars(fresh).update({name: getattr(module, name) for name in ("__file__", "__spec__", "__package__", "__loader__")})
    exec(code, vars(fresh))  # noqa: S102
    made = {f.__code__: f for f in gc.get_objects() if type(f) is FunctionType and f.__globals__ is vars(fresh)}
    done = 0
    for function in functions:
        twin = made.get(table[function.__code__])
        if twin and differ((function.__defaults__, function.__kwdefaults__), (twin.__defaults__, twin.__kwdefaults__)):
            function.__defaults__, function.__kwdefaults__ = twin.__defaults__, twin.__kwdefaults__
            done += 1
    return done + sum(rebound(module, fresh, name) for name in list(vars(module)))


def rebound(module: ModuleType, fresh: ModuleType, name: str) -> int:
    """Takes over one constant, or those of one class, wherever the old one is known by that name."""
    old, new = getattr(module, name), getattr(fresh, name, None)
    if isinstance(old, type) and isinstance(new, type) and old.__module__ == module.__name__:
        changed = [key for key, value in vars(old).items() if is_plain(value) and differ(value, vars(new).get(key))]
        for key in changed:
            setattr(old, key, vars(new)[key])
        return len(changed) + defaults(old, new)
    if name.startswith("__") or not is_plain(old) or not differ(old, new):
        return 0
    for other in [m for m in sys.modules.values() if isinstance(m, ModuleType)]:
        if vars(other).get(name) is old:
            setattr(other, name, new)
    return 1


def defaults(old: type, new: type) -> int:
    """Takes over the defaults of a dataclass, which are those of the ``__init__`` that was written for it."""
    ours, theirs = (unwrap(kind.__init__) for kind in (old, new))
    if not isinstance(ours, FunctionType) or not differ(ours.__defaults__, theirs.__defaults__):
        return 0
    ours.__defaults__ = theirs.__defaults__
    return 1


def is_plain(value: Any) -> bool:
    return isinstance(value, PLAIN) or type(value).__name__ in ("ndarray", "Tensor")


def differ(a: Any, b: Any) -> bool:
    """Whether two values are not the same to read; a function's address does not count."""
    return _said(a) != _said(b)


def _said(value: Any) -> str:
    return repr(value).split(" at 0x")[0]
