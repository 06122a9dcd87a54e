"""Named tensors that share their rows, some of which may be missing.

A `Views` is to recordings what a data frame is to columns: ``views["meg"]`` is a tensor, ``views[3:7]`` is
four rows of every view, ``len(views)`` counts the rows, and what is missing is known, row by row or element
by element.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, overload

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool
from torch import Tensor

from . import store
from .history import after, history
from .loader import Loader, Rows, row_numbers
from .masks import any_present, both, checked, masked_share, not_finite, spread


class Views:
    """A data frame of tensors: recordings of the same trials, some of them missing.

    Parameters
    ----------
    tensors : one tensor a view, each ``(rows, ...)``; arrays are taken too.
    present : which of it was recorded, ``{view: bool (rows,) or of the view's shape}``; all of it by default.
        What is absent may hold anything, NaN as well: no model or score looks at it.
    metadata : a `pandas.DataFrame`, one row a row: subject, condition, ``split`` (train, validation, test).
    about : what the numbers of a view are, ``{view: Sensors, or a dict of column names, frame rate ...}``.

    Raises
    ------
    ValueError : when views differ in their number of rows, or a mask fits neither the rows nor the view.

    >>> there = torch.tensor([True, True, False, True])
    >>> v = Views({"meg": torch.zeros(4, 2, 5), "rt": torch.ones(4, 1)}, present={"rt": there})
    >>> v
    Views of 4 rows
      meg  (2, 5)
      rt   (1,)    missing in 1
    >>> v[1:3]["meg"].shape, len(v[v.present["rt"]])
    (torch.Size([2, 2, 5]), 3)
    """

    def __init__(
        self,
        tensors: Mapping[str, Any],
        present: Mapping[str, Any] | None = None,
        metadata: pd.DataFrame | None = None,
        about: Mapping[str, Any] | None = None,
    ):
        if not tensors:
            raise ValueError("Views needs at least one view, got none")
        self.tensors = {name: torch.as_tensor(t) for name, t in tensors.items()}
        rows = {name: len(t) if t.ndim else None for name, t in self.tensors.items()}
        if len(set(rows.values())) > 1 or None in rows.values():
            raise ValueError(f"all views must have the same number of rows, got {rows}")
        self.about = {name: what for name, what in (about or {}).items()}
        for role, given in (("present", present), ("about", self.about)):
            if unknown := set(given or {}) - set(self.tensors):
                raise ValueError(f"{role} names {sorted(unknown)}, but the views are {list(self.tensors)}")
        self.present = {name: checked(name, t, (present or {}).get(name)) for name, t in self.tensors.items()}
        if metadata is not None and len(metadata) != len(self):
            raise ValueError(f"metadata has {len(metadata)} rows, the views {len(self)}")
        self._frame, self._rows = metadata, None  # the frame is sliced only when somebody asks for it

    # what it is -----------------------------------------------------------------------------------------------

    @property
    def metadata(self) -> pd.DataFrame | None:
        """One row a row; it follows slicing.

        >>> v = Views({"a": torch.arange(3)}, metadata=pd.DataFrame({"subject": ["s1", "s1", "s2"]}))
        >>> v[1:].metadata["subject"].tolist()
        ['s1', 's2']
        """
        if self._rows is not None and self._frame is not None:
            self._frame, self._rows = self._frame.iloc[self._rows], None
        return self._frame

    @overload
    def __getitem__(self, key: str) -> Tensor: ...
    @overload
    def __getitem__(self, key: Rows) -> Views: ...
    def __getitem__(self, key):
        if isinstance(key, str):
            if key not in self.tensors:
                raise KeyError(f"no view {key!r}; there are {list(self.tensors)}")
            return self.tensors[key]
        rows = row_numbers(key, len(self))
        here = rows if isinstance(rows, slice) else rows.to(next(iter(self.tensors.values())).device)

        def take(t: Tensor) -> Tensor:  # PyTorch copies rows two to four times as fast as by an index
            return t[here] if isinstance(here, slice) or type(t) is not Tensor else t.index_select(0, here)

        new = self._like({n: take(t) for n, t in self.items()}, {n: take(m) for n, m in self.present.items()})
        if self._frame is not None:
            index = np.arange(len(self)) if self._rows is None else self._rows
            new._rows = index[rows] if isinstance(rows, slice) else index[rows.cpu().numpy()]
        return new

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def items(self):
        """The views by name."""
        return self.tensors.items()

    def batch(self, name: str) -> Tensor:
        """A view as it came in a batch: where rows are stacked several times over (`Plan.views`), one copy of them."""
        return self[name]

    def rows_present(self, name: str) -> Bool[Tensor, "b"]:
        """The rows in which something of a view is there.

        >>> Views({"a": torch.ones(2, 2)}, {"a": torch.tensor([[True, False], [False, False]])}).rows_present("a")
        tensor([ True, False])
        """
        return any_present(self.present[name])

    def _lines(self) -> list[tuple[str, str, str]]:
        def missing(name: str) -> str:
            gone, mask = int((~self.rows_present(name)).sum()), self.present[name]
            holes = masked_share(mask) if mask.ndim > 1 and len(self) else 0.0
            rows, elements = f"missing in {gone}" if gone else "", f"{holes:.1%} masked" if holes else ""
            return ", ".join(part for part in (rows, elements) if part)

        what = {name: str(self.about[name]) if hasattr(self.about.get(name), "kinds") else "" for name in self}
        notes = {n: "; ".join(x for x in (what[n], missing(n)) if x) for n in self}
        return [(name, str(tuple(t.shape[1:])), notes[name]) for name, t in self.items()]

    def __repr__(self) -> str:
        lines = self._lines()
        wide, shapes = (max(len(line[i]) for line in lines) for i in (0, 1))
        text = [f"  {name:{wide}}  {shape:{shapes}}  {note}".rstrip() for name, shape, note in lines]
        if self._frame is not None:
            text.append(f"  metadata: {', '.join(map(str, self._frame.columns))}")
        return f"Views of {len(self)} rows\n" + "\n".join(text)

    def _repr_html_(self) -> str:
        cells = (
            f"<tr><td><b>{html.escape(n)}</b></td><td>{s}</td><td>{html.escape(w)}</td></tr>"
            for n, s, w in self._lines()
        )
        columns = "" if self._frame is None else ", ".join(html.escape(str(c)) for c in self._frame.columns)
        head = "<tr><th>view</th><th>shape of a row</th><th></th></tr>"
        return (
            f"<p>Views of {len(self)} rows</p><table>{head}{''.join(cells)}</table><p>metadata: {columns or 'none'}</p>"
        )

    @property
    def history(self) -> pd.DataFrame:
        """What was done to each view, in order: columns view and step. It is kept in `about`, and saved with it.

        >>> Views({"rt": torch.ones(2)}).noted(rt="in seconds").history
          view        step
        0   rt  in seconds
        """
        steps = [(name, step) for name in self for step in history(self.about.get(name))]
        return pd.DataFrame(steps, columns=["view", "step"])

    # other views of the same rows -----------------------------------------------------------------------------

    def _like(self, tensors: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Views:
        """Rows of this object, already known to fit: nothing is checked again."""
        new = object.__new__(Views)
        new.tensors, new.present, new.about = dict(tensors), dict(present), self.about
        new._frame, new._rows = self._frame, self._rows
        return new

    def to(self, device: torch.device | str) -> Views:
        """The same rows on another device.

        >>> Views({"a": torch.ones(2)}).to("cpu")["a"].device
        device(type='cpu')
        """

        def move(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            there = torch.device(device)  # what is there already may be on disk, and stays so
            return {n: t if t.device == there else t.to(there, non_blocking=True) for n, t in tensors.items()}

        return self._like(move(self.tensors), move(self.present))

    def without(self, *names: str) -> Views:
        """The same rows with the named views missing.

        >>> Views({"a": torch.ones(2), "b": torch.ones(2)}).without("b").present["b"]
        tensor([False, False])
        """
        gone = {name: torch.zeros_like(self.present[name]) for name in names if self[name] is not None}
        return self._like(self.tensors, self.present | gone)

    def replace(self, **tensors: Tensor) -> Views:
        """The same rows with some views replaced, or added; of a mask that no longer fits, the missing rows are kept.

        >>> Views({"a": torch.zeros(2)}).replace(a=torch.ones(2), b=torch.ones(2, 3))
        Views of 2 rows
          a  ()
          b  (3,)
        """
        fits = {n: m.ndim == 1 or n not in tensors or m.shape == tensors[n].shape for n, m in self.present.items()}
        kept = {n: m if fits[n] else self.rows_present(n) for n, m in self.present.items()}
        new = Views(self.tensors | tensors, kept, None, self.about)
        new._frame, new._rows = self._frame, self._rows
        return new

    def noted(self, **steps: str) -> Views:
        """The same rows, with what was done to each named view at the end of its `history`.

        >>> Views({"meg": torch.ones(2, 3)}).noted(meg="mean of 4 runs").about
        {'meg': {'history': ['mean of 4 runs']}}
        """
        new = self._like(self.tensors, self.present)
        new.about = self.about | {n: after(self.about.get(n), step) for n, step in steps.items() if self[n] is not None}
        return new

    def masked(self, **present: Bool[Tensor, "..."]) -> Views:
        """The same rows, of which only what was present and is True in `present` is there.

        >>> Views({"a": torch.ones(2)}).masked(a=torch.tensor([True, False])).present["a"]
        tensor([ True, False])
        """
        new = {n: both(checked(n, self[n], m), self.present[n]) for n, m in present.items()}
        return self._like(self.tensors, self.present | new)

    def mask_nan(self) -> Views:
        """The same rows with what is not a finite number masked (and set to 0).

        >>> Views({"a": torch.tensor([[1.0, torch.nan]])}).mask_nan().present["a"]
        tensor([[ True, False]])
        """
        tensors, present = dict(self.tensors), dict(self.present)
        for name, x in self.items():
            if bool(not_finite(x, checked(name, x, None)).any()):  # by blocks: what is on disk stays there
                good = x.isfinite()
                tensors[name], whole = torch.where(good, x, 0), good[..., None].flatten(1)
                rows_only = bool((whole.all(1) | ~whole.any(1)).all())
                present[name] = both(present[name], whole.any(1) if rows_only else good)
        return self._like(tensors, present)

    def require_finite(self) -> Views:
        """These rows themselves; an error if they hold an unmasked NaN or infinity.

        Raises
        ------
        ValueError : names the view, the first such row and the call that would mask it.

        >>> Views({"a": torch.tensor([[1.0], [torch.nan]])}).require_finite()  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: view 'a' holds 1 value that is not a finite number, first in row 1, ... call views.mask_nan()
        """
        for name, x in self.items():
            bad = not_finite(x, self.present[name])
            if count := int(bad.sum()):
                first, them = int(bad.nonzero()[0]), "it" if count == 1 else "them"
                what = "1 value that is" if count == 1 else f"{count} values that are"
                raise ValueError(
                    f"view {name!r} holds {what} not a finite number, first in row {first}, and nothing masks {them}: "
                    f"fill {them}, or call views.mask_nan()"
                )
        return self

    def split(self, by: str, held_out: Iterable) -> tuple[Views, Views]:
        """The rows whose `by` is not, and is, among `held_out`: ``by="subject"`` splits across subjects.

        by : a column of the metadata, or a view of one number a row.

        Raises
        ------
        ValueError : when no row, or every row, would be held out.

        >>> v = Views({"a": torch.arange(4)}, metadata=pd.DataFrame({"subject": ["s1", "s2", "s1", "s2"]}))
        >>> rest, held_out = v.split(by="subject", held_out=["s2"])
        >>> held_out["a"]
        tensor([1, 3])
        """
        wanted = [held_out] if isinstance(held_out, str) else list(held_out)
        frame = self.metadata
        if frame is not None and by in frame:
            values = frame[by]
        elif by in self and self[by].shape[1:].numel() == 1:
            values = pd.Series(self[by].flatten().cpu().numpy())
        else:
            columns = [] if self._frame is None else list(self._frame.columns)
            single = [name for name, x in self.items() if x.shape[1:].numel() == 1]
            there = f"the metadata has {columns}, the views of one number a row are {single}"
            raise ValueError(f"no {by!r} to split by: {there}")
        test = values.isin(wanted).to_numpy()
        if test.all() or not test.any():
            there = sorted(map(str, values.unique()))[:12]
            side = "every row" if test.all() else "no row"
            raise ValueError(f"{side} has {by} in {wanted}; the values there are {', '.join(there)}")
        return self[~test], self[test]

    # putting together and storing -----------------------------------------------------------------------------

    @classmethod
    def stack(cls, rows: Iterable[Mapping[str, Any]]) -> Views:
        """Stacks rows, dicts of tensors that need not all have the same views.

        >>> v = Views.stack([{"meg": torch.ones(2), "hr": torch.ones(1)}, {"meg": torch.ones(2)}])
        >>> v.present["hr"]
        tensor([ True, False])
        """
        rows = [{name: torch.as_tensor(t) for name, t in row.items()} for row in rows]
        blank = {name: torch.zeros_like(t) for row in rows for name, t in row.items()}
        for i, row in enumerate(rows):
            for name, t in row.items():
                if t.shape != (usual := blank[name].shape):
                    raise ValueError(f"view {name!r} is {tuple(t.shape)} in row {i}, elsewhere {tuple(usual)}")
        tensors = {n: torch.stack([row.get(n, b) for row in rows]) for n, b in blank.items()}
        return cls(tensors, {n: torch.tensor([n in row for row in rows]) for n in blank})

    @classmethod
    def concat(cls, parts: Iterable[Views]) -> Views:
        """The rows of several `Views` one after another; `about` is that of the first which has it.

        >>> len(Views.concat([Views({"a": torch.ones(2)}), Views({"a": torch.ones(3)})]))
        5
        """
        parts = list(parts)
        if len({frozenset(p) for p in parts}) != 1:
            raise ValueError(f"parts must have the same views, got {[list(p) for p in parts]}")
        masks = {n: [p.present[n] for p in parts] for n in parts[0]}
        for n, ms in masks.items():
            if len({m.ndim for m in ms}) > 1:
                masks[n] = [spread(p.present[n], p[n]) for p in parts]
        frames = [p.metadata for p in parts if p.metadata is not None]
        about = {n: what for p in reversed(parts) for n, what in p.about.items()}
        frame = pd.concat(frames, ignore_index=True) if len(frames) == len(parts) else None
        return cls(
            {n: torch.cat([p[n] for p in parts]) for n in parts[0]},
            {n: torch.cat(m) for n, m in masks.items()},
            frame,
            about,
        )

    def save(self, folder: str | Path) -> None:
        """Stores the rows as a folder: one ``.npy`` a view, masks, metadata as TSV. Written whole or not at all.

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as tmp:
        ...     Views({"a": torch.arange(3)}).save(f"{tmp}/run")
        ...     Views.open(f"{tmp}/run")["a"]
        tensor([0, 1, 2])
        """
        self.require_finite()
        store.write(folder, self.tensors, self.present, self.metadata, self.about)

    @classmethod
    def open(cls, folder: str | Path) -> Views:
        """Opens a saved folder. Nothing is read until rows are asked for; see `OnDisk` for what is large."""
        return cls(*store.read(folder))

    def loader(
        self,
        batch_size: int = 64,
        shuffle: bool = False,
        sharded: bool = False,
        workers: int = 0,
        seed: int = 0,
        together: str | None = None,
    ) -> Loader:
        """Batches of rows, each a `Views`.

        batch_size : rows of a batch, over all processes.
        shuffle : a new order each epoch, the same for the same `seed` and ``loader.epoch``.
        sharded : each process of a distributed run takes its part of every batch.
        workers : processes that read ahead, for data on disk.
        together : a column of the metadata, such as "trial": what is shuffled is its values, and the rows of one stay
            side by side in their order; a batch may end within them.

        >>> [len(batch) for batch in Views({"a": torch.ones(5)}).loader(batch_size=2)]
        [2, 2, 1]
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        return Loader(self, batch_size, shuffle, sharded, workers, seed, self._groups(together))

    def _groups(self, column: str | None) -> Tensor | None:
        """A number for each value of a column of the metadata."""
        if column is None:
            return None
        if self.metadata is None or column not in self.metadata:
            there = [] if self.metadata is None else list(self.metadata)
            raise ValueError(f"rows cannot be kept together by {column!r}: the metadata has {there}")
        return torch.from_numpy(pd.factorize(self.metadata[column])[0])
