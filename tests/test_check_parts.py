"""What checks of explanations are made of, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from ivekit import Views
from ivekit.distributions import Delta
from ivekit.explain import (
    Support,
    cascade,
    check_completeness,
    check_deletion,
    check_robustness,
    check_specificity,
    check_stability,
    check_traversal,
    check_weights,
    departures,
    one_latent,
)
from ivekit.explain.checks_input import _change, _inside, _z_scores
from ivekit.explain.checks_model import _exchanged, _features, _lower_bound, _normalised, _off
from ivekit.models import Outputs


class Turned(nn.Module):
    """A row is its own code; what is decoded is the code times a matrix."""

    def __init__(self, matrix: Tensor | None = None, k: int = 2):
        super().__init__()
        self.matrix, self.condition = torch.eye(k) if matrix is None else matrix, ()

    def encode(self, views):
        return {"shared": Delta(views["x"])}

    def decode(self, z, context=None):
        return {"x": Delta(z["shared"] @ self.matrix)}

    def forward(self, views: Views) -> Outputs:
        return Outputs(self.encode(views), {"shared": views["x"]}, {})


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


LATENT = one_latent("shared", 0)

# against networks ----------------------------------------------------------------------------------------------------


def test_agreement_is_counted_from_that_of_blind_networks_up_to_one():
    np.testing.assert_allclose(_normalised(np.array([0.9, 0.5, 0.2]), np.array([0.5, 0.5, 0.6])), [0.8, 0, -1])
    assert _normalised(np.array(1.0), np.array(1.0)) == 0, "where nothing changes anything"


def test_all_other_ways_of_calling_two_of_four_networks_retrained():
    pool = [0.9, 0.7, 0.3, 0.1]  # how it is: the first two
    ways = [(0.6, 0.4), (0.5, 0.5), (0.5, 0.5), (0.4, 0.6), (0.2, 0.8)]  # means of those called so, and of the rest
    found = _exchanged(np.array(pool[:2]), np.array(pool[2:]), 0)
    np.testing.assert_allclose(found, [(a - b) / (1 - b) for a, b in ways])
    unequal = _exchanged(np.array([0.8]), np.array([0.2, 0.5]), 0)
    np.testing.assert_allclose(unequal, [(0.2 - 0.65) / 0.35, (0.5 - 0.5) / 0.5])


def test_the_bound_is_the_lower_end_of_what_other_rows_would_have_given():
    rng = np.random.default_rng(0)
    seeds, blind = 0.6 + 0.1 * rng.standard_normal(400), np.zeros(400)
    expected = seeds.mean() - 1.96 * seeds.std() / 400**0.5
    assert _lower_bound(seeds, blind, 3) == pytest.approx(expected, abs=0.0015)
    assert _lower_bound(np.full(9, 0.75), np.full(9, 0.5), 0) == 0.5, "of equal rows all draws are alike"


def test_how_a_map_is_told_from_others_in_three_ways():
    maps = [normal(5, 7, seed=i) for i in range(3)]
    r = np.array([[np.mean([spearmanr(a.abs(), b.abs())[0] for a, b in zip(m, n)]) for n in maps] for m in maps])
    rows = np.array([[[spearmanr(a.abs(), b.abs())[0] for a in m] for b in m] for m in maps])
    peaked = [np.log(np.mean([float(row.norm() / row.abs().sum()) for row in m])) for m in maps]
    expected = np.stack([(r.sum(1) - 1) / 2, rows.mean((1, 2)), peaked], 1)
    np.testing.assert_allclose(_features(maps), expected, rtol=1e-6)


def test_how_far_off_one_is_in_standard_deviations_of_the_rest():
    features = np.array([[0.0, 1.0, 5.0], [1.0, 1.0, 2.0], [3.0, 1.0, 4.0], [2.0, 1.0, 3.0]])
    # the rest have means 2, 1, 3 and standard deviations 1, 0 (which counts 0) and 1
    assert _off(features, 0) == pytest.approx(((2**2 + 0 + 2**2) / 3) ** 0.5)
    assert _off(features, 1) == pytest.approx(((4 / 9) / (7 / 3) + 0 + 2**2) ** 0.5 / 3**0.5)  # 5/3, the root of 7/3


def test_without_others_the_map_itself_is_held_against_random_networks():
    """The null has one number a random network, and the value is the map's own: far off where it is another map."""
    views, calls = Views({"x": normal(6, 8)}), []

    def explainer(model, views, target):
        calls.append(model)
        seed = int(model.weight.abs().sum() * 1e4) % 1000
        return {"x": normal(6, 8, seed=seed) + (40 * torch.eye(8)[:1] if model is net else 0)}

    net = nn.Linear(8, 1)
    check = check_weights(net, views, len, explainer)
    assert len(check.null) == 19 and len(calls) == 20 and check.passed
    assert check.value > 3 * check.null.max() and check.p == 0.05


def test_a_cascade_is_the_mean_over_rows_and_draws():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1))
    model = Read(net)
    views = Views({"x": normal(5, 4)})

    def weights(model, views, target):
        return {"x": views["x"] * (model.net[1].weight @ model.net[0].weight)}

    found = cascade(model, views, lambda out: out[:, 0], weights, draws=3, seed=7)
    assert found.index.tolist() == ["none", "net.1", "net.0"]
    from ivekit.explain import randomised

    own = weights(model, views, None)["x"].detach().abs()
    for line, names in enumerate((["net.1"], ["net.1", "net.0"]), 1):
        each = [weights(randomised(model, 7 + i, names), views, None)["x"].detach().abs() for i in range(3)]
        r = np.mean([[spearmanr(a, b)[0] for a, b in zip(own, one)] for one in each])
        assert found["x"].iloc[line] == pytest.approx(r)


class Read(nn.Module):
    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, views: Views) -> Tensor:
        return self.net(views["x"])


def test_stability_is_how_alike_the_partners_maps_are_beside_those_of_other_latents():
    """Signs count: of the target's own map; of strangers, who have no sign, the size alone."""
    views = Views({"x": normal(12, 3)})
    maps = {0: [3.0, 2, 1, 0], 1: [0.0, 1, 2, 3], 2: [2.0, 3, 0, 1]}  # correlations with 0: -1 and 0.6

    def explainer(model, views, target):
        y = target(Outputs({}, {"shared": torch.eye(3)}, {}))
        return {"x": torch.tensor(maps[int(y.abs().argmax())]).expand(12, 4) * torch.sign(y.sum())}

    check = check_stability(Turned(k=3), views, LATENT, explainer, [Turned(k=3), Turned(k=3)])
    assert check.value == pytest.approx(1) and not check.passed
    assert sorted(check.null.round(6)) == [0.6, 0.6, 1, 1]
    assert check.note == "x 1.00 (2 models); worst view: x"
    with pytest.raises(ValueError, match="a single latent: there is none to take it for"):
        check_stability(Turned(k=1), Views({"x": normal(12, 1)}), LATENT, explainer, [Turned(k=1)])


def test_specificity_counts_rows_and_needs_four():
    views, questions = Views({"x": normal(20, 2)}), [lambda out: out, lambda out: out + 0]
    right = lambda model, views, target: {"x": torch.eye(2)[questions.index(target)].expand(len(views), 2)}  # noqa: E731
    check = check_specificity(nn.Identity(), views, questions[0], right, questions[1:])
    assert check.value == 1 and check.passed and len(check.null) == 999 and check.p < 0.002
    assert check.note == "x 1.00, among 2; worst view: x" and check.null.mean() == pytest.approx(0, abs=0.05)
    assert check_specificity(nn.Identity(), views[:4], questions[0], right, questions[1:]).value == 1
    with pytest.raises(ValueError, match="3 rows are too few"):
        check_specificity(nn.Identity(), views[:3], questions[0], right, questions[1:])
    with pytest.raises(ValueError, match="there is no other latent in the block"):
        check_specificity(Turned(k=1), Views({"x": normal(12, 1)}), LATENT, right)


# against rows --------------------------------------------------------------------------------------------------------


def total(out: Views) -> Tensor:
    return out["a"].sum(1)


def test_completeness_is_one_less_the_error_over_the_change():
    views = Views({"a": torch.tensor([[1.0, 2.0], [4.0, 5.0]])})
    half = lambda model, views, target: {"a": views["a"] * torch.tensor([[1.0], [0.5]])}  # noqa: E731
    check = check_completeness(nn.Identity(), views, total, half, {"a": torch.zeros(2)})
    assert check.value == pytest.approx(1 - 4.5 / 12) and not check.passed  # of changes of 3 and 9, 4.5 are missing
    assert check_completeness(nn.Identity(), views, total, half, {"a": torch.zeros(2)}, bar=0.6).passed
    twice = Views({"a": views["a"], "b": views["a"]})
    both = lambda model, views, target: {n: x / 2 for n, x in views.items()}  # noqa: E731
    assert check_completeness(nn.Identity(), twice, total, both, {"a": torch.zeros(2)}).value == pytest.approx(1)


WEIGHT = torch.tensor([4.0, 2.0, 1.0, 0.0])


def test_deletion_in_numbers():
    """Of weights 4, 2, 1, 0 the largest half is worth 6, the least 1; of a quarter 4 and 0; of all nothing is won."""
    views, seen = Views({"a": torch.ones(3, 4)}), []

    def target(out):
        return out["a"] @ WEIGHT

    def put(name, x, keep):
        seen.append(len(x))
        return torch.where(keep, x, 0)

    right = lambda model, views, target: {"a": -WEIGHT.expand(3, 4)}  # noqa: E731
    turned = lambda maps, generator: maps.flip(1)  # noqa: E731
    for fractions, area in {(0.5,): 5, (0.25,): 4, (0.25, 0.5): 4.5, (1.0,): 0, (0.01, 0.99): 2}.items():
        check = check_deletion(
            nn.Identity(), views, target, right, put, fractions=fractions, draws=1, surrogate=turned
        )  # the one surrogate takes the least first
        assert check.value == pytest.approx(2 * area), fractions
    assert max(seen) == 3 * 4  # rows, each with the most or the least removed, at two fractions
    assert check.name == "deletion (function)" and check.null == [0]
    assert check.note == "a z = 4.0; worst view: a" and check.passed and check.p == 0.5


def test_z_scores_are_those_among_the_others():
    value, null = _z_scores(np.array([7.0, 1.0, 2.0, 3.0]))
    assert value == 5 and null.tolist() == [-1, 0, 1]
    assert _z_scores(np.array([7.0, 4.0])) == (3, np.array([0.0]))


def test_a_map_s_change_is_a_share_of_its_size_and_the_mean_over_rows():
    own = torch.tensor([[[3.0], [4.0]], [[0.0], [2.0]], [[0.0], [0.0]]])
    other = own + torch.tensor([[[0.0], [5.0]], [[1.0], [0.0]], [[9.0], [9.0]]])
    assert _change(own, other) == pytest.approx((1 + 0.5 + 0) / 3)  # a row of which nothing was said counts 0


def test_robustness_is_that_of_the_worst_draw_and_view():
    views, times = Views({"a": normal(6, 3), "b": normal(6, 3, seed=1), "n": torch.arange(6)}), iter(range(9))
    shift = {0: (0.0, 0.0), 1: (0.1, 0.0), 2: (0.0, 0.3), 3: (0.2, 0.1)}
    seen = []

    def explainer(model, views, target):
        seen.append(views)
        a, b = shift[next(times)]
        return {"a": torch.ones(6, 3) * (1 - a), "b": torch.ones(6, 3) * (1 + b) * torch.tensor([1.0, 2, 3])}

    check = check_robustness(nn.Identity(), views, len, explainer, draws=3, bar=0.7)
    assert check.value == pytest.approx(0.7, abs=1e-6) and check.bar == 0.7
    assert check.note == "b changes by 30%"  # of a view that is one number everywhere nothing is said
    for near in seen[1:]:
        assert torch.equal(near["n"], views["n"]) and (near["a"] != views["a"]).all()
        assert ((near["a"] - views["a"]).abs() <= 0.02 * views["a"].std(0) + 1e-6).all()
    assert not torch.equal(seen[1]["a"], seen[2]["a"])


@pytest.mark.parametrize(
    ("matrix", "value", "note"),
    [
        ([[0.9, 0.0], [0.0, 1.0]], 0.5, "fidelity 0.90, cross-talk 0.00"),
        ([[1.1, 0.0], [0.5, 1.0]], 0.5, "fidelity 1.10, cross-talk 0.00"),
        ([[1.0, -0.1], [0.0, 1.0]], 0.6, "fidelity 1.00, cross-talk 0.10"),
        ([[0.8, 0.4], [0.0, 1.0]], -1.0, "fidelity 0.80, cross-talk 0.50"),
    ],
)
def test_a_traversal_in_numbers(matrix, value, note):
    """How far a latent comes back, and how much of another moves with it, of a code that is decoded by a matrix."""
    views = Views({"x": 0.1 * normal(30, 2)})
    check = check_traversal(Turned(torch.tensor(matrix)), views, LATENT, step=0.5, data=Views({"x": 5 * normal(90, 2)}))
    assert check.value == pytest.approx(value, abs=1e-4) and check.passed == (value >= 0)
    assert check.note.startswith(note) and check.bar == 0


def test_a_traversal_says_where_it_cannot_know_what_codes_occur():
    views = Views({"x": normal(30, 2)})
    few = check_traversal(Turned(), views[:19], LATENT)
    assert few.note.endswith("; 19 rows are too few to say where codes of 2 latents lie") and few.value > 0.99
    assert "of the codes where others are" in check_traversal(Turned(), views[:20], LATENT).note


def test_codes_are_inside_where_99_of_100_known_ones_are():
    known = normal(4000, 2).double().numpy() * [1.0, 5.0] + [3.0, -2.0]
    far = (2 * np.log(100)) ** 0.5  # of two normal latents 1 in 100 is farther
    ends = [np.array([[3 + s * far, -2.0], [3.0, -2 + 5 * s * far]]) for s in (0.9, -0.9, 1.1)]
    assert _inside(known, ends[0], ends[1]) == 1 and _inside(known, ends[0], ends[2]) == 0.5


def test_a_latent_that_no_code_moves_along_has_no_inside_but_where_it_is():
    known = np.stack([normal(500, 1)[:, 0].double().numpy(), np.full(500, 2.0)], 1)
    there, off = np.array([[0.0, 2.0]]), np.array([[0.0, 2.5]])
    assert _inside(known, there, there) == 1 and _inside(known, there, off) == 0.5


# where codes are -----------------------------------------------------------------------------------------------------


class TwoBlocks(Turned):
    def encode(self, views):
        return {"shared": Delta(views["x"][:, :2]), "a": Delta(views["x"][:, 2:])}

    def decode(self, z, context=None):
        return {"x": Delta(torch.cat([z["shared"], z["a"]], 1))}


def test_a_region_is_the_ellipsoid_of_the_codes():
    x = normal(300, 3) @ torch.tensor([[2.0, 0, 0], [1.0, 0.5, 0], [0, 0, 3.0]]) + torch.tensor([1.0, 2, 3])
    region = Support.of(TwoBlocks(), Views({"x": x}))
    assert dict(region.blocks) == {"shared": 2, "a": 1} and region.share == 0.99
    torch.testing.assert_close(region.centre, x.mean(0))
    torch.testing.assert_close(region.precision, torch.linalg.inv(x.T.cov()), rtol=0.01, atol=1e-3)
    far = x - x.mean(0)
    d = torch.einsum("ni,ij,nj->n", far, region.precision, far).sqrt()
    assert region.limit == pytest.approx(float(d.repeat(8).quantile(0.99)), rel=1e-3)
    torch.testing.assert_close(region.far({"a": x[:, 2:], "shared": x[:, :2]}), d / region.limit)
    assert repr(region) == f"Support of 3 latents of shared, a: 99 % of the codes within {region.limit:.1f}"
    half = Support.of(TwoBlocks(), Views({"x": x}), share=0.5)
    assert half.limit == pytest.approx(float(d.median()), rel=0.01) and half.share == 0.5


def test_along_a_latent_of_a_second_block():
    region = Support({"shared": 2, "a": 1}, torch.tensor([0.0, 0.0, 1.0]), torch.eye(3) / 4, 3.0)
    z = {"shared": torch.tensor([[9.0, 9.0]]), "a": torch.tensor([[3.0]])}
    assert float(region.along(z, ("a", 0))) == pytest.approx(2 / (2 * 2.5758), rel=1e-4)
    assert float(region.along(z, ("shared", 1))) == pytest.approx(9 / (2 * 2.5758), rel=1e-4)


def test_a_step_departs_by_the_whole_code_or_by_the_coordinate_whichever_is_farther():
    views = Views({"x": torch.zeros(4, 3)})
    region = Support({"shared": 2, "a": 1}, torch.zeros(3), torch.eye(3), 4.0)
    found = departures(TwoBlocks(), views, [0.0, 2.5758, 5.1517], region=region)
    torch.testing.assert_close(found, torch.tensor([[0.0, 1.0, 2.0]] * 3), rtol=1e-3, atol=1e-6)
    wide = Support(region.blocks, region.centre, region.precision, 2.0)
    found = departures(TwoBlocks(), views, [1.0, 4.0], [("a", 0)], wide)
    torch.testing.assert_close(found, torch.tensor([[0.5, 2.0]]), rtol=1e-3, atol=1e-6)
