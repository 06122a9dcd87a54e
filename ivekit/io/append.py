"""Many folders of saved rows become one, in constant memory: what is cut at any moment goes on where it was."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from itertools import starmap
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .. import store
from ..atomic import writing

Part = tuple[Path | None, int]  # an array's file, None where the part lacks the view; and the part's rows


def append(folder: Path, parts: Mapping[str, Path], metadata: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Puts the rows of saved folders one after another into one; their arrays vanish as they are taken up.

    So it takes little more room on disk than the rows do. It may be killed at any moment: the same call goes on.

    parts : by what messages call them; all have metadata. What a view is (`about`) the first that has it says, and
        a view that a part lacks is missing in its rows.
    metadata : what is to be done to that of all rows; asked before anything is written.

    Raises
    ------
    ValueError : when rows of a view are of another shape, type or other channels than in the first part that has it.
    """
    said = {part: store.contents(part) for part in parts.values()}
    views, rows = _views(parts, said), [_rows(one) for one in said.values()]
    frame = metadata(pd.concat([store.frame(part, one) for part, one in said.items()], ignore_index=True))
    with writing(folder):
        _append(folder, parts, said, views, rows, frame)


def _append(
    folder: Path, parts: Mapping[str, Path], said: Mapping[Path, Any], views: Mapping[str, Any], rows: list[int],
    frame: pd.DataFrame,
) -> None:  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    for name, (dtype, shape) in views.items():
        files = [part / f"{name}.npy" if name in one["arrays"] else None for part, one in said.items()]
        _take_up(folder / f"{name}.npy", np.dtype(dtype), shape, [*zip(files, rows)])
        _join_masks(folder / f"{name}.present.npy", shape, [*zip(files, rows)])
    about: dict[str, Any] = {}
    for part, one in said.items():
        about = store.descriptions(part, one) | about
    store.describe(folder, {n: (dtype, (sum(rows), *shape)) for n, (dtype, shape) in views.items()}, frame, about)


def _rows(said: Mapping[str, Any]) -> int:
    return next(shape[0] for _, shape in said["arrays"].values())


def _views(parts: Mapping[str, Path], said: Mapping[Path, Any]) -> dict[str, tuple[str, list[int]]]:
    """Type of a view and shape of its rows, the same in all parts that have it, as are its channels."""
    first: dict[str, Any] = {}
    for part, folder in parts.items():
        for name, (dtype, shape) in said[folder]["arrays"].items():
            about = said[folder]["about"].get(name)
            channels = about["sensors"]["names"] if isinstance(about, dict) and "sensors" in about else None
            kind, there, whose = first.setdefault(name, ((dtype, shape[1:]), channels, part))
            if (dtype, shape[1:]) != kind:
                raise ValueError(f"rows of {name!r} are {dtype} {shape[1:]} in {part}, {kind[0]} {kind[1]} in {whose}")
            if channels != there:
                other = sorted(set(channels or ()) ^ set(there or ()))
                raise ValueError(
                    f"{name!r} has other channels in {part} than in {whose}: {other or 'in another order'}"
                )
    return {name: kind for name, (kind, _, _) in first.items()}


def _take_up(path: Path, dtype: np.dtype, shape: Sequence[int], parts: Sequence[Part]) -> None:
    """The rows of files in one file. Where a part begins is known, so one that is gone was taken up before."""
    size = dtype.itemsize * prod(shape)
    with path.open("r+b" if path.exists() else "w+b") as file:
        store.header(file, dtype, (sum(n for _, n in parts), *shape))
        end, there = file.tell(), path.stat().st_size
        for part, n in parts:
            file.seek(end)
            end += n * size
            if part is not None and part.exists():
                with part.open("rb") as source:
                    np.lib.format.read_magic(source)
                    np.lib.format.read_array_header_1_0(source)
                    shutil.copyfileobj(source, file, 2**24)
                file.flush()
                os.fsync(file.fileno())  # on the disk before the part is not
                part.unlink()
            elif part is not None and there < end:
                raise ValueError(f"{part} is gone, and {path} does not hold its rows: delete {path.parents[1]}")
        file.truncate(end)  # what nobody wrote, at the end of a view that the last parts lack, reads as 0


def _join_masks(path: Path, shape: Sequence[int], parts: Sequence[Part]) -> None:
    """Of rows where that is enough, of elements where one part needs it; no file where nothing is missing."""
    n_rows, ones = sum(n for _, n in parts), [1] * len(shape)
    if any(_mask(*part).ndim > 1 for part in parts):
        each = (mask if mask.ndim > 1 else mask.reshape(-1, *ones).expand(-1, *shape) for mask in starmap(_mask, parts))
        store.write_array(path, (n_rows, *shape), each)
    elif not all(bool(_mask(*part).all()) for part in parts):
        store.write_array(path, (n_rows,), starmap(_mask, parts))


def _mask(part: Path | None, n: int) -> Tensor:
    saved = None if part is None else part.with_suffix(".present.npy")
    return store.load(saved) if saved and saved.exists() else torch.full((n,), part is not None)
