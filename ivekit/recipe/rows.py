"""Which rows are for training, which choose the epoch, and which are kept for the end."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..views import Views

SPLITS = ("train", "validation", "test")
SHARES = (0.7, 0.1, 0.2)


def fill_split(data: Views, seed: int = 0, by: str | None = None) -> Views:
    """The same rows with ``split`` in their metadata: train, validation and test, 70, 10 and 20 % of them.

    A split that is there already stays; where it has no validation rows, an eighth of the training rows become that.

    by : a column of the metadata whose values stay together, such as "subject": then no subject is in two parts.

    Raises
    ------
    ValueError : when a part would be empty, the column is not there, or the split has other words than those three.

    >>> import torch
    >>> fill_split(Views({"a": torch.zeros(20)})).metadata["split"].value_counts().to_dict()
    {'train': 14, 'test': 4, 'validation': 2}
    """
    frame = pd.DataFrame(index=range(len(data))) if data.metadata is None else data.metadata.reset_index(drop=True)
    if by is not None and by not in frame:
        raise ValueError(f"cannot split by {by!r}: the metadata has {list(frame.columns)}")
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


def _shared_out(units: pd.Series, names: tuple[str, ...], shares: tuple[float, ...], seed: int) -> pd.Series:
    """A name for every row: units are shuffled and dealt out by share, each name getting at least one if it can."""
    each = pd.unique(units)
    order = np.random.default_rng(seed).permutation(len(each))
    counts = np.maximum(1, np.round(np.array(shares[1:]) / sum(shares) * len(each)).astype(int))
    words = np.repeat(names, [max(0, len(each) - counts.sum()), *counts])[: len(each)]
    return units.map(dict(zip(each[order], words.tolist())))


def _units(units: pd.Series, by: str | None) -> str:
    return "" if by is None else f" of {units.nunique()} values of {by!r}, and each goes to one part"


def parts(data: Views) -> dict[str, Views]:
    """The rows of each part of a split: ``{"train": ..., "validation": ..., "test": ...}``."""
    if data.metadata is None or "split" not in data.metadata:
        raise ValueError("the rows have no split: fill_split(data) makes one")
    split = data.metadata["split"]
    return {name: data[(split == name).to_numpy()] for name in SPLITS}
