"""The least change of a good file that is still a fault: what one reads to understand it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher

Edit = tuple[int, int, bytes]  # from, to, and what stands there instead


def least(good: bytes, bad: bytes, fails: Callable[[bytes], bool]) -> list[Edit]:
    """The edits of a good file without which it is no fault any more (delta debugging; Zeller & Hildebrandt, 2002)."""
    edits = list(_edits(good, bad))
    n = 2
    while len(edits) > 1:
        size = max(1, len(edits) // n)
        fewer = (edits[:i] + edits[i + size :] for i in range(0, len(edits), size))
        found = next((some for some in fewer if some and fails(applied(good, some))), None)
        if found is None and size == 1:
            break
        edits, n = (edits, min(len(edits), 2 * n)) if found is None else (found, max(2, n - 1))
    return edits


def _edits(good: bytes, bad: bytes) -> Iterator[Edit]:
    """What is different; bytes one by one where as many are."""
    if len(good) == len(bad):
        yield from ((i, i + 1, bad[i : i + 1]) for i in range(len(good)) if good[i] != bad[i])
        return
    for what, start, stop, begin, end in SequenceMatcher(None, good, bad, autojunk=False).get_opcodes():
        if what != "equal":
            yield start, stop, bad[begin:end]


def applied(good: bytes, edits: Sequence[Edit]) -> bytes:
    """A good file with some edits, which are in order and do not overlap."""
    parts, at = [], 0
    for start, stop, new in edits:
        parts += [good[at:start], new]
        at = stop
    return b"".join([*parts, good[at:]])
