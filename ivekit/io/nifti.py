"""NIfTI images: volumes, and series of them by voxels or by the parcels of an atlas."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from ..history import after
from ..views import Views
from .atlas import Align, Parcels, Voxels, Where, Whole, affine, same_grid
from .guard import fits, reading

logger = logging.getLogger(__name__)
BLOCK = 64e6  # bytes of volumes that are unpacked at once
SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}


def read_nifti(path: str | Path, *, labels: Where = None, mask: Where = None, align: Align = same_grid) -> Views:
    """A NIfTI image: a volume is one row, a series one row a volume; whole, by voxels or by parcels.

    path : .nii or .nii.gz, of 3 or 4 dimensions; the others must be of size 1. Needs ``ivekit[imaging]``.
    labels : an atlas, an image or an array of whole numbers: the series by parcels, each the mean of its voxels.
    mask : likewise, not 0 where a voxel is wanted: the series by voxels. With labels, voxels outside are in no parcel.
    align : what puts an image of labels or a mask on the grid, ``(theirs, image) -> theirs``: `same_grid` refuses
        another one, `nearest_voxels` resamples.

    The view "volume" is (rows, 1, x, y, z); with labels "bold" is (rows, parcels), with a mask (rows, voxels), in the
    image's units. What is no finite number is masked, and so is a parcel without voxels. Blocks of volumes are read
    one after another: by parcels, a series may be larger than memory. `metadata`: time (s), of series. `about`: voxel
    size and affine (mm), tr (s), the labels and places (mm) of the parcels, or the indices of the voxels.

    Raises
    ------
    FileNotFoundError, ValueError : no file; no image; a cut one; one that does not fit in memory; labels or a mask on
        another grid, or which leave no voxel.

    >>> import tempfile, nibabel
    >>> with tempfile.TemporaryDirectory() as tmp:
    ...     nibabel.save(nibabel.Nifti1Image(np.ones((2, 3, 1, 5), "f4"), np.eye(4)), f"{tmp}/a.nii.gz")
    ...     read_nifti(f"{tmp}/a.nii.gz"), read_nifti(f"{tmp}/a.nii.gz", mask=np.ones((2, 3, 1)))["bold"].shape
    (Views of 5 rows
      volume  (1, 2, 3, 1)
      metadata: time, torch.Size([5, 6]))
    """
    with reading(path, "image") as path:
        image = open_image(path)
        fits(20 * math.prod(image.shape[:3]), path)  # a volume, and what is made of it on the way
    cut, steps = _cut(image, path, labels, mask, align)
    n, about = math.prod(image.shape[3:]), _space(image) | cut.about(image)
    with reading(path, "image"):
        fits(8 * n * math.prod(cut.shape), path)
        rows = np.concatenate([cut(volumes).astype("f4") for volumes in _blocks(image)])
    frame = None
    if len(image.shape) > 3:
        about["tr"] = _tr(image)
        frame = pd.DataFrame({"time": about["tr"] * np.arange(n)})
    about = after(about, *steps) if steps else about
    return without_gaps(Views({cut.name: torch.from_numpy(rows)}, metadata=frame, about={cut.name: about}), path)


def open_image(path: Path) -> Any:
    """An image whose header can be true; nothing of its voxels is unpacked yet.

    Raises
    ------
    ValueError : when it is none, of another kind (CIFTI, GIFTI ...), of other than 3 or 4 dimensions, or of no numbers.
    ImportError : without nibabel, of the extra ``imaging``.
    """
    try:
        import nibabel
        from nibabel.filebasedimages import ImageFileError
        from nibabel.spatialimages import HeaderDataError
    except ImportError:
        raise ImportError(f"{path.name} needs nibabel: pip install 'ivekit[imaging]'") from None
    try:
        image: Any = nibabel.load(path, keep_file_open=True)  # blocks of a .gz are then unpacked in one go
    except (ImageFileError, HeaderDataError) as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from None
    if not isinstance(image, nibabel.Nifti1Pair):
        raise ValueError(f"{path.name} is no NIfTI image of voxels but a {type(image).__name__}")
    with reading(path, "image"):
        image.header.get_xyzt_units()  # it looks them up, and would raise at a unit that there is not later on
    if len(image.shape) < 3 or any(n != 1 for n in image.shape[4:]) or 0 in image.shape:
        raise ValueError(f"{path.name} is {image.shape}: a volume has 3 dimensions, a series 4")
    if np.dtype(image.get_data_dtype()).kind not in "iuf":
        raise ValueError(f"{path.name} holds {image.get_data_dtype()}, and voxels are expected to be numbers")
    return image


def without_gaps(views: Views, path: Path) -> Views:
    """The same rows with what is no finite number masked; how many there were is said.

    >>> without_gaps(Views({"bold": torch.tensor([[1.0, torch.nan]])}), Path("a.nii")).present["bold"]
    tensor([[ True, False]])
    """
    (name,) = views
    if bad := int((~views[name].isfinite()).sum()):
        logger.warning("%s: %d of %d numbers are not finite and are masked", path.name, bad, views[name].numel())
    return views.mask_nan()


def _blocks(image: Any) -> Iterator[Float[ndarray, "x y z n"]]:
    """The volumes, some at a time."""
    n = math.prod(image.shape[3:])
    step = max(1, int(BLOCK / (8 * math.prod(image.shape[:3])))) if len(image.shape) == 4 else n
    for first in range(0, n, step):
        some = image.dataobj[..., first : first + step] if step < n else image.dataobj
        yield np.asarray(some, "f4").reshape(*image.shape[:3], -1)


def _cut(
    image: Any, path: Path, labels: Where, mask: Where, align: Align
) -> tuple[Whole | Voxels | Parcels, list[str]]:
    """What is taken of each volume, and what was done for it, in words."""
    if labels is None and mask is None:
        return Whole((1, *image.shape[:3])), []
    inside, said = np.ones(image.shape[:3], bool), []
    if mask is not None:
        x, said = beside(mask, image, path, align)
        inside = x != 0
    if labels is None:
        said = [*said, f"the {inside.sum()} voxels of {_name(mask)}"]
        cut: Voxels | Parcels = Voxels(inside)
    else:
        x, moved = beside(labels, image, path, align)
        if not (x == np.rint(x)).all():
            raise ValueError(f"{_name(labels)}: labels are whole numbers, got {x[x != np.rint(x)][0]:g}")
        cut = _parcels(np.rint(x).astype(int), inside, path)
        where = "" if mask is None else f", within {_name(mask)}"
        said = [*said, *moved, f"the mean of each of the {len(cut.names)} parcels of {_name(labels)}{where}"]
        inside = cut.labels != 0
    if not inside.any():
        raise ValueError(f"{path.name}: labels or mask are 0 everywhere: no voxel is left")
    return cut, said


def _parcels(labels: Int[ndarray, "x y z"], inside: Bool[ndarray, "x y z"], path: Path) -> Parcels:
    """All parcels of the atlas, some perhaps without voxels, so that those of several images are the same."""
    names = np.unique(labels[labels != 0])
    left = np.where(inside, labels, 0)
    if len(gone := np.setdiff1d(names, left)):
        some = ", ".join(map(str, gone[:12].tolist())) + (", ..." if len(gone) > 12 else "")
        logger.warning("%s: %d of %d parcels have no voxel in the mask: %s", path.name, len(gone), len(names), some)
    return Parcels(left, names)


def beside(where: Any, image: Any, path: Path, align: Align) -> tuple[ndarray, list[str]]:
    """An array, or the numbers of an image, on the grid of the image at `path`; and whether they were moved there."""
    x, said = where, []
    if not isinstance(where, ndarray):
        with reading(where, "image") as file:
            theirs = open_image(file)
            fits(16 * math.prod(theirs.shape), file)
            x = np.asarray(theirs.dataobj)
        try:
            moved = align(theirs, image)
        except ValueError as error:
            raise ValueError(f"{file.name} beside {path.name}: {error}") from None
        if moved is not theirs:
            x = np.asarray(moved.dataobj)
            said = [f"{file.name} brought to the image's grid by {getattr(align, '__name__', 'a function')}"]
    x = x.reshape(x.shape[:3]) if x.size == math.prod(x.shape[:3]) else x
    if x.shape != image.shape[:3]:
        raise ValueError(f"{_name(where)} must be on {path.name}'s own grid, {image.shape[:3]}, got {x.shape}")
    return x, said


def _name(where: Any) -> str:
    return "an array" if isinstance(where, ndarray) else Path(where).name


def _space(image: Any) -> dict[str, Any]:
    """Of voxels: size and affine, in mm."""
    to_mm = affine(image)
    sizes = np.linalg.norm(to_mm[:3, :3], axis=0)
    return {"voxel_mm": [round(float(size), 6) for size in sizes], "affine": to_mm.tolist()}


def _tr(image: Any) -> float:
    """Seconds from one volume to the next, whatever the header's unit of time is; of no unit, seconds."""
    unit = SECONDS.get(image.header.get_xyzt_units()[1], 1.0)
    return round(float(image.header.get_zooms()[3]) * unit, 9)
