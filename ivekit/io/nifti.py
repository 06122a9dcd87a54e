"""NIfTI images: volumes, and series of them by voxels or by the parcels of an atlas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from numpy import ndarray

from ..signal.fmri import parcellate
from ..views import Views


def read_nifti(
    path: str | Path, *, labels: str | Path | ndarray | None = None, mask: str | Path | ndarray | None = None
) -> Views:
    """A NIfTI image: a volume is one row, a series one row a volume.

    path : .nii or .nii.gz, of 3 or 4 dimensions; the others must be of size 1. Needs ``ivekit[imaging]``.
    labels : an atlas in the image's own space, as an image or an array of whole numbers: the series by parcels.
    mask : likewise, not 0 where a voxel is wanted: the series by voxels.

    The view "volume" is (rows, 1, x, y, z); with labels "bold" is (rows, parcels), with a mask (rows, voxels), in the
    image's units. `metadata`: time (s), of series. `about`: voxel size (mm), affine, tr (s), the parcels' labels or
    the voxels' places.

    Raises
    ------
    FileNotFoundError, ValueError : no file; no image; a cut one; labels or a mask of another shape; both given.

    >>> import tempfile, nibabel
    >>> with tempfile.TemporaryDirectory() as tmp:
    ...     nibabel.save(nibabel.Nifti1Image(np.ones((2, 3, 1, 5), "f4"), np.eye(4)), f"{tmp}/a.nii.gz")
    ...     read_nifti(f"{tmp}/a.nii.gz"), read_nifti(f"{tmp}/a.nii.gz", mask=np.ones((2, 3, 1)))["bold"].shape
    (Views of 5 rows
      volume  (1, 2, 3, 1)
      metadata: time, torch.Size([5, 6]))
    """
    if labels is not None and mask is not None:
        raise ValueError("give labels or a mask, not both: parcels are 0 where no voxel is wanted")
    x, about, tr = _read(Path(path))
    series = x.ndim == 4
    volumes = x if series else x[..., None]
    where = labels if labels is not None else mask
    if where is None:
        name, rows = "volume", rearrange(volumes, "x y z t -> t 1 x y z")
    else:
        name, chosen = "bold", _beside(where, volumes.shape[:3])
        about |= _places(chosen, labels is not None)
        rows = parcellate(volumes, chosen.astype(int)).T if labels is not None else volumes[chosen != 0].T
    frame = pd.DataFrame({"time": tr * np.arange(len(rows))}) if series else None
    rows = torch.from_numpy(np.ascontiguousarray(rows, "f4"))
    return Views({name: rows}, metadata=frame, about={name: about | ({"tr": tr} if series else {})})


def _read(path: Path) -> tuple[ndarray, dict[str, Any], float]:
    """The numbers, what they are, and the seconds from one volume to the next."""
    try:
        import nibabel
        from nibabel.filebasedimages import ImageFileError
    except ImportError:
        raise ImportError(f"{path.name} needs nibabel: pip install 'ivekit[imaging]'") from None
    if not path.exists():
        raise FileNotFoundError(f"there is no image {path}")
    try:
        image: Any = nibabel.load(path)
        x = np.asarray(image.dataobj, "f4")
    except (ImageFileError, OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from None
    if x.ndim < 3 or any(n != 1 for n in x.shape[4:]):
        raise ValueError(f"{path.name} is {x.shape}: a volume has 3 dimensions, a series 4")
    sizes = [float(size) for size in image.header.get_zooms()]
    about = {"voxel_mm": sizes[:3], "affine": np.asarray(image.affine, float).tolist()}
    return x.reshape(x.shape[:4]), about, sizes[3] if x.ndim > 3 else 0.0


def _beside(where: Any, shape: tuple[int, ...]) -> ndarray:
    """Labels or a mask, of the image's own shape."""
    chosen = np.asarray(where) if isinstance(where, ndarray) else _read(Path(where))[0]
    if chosen.shape != shape:
        raise ValueError(f"labels and masks must be in the image's own space, {shape}, got {chosen.shape}")
    if not (chosen != 0).any():
        raise ValueError("labels or mask are 0 everywhere: no voxel is left")
    return chosen


def _places(chosen: ndarray, parcels: bool) -> dict[str, Any]:
    inside = chosen != 0
    found = np.unique(chosen[inside]).astype(int) if parcels else np.argwhere(inside)
    return {"labels" if parcels else "voxels": found.tolist(), "shape": list(chosen.shape)}
