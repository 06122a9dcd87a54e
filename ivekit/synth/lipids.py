"""A simulated atlas of lipids: maps of a brain cut into sections, of which some are missing and all are noisy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from numpy.random import Generator

from ..views import Views
from .world import World

AXES = np.array([1.0, 0.8, 0.65])  # half lengths of the brain: front to back, left to right, bottom to top
# centre and half widths of the regions that are blobs; the second centre is to both sides of the midline
BLOBS = {
    "striatum": ((0.35, 0.35, 0.0), (0.22, 0.16, 0.2)),
    "hippocampus": ((-0.3, 0.35, 0.2), (0.16, 0.22, 0.12)),
    "thalamus": ((-0.1, 0.12, -0.05), (0.2, 0.14, 0.16)),
    "hypothalamus": ((0.0, 0.0, -0.4), (0.3, 0.15, 0.12)),
}
NOISES = ("gaussian", "laplace", "student")


def lipids(
    n_lipids: int = 200,
    n_sections: int = 14,
    n_points: int = 40,
    gaps: int = 2,
    withheld: float = 0.5,
    noise: str = "mixed",
    level: float = 0.5,
    own: float = 0.35,
    seed: int = 0,
) -> World:
    """Maps of many lipids over one brain, measured section by section, whose truth is known.

    Each lipid is a saturating sum of eight anatomical patterns (regions, layers, a gradient), weighted by chance, and
    of a smooth map of its own that no other lipid has: ``x = 1 / (1 + exp(0.5 - sum_f w_f pattern_f - own))``, between
    0 and 1, in the units of the most intense spot. Noise is added; so measured values also lie below 0 and above 1.

    n_sections, n_points : sections from back to front, and points in each, jittered; the same for all lipids.
    gaps : sections that were lost in all lipids: no row has values there.
    withheld : the part of the other sections that is not in a lipid's `observed`; drawn for each lipid anew.
    noise : gaussian, laplace, student (3 degrees of freedom, so with outliers), or mixed: a kind by chance a lipid.
    level : mean standard deviation of the noise, in those of the clean values; it differs between lipids.
    own : standard deviation of the lipid's own map, before the saturation; each pattern's weight has 1.

    The views, one row a lipid: `observed` (n, 4), x, y, z and value of the sections that were kept, masked elsewhere;
    `coords` (n, 3); `lipids` (n,), the values in all sections but the gaps; `section` (n,), its number. In metadata:
    lipid, noise, noise_sd, split (by lipid). ``world.clean["lipids"]`` is the truth at every point, in the gaps
    too; `topographies` are the patterns.

    >>> lipids(n_lipids=30, n_points=20).views
    Views of 30 rows
      observed  (280, 4)  57.1% masked
      coords    (280, 3)
      lipids    (280,)    14.3% masked
      section   (280,)
      metadata: lipid, noise, noise_sd, split
    """
    if noise not in (*NOISES, "mixed"):
        raise ValueError(f"noise is one of mixed, {', '.join(NOISES)}; got {noise!r}")
    if not 0 <= gaps <= n_sections - 3:
        raise ValueError(f"gaps must leave at least 3 of the {n_sections} sections, got {gaps}")
    if not 0 < withheld < 1:
        raise ValueError(f"withheld is the part of the sections that is hidden, between 0 and 1, got {withheld}")
    rng = np.random.default_rng(seed)
    xyz, section = points(rng, n_sections, n_points)
    maps = patterns(xyz)
    weights = rng.standard_normal((n_lipids, len(maps)))
    logits = weights @ np.stack(list(maps.values())) + own * _smooth(rng, xyz, n_lipids)
    clean = 1 / (1 + np.exp(0.5 - logits))
    kinds = rng.choice(NOISES, n_lipids) if noise == "mixed" else np.full(n_lipids, noise)
    sd = level * clean.std() * np.exp(rng.normal(0, 0.3, n_lipids))
    values = clean + sd[:, None] * _noise(rng, kinds, clean.shape[1])
    there = ~np.isin(section, gap_sections(n_sections, gaps))
    seen = there & ~_withheld(rng, n_lipids, section, there, withheld)
    frame = pd.DataFrame({"lipid": [f"lipid {i}" for i in range(n_lipids)], "noise": kinds, "noise_sd": sd.round(4)})
    frame["split"] = _split(rng, n_lipids)
    views = _views(xyz, section, values, there, seen, frame)
    owners = dict.fromkeys(maps, frozenset({"observed", "lipids"}))
    return World(views, pd.DataFrame(weights, columns=list(maps)), owners, maps, clean={"lipids": clean})


def points(rng: Generator, n_sections: int, n_points: int) -> tuple[Float[np.ndarray, "n 3"], Int[np.ndarray, "n"]]:
    """Places in the sections of an ellipsoid, evenly spread in each, and the number of the section of each.

    >>> xyz, section = points(np.random.default_rng(0), 5, 20)
    >>> xyz.shape, np.unique(section).tolist(), bool((((xyz / AXES) ** 2).sum(1) < 1).all())
    ((100, 3), [0, 1, 2, 3, 4], True)
    """
    section = np.repeat(np.arange(n_sections), n_points)
    x = 0.95 * (2 * (section + 0.5) / n_sections - 1)
    i = np.tile(np.arange(n_points), n_sections) + rng.uniform(0, 0.5, len(section))
    radius, angle = np.sqrt((i + 0.25) / n_points), i * np.pi * (3 - np.sqrt(5))  # a sunflower's seeds (Vogel, 1979)
    across = np.sqrt(1 - x**2) * radius * 0.99
    return np.stack([x, AXES[1] * across * np.cos(angle), AXES[2] * across * np.sin(angle)], 1), section


def patterns(xyz: Float[np.ndarray, "n 3"]) -> dict[str, Float[np.ndarray, "n"]]:
    """What the anatomy looks like: at each place, how much of each region; both sides of the brain alike.

    >>> list(patterns(np.zeros((1, 3))))[:4]
    ['cortex', 'white matter', 'cerebellum', 'front to back']
    """
    depth = np.linalg.norm(xyz / AXES, axis=-1)
    folded = np.stack([xyz[..., 0], np.abs(xyz[..., 1]), xyz[..., 2]], -1)
    found = {
        "cortex": 2 / (1 + np.exp((0.78 - depth) / 0.05)),
        "white matter": 2 * np.exp(-(((depth - 0.6) / 0.12) ** 2)),
        "cerebellum": 2 / (1 + np.exp((xyz[..., 0] + 0.6) / 0.05)),
        "front to back": xyz[..., 0],
    }
    for name, (centre, width) in BLOBS.items():
        found[name] = 2.5 * np.exp(-0.5 * (((folded - np.array(centre)) / np.array(width)) ** 2).sum(-1))
    return found


def gap_sections(n_sections: int, gaps: int) -> Int[np.ndarray, "g"]:
    """The sections that no lipid has: spread over the brain, never the first or last.

    >>> gap_sections(14, 2).tolist()
    [4, 9]
    """
    return np.round(np.linspace(0, n_sections - 1, gaps + 2)[1:-1]).astype(int)


def _smooth(rng: Generator, xyz: Float[np.ndarray, "n 3"], rows: int) -> Float[np.ndarray, "b n"]:
    """Random maps of variance 1 that change over about 0.4, a fifth of the brain: Gaussian processes by their waves."""
    n_waves = 64
    waves = rng.standard_normal((rows, n_waves, 3)) / 0.4
    phases = rng.uniform(0, 2 * np.pi, (rows, n_waves, 1))
    return np.sqrt(2 / n_waves) * np.cos(waves @ xyz.T + phases).sum(1)


def _noise(rng: Generator, kinds: np.ndarray, n: int) -> Float[np.ndarray, "b n"]:
    """Noise of variance 1, of each row's kind."""
    shape = (len(kinds), n)
    drawn = {
        "gaussian": rng.standard_normal(shape),
        "laplace": rng.laplace(0, np.sqrt(0.5), shape),
        "student": rng.standard_t(3, shape) / np.sqrt(3),
    }
    return np.stack([drawn[kind][i] for i, kind in enumerate(kinds)])


def _withheld(
    rng: Generator, rows: int, section: Int[np.ndarray, "n"], there: Bool[np.ndarray, "n"], share: float
) -> Bool[np.ndarray, "b n"]:
    """Which points each row does not see: whole sections, at least one, and at least one is left."""
    whole = np.unique(section[there])
    n = int(np.clip(round(share * len(whole)), 1, len(whole) - 1))
    return np.stack([np.isin(section, rng.permutation(whole)[:n]) for _ in range(rows)])


def _split(rng: Generator, rows: int) -> np.ndarray:
    """Seven lipids of ten are for training, one for choosing the epoch, two for the end."""
    words = np.repeat(["train", "validation", "test"], [rows - rows // 10 - rows // 5, rows // 10, rows // 5])
    return words[rng.permutation(rows)]


def _views(
    xyz: Float[np.ndarray, "n 3"], section: Int[np.ndarray, "n"], values: Float[np.ndarray, "b n"],
    there: Bool[np.ndarray, "n"], seen: Bool[np.ndarray, "b n"], frame: pd.DataFrame,
) -> Views:  # fmt: skip
    b, n = values.shape
    coords, x = np.broadcast_to(xyz, (b, n, 3)).astype("f4"), values.astype("f4")
    tensors = {
        "observed": torch.from_numpy(np.concatenate([coords, x[..., None]], -1)),
        "coords": torch.from_numpy(coords.copy()),
        "lipids": torch.from_numpy(x),
        "section": torch.from_numpy(np.broadcast_to(section, (b, n)).copy()),
    }
    present = {
        "observed": np.broadcast_to(seen[..., None], (b, n, 4)).copy(),
        "lipids": np.broadcast_to(there, (b, n)).copy(),
    }
    about = {
        "lipids": {"unit": "a.u.", "range": [0.0, 1.0]},
        "coords": {"columns": ["x", "y", "z"], "unit": "half brains"},
    }
    return Views(tensors, present, frame, about)
