"""The small world: its truth is in its data, and a model learns it in seconds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ivekit import metrics, recipe
from ivekit.recipe import Recipe
from ivekit.synth import World, random_fields, small
from ivekit.training import latents, train

FIRST = 6  # samples before the stimulus


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(abs((a * b).sum()) / np.sqrt((a**2).sum() * (b**2).sum()))


@pytest.fixture(scope="module")
def world() -> World:
    return small(2048, seed=3, snr_db=3.0)


def slopes(world: World, view: str) -> dict[str, np.ndarray]:
    """What one unit of each factor adds to a view, by least squares."""
    x = world.views[view].numpy()
    design = np.column_stack([np.ones(len(x)), world.factors.to_numpy()])
    beta = np.linalg.lstsq(design, x.reshape(len(x), -1), rcond=None)[0][1:]
    return {name: b.reshape(x.shape[1:]) for name, b in zip(world.factors, beta)}


def test_the_stated_fields_courses_and_ratio_are_those_of_the_data(world):
    noise, ratios = world.views["meg"].numpy()[:, :, :FIRST].var((0, 2)), []
    for name, slope in slopes(world, "meg").items():
        if name not in world.topographies:
            continue
        field, course = world.topographies[name], world.time_courses[name]
        assert course.max() == 1 and not course[:FIRST].any() and course.argmax() < len(course) - 3
        assert cosine(slope[:, course.argmax()], field) > 0.97
        best = np.abs(field).argmax()
        assert slope[best, course.argmax()] == pytest.approx(field[best], rel=0.15)
        ratios.append(slope[best, course.argmax()] ** 2 / noise[best])
    assert len(ratios) == 3 and 10 * np.log10(np.mean(ratios)) == pytest.approx(3.0, abs=0.6)


def test_each_view_changes_with_its_own_factors_only(world):
    """The variance that a factor explains in a view is a hundred times what chance gives, or no more than that."""
    for view in world.views:
        x = world.views[view].numpy().reshape(len(world.views), -1)
        r = np.array([[np.corrcoef(f, x[:, i])[0, 1] for i in range(x.shape[1])] for f in world.factors.to_numpy().T])
        strongest = dict(zip(world.factors, np.abs(r).max(1)))
        for factor, owners in world.owners.items():
            assert (strongest[factor] > 0.3) == (view in owners), (view, factor, strongest[factor])


def test_pixels_say_what_a_factor_moves(world):
    film = world.clean["video"]
    assert film.shape == world.views["video"].shape and film.min() >= 0 and film.max() <= 1
    assert set(world.pixels) == {"position", "motion", "contrast"}
    for name, mask in world.pixels.items():
        tenth = world.factors[name].rank(pct=True).mul(9.999).astype(int)
        moved = np.std([film[tenth == i].mean(0) for i in range(10)], axis=0)  # what the factor does, by itself
        assert mask.shape == film.shape[1:] and 0.05 < mask.mean() < 0.4
        assert moved[mask].mean() > 4 * moved[~mask].mean()
    assert not (world.pixels["contrast"] & (world.pixels["position"] | world.pixels["motion"])).any()
    assert (world.pixels["position"] != world.pixels["motion"]).any()


def test_a_seed_gives_the_same_trials_at_every_ratio(world):
    again, quiet = small(2048, seed=3, snr_db=3.0), small(2048, seed=3, snr_db=-6.0)
    assert all(torch.equal(again.views[name], world.views[name]) for name in world.views)
    assert quiet.factors.equals(world.factors) and torch.equal(quiet.views["video"], world.views["video"])
    assert not torch.equal(quiet.views["meg"], world.views["meg"])
    frame = world.views.metadata
    assert frame is not None
    split = frame["split"].value_counts(normalize=True)
    assert split["train"] == pytest.approx(0.7, abs=0.01) and split["test"] == pytest.approx(0.2, abs=0.01)


def test_sizes_out_of_range_are_named():
    with pytest.raises(ValueError, match="10 trials or more, 8 to 102 sensors .* got 5, 28"):
        small(5)
    with pytest.raises(ValueError, match="got 20, 4"):
        small(20, n_sensors=4)


def test_random_fields_are_fields_of_dipoles(world):
    sensors = world.views.about["meg"]
    fields = random_fields(sensors, 60, seed=1)
    assert fields.shape == (60, 28) and np.array_equal(fields, random_fields(sensors, 60, seed=1))
    assert not np.allclose(fields, random_fields(sensors, 60, seed=2))
    likeness = np.array([[cosine(a, b) for b in fields] for a in world.topographies.values()])
    assert np.median(likeness) < 0.4 and likeness.max() < 1 - 1e-3  # none is the true one
    # smooth: neighbours in space are alike, unlike in noise of the same size
    near = np.linalg.norm(sensors.pos[:, None] - sensors.pos, axis=-1) + np.eye(28)
    neighbour = near.argmin(1)
    r = [np.corrcoef(f, f[neighbour])[0, 1] for f in fields]
    assert np.median(r) > 0.6


def test_random_fields_need_to_know_where_the_coils_are(world):
    from ivekit.signal import Sensors

    with pytest.raises(ValueError, match=r"no mne\.Info"):
        random_fields(Sensors(["a"], np.zeros((1, 2)), ["mag"], 100.0))


def test_a_model_learns_it_in_seconds():
    """The shipped recipe on 512 trials: the shared factors are in the shared block, the behaviour's own in its own."""
    world = small(512, snr_db=0.0)
    rows = recipe.parts(world.views)
    run = Recipe("ive", dict(shared=4, private=2, epochs=18, film=0.1))
    model = run.model(rows["train"])
    for _ in train(model, run.objective(rows["train"]), rows["train"], **run.training(rows["train"])):
        pass
    frame = world.views.metadata
    assert frame is not None
    split = frame["split"].to_numpy()
    codes = {block: z.numpy() for block, z in latents(model, world.views).items()}
    leak = metrics.block_readout(codes, world.factors, split != "test", split == "test")
    assert leak.loc["shared", "position"] > 0.8 and leak.loc["behaviour", "caution"] > 0.7
    assert leak.loc["shared", "caution"] < 0.2 and leak.loc["meg", "contrast"] < 0.1
