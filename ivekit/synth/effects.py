"""What the factors of a simulated experiment do, trial by trial: the same trial with one factor set high and low."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Real
from numpy import ndarray

from .experiment import OWNERS, _behaviour, _video
from .world import World

NOISES = 64  # draws of the noise that the mean behaviour is taken over: a choice is a probability then


def true_effects(
    world: World, rows: Sequence[int] | Int[ndarray, "s"], ends: Mapping[str, Sequence[float | int] | Real[Any, "2"]]
) -> dict[str, dict[str, Float[ndarray, "s ..."]]]:
    """How some trials of `audiovisual` would differ, without noise, if a factor were high instead of low.

    rows : numbers of the trials, whose other factors stay what they are. ends : {factor: (low, high)}.

    Returns
    -------
    {factor: {view: (s, *shape)}}, in the view's unit; 0 where the factor does nothing. The MEG is that of the mean head
    and gain of the subjects; behaviour is the mean over its noise.

    Raises
    ------
    ValueError : of another world, whose simulator this is not.

    >>> from ivekit.synth import audiovisual
    >>> effects = true_effects(audiovisual(12, n_subjects=3), [0, 5], {"caution": (-1, 1)})
    >>> {view: (x.shape, bool(x.any())) for view, x in effects["caution"].items()}
    {'meg': ((2, 102, 60), False), 'video': ((2, 1, 16, 32, 32), False), 'behaviour': ((2, 6), True)}
    """
    if set(world.factors) != set(OWNERS) or set(world.views) != {"meg", "video", "behaviour"}:
        raise ValueError(f"these are the effects of synth.audiovisual, whose factors are {list(OWNERS)}")
    if unknown := set(ends) - set(OWNERS):
        raise ValueError(f"no factors {sorted(unknown)}; there are {list(OWNERS)}")
    trials = world.factors.iloc[np.asarray(rows)]
    return {name: _effects(world, trials, name, *map(float, at)) for name, at in ends.items()}


def _effects(world: World, trials: pd.DataFrame, name: str, low: float, high: float) -> dict[str, ndarray]:
    down, up = (trials.assign(**{name: value}) for value in (low, high))
    film = _video(np.random.default_rng(0), up, 0.0) - _video(np.random.default_rng(0), down, 0.0)
    behaviour = _mean_behaviour(up) - _mean_behaviour(down)
    field = np.zeros(world.views["meg"].shape[1:])
    if name in world.topographies:
        field = (high - low) * np.outer(world.topographies[name], world.time_courses[name])
    return {"meg": np.repeat(field[None], len(trials), 0), "video": film, "behaviour": behaviour}


def _mean_behaviour(trials: pd.DataFrame) -> Float[ndarray, "s f"]:
    """The mean over draws of the noise, the same for whichever factors."""
    many = _behaviour(np.random.default_rng(0), pd.concat([trials] * NOISES))
    return many.reshape(NOISES, len(trials), -1).mean(0)
