"""Freed memory is kept for the next step, where the C library would give it back to the system after each."""

from __future__ import annotations

import ctypes
import os

KEPT = 2**29  # bytes of freed memory that a process may hold on to
BLOCK = 2**25  # larger blocks than this go back at once: glibc takes no higher limit
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of <malloc.h>


def keep_freed() -> bool:
    """Asks the C library to keep up to 512 MB of what is freed; whether it will.

    The activations of a step are freed at its end and wanted again in the next. glibc hands most of them back in
    between, and the system clears every page that it gives out: a tenth of the time of a step on a CPU, and how much
    differs from run to run. Only glibc is asked, and not where the environment has said something about its malloc.

    >>> keep_freed() in (True, False)
    True
    """
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return False
    try:
        mallopt, _ = (getattr(ctypes.CDLL(None), name) for name in ("mallopt", "gnu_get_libc_version"))
    except (AttributeError, TypeError):  # another C library; Windows has no name for it
        return False
    return bool(mallopt(_MMAP_THRESHOLD, BLOCK) and mallopt(_TRIM_THRESHOLD, KEPT))
