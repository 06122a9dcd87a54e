"""Processes that begin as copies of this one, imports and all, and do one thing: far quicker than new ones."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable
from typing import Any


def forked(does: Callable[..., Any], *args: Any, **how: Any) -> int:
    """The number of a process that does one thing and ends."""
    if child := os.fork():
        return child
    try:
        does(*args, **how)
        os._exit(0)
    except BaseException:  # noqa: BLE001 - nothing may get out into a copy of the caller
        traceback.print_exc()
        os._exit(1)


def ended(children: Iterable[int]) -> list[int]:
    """How processes have ended: 0 for well, the negative number of the signal that killed them."""
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
