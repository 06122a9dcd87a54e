"""Trained, evaluated and explained elsewhere (see `elsewhere`), a model says what it says on the CPU."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from captum import attr
from elsewhere import Elsewhere, There, sent
from torch import Tensor, nn

import ivekit as ive
from ivekit import explain
from ivekit import nn as parts
from ivekit.explain import imputers, rotations
from ivekit.widgets.answers import ANSWERS
from ivekit.widgets.scene import describe

SHAPES = {"meg": (4, 8), "video": (1, 2, 8, 8), "table": (3,)}


def made() -> tuple[ive.MultimodalVAE, ive.Views]:
    random = torch.Generator().manual_seed(0)
    tensors = {name: 1 + torch.randn(12, *shape, generator=random) for name, shape in SHAPES.items()}
    masks = {"video": torch.arange(12) % 5 > 0, "table": torch.rand(12, 3, generator=random) > 0.3}
    views = ive.Views(tensors, masks, pd.DataFrame({"subject": np.arange(12) % 3}))
    torch.manual_seed(0)
    encoders = {
        "meg": parts.SensorBasis(4, 8, 8, n_filters=3, n_basis=4, width=8),
        "video": nn.Sequential(nn.AvgPool3d((1, 2, 2)), parts.FrameConv((1, 2, 4, 4), 8, (4,))),
        "table": parts.MLPEncoder(3, 8),
    }
    model = ive.MultimodalVAE(
        encoders,
        parts.ProductOfExperts(list(encoders), 8, 2),
        {n: parts.Gaussian(parts.MLPDecoder(3, shape)) for n, shape in SHAPES.items()},
        private={n: parts.ProductOfExperts([n], 8, 1) for n in encoders},
        standardise=ive.Standardise.fit(views, meg=ive.Whiten(2), video=ive.RobustZScore(), table=ive.ZScore()),
    )
    return model.eval(), views


def latent(out: ive.Outputs) -> Tensor:
    return out.z["shared"][:, 0]


def objective() -> ive.Objective:
    return ive.Objective(nll=ive.NLL(), kl=ive.KL(0.5))


def by(method: Any, **settings: Any) -> Callable[[nn.Module, ive.Views], Any]:
    return lambda model, views: explain.attribute(model, views, latent, method, **settings)


def of(function: Any, *args: Any, **settings: Any) -> Callable[[nn.Module, ive.Views], Any]:
    return lambda model, views: function(model, views, latent, *args, **settings)


def gradient(model: nn.Module, views: ive.Views, target: Any) -> Any:
    return explain.attribute(model, views, target, attr.Saliency)


def told(scene: Any) -> list[bytes]:
    return [bytes(x) for x in ANSWERS["decode"](scene, {"z": [0.5] * scene.decode.size, "row": -1})[1]]


def factors() -> pd.DataFrame:
    return pd.DataFrame({"load": np.linspace(-1, 1, 12), "speed": np.cos(np.arange(12))})


WORK: dict[str, Callable[[Any, ive.Views], Any]] = {
    "evaluate": lambda m, v: ive.evaluate(m, objective(), v, batch_size=5),
    "latents": lambda m, v: ive.latents(m, v),
    "log_evidence": lambda m, v: ive.log_evidence(m, v, n_samples=3),
    "IntegratedGradients": by(attr.IntegratedGradients, n_steps=4),
    "DeepLift": by(attr.DeepLift),
    "GradientShap": by(attr.GradientShap, n_samples=2),
    "FeatureAblation": by(attr.FeatureAblation),
    "KernelShap": lambda m, v: by(attr.KernelShap, n_samples=4, groups=explain.groups(v, most=2))(m, v[:2]),
    "Lime": lambda m, v: by(attr.Lime, n_samples=4, groups=explain.groups(v, most=2))(m, v[:2]),
    "Occlusion": by(attr.Occlusion),
    "ShapleyValueSampling": by(attr.ShapleyValueSampling, n_samples=1),
    "NoiseTunnel": by(attr.NoiseTunnel, nt_samples=2),
    "integrated_gradients": of(explain.integrated_gradients, n_steps=4),
    "attribute_latents": lambda m, v: explain.attribute_latents(m, v, n_steps=3),
    "ablation": of(explain.ablation),
    "ablation, matched": lambda m, v: explain.ablation(m, v, latent, imputer=imputers.Matched(v)),
    "ablation, conditional": lambda m, v: explain.ablation(m, v, latent, imputer=imputers.Conditional.fit(v)),
    "occlusion": of(explain.occlusion),
    "shapley": of(explain.shapley, samples=2),
    "haufe_pattern": of(explain.haufe_pattern),
    "gradient_pattern": of(explain.gradient_pattern),
    "mean_gradient": of(explain.mean_gradient),
    "filter_patterns": lambda m, v: explain.filter_patterns(m, v),
    "traverse": lambda m, v: explain.traverse(m, v, "shared", 0, [-1.0, 1.0]),
    "traverse_band": lambda m, v: explain.traverse_band(m, v, "shared", 0, [-1.0, 1.0]),
    "latent_effects": lambda m, v: explain.latent_effects(m, v, [[-1.0, 1.0]] * 5),
    "identify": lambda m, v: explain.identify(m, v, factors(), n_shuffles=19).select_dtypes("number").to_numpy(),
    "match_effects": lambda m, v: explain.match_effects(m, v, factors(), draws=9).select_dtypes("number").to_numpy(),
    "departures": lambda m, v: explain.departures(m, v, [-1.0, 1.0]),
    "loadings": lambda m, v: rotations.loadings(m, v, "shared"),
    "readout": lambda m, v: explain.readout_target(m, v, factors()["load"].to_numpy()).weights,
    "check_completeness": of(explain.check_completeness, explain.integrated_gradients),
    "check_deletion": lambda m, v: explain.check_deletion(m, v, latent, gradient, imputers.Mean.fit(v), draws=3),
    "check_robustness": of(explain.check_robustness, gradient, draws=2),
    "check_traversal": of(explain.check_traversal),
    "check_weights": of(explain.check_weights, gradient, draws=3),
    "check_specificity": of(explain.check_specificity, gradient, draws=3),
    "cascade": lambda m, v: explain.cascade(m, v, latent, gradient).select_dtypes("number").to_numpy(),
    "explorer": lambda m, v: describe(m, v).buffers["codes"],
    "explorer's decoder": lambda m, v: [np.frombuffer(x, "f4") for x in told(describe(m, v))],
}


def numbers(x: Any) -> list[np.ndarray]:
    """All numbers of an answer, in order."""
    if isinstance(x, There):
        return [x.inner.detach().double().numpy()]
    if isinstance(x, Tensor):
        return [x.detach().double().numpy()]
    if isinstance(x, explain.Check):
        return numbers([x.value, x.null])
    if isinstance(x, dict) or hasattr(x, "items"):
        return [n for part in x.values() for n in numbers(part)]
    if isinstance(x, tuple | list):
        return [n for part in x for n in numbers(part)]
    return [np.asarray(x, float)]


@pytest.mark.parametrize("name", WORK)
def test_what_is_said_elsewhere_is_what_is_said_here(name):
    model, views = made()
    here = WORK[name](copy.deepcopy(model), views)
    with Elsewhere():
        there = WORK[name](sent(model), views)
    assert all(isinstance(weight, There) for weight in model.parameters()), "the model stays where it is"
    said = list(zip(numbers(here), numbers(there), strict=True))
    assert any(a.size for a, _ in said)
    for a, b in said:
        np.testing.assert_allclose(b, a, rtol=2e-3, atol=1e-5)
