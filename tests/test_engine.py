"""All quantities at once: equal to captum, to the whole model, and to what is known of Shapley values."""

from __future__ import annotations

import pytest
import torch
from captum import attr
from torch import nn

import ivekit as ive
from ivekit import explain
from ivekit import nn as parts
from ivekit.explain import imputers
from ivekit.explain.shapley import antithetic
from ivekit.models import MultimodalVAE, Outputs
from ivekit.views import Views

SHAPES = {"meg": (4, 8), "video": (1, 2, 8, 8), "table": (3,)}


@pytest.fixture(scope="module")
def views() -> Views:
    random = torch.Generator().manual_seed(0)
    tensors = {name: 1 + torch.randn(3, *shape, generator=random) for name, shape in SHAPES.items()}
    return Views(
        tensors, {"video": torch.tensor([True, True, False]), "table": torch.rand(3, 3, generator=random) > 0.3}
    )


@pytest.fixture(scope="module")
def model(views) -> MultimodalVAE:
    torch.manual_seed(0)
    encoders = {
        "meg": parts.SensorBasis(4, 8, 8, n_filters=3, n_basis=4, width=8),
        "video": nn.Sequential(nn.AvgPool3d((1, 2, 2)), parts.FrameConv((1, 2, 4, 4), 8, (4,))),
        "table": parts.MLPEncoder(3, 8),
    }
    return MultimodalVAE(
        encoders,
        parts.ProductOfExperts(list(encoders), 8, 2),
        {n: parts.Gaussian(parts.MLPDecoder(3, shape)) for n, shape in SHAPES.items()},
        private={n: parts.ProductOfExperts([n], 8, 1) for n in encoders},
        standardise=ive.Standardise.fit(views, meg=ive.Whiten(2), video=ive.ZScore(), table=ive.ZScore()),
    ).eval()


class Whole(nn.Module):
    """The same model, seen as one that mixes its views from the start."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.inner, self.standardise = model, model.standardise

    def forward(self, views: Views) -> Outputs:
        return self.inner(views)


def close(a, b, rtol=1e-4):
    assert set(a) == set(b)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=rtol, atol=1e-6)


ENGINES = {
    "ablation": explain.ablation, "occlusion": explain.occlusion, "shapley": explain.shapley,
    "integrated_gradients": explain.integrated_gradients,
}  # fmt: skip


@pytest.mark.parametrize("name", ENGINES)
def test_a_view_encoded_alone_is_the_whole_model_run_again(name, model, views):
    a = explain.attribute_latents(model, views, ENGINES[name])
    b = explain.attribute_latents(Whole(model), views, ENGINES[name])
    assert a.latents == tuple([("shared", 0), ("shared", 1), ("meg", 0), ("video", 0), ("table", 0)]) == b.latents
    assert {n: x.shape for n, x in a.items()} == {n: (3, 5, *shape) for n, shape in SHAPES.items()}
    close(a, b)
    assert (a["meg"][:, 3] == 0).all(), "what is private to the film does not look at the MEG"
    assert (a["video"][2] == 0).all() and (a["table"][:, 0][~views.present["table"]] == 0).all()


@pytest.mark.parametrize("name", ENGINES)
def test_memory_changes_nothing(name, model, views):
    close(ENGINES[name](model, views, shared), ENGINES[name](model, views, shared, megabytes=1e-4))


def shared(out: Outputs) -> torch.Tensor:
    return out.z["shared"]


def test_ablation_is_captum_s(model, views):
    ours = explain.attribute_latents(model, views, explain.ablation)
    close(ours, explain.attribute_latents(model, views, attr.FeatureAblation))


def test_occlusion_is_captum_s_where_windows_overlap_and_stand_out(model, views):
    windows = {"meg": (3, 3), "video": (1, 1, 3, 3), "table": (2,)}
    strides = {"meg": (2, 2), "video": (1, 1, 2, 2), "table": (1,)}
    ours = explain.attribute_latents(model, views, explain.occlusion, windows=windows, strides=strides)
    said = dict(sliding_window_shapes=tuple(windows.values()), strides=tuple(strides.values()))
    close(ours, explain.attribute_latents(model, views, attr.Occlusion, **said))


@pytest.mark.parametrize(("window", "stride"), [((2, 1), (1,)), ((2,), (1, 1)), ((0,), (1,)), ((2,), (0,))])
def test_a_window_has_a_size_and_a_step_along_each_axis_of_a_row(window, stride):
    views = Views({"table": torch.zeros(2, 3)})
    with pytest.raises(ValueError, match=r"does not fit rows of shape \(3,\)"):
        explain.occlusion(nn.Identity(), views, lambda out: out["table"][:, 0], {"table": window}, {"table": stride})


def test_gradients_are_captum_s(model, views):
    ours = explain.attribute_latents(model, views, n_steps=7)
    close(ours, explain.attribute_latents(model, views, attr.IntegratedGradients, n_steps=7))


def test_shapley_values_on_captum_s_orders_are_captum_s(model, views):
    groups = explain.groups(views, most=6)
    n = sum(int(of.max()) + 1 for of in groups.values())
    torch.manual_seed(3)
    orders = torch.stack([torch.randperm(n) for _ in range(4)])
    ours = explain.attribute_latents(model, views, explain.shapley, groups=groups, orders=orders)
    settings = dict(groups=groups, n_samples=4, seed=3)
    close(ours, explain.attribute_latents(model, views, attr.ShapleyValueSampling, **settings))


def test_orders_that_are_not_given_are_drawn_in_opposite_pairs_the_same_each_time(model, views):
    groups = explain.groups(views, most=3)
    orders = antithetic(sum(int(of.max()) + 1 for of in groups.values()), 4)
    assert orders[1::2].equal(orders[::2].flip(1)) and not orders[0].equal(orders[2])
    given = explain.shapley(model, views, shared, groups, orders=orders)
    close(explain.shapley(model, views, shared, groups, samples=4), given)


def test_all_orders_give_the_exact_values(model, views):
    from itertools import permutations

    groups = {name: torch.zeros(shape, dtype=torch.int64) for name, shape in SHAPES.items()}
    orders = torch.tensor(list(permutations(range(3))))
    ours = explain.shapley(model, views, shared, groups, orders=orders)
    theirs = explain.attribute(model, views, lambda out: out.z["shared"][:, 1], attr.ShapleyValues, groups=groups)
    close({name: x[:, 1] for name, x in ours.items()}, theirs)


def test_a_row_s_shapley_values_sum_to_its_change(model, views):
    groups = explain.groups(views, most=6)
    said = explain.shapley(model, views, shared, groups, samples=3)
    assert float(said.completeness.max()) < 1e-5
    plain = explain.shapley(Whole(model), views, shared, groups, imputers.Conditional.fit(views), samples=3)
    assert float(plain.completeness.max()) < 1e-5


def test_a_latent_is_explained_without_decoding(model, views):
    calls = []
    hook = model.decoders["video"].register_forward_hook(lambda *_: calls.append(1))
    explain.ablation(model, views, shared)
    assert not calls
    explain.ablation(model, views, lambda out: out.p["table"].mean)
    assert not calls, "and another view's decoder is not asked"
    explain.ablation(model, views, lambda out: out.p["video"].mean.flatten(1)[:, 0])
    hook.remove()
    assert calls


def test_only_the_view_that_is_touched_is_encoded(model, views):
    rows = {name: 0 for name in views}
    hooks = [
        encoder.register_forward_hook(lambda _, x, __, name=name: rows.__setitem__(name, rows[name] + len(x[0])))
        for name, encoder in model.encoders.items()
    ]
    explain.ablation(
        model, views, shared, {n: torch.arange(x[0].numel()).reshape(x.shape[1:]) for n, x in views.items()}
    )
    for hook in hooks:
        hook.remove()
    assert rows == {name: 3 * (1 + x[0].numel()) for name, x in views.items()}


def test_bytes_can_be_removed_but_have_no_gradient():
    torch.manual_seed(0)
    text = torch.tensor([[104, 105, 33], [104, 104, 0]])
    views = Views({"text": text}, {"text": text > 0})
    model = ive.Conditional({"text": parts.TextEncoder(8, heads=2)}, {"y": parts.Gaussian(parts.MLPDecoder(8, 2))})
    said = explain.ablation(model, views, shared, imputer=imputers.Mean.fit(views))
    assert said["text"].shape == (2, 8, 3) and said["text"][0, :, 1].abs().min() > 0
    assert (said["text"][0, :, 0] == 0).all(), "an h that becomes the most frequent byte, h"
    with pytest.raises(ValueError, match="has no gradient"):
        explain.integrated_gradients(model, views, shared)


def test_an_encoder_that_says_its_parts_is_split_where_it_says(model, views):
    """`SensorBasis` begins with what is affine; so do standardising and pooling before a film's encoder."""
    standardised = model.standardise(views)
    for name in ("meg", "video"):
        half = explain.engine.split(model, name)
        x = views[name][:2]  # the third film is missing
        torch.testing.assert_close(half.after(half.affine(x)), model.encoders[name](standardised[name][:2]))
        (one, other), middle = half.affine(x), half.affine(x.mean(0, keepdim=True))[0]
        torch.testing.assert_close(one + other, 2 * middle, rtol=1e-4, atol=1e-4)
    meg = explain.engine.split(model, "meg").affine(views["meg"])
    torch.testing.assert_close(meg, model.encoders["meg"].affine(standardised["meg"]))


def test_only_whole_rows_of_numbers_are_read_in_halves(model, views):
    reader = explain.engine.Reader(model, views, shared)
    assert set(reader.halves) == {"meg", "video"}, "the table has holes within its rows"
    assert not explain.engine.Reader(Whole(model), views, shared).halves


def test_parts_hold_as_many_bytes_as_they_may_and_one_thing_at_least():
    said = lambda n, each, bytes_: [len(part) for part in explain.engine.in_parts(n, each, bytes_ / 1e6)]  # noqa: E731
    assert said(5, 1, 2) == [2, 2, 1] and said(5, 2, 4) == [2, 2, 1]
    assert said(3, 9, 4) == [1, 1, 1] and said(3, 0, 4) == [3] and said(0, 1, 4) == []


# what takes the place of what is removed ---------------------------------------------------------------------------


def test_the_conditional_mean_is_the_regression_on_what_is_kept():
    random = torch.Generator().manual_seed(0)
    mixing = torch.randn(5, 5, generator=random)
    x = torch.einsum("cd,bdt->bct", mixing, torch.randn(400, 5, 6, generator=random)) + 3
    given = imputers.Conditional.fit(Views({"meg": x}), shrink=1e-6)
    keep = torch.ones(400, 5, 6, dtype=torch.bool)
    keep[:, 1:3, 2:4] = False
    keep[:, :, 5] = False
    out = given("meg", x, keep)
    centred = (x - x.mean(0)).double()
    flat = centred.movedim(1, 2).reshape(-1, 5)
    weights = torch.linalg.lstsq(flat[:, [0, 3, 4]], flat[:, 1:3]).solution
    wanted = torch.einsum("bkt,kd->bdt", centred[:, [0, 3, 4], 2:4], weights) + x.mean(0)[1:3, 2:4]
    torch.testing.assert_close(out[:, 1:3, 2:4], wanted.float(), rtol=1e-3, atol=1e-3)
    assert torch.equal(out[keep], x[keep])
    torch.testing.assert_close(out[:, :, 5], x.mean(0)[:, 5].expand(400, 5))


def test_the_pixels_of_a_frame_tell_of_each_other():
    random = torch.Generator().manual_seed(0)
    film = torch.randn(50, 1, 3, 1, 1, generator=random).expand(50, 1, 3, 4, 4).clone()
    given = imputers.Conditional.fit(Views({"film": film}), shrink=1e-4)
    keep = torch.ones_like(film, dtype=torch.bool)
    keep[..., 1:3, 1:3] = False
    torch.testing.assert_close(given("film", film, keep), film, rtol=1e-2, atol=1e-2)


def test_another_trial_is_put_in_row_for_row(model, views):
    other = Views({name: x.flip(0) for name, x in views.items()})
    a = explain.ablation(model, views, shared, imputer=other)
    b = [explain.ablation(model, views[i : i + 1], shared, imputer=other[i : i + 1]) for i in range(3)]
    close(a, {name: torch.cat([one[name] for one in b]) for name in a})
    assert a.baseline == "another trial"


def test_too_many_numbers_to_hold_their_covariance():
    with pytest.raises(ValueError, match="2500 numbers, 2048 at most"):
        imputers.Conditional.fit(Views({"film": torch.zeros(2, 1, 2, 50, 50)}))


# groups ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(306, 600), (3, 30, 64, 64), (500,), (), (1, 100), (7, 9, 11)])
def test_groups_are_few_and_numbered_without_gaps(shape):
    of = explain.groups(Views({"x": torch.zeros(2, *shape)}))["x"]
    assert of.shape == shape
    assert sorted(of.unique().tolist()) == list(range(int(of.max()) + 1)) and int(of.max()) < 200


def test_sensors_of_a_group_are_neighbours():
    import numpy as np

    grid = (
        np.stack(np.meshgrid(range(8), range(8)), -1)
        .reshape(64, 2)[np.random.default_rng(0).permutation(64)]
        .astype(float)
    )
    about = ive.Sensors([f"S{i}" for i in range(64)], grid, ["mag"] * 64, 100.0)
    of = explain.groups(Views({"meg": torch.zeros(2, 64, 5)}, about={"meg": about}), meg=(4, 5))["meg"][:, 0]
    spans = [np.ptp(grid[(of == i).numpy()], axis=0).max() for i in range(16)]
    assert max(spans) == 1, "squares of 2 x 2"


def test_blocks_that_do_not_fit_are_refused():
    views = Views({"x": torch.zeros(2, 4, 5)})
    with pytest.raises(ValueError, match="does not fit rows of shape"):
        explain.groups(views, x=(2,))
    with pytest.raises(ValueError, match="blocks are given for"):
        explain.groups(views, y=(2,))
