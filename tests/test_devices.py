"""Everything runs where its tensors are: no part makes one on the CPU that meets another elsewhere (see `elsewhere`)."""

from __future__ import annotations

from typing import Any

import pytest
import test_contracts as contracts
from elsewhere import DEVICE, Elsewhere, There, sent
from test_contracts import B
from torch import Tensor, nn

from ivekit import KL, NLL, Objective, Views, plans
from ivekit.nn import Tokens


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
    assert there.waits == [], there.waits
