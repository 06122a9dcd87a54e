"""Things timed in turn in one process, A B A B: what the machine does to one of them, it does to all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter
from typing import Any

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")


def in_turn(
    things: Mapping[str, Callable[[], Any]], runs: int, warm_up: int = 1, clock: Callable[[], float] = perf_counter
) -> dict[str, float]:
    """The median seconds of each thing, done in turn, after some rounds that are not counted.

    clock : of seconds; `time.process_time` is what one core needs, however busy the machine is.
    """
    seconds: dict[str, list[float]] = {name: [] for name in things}
    for i in range(warm_up + runs):
        for name, do in things.items():
            begun = clock()
            do()
            if i >= warm_up:
                seconds[name].append(clock() - begun)
    return {name: median(each) for name, each in seconds.items()}


def over(name: str, measured: float, asked: float | None = None, more: str = "", readme: str = "") -> dict[str, Any]:
    """A row of a table for a ratio that should be large: times as fast, or a share of a throughput.

    asked : the least that it should be. more : what stands behind the number. readme : its name in README.
    """
    bar = {} if asked is None else {"asked": f"at least {asked:g}: {'met' if measured >= asked else 'missed'}"}
    shown = f"{measured:.0f}" if measured >= 100 else f"{measured:.3g}"
    said = f"{shown} ({more})" if more else shown
    return {"what": name, "measured": said, **bar, "number": measured} | ({"readme": readme} if readme else {})


def ms(seconds: float) -> str:
    """Seconds as milliseconds that one can read.

    >>> ms(0.01234), ms(1.234e-5)
    ('12.3 ms', '0.0123 ms')
    """
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
