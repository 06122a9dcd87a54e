"""Patterns are regressions of the data on what a model says: right in closed form, with holes, and for any model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from ivekit import Views, Whiten, ZScore, explain
from ivekit.explain import patterns, sources
from ivekit.models import Conditional, Outputs
from ivekit.nn import LFCNN, Categorical, EEGNet, MLPDecoder, ShallowNet
from ivekit.nn.decoding import patterns as from_covariance
from ivekit.signal import Standardise

N, C, T = 400, 6, 5


class Linear(nn.Module):
    """Latents that are weighted sums of one view."""

    def __init__(self, weights: torch.Tensor):
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, views: Views) -> Outputs:
        x = views["meg"] if views.present["meg"].all() else torch.where(_mask(views), views["meg"], 0.0)
        return Outputs({}, {"shared": torch.einsum("bct,ctk->bk", x, self.weights)}, {})


def _mask(views: Views) -> torch.Tensor:
    mask = views.present["meg"]
    return mask if mask.ndim == 3 else mask[:, None, None]


def mixed(seed: int = 0) -> tuple[Views, torch.Tensor, torch.Tensor]:
    """One source of field a in strong correlated noise; the views, the field, and the filter that hears it best."""
    g = torch.Generator().manual_seed(seed)
    field, mixing = torch.randn(C, generator=g), torch.randn(C, C, generator=g)
    course = torch.tensor([0.0, 0.5, 1.0, 0.5, 0.0])
    s = torch.randn(N, generator=g)
    noise = 2 * torch.einsum("cd,bdt->bct", mixing, torch.randn(N, C, T, generator=g))
    x = s[:, None, None] * torch.outer(field, course) + noise + 7.0
    best = torch.linalg.solve(4 * mixing @ mixing.mT, field)
    return Views({"meg": x, "other": s[:, None] * torch.tensor([3.0, 0.0])}), field, torch.outer(best, course)


def z(out: Outputs) -> torch.Tensor:
    return out.z["shared"][:, 0]


def test_a_pattern_is_the_source_and_a_filter_is_not():
    views, field, best = mixed()
    model = Linear(best[..., None])
    found = explain.haufe_pattern(model, views, z)
    assert sources.cosine(sources.topography(found["meg"]).field, field) > 0.95
    gradient = explain.mean_gradient(model, views, z)["meg"]
    torch.testing.assert_close(gradient, best)
    assert sources.cosine(sources.topography(gradient).field, field) < 0.8
    by_gradient = explain.gradient_pattern(model, views, z)["meg"]
    torch.testing.assert_close(by_gradient, found["meg"], atol=1e-4, rtol=1e-3)  # the model is linear in one view


def test_it_is_covariance_over_variance_in_the_views_own_shape():
    views, _, best = mixed()
    model = Linear(torch.stack([best, torch.ones_like(best)], -1))
    found = explain.haufe_pattern(model, views, lambda out: out.z["shared"], batch_rows=37)
    assert found["meg"].shape == (2, C, T) and found["other"].shape == (2, 2)
    codes, x = model(views).z["shared"].detach().numpy(), views["meg"].numpy().astype(float)
    for k in range(2):
        far = codes[:, k] - codes[:, k].mean()
        expected = np.einsum("b,bct->ct", far, x - x.mean(0)) / (far**2).sum()
        np.testing.assert_allclose(found["meg"][k], expected, rtol=1e-3, atol=1e-6)
    one = explain.haufe_pattern(model, views, lambda out: out.z["shared"][:, 1])
    torch.testing.assert_close(one["meg"], found["meg"][1])


def test_missing_rows_and_elements_are_left_out():
    views, _, best = mixed()
    model, there = Linear(best[..., None]), torch.arange(N) % 3 > 0
    broken = views["meg"].clone()
    broken[~there] = torch.nan
    holed = Views({"meg": broken, "other": views["other"]}, {"meg": there})
    found = explain.haufe_pattern(model, holed, z)
    expected = explain.haufe_pattern(model, views[there], z)
    torch.testing.assert_close(found["meg"], expected["meg"], atol=1e-5, rtol=1e-4)
    assert found["other"].isfinite().all()
    bad = torch.ones(N, C, T, dtype=torch.bool)
    bad[:100, 2] = False  # a sensor that was bad for a while, and one that never worked
    bad[:, 4] = False
    some = patterns.pattern_of(torch.where(bad, views["meg"], torch.nan), views["other"][:, 0], bad)
    torch.testing.assert_close(some[2], patterns.pattern_of(views["meg"][100:, 2], views["other"][100:, 0]))
    torch.testing.assert_close(some[1], patterns.pattern_of(views["meg"][:, 1], views["other"][:, 0]))
    assert (some[4] == 0).all()


@pytest.mark.parametrize("rows", [0, 1, 30])
def test_what_never_varies_comes_with_nothing(rows):
    x = torch.randn(rows, C, T)
    for values in (torch.full((rows,), 3.0), torch.zeros(rows, 2)):
        found = patterns.pattern_of(x, values)
        assert found.shape == (*values.shape[1:], C, T) and (found == 0).all()


def test_large_offsets_cost_no_digits():
    x = torch.randn(500, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values = x @ torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64)
    expected = patterns.pattern_of(x, values)
    torch.testing.assert_close(patterns.pattern_of(x + 1e7, values + 1e7), expected, rtol=1e-5, atol=1e-5)


def test_the_model_is_left_as_it_was_and_targets_may_take_the_rows():
    views, _, best = mixed()
    model = nn.Sequential(Linear(best[..., None])).train()

    def error(out: Outputs, rows: Views) -> torch.Tensor:
        return out.z["shared"][:, 0] - rows["other"][:, 0]

    values = patterns.target_values(model, views, error, batch_rows=64)
    assert model.training and not values.requires_grad
    torch.testing.assert_close(values, (z(model(views)) - views["other"][:, 0]).detach())
    with pytest.raises(ValueError, match=r"\(b,\) or \(b, k\) with b = 400 rows, this one is \(400, 1, 1\)"):
        patterns.target_values(model, views, lambda out: out.z["shared"][:, :, None], batch_rows=N)
    with pytest.raises(ValueError, match="3 values of the target for 400 rows"):
        patterns.pattern_of(views["meg"], torch.zeros(3))


def test_a_pattern_stands_before_the_checks_in_the_shape_of_the_data():
    views, _, best = mixed()
    model = Linear(best[..., None])
    part = explain.along(model, views, z)
    assert part["meg"].shape == views["meg"].shape
    pattern, values = explain.haufe_pattern(model, views, z)["meg"], patterns.target_values(model, views, z)
    torch.testing.assert_close(part["meg"][7], (values[7] - values.mean()) * pattern)
    with pytest.raises(ValueError, match=r"one target; this one has the shape \(400, 1\)"):
        explain.along(model, views, lambda out: out.z["shared"])


def test_gradients_of_views_that_a_model_does_not_look_at_are_zero():
    views, _, best = mixed()
    model = Linear(best[..., None])
    assert (explain.mean_gradient(model, views, z)["other"] == 0).all()
    assert (explain.gradient_pattern(model, views, z)["other"] == 0).all()
    two = explain.gradient_pattern(model, views, lambda out: out.z["shared"][:, [0, 0]])["meg"]
    torch.testing.assert_close(two[1], explain.gradient_pattern(model, views, z)["meg"])


@pytest.mark.parametrize("net", [LFCNN(C, 4), EEGNet(C, 4, n_temporal=2, width=5), ShallowNet(C, 4, n_temporal=3)])
@pytest.mark.parametrize("transform", [None, ZScore(), Whiten()], ids=["raw", "z-score", "whitened"])
def test_spatial_filters_are_in_the_sensors_own_units(net, transform):
    x = torch.randn(50, C, 40, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, C + 1)[:, None]
    views = Views({"meg": x, "label": torch.zeros(50, dtype=torch.long)})
    standardise = None if transform is None else Standardise.fit(views, meg=transform)
    model = Conditional({"meg": net}, {"label": Categorical(MLPDecoder(4, 2))}, standardise=standardise)
    filters = explain.spatial_filters(model)["meg"]
    u = x - x.mean(0) if transform is None else transform(x) - transform(x).mean(0)
    if transform is not None and hasattr(transform, "time"):
        u = u @ torch.linalg.inv(transform.time)
    weights = net.spatial.weight.detach().reshape(len(filters), C)
    torch.testing.assert_close(filters @ (x - x.mean(0)), weights @ u, atol=1e-2, rtol=1e-2)
    found = explain.filter_patterns(model, views)["meg"]
    flat = (x - x.mean(0)).double().movedim(1, 0).flatten(1)
    expected = from_covariance(filters.double(), flat @ flat.mT / flat.shape[1])
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)


def test_filter_patterns_leave_missing_rows_out_and_say_where_there_are_no_filters():
    x = torch.randn(60, C, 20, generator=torch.Generator().manual_seed(0))
    there = torch.arange(60) < 40
    model = Conditional({"meg": LFCNN(C, 4)}, {"label": Categorical(MLPDecoder(4, 2))})
    holed = torch.where(there[:, None, None], x, torch.nan)
    found = explain.filter_patterns(model, Views({"meg": holed}, {"meg": there}))["meg"]
    torch.testing.assert_close(found, explain.filter_patterns(model, Views({"meg": x[:40]}))["meg"])
    with pytest.raises(ValueError, match="no encoder of this Linear keeps spatial filters"):
        explain.spatial_filters(Linear(torch.ones(C, T, 1)))


def test_the_readout_of_a_metadata_column_is_a_target():
    views, field, best = mixed()
    frame = pd.DataFrame({"s": views["other"][:, 0].numpy(), "split": ["train"] * 200 + ["test"] * 200})
    views = Views(views.tensors, metadata=frame)
    model = Linear(torch.stack([best, torch.ones_like(best)], -1))
    readout = explain.readout_target(model, views[:200], "s")
    told = patterns.target_values(model, views[200:], readout)
    assert torch.corrcoef(torch.stack([told, views["other"][200:, 0]]))[0, 1] > 0.5
    found = sources.topography(explain.haufe_pattern(model, views[200:], readout)["meg"]).field
    assert sources.cosine(found, field) > 0.9
    with pytest.raises(ValueError, match="some of these are marked split = 'test'"):
        explain.readout_target(model, views, "s")
    with pytest.raises(ValueError, match=r"no column 'rt' in the metadata; there are \['s', 'split'\]"):
        explain.readout_target(model, views[:200], "rt")
