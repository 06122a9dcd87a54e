"""No setting is dead: each one of each recipe, changed alone, changes a run of two steps."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

import pytest
import torch

from ivekit.recipe import Recipe, parts
from ivekit.recipe.recipe import COMMON
from ivekit.training import evaluate, train

TINY: dict[str, dict[str, Any]] = {
    "ive": dict(data="world", n_trials=40, epochs=2, batch_size=16, dim=16, shared=2, private=2),
}
# setting -> another value, or (what else has to be said, another value)
CHANGED: dict[str, dict[str, Any]] = {
    "ive": dict(
        data="tracking", n_trials=44, snr_db=3.0, shared=3, private=3, dim=8, own=0.5, meg="conv", video="multiscale",
        table="normal", beta=0.5, film=0.1, agree=0.1, timescale=({"data": "tracking", "n_trials": 10}, 0.8),
        epochs=3, batch_size=8, lr=1e-3, clip=0.1,
    ),
}  # fmt: skip
EVERYWHERE = dict(seed=1, precision="bfloat16", split_by=None, device=None, patience=None)


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


CASES = [(name, setting) for name, settings in CHANGED.items() for setting in [*settings, "seed"]]


@pytest.mark.parametrize(("name", "setting"), CASES)
def test_a_setting_changes_the_run(name, setting):
    value = CHANGED[name].get(setting, EVERYWHERE.get(setting))
    first, value = value if isinstance(value, tuple) and isinstance(value[0], dict) else ({}, value)
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
    """`split_by`, `device` and `patience` act outside these two steps: test_recipe and test_cli change them."""
    assert set(EVERYWHERE) | {"data", "epochs", "batch_size", "lr"} == set(COMMON)
