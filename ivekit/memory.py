"""Freed memory is kept for the next step, where the C library would give it back to the system after each."""

from __future__ import annotations

import ctypes
import os
from typing import Any

KEPT = 2**29  # bytes of freed memory at the end of the heap that a process may hold on to
BLOCK = 2**25  # larger blocks than this go back at once: glibc takes no higher limit
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of <malloc.h>


def keep_freed() -> bool:
    """Asks the C library to keep what is freed in blocks of up to 32 MB; whether it will.

    The activations of a step are freed at its end and wanted again in the next. glibc hands most of them back in
    between, and the system clears every page that it gives out: a tenth of the time of a step on a CPU, and how much
    differs from run to run. Only glibc is asked, and not where the environment has said something about its malloc.

    What is kept is up to 512 MB at the end of the heap, and all gaps below: much that was freed once and is never
    wanted again, such as the parts of rows that were put together, is better given back (`give_back`).

    >>> keep_freed() in (True, False)
    True
    """
    library = _glibc()
    return bool(library and library.mallopt(_MMAP_THRESHOLD, BLOCK) and library.mallopt(_TRIM_THRESHOLD, KEPT))


def give_back() -> bool:
    """Gives freed memory back to the system, once; whether there was any."""
    library = _glibc()
    return bool(library and library.malloc_trim(0))


def _glibc() -> Any:
    """The C library if it is glibc, and the environment leaves its malloc to us."""
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return None
    try:
        library = ctypes.CDLL(None)
    except TypeError:  # Windows has no name for it
        return None
    return library if hasattr(library, "gnu_get_libc_version") else None
