"""How time and memory grow with rows, sensors, pixels, latents, views, tokens and pairs of a score.

python tests/benchmarks/scaling.py [--again]

Each number is measured in a process of its own (a fork in which everything is imported), so that peak memory is that
of one thing alone. It goes on with what `results/scaling.csv` lacks, or with --again anew; then draws docs/scaling.png.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import timing  # noqa: F401  sets one thread, before torch is imported
import torch
from results import KEPT, ROOT, keep
from torch import Tensor, nn

import ivekit as ive
from ivekit import metrics, plans
from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts, TransformerBlock
from ivekit.recipe import Recipe
from ivekit.training import evaluate, train

TABLE, FIGURE = KEPT / "scaling.csv", ROOT / "docs" / "scaling.png"
BATCH, WIDTH, LONG = 32, 64, 0.5  # rows of a step; numbers of a row where rows grow; seconds: not done again if longer
ROOM = 0.2  # of a slope above its law: large tensors leave the caches
HELMET = 102, 60  # sensors and samples where they do not grow
Run = Callable[[], Any]


# what is timed: each makes, at one size, a function that does it once -------------------------------------------------


def table(n: int) -> ive.Views:
    """Rows of one view of numbers."""
    return ive.Views({"x": torch.randn(n, WIDTH)})


def small(names: tuple[str, ...] = ("x",), columns: int = WIDTH) -> nn.Module:
    """A product of experts over tables."""
    encoders, decoders = (
        {n: part() for n in names} for part in (partial(MLPEncoder, columns, 32), partial(_told, columns))
    )
    return ive.MultimodalVAE(encoders, ProductOfExperts(list(names), 32, 4), decoders)


def _told(columns: int) -> nn.Module:
    return Gaussian(MLPDecoder(4, columns))


def bound() -> ive.Objective:
    """The evidence lower bound."""
    return ive.Objective(nll=ive.NLL(), kl=ive.KL())


def fit(n: int) -> Run:
    return partial(ive.Standardise.fit, table(n), x=ive.ZScore())


def epoch(n: int) -> Run:
    data = table(n)
    return lambda: [s.step for s in train(small(), bound(), data, epochs=1, batch_size=1024, seed=0)][-1]


def evaluation(n: int) -> Run:
    return partial(evaluate, small(), bound(), table(n), 1024)


def save_and_open(n: int) -> Run:
    data, folder = table(n), tempfile.TemporaryDirectory()

    def run() -> Tensor:
        data.save(Path(folder.name, "rows"))
        return ive.Views.open(Path(folder.name, "rows"))["x"][::1000].sum()

    return run


def relation(n: int, k: int = 10, f: int = 5) -> Run:
    random = np.random.default_rng(0)
    return partial(metrics.relation, random.standard_normal((n, k)), random.standard_normal((n, f)))


def step(data: ive.Views, **settings: Any) -> Run:
    """A step of the default recipe on these views."""
    recipe = Recipe("ive", {"batch_size": BATCH, "epochs": 10_000} | settings)
    how = recipe.training(data)
    return partial(next, train(recipe.model(data), recipe.objective(data), data, **how))


def helmet(c: int, t: int, n: int = BATCH) -> ive.Views:
    """Noise on sensors."""
    places = np.random.default_rng(0).normal(size=(c, 2))
    sensors = ive.Sensors([f"MEG{i}" for i in range(c)], places, ["mag"] * c, 125.0, tmin=-0.1)
    return ive.Views({"meg": torch.randn(n, c, t)}, about={"meg": sensors})


def whiten(c: int) -> Run:
    return partial(ive.Standardise.fit, helmet(c, HELMET[1], 4 * BATCH), meg=ive.Whiten(12))


def film(pixels: int) -> ive.Views:
    """Noise of sixteen square frames."""
    side = round(pixels**0.5)
    return ive.Views({"video": torch.randn(BATCH, 1, 16, side, side)})


def tables(n: int, plan: Callable[[list[str]], Any]) -> Run:
    """A step on that many views of six columns, with a plan of what is seen and scored."""
    names = [f"x{i}" for i in range(n)]
    data = ive.Views({name: torch.randn(1024, 6) for name in names})
    model = small(tuple(names), 6)
    return partial(next, train(model, bound(), data, epochs=10_000, batch_size=1024, plan=plan(names), seed=0))


def attention(n: int) -> Run:
    block, x = TransformerBlock(64), torch.randn(4, n, 64)
    return lambda: block(x).square().mean().backward()


class Series(NamedTuple):
    """What grows along an axis. law : the power it grows by at most, as the table says it;."""

    axis: str
    what: str
    sizes: tuple[int, ...]
    make: Callable[[int], Run]
    law: int = 1


ROWS, CHANS = (1_000, 10_000, 100_000, 1_000_000), (32, 64, 128, 256, 512)
FILM, CODES, VIEWS, TOKENS = (256, 1024, 4096, 16384), (8, 32, 128, 512), (2, 4, 8, 16), (256, 512, 1024, 2048)
SERIES = [
    Series("rows", "fit statistics", ROWS, fit),
    Series("rows", "train an epoch", ROWS, epoch),
    Series("rows", "evaluate", ROWS, evaluation),
    Series("rows", "save and open", ROWS, save_and_open),
    Series("rows", "relation", ROWS, relation),
    Series("sensors", "train a step", CHANS, lambda c: step(helmet(c, HELMET[1]))),
    Series("sensors", "fit whitening", CHANS, whiten, 3),
    Series("pixels of a frame", "train a step", FILM, lambda n: step(film(n))),
    Series("latents", "train a step", CODES, lambda k: step(helmet(*HELMET), shared=k // 2, private=k // 2)),
    Series("views", "joint plan", VIEWS, partial(tables, plan=plans.joint)),
    Series("views", "DMVAE's plan", VIEWS, partial(tables, plan=plans.dmvae), 2),
    Series("tokens", "attention", TOKENS, attention, 2),
    Series(
        "codes x factors", "relation", (25, 100, 400, 1600), lambda n: relation(10_000, round(n**0.5), round(n**0.5))
    ),
]


# measuring ------------------------------------------------------------------------------------------------------------


def held(what: str) -> int:
    """Bytes that this process holds, or held at most."""
    return 1024 * int(Path("/proc/self/status").read_text().split(f"{what}:")[1].split()[0])


def measure(one: Series, size: int, into: Any) -> None:
    """Seconds of one core (however busy the machine), medians of a few short runs; megabytes at most beyond before."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    one.make(one.sizes[0])()  # what is made once, and never again
    ctypes.CDLL(None).malloc_trim(0)  # what that left free would hide what the next one takes (glibc)
    run = one.make(size)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew (Linux)
    before, seconds = held("VmRSS"), []
    while len(seconds) < 2 or len(seconds) < 7 and sum(seconds) < LONG:
        begun = process_time()
        run()
        seconds.append(process_time() - begun)
    into.send((median(seconds[1:]), (held("VmHWM") - before) / 1e6))


def apart(one: Series, size: int) -> tuple[float, float]:
    """The same in a process of its own."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    child = fork.Process(target=measure, args=(one, size, theirs))
    child.start()
    theirs.close()
    try:
        return ours.recv()
    finally:
        child.join()


def measured() -> pd.DataFrame:
    """What the table holds and lacked."""
    done = pd.read_csv(TABLE) if TABLE.exists() else pd.DataFrame(columns=["axis", "what", "size"])
    have = set(zip(done["axis"], done["what"], done["size"]))
    for one in SERIES:
        for size in one.sizes:
            if (one.axis, one.what, size) not in have:
                seconds, megabytes = apart(one, size)
                row = {"axis": one.axis, "what": one.what, "size": size}
                row |= {"seconds": float(f"{seconds:.4g}"), "megabytes": round(megabytes, 1)}
                pd.DataFrame([row]).to_csv(TABLE, mode="a", header=not TABLE.exists(), index=False)
                print(*row.values(), flush=True)
    return pd.read_csv(TABLE)


def slope(sizes: Any, values: Any) -> float:
    """Of the line by least squares through the logarithms: the power that values grow by.

    >>> round(slope([1, 10, 100], [3, 300, 30_000]), 6)
    2.0
    """
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def last(found: pd.DataFrame, one: Series) -> pd.DataFrame:
    """The three largest sizes of a series, where what is the same at every size counts least."""
    rows = found[(found["axis"] == one.axis) & (found["what"] == one.what)]
    return rows.sort_values("size").tail(3)


def row(found: pd.DataFrame, one: Series) -> dict[str, Any]:
    """A series in the table: its slope, and what one more costs at the end."""
    end = last(found, one)
    power = slope(end["size"], end["seconds"])
    each = end[["size", "seconds", "megabytes"]].diff().iloc[-1]
    seconds, n_bytes = each["seconds"] / each["size"], max(0.0, 1e6 * each["megabytes"] / each["size"])
    grows = f"slope {power:.2f}; {1e6 * seconds:.3g} µs and {n_bytes:.3g} bytes each"
    asked = f"at most {one.law + ROOM:g}: {'met' if power <= one.law + ROOM else 'missed'}"
    what = f"{one.what}, {one.sizes[0]:,} to {one.sizes[-1]:,} {one.axis}"
    constants = {"slope": power, "seconds_each": seconds, "bytes_each": n_bytes}
    return {"what": what, "measured": grows, "asked": asked, "number": power, **constants}


# drawing --------------------------------------------------------------------------------------------------------------


def draw(found: pd.DataFrame) -> None:
    """Time above, peak memory below, an axis a column; dotted: growth in proportion."""
    import matplotlib.pyplot as plt

    from ivekit.viz.style import STYLE, millimetres

    axes = list(dict.fromkeys(one.axis for one in SERIES))
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(2, len(axes), figsize=millimetres(250, 105), sharex="col", layout="constrained")
        for column, axis in zip(panels.T, axes):
            for ax, value in zip(column, ("seconds", "megabytes")):
                panel(ax, found, [one for one in SERIES if one.axis == axis], value)
            column[0].set_title(axis)
            column[1].legend(loc="upper left", bbox_to_anchor=(-0.25, -0.16), borderaxespad=0)
        panels[0, 0].set_ylabel("time, one core (s)")
        panels[1, 0].set_ylabel("peak memory (MB)")
        figure.align_ylabels(panels[:, 0])
        figure.savefig(FIGURE, dpi=200)
        plt.close(figure)


def panel(ax: Any, found: pd.DataFrame, series: list[Series], value: str) -> None:
    """One quantity along one axis, with the slope of the time behind each name."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    from ivekit.viz.style import CYCLE, GREY

    mine = found[found["axis"] == series[0].axis]
    sizes = np.array(sorted(set(mine["size"])), float)
    top = mine[value].max()
    ax.loglog(sizes, 2 * top * sizes / sizes[-1], color=GREY, lw=0.8, ls=":", zorder=0)
    for one, colour in zip(series, CYCLE):
        rows, end = mine[mine["what"] == one.what].sort_values("size"), last(found, one)
        label = f"{one.what} ({slope(end['size'], end['seconds']):.1f})"
        shown = rows[rows[value] > 0.1] if value == "megabytes" else rows  # less is what the system rounds away
        ax.plot(shown["size"], shown[value], "o-", ms=2.5, color=colour, label=label)
    low = mine[value][mine[value] > 0.1].min() if value == "megabytes" else mine[value].min()
    ax.set(
        xlim=(sizes[0] / 1.4, sizes[-1] * 1.4), ylim=(10 ** np.floor(np.log10(low)), 10 ** np.ceil(np.log10(2 * top)))
    )
    ax.xaxis.set(major_locator=FixedLocator([sizes[0], sizes[-1]]), minor_locator=FixedLocator(sizes))
    ax.yaxis.set(major_locator=LogLocator(), minor_locator=NullLocator())
    for one in (ax.xaxis, ax.yaxis):
        one.set_major_formatter(FuncFormatter(lambda x, _: said(x)))
    ax.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))


def said(x: float) -> str:
    """A number on an axis.

    >>> [said(x) for x in (0.001, 10, 1024, 1_000_000)]
    ['0.001', '10', '1024', '1M']
    """
    return f"{x / 1e6:g}M" if x >= 1e6 else f"{x / 1e3:g}k" if x >= 1e3 and not x % 1000 else f"{x:g}"


def main(*words: str) -> None:
    """Measures what is lacking, keeps the table, draws the figure."""
    if "--again" in words:
        TABLE.unlink(missing_ok=True)
    found = measured()
    note = (
        "Seconds of one core for one run, and the most memory that a process of its own held beyond what data and "
        "model took; slopes of log time over log size through the three largest sizes, and what one more costs there. "
        "Rows: 64 numbers each, a small VAE in batches of 1024; the score of 10 codes, 5 factors. Steps: the default "
        "IVE on 32 rows of MEG (102 sensors, 60 samples) or of 16 frames; whitening of 128 such rows, whose covariance "
        "grows with the square of the sensors and its eigenvectors with the cube. Views: tables of 6 columns, 1024 "
        "rows; under DMVAE's plan every view and all of them tell every view, which grows with their square. "
        "Attention: every token looks at every token, a square too. ![](../../docs/scaling.png)"
    )
    rows = [row(found, one) for one in SERIES]
    keep("scaling", "Scaling", "python tests/benchmarks/scaling.py --again", rows, note)
    draw(found)


if __name__ == "__main__":
    main(*sys.argv[1:])
