"""From recordings, a file a subject, to one folder of saved rows that every recipe trains on."""

from __future__ import annotations

import hashlib
import inspect
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from glob import escape
from multiprocessing import get_context, parent_process
from pathlib import Path
from pickle import PicklingError, dumps
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from .. import store
from ..atomic import sweep, whole, writing
from ..fif import later_parts
from ..views import Views
from . import asked
from .append import append
from .bids import read_bids
from .guard import reachable
from .meg import read_meg
from .physio import Band, read_physio
from .signals import read_signals

TABLES = (".csv", ".tsv", ".parquet", ".csv.gz", ".tsv.gz")
MEG = (".fif", ".fif.gz", ".ds", ".con", ".sqd", ".edf", ".bdf", ".gdf", ".vhdr", ".set", ".cnt", ".mff")
Reader = Callable[..., Views]
log = logging.getLogger("ivekit")


def prepare(
    files: str | Path | Iterable[str | Path],
    out: str | Path,
    read: Reader | Mapping[str, str],
    *,
    validation: Sequence[str] = (),
    test: Sequence[str] = (),
    processes: int = 1,
    **how: Any,
) -> Views:
    """Reads recordings, one after another or several at once, says who is for what, and saves all rows as one folder.

    However much it is, a recording is in memory at a time, one a process.

    files : the recordings, files or folders, each with a name of its own; or one.
    out : the folder, which `Views.open` and ``train RECIPE data=OUT`` take. It is there whole or not at all.
    read : what makes `Views` of a path, such as `read_meg`. Or {view: column}: the files are tables of signals, or
        folders of such, a file a subject, and `read_physio` makes windows of them, by default without blocks; a
        subject whose file lacks a column lacks that view.
    validation, test : the subjects whose rows choose the epoch, and those that are scored at the end. With neither,
        no split is made here, and the recipe makes one (``split_by=subject``).
    processes : how many read at once; then `read` is a function of a module, or a `functools.partial` of one.
    how : more arguments of `read`, such as ``tmin=-0.1``.

    Rows of a reader that names neither subject nor recording get their file's name as their ``recording``. What is
    done stays done: recordings are kept beside `out`, in ``.OUT-parts``, until all are there, and after a crash, or
    when the files that could not be read were mended, the same call goes on from them.

    Raises
    ------
    FileNotFoundError : of files, named.
    ValueError : of files that cannot be read, all of them named, after the others are done; two files of one name; a
        column that no file has; a subject in `validation` or `test` that there is not; rows that do not fit together.
    FileExistsError : `out` is there and holds something else than saved rows.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as tmp:
    ...     for name in ("s1", "s2"):
    ...         pd.DataFrame({"ECG": np.sin(np.arange(2000.0))}).to_csv(f"{tmp}/{name}.csv", index=False)
    ...     prepare([f"{tmp}/s1.csv", f"{tmp}/s2.csv"], f"{tmp}/rows", {"ecg": "ECG"}, test=["s2"], sfreq=100)
    Views of 4 rows
      ecg  (1, 240)  1 ecg at 30 Hz
      metadata: subject, block, start, split
    """
    out = Path(out)
    paths, reader = _asked(files, out, read, how)
    split = partial(_split, validation=_names(validation), test=_names(test))
    kept = out.with_name(f".{out.name}-parts")
    parts = {path: kept / f"{path.name}-{_digest(reader, _stamp(path))}" for path in paths}
    grown = kept / f"rows-{_digest(split, [part.name for part in parts.values()])}"
    if not (grown / "about.json").is_file():
        _read_all(reader, parts, grown, processes)
        if isinstance(read, Mapping):
            _check_columns(read, parts.values())
        append(grown, {path.name: part for path, part in parts.items()}, split)
    for done in parts.values():
        shutil.rmtree(done, ignore_errors=True)
    with writing(out):
        _move(grown, out)
        shutil.rmtree(kept)
    return Views.open(out)


def _move(grown: Path, out: Path) -> None:
    """Gives what is done its place; rows that were there before stay until then."""
    sweep(grown)
    if not out.exists():
        grown.rename(out)
        return
    with whole(out) as new:  # `grown` stays until this has its place: what ends it before loses nothing
        shutil.copytree(grown, new, copy_function=_linked)


def _linked(path: str, new: str) -> None:
    """A second name for a file, which takes no room, or a copy where the file system gives none."""
    try:
        os.link(path, new)
    except OSError:
        shutil.copy2(path, new)


def parse_signal(said: str) -> tuple[str, str, Band]:
    """A signal as it is typed, ``view=column:low-high``, as view, column and band; what is not said is open.

    >>> parse_signal("ecg=ECG II:0.5-14"), parse_signal("eda=EDA:-3"), parse_signal("rsp")
    (('ecg', 'ECG II', (0.5, 14.0)), ('eda', 'EDA', (None, 3.0)), ('rsp', 'rsp', (None, None)))
    """
    signal, _, edges = said.partition(":")
    view, equals, column = signal.partition("=")
    low, dash, high = edges.partition("-")
    try:
        band = float(low) if low else None, float(high) if high else None
    except ValueError:
        band = None
    if not view or (equals and not column) or band is None or (edges and not dash):
        raise ValueError(f"a signal is written view=column:low-high (Hz), such as ecg=ECG:0.5-14; got {said!r}")
    return view, column or view, band


def recordings(paths: str | Path | Iterable[str | Path], endings: tuple[str, ...] = TABLES) -> list[Path]:
    """The recordings that are named, and those of folders that are named, in order; of a split one its first part.

    >>> recordings(["nowhere.csv"])
    [PosixPath('nowhere.csv')]
    """
    found: list[Path] = []
    for path in map(reachable, asked.files(paths)):
        folder = path.is_dir() and not path.name.lower().endswith(endings)  # some recordings are folders
        inside = sorted(p for p in path.iterdir() if p.name.lower().endswith(endings)) if folder else [path]
        if not inside:
            raise FileNotFoundError(f"{path} holds no file that ends in {', '.join(endings)}")
        later = later_parts(inside) if folder else set()
        found += [one for one in inside if one not in later]
    return found


def recordings_of_meg(paths: str | Path | Iterable[str | Path]) -> tuple[list[Path], Reader]:
    """Recordings of MEG or EEG, and what reads one: those named, those of folders, or the subjects of BIDS folders.

    >>> recordings_of_meg(["a.fif"])[0]
    [PosixPath('a.fif')]
    """
    named = asked.files(paths)
    subjects = {path: _subjects(path) for path in named}
    if not any(subjects.values()):
        return recordings(named, MEG), read_meg
    if others := [str(path) for path, inside in subjects.items() if not inside]:
        raise ValueError(f"{', '.join(others)} is of no BIDS folder, and the others are")
    return [one for inside in subjects.values() for one in inside], _subject


def _subjects(path: Path) -> list[Path]:
    """The subjects of a BIDS folder, or the one whose folder in it this is."""
    if (path.parent / "dataset_description.json").is_file() and path.is_dir():
        return [path]
    described = (path / "dataset_description.json").is_file()
    return sorted(one for one in path.glob("sub-*") if one.is_dir()) if described else []


def _subject(path: Path, **how: Any) -> Views:
    """One subject of a BIDS folder."""
    return read_bids(path.parent, subject=path.name.removeprefix("sub-"), **how)


def assign_split(views: Views, validation: Sequence[str] | str, test: Sequence[str] | str) -> Views:
    """The same rows, those of some subjects (or recordings) for validation or test, all others for training.

    >>> v = Views({"a": torch.arange(3)}, metadata=pd.DataFrame({"subject": ["s1", "s2", "s3"]}))
    >>> assign_split(v, ["s2"], "s3").metadata["split"].tolist()
    ['train', 'validation', 'test']
    """
    frame = pd.DataFrame(index=range(len(views))) if views.metadata is None else views.metadata
    return Views(views.tensors, views.present, _split(frame, _names(validation), _names(test)), views.about)


def _names(said: Sequence[str] | str) -> list[str]:
    return [said] if isinstance(said, str) else [str(name) for name in said]


def _split(frame: pd.DataFrame, validation: list[str], test: list[str]) -> pd.DataFrame:
    """The metadata with its split; as it is where nobody is named."""
    frame, wanted = frame.reset_index(drop=True), {"validation": validation, "test": test}
    if not validation and not test:
        return frame
    by = next((column for column in ("subject", "recording") if column in frame), None)
    if by is None:
        raise ValueError(f"rows have neither subject nor recording in their metadata, which has {list(frame)}")
    there = frame[by].astype(str)
    if unknown := set(validation + test) - set(there):
        raise ValueError(f"no {by} {sorted(unknown)}; there are {', '.join(sorted(set(there)))}")
    if twice := set(validation) & set(test):
        raise ValueError(f"{sorted(twice)} cannot be for validation and for test")
    split = np.select([there.isin(names) for names in wanted.values()], list(wanted), "train")
    if "train" not in split:
        raise ValueError(f"with {wanted} no {by} is left to train on")
    return frame.assign(split=split)


# what is asked ---------------------------------------------------------------------------------------------------


def _asked(files: Any, out: Path, read: Any, how: Mapping[str, Any]) -> tuple[list[Path], partial]:
    """The recordings, and what reads one; an error before anything is done."""
    if isinstance(read, Mapping):
        paths, reader = recordings(files), partial(_windows, columns=dict(read), **{"block": None, **how})
        if unknown := set(how.get("band") or {}) - set(read):
            raise ValueError(f"a band is given for {sorted(unknown)}, the signals are {list(read)}")
    else:
        paths, reader = asked.files(files), partial(read, **how)
    if not paths or not read:
        raise ValueError("nothing to prepare: name at least one file, and one signal, such as ecg=ECG")
    names = [path.stem for path in paths]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"several files are called {twice}, and a file's name is its recording's")
    if lost := [str(path) for path in paths if not path.exists()]:
        raise FileNotFoundError(f"there is no file {', '.join(lost)}")
    if out.exists() and not (out / "about.json").is_file():
        raise FileExistsError(f"{out} is there and is no folder of saved rows: name another")
    try:
        inspect.signature(reader.func).bind(paths[0], **reader.keywords)
    except TypeError as error:
        raise ValueError(f"the recordings cannot be read with {how}: {error}") from None
    return paths, reader


def _digest(*things: Any) -> str:
    """A short name for how something is read; what it is made of is never read back."""
    try:
        return hashlib.sha256(dumps(things)).hexdigest()[:12]
    except (PicklingError, AttributeError, TypeError) as error:
        raise ValueError(f"what reads must be a function of a module, or a functools.partial of one: {error}") from None


def _stamp(path: Path) -> list[tuple]:
    """Names, sizes and dates: a recording that has changed is read again, be it in files that go with it."""
    inside = sorted({path, *(path.rglob("*") if path.is_dir() else path.parent.glob(f"{escape(path.stem)}[.-]*"))})
    return [(p.name, p.stat().st_size * p.is_file(), p.stat().st_mtime_ns * p.is_file()) for p in inside]


# reading ---------------------------------------------------------------------------------------------------------


def _read_all(reader: Reader, parts: Mapping[Path, Path], grown: Path, processes: int) -> None:
    """Every recording as a folder of its own, which is there whole or not at all."""
    todo = {path: part for path, part in parts.items() if not _is_kept(part, grown)}
    with _mapping(processes) as each, tqdm(total=len(parts), unit="file", disable=None) as bar:
        bar.update(len(parts) - len(todo))
        failed = []
        for error in each(partial(_keep, reader), todo.keys(), todo.values()):
            failed += [error] if error else []
            bar.update()
    if failed:
        raise ValueError(f"{'; '.join(failed)} ({len(failed)} of {len(parts)} recordings failed, the others are kept: "
                         "without these, or when they are mended, the same call goes on)")  # fmt: skip


def _is_kept(part: Path, grown: Path) -> bool:
    """Whether a recording is done: its arrays are there, or have gone into the folder that grows of these parts."""
    if not (part / "about.json").is_file():
        return False
    return grown.exists() or all((part / f"{name}.npy").is_file() for name in store.contents(part)["arrays"])


@contextmanager
def _mapping(processes: int) -> Iterator[Callable[..., Iterator]]:
    """`map`, by some processes at once."""
    if processes == 1:
        yield map
        return
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _follow)
    try:
        yield pool.map
    except BrokenProcessPool as error:
        raise ValueError("a process that read was killed, perhaps for want of memory: take fewer processes") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _follow() -> None:
    """A process of the pool has one thread, and ends when its parent does, however that ends."""
    torch.set_num_threads(1)
    parent: Any = parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _keep(reader: Reader, path: Path, part: Path) -> str | None:
    """Reads a recording and saves its rows; says what went wrong."""
    try:
        views = reader(path)
        frame = pd.DataFrame(index=range(len(views))) if views.metadata is None else views.metadata
        named = {"subject", "recording"} & set(frame)
        frame = frame if named else frame.assign(recording=path.stem)
        views = Views(views.tensors, views.present, frame, views.about)
    except (ValueError, OSError, TypeError) as error:
        return _failed(path, error)
    try:
        views.save(part)  # a disk that is full is no fault of this recording: that error ends it all
    except (ValueError, TypeError) as error:
        return _failed(path, error)


def _failed(path: Path, error: Exception) -> str:
    return str(error) if path.name in str(error) else f"{path.name}: {error}"


def _windows(path: Path, columns: Mapping[str, str], **how: Any) -> Views:
    """A subject's windows of those signals that its file has."""
    there = [one.name for one in read_signals(path, sfreq=how.get("sfreq"))]
    found = {view: column for view, column in columns.items() if column in there}
    if not found:
        raise ValueError(f"{path.name} has none of the columns {list(columns.values())}; there are {sorted(there)}")
    if lacking := [column for column in columns.values() if column not in there]:
        log.warning("%s has no column %s: those views are missing in its rows", path.name, lacking)
    band = {view: edges for view, edges in (how.get("band") or {}).items() if view in found}
    views = read_physio(path, found, **{**how, "band": band})
    frame: Any = views.metadata
    return Views(views.tensors, views.present, frame.rename(columns={"recording": "subject"}), views.about)


def _check_columns(columns: Mapping[str, str], parts: Iterable[Path]) -> None:
    seen = {view for part in parts for view in store.contents(part)["arrays"]}
    if never := [column for view, column in columns.items() if view not in seen]:
        raise ValueError(f"no file has a column {never}")
