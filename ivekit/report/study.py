"""What the parts of a report that ask the model itself have in common: rows it has not seen, their codes, the truth."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from numpy import ndarray

from ..explain import identify
from ..training import latents
from ..views import Views

MOST_ROWS = 1024  # held-out rows that latents are told by: more make the page late and no figure better


@dataclass
class Study:
    """A model, the held-out rows, the training rows (None where the data have no split), and what is known of both.

    factors : a row a row of `held_out`, None if nothing is known; learnt_factors : the same of the training rows.
    owners : of each factor, the views that it drives. row : of the held-out rows, the typical one.

    >>> from ivekit.models import MultimodalVAE
    >>> from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
    >>> model = MultimodalVAE(dict(a=MLPEncoder(3, 8)), ProductOfExperts("a", 8, 2), dict(a=Gaussian(MLPDecoder(2, 3))))
    >>> study = Study(model, Views({"a": np.ones((20, 3), "f")}))
    >>> study.codes["shared"].shape, study.touched("shared"), len(study.found)
    ((20, 2), ['a'], 2)
    """

    model: Any
    held_out: Views
    learnt: Views | None = None
    factors: pd.DataFrame | None = None
    learnt_factors: pd.DataFrame | None = None
    owners: Mapping[str, Collection[str]] = field(default_factory=dict)
    row: int = 0

    @property
    def has_latents(self) -> bool:
        """Whether the model encodes its views to latents."""
        return hasattr(self.model, "encode")

    @cached_property
    def codes(self) -> dict[str, Float[ndarray, "b _"]]:
        """The posterior means of the held-out rows by block."""
        return {block: z.double().numpy() for block, z in latents(self.model, self.held_out).items()}

    @cached_property
    def found(self) -> pd.DataFrame:
        """What each latent is, a row a latent."""
        return identify(self.model, self.held_out, self.factors)

    def ranked(self, block: str | None = None) -> pd.DataFrame:
        """The latents in use, of one block or of all, those that tell most first."""
        used = self.found[self.found["active"].astype(bool)]
        used = used if block is None else used[used["block"] == block]
        by = "kl" if used["kl"].notna().all() else "spread"
        return used.assign(
            spread=[self.codes[b][:, i].var() for b, i in zip(used["block"], used["index"])]
        ).sort_values(by, ascending=False, kind="stable")

    def touched(self, block: str) -> list[str]:
        """The views that a block of latents tells."""
        told = list(getattr(self.model, "decoders", {}))
        return told if block == "shared" else [name for name in told if name == block]

    @cached_property
    def known(self) -> pd.DataFrame | None:
        """The factors of the held-out rows, or the numeric columns of their metadata, those that vary in both parts."""
        given = self.factors
        if given is None and self.held_out.metadata is not None:
            given = self.held_out.metadata.select_dtypes(["number", "bool"])
        if given is None:
            return None
        learnt = self._of_learnt(given)
        varies = [name for name in given if all(_varies(x[name]) for x in (given, learnt) if x is not None)]
        return given[varies].astype(float) if varies else None

    def _of_learnt(self, given: pd.DataFrame) -> pd.DataFrame | None:
        if self.learnt is None:
            return None
        if self.learnt_factors is not None:
            return self.learnt_factors
        return None if self.learnt.metadata is None else self.learnt.metadata[list(given)]

    @property
    def known_of_learnt(self) -> pd.DataFrame | None:
        """The same columns of the training rows."""
        learnt = None if self.known is None else self._of_learnt(self.known)
        return None if learnt is None or self.known is None else learnt[list(self.known)].astype(float)


def study_of(
    model: Any, data: Views, views: Views, factors: pd.DataFrame | None, owners: Mapping[str, Collection[str]], row: int
) -> Study:
    """The study of a model from all rows with their split, or, where there is none, from the rows that are shown.

    views : the rows that figures show, the first of the held-out ones; row, the typical one of them; factors, a row a
    row of `data`.

    >>> split = pd.DataFrame({"split": ["train", "train", "test", "test"]})
    >>> data = Views({"a": np.arange(4.0)[:, None]}, metadata=split)
    >>> found = study_of(None, data, data[2:], pd.DataFrame({"size": range(4)}), {}, 1)
    >>> found.held_out["a"].tolist(), found.factors["size"].tolist(), len(found.learnt)
    ([[2.0], [3.0]], [2, 3], 2)
    """
    if factors is not None and len(factors) != len(data):
        raise ValueError(f"factors have {len(factors)} rows, the data {len(data)}: give those of all rows")
    split = None if data.metadata is None or "split" not in data.metadata else data.metadata["split"].to_numpy()
    test = split == "test" if split is not None else np.zeros(len(data), bool)
    if not test.any():
        same = factors if factors is not None and len(factors) == len(views) else None
        return Study(model, views[:MOST_ROWS], None, None if same is None else same[:MOST_ROWS], owners=owners, row=row)
    train = split == "train"
    held_out = data[_first(test)]
    learnt = data[train] if train.any() else None
    parts = [None if factors is None else factors[rows].reset_index(drop=True) for rows in (_first(test), train)]
    return Study(model, held_out, learnt, parts[0], parts[1] if train.any() else None, owners, row)


def _varies(column: pd.Series) -> bool:
    """Whether a column has a number in each row, and not always the same."""
    x = column.to_numpy(float)
    return bool(np.isfinite(x).all() and np.ptp(x) > 0)


def _first(rows: Bool[ndarray, "b"]) -> Bool[ndarray, "b"]:
    return rows & (rows.cumsum() <= MOST_ROWS)


def named(block: str, index: int) -> str:
    """The name of a latent.

    >>> named("shared", 3)
    'shared 3'
    """
    return f"{block} {index}"


def sentence(names: Sequence[str]) -> str:
    """Names for a sentence.

    >>> sentence(["a"]), sentence(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
