"""Do explained fields lie where the sources are? Each map of each factor of the MEG against the simulated truth.

    python evidence/topography.py             goes on with what topography.csv holds
    python evidence/topography.py 1           only seed 1

One row a seed, factor and map: |cos| with the true field, the error of the dipole that mne fits to it (mm), the error
of the latency (ms), and |r| of what is mapped with the factor. Readouts and rotations are fitted on training rows,
every map is taken on test rows. Seed 0 is the run in data_samples/runs/world; others are trained as that was.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from recovery import append

import ivekit as ive
from ivekit import explain
from ivekit.explain import patterns, rotations, sources
from ivekit.recipe import Recipe, parts
from ivekit.training import train

TABLE = Path(__file__).with_suffix(".csv")
STORED = Path(__file__).parents[1] / "data_samples/runs/world"
SETTINGS = dict(data="world", n_trials=2048, shared=6, private=6, epochs=30)
DRAWS = 20  # of what chance is: a median over them


def trained(seed: int) -> tuple[Any, Recipe]:
    """The default recipe on the world of a seed; that of seed 0 is in the repository."""
    if seed == 0:
        return ive.recipe.load(STORED, recipe="ive")
    recipe = Recipe("ive", SETTINGS | {"seed": seed})
    rows = parts(recipe.data())["train"]
    model = recipe.model(rows)
    for _ in train(model, recipe.objective(rows), rows, **recipe.training(rows)):
        pass
    return model, recipe


def compare(field: np.ndarray, truth: np.ndarray) -> float:
    """|cos| of two fields; of a map without signs, with the true field's size."""
    return sources.cosine(field, np.abs(truth) if (field >= 0).all() else truth)


class Study:
    """One trained model, its world, and what every map of it is scored by."""

    def __init__(self, seed: int):
        self.seed, (self.model, self.recipe) = seed, trained(seed)
        self.world = ive.synth.audiovisual(2048, seed=seed)
        split = self.world.views.metadata["split"].to_numpy()
        self.is_train, self.is_test = split == "train", split == "test"
        self.train, self.test = self.world.views[self.is_train], self.world.views[self.is_test]
        self.sensors = self.test.about["meg"]
        self.times = self.sensors.times(self.test["meg"].shape[-1])
        self.noise = sources.noise_covariance(self.train["meg"].numpy(), int((self.times < 0).sum()))

    def factor(self, name: str, rows: np.ndarray) -> np.ndarray:
        """A factor's true values in some rows."""
        return self.world.factors[name].to_numpy()[rows]

    def block(self, name: str) -> str:
        """Where a factor belongs: the shared latents, or those of the MEG alone."""
        return "shared" if len(self.world.owners[name]) > 1 else "meg"

    def score(self, name: str, pattern: Any, values: Any = None) -> dict[str, float]:
        """One map (c, t), or a field (c,) without a course, against the truth."""
        x = np.asarray(pattern, float)
        field, course, _ = (x, None, 1.0) if x.ndim == 1 else sources.topography(x)
        unsigned = bool((x >= 0).all())
        said = {"cos": compare(np.abs(field) if unsigned else field, self.world.topographies[name])}
        if not unsigned:
            said["dipole_mm"] = sources.dipole_error(field, self.sensors, self.world.places[name], self.noise)
        if course is not None:
            said["latency_ms"] = sources.latency_error(course, self.world.time_courses[name], self.times)
        if values is not None:
            said["r"] = abs(float(np.corrcoef(values, self.factor(name, self.is_test))[0, 1]))
        return said

    def untrained(self) -> Any:
        """The same networks with weights as they are drawn, behind the same standardisation."""
        torch.manual_seed(self.seed + 1000)
        return self.recipe.model(self.train)

    def maps(self, name: str) -> Iterator[tuple[str, dict[str, float]]]:
        """Every way to map a factor, by name."""
        pattern, meg = explain.haufe_pattern, self.test["meg"]
        truth, y = self.factor(name, self.is_train), torch.tensor(self.factor(name, self.is_test))
        readout = explain.readout_target(self.model, self.train, truth, self.block(name))
        read = patterns.target_values(self.model, self.test, readout).numpy()
        score = partial(self.score, name)
        yield "readout: pattern", score(pattern(self.model, self.test, readout)["meg"], read)
        yield "readout: covariance x gradient", score(explain.gradient_pattern(self.model, self.test, readout)["meg"])
        yield "readout: gradient", score(explain.mean_gradient(self.model, self.test, readout)["meg"])
        size = explain.attribute(self.model, self.test[:64], readout)["meg"].abs().mean(0)
        yield "readout: |integrated gradients|", score(size)
        yield "data alone: covariance with the factor", score(patterns.pattern_of(meg, y))
        rest = self.untrained()
        yield "untrained network with this readout: pattern", score(pattern(rest, self.test, readout)["meg"])
        own = explain.readout_target(rest, self.train, truth, self.block(name))
        said = patterns.target_values(rest, self.test, own).numpy()
        yield "untrained network with its own readout: pattern", score(pattern(rest, self.test, own)["meg"], said)
        some_gradient = explain.mean_gradient(rest, self.test, own)["meg"]
        yield "untrained network with its own readout: gradient", score(some_gradient)
        chance = np.random.default_rng(self.seed).standard_normal((DRAWS, len(self.test)))
        each = [score(patterns.pattern_of(meg, torch.tensor(draw)), draw) for draw in chance]
        yield "random explainer: pattern", pd.DataFrame(each).median().to_dict()
        size = np.random.default_rng(self.seed).random((DRAWS, *meg.shape[1:]))
        yield "random explainer: |attribution|", pd.DataFrame([score(x) for x in size]).median().to_dict()

    def filters(self, name: str) -> Iterator[tuple[str, dict[str, float]]]:
        """The encoder's spatial filters: the one that is nearest to the truth, as a filter and as a pattern."""
        truth = self.world.topographies[name]
        best = partial(max, key=lambda field: sources.cosine(field, truth))
        filters = explain.spatial_filters(self.model)["meg"]
        yield "nearest filter of the encoder: filter", self.score(name, best(filters.numpy()))
        found = explain.filter_patterns(self.model, self.test)["meg"].numpy()
        yield "nearest filter of the encoder: pattern", self.score(name, best(found))
        found = explain.filter_patterns(self.untrained(), self.test)["meg"].numpy()
        yield "nearest filter of an untrained encoder: pattern", self.score(name, best(found))

    def latents(self, name: str) -> Iterator[tuple[str, dict[str, float]]]:
        """The single latent that is nearest to the factor on training rows, before and after each rotation."""
        block = self.block(name)
        owned = [f for f in self.world.topographies if self.block(f) == block]
        fit, test = (patterns.target_values(self.model, v, lambda out: out.z[block]) for v in (self.train, self.test))
        truths = self.world.factors[owned].to_numpy()[self.is_train]
        turns = {
            "as trained": np.eye(fit.shape[1]),
            "turned by factor": rotations.by_factor(fit, truths),
            "turned by varimax": rotations.by_varimax(rotations.loadings(self.model, self.train[::8], block)),
            "turned by independence": rotations.by_independence(fit, seed=0),
        }
        for turn, rotation in turns.items():
            yield f"single latent {turn}: pattern", self._latent(name, fit.numpy(), test.numpy(), rotation)
        rng = np.random.default_rng(self.seed)
        drawn = [rotations.random_rotation(fit.shape[1], rng) for _ in range(DRAWS)]
        each = [self._latent(name, fit.numpy(), test.numpy(), rotation) for rotation in drawn]
        yield "single latent after a random rotation: pattern", pd.DataFrame(each).median().to_dict()

    def _latent(self, name: str, fit: np.ndarray, test: np.ndarray, rotation: np.ndarray) -> dict[str, float]:
        y = self.factor(name, self.is_train)
        r = np.nan_to_num([np.corrcoef(z, y)[0, 1] for z in (fit @ rotation).T])
        values = (test @ rotation)[:, np.abs(r).argmax()]
        return self.score(name, patterns.pattern_of(self.test["meg"], torch.tensor(values)), values)

    def rows(self) -> Iterator[dict[str, Any]]:
        """All maps of all factors that the MEG has a field of."""
        for name in self.world.topographies:
            for way in (self.maps, self.filters, self.latents):
                for what, said in way(name):
                    numbers = {key: said.get(key, np.nan) for key in ("cos", "dipole_mm", "latency_ms", "r")}
                    rounded = {key: "" if np.isnan(x) else f"{x:.4g}" for key, x in numbers.items()}
                    yield {"seed": self.seed, "factor": name, "map": what} | rounded


def main(arguments: list[str]) -> None:
    """Appends the seeds that are not in the table yet."""
    torch.set_num_threads(1)
    done = set(pd.read_csv(TABLE)["seed"]) if TABLE.exists() else set()
    for seed in [int(a) for a in arguments] or [0, 1, 2]:
        if seed not in done:
            for row in list(Study(seed).rows()):  # all of a seed or none
                append(TABLE, row)
            table = pd.read_csv(TABLE).query("seed == @seed and map == 'readout: pattern'")
            print(table.to_string(index=False))


if __name__ == "__main__":
    main(sys.argv[1:])
