"""No setting is dead: each one of each recipe, changed alone, changes a run of two steps."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from ivekit.recipe import Recipe, parts
from ivekit.recipe.recipe import COMMON
from ivekit.training import evaluate, train

SAVED, TABLE = "a folder of saved rows", "a table of points"

TINY: dict[str, dict[str, Any]] = {
    "ive": dict(data="world", n_trials=40, epochs=2, batch_size=16, dim=16, shared=2, private=2),
    "mimo_ae": dict(n_subjects=6, n_windows=5, window=4.0, dim=16, latent=16, epochs=1, batch_size=8),
    "lipid_cvae": dict(n_lipids=20, n_sections=6, n_points=10, latent=4, dim=16, epochs=1, batch_size=8),
    "modal_merge": dict(n_rows=30, dim=16, epochs=1, batch_size=8),
    "meg_decoding": dict(array="neuromag102", n_trials=12, n_subjects=3, members=1, dim=8, epochs=1, batch_size=8),
}
# setting -> another value, or (what else has to be said, another value)
CHANGED: dict[str, dict[str, Any]] = {
    "ive": dict(
        data="tracking", n_trials=44, snr_db=3.0, shared=3, private=3, dim=8, own=0.5, meg="conv", video="multiscale",
        table="normal", beta=0.5, film=0.1, agree=0.1, timescale=({"data": "tracking", "n_trials": 10}, 0.8),
        epochs=3, batch_size=8, lr=1e-3, clip=0.1,
    ),
    "mimo_ae": dict(
        data=SAVED, n_subjects=7, n_windows=6, window=5.0, step=({"data": "resting"}, 8.0), scale="window",
        validation=({"test": ("s03",)}, ("s02",)), test=({"test": ("s04",)}, ("s03",)), fusion="experts",
        latent=32, dim=24, depth=3, beta=1.0, spectral=0.5, spectrum="phase", weighting="uncertainty", drop=0.6,
        epochs=2, batch_size=4, lr=1e-3,
    ),
    "lipid_cvae": dict(
        data=SAVED, n_lipids=24, n_sections=7, n_points=12, withheld=0.3, noise="student", level=0.2,
        system=({"data": TABLE}, "spherical"), latent=5, dim=24, encoder="grid", decoder="grid", bandwidth=0.5,
        likelihood="laplace", scale="all", beta=0.5, schedule="cyclical", free_bits=5.0, l1=0.1, smooth=0.0,
        bounds=({"lr": 0.1}, 0.0), seen=(0.5, 0.6), epochs=2, batch_size=4, lr=1e-3, clip=0.01,
    ),
    "modal_merge": dict(
        data=SAVED, source="table", target="table", n_rows=34, volume=True, noise=0.3, conditioner="film",
        encoder=({"source": "series", "target": "image"}, "gru"), decoder="lstm", dim=24, depth=1, heads=2,
        blocks=(2, 1), width=8, bottleneck=True, epochs=2, batch_size=4, lr=1e-3, clip=0.01,
    ),
    "meg_decoding": dict(
        data=SAVED, array="ctf151", n_trials=16, n_subjects=4, evoked=1.0, rhythm=1.0, encoder="gru", members=2,
        dim=16, highest=10.0, standardise="zscore", dropout=0.1, noise=0.1, drop=0.3, shift=3, classes="balanced",
        epochs=2, batch_size=4, lr=1e-3, decay=0.5, clip=0.01,
    ),
}  # fmt: skip
EVERYWHERE = dict(seed=1, accumulate=2, precision="bfloat16", split_by=None, held_out=None, device=None, patience=None)


def digest(*things: Any) -> str:
    """A fingerprint of tensors and of what has a repr."""
    found = hashlib.sha256()
    for thing in things:
        found.update(thing.numpy().tobytes() if isinstance(thing, torch.Tensor) else repr(thing).encode())
    return found.hexdigest()


def fingerprint(name: str, settings: dict[str, Any]) -> str:
    """Rows, losses of every step, and what the trained model scores."""
    torch.set_num_threads(1)
    recipe = Recipe(name, {**TINY[name], **settings, "device": "cpu"})
    rows = parts(recipe.data())
    model, objective = recipe.model(rows["train"]), recipe.objective(rows["train"])
    steps = train(model, objective, rows["train"], **recipe.training(rows["train"]))
    losses = [step.loss.detach() for step in steps]
    tensors = [x for part in rows.values() for x in part.tensors.values()]
    return digest(*tensors, *losses, evaluate(model, objective, rows["validation"]))


@cache
def usual(name: str, said: tuple[tuple[str, Any], ...]) -> str:
    return fingerprint(name, dict(said))


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> str:
    """A CSV of 30 maps at points in three sections."""
    path, rng = tmp_path_factory.mktemp("points") / "atlas.csv", np.random.default_rng(0)
    xyz = {"x": np.repeat([1.0, 2.0, 3.0], 8), "y": rng.random(24), "z": rng.random(24)}
    pd.DataFrame(xyz | {f"PC {i}": rng.random(24) for i in range(30)}).to_csv(path, index=False)
    return str(path)


CASES = [(name, setting) for name, settings in CHANGED.items() for setting in [*settings, "seed"]]


@pytest.mark.parametrize(("name", "setting"), CASES)
def test_a_setting_changes_the_run(name, setting, tmp_path, table):
    value = CHANGED[name].get(setting, EVERYWHERE.get(setting))
    first, value = value if isinstance(value, tuple) and isinstance(value[0], dict) else ({}, value)
    if first.get("data") == "resting" and "IVEKIT_DATA" not in os.environ:
        pytest.skip("IVEKIT_DATA is not set: it names the folder of real recordings whose windows this setting moves")
    first = {n: table if v == TABLE else v for n, v in first.items()}
    if value == SAVED:
        value = str(tmp_path / "rows")
        Recipe(name, {**TINY[name], "seed": 5}).data().save(value)
    assert fingerprint(name, {**first, setting: value}) != usual(name, tuple(first.items()))


@pytest.mark.parametrize("name", CHANGED)
def test_a_run_repeats_and_every_setting_is_here(name):
    assert fingerprint(name, {}) == usual(name, ())
    known = set(Recipe(name).known)
    assert known - set(EVERYWHERE) == set(CHANGED[name]), "a setting that no test changes, or that is gone"


@pytest.mark.parametrize("name", CHANGED)
def test_a_setting_that_nothing_takes_is_refused_by_name(name):
    with pytest.raises(ValueError, match="no setting 'colour'"):
        Recipe(name, {"colour": "red"})


def test_what_every_recipe_takes_is_what_is_tested_here():
    """`split_by`, `held_out`, `device` and `patience` act outside these two steps: other tests change them."""
    assert set(EVERYWHERE) | {"data", "epochs", "batch_size", "lr"} == set(COMMON)
