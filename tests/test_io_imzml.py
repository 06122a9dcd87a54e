"""imzML: the official examples, several sections, and what is wrong with a file is said."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest

from ivekit import io

MZ = [152.9167, 328.9167, 500.0]


@pytest.fixture
def examples(data_dir):
    pytest.importorskip("pyimzml")
    return {kind: data_dir / "msi" / f"Example_{kind}.imzML" for kind in ("Continuous", "Processed")}


def test_the_two_official_examples_hold_the_same_images(examples):
    each = [io.read_imzml(path, MZ, ppm=500) for path in examples.values()]
    for views in each:
        assert views["lipids"].shape == (3, 9) and views["coords"].shape == (3, 9, 3)
        assert views.metadata["lipid"].tolist() == ["m/z 152.9167", "m/z 328.9167", "m/z 500.0000"]
        assert views["coords"][0].tolist() == [[0, 100 * x, 100 * y] for y in (1, 2, 3) for x in (1, 2, 3)]
        assert views.about["coords"]["units"] == ["um"] * 3  # the file says 100 micrometres
        assert views.history["step"].tolist() == ["intensities summed within 500 ppm of each mass"]
    np.testing.assert_allclose(each[0]["lipids"], each[1]["lipids"])
    assert (each[0]["lipids"][0] > 0).all()


def test_a_window_is_the_sum_of_its_peaks(examples):
    """Against the spectra read one by one; windows of every width, to the whole spectrum's total ion current."""
    from pyimzml.ImzMLParser import ImzMLParser

    parser = ImzMLParser(str(examples["Processed"]))
    spectra = [parser.getspectrum(i) for i in range(9)]
    parser.m.close()
    for ppm in (100.0, 2000.0, 1e6):
        views = io.read_imzml(examples["Processed"], [328.9167], ppm=ppm)
        low, high = 328.9167 * (1 - ppm * 1e-6), 328.9167 * (1 + ppm * 1e-6)
        expected = [x[(m >= low) & (m <= high)].sum(dtype=float) for m, x in spectra]
        np.testing.assert_allclose(views["lipids"][0], expected, rtol=1e-5)


def test_several_files_are_sections(examples):
    views = io.read_imzml(list(examples.values()), MZ, ppm=500, pixel=50.0, spacing=200.0)
    assert views["section"][0].tolist() == [0] * 9 + [1] * 9
    assert views["coords"][0, :, 0].unique().tolist() == [0, 200] and views["coords"][0, 0].tolist() == [0, 50, 50]
    seen = io.withhold(views).present["observed"][..., 0]
    assert (seen.sum(1) == 9).all()  # one of the two sections is seen, and it is a task for the recipe


def test_the_sections_of_one_file_are_told_apart(examples, tmp_path):
    """A pixel of another z is no pixel of the same section."""
    for path in (examples["Continuous"], examples["Continuous"].with_suffix(".ibd")):
        shutil.copyfile(path, tmp_path / path.name)
    path = tmp_path / examples["Continuous"].name
    text = path.read_text(encoding="latin-1")
    row = '<cvParam cvRef="IMS" accession="IMS:1000051" name="position y" value="{}"/>'
    deep = '<cvParam cvRef="IMS" accession="IMS:1000052" name="position z" value="{}"/>'
    assert row.format(3) in text
    for y in (1, 2, 3):
        text = text.replace(row.format(y), row.format(1) + deep.format(y))
    path.write_text(text, encoding="latin-1")
    views = io.read_imzml(path, MZ, ppm=500, spacing=20)
    assert views["section"][0].tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert views["coords"][0, ::3].tolist() == [[0, 100, 100], [20, 100, 100], [40, 100, 100]]
    with pytest.raises(ValueError, match=".imzML: 3 sections lie at a distance that no imzML file says: pass spacing"):
        io.read_imzml(path, MZ, ppm=500)


def test_spectra_of_another_measurement_are_refused(examples, tmp_path):
    shutil.copyfile(examples["Continuous"], tmp_path / "a.imzML")
    shutil.copyfile(examples["Processed"].with_suffix(".ibd"), tmp_path / "a.ibd")
    with pytest.raises(ValueError, match="a.ibd is of another measurement: it is number 9d50.*, not 554a"):
        io.read_imzml(tmp_path / "a.imzML", MZ)


def test_what_is_wrong_is_said(examples, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="no imzML file nowhere.imzML"):
        io.read_imzml("nowhere.imzML", MZ)
    alone = shutil.copy(examples["Continuous"], tmp_path / "alone.imzML")
    with pytest.raises(FileNotFoundError, match="there is no alone.ibd beside it"):
        io.read_imzml(alone, MZ)
    with pytest.raises(ValueError, match=r"masses from 100.0833 to 799.9167, none of \[2000.0\]"):
        io.read_imzml(examples["Continuous"], [2000.0])
    with pytest.raises(ValueError, match="a file and a mass at least, got 1 and 0"):
        io.read_imzml(examples["Continuous"], [])
    monkeypatch.setitem(sys.modules, "pyimzml.ImzMLParser", None)
    with pytest.raises(ImportError, match=r"pip install 'ivekit\[imzml\]'"):
        io.read_imzml(examples["Continuous"], MZ)
