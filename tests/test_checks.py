"""Checks of explanations: what deserves to pass passes, what does not fails, and chance passes in 5 of 100."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from einops import repeat
from torch import Tensor, nn

from ivekit import KL, NLL, Objective, Views
from ivekit.distributions import Delta
from ivekit.explain import (
    Check,
    assigned,
    cascade,
    check_completeness,
    check_deletion,
    check_labels,
    check_robustness,
    check_specificity,
    check_stability,
    check_traversal,
    check_weights,
    imputers,
    layers,
    one_latent,
    only,
    randomised,
    regressed,
    shuffled_pairs,
    verdict,
)
from ivekit.explain.checks_input import _noise, rolled
from ivekit.explain.checks_model import _called, _exchanged, _informed, _passing
from ivekit.explain.maps import answers, latent_of
from ivekit.models import MultimodalVAE, Outputs
from ivekit.nn import AttentionPool, Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
from ivekit.synth import linear_gaussian
from ivekit.training import train

WIDTHS = {"a": 16, "b": 12}
WORLD = linear_gaussian(600, 3, WIDTHS, noise=0.3, seed=1)
ROWS = WORLD.views[torch.arange(576, 600)]
DATA = WORLD.views[torch.arange(576)]


class OneView(nn.Module):
    """Any network of one view as `Views -> Outputs`-like: what a user wraps."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, views: Views) -> Tensor:
        return self.net(views["x"])


def made(seed: int) -> MultimodalVAE:
    torch.manual_seed(seed)
    encoders = {name: MLPEncoder(c, 16) for name, c in WIDTHS.items()}
    decoders = {name: Gaussian(MLPDecoder(3, c), 0.3) for name, c in WIDTHS.items()}
    return MultimodalVAE(encoders, ProductOfExperts(list(WIDTHS), 16, 3), decoders)


def trained(seed: int, data: Views) -> nn.Module:
    model = made(seed)
    for _ in train(model, Objective(nll=NLL(), kl=KL()), data, epochs=12, batch_size=64, lr=5e-3, seed=seed):
        pass
    return model.eval()


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return trained(0, DATA)


@pytest.fixture(scope="module")
def others() -> list[nn.Module]:
    return [trained(seed, DATA) for seed in (1, 2, 3)]


@pytest.fixture(scope="module")
def shuffled() -> list[nn.Module]:
    return [trained(seed, shuffled_pairs(DATA, seed)) for seed in (4, 5, 6)]


LATENT = one_latent("shared", 0)


def gradient(model: nn.Module, views: Views, target) -> dict[str, Tensor]:
    x = {name: t.clone().requires_grad_() for name, t in views.items()}
    y = answers(model, views.replace(**x), target)
    found = torch.autograd.grad(y.sum(), list(x.values()), allow_unused=True)
    return {name: torch.zeros_like(t) if g is None else g for (name, t), g in zip(x.items(), found)}


def gradient_times_input(model: nn.Module, views: Views, target) -> dict[str, Tensor]:
    return {name: g * views[name] for name, g in gradient(model, views, target).items()}


class Noise:
    """An explainer that draws numbers: the same every time, or others."""

    def __init__(self, fresh: bool, seed: int = 0):
        self.fresh, self.generator, self.seed = fresh, torch.Generator().manual_seed(seed), seed

    def __call__(self, model, views, target) -> dict[str, Tensor]:
        generator = self.generator if self.fresh else torch.Generator().manual_seed(self.seed)
        return {name: torch.randn(x.shape, generator=generator) for name, x in views.items()}


def edges(model, views, target) -> dict[str, Tensor]:
    """What the input looks like, whatever the model does with it."""
    return {name: x.diff(dim=1, prepend=x[:, :1]) for name, x in views.items()}


BAD = {"the same noise": lambda: Noise(False), "other noise": lambda: Noise(True), "edges": lambda: edges}


# copies without what was learnt -------------------------------------------------------------------------------------


def test_layers_come_from_the_output_back_and_only_those_that_count(model):
    order = layers(model, ROWS, LATENT)
    assert set(order[0]) == {"posterior.heads.a", "posterior.heads.b"}
    assert [set(stage) for stage in order[1:]] == [{f"encoders.{v}.net.{i}" for v in "ab"} for i in (4, 2, 0)]
    both = layers(model, ROWS, lambda out: out.p["a"].mean[:, 0])
    assert both[0][0].startswith("decoders.a.net") and len(both[0]) == 1 and both[-1] == order[-1]
    with pytest.raises(ValueError, match="no gradient"):
        layers(model, ROWS, lambda out: torch.zeros(24))


def test_random_copies_forget_everything_but_buffers(model):
    before = {name: p.clone() for name, p in model.state_dict().items()}
    new = randomised(model, 3)
    assert all((p != before[name]).any() for name, p in new.named_parameters() if p.numel() > 1)
    assert all(torch.equal(p, before[name]) for name, p in model.state_dict().items()), "the model itself changed"
    some = randomised(model, 3, ["posterior.heads.a"])
    changed = {name.rsplit(".", 1)[0] for name, p in some.named_parameters() if (p != before[name]).any()}
    assert changed == {"posterior.heads.a"}
    norm = nn.Sequential(nn.BatchNorm1d(3), AttentionPool(6))
    norm.register_buffer("loc", torch.ones(2))
    again = randomised(norm, 0)
    assert torch.equal(again.loc, norm.loc) and (again[1].query != norm[1].query).any(), "own parameters stay"
    assert torch.equal(again[1].query.sort().values, norm[1].query.sort().values), "their size changed"
    with pytest.raises(ValueError, match="no layer"):
        randomised(model, 0, ["nowhere"])


def test_random_copies_leave_the_callers_numbers_alone(model):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    randomised(model, 3)
    assert torch.equal(torch.rand(1), expected)


def test_shuffled_pairs_keep_each_view_and_lose_the_rest():
    new = shuffled_pairs(DATA, 1)
    for name in DATA:
        assert torch.equal(new[name].sort(0).values, DATA[name].sort(0).values)
    both = np.corrcoef(new["a"][:, 0], DATA["a"][:, 0])[0, 1], np.corrcoef(new["a"][:, 0], new["b"][:, 0])[0, 1]
    assert np.abs(both).max() < 0.15


# weights, labels, seeds, specificity --------------------------------------------------------------------------------


def test_weights_pass_for_what_was_learnt_and_fail_for_what_was_not(model, others):
    assert check_weights(model, ROWS, LATENT, gradient).passed
    check = check_weights(model, ROWS, LATENT, gradient, others, match=regressed)
    assert check.passed and 0.5 < check.value <= 1 and check.p < 0.01
    untrained = check_weights(made(9).eval(), ROWS, LATENT, gradient, others, match=regressed)
    assert not untrained.passed and untrained.value < 0.3


@pytest.mark.parametrize("name", BAD)
def test_weights_fail_for_explainers_that_do_not_look_at_the_model(model, others, name):
    assert not check_weights(model, ROWS, LATENT, BAD[name]()).passed
    assert not check_weights(model, ROWS, LATENT, BAD[name](), others).passed


def test_a_view_that_is_not_explained_by_the_weights_is_enough_to_fail(model, others):
    def half(*asked):
        return {"a": gradient(*asked)["a"], "b": edges(*asked)["b"]}

    check = check_weights(model, ROWS, LATENT, half, others)
    assert not check.passed and check.value == 0
    assert check_weights(model, ROWS, LATENT, only(half, "a"), others, match=regressed).passed


def test_a_cascade_falls_for_gradients_and_not_for_edges(model):
    fall = cascade(model, ROWS, LATENT, gradient)
    assert list(fall.columns) == ["a", "b"] and len(fall) == 5
    assert (fall.iloc[0] == 1).all() and (fall.iloc[-1] < 0.5).all()
    assert (cascade(model, ROWS, LATENT, edges) > 0.999).all(axis=None)


def test_labels_pass_only_where_the_pairing_made_the_map(model, others, shuffled):
    """Without anything shared, a direction of the latents tells of one view or of the other, not of both."""
    again = lambda seed, _: shuffled[seed]  # noqa: E731
    check = check_labels(model, ROWS, LATENT, gradient, again, DATA, others, match=regressed)
    assert check.passed and check.p == 1 / 20
    assert not check_labels(shuffled[0], ROWS, LATENT, gradient, again, DATA, [made(7).eval(), made(8).eval()]).passed
    for bad in (Noise(False), edges):
        assert not check_labels(model, ROWS, LATENT, bad, again, DATA, others).passed


def test_the_networks_of_the_labels_are_all_of_seeds_of_their_own():
    """Two learn from the rows as they are, the others from rows whose views were paired anew."""
    asked = []

    def again(seed, data):
        asked.append((seed, data is DATA))
        return made(seed).eval()

    check_labels(made(9).eval(), ROWS, LATENT, edges, again, DATA, draws=3)
    assert sorted(as_it_is for _, as_it_is in asked) == [False] * 3 + [True] * 2
    assert len({seed for seed, _ in asked}) == 5


def test_all_ways_of_calling_networks_retrained_are_gone_through_unless_they_are_too_many():
    """Of 12 there are 924 ways to call 6 so, one of which is how it is; of 14 there are 3432, and 999 are drawn."""
    alike, blind = np.linspace(0.5, 0.9, 7), np.linspace(0.0, 0.4, 7)
    assert len(_exchanged(alike[:6], blind[:6], 0)) == 923
    assert len(_exchanged(alike[:1], blind[:1], 0)) == 1
    drawn = _exchanged(alike, blind, 0)
    assert len(drawn) == 999 and drawn.mean() == pytest.approx(0, abs=0.05), "called so by chance, none is better"


def test_seeds_pass_where_training_anew_gives_the_same_map(model, others):
    check = check_stability(model, ROWS, LATENT, gradient, others)
    assert check.passed and check.value > 0.5 and len(check.null) == 6
    assert not check_stability(model, ROWS, LATENT, gradient, [made(7).eval(), made(8).eval()]).passed
    for name, bad in BAD.items():
        assert not check_stability(model, ROWS, LATENT, bad(), others).passed, name


def test_a_partner_is_found_whatever_the_order_and_the_sign(model):
    other = made(0)
    other.load_state_dict(model.state_dict())
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        for head in other.posterior.heads.values():
            for p in (head.weight, head.bias):
                mean = -p[:3][order]
                p.copy_(torch.cat([mean, p[3:][order]]))
    asked = assigned(model, other.eval(), ROWS, LATENT)
    torch.testing.assert_close(answers(other, ROWS, asked), answers(model, ROWS, LATENT))
    direction = lambda out: out.z["shared"] @ torch.tensor([0.6, -0.8, 0.0])  # noqa: E731
    assert assigned(model, other, ROWS, direction) is direction and latent_of(model, ROWS, direction) is None
    found = answers(other, ROWS, regressed(model, other, DATA, direction))
    assert np.corrcoef(found.detach(), answers(model, ROWS, direction).detach())[0, 1] > 0.99


def test_specificity_passes_only_where_latents_have_maps_of_their_own(model):
    check = check_specificity(model, ROWS, LATENT, gradient)
    assert check.passed and check.value > 0.5
    for name, bad in BAD.items():
        assert not check_specificity(model, ROWS, LATENT, bad()).passed, name
    logits = OneView(nn.Linear(4, 2))
    rows = Views({"x": torch.randn(20, 4)})
    with pytest.raises(ValueError, match="give rivals="):
        check_specificity(logits, rows, lambda out: out[:, 0], gradient)


def test_a_map_is_called_by_its_direction_however_much_the_rows_agree():
    """Maps of the first question go to either side of their mean, which is short; those of the second are all alike."""
    side = np.array([1.0, 1, -1, -1] * 2)
    first = np.stack([np.full(8, 0.5), side * 0.75**0.5, np.zeros(8)], 1)  # 60 degrees from their mean, and
    second = np.tile([0.5**0.5, 0, 0.5**0.5], (8, 1))  # 69 from the other, which is 1 long and not 0.5
    called = _called(np.stack([first, second], 1), np.random.default_rng(0))
    assert (called == [0, 1]).all()


@pytest.mark.parametrize("k", [2, 3, 5])
def test_names_inform_by_what_the_target_is_called_more_often_than_its_rivals(k):
    mine = np.zeros(6, int)
    assert _informed(np.tile(np.arange(k), (6, 1)), mine) == 1, "each map by its own name"
    assert _informed(np.zeros((6, k), int), mine) == 0, "whatever is called so, the target is too"
    assert _informed(np.tile([1, *[0] * (k - 1)], (6, 1)), mine) == -1, "all but the target are called so"
    one = _informed(np.tile([1, 0, *range(2, k)], (6, 1)), mine)
    assert one == pytest.approx(-1 / (k - 1)), "one rival of all is called so"


# completeness, deletion, robustness, traversal ----------------------------------------------------------------------


def quadratic(b: int = 16, c: int = 24, seed: int = 0) -> tuple[nn.Module, Views, Tensor]:
    """A model that looks at five neighbours of 24, in rows whose numbers all look alike."""
    x = torch.randn(b, c, generator=torch.Generator().manual_seed(seed))
    weight = torch.zeros(c)
    weight[4:9] = torch.tensor([1.0, -2.0, 3.0, 2.0, 1.0])
    net = nn.Linear(c, 1, bias=False)
    net.weight.data = weight[None]
    return OneView(net), Views({"x": x}), weight


def first(out: Tensor) -> Tensor:
    return out[:, 0]


def test_completeness_is_that_of_the_sums():
    model, views, _ = quadratic()
    at = {"x": torch.ones(24)}

    def shares(model, views, target):
        return {"x": gradient(model, views, target)["x"] * (views["x"] - 1)}

    check = check_completeness(model, views, first, shares, at)
    assert check.passed and check.value == pytest.approx(1, abs=1e-5) and check.floor == 0.95
    for bad in (gradient_times_input, gradient, Noise(True)):  # the first is measured against 0, not against 1
        assert not check_completeness(model, views, first, bad, at).passed
    with pytest.raises(ValueError, match="give the baseline"):
        check_completeness(model, views, first, shares)


@pytest.mark.parametrize("imputer", [imputers.Mean, imputers.Conditional])
def test_deletion_passes_for_what_the_model_uses(imputer):
    model, views, _ = quadratic()
    put = imputer.fit(quadratic(200, seed=1)[1])
    check = check_deletion(model, views, first, gradient_times_input, put)
    assert check.passed and check.value > 2 and check.name == f"deletion ({imputer.__name__.lower()})"

    def wrong(*asked):
        return {"x": 1 / (0.1 + gradient_times_input(*asked)["x"].abs())}

    assert check_deletion(model, views, first, wrong, put).value < -2
    assert not check_deletion(model, views, first, edges, put).passed


def test_deletion_sees_each_view_and_the_worst_decides(model):
    put = imputers.Mean.fit(DATA)
    assert check_deletion(model, ROWS, LATENT, gradient_times_input, put).passed

    def half(*asked):
        return {"a": gradient_times_input(*asked)["a"], "b": -Noise(False)(*asked)["b"]}

    check = check_deletion(model, ROWS, LATENT, half, put)
    assert not check.passed and "worst view: b" in check.note


def test_deletion_is_the_area_between_the_two_orders():
    """Two features, one of which is all: removed first, all is lost at once; removed last, nothing until the end."""
    net = nn.Linear(2, 1, bias=False)
    net.weight.data = torch.tensor([[1.0, 0.0]])
    views = Views({"x": torch.full((4, 2), 3.0)})
    seen = []

    def put(name, x, keep):
        seen.append(keep)
        return torch.where(keep, x, 0.0)

    right = lambda model, views, target: {"x": repeat(torch.tensor([2.0, 1.0]), "c -> b c", b=4)}  # noqa: E731
    check_deletion(OneView(net), views, first, right, put, fractions=(0.5,), draws=1)
    most, least = seen[0].chunk(2)
    assert (most == torch.tensor([False, True])).all() and (least == torch.tensor([True, False])).all()


def test_deletion_reads_a_batch_of_rows_at_once_and_finds_the_same():
    model, views, _ = quadratic(4)
    put, sizes = (lambda name, x, keep: x * keep), []
    hook = model.net.register_forward_hook(lambda _, x, __: sizes.append(len(x[0])))
    at_once = check_deletion(model, views, first, gradient_times_input, put)
    sizes.clear()
    in_parts = check_deletion(model, views, first, gradient_times_input, put, batch_rows=8)
    hook.remove()
    assert max(sizes) == 8
    assert in_parts.value == pytest.approx(at_once.value, rel=1e-4)


def test_smooth_maps_are_not_held_against_salt_and_pepper():
    """Against other orders of their pixels, smooth maps that mean nothing pass too often; rolled, as they should."""
    t = torch.linspace(0, 6.3, 24)
    net = nn.Linear(24, 1, bias=False)
    net.weight.data = (torch.sin(2 * t) + torch.cos(t))[None]
    model = OneView(nn.Sequential(nn.Flatten(), net))
    generator = torch.Generator().manual_seed(0)
    views = Views({"x": torch.cumsum(torch.randn(6, 1, 24, generator=generator), -1)})
    put = lambda name, x, keep: x * keep  # noqa: E731

    def shuffled(maps, generator):
        return maps[..., torch.randperm(24, generator=generator)]

    def passes(surrogate) -> float:
        found = []
        for seed in range(60):
            at = 24 * torch.rand(1, generator=torch.Generator().manual_seed(seed))
            bump = torch.exp(-0.5 * (((torch.arange(24) - at + 12) % 24 - 12) / 3) ** 2)
            smooth = lambda *_, bump=bump: {"x": bump.expand(6, 1, 24)}  # noqa: E731
            each = {"x": torch.arange(24)[None]}
            check = check_deletion(model, views, first, smooth, put, each, surrogate=surrogate, draws=19, seed=seed)
            found.append(check.p <= 0.1)
        return float(np.mean(found))

    assert passes(shuffled) > 0.2
    assert passes(rolled) < 0.2


def test_robustness_is_lost_by_maps_that_jump():
    model, views, _ = quadratic()
    assert check_robustness(model, views, first, gradient_times_input).value > 0.9
    assert not check_robustness(model, views, first, Noise(True)).passed

    def jumpy(model, views, target):
        return {"x": torch.sin(500 * views["x"])}

    assert not check_robustness(model, views, first, jumpy).passed


def test_noise_is_a_part_of_each_element_s_spread_over_the_rows():
    x = torch.tensor([0.0, 1.0, 1000.0]) * torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) + 7
    noise = _noise(x, 0.02, torch.Generator().manual_seed(0))
    most = noise.abs().amax(0) / torch.tensor([1.0, 1.0, 1000.0])
    assert most[0] == 0, "what never varies does not move"
    torch.testing.assert_close(most[1:], torch.full((2,), 0.02), rtol=0.1, atol=0)
    alone = _noise(torch.tensor([[0.0, 10.0]]), 0.02, torch.Generator().manual_seed(0))
    assert alone.isfinite().all() and (alone != 0).all(), "of a single row, its own numbers are the spread"
    assert alone.abs().max() <= 0.02 * 50**0.5


def test_traversal_passes_for_a_latent_that_is_decoded_and_found_again(model):
    check = check_traversal(model, ROWS, LATENT, data=DATA)
    assert check.passed, check.note
    assert not check_traversal(made(3).eval(), ROWS, LATENT, data=DATA).passed
    assert not check_traversal(model, ROWS, LATENT, step=8.0, data=DATA).passed, "far from all data"


class Same(nn.Module):
    """A row is its own code, and is decoded as it is."""

    def encode(self, views):
        return {"shared": Delta(views["x"])}

    def decode(self, z, context=None):
        return {"x": Delta(z["shared"])}

    def forward(self, views: Views) -> Outputs:
        return Outputs(self.encode(views), {"shared": views["x"]}, {})


def test_a_latent_that_is_decoded_as_it_was_moved_leaves_every_margin_whole():
    generator = torch.Generator().manual_seed(0)
    inner, data = (Views({"x": sd * torch.randn(100, 2, generator=generator)}) for sd in (0.1, 3.0))
    check = check_traversal(Same(), inner, LATENT, data=data)
    assert check.value == pytest.approx(1, abs=1e-5) and "100% of the codes where others are" in check.note
    far = check_traversal(Same(), inner, LATENT, step=100.0, data=data)
    assert far.value == pytest.approx(1 - 1 / 0.05) and not far.passed, "all of the codes are outside"


# chance ---------------------------------------------------------------------------------------------------------------


def net(seed: int) -> OneView:
    torch.manual_seed(seed)
    return OneView(nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 2)))


def share(ps: list[float], level: float) -> float:
    return float(np.mean(np.array(ps) <= level))


def test_p_values_of_weights_are_those_of_chance_when_nothing_was_learnt():
    """An untrained network among untrained networks: p is uniform, with and without others to compare with."""
    views = Views({"x": torch.randn(5, 8, generator=torch.Generator().manual_seed(0))})
    alone, beside = [], []
    for i in range(100):
        models = [net(100 * i + j) for j in range(3)]
        alone.append(check_weights(models[0], views, first, gradient, draws=9, seed=7 * i).p)
        beside.append(check_weights(models[0], views, first, gradient, models[1:], draws=5, seed=7 * i).p)
    for ps in (alone, beside):
        assert share(ps, 0.05) < 0.12 and share(ps, 0.2) == pytest.approx(0.2, abs=0.12)
        assert share(ps, 0.5) == pytest.approx(0.5, abs=0.15)


def test_p_values_of_deletion_and_specificity_are_those_of_chance_for_noise():
    model, views, _ = quadratic(8)
    put = lambda name, x, keep: x * keep  # noqa: E731
    questions = [lambda out: out[:, 0], lambda out: out[:, 0] + 0, lambda out: 1 * out[:, 0]]
    deletion, specificity = [], []
    for seed in range(100):
        noise = Noise(True, seed)
        deletion.append(check_deletion(model, views, first, noise, put, fractions=(0.3,), seed=seed).p)
        args = (model, views, questions[0], noise, questions[1:])
        specificity.append(check_specificity(*args, draws=99, seed=seed).p)
    for ps in (deletion, specificity):
        assert share(ps, 0.05) < 0.12 and share(ps, 0.2) == pytest.approx(0.2, abs=0.12)


# the verdict ----------------------------------------------------------------------------------------------------------


def test_a_check_says_where_its_bar_is():
    assert Check("a", 0.5, bar=0.95).floor == 0.95 and "the bar 0.95" in repr(Check("a", 0.5, bar=0.95))
    assert np.isnan(Check("a", 0.5).floor) and np.isnan(Check("a", 0.5).p)


def test_the_verdict_corrects_for_the_number_of_checks():
    fine = Check("fine", 9.0, np.arange(9.0) / 10, True)  # p = 0.1, whatever was drawn
    many = Check("many", 0.97, np.linspace(0, 1, 999), True)  # p = 0.03, with draws enough
    good = Check("good", 9.0, np.linspace(0, 1, 999), True)
    assert verdict([many]) == "Nothing speaks against it: it passed many (1 check)."
    assert verdict([good, many]).endswith("(2 checks).")
    assert "but many and more could be chance among so many" in verdict([many, Check("more", 0.96, many.null, True)])
    assert "fine was drawn too few times" in verdict([good, fine])
    assert "failed bad (1 of 3 checks)" in verdict([good, many, Check("bad", 0.0)])


def test_nothing_is_won_by_a_rounding_error():
    assert not _passing(Check("tie", 1.0, np.full(2, 1 - 1e-15))).passed
    assert _passing(Check("ahead", 1.0, np.full(2, 0.99))).passed
