"""Spatial terms: what they measure, that they hold no n x n matrix, and that schedules say what they should."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import ivekit as ive
from ivekit.distributions import Normal
from ivekit.models import Outputs
from ivekit.objectives import L1, Bounds, InTraining, SpatialConsistency, neighbours
from ivekit.recipe import Recipe


def said(field: torch.Tensor, mean: torch.Tensor | None = None) -> Outputs:
    z = torch.zeros(len(field), 2) if mean is None else mean
    return Outputs({"shared": Normal(z, torch.ones_like(z))}, {"shared": z}, {"lipids": Normal(field, 1.0)})


def at(places: torch.Tensor) -> ive.Views:
    return ive.Views({"coords": places})


def by_hand(field: np.ndarray, places: np.ndarray, k: int) -> float:
    """The term from the full matrix of distances."""
    d = np.linalg.norm(places[:, None] - places[None], axis=-1)
    near = np.argsort(d + np.diag(np.full(len(d), np.inf)), axis=1)[:, :k]
    spread = np.take_along_axis(d, near, 1).mean()
    total = 0.0
    for i, js in enumerate(near):
        for j in js:
            total += np.exp(-(d[i, j] ** 2) / (2 * spread**2)) * (field[i] - field[j]) ** 2
    return total / (2 * k)


def test_it_is_the_sum_over_the_graph():
    rng = np.random.default_rng(0)
    places, field = rng.standard_normal((30, 3)), rng.standard_normal((2, 30))
    shared = torch.tensor(np.stack([places] * 2)).float()
    term = SpatialConsistency("lipids", k=5, weight=2.0)
    value = term(said(torch.tensor(field).float()), at(shared), 0)
    np.testing.assert_allclose(value, [2 * by_hand(f, places, 5) for f in field], rtol=1e-4)
    other = torch.tensor(np.stack([places, rng.standard_normal((30, 3))])).float()  # rows with places of their own
    value = term(said(torch.tensor(field).float()), at(other), 0)
    np.testing.assert_allclose(value, [2 * by_hand(f, p, 5) for f, p in zip(field, other.numpy())], rtol=1e-4)
    two = torch.tensor(np.stack([field, field], -1)).float()  # two numbers a point count both
    np.testing.assert_allclose(term(said(two), at(shared), 0), [4 * by_hand(f, places, 5) for f in field], rtol=1e-4)


def test_a_smooth_field_costs_less_than_a_rough_one_and_units_do_not_matter():
    places = torch.rand(1, 400, 3)
    rough = torch.randn(1, 400)
    smooth = (rough.std() / places[..., 0].std()) * places[..., 0]
    term = SpatialConsistency("lipids")
    cost = {name: float(term(said(f), at(places), 0)) for name, f in {"rough": rough, "smooth": smooth}.items()}
    assert cost["smooth"] < 0.2 * cost["rough"]
    assert float(term(said(rough), at(1000 * places), 0)) == pytest.approx(cost["rough"], rel=1e-3)
    assert float(term(said(torch.ones(1, 400)), at(places), 0)) == 0


def test_neighbours_are_the_nearest_others_even_where_points_coincide():
    places = torch.cat([torch.zeros(4, 3), torch.ones(3, 3) + torch.rand(3, 3)])
    near = neighbours(places, 3)
    assert all(i not in row for i, row in enumerate(near.tolist()))
    assert set(near[0].tolist()) <= {0, 1, 2, 3}
    with pytest.raises(ValueError, match="7 neighbours cannot be had of 7 points"):
        neighbours(places, 7)
    with pytest.raises(ValueError, match="told at 5 points, 'coords' has 7"):
        SpatialConsistency("lipids", k=2)(said(torch.zeros(1, 5)), at(places[None]), 0)


MEASURE = """
import re, sys, torch
from pathlib import Path
torch.set_num_threads(1)
import ivekit as ive
from ivekit.distributions import Normal
from ivekit.models import Outputs
from ivekit.objectives import SpatialConsistency

def megabytes(kind):
    return int(re.search(rf"{kind}:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

for n in map(int, sys.argv[1:]):
    places, field = torch.rand(1, n, 3), torch.randn(1, n, requires_grad=True)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = megabytes("VmRSS")
    out = Outputs({}, {}, {"lipids": Normal(field, 1.0)})
    SpatialConsistency("lipids", k=8)(out, ive.Views({"coords": places}), 0).sum().backward()
    assert field.grad.abs().sum() > 0
    print(megabytes("VmHWM") - before, megabytes("VmHWM"))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak of memory is asked of Linux's /proc")
def test_fifty_thousand_points_need_less_than_two_gigabytes():
    sizes = ["50000", "400000"]
    done = subprocess.run([sys.executable, "-c", MEASURE, *sizes], capture_output=True, text=True, check=True)
    (more, whole), (eightfold, _) = (map(float, line.split()) for line in done.stdout.splitlines())
    print(f"50,000 points: {more:.0f} MB more, {whole:.0f} MB in all; 400,000 points: {eightfold:.0f} MB more")
    assert 0 < more < 200 and whole < 2048  # a full matrix of distances would take 10,000 MB
    assert eightfold < 12 * more + 100  # eight times the points, about eight times the memory: linear, not 64


def test_bounds_count_what_lies_outside_and_a_sigmoid_would_void_them():
    field = torch.tensor([[-0.5, 0.2, 1.0, 1.5], [0.0, 0.1, 0.9, 1.0]], requires_grad=True)
    value = Bounds("lipids", 0.0, 1.0, weight=2.0)(said(field), at(torch.zeros(2, 4, 3)), 0)
    torch.testing.assert_close(value, torch.tensor([1.0, 0.0]))
    value.sum().backward()
    assert field.grad[0].tolist() == [-2.0, 0.0, 0.0, 2.0]  # down hill is back into the range
    assert Bounds("lipids", 0.0, 1.0)(said(field.sigmoid()), at(torch.zeros(2, 4, 3)), 0).sum() == 0
    usual = Bounds("lipids")(said(field), at(torch.zeros(2, 4, 3)), 0)
    torch.testing.assert_close(usual, Bounds("lipids", 0.0, 1.0)(said(field), at(torch.zeros(2, 4, 3)), 0))
    above = Bounds("lipids", None, 1.0)(said(field), at(torch.zeros(2, 4, 3)), 0)
    torch.testing.assert_close(above, torch.tensor([0.25, 0.0]))
    assert Bounds("lipids", None, None)(said(field), at(torch.zeros(2, 4, 3)), 0).tolist() == [0, 0]
    with pytest.raises(ValueError, match="from low to high, got 1.0 and 0.0"):
        Bounds("lipids", 1.0, 0.0)
    with pytest.raises(ValueError, match="bounds go from low to high, got 1.0 and 1.0"):
        Bounds("lipids", 1.0, 1.0)


def test_l1_is_of_the_means():
    mean = torch.tensor([[1.0, -2.0], [0.0, 0.5]])
    term = L1(weight=ive.Linear(0.0, 2.0, 4))
    assert [term(said(torch.zeros(2, 3), mean), at(torch.zeros(2, 3, 3)), s).tolist() for s in (0, 2, None)] == [
        [0.0, 0.0], [3.0, 0.5], [6.0, 1.0],
    ]  # fmt: skip


def test_a_term_of_training_is_silent_or_another_in_evaluation():
    out, views = said(torch.zeros(2, 3), torch.ones(2, 2)), at(torch.zeros(2, 3, 3))
    assert InTraining(L1())(out, views, 5).tolist() == [2, 2] and InTraining(L1())(out, views, None).tolist() == [0, 0]
    other = InTraining(L1(), L1(0.1))
    torch.testing.assert_close(other(out, views, None), torch.tensor([0.2, 0.2]))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", {0: 0.0, 15: 0.25, 30: 0.5, 99: 0.5}),
        ("cyclical", {0: 0.0, 5: 0.2, 13: 0.5, 24: 0.5, 25: 0.0, 30: 0.2, 99: 0.5}),
        ("constant", {0: 0.5, 50: 0.5, 99: 0.5}),
    ],
)
def test_each_schedule_of_the_recipe_has_its_values_and_the_epoch_is_chosen_at_beta_one(schedule, expected):
    """100 steps at beta 0.5; the divergence is that of one nat."""
    recipe = Recipe("lipid_cvae", dict(beta=0.5, schedule=schedule, epochs=100, batch_size=64, n_lipids=40, n_points=8))
    rows = recipe.data()[:60]
    kl = recipe.objective(rows).terms["kl"]
    out = said(torch.zeros(1, 4), torch.tensor([[2.0**0.5, 0.0]]))
    views = ive.Views({"lipids": torch.zeros(1, 4)})
    found = {step: round(float(kl(out, views, step)), 6) for step in expected}
    assert found == pytest.approx(expected, abs=1e-6)
    assert float(kl(out, views, None)) == pytest.approx(1.0)


def test_evaluation_is_the_evidence_bound_alone():
    """Whatever penalties training had: nll and the divergence at beta 1 without free bits."""
    heavy = dict(beta=0.1, free_bits=3.0, l1=5.0, smooth=50.0, bounds=500.0)
    recipe = Recipe("lipid_cvae", dict(**heavy, n_lipids=20, n_points=8, dim=8, latent=4, epochs=2))
    rows = recipe.data()
    rows = rows[(rows.metadata["split"] == "train").to_numpy()]
    model, objective = recipe.model(rows), recipe.objective(rows)
    assert isinstance(model, nn.Module)
    torch.manual_seed(0)
    chosen = ive.evaluate(model, objective, rows)
    bound = ive.evaluate(model, ive.Objective(nll=ive.NLL(), kl=ive.KL()), rows)
    assert chosen["l1"] == chosen["smooth"] == chosen["bounds"] == 0
    assert chosen["nll"] == pytest.approx(bound["nll"]) and chosen["kl"] == pytest.approx(bound["kl"])
    with torch.no_grad():
        out = model(rows)
    assert all(float(objective(out, rows, 0)[name]) > 0 for name in ("l1", "smooth"))
