"""Trials of several recordings put side by side."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..views import Views

logger = logging.getLogger(__name__)


def join(parts: Mapping[str, Views], on: Sequence[str] = ("subject", "trial")) -> Views:
    """The same trials in several recordings become one row each; where a recording lacks a trial, that view is missing.

    parts : a view is called as it is here, if it is the only one of its part; several in one part keep their names.
    on : the columns of metadata that say which trial a row is.

    Rows are sorted by `on`. Metadata of all parts are put together; columns of one name that disagree are called
    "part.column". What is missing where is said in a log message.

    Raises
    ------
    ValueError : when a key is not in the metadata, or missing, or twice, or no trial is in two parts.

    >>> meg = Views({"meg": torch.ones(2, 3)}, metadata=pd.DataFrame({"subject": "s1", "trial": [0, 1]}))
    >>> film = Views({"film": torch.ones(1, 4)}, metadata=pd.DataFrame({"subject": "s1", "trial": [1]}))
    >>> join({"meg": meg, "video": film})
    Views of 2 rows
      meg    (3,)
      video  (4,)  missing in 1
      metadata: subject, trial
    """
    keys = {part: _keys(part, views, list(on)) for part, views in parts.items()}
    trials = _all_trials(keys, list(on))
    rows = {part: trials.get_indexer(pd.MultiIndex.from_frame(key)) for part, key in keys.items()}
    tensors, present, about = {}, {}, {}
    for part, views in parts.items():
        for own, x in views.items():
            name = part if len(list(views)) == 1 else own
            if name in tensors:
                raise ValueError(f"two parts have a view {name!r}: rename one")
            tensors[name], present[name] = (_spread(t, rows[part], len(trials)) for t in (x, views.present[own]))
            _say_missing(name, tensors[name], present[name], trials)
            about |= {name: views.about[own]} if own in views.about else {}
    return Views(tensors, present, _metadata(parts, rows, trials), about)


def _keys(part: str, views: Views, on: list[str]) -> pd.DataFrame:
    """The keys of a part's rows, checked."""
    frame = views.metadata if views.metadata is not None else pd.DataFrame(index=range(len(views)))
    if unknown := [column for column in on if column not in frame]:
        raise ValueError(f"the metadata of {part!r} has no {unknown} to join on; there is {list(frame)}")
    key = frame[on].reset_index(drop=True)
    if (gone := key.isna().any(axis=1)).any():
        raise ValueError(
            f"{part!r} has no {', '.join(on)} in {int(gone.sum())} rows, first in row {int(gone.idxmax())}"
        )
    if (twice := key.duplicated()).any():
        raise ValueError(f"{part!r} has {', '.join(on)} = {_said(key[twice].iloc[0])} twice: a trial is one row")
    return key


def _all_trials(keys: Mapping[str, pd.DataFrame], on: list[str]) -> pd.MultiIndex:
    """The trials that are in any part, sorted; an error when nothing can be put side by side."""
    together = pd.concat(keys.values())
    trials = together.drop_duplicates()
    mixed = any(
        pd.api.types.infer_dtype(trials[column]).startswith("mixed") for column in on
    )  # text here, numbers there
    if mixed or (len(keys) > 1 and len(trials) == len(together)):
        first = ", ".join(f"{part} {tuple(key.to_dict('records')[0].values())}" for part, key in keys.items())
        raise ValueError(f"no trial is in two of the parts: by {', '.join(on)} their first ones are {first}")
    return pd.MultiIndex.from_frame(trials.sort_values(on))


def _spread(x: Tensor, rows: np.ndarray, n: int) -> Tensor:
    """A part's rows at their places among all of them, 0 (False) elsewhere."""
    new = x.new_zeros(n, *x.shape[1:])
    new[torch.from_numpy(rows)] = x
    return new


def _metadata(parts: Mapping[str, Views], rows: Mapping[str, np.ndarray], trials: pd.MultiIndex) -> pd.DataFrame:
    whole = trials.to_frame(index=False)
    frames: dict[str, Any] = {part: views.metadata for part, views in parts.items()}
    others = {part: frame.drop(columns=list(trials.names)) for part, frame in frames.items()}
    spread = {part: frame.set_axis(rows[part]).reindex(range(len(trials))) for part, frame in others.items()}
    for column in dict.fromkeys(column for frame in spread.values() for column in frame):
        having = {part: frame[column] for part, frame in spread.items() if column in frame}
        merged = next(iter(having.values()))
        for other in having.values():
            merged = merged.where(merged.notna(), other)
        if all(bool((other.isna() | (other == merged)).all()) for other in having.values()):
            whole[column] = merged
        else:
            whole = whole.assign(**{f"{part}.{column}": values for part, values in having.items()})
    return whole


def _say_missing(name: str, x: Tensor, present: Tensor, trials: pd.MultiIndex) -> None:
    missing = np.flatnonzero(~Views({name: x}, {name: present}).rows_present(name).numpy())
    if len(missing):
        some = ", ".join(_said(trials[i]) for i in missing[:12]) + (", ..." if len(missing) > 12 else "")
        logger.warning("%s is missing in %d of %d trials: %s", name, len(missing), len(trials), some)


def _said(key) -> str:
    return "/".join(map(str, key))
