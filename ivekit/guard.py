"""What every reader asks of a file before it trusts it: is it there, not empty, and does it fit in memory?"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def reading(path: str | Path, kind: str = "recording") -> Iterator[Path]:
    """The path of a file that is there and not empty; what goes wrong with it inside is one error that names it.

    kind : what the file should have been, for the message.

    Raises
    ------
    FileNotFoundError : when there is nothing at `path`, or what it names is not there.
    ValueError : when the file is empty, is a pipe or a device (which might never end), may not be read, or anything is
        raised inside; what already names the file, and an ImportError, stays as it is.

    >>> with reading("nowhere.fif"):
    ...     pass
    Traceback (most recent call last):
    FileNotFoundError: there is no recording nowhere.fif
    """
    path = Path(path)
    _look(path, kind)
    try:
        yield path
    except ImportError:
        raise
    except MemoryError as error:
        raise ValueError(f"{path.name} cannot be read: it does not fit in memory ({error})") from error
    except Exception as error:  # of the libraries that read, each raises its own; MNE and tokenize bare ones
        if isinstance(error, ValueError | FileNotFoundError) and path.name in str(error):
            raise
        what = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
        raise what(f"{path.name} cannot be read: {_why(error)}") from error


def reachable(path: str | Path) -> Path:
    """The path, be there something or not; one within a folder that may not be entered is an error that names it.

    >>> reachable("nowhere.csv")
    PosixPath('nowhere.csv')
    """
    path = Path(path)
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return path
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.name} cannot be read: {_why(error)}") from None
    return path


def _look(path: Path, kind: str) -> None:
    """At what is there, before it is opened: opening a pipe would wait for who writes into it."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"there is no {kind} {path}") from None
    except (OSError, ValueError) as error:  # links in a circle, a folder that may not be entered, a name too long
        raise ValueError(f"{path.name} cannot be read: {_why(error)}") from None
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise ValueError(f"{path.name} is neither a file nor a folder")
    if stat.S_ISREG(found.st_mode) and not found.st_size:
        raise ValueError(f"{path.name} is empty")


def _why(error: BaseException) -> str:
    said = f"there is no {error}" if isinstance(error, KeyError) else str(error)
    return " ".join(said.split())[:300] or type(error).__name__


def fits(n_bytes: int, path: str | Path) -> None:
    """Nothing, if so many bytes fit in the memory that is free; else an error that says what the file would take.

    Ask before unpacking: what a header promises may be a thousand times what the file weighs, or a lie.

    >>> fits(10**15, "bomb.h5")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: bomb.h5 would take 1,000,000 GB when it is read, and ... GB of memory are free: ...
    """
    free = available()
    if not 0 <= n_bytes <= free:
        raise ValueError(
            f"{Path(path).name} would take {n_bytes / 1e9:,.0f} GB when it is read, and {free / 1e9:.1f} GB of memory "
            "are free: its header is wrong, or it must be read in parts"
        )


def available() -> int:
    """Bytes of memory that this process may still take: the least of what the system, its job and its own limit leave.

    >>> available() > 10**6
    True
    """
    return int(max(0, min(_of_system(), _of_job(), _of_process())))


def _of_system() -> int:
    """What the system has free; half of all where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _of_job() -> float | int:
    """What the control group leaves of its limit: that of a container, or of a job on a cluster (Linux)."""
    root = Path("/sys/fs/cgroup")
    try:
        own = root / Path("/proc/self/cgroup").read_text().rpartition("::/")[2].strip()
        limited = [folder for folder in (own, *own.parents) if (folder / "memory.max").is_file()]
        return min((_left(folder) for folder in limited), default=math.inf)
    except (OSError, ValueError):
        return math.inf


def _left(group: Path) -> float | int:
    limit = (group / "memory.max").read_text().strip()
    if limit == "max":
        return math.inf
    counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    cached = int(counts.get("inactive_file", 0))  # given back when it is needed
    return int(limit) - int((group / "memory.current").read_text()) + cached


def _of_process() -> float | int:
    """What the process's own limit (ulimit -v) leaves."""
    try:
        import resource
    except ImportError:  # Windows
        return math.inf
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY or not Path("/proc/self/statm").exists():
        return math.inf
    return limit - int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
