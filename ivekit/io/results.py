"""What came out of an analysis as tables and arrays: in memory, and on disk for other programs."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from ..atomic import standing, whole
from .guard import fits, reachable, reading
from .table import parquet_frame


class Results(NamedTuple):
    """Tables and arrays by name."""

    tables: dict[str, pd.DataFrame]
    arrays: dict[str, np.ndarray]


def to_frame(codes: Any, metadata: pd.DataFrame | None = None) -> pd.DataFrame:
    """Latents, or any numbers of rows, as a table with the rows' metadata beside.

    codes : {name: (b, k) or (b,)}, as `ivekit.latents` gives it, or (b, k): columns are "shared 0", "shared 1" ...

    Raises
    ------
    ValueError : when rows do not match, or a column is there twice.

    >>> to_frame({"shared": torch.tensor([[0.5, 1.0], [0.0, 2.0]])}, pd.DataFrame({"subject": ["s1", "s2"]}))
      subject  shared 0  shared 1
    0      s1       0.5       1.0
    1      s2       0.0       2.0
    """
    parts = {str(name): _array(name, x) for name, x in (codes if isinstance(codes, Mapping) else {"": codes}).items()}
    if wrong := {name: x.shape for name, x in parts.items() if x.ndim not in (1, 2)}:
        raise ValueError(f"a table has numbers (rows,) or (rows, columns), got {wrong}")
    columns = {name: x for part, x in parts.items() for name, x in _columns(part, x)}
    frames = [] if metadata is None else [metadata.reset_index(drop=True)]
    rows = {len(x) for x in (*parts.values(), *frames)}
    twice = sorted(set(columns) & set(frames[0] if frames else ()))
    if len(rows) != 1 or twice:
        raise ValueError(f"codes and metadata do not fit: rows {sorted(rows)}, columns in both {twice}")
    return pd.concat([*frames, pd.DataFrame(columns)], axis=1)


def _columns(name: str, x: np.ndarray) -> list[tuple[str, np.ndarray]]:
    return [(name, x)] if x.ndim == 1 else [(f"{name} {i}".strip(), x[:, i]) for i in range(x.shape[1])]


def write_results(
    folder: str | Path, tables: Mapping[str, pd.DataFrame] | None = None, arrays: Mapping[str, Any] | None = None
) -> None:
    """Stores tables as Parquet, a file each, and arrays as one NPZ, which `read_results` gives back as they were.

    tables : {name: DataFrame}; types, categories (of a table with rows) and the index are kept.
    arrays : {name: tensor or array of numbers or words}.

    The folder is written whole or not at all. One that holds earlier results is replaced, any other is refused.

    Raises
    ------
    FileExistsError : when the folder holds anything else. ImportError : without pyarrow, of the extra ``parquet``.
    ValueError : for a name that cannot be a file's, objects instead of numbers, or a table that Parquet cannot hold.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as tmp:
    ...     write_results(f"{tmp}/r", {"codes": pd.DataFrame({"z": [0.5, 1.0]})}, {"map": np.ones((2, 3))})
    ...     sorted(path.name for path in Path(tmp, "r").iterdir()), read_results(f"{tmp}/r").arrays["map"].shape
    (['arrays.npz', 'codes.parquet'], (2, 3))
    """
    folder, tables = Path(folder), dict(tables or {})
    found = {str(name): _array(name, x) for name, x in (arrays or {}).items()}
    if odd := [n for n in tables if not n or Path(n).name != n or n.startswith(".")] + [n for n in found if n in TAKEN]:
        raise ValueError(f"{odd} cannot be names of tables or arrays in a folder of results")
    if folder.exists() and not (folder.is_dir() and all(map(_is_ours, folder.iterdir()))):
        raise FileExistsError(f"{folder} holds other things than results: name another folder")
    with whole(folder) as new:
        new.mkdir()
        for name, table in tables.items():
            _write_table(table, new / f"{name}.parquet")
        if found or not tables:
            np.savez(new / "arrays.npz", **found)  # type: ignore[arg-type]


TAKEN = ("", "file", "allow_pickle")  # numpy.savez has arguments of these names


def read_results(folder: str | Path) -> Results:
    """What `write_results` stored: `Results`, a dict of tables and one of arrays.

    Raises
    ------
    FileNotFoundError, ValueError : when the folder holds no results; names a file that is damaged.
    """
    folder = standing(reachable(folder))
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    if not any(map(_is_ours, paths)):
        raise FileNotFoundError(f"{folder} holds no results: write_results(folder, tables, arrays) makes some")
    tables = {path.stem: _read_table(path) for path in paths if path.suffix == ".parquet"}
    return Results(tables, _read_arrays(folder / "arrays.npz") if folder / "arrays.npz" in paths else {})


def _is_ours(path: Path) -> bool:
    return path.suffix == ".parquet" or path.name == "arrays.npz"


def _write_table(table: pd.DataFrame, path: Path) -> None:
    arrow = _pyarrow(path)
    try:
        table.to_parquet(path, engine="pyarrow")
    except (arrow.ArrowException, ValueError, TypeError) as error:
        raise ValueError(f"table {path.stem!r} cannot be kept as Parquet: {' '.join(map(str, error.args))}") from error


def _read_table(path: Path) -> pd.DataFrame:
    with reading(path, "table"):
        return parquet_frame(path)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    with reading(path, "file of arrays"), zipfile.ZipFile(path) as packed:
        fits(sum(entry.file_size for entry in packed.infolist()), path)
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}


def _pyarrow(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise ImportError(f"{path.name} needs pyarrow: pip install 'ivekit[parquet]'") from None
    return pyarrow


def _array(name: Any, x: Any) -> np.ndarray:
    """Numbers or words as an array; tensors of a type that numpy has not, bfloat16, become float32."""
    if isinstance(x, torch.Tensor):
        x = x.detach().cpu()
        x = x.float() if x.dtype == torch.bfloat16 else x
    found = np.asarray(x)
    if found.dtype.kind not in "biufcUSmM":
        raise ValueError(f"{name!r} must be numbers or words, got {found.dtype}")
    return found
