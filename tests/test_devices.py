"""Everything runs where its tensors are: no part makes one on the CPU that meets another there (see `elsewhere`)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
import test_attribute as attributions
import test_contracts as contracts
import torch
from elsewhere import DEVICE, Elsewhere, There, sent
from test_contracts import B
from torch import Tensor, nn

from ivekit import KL, NLL, Objective, Views, plans, train
from ivekit.nn import Tokens
from ivekit.recipe import Recipe

ROWS = {b: contracts.recordings(b) for b in (B, 20, 4 * B)}


@pytest.fixture
def there(monkeypatch):
    """Within it, the rows that the contracts' tables make are elsewhere."""
    with Elsewhere() as mode:
        monkeypatch.setattr(contracts, "recordings", lambda b: ROWS[b].to(DEVICE))
        for name in ("noise", "labels"):
            made = getattr(contracts, name)
            monkeypatch.setattr(contracts, name, lambda *a, made=made, **k: made(*a, **k).to(DEVICE, non_blocking=True))
        yield mode


def moved(x: Any) -> Any:
    if isinstance(x, Tokens):
        return Tokens(moved(x.x), moved(x.mask))
    if isinstance(x, Views):
        return x.to(DEVICE)
    if isinstance(x, dict):
        return {name: moved(part) for name, part in x.items()}
    return x.to(DEVICE, non_blocking=True) if isinstance(x, Tensor) else x


@pytest.fixture
def made(request) -> nn.Module:
    """A module of the tables, elsewhere, which sends for what it is given."""
    module = sent(contracts.fresh(request.param))
    module.register_forward_pre_hook(lambda _, args, kwargs: (tuple(map(moved, args)), moved(kwargs)), with_kwargs=True)
    return module


@pytest.mark.parametrize(
    ("made", "name"), [(name, name) for name in contracts.CASES], indirect=["made"], ids=contracts.CASES
)
def test_a_part_computes_and_learns_where_it_is(made, name, there):
    out = contracts.CASES[name].run(made, B)
    out.square().sum().backward()
    assert isinstance(out, There) and all(isinstance(p.grad, There) for p in made.parameters() if p.grad is not None)
    if name != "Autoregressive":  # its mean writes a text, byte by byte, until all have ended: that is asked at each
        assert there.waits == []


@pytest.mark.parametrize("name", contracts.TERMS)
def test_a_term_is_taken_where_the_rows_are(name, there):
    model, term, plan = sent(contracts.vae(private=True)), contracts.TERMS[name](), plans.dmvae(contracts.VIEWS)
    term = sent(term) if isinstance(term, nn.Module) else term
    rows = ROWS[4 * B].to(DEVICE)
    out, scored = model(rows, plan), plan.views(rows)
    there.waits.clear()
    value = term(out, scored, 7)
    value.mean().backward()
    assert isinstance(value, There) and unasked(there.waits) == []


# the recipes ---------------------------------------------------------------------------------------------------

RECIPES = {"ive": dict(data="samples", epochs=1), **attributions.SYSTEMS}


def unasked(waits: list[str]) -> list[str]:
    """All but those of `SpatialConsistency`: whether the graph that is kept is of these places decides what follows."""
    return [wait for wait in waits if "in spatial.py" not in wait]


def a_step(model: nn.Module, objective: Any, rows: Views, how: dict[str, Any]) -> Tensor:
    """The loss of a step of `train`, after its gradient was taken."""
    torch.manual_seed(0)
    seen, plan = how["augment"](rows) if "augment" in how else rows, how.get("plan")
    out = model.train()(seen) if plan is None else model.train()(seen, plan)
    loss = sum(objective(out, rows if plan is None else plan.views(rows), 3).values())
    loss.backward()
    return loss.detach()


@pytest.mark.parametrize("name", RECIPES)
def test_a_step_of_a_recipe_waits_for_nothing_and_is_that_of_the_cpu(name):
    recipe = Recipe(name, {**RECIPES[name], "seed": 0, "device": "cpu"})
    data = recipe.data()
    rows = data[(data.metadata["split"] == "train").to_numpy()][:8]  # type: ignore[index]
    model, objective, how = recipe.model(rows), recipe.objective(rows), recipe.training(rows)
    here = a_step(copy.deepcopy(model), copy.deepcopy(objective), rows, how)
    with Elsewhere() as mode:
        model, objective, rows = sent(model), sent(objective), rows.to(DEVICE)
        first = a_step(model, objective, rows, how)
        mode.waits.clear()
        a_step(model, objective, rows, how)
        assert unasked(mode.waits) == []
    assert isinstance(first, There) and float(first.inner) == pytest.approx(float(here), rel=1e-5)


# training ------------------------------------------------------------------------------------------------------


@pytest.fixture
def gpu(monkeypatch):
    """The pretend device where a GPU's name is asked for: its generator, and the kernels of fused optimisers."""
    monkeypatch.setattr(torch, "get_device_module", lambda _: SimpleNamespace(manual_seed=lambda _: None))
    optimizer: Any = import_module("torch.optim.optimizer")
    fused = optimizer._get_fused_kernels_supported_devices()
    monkeypatch.setattr(optimizer, "_get_fused_kernels_supported_devices", lambda: [*fused, DEVICE.type])


def trained(device: Any, after: Callable[[], None] = lambda: None, **how: Any) -> list[float]:
    model = contracts.fresh("MultimodalVAE, private")
    model = model if device == "cpu" else sent(model)
    rows, losses = ROWS[20], []
    objective = Objective(nll=NLL(), kl=KL())
    for step in train(model, objective, rows, epochs=2, batch_size=8, device=device, seed=0, **how):
        losses.append(step.loss)
        after()
    return [float(loss.inner if isinstance(loss, There) else loss) for loss in losses]


@pytest.mark.parametrize("plan", [None, plans.dmvae(contracts.VIEWS)], ids=["no plan", "dmvae"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_training_reads_nothing_within_an_epoch(plan, accumulate, gpu):
    here = trained("cpu", plan=plan, accumulate=accumulate)
    with Elsewhere() as mode:
        said: list[int] = []
        there = trained(DEVICE, lambda: said.append(len(mode.waits)), plan=plan, accumulate=accumulate)
    assert there == pytest.approx(here, rel=1e-4)
    within = mode.waits[said[0] : said[1]] + mode.waits[said[3] : said[4]]  # the first makes the optimiser's state
    assert within == [], "a step that neither begins nor ends an epoch"


def test_a_profiler_sees_no_number_read_in_a_step(gpu):
    """The same by PyTorch's own account: the second epoch's second step calls nothing that reads a number."""
    seen, steps = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]), []

    def after() -> None:
        steps.append(None)
        if len(steps) in (4, 5):
            (seen.start if len(steps) == 4 else seen.stop)()

    with Elsewhere():
        trained(DEVICE, after, optimizer=lambda weights: torch.optim.SGD(weights, 1e-3, fused=True))  # AdamW's counts
    counts = {event.key: event.count for event in seen.key_averages()}
    assert counts["aten::addmm"] > 3, "the profiler saw the step"
    asked = ("aten::item", "aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::equal")
    assert {name: counts.get(name, 0) for name in asked} == dict.fromkeys(asked, 0)
