"""Tables of points: coordinates and one column a lipid, as maps to be filled in."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import torch
from einops import repeat
from jaxtyping import Float, Int

from ..signal import to_cartesian
from ..views import Views
from .guard import fits, reading
from .table import read_frame

logger = logging.getLogger(__name__)
SYSTEMS = ("cartesian", "spherical")


def read_points(
    path: str | Path,
    coords: Sequence[str] = ("x", "y", "z"),
    *,
    values: Sequence[str] | None = None,
    section: str | None = None,
    system: str = "cartesian",
) -> Views:
    """Values at points in space, one row a lipid (or gene, or ion): Parquet, CSV, TSV or HDF5.

    path : a table of one row a point; or an HDF5 file whose data sets of one length are its columns.
    coords : the columns of the coordinates. system : cartesian, or spherical (radius, polar angle, azimuth in rad;
        see `ivekit.signal.to_spherical`), which become cartesian.
    values : the columns that are maps; by default all numbers but coordinates and section.
    section : the column of the section's number or name; by default each value of the first coordinate is one.

    The views: `lipids` (n,), missing values masked; `coords` (n, 3); `section` (n,). In metadata: lipid, the column.
    `withhold` makes a task of them.

    Raises
    ------
    FileNotFoundError, ValueError : no file, a broken one, a column that is not there, an unknown system.

    >>> import tempfile
    >>> table = pd.DataFrame({"x": [0.0, 0.0, 1.0], "y": 0.0, "z": [0.0, 1.0, 1.0], "PC 34:1": [1.0, 2.0, 3.0]})
    >>> with tempfile.TemporaryDirectory() as tmp:
    ...     table.to_csv(f"{tmp}/atlas.csv", index=False)
    ...     read_points(f"{tmp}/atlas.csv")
    Views of 1 rows
      lipids   (3,)
      coords   (3, 3)
      section  (3,)
      metadata: lipid
    """
    if system not in SYSTEMS:
        raise ValueError(f"system is one of {', '.join(SYSTEMS)}; got {system!r}")
    if isinstance(coords, str) or len(coords) != 3:
        raise ValueError(f"coords must be the names of three columns, such as ('x', 'y', 'z'), got {coords!r}")
    path = Path(path)
    frame = _h5_frame(path) if path.suffix in (".h5", ".hdf5") else read_frame(path)
    named = [*coords, *(values or ()), *([section] if section else [])]
    if unknown := [c for c in named if c not in frame]:
        raise ValueError(f"{path.name} has no column {unknown}; there are {list(frame)}")
    if values is None:
        values = [c for c in frame.select_dtypes("number") if c not in named]
    if not values:
        raise ValueError(f"{path.name} has no numbers but {named}: no map")
    if words := [c for c in frame if c not in {*named, *values}]:
        logger.warning("%s: the columns %s are no maps, and are left out", path.name, words)
    with reading(path, "table"):
        xyz = frame[list(coords)].to_numpy(float)
        if lost := int((~np.isfinite(xyz)).any(1).sum()):
            raise ValueError(f"{lost} of {len(xyz)} points have no place")
    number = pd.factorize(frame[section] if section else frame[coords[0]], sort=True)[0]
    x = frame[list(values)].to_numpy(np.float32, na_value=np.nan).T
    if system == "cartesian":
        return of_points(x, xyz, number, list(values))
    views = of_points(x, to_cartesian(xyz), number, list(values))
    return views.noted(coords="from radius, polar angle and azimuth (rad) to x, y, z")


def of_points(
    values: Float[np.ndarray, "b n"],
    xyz: Float[np.ndarray, "n 3"],
    section: Int[np.ndarray, "n"],
    names: Sequence[str],
) -> Views:
    """Maps over the same points as `Views`, one row a map; a NaN is a value that was not measured.

    >>> of_points(np.ones((2, 5)), np.zeros((5, 3)), np.zeros(5, int), ["PC 34:1", "SM 36:1"])["coords"].shape
    torch.Size([2, 5, 3])
    """
    if not np.isfinite(xyz).all():
        raise ValueError(f"{int((~np.isfinite(xyz)).any(1).sum())} of {len(xyz)} points have no place")
    b, x = len(values), torch.from_numpy(np.array(values, np.float32))
    good = x.isfinite()
    tensors = {
        "lipids": torch.where(good, x, 0),
        "coords": repeat(torch.from_numpy(xyz.astype(np.float32)), "n xyz -> b n xyz", b=b).contiguous(),
        "section": repeat(torch.from_numpy(section.astype(np.int64)), "n -> b n", b=b).contiguous(),
    }
    present = None if bool(good.all()) else {"lipids": good}
    about = {"coords": {"columns": ["x", "y", "z"]}}
    return Views(tensors, present, pd.DataFrame({"lipid": list(names)}), about)


def withhold(views: Views, share: float = 0.5, seed: int = 0) -> Views:
    """The same maps with a view `observed` of which whole sections are hidden, others in each row.

    `observed` is (n, 4), x, y, z and value. What it hides stays in `lipids`, to be told.

    share : the part of the sections that is hidden; at least one, and at least one is left.

    >>> maps = of_points(np.ones((2, 6)), np.zeros((6, 3)), np.repeat([0, 1, 2], 2), ["a", "b"])
    >>> withhold(maps).present["observed"][..., 0].sum(1)
    tensor([2, 2])
    """
    section = views["section"]
    whole = section.unique()
    if len(whole) < 2:
        raise ValueError("sections are withheld of at least 2, and these maps have 1: read several sections together")
    if not 0 < share < 1:
        raise ValueError(f"share is the part of the sections that is hidden, between 0 and 1, got {share}")
    n = min(max(round(share * len(whole)), 1), len(whole) - 1)
    rng = np.random.default_rng(seed)
    hidden = torch.stack([torch.isin(row, whole[rng.permutation(len(whole))[:n]]) for row in section])
    x, there = views["lipids"], views.present["lipids"]
    there = there if there.ndim == 2 else there[:, None].expand_as(x)
    seen = repeat(there & ~hidden, "b n -> b n f", f=4).contiguous()
    tensors = {"observed": torch.cat([views["coords"], x[..., None]], -1), **views.tensors}
    return Views(tensors, views.present | {"observed": seen}, views.metadata, views.about)


def _h5_frame(path: Path) -> pd.DataFrame:
    """The one-dimensional data sets of an HDF5 file, wherever in it, as columns by their names."""
    found: dict[str, np.ndarray] = {}

    def take(name: str, what: Any) -> None:
        if isinstance(what, h5py.Dataset) and what.ndim == 1:
            fits(what.size * what.dtype.itemsize, path)
            column = what.asstr()[:] if what.dtype.kind == "O" else what[:]
            found[name.rsplit("/", 1)[-1]] = column

    with reading(path, "table"), h5py.File(path) as file:
        file.visititems(take)
    if len({len(column) for column in found.values()}) != 1:
        raise ValueError(f"{path.name} needs columns of one length, got { {n: len(c) for n, c in found.items()} }")
    return pd.DataFrame(found)
