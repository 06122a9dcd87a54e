"""Latents that move: the autoregressive prior, rows that stay together, and a world whose factors drift."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import kl_divergence

from ivekit import AR1, KL, Views, metrics, plans, synth
from ivekit.distributions import Normal
from ivekit.models import Outputs
from ivekit.recipe import Recipe, parts
from ivekit.training import latents, train


def windows(trial: list[int], time: list[float]) -> Views:
    return Views({"a": torch.zeros(len(trial), 1)}, metadata=pd.DataFrame({"trial": trial, "time": time}))


def said(n: int, k: int = 2) -> Outputs:
    draw = torch.Generator().manual_seed(0)
    q = Normal(torch.randn(n, k, generator=draw), torch.rand(n, k, generator=draw) + 0.1)
    return Outputs({"shared": q}, {"shared": torch.randn(n, k, generator=draw)}, {"a": None})


def test_the_prior_is_what_the_window_before_lets_expect():
    out, views = said(5), windows([0, 0, 0, 1, 1], [0.0, 0.1, 0.4, 0.0, 0.2])
    value = AR1(timescale=0.5)(out, views, None)
    q, z = out.q["shared"], out.z["shared"]
    for row, gap in enumerate([None, 0.1, 0.3, None, 0.2]):
        rho = 0.0 if gap is None else np.exp(-gap / 0.5)
        prior = torch.distributions.Normal(rho * z[row - 1], (1 - rho**2) ** 0.5)
        oracle = kl_divergence(torch.distributions.Normal(q.loc[row], q.stddev[row]), prior).sum()
        torch.testing.assert_close(value[row], oracle, rtol=1e-4, atol=1e-5)


def test_rows_apart_have_the_usual_prior():
    out, views = said(4), windows([0, 1, 2, 3], [0.0, 0.1, 0.2, 0.3])
    torch.testing.assert_close(AR1(0.5, beta=2.0)(out, views, 3), KL(beta=2.0)(out, views, 3))
    backwards = windows([0, 0, 0, 0], [0.3, 0.2, 0.1, 0.0])
    torch.testing.assert_close(AR1(0.5)(out, backwards, None), KL()(out, backwards, None))


def test_in_a_plan_each_subset_has_its_own_trials():
    views, plan = windows([0, 0, 0], [0.0, 0.1, 0.2]), plans.joint(["a"])
    out = said(3 * len(plan))
    alone = [
        AR1(0.5)(Outputs(*({n: part(x, s) for n, x in d.items()} for d in (out.q, out.z)), out.p), views, None)
        for s in range(len(plan))
    ]
    torch.testing.assert_close(AR1(0.5)(out, plan.views(views), None), torch.cat(alone))


def part(x, s: int):
    rows = slice(3 * s, 3 * s + 3)
    return x[rows] if isinstance(x, torch.Tensor) else Normal(x.loc[rows], x.stddev[rows])


def test_it_needs_trials_and_times_and_a_scale():
    with pytest.raises(ValueError, match=r"needs columns 'trial' and 'time'; the metadata has \[\]"):
        AR1(0.5)(said(2), Views({"a": torch.zeros(2, 1)}), None)
    with pytest.raises(ValueError, match="timescale is 0.0 s, it must be more than 0"):
        AR1(0.0)


def test_rows_that_are_kept_together_stay_in_order():
    views = windows([0, 0, 0, 1, 1, 1, 2, 2, 2], 3 * [0.0, 0.1, 0.2])
    loader = views.loader(3, shuffle=True, together="trial", seed=1)
    orders = set()
    for epoch in range(8):
        loader.epoch = epoch
        batches = [batch.metadata for batch in loader]
        assert all(len(set(b["trial"])) == 1 and b["time"].is_monotonic_increasing for b in batches)
        orders.add(tuple(b["trial"].iloc[0] for b in batches))
        assert sorted(orders.copy().pop()) == [0, 1, 2]
    assert len(orders) > 2
    with pytest.raises(ValueError, match=r"cannot be kept together by 'run': the metadata has \['trial', 'time'\]"):
        views.loader(together="run")


def test_the_factors_drift_as_they_should():
    world = synth.tracking(n_trials=60, n_windows=12, seed=3)
    frame = world.factors.assign(trial=world.views.metadata["trial"])
    lagged = frame.groupby("trial")["aim"].shift(4)  # windows 0.512 s apart share no sample
    r = frame["aim"].corr(lagged)
    assert r == pytest.approx(np.exp(-0.512 / 0.8), abs=0.12)
    assert abs(np.corrcoef(world.factors.to_numpy().T)[np.triu_indices(3, 1)]).max() < 0.2
    assert world.views.metadata.groupby("trial")["split"].nunique().eq(1).all()
    again = synth.tracking(n_trials=60, n_windows=12, seed=3)
    assert all(torch.equal(again.views[name], world.views[name]) for name in world.views)


def test_each_factor_is_where_its_owners_say():
    world = synth.tracking(n_trials=60, n_windows=10, snr_db=6.0)
    fit = (world.views.metadata["split"] != "test").to_numpy()
    codes = {name: x.mean(-1).numpy() for name, x in world.views.items()}
    leak = metrics.block_readout(codes, world.factors, fit, ~fit)
    for factor, owners in world.owners.items():
        for view in world.views:
            assert leak.loc[view, factor] > 0.5 if view in owners else leak.loc[view, factor] < 0.1, leak
    map_of = np.corrcoef(codes["meg"].T, world.factors["aim"])[-1, :-1]
    assert abs(np.corrcoef(map_of, world.topographies["aim"])[0, 1]) > 0.8


def test_a_slow_prior_finds_what_moves():
    """At -6 dB: with independent rows the model leaves MEG's own factor in the noise; with the prior it is found."""
    found = {}
    for timescale in (0.0, 0.8):
        small = dict(data="tracking", n_trials=60, snr_db=-6.0, epochs=14, shared=2, private=2, dim=16)
        recipe = Recipe("ive", small | {"timescale": timescale})
        rows = parts(recipe.data())
        model = recipe.model(rows["train"])
        for _ in train(model, recipe.objective(rows["train"]), rows["train"], **recipe.training(rows["train"])):
            pass
        world = synth.tracking(60, snr_db=-6.0)
        fit = (world.views.metadata["split"] != "test").to_numpy()
        codes = {block: z.numpy() for block, z in latents(model, world.views).items()}
        found[timescale] = metrics.block_readout(codes, world.factors, fit, ~fit)
    assert found[0.8].loc["meg", "effort"] > 0.25 > 0.15 > found[0.0].loc["meg", "effort"], found
