"""How rows lie on disk: a folder that other programs can read too, written whole or not at all.

``<view>.npy`` (read when asked for, see `OnDisk`), ``<view>.present.npy`` where something is missing,
``metadata.tsv`` (missing values are ``n/a``, as in BIDS), ``about.json``, and ``<view>-info.fif`` for MEG and EEG
sensors. Nothing here pickles.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from pandas.api.types import pandas_dtype
from torch import Tensor

from .atomic import standing, whole
from .fif import contents as whole_fif
from .guard import reachable, reading
from .masks import checked, masked_share
from .ondisk import blocks, opened
from .signal import Sensors


def write(
    folder: str | Path,
    tensors: Mapping[str, Tensor],
    present: Mapping[str, Tensor],
    metadata: pd.DataFrame | None,
    about: Mapping[str, Any],
) -> None:
    """Stores tensors, masks, metadata (without its index) and descriptions as a folder."""
    with whole(folder) as new:
        new.mkdir()
        for name, tensor in tensors.items():
            _refuse_path(name)
            write_array(new / f"{name}.npy", tensor.shape, [tensor])
            if masked_share(present[name]) > 0:
                write_array(new / f"{name}.present.npy", present[name].shape, [present[name]])
        describe(new, {name: (str(x.dtype)[6:], tuple(x.shape)) for name, x in tensors.items()}, metadata, about)


def describe(
    folder: Path, arrays: Mapping[str, tuple], metadata: pd.DataFrame | None, about: Mapping[str, Any]
) -> None:
    """Writes what is said of rows into their folder: the metadata, and ``about.json``, which makes it one.

    arrays : {view: (type, shape)}.
    """
    metadata = None if metadata is None or metadata.columns.empty else metadata
    said = {name: _say(name, what, folder / f"{name}-info.fif") for name, what in about.items()}
    if metadata is not None:
        cells = metadata.astype(object).map(_quoted)
        header = [_quoted(str(column)) for column in metadata]
        cells.to_csv(folder / "metadata.tsv", sep="\t", index=False, header=header, na_rep="n/a")
    dtypes = None if metadata is None else {str(c): _say_dtype(x) for c, x in metadata.items()}
    index = {"ivekit": "views", "views": list(arrays), "arrays": arrays, "about": said, "dtypes": dtypes}
    index["files"] = sorted(path.name for path in folder.iterdir() if path.suffix in (".npy", ".tsv", ".fif"))
    with whole(folder / "about.json") as new:
        new.write_text(json.dumps(index, indent=1))


def write_array(path: Path, shape: Sequence[int], parts: Iterable[Tensor]) -> None:
    """A ``.npy`` file of the rows of several tensors, some megabytes at a time."""
    with path.open("wb") as file:
        for i, part in enumerate(parts):
            if i == 0:
                header(file, part[:0].detach().cpu().numpy().dtype, shape)
            for rows in blocks(part):
                file.write(part[rows].detach().cpu().numpy().tobytes())  # the disk's own errors, unlike tofile's


def header(file: IO[bytes], dtype: np.dtype, shape: Sequence[int]) -> None:
    """Begins a ``.npy`` file: what its numbers are, and how many rows there will be."""
    said = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(file, said)


def read(folder: str | Path) -> tuple[dict, dict, pd.DataFrame | None, dict]:
    """What `write` stored. A missing or foreign folder is an error that says so."""
    folder = standing(reachable(folder))
    index = contents(folder)
    if gone := [name for name in index.get("files", []) if not (folder / name).exists()]:
        raise FileNotFoundError(f"{folder} lacks {', '.join(gone)}, which its about.json names")
    tensors = {name: load(folder / f"{name}.npy") for name in index["views"]}
    metadata = frame(folder, index)
    rows = {name: len(x) for name, x in tensors.items()} | ({} if metadata is None else {"metadata": len(metadata)})
    if len(set(rows.values())) > 1:
        raise ValueError(f"{folder} is damaged: all views must have the same number of rows, got {rows}")
    masks = {n: folder / f"{n}.present.npy" for n in tensors}
    present = {n: _mask(path, n, tensors[n]) for n, path in masks.items() if path.exists()}
    return tensors, present, metadata, descriptions(folder, index)


def contents(folder: Path) -> dict[str, Any]:
    """What the ``about.json`` of a folder of saved rows says."""
    try:
        with reading(folder / "about.json") as path:
            index = json.loads(path.read_text())
            if not isinstance(index, dict) or index.get("ivekit") != "views":
                raise ValueError(f"{folder} is not a saved Views folder: its about.json is another program's")
            if not index["views"] or not {"about", "dtypes"} <= set(index):
                raise ValueError("it names no views, or does not say what they are")
            for name in index["views"]:
                _refuse_path(name)
            if odd := [name for name in index.get("files", []) if not _is_file_name(name, 255)]:
                raise ValueError(f"{odd[:3]} cannot be files of it")
    except FileNotFoundError:
        raise FileNotFoundError(f"{folder} is not a saved Views folder: it has no about.json") from None
    return index


def descriptions(folder: Path, index: Mapping[str, Any]) -> dict[str, Any]:
    """What each view is."""
    with reading(folder / "about.json"):
        if unknown := set(index["about"]) - set(index["views"]):
            raise ValueError(f"it describes {sorted(unknown)}, and the views are {index['views']}")
        return {name: _hear(what, folder / f"{name}-info.fif") for name, what in index["about"].items()}


def load(path: Path) -> Tensor:
    """An array of a folder."""
    try:
        with reading(path, "array"):
            _check_header(path)
            return opened(np.load(path, mmap_mode="c", allow_pickle=False))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path.parent} lacks {path.name}, which its about.json names") from None


def _check_header(path: Path) -> None:
    """What an array's header says can be: of numbers of no size, numpy's map would divide by 0, which ends Python."""
    with path.open("rb") as file:
        read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
        if (version := np.lib.format.read_magic(file)[0]) not in read:
            raise ValueError(f"it is written in version {version} of .npy")
        shape, _, dtype = read[version](file)
    if not dtype.itemsize or not shape:
        raise ValueError(f"an array of {dtype} and of shape {shape} has no rows")


def _mask(path: Path, name: str, x: Tensor) -> Tensor:
    with reading(path, "mask"):
        return checked(name, x, load(path))


LONGEST = 220  # bytes of a view's name: a file's may have 255, with endings and while it is being written
AS_TEXT = ("str", "object", "string", "category", "float16", "float32", "float64")  # pandas reads digits inexactly
RUN = ("=", "+", "-", "@", "\t", "\r", "'")  # a spreadsheet runs a cell that begins so, unless a ' stands before it


def _quoted(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(RUN) else cell


def _unquoted(cell: Any) -> Any:
    return cell[1:] if isinstance(cell, str) and cell.startswith("'") else cell


def frame(folder: Path, index: Mapping[str, Any]) -> pd.DataFrame | None:
    """The metadata of a folder."""
    if (dtypes := index["dtypes"]) is None:
        return None
    with reading(folder / "about.json"):
        heard = {c: pd.CategoricalDtype(**t) if isinstance(t, dict) else pandas_dtype(t) for c, t in dtypes.items()}
        kinds = {c: t for c, t in heard.items() if isinstance(t, pd.CategoricalDtype)}
        words = {
            c for c, t in dtypes.items() if (kinds[c].categories.dtype.kind in "OU" if c in kinds else t in AS_TEXT)
        }
    with reading(folder / "metadata.tsv", "table") as path:
        how: Any = {_quoted(c): str if c in words else t for c, t in heard.items() if c in words or c in kinds}
        read: Any = pd.read_csv(path, sep="\t", na_values=["n/a"], keep_default_na=False, dtype=how)
        rows = {shape[0] for _, shape in index.get("arrays", {}).values()}
        if rows and len(read) not in rows:
            raise ValueError(f"{path.name} is cut short: it has {len(read)} rows, the views {rows.pop()}")
        read = read.rename(columns=_unquoted)
        read = read.assign(**{c: read[c].map(_unquoted) for c in words})
        return read.astype({c: t for c, t in heard.items() if dtypes[c] != "object"})


WITH_GAPS = {"boolean": "boolean", "integer": "Int64"}  # what is an object only since some rows have none


def _say_dtype(column: pd.Series) -> Any:
    """A column's type as JSON; categories of words or numbers keep their order and those that no row has."""
    dtype: Any = column.dtype
    if pd.api.types.is_object_dtype(dtype):
        return WITH_GAPS.get(pd.api.types.infer_dtype(column, skipna=True), "object")
    if isinstance(dtype, pd.CategoricalDtype) and dtype.categories.dtype.kind in "OUif":
        return {"categories": dtype.categories.tolist(), "ordered": bool(dtype.ordered)}
    return str(dtype)


def _refuse_path(name: str) -> None:
    if not _is_file_name(name) or name.startswith(".") or name.endswith(".present"):
        raise ValueError(f"a view's name becomes a file's name, and {name!r} cannot be one")


def _is_file_name(name: Any, longest: int = LONGEST) -> bool:
    text = isinstance(name, str) and bool(name) and "\0" not in name
    return text and Path(name).name == name and len(os.fsencode(name)) <= longest


def _say(name: str, what: Any, info: Path) -> Any:
    """A description as JSON; sensors keep their mne.Info as a file beside it."""
    if isinstance(what, Sensors):
        return {"sensors": what.save(info)}
    try:
        json.dumps(what)
    except TypeError as error:
        raise TypeError(f"about[{name!r}] cannot be stored: {error}") from None
    return what


def _hear(what: Any, info: Path) -> Any:
    if not isinstance(what, dict) or "sensors" not in what:
        return what
    with reading(info, "measurement info") if info.exists() else nullcontext():
        if info.exists():
            whole_fif(info)  # in one whose entries lead in a circle MNE would read for ever
        return Sensors.open(what["sensors"], info)
