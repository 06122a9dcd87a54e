"""What is written to files comes back as it was: values, units, times, order; and what is not there is said."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

import av
import mne
import numpy as np
import pandas as pd
import pytest
import torch

from ivekit import Views
from ivekit.io import join, read_meg, read_physio, read_table, read_video, resample

mne.set_log_level("error")
TIMES_125 = np.arange(-12, 48) / 125  # of the trials below


def bump(times, at, width=0.02):
    """A smooth wave of which nothing is above 40 Hz."""
    return np.exp(-0.5 * ((times - at) / width) ** 2)


@pytest.fixture(scope="module")
def neuromag() -> mne.Info:
    """Three magnetometers, two gradiometers."""
    canonical = mne.channels.read_meg_canonical_info("neuromag")
    kinds = np.array(canonical.get_channel_types())
    return mne.pick_info(canonical, [*np.flatnonzero(kinds == "mag")[:3], *np.flatnonzero(kinds == "grad")[:2]])


def epochs_of(x, sfreq=125.0, tmin=-0.096, kinds="mag", **more) -> mne.EpochsArray:
    info = mne.create_info([f"C{i}" for i in range(x.shape[1])], sfreq, kinds)
    return mne.EpochsArray(x, info, tmin=tmin, **more)


def raw_of(x, sfreq, kinds="mag", first_samp=0) -> mne.io.RawArray:
    return mne.io.RawArray(x, mne.create_info([f"C{i}" for i in range(len(x))], sfreq, kinds), first_samp=first_samp)


# MEG: values, units, times ---------------------------------------------------------------------------------------


def test_epochs_come_back_in_fT_with_their_metadata(tmp_path, neuromag):
    x = np.random.default_rng(0).standard_normal((4, 5, 60)) * 1e-13
    frame = pd.DataFrame({"subject": "s01", "trial": [3, 1, 4, 2]})
    with neuromag.copy()._unlock() as _:
        info = neuromag.copy()
    with info._unlock():
        info["sfreq"] = 125.0
    events = np.stack([np.arange(4) * 100 + 50, np.zeros(4, int), [1, 2, 2, 1]], 1)
    epochs = mne.EpochsArray(x, info, events, -0.096, {"left": 1, "right": 2}, metadata=frame)
    epochs.save(tmp_path / "a-epo.fif", fmt="double")
    views = read_meg(tmp_path / "a-epo.fif", picks="meg")
    sensors = views.about["meg"]
    assert [kind for kind in sensors.kinds].count("mag") == 3 and sensors.names == epochs.ch_names
    size = np.where(np.array(sensors.kinds) == "mag", 1e15, 1e13)
    np.testing.assert_allclose(views["meg"], x * size[:, None], rtol=1e-6)
    np.testing.assert_allclose(sensors.times(60), TIMES_125, atol=1e-12)
    assert np.isfinite(sensors.pos).all()
    assert views.metadata["trial"].tolist() == [3, 1, 4, 2]
    assert views.metadata["event_name"].tolist() == ["left", "right", "right", "left"]
    assert views.metadata["epoch"].tolist() == [0, 1, 2, 3]


def test_eeg_is_in_microvolts_and_called_eeg():
    views = read_meg(epochs_of(np.full((1, 2, 60), 2e-6), kinds="eeg"), picks="eeg")
    assert list(views) == ["eeg"] and views["eeg"].unique().tolist() == [2.0]


@pytest.mark.parametrize(("picks", "names"), [("grad", ["C1"]), ("meg", ["C0", "C1"]), (["C2", "C0"], ["C2", "C0"])])
def test_picks(picks, names):
    epochs = epochs_of(np.zeros((1, 3, 60)), kinds=["mag", "grad", "eeg"])
    assert read_meg(epochs, picks=picks).about["meg"].names == names


@pytest.mark.parametrize("picks", ["ecg", ["C0", "C9"], "magg"])
def test_wrong_picks_are_named_with_what_there_is(picks):
    epochs = epochs_of(np.zeros((1, 2, 60)), kinds=["mag", "eeg"])
    with pytest.raises(ValueError, match="no channels .*(ecg|C9|magg).*1 mag, 1 eeg"):
        read_meg(epochs, picks=picks)


@pytest.mark.parametrize("sfreq", [125.0, 250.0, 400.0, 600.614990234375, 1000.0])
@pytest.mark.parametrize("first_samp", [0, 1234])
def test_trials_of_a_raw_lie_where_their_events_are(sfreq, first_samp):
    samples = np.round(np.array([1.0, 2.5, 3.7]) * sfreq).astype(int)
    times = np.arange(int(5 * sfreq)) / sfreq
    x = sum((i + 1) * bump(times, s / sfreq + 0.1) for i, s in enumerate(samples)) * 1e-13
    raw = raw_of(x[None], sfreq, first_samp=first_samp)
    events = np.stack([samples + first_samp, np.zeros(3, int), [5, 5, 7]], 1)
    views = read_meg(raw, tmin=-0.096, tmax=0.376, events=events)
    sensors = views.about["meg"]
    assert sensors.sfreq == 125 and abs(sensors.tmin + 0.096) <= 0.5 / sfreq
    assert views["meg"].shape == (3, 1, 60)
    truth = np.outer([100, 200, 300], bump(sensors.times(60), 0.1))
    np.testing.assert_allclose(views["meg"][:, 0], truth, atol=0.05)
    assert views.metadata["event"].tolist() == [5, 5, 7]


@pytest.mark.parametrize("sfreq", [250.0, 400.0, 1000.0])
def test_resampled_epochs_keep_their_times(sfreq):
    times = np.arange(round(-0.2 * sfreq), round(0.6 * sfreq)) / sfreq
    epochs = epochs_of(bump(times, 0.15)[None, None] * 1e-13, sfreq, times[0])
    views = read_meg(epochs, tmin=0.0, tmax=0.4)
    times = views.about["meg"].times(views["meg"].shape[-1])
    assert times[0] == pytest.approx(0.0, abs=1e-9) and times[-1] == pytest.approx(0.4, abs=1e-9)
    np.testing.assert_allclose(views["meg"][0, 0], 100 * bump(times, 0.15), atol=0.05)


def test_the_recording_around_a_trial_leaves_no_edge():
    """A slope is a slope to the last sample, in a trial cut from a longer recording."""
    sfreq = 1000.0
    x = np.cumsum(np.random.default_rng(0).standard_normal(8000)) * 1e-14
    x = mne.filter.filter_data(x, sfreq, None, 30)
    views = read_meg(raw_of(x[None], sfreq), tmin=-0.1, tmax=0.3, events=np.array([[4000, 0, 1]]))
    np.testing.assert_allclose(views["meg"][0, 0], x[3900:4301:8] * 1e15, atol=0.1)


@pytest.mark.parametrize("whole", [True, False])
def test_resampling_folds_nothing_back(whole):
    times = np.arange(5000) / 1000
    x = np.stack([np.sin(2 * np.pi * f * times) for f in (20, 65, 100)]) * 1e-13
    source = raw_of(x, 1000.0) if whole else epochs_of(x[None], 1000.0, 0.0)
    views = read_meg(source, tmin=0.5, tmax=4.0, events=np.array([[0, 0, 1]]) if whole else None)
    kept, near, far = views["meg"][0].abs().amax(-1)
    assert kept == pytest.approx(100, abs=0.5) and near < 0.1 and far < 0.1


def test_resample_of_white_noise_is_linear_and_has_the_right_length():
    x = np.random.default_rng(0).standard_normal((2, 3, 400))
    y = resample(x, 400, 125)
    assert y.shape == (2, 3, 125)
    np.testing.assert_allclose(resample(2 * x[0], 400, 125), 2 * y[0])
    with pytest.raises(ValueError, match="positive.*0"):
        resample(x, 0, 125)


@pytest.mark.parametrize("whole", [True, False])
def test_band_pass_keeps_the_phase(whole):
    times = np.arange(6000) / 500
    x = np.stack([np.sin(2 * np.pi * f * times) for f in (0.05, 10, 80)]) * 1e-13
    source = raw_of(x, 500.0) if whole else epochs_of(x[None], 500.0, 0.0)
    events = np.array([[0, 0, 1]]) if whole else None
    views = read_meg(source, tmin=4.0, tmax=8.0, band=(2, 40), events=events)
    slow, kept, fast = views["meg"][0].numpy()
    expected = 100 * np.sin(2 * np.pi * 10 * views.about["meg"].times(len(kept)))
    assert np.abs(slow).max() < 1 and np.abs(fast).max() < 1
    np.testing.assert_allclose(kept, expected, atol=0.5)
    assert views.about["meg"].info["highpass"] == 2


@pytest.mark.parametrize(
    ("band", "said"),
    [((0.1, 40), "filter .* only 0.48 s"), ((40, 1), "low < high"), ((None, 70), "62.5")],
)
def test_a_filter_that_cannot_be_is_refused(band, said):
    with pytest.raises(ValueError, match=said):
        read_meg(epochs_of(np.zeros((1, 1, 60))), band=band)


def test_baseline():
    x = np.random.default_rng(0).standard_normal((2, 1, 60)) * 1e-13
    views = read_meg(epochs_of(x), baseline=(None, 0))
    np.testing.assert_allclose(views["meg"], (x - x[..., :13].mean(-1, keepdims=True)) * 1e15, rtol=1e-4, atol=1e-4)
    assert "baseline from -0.096 to 0 s" in views.about["meg"].info["description"]
    with pytest.raises(ValueError, match=r"baseline \(1, 2\).*-0.096 to 0.376"):
        read_meg(epochs_of(x), baseline=(1, 2))


def test_the_steps_survive_saving(tmp_path):
    epochs = epochs_of(np.zeros((2, 2, 240)), 500.0, -0.1)
    read_meg(epochs, band=(None, 40), baseline=(None, 0)).save(tmp_path / "v")
    said = Views.open(tmp_path / "v").about["meg"].info["description"]
    assert said == "below 40 Hz, zero phase; resampled from 500 to 125 Hz; baseline from -0.1 to 0 s; in fT"


def test_what_is_given_stays_as_it_is():
    epochs = epochs_of(np.random.default_rng(0).standard_normal((2, 2, 200)), 250.0)
    before = epochs.get_data().copy()
    read_meg(epochs, band=(None, 40), baseline=(None, 0), tmin=0, tmax=0.1)
    np.testing.assert_array_equal(epochs.get_data(), before)
    assert epochs.info["sfreq"] == 250 and epochs.info["description"] is None


# MEG: what is missing --------------------------------------------------------------------------------------------


def test_bad_channels_and_gaps_are_masked():
    x = np.ones((3, 3, 120)) * 1e-13
    x[1, 2, 40:50] = np.nan
    epochs = epochs_of(x, 250.0)
    epochs.info["bads"] = ["C0"]
    views = read_meg(epochs)
    expected = torch.ones(3, 3, 60, dtype=torch.bool)
    expected[:, 0], expected[1, 2] = False, False
    assert torch.equal(views.present["meg"], expected)
    assert views["meg"].isfinite().all()


def test_a_gap_in_a_raw_masks_the_trials_it_is_in():
    x = np.random.default_rng(0).standard_normal((2, 5000)) * 1e-13
    x[1, 2100:2110] = np.nan
    events = np.array([[1000, 0, 1], [2000, 0, 1], [3000, 0, 1]])
    views = read_meg(raw_of(x, 1000.0), tmin=-0.1, tmax=0.3, events=events, band=(None, 40))
    assert views.present["meg"][:, :, 0].tolist() == [[True, True], [True, False], [True, True]]
    assert views["meg"].isfinite().all() and views["meg"][2, 1].std() > 1


def test_dropped_epochs_are_said(tmp_path, caplog):
    epochs = epochs_of(np.zeros((4, 1, 60)), metadata=pd.DataFrame({"trial": range(4)}))
    epochs.drop([1], reason="MUSCLE")
    epochs.save(tmp_path / "b-epo.fif")
    views = read_meg(tmp_path / "b-epo.fif")
    assert "b-epo.fif lacks 1 of 4 epochs, which were dropped: 1 (MUSCLE)" in caplog.text
    assert views.metadata["trial"].tolist() == views.metadata["epoch"].tolist() == [0, 2, 3]
    with pytest.raises(ValueError, match="no epoch left of 4"):
        read_meg(epochs.drop([0, 1, 2]))


def test_trials_beyond_the_recording_and_in_bad_segments_are_said(caplog):
    raw = raw_of(np.zeros((1, 4000)), 1000.0)
    raw.set_annotations(mne.Annotations([1.9], [0.2], ["BAD_jump"]))
    table = pd.DataFrame({"onset": [1.0, 2.0, 3.9], "word": ["a", "b", "c"]})
    views = read_meg(raw, tmin=-0.1, tmax=0.3, events=table)
    assert views.metadata["word"].tolist() == ["a"]
    assert "lacks 2 of 3 epochs" in caplog.text and "1 (BAD_jump), 2 (TOO_SHORT)" in caplog.text


# MEG: events -----------------------------------------------------------------------------------------------------


def stimulated(first_samp=500) -> mne.io.RawArray:
    x = np.zeros((2, 4000))
    x[1, [1000, 2000, 3000]] = [1, 2, 1]
    return raw_of(x, 1000.0, ["mag", "stim"], first_samp)


@pytest.mark.parametrize(
    ("event_id", "codes", "names"),
    [
        (None, [1, 2, 1], ["1", "2", "1"]),
        ({"face": 1}, [1, 1], ["face", "face"]),
        (["2"], [2], ["2"]),
    ],
)
def test_events_of_the_stimulus_channel(event_id, codes, names):
    views = read_meg(stimulated(), tmin=-0.1, tmax=0.3, event_id=event_id)
    assert views.metadata["event"].tolist() == codes and views.metadata["event_name"].tolist() == names
    assert views.about["meg"].names == ["C0"]


def test_events_of_annotations():
    raw = raw_of(np.zeros((1, 4000)), 1000.0)
    raw.set_annotations(mne.Annotations([1.0, 2.0, 3.0], 0, ["face", "BAD", "house"]))
    assert read_meg(raw, tmin=-0.1, tmax=0.3).metadata["event_name"].tolist() == ["face", "house"]
    assert read_meg(raw, tmin=-0.1, tmax=0.3, event_id="house").metadata["event_name"].tolist() == ["house"]


def test_events_of_a_table_on_disk(tmp_path):
    x = np.zeros((1, 4000))
    x[0, 3000:] = 1e-13
    pd.DataFrame({"onset": [1.0, 3.2], "trial_type": ["no", "yes"], "rt": [0.5, 0.6]}).to_csv(
        tmp_path / "events.tsv", sep="\t", index=False
    )
    views = read_meg(
        raw_of(x, 1000.0, first_samp=777), tmin=0.0, tmax=0.3, events=tmp_path / "events.tsv", event_id=["yes"]
    )
    assert views.metadata["rt"].tolist() == [0.6] and views["meg"].mean().round() == 100


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "no events: no stimulus channel"),
        ({"events": pd.DataFrame({"time": [1.0]})}, "column onset"),
        ({"events": np.array([[1.0, 0, 1]])}, "whole numbers"),
        (
            {"events": np.array([[1000, 0, 1]]), "event_id": {"face": 3}},
            r"no event \{'face': 3\}; there are \{'1': 1\}",
        ),
        (
            {"events": pd.DataFrame({"onset": [1.0]}), "event_id": ["face"]},
            r"no event \['face'\]; there are \{'trial': 1\}",
        ),
        ({"tmin": None}, "tmin < tmax"),
    ],
)
def test_wrong_events_are_named(more, said):
    with pytest.raises(ValueError, match=said):
        read_meg(raw_of(np.zeros((1, 4000)), 1000.0), **{"tmin": -0.1, "tmax": 0.3} | more)


def test_a_stimulus_channel_without_pulses_is_named():
    with pytest.raises(ValueError, match="no pulse on C1"):
        read_meg(raw_of(np.zeros((2, 100)), 100.0, ["mag", "stim"]), tmin=-0.1, tmax=0.1)


def test_projections_in_the_file_are_applied_and_said(tmp_path):
    x = np.random.default_rng(0).standard_normal((3, 4000)) * 1e-6
    raw = raw_of(x, 1000.0, "eeg")
    raw.set_eeg_reference(projection=True)
    raw.save(tmp_path / "c_raw.fif")
    views = read_meg(
        tmp_path / "c_raw.fif", picks="eeg", tmin=0.0, tmax=1.0, events=np.array([[500, 0, 1]]), sfreq=None
    )
    np.testing.assert_allclose(views["eeg"][0], (x - x.mean(0))[:, 500:1501] * 1e6, atol=1e-4)
    assert views.about["eeg"].info["description"] == "1 projections; in uV"


# MEG: files ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["a-epo.fif", "a_raw.fif", "a_raw.fif.gz"])
def fif(request, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("fif") / request.param
    source = stimulated() if "raw" in request.param else epochs_of(np.ones((6, 2, 60)) * 1e-13)
    source.save(path)
    return path


def test_a_whole_file_is_read(fif):
    assert read_meg(fif, tmin=-0.09, tmax=0.3)["meg"].shape[1:] == (2 if "epo" in fif.name else 1, 49)


@pytest.mark.parametrize("kept", [0.0005, 0.05, 0.3, 0.7, 0.95, -16, -1])
def test_a_file_that_is_cut_short_is_named(fif, tmp_path, kept):
    data = fif.read_bytes()
    cut = tmp_path / fif.name
    cut.write_bytes(data[: round(kept * len(data)) if kept > 0 else kept])
    with pytest.raises(ValueError, match=f"{fif.name}.*(cut short|not a FIF)"):
        read_meg(cut, tmin=-0.09, tmax=0.3)


def test_files_of_another_kind_are_named(tmp_path):
    (tmp_path / "a.fif").write_text("subject\ttrial\n" * 5)
    evoked = epochs_of(np.zeros((2, 1, 60))).average()
    evoked.save(tmp_path / "a-ave.fif")
    with pytest.raises(ValueError, match="a.fif is not a FIF file"):
        read_meg(tmp_path / "a.fif")
    with pytest.raises(ValueError, match="a-ave.fif holds evoked"):
        read_meg(tmp_path / "a-ave.fif")
    with pytest.raises(FileNotFoundError, match="no recording .*b.fif"):
        read_meg(tmp_path / "b.fif")
    with pytest.raises(TypeError, match="ndarray"):
        read_meg(np.zeros(3))


# tables ----------------------------------------------------------------------------------------------------------


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_table_becomes_data_and_metadata(tmp_path):
    path = write(tmp_path / "a.tsv", "subject\ttrial\trt\tright\ts\nx\t1\t0.25\tTrue\t3\ny\t2\tn/a\tFalse\t4\n")
    write(tmp_path / "a.json", '{"rt": {"Units": "s"}, "trial": "no units"}')
    views = read_table(path, keys=["trial"])
    assert views.about["table"] == {"columns": ["rt", "right", "s"], "units": ["s", "", ""]}
    assert views["table"].tolist() == [[0.25, 1, 3], [0, 0, 4]] and views["table"].dtype == torch.float32
    assert views.present["table"].tolist() == [[True] * 3, [False, True, True]]
    assert views.metadata.to_dict("list") == {"subject": ["x", "y"], "trial": [1, 2]}
    assert read_table(path, ["s", "rt"])["table"][0].tolist() == [3, 0.25]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_kinds_of_tables(tmp_path, name):
    pd.DataFrame({"a": [1.5, 2.5], "b": ["x, y", "z"]}).to_csv(tmp_path / name, index=False)
    views = read_table(tmp_path / name)
    assert views["table"].tolist() == [[1.5], [2.5]] and views.metadata["b"].tolist() == ["x, y", "z"]


def test_parquet(tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: it is the extra ivekit[parquet]")
    pd.DataFrame({"a": [1.5, None], "b": ["x, y", "z"]}).to_parquet(tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet").present["table"].tolist() == [[True], [False]]
    with pytest.raises(ValueError, match="b.parquet cannot be read"):
        read_table(write(tmp_path / "b.parquet", "a,b"))


@pytest.mark.parametrize(
    ("name", "text", "columns", "said"),
    [
        ("a.csv", "a,b\n1,2\n", ["c"], r"a.csv has no column \['c'\]; there are \['a', 'b'\]"),
        ("a.csv", "a,b\n1,x\n", ["b"], r"\['b'\] are no numbers"),
        ("a.csv", "a,b\nx,y\n", None, "holds numbers"),
        ("a.csv", "a,b\n1,2\n3\n", None, "a.csv cannot be read: line 3 has 1 fields, the first has 2"),
        ("a.csv", "a,b\n", None, "no rows"),
        ("a.csv", "", None, "a.csv cannot be read"),
        ("a.xlsx", "a", None, "a.xlsx is no table known here"),
    ],
)
def test_wrong_tables_are_named(tmp_path, name, text, columns, said):
    with pytest.raises(ValueError, match=said):
        read_table(write(tmp_path / name, text), columns)


# physiology ------------------------------------------------------------------------------------------------------


def signals(tmp_path: Path, seconds=100) -> Path:
    times = np.arange(seconds * 100) / 100
    frame = pd.DataFrame({"ECG": np.sin(2 * np.pi * 1.2 * times), "EDA": times, "note": "x"})
    frame.loc[1000:1010, "EDA"] = np.nan
    frame.to_csv(tmp_path / "p.csv", index=False)
    return tmp_path / "p.csv"


def test_windows_of_physiology_lie_where_they_say(tmp_path):
    views = read_physio(signals(tmp_path), {"ecg": "ECG", "eda": "EDA"}, sfreq=100, step=4, block=50)
    assert views["ecg"].shape == (22, 1, 240) and views.about["ecg"].kinds == ["ecg"]
    assert views.metadata["start"].tolist() == [*range(0, 44, 4), *range(50, 94, 4)]
    assert views.metadata["block"].tolist() == [0] * 11 + [1] * 11
    starts = torch.tensor(views.metadata["start"].tolist(), dtype=torch.float64)
    times = starts[:, None] + torch.arange(240) / 30
    there = views.present["eda"][:, 0]
    torch.testing.assert_close(views["eda"][:, 0][there].double(), times[there], atol=2e-3, rtol=0)
    torch.testing.assert_close(views["ecg"][:, 0].double(), torch.sin(2 * torch.pi * 1.2 * times), atol=2e-2, rtol=0)
    assert set(times[~there].mul(30).round().int().tolist()) == set(range(300, 304))


def test_blocks_of_physiology_share_nothing(tmp_path):
    path = signals(tmp_path)
    frame = pd.read_csv(path)
    frame.loc[5000:, "ECG"] = 1e6
    frame.to_csv(tmp_path / "q.csv", index=False)
    one, other = (read_physio(p, {"ecg": "ECG"}, sfreq=100, block=50) for p in (path, tmp_path / "q.csv"))
    first = one.metadata["block"] == 0
    assert torch.equal(one[first]["ecg"], other[first]["ecg"])


def test_wrong_physiology_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"p.csv has no column \['PPG'\]"):
        read_physio(signals(tmp_path), {"ppg": "PPG"}, sfreq=100)
    with pytest.raises(ValueError, match="windows of 200 s .* p.csv is 100 s long"):
        read_physio(signals(tmp_path), {"ecg": "ECG"}, sfreq=100, window=200)


# films -----------------------------------------------------------------------------------------------------------

N, FPS, LEVEL = 80, 25, 3


def film(path: Path, codec="libx264", pix_fmt="yuv420p", stamps=None, **options) -> Path:
    """Frame i is grey of level 3 i, all of it; codec and options as ffmpeg's."""
    container = {"movflags": options.pop("movflags")} if "movflags" in options else {}
    with av.open(str(path), "w", options=container) as file:
        stream = file.add_stream(codec, rate=FPS, options={key: str(value) for key, value in options.items()})
        stream.width = stream.height = 32
        stream.pix_fmt = pix_fmt
        for i in range(N):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32), LEVEL * i, np.uint8), format="gray")
            frame.pts, frame.time_base = (i if stamps is None else stamps[i]), Fraction(1, FPS)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def levels(views) -> np.ndarray:
    """The numbers of the frames that are seen."""
    return np.rint(views["video"].mean((1, 3, 4)).numpy() * 255 / LEVEL).astype(int)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {"crf": 4, "g": 30, "bf": 2}),
        ("a.mp4", {"crf": 4, "g": 1000}),
        ("a.mkv", {"codec": "ffv1", "pix_fmt": "gray"}),
        ("a.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p", "q": 1}),
    ],
)
def test_frames_lie_where_their_onsets_are(tmp_path, name, options):
    onsets = [2.0, 0.0, 0.4, 0.4001, 0.3999, 2.56, 0.415]
    views = read_video(film(tmp_path / name, **options), onsets, 16)
    firsts = np.array([50, 0, 10, 10, 10, 64, 10])
    np.testing.assert_array_equal(levels(views), firsts[:, None] + np.arange(16))
    assert views["video"].shape == (7, 1, 16, 32, 32) and views["video"].dtype == torch.float32
    assert views.about["video"] == {"fps": 25.0} and views.present["video"].all()


def test_another_rate_size_and_colour(tmp_path):
    path = film(tmp_path / "a.mkv", "ffv1", "gray")
    views = read_video(path, [1.0], 4, size=(8, 16), grey=False, fps=5)
    assert views["video"].shape == (1, 3, 4, 8, 16) and levels(views).tolist() == [[25, 30, 35, 40]]
    assert views.about["video"]["fps"] == 5
    np.testing.assert_allclose(views["video"][0, :, 0].flatten(1).mean(1), 25 * LEVEL / 255, atol=1e-6)


def test_frames_of_uneven_length_are_shown_until_the_next(tmp_path):
    stamps = [i if i < 10 else i + 20 for i in range(N)]
    views = read_video(film(tmp_path / "a.mkv", "ffv1", "gray", stamps), [0.2], 30)
    assert levels(views)[0].tolist() == [5, 6, 7, 8, *[9] * 21, 10, 11, 12, 13, 14]


def test_trials_out_of_the_film_are_missing_and_said(tmp_path, caplog):
    frame = pd.DataFrame({"trial": range(4)})
    views = read_video(film(tmp_path / "a.mp4"), [0.0, np.nan, 2.6, -1.0], 16, metadata=frame)
    assert views.present["video"].tolist() == [True, False, False, False]
    assert "a.mp4 lacks 3 of 4 trials: 1 (no onset), 2 (at 2.6 s), 3 (at -1 s); the film is 3.16 s long" in caplog.text
    assert views["video"][1:].abs().max() == 0 and views.metadata is frame


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.8, 0.95, 0.99, 0.999])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {"crf": 4}),
        ("a.mp4", {"crf": 4, "movflags": "faststart"}),
        ("a.mkv", {"crf": 4}),
        ("a.mkv", {"codec": "ffv1", "pix_fmt": "gray"}),
        ("a.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p", "q": 1}),
    ],
)
def test_a_film_that_is_cut_short_is_named(tmp_path, name, options, kept):
    """Or it lacks only what stands behind the pictures: an index, a title."""
    path = film(tmp_path / name, **options)
    data = path.read_bytes()
    path.write_bytes(data[: round(kept * len(data))])
    try:
        views = read_video(path, [0.0], N)
    except ValueError as error:
        assert name in str(error) and "cut short" in str(error)
    else:
        assert kept >= 0.95 and levels(views)[0].tolist() == list(range(N))


def test_a_film_that_is_cut_between_two_frames_is_named(tmp_path):
    """Every frame that is left is whole, so only the header tells."""
    path = film(tmp_path / "a.mp4", crf=4, movflags="faststart")
    with av.open(str(path)) as file:
        end = sorted(packet.pos + packet.size for packet in file.demux(video=0) if packet.size)[-9]
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(ValueError, match="a.mp4 is cut short: its header says 80 frames, 72 are whole"):
        read_video(path, [0.0], 16)


def test_a_film_that_is_damaged_is_named(tmp_path):
    path = film(tmp_path / "a.mp4", crf=4)
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + 1000
    data[middle : middle + 200] = bytes(range(200))
    path.write_bytes(data)
    with pytest.raises(ValueError, match="a.mp4 .*damaged"):
        read_video(path, [0.0], N)


def test_wrong_films_are_named(tmp_path):
    path = film(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="no trial lies in a.mp4: onsets go from 2000 to 3000 s, the film is 3.16 s"):
        read_video(path, [2000, 3000], 16)
    with pytest.raises(ValueError, match="3 rows of metadata"):
        read_video(path, [0.0], 16, metadata=pd.DataFrame({"trial": range(3)}))
    with pytest.raises(ValueError, match="onsets must be"):
        read_video(path, [0.0], 0)
    with pytest.raises(ValueError, match="b.mp4 cannot be read"):
        read_video(write(tmp_path / "b.mp4", "words"), [0.0], 16)
    with av.open(str(tmp_path / "c.wav"), "w") as sound:
        stream = sound.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.rate = 8000
        sound.mux([*stream.encode(frame), *stream.encode()])
    with pytest.raises(ValueError, match="c.wav has no picture"):
        read_video(tmp_path / "c.wav", [0.0], 1)


# joining ---------------------------------------------------------------------------------------------------------


def part(trials, subject="s1", **columns) -> Views:
    frame = pd.DataFrame({"subject": subject, "trial": trials, **columns})
    return Views({"x": torch.tensor(trials, dtype=torch.float)[:, None]}, metadata=frame)


def test_trials_are_put_side_by_side_and_what_is_missing_is_said(caplog):
    film = part([3, 0, 1])
    film = film.masked(x=torch.tensor([True, False, True]))
    views = join({"meg": part([2, 0, 1], word=["c", "a", "b"]), "video": film})
    assert views.metadata.to_dict("list") == {
        "subject": ["s1"] * 4,
        "trial": [0, 1, 2, 3],
        "word": ["a", "b", "c", pytest.approx(np.nan, nan_ok=True)],
    }
    assert views.present["meg"].tolist() == [True, True, True, False]
    assert views.present["video"].tolist() == [False, True, False, True]
    for name in views:
        assert torch.equal(views[name][views.present[name], 0], torch.arange(4.0)[views.present[name]])
    assert "meg is missing in 1 of 4 trials: s1/3" in caplog.text
    assert "video is missing in 2 of 4 trials: s1/0, s1/2" in caplog.text


def test_a_whole_join_says_nothing(caplog):
    assert len(join({"a": part([0, 1]), "b": part([1, 0])})) == 2
    assert not caplog.records


def test_masks_of_elements_and_descriptions_are_kept():
    table = Views(
        {"t": torch.ones(2, 3)},
        {"t": torch.tensor([[True, False, True], [True] * 3])},
        about={"t": {"columns": list("abc")}},
    )
    table = Views(table.tensors, table.present, pd.DataFrame({"k": ["b", "a"]}), table.about)
    other = Views({"o": torch.zeros(1)}, metadata=pd.DataFrame({"k": ["c"]}))
    views = join(
        {
            "behaviour": table,
            "o": Views.concat([other, Views({"o": torch.ones(1)}, metadata=pd.DataFrame({"k": ["a"]}))]),
        },
        on=["k"],
    )
    assert views.present["behaviour"].tolist() == [[True] * 3, [True, False, True], [False] * 3]
    assert views.about == {"behaviour": {"columns": list("abc")}}


def test_columns_that_disagree_are_kept_apart():
    views = join({"a": part([0, 1], word=["x", "y"], day=[1, 1]), "b": part([0, 1], word=["x", "z"], day=[1, 1])})
    assert list(views.metadata) == ["subject", "trial", "a.word", "b.word", "day"]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (part([0, 0]), "'b' has subject, trial = s1/0 twice"),
        (part([7, 8]), r"no trial is in two of the parts.*a \('s1', 0\), b \('s1', 7\)"),
        (part([0, 1], subject=1), r"no trial is in two of the parts.*a \('s1', 0\), b \(1, 0\)"),
        (part([0, 1], subject=[None, "s1"]), "'b' has no subject, trial in 1 rows, first in row 0"),
        (Views({"x": torch.ones(2)}), r"metadata of 'b' has no \['subject', 'trial'\]"),
    ],
)
def test_wrong_keys_are_named(other, said):
    with pytest.raises(ValueError, match=said):
        join({"a": part([0, 1]), "b": other})


def test_messages_come_from_one_logger(caplog):
    with caplog.at_level(logging.WARNING, "ivekit"):
        join({"a": part([0, 1]), "b": part([1])})
    assert all(record.name.startswith("ivekit.") for record in caplog.records) and caplog.records
