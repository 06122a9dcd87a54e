"""Scores of classes: by hand, by scikit-learn, and intervals that hold what they should."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, roc_auc_score

from ivekit import metrics


@pytest.fixture
def guess() -> tuple[np.ndarray, np.ndarray]:
    """Labels of uneven classes, and probabilities that know something of them."""
    rng = np.random.default_rng(0)
    labels = rng.choice(4, 200, p=[0.5, 0.2, 0.2, 0.1])
    logits = rng.standard_normal((200, 4)) + 1.2 * np.eye(4)[labels]
    return labels, np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def test_scores_are_those_of_scikit_learn(guess):
    labels, p = guess
    told = p.argmax(1)
    assert metrics.accuracy(labels, told) == pytest.approx((labels == told).mean())
    assert metrics.balanced_accuracy(labels, told) == pytest.approx(balanced_accuracy_score(labels, told))
    assert metrics.auc(labels, p) == pytest.approx(roc_auc_score(labels, p, multi_class="ovo"))
    np.testing.assert_allclose(metrics.confusion(labels, told, 4), confusion_matrix(labels, told, normalize="true"))
    scores = metrics.decoding(labels, p)
    assert list(scores) == ["accuracy", "balanced", "auc"] and 0.5 < scores["accuracy"] < 1


def test_always_the_common_class_is_accurate_and_not_balanced():
    labels = np.repeat([0, 1, 2], [80, 10, 10])
    always = np.zeros(100, int)
    assert metrics.accuracy(labels, always) == 0.8
    assert metrics.balanced_accuracy(labels, always) == pytest.approx(1 / 3)
    assert metrics.auc(labels, np.full((100, 3), 1 / 3)) == 0.5


def test_a_class_that_is_not_there_is_said_and_not_guessed():
    labels, told = np.array([0, 0, 1]), np.array([0, 2, 1])
    assert np.isnan(metrics.confusion(labels, told, 3)[2]).all()
    assert np.isnan(metrics.auc(labels, np.eye(3)[told]))
    assert metrics.balanced_accuracy(labels, told) == 0.75


def test_an_interval_holds_the_truth_as_often_as_it_says():
    held = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 2, 80)
        told = np.where(rng.random(80) < 0.7, labels, 1 - labels)
        low, high = metrics.interval(labels, told, n=200, seed=seed)
        held.append(low <= 0.7 <= high)
    assert 0.85 <= np.mean(held) <= 1


def test_rows_drawn_again_keep_their_classes():
    labels = np.repeat([0, 1], [99, 1])  # drawn evenly, the one row of class 1 would be lost in a third of the draws
    low, high = metrics.interval(labels, labels, metrics.balanced_accuracy)
    assert (low, high) == (1.0, 1.0)


def test_over_subjects_the_interval_is_wider_than_over_their_trials():
    subjects = np.array([0.3, 0.9, 0.4, 0.8])
    low, high = metrics.interval_over(subjects)
    labels = np.zeros(400, int)
    right = np.concatenate([np.arange(100) >= round(100 * s) for s in subjects]).astype(int)
    near, far = metrics.interval(labels, right)
    assert high - low > 3 * (far - near)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="as many rows, at least one; got 3 and 2"):
        metrics.interval(np.array([0, 1, 1]), np.array([0, 1]))
    with pytest.raises(ValueError, match="got 0 and 0"):
        metrics.balanced_accuracy(np.array([], int), np.array([], int))
