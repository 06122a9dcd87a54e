"""Checks against the truth: what is right passes, what is random or elsewhere does not, and chance is what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn

from ivekit import Views, explain, metrics
from ivekit.explain.truth import field_of, magnitude, map_of, same_field, same_strength
from ivekit.models import Outputs
from ivekit.synth import World, random_fields, small

N = 400


@pytest.fixture(scope="module")
def world() -> World:
    return small(400, seed=5, snr_db=3.0)


@pytest.fixture(scope="module")
def fields(world) -> np.ndarray:
    return random_fields(world.views.about["meg"], N, seed=1)


class Filter(nn.Module):
    """A linear reader of the MEG: what `Outputs` it says is one number a row."""

    def __init__(self, weights: torch.Tensor):
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, views: Views) -> Outputs:
        return Outputs({}, {"shared": torch.einsum("bct,ct->b", views["meg"], self.weights)[:, None]}, {})


def whitened_reader(world: World, factor: str) -> Filter:
    """The matched filter of a factor's field and course: a perfect model, whose weights are no map of the source."""
    x = world.views["meg"].double().numpy()
    noise = np.cov(x[:, :, :6].transpose(1, 0, 2).reshape(x.shape[1], -1))
    noise += 1e-3 * np.trace(noise) / len(noise) * np.eye(len(noise))
    spatial = np.linalg.solve(noise, world.topographies[factor])
    return Filter(torch.from_numpy(np.outer(spatial, world.time_courses[factor])).float())


def first(out: Outputs) -> torch.Tensor:
    return out.z["shared"][:, 0]


def gradient(model, views, target):
    meg = views["meg"].clone().requires_grad_()
    (g,) = torch.autograd.grad(target(model(views.replace(meg=meg))).sum(), meg)
    return {"meg": g}


def random(model, views, target):
    return {"meg": torch.randn(views["meg"].shape, generator=torch.Generator().manual_seed(0))}


# numbers ---------------------------------------------------------------------------------------------------------


def test_statistics_are_those_of_their_definitions_for_one_mask_and_for_many():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 12, 90).astype(float)  # with ties
    masks = rng.random((5, 90)) < np.array([0.05, 0.1, 0.3, 0.5, 0.9])[:, None]
    for mask, auc, lift in zip(masks, metrics.auroc(scores, masks), metrics.precision_lift(scores, masks)):
        assert auc == pytest.approx(roc_auc_score(mask, scores))
        assert lift == pytest.approx(average_precision_score(mask, scores) / mask.mean())
        assert metrics.auroc(scores, mask) == pytest.approx(auc)
        assert metrics.mass_lift(scores, mask) == pytest.approx(scores[mask].sum() / scores.sum() / mask.mean())
    # of ties at the line, the expectation over orders
    draws = [
        masks[1][np.argsort(-(rankdata(scores) + 0.1 * rng.random(90)))[: masks[1].sum()]].mean() for _ in range(4000)
    ]
    assert metrics.rank_accuracy(scores, masks)[1] == pytest.approx(np.mean(draws), abs=0.01)


def test_a_map_that_says_nothing_is_at_chance():
    mask = np.arange(40) < 8
    flat = np.zeros(40)
    assert metrics.auroc(flat, mask) == 0.5 and metrics.precision_lift(flat, mask) == pytest.approx(1)
    assert metrics.mass_lift(flat, mask) == 1 and metrics.rank_accuracy(flat, mask) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("scores", "truth", "said"),
    [
        (np.ones(3), np.ones(4, bool), "does not fit masks"),
        (np.ones(3), np.ones(3, bool), "true and false places"),
        (np.array([0, np.nan, 1.0]), np.array([True, False, False]), "1 of 3 places of the map are not finite"),
    ],
)
def test_what_cannot_be_scored_is_said(scores, truth, said):
    with pytest.raises(ValueError, match=said):
        metrics.auroc(scores, truth)


# surrogates ------------------------------------------------------------------------------------------------------


def test_surrogates_are_as_many_and_as_smooth_as_the_true_places(world, fields):
    truth = explain.true_places(world.topographies["motion"], world.time_courses["motion"])
    null = explain.null_places(world.topographies["motion"], world.time_courses["motion"], fields, N, seed=3)
    assert truth.shape == (28, 40) and 0.005 < truth.mean() < 0.1
    assert null.shape == (N, 28, 40) and (null.sum((1, 2)) == truth.sum()).all()
    edges = lambda m: (m != np.roll(m, 1, -1)).sum((-1, -2))  # noqa: E731
    assert (edges(null) == edges(truth)).all()
    assert np.array_equal(
        null, explain.null_places(world.topographies["motion"], world.time_courses["motion"], fields, N, 3)
    )
    assert len({m.tobytes() for m in null}) > N / 2


def test_moved_masks_are_never_the_mask_itself(world):
    truth = world.pixels["motion"]
    moved = explain.shifted_places(truth, 200, seed=1)
    assert (moved.sum((1, 2, 3, 4)) == truth.sum()).all() and not (moved == truth).all((1, 2, 3, 4)).any()
    with pytest.raises(ValueError, match="the same wherever it is moved"):
        explain.shifted_places(np.ones((2, 3), bool), 3)


def test_p_values_of_smooth_maps_that_know_nothing_are_not_small(fields, world):
    """Maps of other dipoles at other times pass one time in twenty; against independent places nearly all would."""
    field, course = world.topographies["position"], world.time_courses["position"]
    truth, null = explain.true_places(field, course), explain.null_places(field, course, fields[:200], 200)
    rng, passed, values = np.random.default_rng(2), [], []
    for other in fields[200:]:
        window = np.roll(np.abs(course), int(rng.integers(len(course))))
        check = explain.localised(np.abs(other)[:, None] * window, truth, null)
        passed.append(check.passed)
        values.append(check.value)
    assert np.mean(passed) < 0.1
    assert np.mean(np.array(values) > 0.6) > 0.3  # 0.6 is far outside of chance for so many independent places


# checks ----------------------------------------------------------------------------------------------------------


def check_of(world, fields, explainer, factor="motion", **settings):
    field, course = world.topographies[factor], world.time_courses[factor]
    truth, null = explain.true_places(field, course), explain.null_places(field, course, fields, N)
    return explain.check_truth(whitened_reader(world, factor), world.views, first, explainer, truth, null, **settings)


def test_the_pattern_is_where_the_truth_is_and_noise_is_not(world, fields):
    right, wrong = check_of(world, fields, explain.haufe_pattern), check_of(world, fields, random)
    assert right.passed and right.value > 0.95 and right.p < 0.01
    assert not wrong.passed and abs(wrong.value - 0.5) < 0.1
    assert all(words in right.note for words in ("AUROC", "precision over prevalence", "mass lift", "rank accuracy"))
    lifted = check_of(world, fields, explain.haufe_pattern, statistic=metrics.precision_lift)
    assert lifted.passed and lifted.value > 5


def test_another_factors_pattern_fails(world, fields):
    field, course = world.topographies["position"], world.time_courses["position"]
    truth, null = explain.true_places(field, course), explain.null_places(field, course, fields, N)
    model = whitened_reader(world, "vigilance")
    assert not explain.check_truth(model, world.views, first, explain.haufe_pattern, truth, null).passed


def test_a_truth_of_another_shape_and_too_few_surrogates_are_refused(world, fields):
    truth = explain.true_places(world.topographies["motion"], world.time_courses["motion"])
    with pytest.raises(ValueError, match=r"of shape \(28, 40\), a row of 'video' of \(1, 4, 12, 12\)"):
        explain.check_truth(nn.Identity(), world.views, first, random, truth, np.stack([truth] * N), view="video")
    with pytest.raises(ValueError, match="20 surrogates: at least 200"):
        explain.check_truth(nn.Identity(), world.views, first, random, truth, np.stack([truth] * 20))


def test_the_pattern_is_the_sources_field_and_the_filter_is_not(world, fields):
    """The reason for the check: a perfect reader's weights are another map than its source's."""
    model, field = whitened_reader(world, "motion"), world.topographies["motion"]
    pattern = explain.check_topography(model, world.views, first, explain.haufe_pattern, field, fields)
    weights = explain.check_topography(model, world.views, first, gradient, field, fields)
    assert pattern.passed and pattern.value > 0.95
    assert weights.value < 0.7 and not weights.passed
    sizes = explain.check_topography(
        model, world.views, first, explain.haufe_pattern, field, fields, read=magnitude, alike=same_strength
    )
    assert sizes.value > 0.9 and sizes.null.mean() > pattern.null.mean() + 0.2  # maps without signs are alike anyway
    assert "cosine of sizes" in sizes.note and "|cos|" in pattern.note


def test_fields_of_other_sensors_or_too_few_are_refused(world, fields):
    args = (nn.Identity(), world.views, first, random)
    with pytest.raises(ValueError, match="at least 200"):
        explain.check_topography(*args, world.topographies["motion"], fields[:199])
    with pytest.raises(ValueError, match="must be of the 28 sensors of 'meg'"):
        explain.check_topography(*args, world.topographies["motion"][:9], fields)


def test_maps_are_read_with_and_without_their_sign():
    x = torch.tensor([[[1.0, 0.0], [-2.0, 0.0]], [[3.0, 0.0], [-6.0, 0.0]]])
    assert same_field(field_of(x), np.array([1.0, -2.0])) == pytest.approx(1)
    assert same_field(field_of(x), np.array([2.0, 1.0])) == pytest.approx(0, abs=1e-6)
    assert magnitude(x).tolist() == [1.0, 2.0] and map_of(x, 2).tolist() == [[2, 0], [4, 0]]
    assert magnitude(x[0]).tolist() == [0.5, 1.0]  # a pattern, of a row's shape
    assert same_field(np.zeros(2), np.ones(2)) == 0


# false positives -------------------------------------------------------------------------------------------------


def test_scrambled_rows_keep_every_number_and_nothing_else(world):
    noise = explain.scrambled(world.views, seed=1)
    for name in world.views:
        assert torch.equal(noise[name].sort(0).values, world.views[name].sort(0).values)
    r = np.corrcoef(noise["meg"].flatten(1).numpy()[:, :60].T)
    assert np.abs(r - np.eye(60)).max() < 0.3  # in the data neighbours in time are correlated by 0.9
    assert np.corrcoef(world.views["meg"].flatten(1).numpy()[:, :60].T)[0, 1] > 0.5
    assert torch.equal(noise["meg"], explain.scrambled(world.views, seed=1)["meg"])
    with pytest.raises(ValueError, match="holes cannot be dealt anew"):
        explain.scrambled(world.views.without("meg"))


def test_sign_flips_keep_their_level():
    rng = np.random.default_rng(0)
    any_found = [explain.sign_flips(rng.standard_normal((30, 5, 6)), n=200, seed=i).any() for i in range(200)]
    assert 0.01 < np.mean(any_found) < 0.1
    signal = np.zeros((5, 6))
    signal[2, 3] = 1.5
    assert np.argwhere(explain.sign_flips(rng.standard_normal((30, 5, 6)) + signal)).tolist() == [[2, 3]]


def test_weights_are_significant_on_noise_and_what_is_measured_is_not(world):
    """A gradient of a fixed network is the same in every row, whatever it was trained on; a centred product is not."""

    def retrain(seed: int, data: Views) -> nn.Module:
        generator = torch.Generator().manual_seed(seed)
        return Filter(torch.randn(28, 40, generator=generator) * data["meg"].mean().sign())

    def product(model, views, target):  # how far data and target go up together, row by row
        meg, y = views["meg"], target(model(views)).detach()
        other = torch.randn(len(y), generator=torch.Generator().manual_seed(7))
        return {"meg": (meg - meg.mean(0)) * (other - other.mean())[:, None, None] + 0 * y[:, None, None]}

    model, data = whitened_reader(world, "motion"), world.views[:200]
    weights = explain.check_false_positives(model, world.views[200:], first, gradient, retrain, data, n=2)
    assert not weights.passed and weights.value < 0.2
    measured = explain.check_false_positives(model, world.views[200:], first, product, retrain, data, n=2)
    assert measured.passed and measured.value == 1
    assert "of 2 models trained on noise" in measured.note and np.isnan(measured.p)
