"""Recordings of subjects become one folder of rows that trains; windows go through NPZ and come back."""

from __future__ import annotations

import logging
import os
import shutil

import mne
import numpy as np
import pandas as pd
import pytest
import torch

from ivekit import Views
from ivekit.__main__ import main
from ivekit.io import prepare, read_npz, recordings_of_meg, write_npz
from ivekit.signal import band_pass, resample
from ivekit.synth import physiology

SFREQ = 100
COLUMNS = {"ecg": "ECG", "rsp": "RSP"}


@pytest.fixture
def folder(tmp_path):
    """Four subjects of 40 s; the third has no breath, the last a short and a long gap in the heart."""
    where = tmp_path / "csv"
    where.mkdir()
    t = np.arange(40 * SFREQ) / SFREQ
    for i in range(4):
        heart = np.sin(2 * np.pi * (1 + 0.1 * i) * t) + 0.2 * i
        frame = pd.DataFrame({"ECG": heart, "RSP": (1 + i) * np.sin(2 * np.pi * 0.25 * t), "note": 1})
        if i == 2:
            frame = frame.drop(columns="RSP")
        if i == 3:
            frame.loc[100:110, "ECG"] = np.nan
            frame.loc[1000:1200, "ECG"] = np.nan
        frame.to_csv(where / f"s{i + 1}.csv", index=False)
    return where


def files(folder):
    return sorted(folder.glob("*.csv"))


def test_subjects_become_rows_with_their_split(folder, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "ivekit"):
        rows = prepare(
            files(folder), tmp_path / "rows", COLUMNS, sfreq=SFREQ, step=4, gap=0.2, validation=["s2"], test=["s4"]
        )
    assert "s3.csv has no column ['RSP']" in caplog.text
    frame = rows.metadata
    assert frame["subject"].value_counts().to_dict() == dict.fromkeys(["s1", "s2", "s3", "s4"], 9)
    whose = frame.groupby("subject")["split"].unique().str[0].to_dict()
    assert whose == {"s1": "train", "s2": "validation", "s3": "train", "s4": "test"}
    assert {n: tuple(x.shape[1:]) for n, x in rows.items()} == {"ecg": (1, 240), "rsp": (1, 240)}
    assert (rows.rows_present("rsp").numpy() == (frame["subject"] != "s3").to_numpy()).all()
    assert rows.about["ecg"].sfreq == 30
    opened = Views.open(tmp_path / "rows")
    assert torch.equal(opened["ecg"], rows["ecg"]) and opened.metadata.equals(frame)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_short_gap_is_bridged_and_a_long_one_masked(folder, tmp_path):
    rows = prepare(files(folder), tmp_path / "rows", COLUMNS, sfreq=SFREQ, gap=0.2)
    mine = rows[(rows.metadata["subject"] == "s4").to_numpy()]
    gone = ~mine.present["ecg"][:, 0]
    seconds = mine.metadata["start"].to_numpy()[:, None] + np.arange(240) / 30
    assert (seconds[gone.numpy()] > 9.98).all() and (seconds[gone.numpy()] < 12.02).all() and gone.sum() > 55
    raw = prepare(files(folder), tmp_path / "raw", COLUMNS, sfreq=SFREQ)
    assert (~raw.present["ecg"]).sum() > gone.sum()


def test_rows_are_filtered_resampled_and_where_they_say(folder, tmp_path):
    rows = prepare(
        files(folder), tmp_path / "r", COLUMNS, sfreq=SFREQ, to=25, window=10, step=5, band={"ecg": (0.5, 8)}
    )
    x = pd.read_csv(folder / "s2.csv")["ECG"].to_numpy()
    expected = resample(band_pass(x, SFREQ, 0.5, 8), SFREQ, 25)
    place = np.flatnonzero((rows.metadata["subject"] == "s2") & (rows.metadata["start"] == 15))[0]
    np.testing.assert_allclose(rows["ecg"][place, 0], expected[375:625], atol=1e-5)


@pytest.mark.parametrize("scale", ["none", "recording", "window"])
def test_the_scale_says_what_survives(folder, tmp_path, scale):
    rows = prepare(files(folder)[:2], tmp_path / "rows", COLUMNS, sfreq=SFREQ, window=10, scale=scale)
    sd = rows["rsp"].std((1, 2), correction=0)
    by = pd.Series(sd.numpy()).groupby(rows.metadata["subject"].to_numpy()).mean()
    if scale == "none":
        assert by["s2"] > 1.8 * by["s1"]  # the second one breathes deeper, and it shows
    else:
        np.testing.assert_allclose(by, 1, atol=0.02)
    spread = rows["rsp"].mean((1, 2)).abs().max()
    assert (spread < 1e-5) if scale == "window" else True


def test_a_cut_run_goes_on_with_the_subjects_it_has(folder, tmp_path, monkeypatch):
    read, seen, out = pd.read_csv, [], tmp_path / "rows"

    def interrupted_once(path, *args, **kwargs):
        seen.append(os.path.basename(path))
        if seen[-1] == "s3.csv" and not (tmp_path / "interrupted").exists():
            (tmp_path / "interrupted").touch()
            raise KeyboardInterrupt
        return read(path, *args, **kwargs)

    monkeypatch.setattr(pd, "read_csv", interrupted_once)
    with pytest.raises(KeyboardInterrupt):
        prepare(files(folder), out, COLUMNS, sfreq=SFREQ)
    assert not out.exists() and {"s1.csv", "s2.csv"} <= set(seen)
    seen.clear()
    rows = prepare(files(folder), out, COLUMNS, sfreq=SFREQ)
    assert {name for name in seen if name.endswith("csv")} == {"s3.csv", "s4.csv"} and len(rows) == 20
    fresh = prepare(files(folder), tmp_path / "again", COLUMNS, sfreq=SFREQ)
    assert torch.equal(fresh["ecg"], rows["ecg"])


def test_subjects_that_are_kept_are_made_anew_for_other_settings_or_another_file(folder, tmp_path):
    out, bad = tmp_path / "rows", folder / "zz.csv"
    pd.DataFrame({"other": np.zeros(4000)}).to_csv(bad, index=False)
    with pytest.raises(ValueError, match="zz.csv has none of the columns"):
        prepare([folder / "s1.csv", bad], out, COLUMNS, sfreq=SFREQ)
    assert (tmp_path / ".rows-parts").is_dir()  # the first subject is kept
    slow = prepare([folder / "s1.csv"], out, COLUMNS, sfreq=SFREQ, band={"ecg": (None, 0.5)})["ecg"]
    assert slow.std() < 0.3  # of a sine of 1 Hz, whose standard deviation was 0.7
    with pytest.raises(ValueError, match="zz.csv"):
        prepare([folder / "s1.csv", bad], out, COLUMNS, sfreq=SFREQ)
    shutil.copy(folder / "s4.csv", folder / "s1.csv")
    assert prepare([folder / "s1.csv"], out, COLUMNS, sfreq=SFREQ)["rsp"].abs().max() > 3.9


def test_what_cannot_be_prepared_is_named_and_nothing_is_written(folder, tmp_path):
    out = tmp_path / "rows"
    cases: list = [
        (dict(read={"ecg": "EKG"}), "none of the columns"),
        (dict(read=COLUMNS | {"eda": "EDA"}), r"no file has a column \['EDA'\]"),
        (dict(test=["s9"]), r"no subject \['s9'\]; there are s1, s2"),
        (dict(test=["s1"], validation=["s1"]), "for validation and for test"),
        (dict(test=["s1", "s2", "s3", "s4"]), "no subject is left to train on"),
        (dict(band={"ppg": (1, 2)}), "band is given for .*ppg"),
        (dict(scale="person"), "none, recording, window"),
        (dict(window=50), "do not fit: s1.csv is 40 s long"),
    ]
    for wrong, said in cases:
        with pytest.raises(ValueError, match=said):
            prepare(files(folder), out, **{"read": COLUMNS, "sfreq": SFREQ} | wrong)
        assert not out.exists()
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="no folder of saved rows"):
        prepare(files(folder), out, COLUMNS, sfreq=SFREQ)
    assert (out / "thesis.txt").read_text() == "mine"
    with pytest.raises(FileNotFoundError, match="s7.csv"):
        prepare([folder / "s7.csv"], tmp_path / "no", COLUMNS, sfreq=SFREQ)
    (tmp_path / "other").mkdir()
    shutil.copy(folder / "s1.csv", tmp_path / "other" / "s1.csv")
    with pytest.raises(ValueError, match="several files are called"):
        prepare([folder / "s1.csv", tmp_path / "other" / "s1.csv"], out, COLUMNS, sfreq=SFREQ)


def test_the_command_prepares_and_the_recipe_trains_on_it(tmp_path, capsys, monkeypatch):
    """From files to scores by two lines; the test subject is who was named."""
    world = physiology(n_subjects=4, n_windows=1, window=60, sfreq=100)
    raw = tmp_path / "csv"
    raw.mkdir()
    for i in range(4):
        frame = pd.DataFrame({name.upper(): x[i, 0].numpy() for name, x in world.views.items()})
        frame.to_csv(raw / f"s{i + 1}.csv", index=False)
    monkeypatch.chdir(tmp_path)
    signals = ["--signal", "ecg=ECG:0.5-14", "--signal", "ppg=PPG:0.5-8", "--signal", "rsp=RSP:-2"]
    main(["prepare", "csv", "--out", "rows", *signals, "--sfreq", "100", "--step", "4", "--test", "s4"])
    assert "Views of 56 rows" in capsys.readouterr().out
    main(["train", "mimo_ae", "data=rows", "split_by=subject", "epochs=1", "dim=16", "batch_size=16"])
    said = capsys.readouterr().out
    assert "ppg from_others" in said and "ecg reconstruction" in said
    rows = Views.open(tmp_path / "rows")
    assert set(rows.metadata.query("split == 'test'")["subject"]) == {"s4"}
    with pytest.raises(SystemExit, match="view=column:low-high"):
        main(["prepare", "csv", "--out", "r2", "--signal", "ecg=ECG:fast", "--sfreq", "100"])


# NPZ -----------------------------------------------------------------------------------------------------------


def test_the_parts_of_a_split_recording_are_one_recording(tmp_path):
    """s1_raw-1.fif is read with s1_raw.fif: by itself as well, its trials would be there twice."""
    x = np.zeros((2, 200_000))
    raw = mne.io.RawArray(x, mne.create_info(["a", "stim"], 250.0, ["mag", "stim"]), verbose="error")
    (tmp_path / "meg").mkdir()
    raw.save(tmp_path / "meg" / "s1_raw.fif", split_size="2MB", verbose="error")
    (tmp_path / "meg" / "broken_raw.fif").write_text("none")
    names = [path.name for path in recordings_of_meg([tmp_path / "meg"])[0]]
    assert (tmp_path / "meg" / "s1_raw-1.fif").exists() and names == ["broken_raw.fif", "s1_raw.fif"]
    assert recordings_of_meg([tmp_path / "meg" / "s1_raw-1.fif"])[0] == [tmp_path / "meg" / "s1_raw-1.fif"]


def test_a_recording_is_read_again_when_a_file_beside_it_has_changed(folder, tmp_path):
    """The markers of a BrainVision file, or the sidecar of a table."""
    (folder / "s1.json").write_text('{"SamplingFrequency": 100, "ECG": {"Units": "V"}}')
    whole = (folder / "s4.csv").read_text()
    (folder / "s4.csv").write_text("ECG\n")
    with pytest.raises(ValueError, match="s4.csv"):
        prepare([folder], tmp_path / "rows", COLUMNS, sfreq=SFREQ)
    (folder / "s4.csv").write_text(whole)
    (folder / "s1.json").write_text('{"SamplingFrequency": 100, "ECG": {"Units": "mV"}}')
    assert prepare([folder], tmp_path / "rows", COLUMNS, sfreq=SFREQ).about["ecg"].units == ("mV",)


def test_a_table_in_capitals_and_one_that_is_packed_are_not_passed_over(folder, tmp_path):
    (folder / "s1.csv").rename(folder / "s1.CSV")
    pd.read_csv(folder / "s2.csv").to_csv(folder / "s2.csv.gz", index=False)
    (folder / "s2.csv").unlink()
    views = prepare([folder], tmp_path / "rows", COLUMNS, sfreq=SFREQ)
    assert sorted(set(views.metadata["subject"])) == ["s1", "s2", "s3", "s4"]


def test_windows_come_back_from_npz_as_they_went(tmp_path):
    world = physiology(n_subjects=3, n_windows=2)
    there = torch.ones(6, 1, 240, dtype=torch.bool)
    there[2, :, 50:60] = False
    views = world.views.masked(ecg=there, rsp=torch.arange(6) != 4)
    back = read_npz(write_npz(views, tmp_path / "w.npz"))
    for name, x in views.items():
        assert torch.equal(back[name], x) and torch.equal(back.present[name], views.present[name])
        assert back.about[name].sfreq == 30
    assert back.metadata.to_dict("list") == views.metadata.to_dict("list")


def test_an_npz_of_another_program_is_read(tmp_path):
    x = np.random.default_rng(0).normal(size=(5, 100))
    x[1, 3] = np.nan
    np.savez(tmp_path / "w.npz", heart=x, acc=np.zeros((5, 3, 100)), subject=np.arange(5), fs=250)
    views = read_npz(tmp_path / "w.npz", 250.0, {"ecg": "heart", "acc": "acc"})
    assert views["ecg"].shape == (5, 1, 100) and views["acc"].shape == (5, 3, 100)
    assert not views.present["ecg"][1, 0, 3] and views.metadata["subject"].tolist() == list(range(5))
    assert views.about["acc"].names == ["acc 1", "acc 2", "acc 3"]


def test_npz_that_cannot_be_read_or_written_is_named(tmp_path):
    np.savez(tmp_path / "w.npz", heart=np.zeros((5, 9)), label=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="w.npz cannot be read: Object arrays"):
        read_npz(tmp_path / "w.npz")
    np.savez(tmp_path / "v.npz", heart=np.zeros((5, 9)))
    with pytest.raises(ValueError, match=r"no signals \['ppg'\].*there are \['heart'\]"):
        read_npz(tmp_path / "v.npz", names={"ppg": "ppg"})
    (tmp_path / "u.npz").write_bytes((tmp_path / "v.npz").read_bytes()[:40])
    with pytest.raises(ValueError, match="u.npz cannot be read"):
        read_npz(tmp_path / "u.npz")
    with pytest.raises(FileNotFoundError, match="nowhere.npz"):
        read_npz(tmp_path / "nowhere.npz")
    views = Views({"ecg": torch.zeros(2, 1, 9)}, metadata=pd.DataFrame({"ecg": [1, 2]}))
    with pytest.raises(ValueError, match=r"\['ecg'\] would be in the file twice"):
        write_npz(views, tmp_path / "t.npz")
    odd = Views({"ecg": torch.zeros(2, 1, 9)}, metadata=pd.DataFrame({"who": ["a", None]}))
    with pytest.raises(ValueError, match="column 'who'"):
        write_npz(odd, tmp_path / "t.npz")
    assert not (tmp_path / "t.npz").exists()


def test_one_path_is_a_list_of_one(folder, tmp_path):
    listed = prepare([folder / "s1.csv"], tmp_path / "listed", {"ecg": "ECG"}, sfreq=SFREQ)
    for name, one in (("text", str(folder / "s1.csv")), ("path", folder / "s1.csv")):
        rows = prepare(one, tmp_path / name, {"ecg": "ECG"}, sfreq=SFREQ)
        assert torch.equal(rows["ecg"], listed["ecg"]) and rows.metadata.equals(listed.metadata)
    listed.save(tmp_path / "rows")
    assert len(prepare(tmp_path / "rows", tmp_path / "again", Views.open)) == len(
        listed
    )  # a folder that a reader takes
    assert len(prepare(folder, tmp_path / "all", COLUMNS, sfreq=SFREQ)) > len(listed)  # of tables: all in it
    assert recordings_of_meg("a.fif")[0] == recordings_of_meg(["a.fif"])[0]
