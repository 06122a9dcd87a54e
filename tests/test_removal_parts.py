"""What is removed and what takes its place, patterns, truth and attention, against numbers worked out by hand."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import torch
from captum import attr
from einops import rearrange
from torch import Tensor, nn

from ivekit import Views, explain
from ivekit.explain import engine, imputers, maps, patterns, truth
from ivekit.explain.attention import entropy, rollout, sparsity
from ivekit.explain.removal import _Windows
from ivekit.models import Outputs

attribute = import_module("ivekit.explain.attribute")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Counting(nn.Module):
    """A model as a whole: its view is its code. It keeps how many rows it was asked about at once."""

    def __init__(self):
        super().__init__()
        self.asked: list[int] = []

    def forward(self, views: Views) -> Outputs:
        self.asked.append(len(views))
        return Outputs({}, {"shared": views["a"]}, {})


# removal, and what takes its place -----------------------------------------------------------------------------------


def test_masks_are_told_apart_however_many_columns_they_have():
    rng = np.random.default_rng(0)
    patterns = torch.from_numpy(rng.random((6, 130)) > 0.5)
    patterns[1, :62], patterns[1, 62:] = patterns[0, :62].roll(1), patterns[0, 62:]  # as many kept, others
    patterns[3, :62], patterns[3, 62:] = patterns[2, :62], ~patterns[2, 62:]
    which = torch.tensor([0, 1, 2, 3, 4, 5, 3, 1, 0, 0])
    unique, found = imputers._patterns(patterns[which])
    assert len(unique) == 6 and torch.equal(unique[found], patterns[which])


def test_the_covariance_of_a_conditional_is_of_what_was_recorded_and_shrunk():
    x = normal(500, 3) @ torch.tensor([[1.0, 0.5, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]])
    here = torch.rand(500, 3, generator=torch.Generator().manual_seed(1)) > 0.3
    given = imputers.Conditional.fit(Views({"a": torch.where(here, x, torch.nan)}, {"a": here}), shrink=0.5)
    mean = torch.stack([x[here[:, i], i].mean() for i in range(3)])
    torch.testing.assert_close(given.means["a"], mean)
    far = torch.where(here, x - mean, 0).double()
    covariance = far.T @ far / (here.double().T @ here.double())
    expected = covariance + 0.5 * covariance.diagonal().mean() * torch.eye(3)
    torch.testing.assert_close(given.covariances["a"], expected, rtol=1e-5, atol=1e-6)
    assert repr(given) == "Conditional(a 3)"


def test_windows_cover_a_row_and_the_last_one_may_stand_out():
    slid = _Windows((7,), (3,), (2,), None)
    assert [start for (start,) in slid.starts] == [0, 2, 4] and len(slid) == 3
    assert (~slid.keep(range(1, 3))).long().tolist() == [[0, 0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1, 1]]
    assert slid.mean(torch.tensor([[[1.0, 2.0, 4.0]]])).flatten().tolist() == [1, 1, 1.5, 2, 3, 4, 4]
    assert _Windows((4,), (3,), (2,), None).starts == [(0,), (2,)] and _Windows((2,), (3,), (1,), None).starts == [(0,)]
    gaps = _Windows((5,), (1,), (2,), None)
    assert gaps.mean(torch.tensor([[[1.0, 2.0, 3.0]]])).flatten().tolist() == [1, 0, 2, 0, 3]
    assert len(_Windows((4, 6), (2, 3), (2, 3), None)) == 4
    with pytest.raises(ValueError, match=r"a window \(2,\) that slides by \(1, 1\) does not fit rows of shape \(3,\)"):
        _Windows((3,), (2,), (1, 1), None)


@pytest.mark.parametrize(
    ("call", "most"),
    [
        (lambda *asked: explain.ablation(*asked, megabytes=48e-6), 4),
        (lambda *asked: explain.occlusion(*asked, megabytes=48e-6), 4),
        (lambda *asked: explain.shapley(*asked, samples=4, megabytes=48e-6), 4),
        (lambda *asked: explain.integrated_gradients(*asked, n_steps=10, megabytes=96e-6), 8),
    ],
    ids=["ablation", "occlusion", "shapley", "gradients"],
)
def test_no_more_copies_of_rows_exist_at_once_than_memory_was_given_for(call, most):
    model, views = Counting(), Views({"a": normal(2, 3)})  # a row has 12 bytes, both have 24
    call(model, views, lambda out: out.z["shared"])
    assert max(model.asked) == most


def test_rows_go_in_parts_where_not_even_one_copy_of_all_fits():
    model, views = Counting(), Views({"a": normal(5, 3)})
    said = explain.ablation(model, views, lambda out: out.z["shared"][:, 0], megabytes=24e-6)
    assert max(model.asked) == 2 and said["a"].shape == (5, 3)
    torch.testing.assert_close(said["a"][:, 0], views["a"][:, 0])
    other = Views({"a": torch.ones(5, 3) * torch.arange(5.0)[:, None]})
    matched = explain.ablation(model, views, lambda out: out.z["shared"][:, 0], imputer=other, megabytes=24e-6)
    torch.testing.assert_close(matched["a"][:, 0], views["a"][:, 0] - torch.arange(5.0))


def test_targets_of_other_shapes_are_refused_and_one_number_a_row_has_no_axis_of_its_own():
    views = Views({"a": normal(4, 3)})
    reader = lambda target: engine.Reader(Counting(), views, target)  # noqa: E731
    one, two = reader(lambda out: out.z["shared"][:, 0]), reader(lambda out: out.z["shared"])
    assert one.single and not two.single
    assert one.values(one.codes, one.rows).shape == (4, 1) and two.values(two.codes, two.rows).shape == (4, 3)
    for wrong in (lambda out: out.z["shared"][:3], lambda out: out.z["shared"][:, :, None]):
        bad = reader(wrong)
        with pytest.raises(ValueError, match=r"a target says \(b,\) or \(b, k\) for b = 4 rows"):
            bad.values(bad.codes, bad.rows)
    with pytest.raises(ValueError, match="3 other trials for 4 rows: give as many"):
        engine.chosen(views[:3], Counting(), views)


# by captum -----------------------------------------------------------------------------------------------------------


def quadratic(views: Views) -> Tensor:
    x = views["a"]
    return x[:, 0] * x[:, 1] + x[:, 2].square()


def first(out: Tensor) -> Tensor:
    return out


class Function(nn.Module):
    def __init__(self):
        super().__init__()
        self.asked: list[int] = []

    def forward(self, views: Views) -> Tensor:
        self.asked.append(len(views))
        return quadratic(views)


@pytest.mark.parametrize("groups", [[0, 0, 1], [0, 1, 1], [0, 1, 2], [0, 0, 0]])
def test_values_of_groups_are_complete_whatever_their_sizes(groups):
    views = Views({"a": normal(5, 3)})
    said = explain.attribute(Function(), views, first, attr.ShapleyValueSampling, groups={"a": torch.tensor(groups)})
    assert said.completeness is not None and float(said.completeness.max()) < 1e-5


@pytest.mark.parametrize(
    ("method", "settings", "most"),
    [
        (attr.IntegratedGradients, dict(n_steps=10), 8),
        (attr.GradientShap, dict(n_samples=2), 8),
        (attr.GradientShap, {}, 8),
        (attr.FeatureAblation, {}, 8),
        (attr.Saliency, {}, 8),
    ],
)
def test_no_more_rows_go_through_a_model_at_once_than_is_said(method, settings, most):
    model, views = Function(), Views({"a": normal(9, 3)})
    explain.attribute(model, views, first, method, batch_rows=8, **settings)
    assert max(model.asked) <= most


@pytest.mark.parametrize("shape", [(2, 3), (4, 2), (4, 4), (1, 2), (1, 4)])
def test_a_baseline_of_another_shape_is_named(shape):
    views = Views({"a": normal(4, 3)})
    with pytest.raises(ValueError, match=r"the baseline of 'a' is .*: \(4, 3\) is needed, or one row of it"):
        explain.attribute(Function(), views, first, attr.IntegratedGradients, baseline={"a": torch.zeros(shape)})


def test_the_noise_of_a_tunnel_is_a_tenth_of_the_spread():
    views, seen = Views({"a": 50 * normal(40, 3)}), []

    def model(rows: Views) -> Tensor:
        seen.append(rows["a"].detach())
        return quadratic(rows)

    net = nn.Identity()
    net.forward = model
    explain.attribute(net, views, first, attr.NoiseTunnel, nt_samples=50, batch_rows=10_000)
    noise = seen[-1].unflatten(0, (40, 50)) - views["a"][:, None]
    assert float(noise.std()) == pytest.approx(0.1 * float(views["a"].std()), rel=0.05)


def test_the_sum_of_a_row_counts_a_group_once():
    x = torch.tensor([[[2.0, 2.0], [5.0, 1.0]]])
    assert attribute._total(x, torch.tensor([[0, 0], [1, 2]])).tolist() == [8] and attribute._total(x, None) == 10


# patterns, maps, truth -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("z", [torch.zeros(3), torch.zeros(5), torch.zeros(4, 1, 1)])
def test_a_target_has_a_number_a_row_or_several(z):
    with pytest.raises(ValueError, match=r"a target is \(b,\) or \(b, k\) with b = 4 rows"):
        patterns.target_values(Counting(), Views({"a": normal(4, 3)}), lambda out: z)


def test_a_pattern_is_the_slope_of_each_number_over_the_rows_that_have_it():
    x, z, here = 5 + normal(70, 2, 3), normal(70, 2, seed=1), normal(70, 2, 3, seed=2) > -0.5
    x = x + 2 * z[:, :1, None]
    found = patterns.pattern_of(torch.where(here, x, torch.nan), z, here, batch_rows=32)
    assert found.shape == (2, 2, 3)
    for k in range(2):
        for place in np.ndindex(2, 3):
            rows = here[(slice(None), *place)]
            slope = np.polyfit(z[rows, k].numpy(), x[(rows, *place)].numpy(), 1)[0]
            assert float(found[(k, *place)]) == pytest.approx(slope, rel=1e-4)
    still = torch.cat([z, torch.full((70, 1), 3.0)], 1)
    assert (patterns.pattern_of(x, still)[2] == 0).all() and patterns.pattern_of(x, still).isfinite().all()
    with pytest.raises(ValueError, match="69 values of the target for 70 rows of data"):
        patterns.pattern_of(x, z[1:])
    with pytest.raises(ValueError, match="70 values of the target for 69 rows of data"):
        patterns.pattern_of(x[1:], z)


def test_the_question_to_another_model_is_a_ridge_regression_on_its_latents():
    views = Views({"a": 2 + normal(40, 3)})
    asked = maps.regressed(Whole(), Whole(), views, lambda out: out.z["shared"] @ torch.tensor([1.0, -2.0, 0.5]))
    x = views["a"] - views["a"].mean(0)
    y = x @ torch.tensor([1.0, -2.0, 0.5])
    w = torch.linalg.solve(x.T @ x + 0.04 * torch.eye(3), x.T @ y)
    torch.testing.assert_close(maps.answers(Whole(), views, asked), views["a"] @ w, rtol=1e-4, atol=1e-5)


class Whole(nn.Module):
    def forward(self, views: Views) -> Outputs:
        return Outputs({}, {"shared": views["a"]}, {})


def test_signs_agree_where_the_mean_is_far_from_nothing_for_its_own_spread():
    rng = np.random.default_rng(0)
    maps_ = rng.standard_normal((50, 4, 5)) * np.array([1.0, 10, 100, 1000])[:, None]
    maps_[:, 2, 3] += 150
    maps_[:, 0, 1] -= 1.5
    found = truth.sign_flips(maps_)
    assert sorted(zip(*(at.tolist() for at in found.nonzero()))) == [(0, 1), (2, 3)]
    hits = [truth.sign_flips(np.random.default_rng(i).standard_normal((12, 30)), 0.5, 100, i).any() for i in range(60)]
    assert 0.3 < np.mean(hits) < 0.7, "one false place anywhere, as often as was allowed"


def test_false_positives_are_the_share_on_noise_above_what_is_allowed():
    views, data, asked = Views({"meg": torch.ones(6, 10)}), Views({"meg": torch.ones(8, 10)}), []

    def retrain(seed, rows):
        asked.append((seed, len(rows)))
        return nn.Identity() if seed == 4 else nn.Flatten()

    def explainer(model, rows, target):
        n = {"Identity": 3, "Flatten": 0, "Tanh": 7}[type(model).__name__]
        return {"meg": (torch.arange(10) < n).float().expand(len(rows), 10)}

    def noise(rows, seed):
        asked.append((seed, len(rows)))
        return rows

    check = truth.check_false_positives(
        nn.Tanh(), views, len, explainer, retrain, data, noise=noise, significant=lambda m: m[0] > 0, seed=3
    )
    assert check.value == pytest.approx(1 - (0.1 - 0.05)) and not check.passed and len(check.null) == 0
    assert check.note.startswith("of 3 models trained on noise 10.0% of places are significant, of the model itself 70")
    assert [seed for seed, n in asked if n == 6] == [10_003, 10_004, 10_005]
    assert [seed for seed, n in asked if n == 8] == [3, 3, 4, 4, 5, 5]
    at_most = truth.check_false_positives(
        nn.Tanh(), views, len, explainer, retrain, data, noise=noise, significant=lambda m: m[0] > 0, seed=3, alpha=0.1
    )
    assert at_most.passed and at_most.value == 1


def test_surrogates_have_as_many_sensors_in_a_window_as_long():
    field, course = np.array([4.0, -3.0, 1.0, 0.5, 2.0]), np.array([0.0, 1.0, 3.0, 2.0, 0.0, 0.0])
    true = truth.true_places(field, course)
    assert np.flatnonzero(true.any(1)).tolist() == [0, 1, 4] and np.flatnonzero(true.any(0)).tolist() == [2, 3]
    fields = np.array([[0.0, 1.0, -5.0, 2.0, 3.0]])
    null = truth.null_places(field, course, fields, n=200)
    assert null.shape == (200, 5, 6) and (null.any(2) == [False, False, True, True, True]).all()
    starts = {tuple(np.flatnonzero(one.any(0))) for one in null}
    assert starts == {(i, i + 1) for i in range(5)} | {(0, 5)}


def test_a_map_is_right_about_a_place_by_more_than_19_of_20_surrogates():
    places = np.zeros((2, 10), bool)
    places[0, :2] = True
    null = truth.shifted_places(places, 200, seed=1)
    check = truth.localised(places * 1.0, places, null)
    assert check.value == 1 and check.passed and len(check.null) == 200 and check.note.endswith("true places are 10.0%")
    assert check.note.startswith("AUROC 1.00 (by chance up to ") and check.note.count("by chance up to") == 4
    with pytest.raises(ValueError, match="199 surrogates: at least 200"):
        truth.localised(places * 1.0, places, null[:199])
    with pytest.raises(ValueError, match="fields of 199 other dipoles: at least 200"):
        views = Views({"meg": torch.ones(2, 3, 4)})
        truth.check_topography(nn.Identity(), views, len, len, np.ones(3), np.ones((199, 3)))


def test_spatial_weights_of_any_layer_are_one_filter_a_row():
    weight = normal(4, 5)
    for shape in ((4, 5), (4, 5, 1), (2, 2, 5, 1)):
        assert torch.equal(patterns._as_filters(weight.reshape(shape)), weight)


# attention -----------------------------------------------------------------------------------------------------------


def test_attention_is_even_sparse_and_rolled_out_as_said():
    w = torch.tensor([0.7, 0.2, 0.1, 0.0])
    assert float(entropy(w)) == pytest.approx(-sum(p * np.log(p) for p in (0.7, 0.2, 0.1)) / np.log(4))
    assert float(sparsity(w)) == pytest.approx((2 - 1 / 0.54**0.5) / 1)
    layers = [torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(i)).softmax(-1) for i in range(3)]
    expected = torch.eye(4).expand(2, 4, 4)
    for layer in layers:
        expected = (layer.mean(1) + torch.eye(4)) / 2 @ expected
    torch.testing.assert_close(rollout(layers), expected)
    torch.testing.assert_close(rearrange(rollout(layers), "b q k -> q b k").sum(-1), torch.ones(4, 2))
