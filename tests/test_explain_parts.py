"""Effects, rotations, traversals and what latents are said to be, against numbers worked out by hand."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from ivekit import Views, explain
from ivekit.distributions import Delta, Normal
from ivekit.explain import effects, rotations

identify, traverse = (import_module(f"ivekit.explain.{name}") for name in ("identify", "traverse"))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Adds(nn.Module):
    """Codes of two blocks with beliefs of a known spread; what is decoded is the sum of all latents."""

    condition = ()

    def __init__(self, sd: float = 1.0):
        super().__init__()
        self.sd = sd

    def encode(self, views):
        return {"shared": Normal(views["a"][:, :2], self.sd), "a": Normal(views["a"][:, 2:], self.sd)}

    def decode(self, z, context=None):
        return {"a": Delta(torch.cat(list(z.values()), 1).sum(1, keepdim=True))}


# effects -------------------------------------------------------------------------------------------------------------


def test_the_likeness_of_mean_effects_by_hand():
    e = np.array([[[1.0, 3.0], [3.0, 5.0]], [[0.0, 2.0], [0.0, 2.0]]])  # of two latents from two starts: (2, 4), (0, 2)
    r, low, high, gain, moves, should = effects._likeness(e, np.array([2.0, 0.0]), 400, 0)
    np.testing.assert_allclose(r, [2 / 20**0.5, 0])
    np.testing.assert_allclose(gain, [1, 0])
    np.testing.assert_allclose(moves, [10**0.5, 2**0.5])
    np.testing.assert_allclose(should, [2**0.5, 2**0.5])
    np.testing.assert_allclose([low[0], high[0]], [1 / 10**0.5, 3 / 34**0.5])  # of one start twice, or of the other
    np.testing.assert_allclose([low[1], high[1]], 0, atol=1e-12)


def test_the_likeness_of_effects_with_a_truth_each_by_hand():
    e = np.array([[[1.0, 3.0], [3.0, 5.0]]])
    t = np.array([[1.0, 0.0], [0.0, 2.0]])
    r, low, high, gain, moves, should = effects._likeness(e, t, 400, 0)
    np.testing.assert_allclose(r, 11 / (44 * 5) ** 0.5)
    np.testing.assert_allclose(gain, 11 / 5)
    np.testing.assert_allclose(moves, (44 / 4) ** 0.5)
    np.testing.assert_allclose(should, (5 / 4) ** 0.5)
    np.testing.assert_allclose([low[0], high[0]], [1 / 10**0.5, 10 / (34 * 4) ** 0.5])


def test_effects_are_in_standard_deviations_of_a_film_or_of_a_column():
    generator = torch.Generator().manual_seed(0)
    views = Views({
        "film": torch.tensor([[1.0, 3.0], [5.0, 5.0]]) * torch.randn(4000, 2, 2, generator=generator),
        "table": torch.tensor([1.0, 100.0]) * torch.randn(4000, 2, generator=generator),
    })  # fmt: skip
    film = effects._flat(views, "film", torch.ones(3, 2, 2), 1)
    np.testing.assert_allclose(film, np.full((3, 4), (60 / 4) ** -0.5), rtol=0.03)
    np.testing.assert_allclose(effects._flat(views, "table", torch.ones(3, 2), 1), [[1, 0.01]] * 3, rtol=0.05)


def test_a_mean_row_is_that_of_what_is_there():
    views = Views(
        {"a": torch.tensor([[1.0, 2.0], [3.0, torch.nan], [9.0, 9.0]]), "b": torch.tensor([1.0, torch.nan, 4.0])},
        {"a": torch.tensor([[True, True], [True, False], [True, False]]), "b": torch.tensor([True, False, True])},
    )
    rows = np.array([True, True, False])
    assert effects._mean_row(views, "a", rows).tolist() == [2, 2] and effects._mean_row(views, "b", rows) == 1
    assert effects._mean_row(views, "b", ~np.array([True, False, True])) == 0, "of nothing it is 0"


def test_the_starts_are_spread_evenly_over_the_rows():
    views = Views({"a": torch.zeros(101, 1)})
    assert effects._rows(views, None, 5).tolist() == [0, 25, 50, 75, 100]
    assert effects._rows(views[:3], None, 5).tolist() == [0, 1, 2]
    assert effects._rows(views, np.array([7, 3]), 5).tolist() == [7, 3]


def test_the_directions_that_a_latent_is_held_against():
    z = {"shared": 3 * normal(50, 3) * torch.tensor([1.0, 0.0, 1.0]), "a": normal(50, 2)}
    axes, n_others = effects._directions(z, "shared", torch.eye(3)[0], ["shared", "a"], 40, 0)
    assert axes.shape == (1 + 3 + 40, 5) and n_others == 3  # the latents in use, beside its own: 2, and those of a
    assert axes[0].tolist() == [1, 0, 0, 0, 0] and axes[1:4].argmax(1).tolist() == [2, 3, 4]
    torch.testing.assert_close(axes.norm(dim=1), torch.ones(44))
    assert (axes[:, 1] == 0).all() and (axes[4:, [0, 2, 3, 4]] != 0).all()
    second = effects._directions(z, "a", torch.eye(2)[1], ["shared", "a"], 1, 0)[0][0]
    assert second.tolist() == [0, 0, 0, 0, 1]
    with pytest.raises(ValueError, match=r"the latent is of block 'a', the other directions would be of \['shared'\]"):
        effects._directions(z, "a", torch.eye(2)[0], ["shared"], 1, 0)
    with pytest.raises(ValueError, match=r"1 latents of \['b'\] are active"):
        effects._directions({"b": normal(50, 1)}, "b", torch.ones(1), ["b"], 1, 0)


def test_outer_rows_by_rank_and_at_most_half():
    low, high = effects.outer(np.array([3.0, 3.0, 1.0, 9.0]), 0.5)
    assert low.tolist() == [True, False, True, False] and high.tolist() == [False, True, False, True]
    with pytest.raises(ValueError, match="a share of 0.6 of 5 rows is 3 rows"):
        effects.outer(np.arange(5), 0.6)


def test_which_way_round_a_latent_goes_does_not_depend_on_units():
    codes, factors = np.array([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0]]), np.array([[0.0], [1.0], [3.0]])
    for unit in (1e-6, 1.0, 1e6):
        assert effects._signs(unit * codes, factors).tolist() == [[1], [-1]]


# rotations -----------------------------------------------------------------------------------------------------------


def test_units_of_factors_and_means_of_codes_turn_nothing():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((200, 3)) * [1, 2, 0.5]
    y = z[:, :2] + 0.5 * rng.standard_normal((200, 2))
    turn = rotations.by_factor(z, y)
    np.testing.assert_allclose(rotations.by_factor(z + [9, -9, 3], y * [1000, 0.01] + [5, -7]), turn, atol=1e-9)
    unit = (y - y.mean(0)) / y.std(0)
    u, _, v = np.linalg.svd((z - z.mean(0)).T @ unit, full_matrices=False)
    np.testing.assert_allclose(turn[:, :2], u @ v, atol=1e-9)


def test_of_slanted_factors_independence_finds_the_rotation_nearest_to_what_reads_them():
    """Factors that are not at right angles in the code: each is read by a direction, and all directions count alike."""
    f = np.random.default_rng(0).uniform(-1, 1, (20_000, 3)) * [1, 3, 0.3]
    mixing = np.array([[1.0, 0.6, 0.0], [0.0, 1.0, 0.3], [0.2, 0.0, 1.0]])
    read = np.linalg.inv(mixing) / np.linalg.norm(np.linalg.inv(mixing), axis=0)
    u, _, v = np.linalg.svd(read)
    alike = np.abs((u @ v).T @ rotations.by_independence(f @ mixing))
    assert sorted(alike.argmax(1)) == [0, 1, 2] and alike.max(1).min() > 0.998


def test_the_check_of_a_rotation_passes_at_one_in_twenty_and_not_above():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((300, 4))
    turn = rotations.random_rotation(4, rng)
    passed = [rotations.check_rotation(turn.T, z @ turn, z, draws=n).passed for n in (18, 19, 20)]
    assert passed == [False, True, True]
    check = rotations.check_rotation(turn.T, z @ turn, z, draws=19, score=lambda codes, factors: codes[0] * 0 + 2)
    assert (
        check.value == 2 and not check.passed and check.note == "before the rotation 2; random rotations 2 on average"
    )


def test_readable_is_the_best_pairing_of_all():
    rng = np.random.default_rng(0)
    y = rng.standard_normal((400, 2))
    z = np.stack([y[:, 0] + y[:, 1], y[:, 0] + 0.1 * y[:, 1]], 1)  # the second is the better one for the first factor
    r = np.abs(np.corrcoef(z.T, y.T)[:2, 2:])
    np.testing.assert_allclose(rotations.readable(z, y), [r[1, 0], r[0, 1]])


def test_loadings_are_by_the_size_of_a_view_and_by_its_spread():
    class Two(Adds):
        def decode(self, z, context=None):
            return {"a": Delta(z["shared"][:, :1].expand(-1, 4)), "b": Delta(z["shared"][:, 1:] ** 3)}

    views = Views({"a": torch.tensor([[0.0] * 4, [2.0] * 4])})
    found = rotations.loadings(Two(), views, "shared", step=0.5)  # from a code of (1, 1)
    sd = 2**0.5
    np.testing.assert_allclose(found[:4], [[1 / (sd * 2), 0]] * 4, atol=1e-6)
    low, high = 0.5**3, 1.5**3  # b is not among the views: its own spread counts
    np.testing.assert_allclose(found[4, 1], (high - low) / ((high - low) / sd), atol=1e-5)


# what is decoded -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [3.0, torch.zeros(2, 1, 1), [[1.0, 2.0]], [[1.0]] * 3])
def test_values_are_a_row_or_a_row_a_latent(values):
    with pytest.raises(ValueError, match=r"values are \(v,\), or \(l, v\) of 2 latents"):
        traverse.steps(values, 2)


def test_a_band_has_the_quantiles_of_what_the_other_latents_add():
    views = Views({"a": torch.tensor([[1.0, 10.0, 100.0]])})
    low, high = explain.traverse_band(Adds(sd=2.0), views, "shared", 1, [0.0, 5.0], level=0.5, n_samples=4000)["a"]
    sd = 2 * 2**0.5  # of the two other latents' sum
    torch.testing.assert_close(low[:, 0], torch.tensor([101.0, 106.0]) - 0.6745 * sd, atol=0.15, rtol=0)
    torch.testing.assert_close(high[:, 0], torch.tensor([101.0, 106.0]) + 0.6745 * sd, atol=0.15, rtol=0)
    assert torch.equal(low[1] - low[0], torch.tensor([5.0])), "the same draws at every value"
    two = Views({"a": torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 100.0]])})
    low, high = explain.traverse_band(Adds(sd=1e-3), two, "shared", 0, [0.0], level=0.9)["a"]
    assert low.item() == pytest.approx(0, abs=0.1) and high.item() == pytest.approx(100, abs=0.1), "a row a draw"


def test_a_path_starts_from_each_row_and_takes_every_value():
    z = {"shared": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "a": torch.tensor([[5.0], [6.0]])}
    found = traverse.moved(z, [("shared", 1), ("a", 0)], [[7.0, 8.0, 9.0], [0.0, -1.0, -2.0]])
    assert found["shared"].shape == (2, 2, 3, 2) and found["a"].shape == (2, 2, 3, 1)
    assert found["shared"][0, 1].tolist() == [[3, 7], [3, 8], [3, 9]]
    assert found["a"][1, :, :, 0].tolist() == [[0, -1, -2]] * 2
    assert found["shared"][1, 0].tolist() == [[1, 2]] * 3 and found["a"][0, 1, :, 0].tolist() == [6] * 3
    with pytest.raises(ValueError, match="the condition is that of 1 row or of 2, one a start, got 3 rows"):
        traverse.decoded(Adds(), Views({"a": torch.zeros(3, 3)}), found)


# what a latent is ----------------------------------------------------------------------------------------------------


def test_correlations_with_holes_are_those_of_the_rows_that_are_there():
    rng = np.random.default_rng(0)
    z, x = rng.standard_normal((50, 2)), rng.standard_normal((50, 3)) + 5
    here = rng.random((50, 3)) > 0.3
    x[~here] = np.nan
    unit = identify._standard(x, here)
    assert (unit[~here] == 0).all()
    for f in range(3):
        rows = here[:, f]
        assert unit[rows, f].mean() == pytest.approx(0, abs=1e-12) and unit[rows, f].std() == pytest.approx(1)
    expected = [[np.corrcoef(z[here[:, f], k], x[here[:, f], f])[0, 1] for f in range(3)] for k in range(2)]
    np.testing.assert_allclose(identify._correlations(z, unit, here), expected, atol=1e-12)
    still = np.concatenate([np.ones((50, 1)), z[:, :1]], 1)
    np.testing.assert_allclose(identify._correlations(still, unit, here)[0], 0)


def test_the_floor_is_what_the_largest_of_shuffles_stays_below_in_19_of_20():
    rng = np.random.default_rng(0)
    z, x, here = rng.standard_normal((30, 2)), rng.standard_normal((30, 2)), np.ones((30, 2), bool)
    z, x = ((a - a.mean(0)) / a.std(0) for a in (z, x))
    drawn = []
    for i in range(19):
        order = np.random.default_rng([4, i]).permutation(30)
        drawn.append(np.abs(z.T @ x[order] / 30).max())
    assert identify._floor(z, x, here, 19, 4) == pytest.approx(np.quantile(drawn, 0.95))


def test_the_interval_by_its_formula():
    rng = np.random.default_rng(0)
    z = rng.standard_normal(60)
    x = z + rng.standard_normal(60)
    r = float(np.corrcoef(z, x)[0, 1])
    u, v = (z - z.mean()) / z.std(), (x - x.mean()) / x.std()
    s = np.std(u * v - r * (u**2 + v**2) / 2) / (1 - r**2) / 57**0.5
    expected = np.tanh(np.arctanh(r) + np.array([-1.96, 1.96]) * s)
    np.testing.assert_allclose(identify.interval(z, x, r), expected)
    assert identify.interval(z, -z, -1.0) == (-1.0, -1.0)


class Codes(nn.Module):
    def encode(self, views):
        return {"shared": Normal(views["a"], 1.0)}


@pytest.mark.parametrize(("noise", "how"), [(0.1, "goes with"), (1.5, "goes partly with"), (5.0, "goes a little with")])
def test_how_much_a_latent_goes_with_a_column_is_said(noise, how):
    rng = np.random.default_rng(0)
    z = rng.standard_normal((1000, 1))
    columns = pd.DataFrame({"size": z[:, 0] + noise * rng.standard_normal(1000)})
    found = identify.identify(Codes(), Views({"a": torch.from_numpy(z).float()}), columns).iloc[0]
    assert found.said.startswith(f"shared 0 {how} size (r = ") and found.passed
    assert found.said.endswith(f"; it tells {found.kl:.2f} nats of a row.")


def test_four_numbers_are_enough_and_a_latent_that_never_moves_is_no_trouble():
    z = torch.stack([torch.arange(8.0), torch.full((8,), 3.0)], 1)
    four, three = ([1.0, 2.0, 3.5, 4.0, *[np.nan] * 4], [1.0, 2.0, 3.0, *[np.nan] * 5])
    found = identify.identify(Codes(), Views({"a": z}), pd.DataFrame({"four": four, "three": three}), n_shuffles=19)
    assert found["match"].tolist() == ["four", ""] and found["active"].tolist() == [True, False]
    assert found["r"][0] == pytest.approx(np.corrcoef(np.arange(4), four[:4])[0, 1])
