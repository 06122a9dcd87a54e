"""What is written is there whole or not at all; what a kill has left is found, and swept by the next who writes."""

from __future__ import annotations

import errno
import os
import platform
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

from ivekit import Views, atomic
from ivekit.atomic import standing, sweep, whole, writing

sys.path.append(str(Path(__file__).parent / "kill"))

from killer import in_child  # type: ignore[import-not-found]  # noqa: E402

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills and locks are those of POSIX")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def a_folder(path: Path, text: str) -> None:
    with whole(path) as new:
        new.mkdir()
        (new / "a.txt").write_text(text)


def die(*_) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_within(path: Path) -> None:
    """A child that is killed while it writes."""

    def child() -> None:
        with whole(path) as new:
            new.write_text("half")
            die()

    assert in_child(child)[1] == -signal.SIGKILL


@pytest.mark.parametrize("name", ["run", "old", "new", "lock"])
def test_a_folder_changes_places_with_the_one_before(tmp_path, name):
    for text in ("one", "two"):
        a_folder(tmp_path / name, text)
        assert (tmp_path / name / "a.txt").read_text() == text and names(tmp_path) == [name]


def test_it_does_where_names_cannot_be_exchanged(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "_exchanged", lambda *_: False)
    test_a_folder_changes_places_with_the_one_before(tmp_path, "run")


def test_folders_are_exchanged_in_one_step(tmp_path, monkeypatch):
    """Nothing is ever not there: neither of the two renames of a file system that cannot is needed."""
    if sys.platform != "linux":
        pytest.skip("names are exchanged on Linux alone")
    a_folder(tmp_path / "run", "one")
    monkeypatch.setattr(Path, "rename", die)
    monkeypatch.setattr(os, "replace", die)
    a_folder(tmp_path / "run", "two")
    assert (tmp_path / "run/a.txt").read_text() == "two"


def test_what_was_put_aside_between_two_renames_is_found_and_goes_back(tmp_path, monkeypatch):
    old = Views({"a": torch.arange(3)})
    old.save(tmp_path / "run")
    monkeypatch.setattr(atomic, "_exchanged", lambda *_: False)
    monkeypatch.setattr(os, "replace", die)
    # the first os.replace of a save is that of about.json, in the folder that is not there yet
    monkeypatch.setattr("ivekit.store.describe", lambda *_: None)
    assert in_child(lambda: Views({"b": torch.ones(2)}).save(tmp_path / "run"))[1] == -signal.SIGKILL
    monkeypatch.undo()
    assert not (tmp_path / "run").exists() and standing(tmp_path / "run").name == "old"
    assert torch.equal(Views.open(tmp_path / "run")["a"] + 0, old["a"])
    with whole(tmp_path / "other.txt") as new:
        new.touch()
    assert names(tmp_path) == ["other.txt", "run"] and torch.equal(Views.open(tmp_path / "run")["a"], old["a"])


def test_what_a_kill_has_left_harms_nobody_and_is_swept_by_the_next_write(tmp_path):
    (tmp_path / "a.txt").write_text("before")
    (tmp_path / ".a.txt-parts").mkdir()  # somebody's own
    killed_within(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "before" and len(names(tmp_path)) == 3
    with whole(tmp_path / "b.txt") as new:
        new.write_text("b")
    assert names(tmp_path) == [".a.txt-parts", "a.txt", "b.txt"]


def test_what_another_process_is_writing_is_not_swept(tmp_path):
    def child() -> list[str]:
        sweep(tmp_path)
        with whole(tmp_path / "a.txt") as new:
            new.write_text("the child's")
        return names(tmp_path)

    with whole(tmp_path / "a.txt") as mine:
        mine.write_text("mine")
        told, status = in_child(child)
        assert status == 0 and mine.read_text() == "mine" and told.count("unfinished") == 1
    assert (tmp_path / "a.txt").read_text() == "mine" and names(tmp_path) == ["a.txt"]


def test_what_another_machine_is_writing_is_swept_a_day_after_its_last_word(tmp_path, monkeypatch):
    """Its locks are not seen here, as on some file systems of a network: that of the one that was killed is free."""
    monkeypatch.setattr(platform, "node", lambda: "node-7")
    killed_within(tmp_path / "a.txt")
    monkeypatch.setattr(platform, "node", lambda: "node-8")
    (left,) = tmp_path.iterdir()
    folders = [left, left / "new"]
    for hours, there in ((0, True), (23, True), (25, False)):
        for one in [left / "new/a.txt", left / "lock", *folders]:
            os.utime(one, (long_ago := time.time() - 3600 * hours, long_ago))
        sweep(tmp_path)
        assert left.exists() == there, hours
    monkeypatch.setattr(platform, "node", lambda: "node-7")
    killed_within(tmp_path / "a.txt")
    sweep(tmp_path)
    assert names(tmp_path) == [], "its own are swept at once"


def test_a_long_file_of_another_machine_is_in_use_while_it_grows(tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "node", lambda: "node-7")
    killed_within(tmp_path / "a.txt")
    monkeypatch.undo()
    (left,) = tmp_path.iterdir()
    for one in (left / "lock", left / "new", left):
        os.utime(one, (0, 0))  # the folders are as old as the beginning, the file has just been written
    sweep(tmp_path)
    assert left.exists()


@pytest.mark.parametrize("length", [217, 218, 219, 220, 234])
def test_a_name_has_room_beside_what_is_added_to_it(tmp_path, length):
    path = tmp_path / ("ä" * (length // 2) + "a" * (length % 2))
    killed_within(path)
    (left,) = tmp_path.iterdir()
    assert len(os.fsencode(left.name)) == length + 21 <= 255
    with whole(path) as new:
        new.write_text("all of it")
    assert path.read_text() == "all of it" and names(tmp_path) == [path.name]


def test_where_there_are_no_locks_it_is_written_and_nothing_swept(tmp_path, monkeypatch):
    import fcntl

    def none(*_) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    killed_within(tmp_path / "a.txt")
    monkeypatch.setattr(fcntl, "flock", none)
    with whole(tmp_path / "a.txt") as new:
        new.write_text("all of it")
    assert (tmp_path / "a.txt").read_text() == "all of it" and len(names(tmp_path)) == 2


def test_all_of_it_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append(os.fstat(file).st_size), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("renamed"), replace(*paths)))
    with whole(tmp_path / "run") as new:
        new.mkdir()
        (new / "a").write_text("12345")
        (new / "b").mkdir()
        (new / "b" / "c").write_text("123")
    assert sorted(done[:2]) == [3, 5] and done[2:] == ["renamed"]


# errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (
            OSError(errno.ENOSPC, "x"),
            OSError,
            r"a.txt cannot be written: No space left on device \([\d,.]+ MB are free",
        ),
        (PermissionError(errno.EACCES, "x"), PermissionError, "a.txt cannot be written: Permission denied"),
        (OSError("3 requested and 0 written"), OSError, "a.txt cannot be written: 3 requested and 0 written"),
        (FileNotFoundError(errno.ENOENT, "x", "b.txt"), FileNotFoundError, "^.Errno 2. x: 'b.txt'$"),
        (PermissionError(errno.EACCES, "x", "/elsewhere/b"), PermissionError, "^.Errno 13. x: '/elsewhere/b'$"),
        (ConnectionResetError(errno.ECONNRESET, "x"), ConnectionResetError, "^.Errno 104. x$"),
        (FileExistsError("ours"), FileExistsError, "^ours$"),
    ],
)
def test_what_the_disk_refuses_is_said_of_the_file_and_nothing_else_is(tmp_path, error, kind, said):
    with pytest.raises(kind, match=said) as told, writing(tmp_path / "a.txt"):
        raise error
    assert told.value.errno == error.errno and type(told.value) is type(error)


def test_a_file_in_place_of_a_folder_is_said(tmp_path):
    (tmp_path / "a").touch()
    with (
        pytest.raises(OSError, match=r"a/b.txt cannot be written: (File exists|Not a directory)"),
        whole(tmp_path / "a/b.txt"),
    ):
        pass
    with pytest.raises(OSError, match=r"a cannot be written: Not a directory"):
        a_folder(tmp_path / "a", "one")
    assert names(tmp_path) == ["a"]
