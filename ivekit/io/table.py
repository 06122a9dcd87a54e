"""Tables of one row a trial."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ..views import Views
from . import asked
from .guard import fits, reading

SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
CHUNK = 2**24  # bytes, or characters


def read_table(
    path: str | Path,
    columns: Sequence[str] | None = None,
    *,
    keys: Sequence[str] = (),
    classes: Sequence[str] | Mapping[str, Sequence[Any]] = (),
    units: Mapping[str, str] | None = None,
    impute: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
) -> Views:
    """Numbers of a table, one row a trial: behaviour, ratings, clinical scores.

    path : CSV, TSV (either may be .gz) or Parquet. A CSV may be separated by semicolons, decimals then by commas.
    columns : those that are data, in this order; by default all that hold numbers, but for `keys`, `classes` and those
        without a name. What is neither is metadata.
    keys : columns that are metadata though they are numbers: subject, trial.
    classes : columns of words, or of numbers that only name something, which are data: each becomes a view of its own,
        (b,), the number of each row's class. ``{"answer": ["no", "yes"]}`` says their order too; by default it is that
        of a Parquet file's categories, of "Levels" in the JSON file beside the table, or of the alphabet.
    units : {column: unit}; by default what a JSON file beside the table says, as in BIDS (``{"rt": {"Units": "s"}}``).
    impute : a function of the data frame of `columns` that fills its gaps, such as ``lambda x: x.fillna(0)``. It is
        given every row, those for testing too: a mean over them would be a leak. Without it nothing is filled.

    The view of numbers is called "table", (b, n_columns), missing values ("n/a", "NA", empty) masked; `about`:
    {"columns", "units"}. That of a class is called as its column, missing rows masked; `about`: {"classes"}. A column
    of whole numbers of which one starts with 0, such as "007", is a name and stays text.

    Raises
    ------
    FileNotFoundError, ValueError : no file; a broken one, with its line; a column that is not there, or is no numbers;
        a class that is not among those said.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as tmp:
    ...     _ = Path(tmp, "a.tsv").write_text("trial\\trt\\tword\\n1\\t0.5\\tyes\\n2\\tn/a\\tno\\n")
    ...     views = read_table(f"{tmp}/a.tsv", keys=["trial"], classes=["word"])
    >>> views["table"], views.present["table"], list(views.metadata)
    (tensor([[0.5000],
            [0.0000]]), tensor([[ True],
            [False]]), ['trial'])
    >>> views["word"], views.about["word"]
    (tensor([1, 0]), {'classes': ['no', 'yes']})
    """
    asked.names(columns=columns, keys=keys, classes=classes)
    asked.named("units", units, "{column: unit}, such as {'rt': 's'}")
    path = Path(path)
    frame, said = read_frame(path), sidecar(path)
    if unknown := [c for c in (*(columns or ()), *keys, *classes) if c not in frame]:
        raise ValueError(f"{path.name} has no column {unknown}; there are {list(frame)}")
    if columns is None:
        others = {*keys, *classes, *(c for c in frame if str(c).startswith("Unnamed: "))}  # such are row numbers
        columns = [c for c in frame.select_dtypes(["number", "bool"]) if c not in others]
    words = [c for c in columns if not pd.api.types.is_numeric_dtype(frame[c])]
    if words:
        raise ValueError(f"{path.name}: {words} are no numbers; name them in classes if they are data all the same")
    if not columns and not classes:
        raise ValueError(f"{path.name}: no column but the keys holds numbers")
    tensors, present, about = {}, {}, {}
    if columns:
        x, steps = _imputed(frame[list(columns)], impute, path.name)
        tensors["table"], present["table"] = _numbers(x)
        told = units_of(said) | dict(units or {})
        about["table"] = {"columns": list(columns), "units": [told.get(c, "") for c in columns]} | steps
    for column in classes:
        if column in tensors:
            raise ValueError(f"{path.name}: a column called {column!r} and the view of the numbers share that name")
        names = classes[column] if isinstance(classes, Mapping) else _classes(frame[column], said.get(column))
        tensors[column], present[column] = _codes(frame[column], list(names), path.name)
        about[column] = {"classes": [getattr(name, "item", lambda name=name: name)() for name in names]}
    return Views(tensors, present, frame.drop(columns=[*columns, *classes]), about)


def _imputed(x: pd.DataFrame, impute: Callable | None, name: str) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """The numbers after imputation, and what was done, for the history."""
    if impute is None or not (holes := x.isna()).any(axis=None):
        return x, {}
    new = impute(x.copy())
    if list(new) != list(x) or len(new) != len(x) or not new[~holes].equals(x[~holes]):
        raise ValueError(f"impute may fill the gaps of {name} and nothing else: rows, columns and values must stay")
    filled = (holes & new.notna()).sum()
    told = ", ".join(f"{n} of {column}" for column, n in filled.items() if n)
    how = getattr(impute, "__name__", repr(impute)).replace("<lambda>", "a function")
    return new, {"history": [f"missing values filled by {how}: {told or 'none'}"]}


def _numbers(x: pd.DataFrame) -> tuple[Tensor, Tensor]:
    """A frame of numbers, and where they are; an infinity is no missing value: Views refuse it later."""
    values = torch.from_numpy(x.to_numpy(np.float32, copy=True, na_value=np.nan))
    good = ~values.isnan()
    there = torch.ones(len(x), dtype=torch.bool) if bool(good.all()) else good
    return torch.where(good, values, 0), there


def _classes(column: pd.Series, said: Any) -> list[Any]:
    """A column's classes in their order, as the file, the JSON beside it, or the alphabet says."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.categories.tolist()
    there = sorted(column.dropna().unique().tolist(), key=lambda value: (str(type(value)), value))
    levels = list((said or {}).get("Levels", ())) if isinstance(said, dict) else []
    by_text = {str(value): value for value in there}  # JSON keys are text; the column may hold numbers
    return [by_text.get(level, level) for level in levels] if set(by_text) <= set(levels) else there


def _codes(column: pd.Series, names: list[Any], file: str) -> tuple[Int[Tensor, "b"], Bool[Tensor, "b"]]:
    """The number of each row's class, and which rows have one."""
    codes = torch.from_numpy(pd.Index(names, dtype=object).get_indexer(pd.Index(column, dtype=object)).astype(np.int64))
    there = torch.from_numpy(column.notna().to_numpy(bool, copy=True))
    if bool((codes[there] < 0).any()):
        others = sorted(map(str, set(column.dropna()) - set(names)))
        raise ValueError(f"{file}: column {column.name!r} holds {others[:12]}, which are not among its classes {names}")
    return codes.clamp(min=0), there


# files -------------------------------------------------------------------------------------------------------------


def read_frame(path: str | Path, names: Sequence[str] | None = None) -> pd.DataFrame:
    """A CSV, TSV or Parquet file as a data frame, or an error that names the file and what is wrong.

    names : of the columns, where the text has no line that says them.

    >>> read_frame("nowhere.csv")
    Traceback (most recent call last):
    FileNotFoundError: there is no table nowhere.csv
    """
    with reading(path, "table") as path:
        kind = (Path(path.stem).suffix if path.suffix == ".gz" else path.suffix).lower()
        if kind not in {*SEPARATORS, ".parquet"}:
            raise ValueError(f"{path.name} is no table known here: .csv, .tsv, .txt or .parquet")
        frame = parquet_frame(path) if kind == ".parquet" else _text(path, SEPARATORS[kind], names)
        if not len(frame):
            raise ValueError(f"{path.name} has no rows")
    return frame


def parquet_frame(path: Path) -> pd.DataFrame:
    """A Parquet file as a data frame, once what it comes to is known to fit in memory."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise ImportError(f"{path.name} needs pyarrow: pip install 'ivekit[parquet]'") from None
    with parquet.ParquetFile(path) as file:
        about: Any = file.metadata
        groups = (about.row_group(i).total_byte_size for i in range(about.num_row_groups))
        fits(max(sum(groups), 8 * about.num_rows * about.num_columns), path)
        words = [field.name for field in file.schema_arrow if pa.types.is_string(field.type)]
    table = parquet.read_table(path, read_dictionary=words)  # a word is held once, however often it is said
    fits(sum(_unfolded(chunk) for name in words for chunk in table[name].chunks), path)
    return table.cast(file.schema_arrow).to_pandas()


def _unfolded(words: Any) -> int:
    """Bytes of a column of words when each is written out."""
    from pyarrow import compute

    each = compute.binary_length(words.dictionary).take(words.indices)
    return compute.sum(compute.cast(each, "int64")).as_py() or 0


def _text(path: Path, separator: str, names: Sequence[str] | None) -> pd.DataFrame:
    _check_size(path)
    separator, decimal = _marks(path, separator)
    _check_lines(path, separator, names)
    how: Any = dict(
        sep=separator, decimal=decimal, names=names, header=0 if names is None else None, encoding="utf-8-sig"
    )
    frame = pd.read_csv(path, **how)
    if whole := [c for c in frame.select_dtypes("number") if _is_whole(frame[c])]:
        text = pd.read_csv(path, **how, usecols=whole, dtype=str)
        padded = [c for c in whole if text[c].str.fullmatch(r"0\d+").any()]
        frame = frame.assign(**{c: text[c] for c in padded})  # 007 is a name
    return frame


def _is_whole(column: pd.Series) -> bool:
    """Whether a column holds whole numbers, of which some may be missing: pandas makes 7.0 of 007 then."""
    return pd.api.types.is_integer_dtype(column) or bool(column.isna().any() and (column.dropna() % 1 == 0).all())


def _marks(path: Path, separator: str) -> tuple[str, str]:
    """What stands between fields and before decimals: spreadsheets in much of Europe write 0,5;0,7 into a .csv."""
    with _opened(path) as file:
        lines = [file.readline(2**16) for _ in range(100)]
    if separator != "," or ";" not in lines[0] or "," in lines[0]:
        return separator, "."
    return ";", "," if any(re.search(r"(^|;)[-+]?\d+,\d+", line) for line in lines) else "."


def _check_size(path: Path) -> None:
    """What a compressed text takes is only known by unpacking it, which is done here without keeping any."""
    if path.suffix != ".gz":
        return fits(2 * path.stat().st_size, path)
    total = 0
    with gzip.open(path) as file:
        while part := len(file.read(CHUNK)):
            total += part
            fits(2 * total, path)


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    with gzip.open(path, "rt", encoding="utf-8-sig", newline="") if path.suffix == ".gz" else open(
        path, encoding="utf-8-sig", newline=""
    ) as file:  # fmt: skip
        yield file


def _check_lines(path: Path, separator: str, names: Sequence[str] | None) -> None:
    """Every line has as many fields as the first: pandas would fill up a line that is cut short."""
    with _opened(path) as file:
        lines = csv.reader(file, delimiter=separator)
        try:
            first = next(lines, [])
            width = len(first if names is None else names)
            if names is None and len(set(first)) < width:
                twice = [name for name, n in Counter(first).items() if n > 1]
                raise ValueError(f"its first line names the columns {sorted(twice)[:12]} twice")
            for line in lines if names is None else (first, *lines):
                if line and len(line) != width:
                    raise ValueError(f"line {lines.line_num} has {len(line)} fields, {width} are named")
        except csv.Error as error:
            raise ValueError(f"line {lines.line_num}: {error}") from None


def sidecar(path: Path) -> dict[str, Any]:
    """What the JSON file of the same name says, if there is one: ``{"rt": {"Units": "s"}}``, as in BIDS.

    >>> sidecar(Path("nowhere.tsv"))
    {}
    """
    beside = path.with_name(path.name.removesuffix(".gz")).with_suffix(".json")
    if not beside.exists():
        return {}
    with reading(beside, "JSON file") as beside:
        said = json.loads(beside.read_text(encoding="utf-8-sig"))
    if not isinstance(said, dict):
        raise ValueError(f"{beside.name} must hold {{column: what it is}}, it is a {type(said).__name__}")
    return said


def units_of(said: Mapping[str, Any]) -> dict[str, str]:
    """{column: unit} of what a sidecar says.

    >>> units_of({"rt": {"Units": "s"}, "SamplingFrequency": 100})
    {'rt': 's'}
    """
    return {column: str(what["Units"]) for column, what in said.items() if isinstance(what, dict) and "Units" in what}
