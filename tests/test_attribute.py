"""Attributions: every method of captum on every system, what is missing, baselines, seeds, and models of others."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import pytest
import torch
from captum import attr
from torch import nn

import ivekit as ive
from ivekit import explain
from ivekit import nn as parts
from ivekit.models import MultimodalVAE, Outputs
from ivekit.recipe import Recipe
from ivekit.views import Views

# what takes no views, or gives no number for their elements
ABSTRACT = {"Attribution", "GradientAttribution", "PerturbationAttribution", "NeuronAttribution", "LayerAttribution"}
OTHER_INPUTS = {"DataLoaderAttribution", "LimeBase", "LLMAttribution", "LLMGradientAttribution", "RemoteLLMAttribution"}
KINDS = {name: kind for name in attr.__all__ if inspect.isclass(kind := getattr(attr, name))}
METHODS = {name: kind for name, kind in KINDS.items() if issubclass(kind, attr.Attribution)}
LAYERS = [name for name, kind in METHODS.items() if issubclass(kind, attr.LayerAttribution) and name not in ABSTRACT]
APPLY = [name for name in METHODS if name not in {*ABSTRACT, *OTHER_INPUTS, *LAYERS}]
NEURONS = [name for name in APPLY if issubclass(METHODS[name], attr.NeuronAttribution)]
PLAIN = [name for name in APPLY if name not in {*NEURONS, "GuidedGradCam", "LRP"}]


class Picture(nn.Module):
    """A small convolutional encoder of single-frame films; of layers that every method knows."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv, self.relu, self.out = nn.Conv3d(1, 2, 3, padding=1), nn.ReLU(), nn.Linear(64, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.relu(self.conv(x)).flatten(1))[:, None]


@pytest.fixture(scope="module")
def views() -> Views:
    random = torch.Generator().manual_seed(0)
    shapes = {"meg": (3, 8), "video": (1, 2, 4, 4), "table": (2,)}
    tensors = {name: 1 + torch.randn(3, *shape, generator=random) for name, shape in shapes.items()}
    return Views(tensors, {"video": torch.tensor([True, False, True])})


@pytest.fixture(scope="module")
def model(views) -> MultimodalVAE:
    torch.manual_seed(0)
    encoders = {"meg": parts.ResNet1d(3, 8), "video": Picture(8), "table": parts.MLPEncoder(2, 8)}
    decoders = {n: parts.Gaussian(parts.MLPDecoder(4, tuple(x.shape[1:]))) for n, x in views.items()}
    return MultimodalVAE(
        encoders,
        parts.ProductOfExperts(list(encoders), 8, 2),
        decoders,
        private={n: parts.ProductOfExperts([n], 8, 2) for n in encoders},
        standardise=ive.Standardise.fit(views, **{n: ive.ZScore() for n in encoders}),
    ).eval()


def latent(out: Outputs) -> torch.Tensor:
    return out.z["shared"][:, 0]


def settings(name: str, model: Any) -> dict[str, Any]:
    more: dict[str, Any] = {"layer": model.encoders["video"].conv} if name in {*NEURONS, "GuidedGradCam"} else {}
    return more | ({"neuron_selector": (0, 1, 1, 1)} if name in NEURONS else {})


# every method of captum --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in APPLY if name != "LRP"])
def test_a_method_explains_every_view_in_its_shape(name, model, views):
    said = explain.attribute(model, views, latent, METHODS[name], **settings(name, model))
    assert {n: x.shape for n, x in said.items()} == {n: x.shape for n, x in views.items()}
    assert all(x.isfinite().all() for x in said.values())
    assert (said["video"][1] == 0).all(), "this film is missing"
    seen = ["video"] if settings(name, model) else list(views)
    assert all((said[n].abs().sum() > 0) == (n in seen) for n in views) or name == "NeuronConductance"
    assert name in repr(said) and not model.training
    again = explain.attribute(model, views, latent, METHODS[name], **settings(name, model))
    assert all(torch.equal(said[n], again[n]) for n in views), "the same seed, the same numbers"


def direct(model, views) -> tuple[Any, tuple, tuple, tuple]:
    """Our inputs for captum itself: a function, inputs, baselines, features of one element each."""

    def f(*x: torch.Tensor) -> torch.Tensor:
        return latent(model(Views(dict(zip(views, x))))) + sum(0 * v.flatten(1).sum(1) for v in x)

    inputs, base = tuple(views.tensors.values()), explain.training_mean(model, views)
    first, masks = 0, []
    for x in inputs:
        masks.append(first + torch.arange(x[0].numel()).reshape(1, *x.shape[1:]))
        first += x[0].numel()
    return f, inputs, tuple(base[n][None].expand_as(x) for n, x in views.items()), tuple(masks)


WINDOWS = dict(sliding_window_shapes=((2, 3), (1, 1, 2, 2), (1,)), strides=((1, 2), (1, 1, 1, 1), (1,)))
DIRECT: dict[str, dict[str, Any]] = {
    "IntegratedGradients": dict(baselines=True), "InputXGradient": {}, "Saliency": {}, "DeepLift": dict(baselines=True),
    "FeatureAblation": dict(baselines=True, feature_mask=True), "Occlusion": dict(baselines=True, **WINDOWS),
    "ShapleyValueSampling": dict(baselines=True, feature_mask=True, n_samples=2),
    "KernelShap": dict(baselines=True, feature_mask=True, n_samples=120),
    "FeaturePermutation": dict(feature_mask=True, perturbations_per_eval=1),
}  # fmt: skip


@pytest.mark.parametrize("name", DIRECT)
def test_it_is_what_captum_says_when_called_directly(name, model, views):
    whole = Views(views.tensors)
    f, inputs, baselines, masks = direct(model, whole)
    given = dict(DIRECT[name]) | ({"baselines": baselines} if "baselines" in DIRECT[name] else {})
    given |= {"feature_mask": masks} if "feature_mask" in given else {}
    made = METHODS[name](wrapped(f, model) if name == "DeepLift" else f)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum's own: what it hooks, and that inputs get gradients
        theirs = made.attribute(inputs, **given)
    kept = {k: v for k, v in given.items() if k not in ("baselines", "feature_mask")}
    ours = explain.attribute(model, whole, latent, METHODS[name], **kept)
    for mine, other in zip(ours.values(), theirs):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6, check_dtype=False)


def wrapped(f: Any, model: nn.Module) -> nn.Module:
    """A function as the module that some methods want, so that they find the modules inside."""
    module = nn.Module()
    module.model, module.forward = model, f
    return module


@pytest.mark.parametrize("name", LAYERS)
def test_a_method_of_layers_is_refused(name, model, views):
    with pytest.raises(ValueError, match="explains a layer, not the views"):
        explain.attribute(model, views, latent, METHODS[name])


@pytest.mark.parametrize("name", sorted(OTHER_INPUTS & set(METHODS) | {"Attribution"}))
def test_a_method_that_is_not_of_one_function_is_refused(name, model, views):
    with pytest.raises(ValueError, match="not made of a function alone|no way to attribute"):
        explain.attribute(model, views, latent, METHODS[name])


def test_lrp_names_the_module_that_it_has_no_rule_for(model, views):
    with pytest.raises(ValueError, match=r"LRP refuses this model: Module of type .*Conv1d"):
        explain.attribute(model, views, latent, attr.LRP)


# each system -------------------------------------------------------------------------------------------------------

SYSTEMS: dict[str, dict[str, Any]] = {
    "mimo_ae": dict(n_subjects=3, n_windows=2, dim=8, latent=64),
    "lipid_cvae": dict(n_lipids=10, n_points=3, n_sections=8, dim=8, latent=3),
    "modal_merge": dict(n_rows=6, source="image+text", target="table", dim=8, heads=2, width=4, depth=1),
    "meg_decoding": dict(array="neuromag102", n_trials=4, n_subjects=3, encoder="eegnet", members=1, dim=8),
}
TARGETS = {
    "mimo_ae": lambda out: out.z["shared"][:, 0],
    "lipid_cvae": lambda out: out.p["lipids"].mean.mean(1),
    "modal_merge": lambda out: out.p["table"].mean[:, 0],
    "meg_decoding": lambda out: out.p["label"].mean[:, 0].log(),
}


@pytest.fixture(scope="module")
def systems() -> dict[str, tuple[nn.Module, Views]]:
    made = {}
    for name, chosen in SYSTEMS.items():
        recipe = Recipe(name, {**chosen, "seed": 0, "device": "cpu"})
        data = recipe.data()
        data = getattr(data, "views", data)
        torch.manual_seed(0)
        train = data if data.metadata is None else data[(data.metadata["split"] == "train").to_numpy()]
        made[name] = recipe.model(train), train[:2]
    return made


@pytest.mark.parametrize("method", PLAIN)
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_method_explains_each_system(system, method, systems):
    model, views = systems[system]
    few = {"n_samples": 20} if method in ("Lime", "KernelShap") else {"n_samples": 1}
    more = few if "n_samples" in inspect.signature(METHODS[method].attribute).parameters else {}
    more |= {"n_steps": 4} if method == "IntegratedGradients" else {}
    if "feature_mask" in inspect.signature(METHODS[method].attribute).parameters and method != "ShapleyValues":
        more["groups"] = explain.groups(views, most=3)
    said = explain.attribute(model, views, TARGETS[system], METHODS[method], **more)
    assert {n: x.shape for n, x in said.items()} == {n: views[n].shape for n in model.encoders}
    assert all(x.isfinite().all() for x in said.values())
    assert any(x.abs().sum() > 0 for x in said.values())
    for n, x in said.items():
        assert (x[~explain.imputers.there(views, n)] == 0).all()


# what is asked, and of which rows ----------------------------------------------------------------------------------


class Linear(nn.Module):
    """Views to one latent, by known weights: every answer is known."""

    def forward(self, views: Views) -> Outputs:
        z = 2 * views["a"].sum(1) + views["b"].sum((1, 2))
        return Outputs({}, {"shared": torch.stack([z, z.square()], 1)}, {})


@pytest.fixture
def pair() -> Views:
    return Views({"a": torch.ones(4, 3), "b": torch.arange(8.0).reshape(4, 1, 2), "label": torch.arange(4)})


def test_baselines_are_what_they_are_called(pair):
    other = Views({"a": torch.full((4, 3), 0.5), "b": pair["b"]})
    ask = lambda **more: explain.attribute(Linear(), pair, lambda out: out.z["shared"][:, 0], **more)  # noqa: E731
    assert "label" not in ask() and "0 of a, b, never standardised" in ask().baseline
    torch.testing.assert_close(ask(baseline=explain.zeros)["b"], pair["b"])
    said = ask(baseline=other)
    torch.testing.assert_close(said["a"], torch.ones(4, 3))
    assert said["b"].abs().max() == 0 and said.baseline == "another trial"
    given = ask(baseline={"a": torch.full((3,), -1.0), "b": torch.zeros(1, 2)})
    torch.testing.assert_close(given["a"], torch.full((4, 3), 4.0))
    assert float(given.completeness.max()) < 1e-5 and given.baseline == "as given"


def test_the_training_mean_is_what_standardising_maps_to_nought(model, views):
    mean = Views({name: x[None] for name, x in explain.training_mean(model, views).items()})
    assert all(x.abs().max() < 1e-5 for x in model.standardise(mean).tensors.values())


def test_rows_explained_in_parts_are_the_rows_explained_at_once(model, views):
    at_once = explain.attribute(model, views, latent, batch_rows=500)
    in_parts = explain.attribute(model, views, latent, batch_rows=2)
    for name in views:
        torch.testing.assert_close(in_parts[name], at_once[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("n_groups", [1, 3])
def test_lime_draws_fifty_samples_and_two_for_each_group(n_groups):
    net, rows = Wrapped(nn.Identity()), []
    net.register_forward_hook(lambda _, x, __: rows.append(len(x[0])))
    groups = {"a": torch.arange(3).clamp(max=n_groups - 1)}
    row = Views({"a": torch.ones(1, 3)})
    explain.attribute(net, row, lambda out: out.z["said"].sum(1), attr.Lime, groups=groups)
    assert sum(rows) == 1 + 50 + 2 * n_groups, "and the row itself, by which model and target are tried"


def test_no_rows_are_nothing_to_explain(pair):
    for method in (attr.IntegratedGradients, attr.FeatureAblation, attr.GradientShap):
        with pytest.raises(ValueError, match="there are no rows to explain"):
            explain.attribute(Linear(), pair[:0], lambda out: out.z["shared"][:, 0], method)


def test_a_target_with_two_parameters_is_given_the_rows_explained(pair):
    def error(out: Outputs, rows: Views) -> torch.Tensor:
        return (out.z["shared"][:, 0] - rows["label"]).square()

    said = explain.attribute(Linear(), pair, error, attr.Saliency, abs=False)
    z = 2 * pair["a"].sum(1) + pair["b"].sum((1, 2))
    torch.testing.assert_close(said["a"], 4 * (z - pair["label"])[:, None].expand(4, 3))


def test_what_is_missing_may_hold_anything(model, views):
    video = views["video"].clone()
    video[1] = torch.nan
    for method in (attr.IntegratedGradients, attr.FeatureAblation, partial_tunnel):
        a, b = (explain.attribute(model, v, latent, method) for v in (views, views.replace(video=video)))
        assert all(torch.equal(a[name], b[name]) for name in views)


def partial_tunnel(f: Any) -> Any:
    return attr.NoiseTunnel(attr.IntegratedGradients(f))


def test_bytes_are_explained_at_their_embedding():
    torch.manual_seed(0)
    text = torch.tensor([[104, 105, 33, 0], [104, 0, 0, 0]])
    views = Views({"text": text}, {"text": text > 0})
    model = ive.Conditional({"text": parts.TextEncoder(8, heads=2)}, {"y": parts.Gaussian(parts.MLPDecoder(8, 2))})
    said = explain.attribute(model, views, lambda out: out.z["shared"][:, 0])
    assert said["text"].shape == (2, 4) and (said["text"][text == 0] == 0).all()
    assert said["text"][text > 0].abs().min() > 0
    assert float(said.completeness.max()) < 0.02


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (dict(baseline={"a": torch.zeros(3)}), r"the baseline lacks \['b'\]"),
        (dict(baseline={"a": torch.zeros(3, 3), "b": torch.zeros(1, 1, 2)}), "the baseline of 'a'"),
        (dict(baselines=0), "given as baseline="),
        (dict(batch_rows=0), "batch_rows is 0"),
        (dict(groups={}), "knows no groups of features"),
        (dict(method=attr.NeuronGradient), "looks at a layer: give layer="),
    ],
)
def test_what_cannot_be_is_said(pair, more, message):
    with pytest.raises(ValueError, match=message):
        explain.attribute(Linear(), pair, lambda out: out.z["shared"][:, 0], **more)


def test_a_target_of_several_numbers_is_sent_where_they_are_taken(pair):
    with pytest.raises(ValueError, match="attribute_latents"):
        explain.attribute(Linear(), pair, lambda out: out.z["shared"])


# models of others --------------------------------------------------------------------------------------------------


class EEGNetLike(nn.Module):
    """A convolutional classifier of EEG, as others build them."""

    def __init__(self):
        super().__init__()
        self.time, self.space = nn.Conv2d(1, 4, (1, 5), padding="same"), nn.Conv2d(4, 4, (6, 1))
        self.out = nn.Linear(4 * 5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.space(self.time(x[:, None])))
        return self.out(nn.functional.avg_pool2d(h, (1, 4)).flatten(1))


class TwoPictures(nn.Module):
    """A network of two inputs, as others build them."""

    def __init__(self):
        super().__init__()
        self.left, self.right = (nn.Conv2d(1, 3, 3, padding=1) for _ in range(2))
        self.out = nn.Linear(2 * 3 * 16, 1)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return self.out(torch.cat([torch.relu(self.left(left)), torch.relu(self.right(right))], 1).flatten(1))


class Wrapped(nn.Module):
    """Any network as a model: five lines."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, views: Views) -> Outputs:
        return Outputs({}, {"said": self.net(*(x for x in views.tensors.values()))}, {})


OTHERS = {"eegnet": (EEGNetLike, {"eeg": (6, 20)}), "pictures": (TwoPictures, {"left": (1, 4, 4), "right": (1, 4, 4)})}


@pytest.mark.parametrize("method", ["IntegratedGradients", "DeepLift", "FeatureAblation", "GradientShap", "ours"])
@pytest.mark.parametrize("name", OTHERS)
def test_models_of_others_are_explained(name, method):
    torch.manual_seed(0)
    kind, shapes = OTHERS[name]
    net = Wrapped(kind())
    views = Views({view: torch.randn(3, *shape) for view, shape in shapes.items()})
    if method == "ours":
        said = explain.shapley(net, views, lambda out: out.z["said"], explain.groups(views, most=4), samples=2)
        said = explain.Attribution({n: x[:, 0] for n, x in said.items()}, "", "", said.completeness)
    else:
        said = explain.attribute(net, views, lambda out: out.z["said"][:, 0], METHODS[method])
    assert {n: x.shape for n, x in said.items()} == {n: x.shape for n, x in views.items()}
    assert all(x.abs().sum() > 0 for x in said.values())
    if method in ("IntegratedGradients", "ours"):
        assert float(said.completeness.max()) < 0.05
