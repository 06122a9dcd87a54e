"""HDF5 files named {task}_{subject}_{chunk}.h5 become windows of rows."""

from __future__ import annotations

import logging

import h5py
import numpy as np
import pytest
import torch

from ivekit import Sensors
from ivekit.io import read_h5


def store(folder, name: str, x: np.ndarray, key: str = "data") -> None:
    with h5py.File(folder / name, "w") as file:
        file[key] = x


def tone(frequency: float, seconds: float, sfreq: float, n_chans: int = 3) -> np.ndarray:
    t = np.arange(round(seconds * sfreq)) / sfreq
    return np.stack([(c + 1) * np.sin(2 * np.pi * frequency * t + c) for c in range(n_chans)])


def test_windows_say_where_they_are_from(tmp_path):
    for name in ("rest_105923_1.h5", "rest_105923_2.h5", "task_story_math_105923_1.h5", "task_motor_100307_7.h5"):
        store(tmp_path, name, tone(5, 4.5, 2034))
    views = read_h5(tmp_path)
    assert views["meg"].shape == (16, 3, 125) and views["meg"].dtype == torch.float32
    frame = views.metadata
    assert list(frame) == ["task", "subject", "chunk", "start"]
    assert set(frame["task"]) == {"rest", "task_story_math", "task_motor"} and set(frame["subject"]) == {
        "105923",
        "100307",
    }
    assert frame["start"].tolist() == [0.0, 1.0, 2.0, 3.0] * 4
    assert views.about["label"]["classes"] == ["rest", "task_motor", "task_story_math"]
    assert [views.about["label"]["classes"][i] for i in views["label"]] == frame["task"].tolist()


@pytest.mark.parametrize("old", [2034, 2034.5101, 1017.25, 678.17, 250])
def test_a_slow_wave_survives_any_rate_and_a_fast_one_makes_no_alias(tmp_path, old):
    store(tmp_path, "rest_a_1.h5", tone(9, 6, old))
    store(tmp_path, "rest_a_2.h5", tone(0.47 * old if old == 250 else 117, 6, old))  # 117 Hz would be heard at 8 Hz
    views = read_h5(tmp_path, old=old, window=4.0, step=1.0)
    slow, fast = views["meg"][1].double().numpy(), views["meg"][len(views) // 2 + 1].double().numpy()
    t = 1 + np.arange(500) / 125
    expected = np.stack([(c + 1) * np.sin(2 * np.pi * 9 * t + c) for c in range(3)])
    np.testing.assert_allclose(slow, expected, atol=0.02)
    assert np.abs(fast).max() < 0.02


def test_windows_may_overlap_and_short_files_are_left_out_aloud(tmp_path, caplog):
    store(tmp_path, "rest_a_1.h5", tone(5, 3, 125))
    store(tmp_path, "rest_b_1.h5", tone(5, 0.5, 125))
    with caplog.at_level(logging.WARNING, "ivekit"):
        views = read_h5(tmp_path, old=125, step=0.4)
    assert views.metadata["start"].round(2).tolist() == [0.0, 0.4, 0.8, 1.2, 1.6, 2.0]
    torch.testing.assert_close(views["meg"][1, :, :75], views["meg"][0, :, 50:])
    assert "rest_b_1.h5 is shorter than one window" in caplog.text


def test_units_and_sensors_are_what_is_said(tmp_path):
    store(tmp_path, "rest_a_1.h5", 1e-13 * tone(5, 2, 125))
    sensors = Sensors(["a", "b", "c"], np.zeros((3, 2)), ["mag"] * 3, 125.0)
    views = read_h5(tmp_path, old=125, scale=1e15, sensors=sensors)
    assert views.about["meg"] is sensors and 90 < views["meg"][:, 0].abs().max() < 110
    with pytest.raises(ValueError, match="sensors are 3 mag at 125 Hz, the windows have 3 channels at 100 Hz"):
        read_h5(tmp_path, old=125, sfreq=100, sensors=sensors)


@pytest.mark.parametrize(
    ("name", "x", "found"),
    [
        ("rest.h5", tone(5, 2, 125), r"rest.h5 is not named \{task\}_\{subject\}_\{chunk\}.h5"),
        ("rest_a_1.h5", tone(5, 2, 125).T.copy(), "looks transposed"),
        ("rest_a_1.h5", np.zeros(9), "must hold one matrix, channels x samples; it has none"),
        ("rest_a_1.h5", tone(5, 0.1, 125), "none of 1 files is as long as a window of 1.0 s"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, name, x, found):
    store(tmp_path, name, x)
    with pytest.raises(ValueError, match=found):
        read_h5(tmp_path, old=125)


def test_files_that_do_not_fit_or_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no recording"):
        read_h5(tmp_path / "nowhere")
    (tmp_path / "rest_a_1.h5").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="rest_a_1.h5 cannot be read as HDF5"):
        read_h5(tmp_path)
    store(tmp_path, "rest_a_1.h5", tone(5, 2, 125))
    store(tmp_path, "rest_b_1.h5", tone(5, 2, 125, n_chans=4))
    with pytest.raises(ValueError, match="rest_b_1.h5 has 4 channels, those before it 3"):
        read_h5(tmp_path, old=125)
