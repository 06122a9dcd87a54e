"""Which rows are for training, which choose the epoch, and which are kept for the end."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..ondisk import OnDisk
from ..views import Views

log = logging.getLogger("ivekit")
SPLITS = ("train", "validation", "test")
SHARES = (0.7, 0.1, 0.2)


def fill_split(data: Views, seed: int = 0, by: str | None = None, held_out: Any = None) -> Views:
    """The same rows with ``split`` in their metadata: train, validation and test, 70, 10 and 20 % of them.

    A split that is there already stays; where it has no validation rows, an eighth of the training rows become that.

    by : a column of the metadata whose values stay together, such as "subject" or "site": no subject is in two parts.
    held_out : the value of `by`, or several, whose rows are the test rows, whatever split there was. Validation rows
        are then of other values still, if there are two or more left.

    Raises
    ------
    ValueError : when a part would be empty, the column is not there or says nothing in some row, nothing has the value
        that is held out, or the split has other words than those three.

    >>> import torch
    >>> fill_split(Views({"a": torch.zeros(20)})).metadata["split"].value_counts().to_dict()
    {'train': 14, 'test': 4, 'validation': 2}
    >>> sites = pd.DataFrame({"site": [*"AABBCC"]})
    >>> fill_split(Views({"a": torch.zeros(6)}, metadata=sites), by="site", held_out="B").metadata["split"].tolist()
    ['train', 'train', 'test', 'test', 'validation', 'validation']
    """
    frame = pd.DataFrame(index=range(len(data))) if data.metadata is None else data.metadata.reset_index(drop=True)
    if by is not None and by not in frame:
        raise ValueError(f"cannot split by {by!r}: the metadata has {list(frame.columns)}")
    if held_out is not None:
        frame = frame.assign(split=_without(frame, by, held_out))
        by = by if frame.loc[frame["split"] == "train", by].nunique() > 1 else None
    if by is not None:
        _require_known(frame, by)
    units = pd.Series(range(len(frame))) if by is None else frame[by].astype(object)
    if "split" not in frame:
        split = _shared_out(units, SPLITS, SHARES, seed)
    else:
        split = frame["split"].astype(object)
        if odd := sorted(set(map(str, split)) - set(SPLITS)):
            raise ValueError(f"split must be one of {', '.join(SPLITS)} in every row, got {odd}")
        if not (split == "validation").any():
            train = split == "train"
            split = split.mask(train, _shared_out(units[train], SPLITS[:2], SHARES[:2], seed))
    empty = [name for name in SPLITS if not (split == name).any()]
    if empty:
        raise ValueError(f"no row is left for {' and '.join(empty)}: there are {len(frame)} rows" + _units(units, by))
    return Views(data.tensors, data.present, frame.assign(split=split.astype(str)), data.about)


def leave_out(data: Views, by: str = "subject", seed: int = 0) -> Iterator[tuple[Any, Views]]:
    """Each subject, site or run held out in turn: its value, and all rows with a split in which its own are test.

    by : a column of the metadata. seed : of the validation rows, see `fill_split`.

    >>> import torch
    >>> data = Views({"a": torch.zeros(6)}, metadata=pd.DataFrame({"site": [*"AABBCC"]}))
    >>> [(site, parts(rows)["test"].metadata["site"].unique().tolist()) for site, rows in leave_out(data, by="site")]
    [('A', ['A']), ('B', ['B']), ('C', ['C'])]
    """
    if data.metadata is None or by not in data.metadata:
        raise ValueError(f"no {by!r} to leave out: there is {[] if data.metadata is None else list(data.metadata)}")
    _require_known(data.metadata, by)
    for value in sorted(data.metadata[by].unique()):
        yield value, fill_split(data, seed, by, held_out=value)


def _require_known(frame: pd.DataFrame, by: str) -> None:
    """An error where it is not known of a row whose it is: it could be in two parts."""
    if count := int((unknown := frame[by].isna().to_numpy()).sum()):
        first, are = int(unknown.argmax()), "row has" if count == 1 else "rows have"
        raise ValueError(f"{count} {are} no {by}, first row {first}: say whose they are, or leave them out")


def _without(frame: pd.DataFrame, by: str | None, held_out: Any) -> np.ndarray:
    """Test where the column has what is held out, train elsewhere; numbers may be written as words."""
    if by is None:
        raise ValueError(f"held_out={held_out!r} is a value of a column: say which, as split_by=site")
    wanted = list(held_out) if isinstance(held_out, Sequence) and not isinstance(held_out, str) else [held_out]
    test = frame[by].isin(wanted) | frame[by].astype(str).isin(list(map(str, wanted)))
    if not test.any() or test.all():
        there = ", ".join(sorted(map(str, frame[by].unique()))[:12])
        raise ValueError(f"{'every' if test.any() else 'no'} row has {by} in {wanted}; the values there are {there}")
    return np.where(test, "test", "train")


def _shared_out(units: pd.Series, names: tuple[str, ...], shares: tuple[float, ...], seed: int) -> pd.Series:
    """A name for every row: units are shuffled and dealt out by share, each name getting at least one if it can."""
    each = pd.unique(units)
    order = np.random.default_rng(seed).permutation(len(each))
    counts = np.maximum(1, np.round(np.array(shares[1:]) / sum(shares) * len(each)).astype(int))
    words = np.repeat(names, [max(0, len(each) - counts.sum()), *counts])[: len(each)]
    return units.map(dict(zip(each[order], words.tolist())))


def _units(units: pd.Series, by: str | None) -> str:
    return "" if by is None else f" of {units.nunique()} values of {by!r}, and each goes to one part"


def few(rows: Views, n_bytes: int = 2**28, seed: int = 0) -> Views:
    """The rows; or, where those of a folder take more than so many bytes, some of them drawn at random, as it logs.

    >>> import torch
    >>> len(few(Views({"a": torch.zeros(20)})))
    20
    """
    if not too_many(rows, n_bytes):
        return rows
    size = sum(x.nbytes for x in rows.tensors.values())
    n = max(1, len(rows) * n_bytes // size)
    log.warning("%d of %d rows, drawn at random, are looked at: all of them take %.1f GB", n, len(rows), size / 1e9)
    return rows[np.sort(np.random.default_rng(seed).permutation(len(rows))[:n])]


def too_many(rows: Views, n_bytes: int = 2**28) -> bool:
    """Whether rows of a folder take more than so many bytes.

    >>> import torch
    >>> too_many(Views({"a": torch.zeros(20)}), 10)
    False
    """
    on_disk = any(isinstance(x, OnDisk) for x in rows.tensors.values())
    return on_disk and sum(x.nbytes for x in rows.tensors.values()) > n_bytes


def parts(data: Views) -> dict[str, Views]:
    """The rows of each part of a split: ``{"train": ..., "validation": ..., "test": ...}``."""
    if data.metadata is None or "split" not in data.metadata:
        raise ValueError("the rows have no split: fill_split(data) makes one")
    split = data.metadata["split"]
    return {name: data[(split == name).to_numpy()] for name in SPLITS}
