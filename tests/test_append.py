"""Folders of rows are appended in constant memory; whoever is killed, at any moment, goes on where they were."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
import traceback
from functools import partial
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
import torch

from ivekit import NLL, MultimodalVAE, Objective, Sensors, Standardise, Views, ondisk
from ivekit.__main__ import main
from ivekit.io import prepare, read_bids, read_meg
from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
from ivekit.recipe.rows import fill_split, parts
from ivekit.signal import ZScore
from ivekit.training import evaluate, latents, train

mne.set_log_level("error")


def recording(i: int, size: int = 4) -> Views:
    """Five rows or so of a recording; the film is lacking in the second, pixels are masked in the third."""
    noise = torch.Generator().manual_seed(i)
    n = 4 + i
    tensors = {"film": torch.randn(n, 2, size, size, generator=noise), "rt": torch.rand(n, 1, generator=noise)}
    present = {"film": torch.rand(n, 2, size, size, generator=noise) > 0.2} if i == 2 else {}
    present |= {"rt": torch.arange(n) != 1} if i == 3 else {}
    about = {"film": {"fps": 25, "history": ["grey"]}, "rt": {"columns": ["rt"]}}
    frame = pd.DataFrame({"subject": f"0{i}", "trial": range(n)})
    views = Views(tensors, present, frame, about)
    return Views({"rt": views["rt"]}, None, frame, {"rt": about["rt"]}) if i == 1 else views


@pytest.fixture
def files(tmp_path):
    """Five recordings, each a saved folder."""
    for i in range(5):
        recording(i).save(tmp_path / "recordings" / f"r{i}")
    return sorted((tmp_path / "recordings").iterdir())


def expected() -> tuple[dict, dict, pd.DataFrame]:
    """All rows, by hand."""
    parts = [recording(i) for i in range(5)]
    blank = {"film": (2, 4, 4), "rt": (1,)}
    tensors = {n: torch.cat([p[n] if n in p else torch.zeros(len(p), *s) for p in parts]) for n, s in blank.items()}
    film = [
        torch.zeros(len(p), 2, 4, 4, dtype=torch.bool) if "film" not in p
        else p.present["film"] if p.present["film"].ndim > 1 else torch.ones(len(p), 2, 4, 4, dtype=torch.bool)
        for p in parts
    ]  # fmt: skip
    present = {"film": torch.cat(film), "rt": torch.cat([p.present["rt"] for p in parts])}
    return tensors, present, pd.concat([p.metadata for p in parts], ignore_index=True)


def check(views: Views) -> None:
    tensors, present, frame = expected()
    for name in tensors:
        assert torch.equal(views[name] + 0, tensors[name]) and torch.equal(views.present[name] & True, present[name])
    assert views.metadata.equals(frame) and views.about["film"] == {"fps": 25, "history": ["grey"]}


def forked(does) -> int:
    """The status of a child that did something: 0, or minus the signal that killed it."""
    if not (child := os.fork()):
        try:
            does()
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# one folder of many ---------------------------------------------------------------------------------------------


def test_any_reader_s_rows_come_one_after_another(files, tmp_path):
    check(prepare(files, tmp_path / "rows", Views.open))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recordings", "rows"]
    names = {path.name for path in (tmp_path / "rows").iterdir()}
    assert names == {"about.json", "film.npy", "film.present.npy", "metadata.tsv", "rt.npy", "rt.present.npy"}


def test_nothing_is_masked_where_nothing_is_missing(files, tmp_path):
    rows = prepare([files[0], files[4]], tmp_path / "rows", Views.open)
    assert not list((tmp_path / "rows").glob("*.present.npy")) and bool(rows.present["film"].all())
    rows = prepare([files[0], files[3]], tmp_path / "rows", Views.open, test=["03"])  # in its place; masks of rows
    assert rows.present["rt"].tolist() == [True] * 5 + [False] + [True] * 5
    assert rows.metadata["split"].tolist() == ["train"] * 4 + ["test"] * 7


def test_rows_without_a_subject_are_of_their_file(files, tmp_path):
    with pytest.raises(ValueError, match="must be a function of a module, or a functools.partial of one"):
        prepare(files[:2], tmp_path / "rows", lambda path: rt_alone(path))
    rows = prepare(files[:2], tmp_path / "rows", rt_alone)
    assert rows.metadata["recording"].tolist() == ["r0"] * 4 + ["r1"] * 5


def rt_alone(path: Path) -> Views:
    return Views({"rt": Views.open(path)["rt"]})


def test_what_does_not_fit_together_is_named(files, tmp_path):
    recording(3, size=5).save(files[3])
    with pytest.raises(ValueError, match=r"rows of 'film' are float32 \[2, 5, 5\] in r3, float32 \[2, 4, 4\] in r0"):
        prepare(files, tmp_path / "rows", Views.open)
    for i, names in enumerate((["A1", "A2"], ["A1", "A3"])):
        sensors = Sensors(names, np.zeros((2, 2)), ["mag"] * 2, 100.0)
        Views({"meg": torch.zeros(2, 2, 3)}, about={"meg": sensors}).save(files[i])
    with pytest.raises(ValueError, match=r"'meg' has other channels in r1 than in r0: \['A2', 'A3'\]"):
        prepare(files[:2], tmp_path / "rows", Views.open)
    assert not (tmp_path / "rows").exists()


def test_those_that_cannot_be_read_are_all_named_and_the_others_are_kept(files, tmp_path, monkeypatch):
    broken = [path / "rt.npy" for path in files[1:3]]
    whole = [path.read_bytes() for path in broken]
    for path in broken:
        path.write_bytes(b"no array")
    with pytest.raises(ValueError, match="(?s)r1.*r2.*2 of 5 recordings failed, the others are kept"):
        prepare(files, tmp_path / "rows", Views.open)
    for path, said in zip(broken, whole):
        path.write_bytes(said)
    read = []
    save = Views.save
    monkeypatch.setattr(Views, "save", lambda self, folder: (read.append(folder.name), save(self, folder)))
    check(prepare(files, tmp_path / "rows", Views.open))
    assert [name[:2] for name in read] == ["r1", "r2"]
    with pytest.raises(ValueError, match="cannot be read with {'tmin': 0}: .*unexpected keyword argument 'tmin'"):
        prepare(files, tmp_path / "rows", Views.open, tmin=0)


# killed ---------------------------------------------------------------------------------------------------------


def killed_at(event: int, does) -> int:
    """Does it in a child that is killed when it touches the file system for the n-th time."""
    count = iter(range(event))
    touches = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.listdir", "shutil.copyfile")

    def hook(name: str, _) -> None:
        if name in touches and next(count, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    def child() -> None:
        sys.addaudithook(hook)
        does()

    return forked(child)


def test_killed_anywhere_it_goes_on_and_ends_the_same(files, tmp_path):
    outcomes = []
    for event in range(5, 1000, 11):
        out = tmp_path / f"rows{event}"
        task = partial(prepare, files, out, Views.open, test=["04"])
        outcomes.append(killed_at(event, task))
        assert not out.exists() or outcomes[-1] == 0 or len(Views.open(out)) == 30  # whole or not at all
        if outcomes[-1] == 0:
            break
        assert killed_at(event + 60, task) in (0, -signal.SIGKILL)
        rows = task()
        check(Views(rows.tensors, rows.present, rows.metadata.drop(columns="split"), rows.about))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["recordings", out.name]
        for path in out.iterdir():
            path.unlink()
        out.rmdir()
    assert outcomes[-1] == 0 and outcomes.count(-signal.SIGKILL) > 15


def slow(path: Path, told: Path) -> Views:
    """A reader that says who reads, and takes its time over all but the first two."""
    (told / f"{path.name} {os.getpid()}").touch()
    if path.name > "r1":
        time.sleep(60)
    return Views.open(path)


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_processes_of_one_that_is_killed_end_too(files, tmp_path):
    told = tmp_path / "told"
    told.mkdir()
    if not (child := os.fork()):
        prepare(files, tmp_path / "rows", slow, told=told, processes=2)
        os._exit(0)
    until = time.monotonic() + 400
    while len(list(told.iterdir())) < 4 and time.monotonic() < until:
        time.sleep(0.1)
    workers = {int(path.name.split()[1]) for path in told.iterdir()}
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(workers) == 2 and child not in workers
    while any(map(alive, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(alive, workers)) and not (tmp_path / "rows").exists()
    assert len(list((tmp_path / ".rows-parts").glob("r[01]-*/about.json"))) == 2


# memory ---------------------------------------------------------------------------------------------------------


def growth(does) -> int:
    """Bytes of resident memory, at their peak, that doing something in a child takes beyond what it began with."""
    read, write = os.pipe()

    def child() -> None:
        ctypes.CDLL(None).mallopt(-3, 2**20)  # what is freed is given back: holes between blocks do not count
        Path("/proc/self/clear_refs").write_text("5")  # the peak is that from here on
        before = resident("VmRSS")
        does()
        os.write(write, str(resident("VmHWM") - before).encode())

    assert forked(child) == 0
    os.close(write)
    with os.fdopen(read) as said:
        return int(said.read())


def resident(what: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(what))


def ones(path: Path) -> Views:
    """A recording of 16 MB, with NaN that is masked."""
    x = torch.ones(100, 40, 1000)
    x[3, 5] = torch.nan
    return Views({"meg": x}).mask_nan()


def learn(folder: Path) -> None:
    """All that training asks of rows: their split, statistics, batches, terms and latents."""
    rows = parts(fill_split(Views.open(folder)))
    standardise = Standardise.fit(rows["train"], meg=ZScore())
    encoder = torch.nn.Sequential(torch.nn.Flatten(), MLPEncoder(40_000, 4))
    decoder = Gaussian(MLPDecoder(2, (40, 1000), widths=(4,)))
    model = MultimodalVAE({"meg": encoder}, ProductOfExperts(["meg"], 4, 2), {"meg": decoder}, standardise=standardise)
    for step in train(model, Objective(nll=NLL()), rows["train"], batch_size=32, epochs=1, device="cpu", seed=0):
        assert bool(step.loss.isfinite())
    assert evaluate(model, Objective(nll=NLL()), rows["test"], 32)["nll"] > 0
    assert len(latents(model, rows["validation"], 32)["shared"]) == len(rows["validation"])


@pytest.mark.skipif(sys.platform != "linux", reason="peaks of resident memory are read from /proc")
def test_preparing_and_training_take_the_memory_of_some_rows(tmp_path, monkeypatch):
    """With four times the rows it is not 300 MB more."""
    monkeypatch.setattr(ondisk, "LARGE", 2**23)
    monkeypatch.setattr(ondisk, "BLOCK", 2**22)
    files = [tmp_path / f"r{i:02d}" for i in range(20)]
    for path in files:
        path.touch()
    few, many = (growth(partial(prepare, files[:n], tmp_path / f"{n} rows", ones)) for n in (5, 20))
    assert many - few < 60e6
    rows = Views.open(tmp_path / "20 rows")
    assert rows["meg"].nbytes + rows.present["meg"].nbytes == 400e6
    few, many = (growth(partial(learn, tmp_path / f"{n} rows")) for n in (5, 20))
    assert many - few < 100e6
    assert growth(lambda: rows["meg"][torch.arange(2000) != 5].whole()) > 310e6  # a peak would be seen


# the command ----------------------------------------------------------------------------------------------------


def raw(seed: int, n: int = 3) -> mne.io.RawArray:
    info = mne.create_info(["Fz", "Cz"], 200.0, "eeg")
    info["line_freq"] = 50
    x = np.random.default_rng(seed).normal(0, 2e-5, (2, 1000))
    return mne.io.RawArray(x, info).set_annotations(mne.Annotations([1.0, 2.0, 3.0][:n], 0.0, ["go"] * n))


def test_the_command_prepares_a_folder_of_recordings(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("eeg").mkdir()
    for i in range(3):
        raw(i).save(f"eeg/s{i}_raw.fif")
    Path("eeg/notes.txt").write_text("no recording")
    how = ["tmin=-0.1", "tmax=0.4", "picks=eeg", "band=[null, 40]"]
    main(["prepare", "eeg", *how, "--out", "rows", "--sfreq", "100", "--test", "s2_raw"])
    assert "Views of 9 rows" in capsys.readouterr().out
    rows = Views.open("rows")
    again = Views.concat(
        read_meg(f"eeg/s{i}_raw.fif", tmin=-0.1, tmax=0.4, picks="eeg", band=(None, 40), sfreq=100) for i in range(3)
    )
    assert torch.equal(rows["eeg"], again["eeg"]) and rows.about["eeg"].sfreq == 100
    assert rows.metadata["recording"].tolist() == ["s0_raw"] * 3 + ["s1_raw"] * 3 + ["s2_raw"] * 3
    assert rows.metadata["split"].tolist() == ["train"] * 6 + ["test"] * 3
    assert rows.history.equals(again.history)
    with pytest.raises(SystemExit, match="unexpected keyword argument 'window'"):
        main(["prepare", "eeg", "--out", "rows2", "--window", "3"])
    with pytest.raises(SystemExit, match="empty holds no file that ends in .fif"):
        Path("empty").mkdir()
        main(["prepare", "empty", "--out", "rows2"])


def test_the_command_prepares_a_bids_folder_by_subject(tmp_path, capsys):
    mne_bids = pytest.importorskip("mne_bids", reason="mne-bids is not installed: it is the extra ivekit[bids]")
    for i, subject in enumerate(("01", "02")):
        where = mne_bids.BIDSPath(subject, task="go", root=tmp_path / "study", datatype="eeg")
        mne_bids.write_raw_bids(raw(i), where, allow_preload=True, format="BrainVision", verbose="error")
    main(["prepare", str(tmp_path / "study"), "tmin=0", "tmax=0.5", "--out", str(tmp_path / "rows"), "--test", "02"])
    rows, again = Views.open(tmp_path / "rows"), read_bids(tmp_path / "study", tmin=0, tmax=0.5)
    assert torch.equal(rows["eeg"], again["eeg"]) and rows.metadata["subject"].tolist() == ["01"] * 3 + ["02"] * 3
    assert rows.metadata["split"].tolist() == ["train"] * 3 + ["test"] * 3
    main(["prepare", str(tmp_path / "study" / "sub-02"), "tmin=0", "tmax=0.5", "--out", str(tmp_path / "second")])
    assert Views.open(tmp_path / "second").metadata["subject"].unique().tolist() == ["02"]
    assert "Views of 3 rows" in capsys.readouterr().out
