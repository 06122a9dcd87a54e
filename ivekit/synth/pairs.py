"""A scene seen four ways: a picture, a recording, a sentence and a table, with a planted relation between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from einops import rearrange, reduce
from jaxtyping import Bool, Float
from numpy.random import Generator

from ..signal.text import to_bytes
from ..views import Views
from .world import World

N_TIMES, SFREQ, SIZE = 32, 16.0, 16
LAG = (2, 0, 3, 1)  # the quarter of the recording in which a disc at each height, from the top, is answered
COLUMNS = {"discs": "count", "brightness": "grey", "laterality": "left -1, right 1", "rate": "Hz", "height": "a.u."}
MODALITIES = ("image", "series", "text", "table")


@dataclass(frozen=True, repr=False, eq=False)
class Pairs(World):
    """A world of pairs, with the relation that was planted between its pictures and its recordings.

    drives : ``(times, height, width)``, or ``(times, depth, height, width)``: whether a disc at a pixel is what the
        recording answers at a time.
    """

    drives: Bool[np.ndarray, "t *pixels"] = field(default_factory=lambda: np.zeros((0, 0, 0), bool))

    def relation(self, times: int, cells: Sequence[int]) -> Bool[np.ndarray, "q k"]:
        """The planted relation for `times` even stretches of time and a grid of `cells`, row by row.

        True where some pixel of the cell drives some sample of the stretch.

        >>> pairs(8).relation(4, (4, 1)).astype(int)
        array([[0, 1, 0, 0],
               [0, 0, 0, 1],
               [1, 0, 0, 0],
               [0, 0, 1, 0]])
        """
        pixels = self.drives.shape[1:]
        if len(cells) != len(pixels) or any(n % m for n, m in zip(self.drives.shape, (times, *cells))):
            raise ValueError(f"{times} stretches and cells of {tuple(cells)} do not divide {self.drives.shape}")
        inner = " ".join(f"(n{i} p{i})" for i in range(len(cells)))
        outer = " ".join(f"n{i}" for i in range(len(cells)))
        sizes = {f"n{i}": n for i, n in enumerate(cells)}
        return reduce(self.drives, f"(q t) {inner} -> q ({outer})", "max", q=times, **sizes)


def pairs(n_rows: int = 1024, seed: int = 0, volume: bool = False, noise: float = 0.1) -> Pairs:
    """Scenes of one to three discs, all left or all right, all dim or all bright, on stripes; each told in four ways.

    - ``image (b, 1, 16, 16)``, or a volume ``(b, 1, 8, 16, 16)`` of balls at random depths: discs at some of four
      heights, and stripes that are narrower the faster the wave. Their places are off by a pixel or so.
    - ``series (b, 3, 32)``, 2 s at 16 Hz: channels `left`, `right` and `wave`. **Planted**: a disc at a height is
      answered by a bump of its brightness in the channel of its side, in one quarter of the time: from the top, the
      third, the first, the last and the second. The wave is slow (0.5 to 0.8 Hz) or fast (1.2 to 1.6 Hz).
    - ``text (b, 36)``, bytes: "two bright discs left, slow wave". It does not say at which heights.
    - ``table (b, 5)``: how many discs, their brightness, side, the wave's rate and the mean height, as rough readings.

    Each is also recorded a second time, as `image_later` ...: a picture of the same discs a moment later, moved and
    with new noise; the next 2 s of the same series, in which bright discs are answered less (they habituate) and the
    wave goes on; the same said in other words; the readings taken again.

    noise : standard deviation of what is added to pixels and samples.

    Returns
    -------
    Pairs : with the factors `side`, `brightness`, `rate`, `disc_1` to `disc_4` (whether there is one, from the top).

    >>> world = pairs(4)
    >>> world.views["image"].shape, world.views["series"].shape, world.views["table"].shape
    (torch.Size([4, 1, 16, 16]), torch.Size([4, 3, 32]), torch.Size([4, 5]))
    """
    if not noise >= 0:
        raise ValueError(f"noise is {noise}, it must be 0 or more")
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(6)]
    factors = _factors(streams[0], n_rows)
    tensors, present = {}, {}
    for stream, later in ((streams[1], ""), (streams[2], "_later")):
        tensors[f"image{later}"] = _images(stream, factors, volume, noise)
        tensors[f"table{later}"] = _tables(stream, factors)
        texts, there = to_bytes([_say(row, bool(later)) for row in factors.to_dict("records")], 44 if later else 36)
        tensors[f"text{later}"], present[f"text{later}"] = texts, there
    tensors["series"], tensors["series_later"] = _series(streams[3], factors, noise)
    names = [name + later for later in ("", "_later") for name in MODALITIES]
    views = Views({name: torch.as_tensor(tensors[name]) for name in names}, present, None, _about())
    return Pairs(views, factors, {name: _owners(name) for name in factors}, drives=_drives(volume))


def _about() -> dict[str, dict]:
    said = {
        "series": {"channels": ["left", "right", "wave"], "sfreq": SFREQ},
        "table": {"columns": list(COLUMNS), "units": list(COLUMNS.values())},
    }
    return said | {f"{name}_later": what for name, what in said.items()}


def _owners(factor: str) -> frozenset[str]:
    """A text counts the discs, so that each has a part in it."""
    return frozenset(name + later for name in MODALITIES for later in ("", "_later"))


def _factors(rng: Generator, n: int) -> pd.DataFrame:
    count = rng.integers(1, 4, n)
    there = rng.random((n, len(LAG))).argsort(1) < count[:, None]
    bright, fast = rng.random(n) < 0.5, rng.random(n) < 0.5
    brightness = np.where(bright, rng.uniform(0.8, 1.1, n), rng.uniform(0.35, 0.55, n))
    rate = np.where(fast, rng.uniform(1.2, 1.6, n), rng.uniform(0.5, 0.8, n))
    frame = pd.DataFrame({"side": rng.integers(0, 2, n), "brightness": brightness, "rate": rate})
    return frame.assign(**{f"disc_{i + 1}": there[:, i].astype(int) for i in range(len(LAG))})


def _discs(factors: pd.DataFrame) -> Float[np.ndarray, "b 4"]:
    """The brightness of the disc at each height, 0 where there is none."""
    there = factors[[f"disc_{i + 1}" for i in range(len(LAG))]].to_numpy(float)
    return there * factors["brightness"].to_numpy()[:, None]


def _images(rng: Generator, factors: pd.DataFrame, volume: bool, noise: float) -> Float[np.ndarray, "b 1 *pixels"]:
    n, discs = len(factors), _discs(factors)
    place = np.arange(SIZE) + 0.5
    row = 4 * np.arange(4) + 2 + rng.uniform(-0.5, 0.5, (n, 4))
    column = 4 + 8 * factors["side"].to_numpy()[:, None] + rng.uniform(-1.5, 1.5, (n, 4))
    bell = [np.exp(-(((place - centre[..., None]) / 1.6) ** 2)) for centre in (row, column)]
    deep = np.exp(-(((np.arange(8) + 0.5 - rng.uniform(2, 6, (n, 4, 1))) / 1.6) ** 2))
    depth = deep if volume else np.ones((n, 4, 1))
    x = np.einsum("bi,bid,bih,biw->bdhw", discs, depth, *bell)
    # across the picture the stripes make as many cycles as the wave in 4 s
    stripes = 0.2 * np.cos(2 * np.pi * 4 * factors["rate"].to_numpy()[:, None] * place / SIZE)
    x = x + rearrange(stripes, "b w -> b 1 1 w") + noise * rng.standard_normal(x.shape)
    return rearrange(x if volume else x[:, 0], "b ... -> b 1 ...").astype("f4")


def _series(rng: Generator, factors: pd.DataFrame, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """The recording and its future, (b, 3, 32) each."""
    n, discs = len(factors), _discs(factors)
    t = np.arange(2 * N_TIMES)
    centre = N_TIMES / len(LAG) * (np.array(LAG) + 0.5) - 0.5
    now, later = (np.exp(-(((t - centre[:, None] - shift) / 1.8) ** 2)) for shift in (0, N_TIMES))
    bumps = discs @ now + (discs * (1.4 - discs)) @ later  # the brighter, the more it habituates
    left = factors["side"].to_numpy()[:, None] == 0
    phase = rng.uniform(-0.4, 0.4, (n, 1))
    wave = 0.7 * np.sin(2 * np.pi * factors["rate"].to_numpy()[:, None] * t / SFREQ + phase)
    x = np.stack([np.where(left, bumps, 0), np.where(left, 0, bumps), wave], 1)
    x = (x + noise * rng.standard_normal(x.shape)).astype("f4")
    return x[..., :N_TIMES], x[..., N_TIMES:]


def _tables(rng: Generator, factors: pd.DataFrame) -> Float[np.ndarray, "b 5"]:
    discs = _discs(factors) > 0
    count = discs.sum(1)
    columns = [
        count + 0.15 * rng.standard_normal(len(count)),
        factors["brightness"] + 0.05 * rng.standard_normal(len(count)),
        2 * factors["side"] - 1 + 0.2 * rng.standard_normal(len(count)),
        factors["rate"] + 0.05 * rng.standard_normal(len(count)),
        discs @ np.arange(3, -1, -1) / count + 0.1 * rng.standard_normal(len(count)),
    ]
    return np.stack(columns, 1).astype("f4")


def _say(row: dict, other_words: bool) -> str:
    count = sum(row[f"disc_{i + 1}"] for i in range(len(LAG)))
    number, discs = ("one", "two", "three")[count - 1], "disc" if count == 1 else "discs"
    light, side = "bright" if row["brightness"] > 0.7 else "dim", ("left", "right")[int(row["side"])]
    speed = "fast" if row["rate"] > 1 else "slow"
    if other_words:
        return f"{speed} wave, on the {side} {number} {light} {discs}"
    return f"{number} {light} {discs} {side}, {speed} wave"


def _drives(volume: bool) -> Bool[np.ndarray, "t *pixels"]:
    """A disc at a height drives its quarter of the time, wherever it is across the picture."""
    quarter, height = np.arange(N_TIMES) * len(LAG) // N_TIMES, np.arange(SIZE) * len(LAG) // SIZE
    by_height = quarter[:, None] == np.array(LAG)[height]
    shape = (N_TIMES, 8, SIZE, SIZE) if volume else (N_TIMES, SIZE, SIZE)
    return np.broadcast_to(rearrange(by_height, f"t h -> t {'1 ' * volume}h 1"), shape)
