"""Tables of one row a trial."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ..views import Views


def read_table(
    path: str | Path,
    columns: Sequence[str] | None = None,
    *,
    keys: Sequence[str] = (),
    units: Mapping[str, str] | None = None,
) -> Views:
    """Numbers of a table, one row a trial: behaviour, ratings, clinical scores.

    path : CSV, TSV (either may be .gz) or Parquet.
    columns : those that are data, in this order; by default all that hold numbers, but for `keys`. The others are
        metadata.
    keys : columns that are metadata though they are numbers: subject, trial.
    units : {column: unit}; by default what a JSON file beside the table says, as in BIDS (``{"rt": {"Units": "s"}}``).

    The view is called "table", (b, n_columns), missing values ("n/a", empty) masked; `about`: {"columns", "units"}.

    Raises
    ------
    FileNotFoundError, ValueError : no file; a broken one, with its line; a column that is not there, or is no numbers.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as tmp:
    ...     _ = Path(tmp, "a.tsv").write_text("trial\\trt\\tword\\n1\\t0.5\\tyes\\n2\\tn/a\\tno\\n")
    ...     views = read_table(f"{tmp}/a.tsv", keys=["trial"])
    >>> views["table"], views.present["table"], list(views.metadata)
    (tensor([[0.5000],
            [0.0000]]), tensor([[ True],
            [False]]), ['trial', 'word'])
    """
    path = Path(path)
    frame = read_frame(path)
    named = [*(columns or ()), *keys]
    if unknown := [c for c in named if c not in frame]:
        raise ValueError(f"{path.name} has no column {unknown}; there are {list(frame)}")
    if columns is None:
        columns = [c for c in frame.select_dtypes(["number", "bool"]) if c not in keys]
    words = [c for c in columns if not pd.api.types.is_numeric_dtype(frame[c])]
    if words or not columns:
        raise ValueError(f"{path.name}: {words or 'no column but the keys'} {'are no' if words else 'holds'} numbers")
    x = torch.from_numpy(frame[list(columns)].to_numpy(np.float32, copy=True, na_value=np.nan))
    said = _sidecar(path) | dict(units or {})
    about = {"columns": list(columns), "units": [said.get(c, "") for c in columns]}
    good = ~x.isnan()  # an infinity is no missing value: Views refuse it later
    present = None if bool(good.all()) else {"table": good}
    x = torch.where(good, x, 0)
    return Views({"table": x}, present, frame.drop(columns=list(columns)), {"table": about})


def read_frame(path: str | Path) -> pd.DataFrame:
    """A CSV, TSV or Parquet file as a data frame, or an error that names the file and what is wrong.

    >>> read_frame("nowhere.csv")
    Traceback (most recent call last):
    FileNotFoundError: there is no table nowhere.csv
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no table {path}")
    kind = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    separators = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
    if kind not in {*separators, ".parquet"}:
        raise ValueError(f"{path.name} is no table known here: .csv, .tsv, .txt or .parquet")
    try:
        if kind == ".parquet":
            frame = pd.read_parquet(path)
        else:
            _check_lines(path, separators[kind])
            frame = pd.read_csv(path, sep=separators[kind])
    except ImportError:
        raise ImportError(f"{path.name} needs pyarrow: install ivekit[parquet]") from None
    except (ValueError, OSError, EOFError) as error:  # pandas' and pyarrow's errors are ValueErrors or OSErrors
        raise ValueError(f"{path.name} cannot be read: {error}") from None
    if not len(frame):
        raise ValueError(f"{path.name} has no rows")
    return frame


def _check_lines(path: Path, separator: str) -> None:
    """Every line has as many fields as the first: pandas would fill up a line that is cut short."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else open(path, newline="") as file:
        lines = csv.reader(file, delimiter=separator)
        width = len(next(lines, []))
        for line in lines:
            if line and len(line) != width:
                raise ValueError(f"line {lines.line_num} has {len(line)} fields, the first has {width}")


def _sidecar(path: Path) -> dict[str, str]:
    """{column: unit} from the JSON file of the same name, if there is one."""
    beside = path.with_name(path.name.split(".")[0] + ".json")
    if not beside.exists():
        return {}
    try:
        said = json.loads(beside.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{beside.name} cannot be read: {error}") from None
    return {column: what["Units"] for column, what in said.items() if isinstance(what, dict) and "Units" in what}
