"""Files and folders that are there whole or not at all, whatever ends the writing: an error, a kill, a full disk.

What is written lies under another name, in a hidden folder beside its place, until all of it is on the disk. Then it
takes its place in one step. What a writer that was killed has left is removed by the next one of the same place; that
one tells it from what another process is writing just now by a lock, which the system takes from whoever dies. Some
file systems of a network have locks that other machines do not see: hence a name says, too, on which machine it is
written, and what is another's stays until nobody has written into it for a day.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import platform
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

END = ".unfinished"
DAY = 86_400  # seconds after which what another machine was writing is taken for what a kill has left
REFUSALS = "ENOSPC EDQUOT EFBIG EROFS EACCES EPERM EIO ENOTDIR EEXIST EISDIR ENAMETOOLONG EBUSY"
OF_THE_DISK = {getattr(errno, name) for name in REFUSALS.split() if hasattr(errno, name)}


@contextmanager
def whole(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary name that becomes `path` when the block ends well, and vanishes when it does not.

    Whoever looks, also after a kill or a power cut, finds what was there before or all that is new.

    Raises
    ------
    OSError : when the disk is full, the folder may not be written, and the like; says where and why, see `writing`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as tmp:
    ...     with whole(f"{tmp}/a.txt") as new:
    ...         _ = new.write_text("all of it")
    ...     Path(tmp, "a.txt").read_text()
    'all of it'
    """
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        folder, lock = _claimed(path)
        new = folder / "new" / path.name
        try:
            new.parent.mkdir()
            yield new
            _settle(new)
            _put(new, path, folder / "old")
        finally:
            lock.close()
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """What the disk refuses inside is one error that says what could not be written, why, and how much room there is.

    >>> with writing("/nowhere/a.txt"):
    ...     raise OSError(errno.EROFS, "this text is the system's own")
    Traceback (most recent call last):
    OSError: /nowhere/a.txt cannot be written: Read-only file system
    """
    path = Path(path)
    try:
        yield
    except OSError as error:
        bare = error.errno is None and type(error) is OSError  # numpy and Pillow keep the reason to themselves
        if _elsewhere(error.filename, path) or not bare and error.errno not in OF_THE_DISK:
            raise
        told = type(error)(f"{path} cannot be written: {_why(error)}{_room(error, path)}")
        told.errno = error.errno
        raise told from error


def _elsewhere(name: object, path: Path) -> bool:
    """Whether an error is of another file: one that is neither beside `path`, nor beneath, nor a folder above."""
    if not isinstance(name, str):
        return False
    there, parent = Path(os.path.abspath(name)), Path(os.path.abspath(path.parent))
    return parent not in there.parents and there not in (parent, *parent.parents)


def _why(error: OSError) -> str:
    return str(error) if error.errno is None else os.strerror(error.errno)


def _room(error: OSError, path: Path) -> str:
    """How much room there is where there was too little, in words."""
    with suppress(OSError):
        if error.errno not in OF_THE_DISK or error.errno in (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", 0)):
            return f" ({shutil.disk_usage(path.parent).free / 1e6:,.1f} MB are free in {path.parent})"
    return ""


def standing(path: Path) -> Path:
    """Where a folder that was written whole is: in its place, or put aside, if a kill came between two renames.

    Two renames are needed only where the file system cannot exchange two names in one step.

    >>> standing(Path("nowhere"))
    PosixPath('nowhere')
    """
    left = [one / "old" for one in _left(path.parent) if _place(one) == path]
    return path if path.exists() else next(filter(Path.exists, left), path)


def sweep(folder: Path) -> None:
    """Removes what writers that were killed have left in a folder; what one of them had put aside goes back.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as tmp:
    ...     Path(tmp, ".a.txt-abcd1234.unfinished").mkdir()
    ...     os.utime(Path(tmp, ".a.txt-abcd1234.unfinished"), (0, 0))  # long ago
    ...     sweep(Path(tmp))
    ...     os.listdir(tmp)
    []
    """
    for left in filter(_ours, _left(folder)):
        with suppress(OSError, ImportError), (left / "lock").open("a") as lock:
            if not _locked(lock):
                continue
            if (left / "old").exists() and not _place(left).exists():
                (left / "old").rename(_place(left))
            shutil.rmtree(left, ignore_errors=True)


# how ----------------------------------------------------------------------------------------------------------------


def _left(folder: Path) -> list[Path]:
    """The hidden folders of those who write in a folder, or were killed while they did."""
    return list(folder.glob(f".*-????????{END}"))


def _place(left: Path) -> Path:
    """What a hidden folder is to become."""
    return left.with_name(left.name[1 : -len(f"-????????{END}")])


def _host() -> str:
    """This machine, as a name says it: four letters of the eight that there is room for, so that no name is longer."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:4]


def _ours(left: Path) -> bool:
    """Whether a lock says if a hidden folder is in use: it is of this machine, or nobody has written there for long."""
    if left.name[-len(END) - 8 :].startswith(_host()):
        return True
    with suppress(OSError):
        return time.time() - max(one.stat().st_mtime for one in (left, *left.rglob("*"))) > DAY
    return False


def _locked(file: IO[str]) -> bool:
    """Whether a lock is now this process's, until the file is closed or the process ends; False: it is another's.

    An OSError where the file system knows no locks: nothing is swept there, nor on Windows.
    """
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _claimed(path: Path) -> tuple[Path, IO[str]]:
    """A new hidden folder and its lock. Somebody may sweep it before it is locked: then another one."""
    while True:
        folder = path.with_name(f".{path.name}-{_host()}{secrets.token_hex(2)}{END}")
        try:
            folder.mkdir(0o700)
        except FileExistsError:
            continue
        try:
            lock = (folder / "lock").open("a")
        except FileNotFoundError:
            continue
        except OSError:
            folder.rmdir()
            raise
        with suppress(OSError, ImportError):
            if not (_locked(lock) and (folder / "lock").exists()):
                lock.close()
                continue
        return folder, lock


def _settle(new: Path) -> None:
    """Waits until all of a file or folder is on the disk: a rename may get there before what it names."""
    for one in (*new.rglob("*"), new):
        if one.is_file():
            with one.open("r+b") as file:
                os.fsync(file.fileno())


def _put(new: Path, path: Path, aside: Path) -> None:
    """Gives what is new its place. A folder that was there is then in the hidden one, which is removed."""
    if not (path.is_dir() and new.is_dir()):
        os.replace(new, path)
    elif not _exchanged(new, path):
        path.rename(aside)
        try:
            os.replace(new, path)
        except OSError:
            aside.rename(path)
            raise


def _exchanged(one: Path, other: Path) -> bool:
    """Exchanges two names in one step, where system and file system can: Linux, but not over NFS."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE
    return rename is not None and rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0
