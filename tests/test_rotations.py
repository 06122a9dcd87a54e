"""Rotations find what can be found, are rotations, and a check tells a readable code from a turned one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ivekit import MultimodalVAE, Views, explain, metrics
from ivekit.explain import rotations
from ivekit.models import Outputs
from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts

N, K = 600, 4


def world(shape: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Factors, codes that are the factors turned, and the turn that would put them right."""
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((N, K)) if shape == "normal" else rng.uniform(-1.7, 1.7, (N, K))
    turn = rotations.random_rotation(K, rng)
    return factors, factors @ turn + 0.1 * rng.standard_normal((N, K)), turn.T


def is_permutation(turn: np.ndarray, tol: float = 0.05) -> bool:
    return bool((np.abs(turn).max(0) > 1 - tol).all() and (np.abs(turn).max(1) > 1 - tol).all())


def criterion(x: np.ndarray) -> float:
    """What varimax makes large."""
    return float((x**2).var(0).sum())


def test_every_rotation_is_orthogonal():
    factors, codes, _ = world("uniform")
    found = [
        rotations.by_factor(codes, factors[:, :2]),
        rotations.by_varimax(np.random.default_rng(0).standard_normal((50, K))),
        rotations.by_independence(codes),
        rotations.random_rotation(K, np.random.default_rng(0)),
    ]
    for turn in found:
        np.testing.assert_allclose(turn.T @ turn, np.eye(K), atol=1e-8)


def test_by_factor_puts_each_factor_on_the_latent_of_its_number():
    factors, codes, _ = world("normal")
    turned = codes @ rotations.by_factor(codes[:300], factors[:300, [2, 0]])
    r = np.abs(np.corrcoef(turned[300:].T, factors[300:].T)[:K, K:])
    assert r[0, 2] > 0.97 and r[1, 0] > 0.97 and r[2:, [2, 0]].max() < 0.2


def test_unused_latents_do_not_lead_a_rotation_astray():
    factors, codes, _ = world("normal")
    noise = 1e-3 * np.random.default_rng(1).standard_normal((N, 3))
    dead = np.concatenate([codes, noise], 1)
    turned = dead @ rotations.by_factor(dead[:300], factors[:300])
    assert rotations.readable(turned[300:], factors[300:]).min() > 0.97
    factors, codes, _ = world("uniform")
    dead = np.concatenate([codes, noise], 1)
    assert rotations.readable((dead @ rotations.by_independence(dead[:300]))[300:], factors[300:]).min() > 0.9


def test_a_latent_that_never_varies_stays_by_itself():
    _, codes, back = world("uniform")
    turn = rotations.by_independence(np.concatenate([codes, np.full((N, 1), 2.0)], 1))
    np.testing.assert_allclose(np.abs(turn[-1]), [0, 0, 0, 0, 1], atol=1e-8)
    assert is_permutation(back.T @ turn[:K, :K])


@pytest.mark.filterwarnings("ignore:FastICA did not converge")  # there is nothing to find among normal ones
def test_independence_finds_uniform_factors_and_cannot_find_normal_ones():
    _, codes, back = world("uniform")
    assert is_permutation(back.T @ rotations.by_independence(codes))
    factors, codes, _ = world("normal")
    alone = rotations.readable(codes @ rotations.by_independence(codes), factors).mean()
    assert alone < 0.95 < rotations.readable(codes @ rotations.by_factor(codes, factors), factors).mean()


def test_varimax_finds_latents_that_drive_different_things():
    simple = np.kron(np.eye(K), np.ones((6, 1))) + 0.1 * np.random.default_rng(0).standard_normal((6 * K, K))
    turn = rotations.random_rotation(K, np.random.default_rng(1))
    assert is_permutation(turn @ rotations.by_varimax(simple @ turn))
    dense = np.random.default_rng(2).standard_normal((40, K))
    best = criterion(dense @ rotations.by_varimax(dense))
    others = [criterion(dense @ rotations.random_rotation(K, np.random.default_rng(i))) for i in range(200)]
    assert best > max(others)


def test_in_a_plane_varimax_finds_the_best_of_all_angles_at_once():
    rng = np.random.default_rng(0)
    angles = np.linspace(0, np.pi / 2, 1000)  # a quarter turn swaps the two latents
    turns = np.array([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]]).transpose(2, 0, 1)
    for _ in range(20):
        x = rng.standard_normal((30, 2)) * [1, 3] + 1
        best = max(criterion(x @ turn) for turn in turns)
        assert best * (1 - 1e-12) <= criterion(x @ rotations.by_varimax(x, sweeps=1)) < best * (1 + 1e-4)


def test_the_check_passes_the_right_rotation_and_fails_a_random_one():
    factors, codes, _ = world("normal")
    fit, test = slice(0, 300), slice(300, None)
    check = explain.check_rotation(rotations.by_factor(codes[fit], factors[fit]), codes[test], factors[test])
    assert check.passed and check.value > 0.97 and len(check.null) == 200 and check.p < 0.05
    wrong = explain.check_rotation(rotations.random_rotation(K, np.random.default_rng(9)), codes[test], factors[test])
    assert not wrong.passed and "before the rotation" in wrong.note
    again = explain.check_rotation(rotations.random_rotation(K, np.random.default_rng(9)), codes[test], factors[test])
    np.testing.assert_array_equal(again.null, wrong.null)


def test_a_rotation_fitted_to_noise_fails_on_other_rows():
    rng = np.random.default_rng(0)
    codes, noise = rng.standard_normal((60, K)), rng.standard_normal((60, 2))
    turn = rotations.by_factor(codes[:30], noise[:30])
    assert not explain.check_rotation(turn, codes[30:], noise[30:]).passed


def test_one_latent_serves_one_factor():
    z = np.random.default_rng(0).standard_normal((500, 1))
    both = np.concatenate([z, z + 0.1], 1)
    assert sorted(rotations.readable(z, both).round(2)) == [0.0, 1.0]
    assert (rotations.readable(np.ones((500, 3)), both) == 0).all()


def test_a_readout_is_the_ridge_of_the_metrics_and_of_several_factors_at_once():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((200, K)) * [1, 2, 3, 0] + 5
    y = np.stack([z[:, 0] - z[:, 1], z[:, 2]], 1) + rng.standard_normal((200, 2))
    one, both = explain.Readout.fit(z[:100], y[:100, 0]), explain.Readout.fit(z[:100], y[:100])
    told = both(Outputs({}, {"shared": torch.tensor(z[100:])}, {}))
    assert told.shape == (100, 2)
    alone = one(Outputs({}, {"shared": torch.tensor(z[100:])}, {}))
    torch.testing.assert_close(alone, told[:, 0], atol=1e-4, rtol=1e-4)
    expected = metrics.readout(z[:100], y[:100, 0], z[100:], y[100:, 0])
    assert metrics.r2(y[100:, 0], alone.numpy(), float(y[:100, 0].mean())) == pytest.approx(expected, abs=1e-4)
    assert repr(both) == "Readout of 2 factors from the 4 latents of 'shared'"


def test_loadings_are_what_a_latent_does_to_the_decoded():
    model = MultimodalVAE({"a": MLPEncoder(3, 8)}, ProductOfExperts("a", 8, 2), {"a": Gaussian(MLPDecoder(2, 3, ()))})
    weight = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    model.decoders["a"].net.net[0].weight.data[:] = weight
    views = Views({"a": torch.randn(30, 3)})
    found = rotations.loadings(model, views, "shared")
    spread = float(views["a"].std(0).square().mean().sqrt()) * 3**0.5
    np.testing.assert_allclose(found * spread, weight, atol=1e-5)


def test_a_rotated_latent_is_a_target():
    turn = rotations.random_rotation(3, np.random.default_rng(0))
    z = torch.randn(5, 3)
    said = rotations.rotated(turn, "shared", 1)(Outputs({}, {"shared": z}, {}))
    np.testing.assert_allclose(said, (z.numpy() @ turn)[:, 1], rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rotations.by_factor(np.zeros((9, 2)), np.ones((9, 3))), r"at most one a latent, got \(9, 3\)"),
        (lambda: rotations.by_factor(np.zeros((9, 2)), np.ones((9, 1))), "constant factor has no direction: column 0"),
        (lambda: explain.Readout.fit(np.zeros((9, 2)), np.ones(8)), "8 rows of the factor for 9 rows"),
    ],
)
def test_what_does_not_fit_says_so(call, message):
    with pytest.raises(ValueError, match=message):
        call()
