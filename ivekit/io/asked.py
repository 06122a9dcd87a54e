"""What a reader is asked for, looked at before it reads: what cannot be is one sentence that says what could."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any


def positive(**given: Any) -> None:
    """Each is a number above 0, or None.

    >>> positive(sfreq=125, window=None)
    >>> positive(sfreq=0)
    Traceback (most recent call last):
    ValueError: sfreq must be a number above 0, got 0
    """
    for what, value in given.items():
        if value is not None and not (isinstance(value, Real) and 0 < float(value) < float("inf")):
            raise ValueError(f"{what} must be a number above 0, got {value!r}")


def pair(what: str, value: Any, like: str) -> None:
    """Two numbers, either of which may be None; or None.

    >>> pair("band", 40, "(low, high) in Hz")
    Traceback (most recent call last):
    ValueError: band must be (low, high) in Hz, got 40
    """
    if value is None:
        return
    ends = list(value) if isinstance(value, Iterable) and not isinstance(value, str | Mapping) else []
    if len(ends) != 2 or not all(end is None or isinstance(end, Real) for end in ends):
        raise ValueError(f"{what} must be {like}, got {value!r}")


def files(paths: Any) -> list[Path]:
    """The paths of a list, or of one path the list of it.

    >>> files("a.csv"), files([Path("a.csv"), "b.csv"])
    ([PosixPath('a.csv')], [PosixPath('a.csv'), PosixPath('b.csv')])
    """
    several = [paths] if isinstance(paths, str | PathLike) or not isinstance(paths, Iterable) else list(paths)
    if not all(isinstance(path, str | PathLike) and path != "" for path in several):
        raise ValueError(f"files are a path or a list of paths, got {paths!r}")
    return [Path(path) for path in several]


def names(**given: Any) -> None:
    """Each is a list of names (or of what has them as keys), or None; one name is none.

    >>> names(keys="trial")
    Traceback (most recent call last):
    ValueError: keys must be a list of names, such as ['trial'], got 'trial'
    """
    for what, value in given.items():
        if value is not None and (isinstance(value, str) or not isinstance(value, Iterable)):
            raise ValueError(f"{what} must be a list of names, such as {[str(value)]}, got {value!r}")


def named(what: str, value: Any, like: str) -> None:
    """A dict by name, or None.

    >>> named("columns", ["ECG"], "{view: signal}, such as {'ecg': 'ECG'}")
    Traceback (most recent call last):
    ValueError: columns must be {view: signal}, such as {'ecg': 'ECG'}, got ['ECG']
    """
    if value is not None and not isinstance(value, Mapping):
        raise ValueError(f"{what} must be {like}, got {value!r}")
