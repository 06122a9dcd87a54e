"""Mass-spectrometry images: imzML files as maps of ions over the pixels of sections."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ..signal.sampling import Number
from ..views import Views
from . import asked
from .guard import fits, reading
from .points import of_points


def read_imzml(
    paths: str | Path | Sequence[str | Path],
    mz: Sequence[Number],
    *,
    ppm: Number = 10.0,
    pixel: Number | None = None,
    spacing: Number | None = None,
) -> Views:
    """Images of ions, one row an ion: its intensity in every pixel, summed over a window of mass.

    paths : an .imzML file (its .ibd lies beside it), or several, one a section, in order. Continuous or processed. A
        file of several sections numbers them itself, by its z.
    mz : mass over charge of the ions. ppm : half the width of the window about each, in millionths of it.
    pixel : size of a pixel, by default what the first file says, in micrometres, or 1 where it does not.
    spacing : distance of the sections, in the same unit, which no file says; it is needed where there are several.

    The views are those of `read_points`: `lipids` (n,) in the file's intensity, `coords` (n, 3) with x across the
    sections and y, z within, `section` (n,). In metadata: lipid, "m/z 885.5499".

    Raises
    ------
    FileNotFoundError, ValueError, ImportError : no file or no .ibd, one of another file, a broken one, no mass that
        lies in a file's range; no spacing.
    """
    paths = asked.files(paths)
    asked.positive(ppm=ppm, pixel=pixel, spacing=spacing)
    if np.ndim(mz) != 1:
        raise ValueError(f"mz must be a list of masses over charge, such as [885.55], got {mz!r}")
    if not paths or not len(mz):
        raise ValueError(f"read_imzml needs a file and a mass at least, got {len(paths)} and {len(mz)}")
    each = [_image(path, np.asarray(mz, float), ppm) for path in paths]
    layers = np.concatenate([np.column_stack([np.full(len(one.at), i), one.at]) for i, one in enumerate(each)])
    section = np.unique(layers[:, [0, 3]], axis=0, return_inverse=True)[1].ravel()  # a file, and its z
    if section.any() and spacing is None:
        said = f"{section.max() + 1} sections lie at a distance that no imzML file says: pass spacing"
        raise ValueError(f"{', '.join(map(str, paths))}: {said}")
    size, unit = (each[0].size, each[0].unit) if pixel is None else ((pixel, pixel), "")
    xyz = np.column_stack([section * (spacing or 0.0), layers[:, 1] * size[0], layers[:, 2] * size[1]])
    names = [f"m/z {value:.4f}" for value in np.asarray(mz, float)]
    views = of_points(np.concatenate([one.values for one in each], 1), xyz, section, names)
    views.about["coords"] = {"columns": ["x", "y", "z"], "units": [unit] * 3}
    return views.noted(lipids=f"intensities summed within {ppm:g} ppm of each mass")


class _Image(NamedTuple):
    """A file's pixels (column, row, section), each ion's intensity there, and how large a pixel is."""

    at: Float[np.ndarray, "n 3"]
    values: Float[np.ndarray, "f n"]
    size: tuple[float, float]
    unit: str


def _image(path: Path, mz: Float[np.ndarray, "f"], ppm: Number) -> _Image:
    with reading(path, "imzML file"), _opened(path) as parser:
        fits(8 * len(mz) * len(parser.coordinates), path)
        found = np.empty((len(mz), len(parser.coordinates)))
        low, high = np.inf, -np.inf
        for i in range(found.shape[1]):
            masses, intensities = (np.asarray(each, float) for each in parser.getspectrum(i))
            if len(masses) != len(intensities):
                raise ValueError(f"{path.name}: pixel {i} has {len(masses)} masses and {len(intensities)} intensities")
            if not (np.diff(masses) >= 0).all():
                raise ValueError(f"{path.name}: the masses of pixel {i} do not ascend")
            found[:, i] = _windows(masses, intensities, mz, ppm)
            low, high = min([low, *masses[:1]]), max([high, *masses[-1:]])
        if outside := [float(m) for m in mz if not low <= m <= high]:
            raise ValueError(f"{path.name} has masses from {low:.4f} to {high:.4f}, none of {outside}")
        said = [parser.imzmldict.get(f"pixel size {axis}") for axis in "xy"]
        size = (float(said[0]), float(said[1] or said[0])) if said[0] else (1.0, 1.0)
        return _Image(np.array(parser.coordinates, float), found, size, "um" if said[0] else "pixels")


def _windows(
    masses: Float[np.ndarray, "p"], x: Float[np.ndarray, "p"], mz: Float[np.ndarray, "f"], ppm: Number
) -> Float[np.ndarray, "f"]:
    """The sum of a spectrum over each window; masses ascend."""
    first = np.searchsorted(masses, mz * (1 - ppm * 1e-6), "left")
    end = np.searchsorted(masses, mz * (1 + ppm * 1e-6), "right")
    edges = np.column_stack([first, end]).ravel()  # not a difference of running sums, which forgets small peaks
    return np.where(first < end, np.add.reduceat(np.append(x, 0.0), edges)[::2], 0.0)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file's parser, which knows that its spectra are there."""
    try:
        from pyimzml.ImzMLParser import ImzMLParser
    except ImportError:
        raise ImportError(f"{path.name} needs pyimzml: pip install 'ivekit[imzml]'") from None
    spectra = path.with_suffix(".ibd")
    if not spectra.exists():
        raise FileNotFoundError(f"{path.name} lacks its spectra: there is no {spectra.name} beside it")
    with reading(spectra, "file of spectra"), spectra.open("rb") as binary:
        # Python's own parser of XML fetches nothing that a file names, and stops where entities multiply
        parser = ImzMLParser(str(path), parse_lib="ElementTree", ibd_file=binary)
        _check_pair(parser, spectra)
        _check_places(parser, spectra)
        yield parser


def _check_pair(parser: Any, spectra: Path) -> None:
    """The two files are of one measurement: the spectra begin with the number that the other file names."""
    said = str(parser.metadata.file_description.param_by_accession.get("IMS:1000080", ""))
    number = re.sub("[^0-9a-f]", "", said.lower())
    with spectra.open("rb") as binary:
        found = binary.read(16).hex()
    if number and number != found:
        raise ValueError(f"{spectra.name} is of another measurement: it is number {found}, not {number}")


def _check_places(parser: Any, spectra: Path) -> None:
    """Every spectrum lies within the file of spectra."""
    size = spectra.stat().st_size
    places = [
        (parser.mzOffsets, parser.mzLengths, parser.mzPrecision),
        (parser.intensityOffsets, parser.intensityLengths, parser.intensityPrecision),
    ]
    for offsets, lengths, precision in places:
        for i, (start, n) in enumerate(zip(offsets, lengths)):
            if start < 0 or n < 0 or start + n * parser.sizeDict[precision] > size:
                raise ValueError(
                    f"{spectra.name} is cut short, or its header wrong: pixel {i} is {n:,} numbers from byte {start:,} "
                    f"on, and the file ends at {size:,}"
                )
