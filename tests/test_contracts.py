"""A role is its signature: one test a promise, run over every class that plays the role.

A class that is public and not in these tables makes `test_every_class_is_here` fail.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import ivekit.distributions
import ivekit.models
import ivekit.nn as parts
import ivekit.objectives
from ivekit import Cyclical, Linear, MultimodalVAE, Objective, Plan, Standardise, Views, Whiten, ZScore, plans
from ivekit.models import Conditional
from ivekit.nn import Tokens, mlp
from ivekit.nn.diffusion import Epsilon
from ivekit.objectives import (
    AR1,
    KL,
    L1,
    NLL,
    Bounds,
    ByClass,
    InTraining,
    Leak,
    SpatialConsistency,
    Spectral,
    SubsetKL,
    TotalCorrelation,
    Uncertain,
    Waveform,
)

B, D, K, C, T = 6, 16, 4, 5, 40
VIEWS = ("a", "b", "c")
FILM = (1, 6, 8, 8)


class Case(NamedTuple):
    """How to make a part, how to run it on b rows, and what shape a row of the answer has."""

    make: Callable[[], nn.Module]
    run: Callable[[Any, int], torch.Tensor]
    row: tuple[int, ...] | None = None
    of: tuple[str, ...] = ()  # the classes that this case shows


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal numbers, of which the first rows are the same however many there are."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, dtype="f4"))


def tokens(b: int, n: int = 3, d: int = D, seed: int = 0, there: bool | torch.Tensor = True) -> Tokens:
    return Tokens.of(noise(b, n, d, seed=seed), torch.as_tensor(there).expand(b).clone())


def all_tokens(b: int) -> dict[str, Tokens]:
    return {name: tokens(b, n=1 + i, seed=i) for i, name in enumerate(VIEWS)}


def places(b: int, f: int) -> torch.Tensor:
    """Eleven points a row; a gradient may be asked of them, where a module has nothing to learn."""
    return noise(b, 11, f, seed=4).requires_grad_()


def found(b: int) -> torch.Tensor:
    mask = noise(b, 11, seed=5) > -0.5
    mask[3::4] = False
    return mask


def asked(b: int) -> Tokens:
    return Tokens.of(noise(b, 11, 3, seed=6), torch.ones(b, dtype=torch.bool))


def said(q: Any) -> torch.Tensor:
    return torch.cat([q.mean, q.stddev], -1)


# the tables ----------------------------------------------------------------------------------------------------


LINKS = [[i, i + 1, (-1.0) ** i] for i in range(10)]  # a chain of 11 nodes, every second link negative


class Encoder(NamedTuple):
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]  # of a row
    n_tokens: int


def grid(t: int = 8) -> nn.Module:
    return parts.SensorGrid(torch.tensor([0, 2, 3, 4, 5]), (2, 3), parts.Conv3d((1, t, 2, 3), D, patch=(2, 1, 1)))


ENCODERS = {
    "MLPEncoder": Encoder(lambda: parts.MLPEncoder(7, D), (7,), 1),
    "SensorConv": Encoder(lambda: parts.SensorConv(C, D), (C, T), 8),
    "SensorBasis": Encoder(lambda: parts.SensorBasis(C, T, D), (C, T), 1),
    "SensorAttention": Encoder(lambda: parts.SensorAttention(C, T, D), (C, T), 4),
    "SensorGrid": Encoder(grid, (C, 8), 2),
    "Conv3d": Encoder(lambda: parts.Conv3d(FILM, D), FILM, 2),
    "Conv3d, sizes that no patch divides": Encoder(lambda: parts.Conv3d((2, 7, 9, 5), D), (2, 7, 9, 5), 2),
    "MultiScale": Encoder(lambda: parts.MultiScale(parts.Conv3d(FILM, D), (24,), D), FILM, 3),
    "FrameConv": Encoder(lambda: parts.FrameConv(FILM, D), FILM, 1),
    "ViViT": Encoder(lambda: parts.ViViT(FILM, (2, 4, 4), D), FILM, 12),
    "ResNet1d": Encoder(lambda: parts.ResNet1d(2, D), (2, T), 5),
    "GRUEncoder": Encoder(lambda: parts.GRUEncoder(C, D), (C, T), T),
    "GRUEncoder, forward only": Encoder(lambda: parts.GRUEncoder(C, D, 2, directions=1), (C, T), T),
    "LSTMEncoder": Encoder(lambda: parts.LSTMEncoder(C, D), (C, T), T),
    "FactorisedViViT": Encoder(lambda: parts.FactorisedViViT(FILM, (2, 4, 4), D), FILM, 3),
    "LFCNN": Encoder(lambda: parts.LFCNN(C, D), (C, T), T // 2),
    "VARCNN": Encoder(lambda: parts.VARCNN(C, D), (C, T), T // 2),
    "EEGNet": Encoder(lambda: parts.EEGNet(C, D), (C, T), 2),
    "ShallowNet": Encoder(lambda: parts.ShallowNet(C, D), (C, T), 2),
    "Flat": Encoder(lambda: parts.Flat(parts.ResNet1d(2, D), 5, D), (2, T), 1),
    "ResNet2d": Encoder(lambda: parts.ResNet2d((2, 9, 8), D, (1, 1), 4), (2, 9, 8), 6),
    "ResNet2d, bottleneck": Encoder(lambda: parts.ResNet2d((1, 8, 8), D, (2, 1), 4, 1, True), (1, 8, 8), 16),
    "ResNet3d": Encoder(lambda: parts.ResNet3d((1, 4, 6, 8), D, (1, 1), 4), (1, 4, 6, 8), 4),
    "SeriesTransformer": Encoder(lambda: parts.SeriesTransformer(C, D), (C, T), T // 4),
    "SeriesTransformer, no attention": Encoder(lambda: parts.SeriesTransformer(C, D, 3, depth=0), (C, T), 14),
    "ColumnEncoder": Encoder(lambda: parts.ColumnEncoder(7, D), (7,), 7),
}
TEXTS = {
    "TextEncoder": lambda: parts.TextEncoder(D),
    "TextGRU": lambda: parts.TextGRU(D),
}
POINTS = {  # some of 11 places and values are missing, in every fourth row all of them
    "PointEncoder": (lambda: parts.PointEncoder(D), lambda m, b: m(places(b, 4), found(b)).x, (4, D)),
    "GridEncoder": (lambda: parts.GridEncoder(D), lambda m, b: m(places(b, 4), found(b)).x, (3, D)),
    "CoordinateEncoder": (lambda: parts.CoordinateEncoder(D), lambda m, b: m(places(b, 3)), (11, D)),
    "FourierFeatures": (lambda: parts.FourierFeatures(5), lambda m, b: m(places(b, 3)), (11, 13)),
    "PointDecoder": (lambda: parts.PointDecoder(K, D), lambda m, b: m(codes(b), tokens(b, 11)), (11,)),
    "PointDecoder, two values": (lambda: parts.PointDecoder(K, D, 2), lambda m, b: m(codes(b), tokens(b, 11)), (11, 2)),
    "GridDecoder": (lambda: parts.GridDecoder(K), lambda m, b: m(codes(b), asked(b)), (11,)),
    "GridDecoder, two values": (lambda: parts.GridDecoder(K, 2), lambda m, b: m(codes(b), asked(b)), (11, 2)),
    "Rasterise": (lambda: parts.Rasterise((3, 2, 2)), lambda m, b: m(places(b, 4), found(b)), (2, 3, 2, 2)),
    "GatedBlock": (lambda: parts.GatedBlock(D), lambda m, b: m(noise(b, 7, D)), (7, D)),
    "GatedConv3d": (lambda: parts.GatedConv3d(8), lambda m, b: m(noise(b, 8, 3, 4, 2)), (8, 3, 4, 2)),
    "PointTokens": (lambda: parts.PointTokens(D), lambda m, b: m(places(b, 4), found(b)).x, (11, D)),
    "KnownPlaces": (
        lambda: parts.KnownPlaces(noise(11, 3), parts.PointTokens(D, 4)),
        lambda m, b: m(places(b, 4), found(b)).x,
        (11, D),
    ),
    "GraphEncoder": (
        lambda: parts.GraphEncoder(LINKS, (11, 4), D),
        lambda m, b: m(places(b, 4), found(b)).x,
        (11, D),
    ),
    "GraphBlock": (lambda: parts.GraphBlock(LINKS, 11, D), lambda m, b: m(noise(b, 11, D), found(b)), (11, D)),
    "NodeNames": (lambda: parts.NodeNames(11, D), lambda m, b: m().expand(b, -1, -1), (11, D)),
    "Places": (lambda: parts.Places(noise(11, 3), D), lambda m, b: m().expand(b, -1, -1), (11, D)),
    "RowScale": (lambda: parts.RowScale(K), lambda m, b: m(codes(b)), ()),
}
ANY_LENGTH = {
    "SensorConv": lambda t: parts.SensorConv(C, D),
    "ResNet1d": lambda t: parts.ResNet1d(C, D),
    "GRUEncoder": lambda t: parts.GRUEncoder(C, D),
    "SensorBasis": lambda t: parts.SensorBasis(C, t, D),
    "SensorAttention": lambda t: parts.SensorAttention(C, t, D),
    "LSTMEncoder": lambda t: parts.LSTMEncoder(C, D),
    "LFCNN": lambda t: parts.LFCNN(C, D, dropout=0.0, pool=1),
    "VARCNN": lambda t: parts.VARCNN(C, D, dropout=0.0, pool=1),
    "EEGNet": lambda t: parts.EEGNet(C, D),
    "ShallowNet": lambda t: parts.ShallowNet(C, D),
    "SeriesTransformer": lambda t: parts.SeriesTransformer(C, D),
    "SensorGrid": grid,
    "Flat": lambda t: parts.Flat(parts.ResNet1d(C, D), math.ceil(t / 8), D),
}
DENOISERS = {  # noisy rows, times, z and context -> what they are asked
    "MLPDenoiser": (lambda: parts.MLPDenoiser(K, (2, 9)), (2, 9)),
    "TokenDenoiser": (lambda: parts.TokenDenoiser(K, (2, T), [parts.CrossAttention(D), parts.FiLM(D)], D, 4), (2, T)),
    "TokenDenoiser, a table": (lambda: parts.TokenDenoiser(0, (7,), [parts.CrossAttention(D)], D, 2), (7,)),
    "TokenDenoiser, an image": (lambda: parts.TokenDenoiser(K, (2, 6, 5), [parts.AdaIN(D)], D, 2), (2, 6, 5)),
    "NodeDenoiser": (
        lambda: parts.NodeDenoiser(
            K, parts.NodeNames(11, D), [parts.CrossAttention(D)], [parts.GraphBlock(LINKS, 11, D)], D, 2
        ),
        (11, 2),
    ),
    "ImageDenoiser": (lambda: parts.ImageDenoiser(K, (1, 9, 8), [parts.AdaIN(D)], D), (1, 9, 8)),
    "ImageDenoiser, volumes": (lambda: parts.ImageDenoiser(K, (2, 4, 5, 6), [parts.FiLM(D)], D, 1), (2, 4, 5, 6)),
}
CONDITIONERS = {
    "CrossAttention": lambda: parts.CrossAttention(D),
    "FiLM": lambda: parts.FiLM(D),
    "AdaIN": lambda: parts.AdaIN(D),
}
POSTERIORS = {
    "ProductOfExperts": lambda names=VIEWS: parts.ProductOfExperts(names, D, K),
    "MixtureOfExperts": lambda names=VIEWS: parts.MixtureOfExperts(names, D, K),
    "MixtureOfProducts": lambda names=VIEWS: parts.MixtureOfProducts(names, D, K),
    "Fused, Concat": lambda names=VIEWS: parts.Fused(names, parts.Concat(3, D), D, K),
    "Fused, Gated": lambda names=VIEWS: parts.Fused(names, parts.Gated(3, D), D, K),
    "Fused, AttentionPool": lambda names=VIEWS: parts.Fused(names, parts.AttentionPool(D), D, K),
    "Fused to a point": lambda names=VIEWS: parts.Fused(names, parts.Concat(3, D), D, K, point=True),
    "Point to a point": lambda names=VIEWS: parts.Point(parts.ProductOfExperts(names, D, K)),
}
FUSIONS = {
    "Concat": lambda: parts.Concat(3, D),
    "Gated": lambda: parts.Gated(3, D),
    "AttentionPool": lambda: parts.AttentionPool(D),
}
NETS = {  # z and context -> a row
    "MLPDecoder": (lambda: parts.MLPDecoder(K, (2, 9)), (2, 9)),
    "MLPDecoder, linear": (lambda: parts.MLPDecoder(K, 9, ()), (9,)),
    "SensorField": (lambda: parts.SensorField(K, C, T), (C, T)),
    "FilmField": (lambda: parts.FilmField(K, (2, 6, 8, 5), (3, 4, 9)), (2, 6, 8, 5)),
    "ResNet1dDecoder": (lambda: parts.ResNet1dDecoder(K, (2, T)), (2, T)),
    "ResNet1dDecoder, 37 samples": (lambda: parts.ResNet1dDecoder(K, (1, 37)), (1, 37)),
    "ResNet1dDecoder, in steps": (lambda: parts.ResNet1dDecoder(K, (2, 13), depth=3, steps=2), (2, 13)),
    "OwnGradient": (lambda: parts.OwnGradient(parts.MLPDecoder(K, 9), shared=2), (9,)),
    "TokenDecoder": (lambda: parts.TokenDecoder(K, (2, 30), [parts.CrossAttention(D), parts.FiLM(D)], D), (2, 30)),
    "TokenDecoder, a table": (lambda: parts.TokenDecoder(K, (7,), [parts.AdaIN(D)], D, 1), (7,)),
    "TokenDecoder, a picture": (lambda: parts.TokenDecoder(0, (2, 6, 5), [parts.FiLM(D)], D), (2, 6, 5)),
    "TokenDecoder, a volume": (lambda: parts.TokenDecoder(K, (1, 4, 4, 3), [parts.FiLM(D)], D, 2), (1, 4, 4, 3)),
    "LSTMDecoder": (lambda: parts.LSTMDecoder(K, (2, 30), [parts.CrossAttention(D)], D), (2, 30)),
    "ConvDecoder": (lambda: parts.ConvDecoder(K, (2, 9, 6), [parts.CrossAttention(D)], D), (2, 9, 6)),
    "NodeDecoder, places": (
        lambda: parts.NodeDecoder(
            K, parts.Places(noise(11, 3), D), [parts.CrossAttention(D)], [parts.GatedBlock(D)], D
        ),
        (11, 1),
    ),
    "NodeDecoder, a graph": (
        lambda: parts.NodeDecoder(K, parts.NodeNames(11, D), [parts.FiLM(D)], [parts.GraphBlock(LINKS, 11, D)], D, 2),
        (11, 2),
    ),
    "ConvDecoder, a volume": (lambda: parts.ConvDecoder(0, (1, 4, 5, 6), [parts.AdaIN(D)], D, 1), (1, 4, 5, 6)),
}


def learned(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape))


def labels(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 9, shape))


DECODERS = {  # and a row of data
    "Gaussian": (lambda: parts.Gaussian(parts.MLPDecoder(K, (2, 9)), 0.5), (2, 9)),
    "Gaussian, a learned scale": (lambda: parts.Gaussian(parts.MLPDecoder(K, (2, 9)), learned()), (2, 9)),
    "Gaussian, a learned scale a column": (lambda: parts.Gaussian(parts.MLPDecoder(K, 9), learned(9)), (9,)),
    "Gaussian, KnownScale": (lambda: parts.Gaussian(parts.SensorField(K, C, T), parts.KnownScale(2)), (C, T)),
    "Gaussian, KnownScale a column": (
        lambda: parts.Gaussian(parts.MLPDecoder(K, 9), parts.KnownScale(2, (9,), (0.3, 1.0))),
        (9,),
    ),
    "Laplace": (lambda: parts.Laplace(parts.ResNet1dDecoder(K, (2, T)), learned()), (2, T)),
    "Bernoulli": (lambda: parts.Bernoulli(parts.MLPDecoder(K, (1, 4, 4))), (1, 4, 4)),
    "Diffusion": (lambda: parts.Diffusion(parts.MLPDenoiser(K, (2, 9), 32), (2, 9), steps=3), (2, 9)),
    "Diffusion, samples' mean": (
        lambda: parts.Diffusion(parts.MLPDenoiser(K, 9, 32), 9, Epsilon(), steps=3, eta=0.5, guidance=2, draws=4),
        (9,),
    ),
    "LogNormal": (lambda: parts.LogNormal(parts.MLPDecoder(K, 9), learned(), shift=-9.0), (9,)),
    "Columns": (
        lambda: parts.Columns(
            rt=parts.LogNormal(parts.MLPDecoder(K, 1), parts.KnownScale(2, (1,)), shift=-9.0),
            rest=parts.Gaussian(parts.MLPDecoder(K, 3)),
        ),
        (4,),
    ),
    "Categorical": (lambda: parts.Categorical(parts.MLPDecoder(K, 9)), ()),
    "Categorical, several a row": (lambda: parts.Categorical(parts.MLPDecoder(K, (3, 9))), (3,)),
    "Autoregressive": (lambda: parts.Autoregressive(parts.LanguageModel(K, 5, [], D)), (5,)),
}


def written(b: int) -> torch.Tensor:
    """Which of nine bytes are there: at least four of them."""
    return torch.arange(9) < 4 + torch.arange(b)[:, None] % 6


def codes(b: int) -> torch.Tensor:
    """Latent vectors, of which every third has its private half at its prior mean."""
    z = noise(b, K, seed=5)
    z[::3, 2:] = 0
    return z


def recordings(b: int, split: str = "train") -> Views:
    """Three views; rows and elements of them are missing. One row has nothing, one everything."""
    a, label = 30 * noise(b, C, 8), labels(b)
    holes = noise(b, C, 8, seed=1) > -1
    holes[1], holes[2], holes[3] = False, True, False
    rows = torch.arange(b)
    frame = pd.DataFrame({"trial": rows // 5, "time": 0.1 * (rows % 5)})
    present = {"a": holes, "b": (rows != 1) & (rows != 4), "c": rows != 1}
    return Views({"a": a, "b": noise(b, 7, seed=2), "c": 4 + noise(b, 2, seed=3), "label": label}, present, frame)


class Told(nn.Module):
    """A network that adds what the context tells."""

    def __init__(self, net: nn.Module, shape: tuple[int, ...]):
        super().__init__()
        self.net, self.told = net, parts.MLPDecoder(D, shape, ())

    def forward(self, z: torch.Tensor, context: Tokens) -> torch.Tensor:
        return self.net(z, context) + self.told(context.mean())


def vae(private: bool = False, condition: bool = False, standardise: bool = True) -> MultimodalVAE:
    names = ("a", "b") if condition else VIEWS
    encoders = {"a": parts.SensorConv(C, D), "b": parts.MLPEncoder(7, D), "c": parts.MLPEncoder(2, D)}
    k = K + 2 * private
    net = parts.OwnGradient(parts.MLPDecoder(k, 7), shared=K) if private else parts.MLPDecoder(k, 7)
    decoders = {
        "a": parts.Gaussian(parts.SensorField(k, C, 8), parts.KnownScale(2)),
        "b": parts.Laplace(Told(net, (7,)) if condition else net, learned()),
        "c": parts.Gaussian(parts.MLPDecoder(k, 2)),
    }
    return MultimodalVAE(
        encoders,
        parts.ProductOfExperts(names, D, K),
        {name: decoders[name] for name in names},
        private={n: parts.ProductOfExperts([n], D, 2) for n in names} if private else None,
        condition=("c",) if condition else (),
        standardise=Standardise.fit(recordings(20), a=Whiten(4), c=ZScore()) if standardise else None,
    )


def classifier() -> Conditional:
    return Conditional(
        {"a": parts.SensorConv(C, D), "b": parts.MLPEncoder(7, D)}, {"label": parts.Categorical(parts.MLPDecoder(D, 9))}
    )


class Beside(nn.Module):
    """A fusion that keeps the views apart."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(2 * D, D)

    def forward(self, views: dict[str, Tokens]) -> torch.Tensor:
        return self.net(torch.cat([t.mean() for t in views.values()], -1))


MODELS = {
    "MultimodalVAE": lambda: vae(),
    "MultimodalVAE, private": lambda: vae(private=True),
    "MultimodalVAE, condition": lambda: vae(condition=True),
    "MultimodalVAE, private and condition": lambda: vae(private=True, condition=True),
    "MultimodalVAE, nothing standardised": lambda: vae(standardise=False),
    "Conditional": classifier,
    "Conditional, fusion": lambda: Conditional(
        {"a": parts.SensorConv(C, D), "b": parts.MLPEncoder(7, D)},
        {"c": parts.Gaussian(parts.MLPDecoder(D, 2))},
        fusion=Beside(),
        standardise=Standardise.fit(recordings(20), a=ZScore()),
    ),
}
TERMS = {
    "NLL": lambda: NLL({"a": 0.3}),
    "KL": lambda: KL(Linear(0.0, 1.0, 10), {"shared": 1.4}),
    "KL, free bits": lambda: KL(free_bits=0.1),
    "SubsetKL": lambda: SubsetKL(subsets=4, to=(1, 2, 3)),
    "TotalCorrelation": lambda: TotalCorrelation(100),
    "Leak": lambda: Leak(),
    "AR1": lambda: AR1(0.5, Linear(0.0, 1.0, 10), {"shared": 1.4}),
    "Waveform": lambda: Waveform(recordings(20)),
    "Spectral": lambda: Spectral(recordings(20), 0.2),
    "ByClass": lambda: ByClass(NLL(), "label", [1.0 + i for i in range(9)]),
    "Uncertain": lambda: Uncertain(NLL()),
    "SpatialConsistency": lambda: SpatialConsistency("a", coords="a", k=2),
    "Bounds": lambda: Bounds("b", -0.01, 0.01),
    "L1": lambda: L1(),
    "InTraining": lambda: InTraining(L1(), KL()),
}
SCHEDULES = {"Linear": Linear(0.1, 2.0, 10), "Cyclical": Cyclical(0.1, 2.0, 10)}


def likelihood(b: int, row: tuple[int, ...], decoder: nn.Module) -> torch.Tensor:
    p = decoder(codes(b))
    x = labels(b, *row) if isinstance(decoder, parts.Categorical | parts.Autoregressive) else noise(b, *row, seed=6)
    return torch.stack(
        [p.log_prob(x.sigmoid() if type(decoder) is parts.Bernoulli else x), p.mean.flatten(1).sum(1)], 1
    )


def outputs(model: nn.Module, b: int) -> torch.Tensor:
    """Everything that a model says of rows, as numbers."""
    v = recordings(b)
    out = model(v)
    scores = [p.log_prob(v[n], v.present[n]) for n, p in out.p.items()]
    numbers = [said(q) for q in out.q.values()] + [*out.z.values()] + [p.mean.flatten(1) for p in out.p.values()]
    return torch.cat([torch.stack(scores, 1), *numbers], 1)


def modules() -> dict[str, Case]:
    """Every module of every role, with how to run it."""
    cases = {}
    for name, e in ENCODERS.items():
        cases[name] = Case(e.make, lambda m, b, e=e: m(noise(b, *e.shape)), (e.n_tokens, D))
    for name, make in CONDITIONERS.items():
        cases[name] = Case(make, lambda m, b: m(noise(b, 7, D, seed=9), tokens(b)), (7, D))
    for name, make in POSTERIORS.items():
        cases[name] = Case(make, lambda m, b: said(m(all_tokens(b))), (2 * K,))
    for name, make in FUSIONS.items():
        here = lambda b: torch.arange(3 * b).reshape(b, 3) % 5 > 0  # noqa: E731
        cases[name] = Case(make, lambda m, b, here=here: m(noise(b, 3, D), here(b)), (D,))
    for name, (make, row) in NETS.items():
        cases[name] = Case(make, lambda m, b: m(codes(b), tokens(b)), row)
    for name, make in TEXTS.items():
        cases[name] = Case(make, lambda m, b: m(labels(b, 9), written(b)).x, (9, D))
    for name, (make, row) in DENOISERS.items():
        run = lambda m, b, row=row: m(noise(b, *row, seed=7), torch.linspace(0, 1, 99)[:b], codes(b), tokens(b))  # noqa: E731
        cases[name] = Case(make, run, row)
    for name, (make, row) in DECODERS.items():
        cases[name] = Case(make, lambda m, b, row=row: likelihood(b, row, m), (2,))
    cases["KnownScale"] = Case(lambda: parts.KnownScale(2, (3,)), lambda m, b: m(codes(b)), (3,))
    cases["Attention"] = Case(lambda: parts.Attention(D), lambda m, b: m(noise(b, 7, D)), (7, D))
    cases["TransformerBlock"] = Case(lambda: parts.TransformerBlock(D), lambda m, b: m(noise(b, 7, D)), (7, D))
    heads = lambda: [nn.Linear(D, 9) for _ in range(3)]  # noqa: E731

    def votes(m, b):
        p = m(codes(b), tokens(b))
        return torch.cat([p.log_prob(labels(b))[:, None], p.mean], 1)

    cases["Committee"] = Case(lambda: parts.Committee(heads()), votes, (10,))
    pair = lambda: parts.SideBySide([parts.LFCNN(C, D, pool=8), parts.SensorBasis(C, T, D)])  # noqa: E731
    cases["SideBySide"] = Case(pair, lambda m, b: m(noise(b, C, T)), (6, D))
    cases["Summary"] = Case(lambda: parts.Summary(D), lambda m, b: m(noise(b, 7, D)), (1, D))
    cases["LowPass"] = Case(lambda: parts.LowPass(T, 9, 18), lambda m, b: m(noise(b, C, T).requires_grad_()), (C, 18))
    cases["Dropout"] = Case(lambda: parts.Dropout(0.5), lambda m, b: m(noise(b, C, T).requires_grad_()), (C, T))
    cases["Jitter"] = Case(lambda: parts.Jitter(0.5, 0.1, 2), lambda m, b: m(noise(b, C, T).requires_grad_()), (C, T))
    queries = lambda: parts.Queries(7, D, [parts.CrossAttention(D), parts.FiLM(D)], K)  # noqa: E731
    cases["Queries"] = Case(queries, lambda m, b: m(codes(b), tokens(b)), (7, D))
    cases["AdaIN, causal"] = Case(lambda: parts.AdaIN(D, True), lambda m, b: m(noise(b, 7, D), tokens(b)), (7, D))
    conditioned = lambda: parts.LanguageModel(0, 9, [parts.FiLM(D), parts.CrossAttention(D)], D)  # noqa: E731
    cases["LanguageModel"] = Case(conditioned, lambda m, b: m(labels(b, 9), codes(b), tokens(b)), (9, 256))
    cases["ResBlock1d"] = Case(lambda: parts.ResBlock1d(3, 8, 2), lambda m, b: m(noise(b, 3, 9)), (8, 5))
    for name, (make, run, row) in POINTS.items():
        cases[name] = Case(make, run, row)
    for name, make in MODELS.items():
        cases[name] = Case(make, outputs)
    return cases


CASES = modules()
every_module = pytest.mark.parametrize("name", CASES)


def public_classes(module: Any, only: type = object) -> set[str]:
    return {
        name
        for name, thing in vars(module).items()
        if inspect.isclass(thing)
        and issubclass(thing, only)
        and not name.startswith("_")
        and f"{thing.__module__}.".startswith(f"{module.__name__}.")
    }


def in_table(*tables: Any) -> set[str]:
    return {name.split(",")[0].split(" to ")[0] for table in tables for name in table}


def test_every_class_is_here():
    in_nn = {name for name in parts.__all__ if inspect.isclass(getattr(parts, name))}
    assert in_nn - {"Tokens"} == in_table(CASES) - in_table(MODELS)
    assert public_classes(ivekit.models, nn.Module) == in_table(MODELS)
    values = {"Objective", "Resolutions", "WithPhase"}  # the sum of terms is tested with each of them
    assert public_classes(ivekit.objectives) - values == in_table(TERMS, SCHEDULES)
    files = [importlib.import_module(f"{parts.__name__}.{file.name}") for file in pkgutil.iter_modules(parts.__path__)]
    in_files = set().union(*(public_classes(file, nn.Module) for file in files))
    assert in_files - {"Experts"} <= in_nn, "a public class of nn is not in its __all__"


# what every module promises ------------------------------------------------------------------------------------


def fresh(name: str, seed: int = 0) -> nn.Module:
    """A module whose parameters are all its own, those too that start at a fixed value."""
    torch.manual_seed(seed)
    module = CASES[name].make()
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.02 * torch.randn_like(p))
    return module


@every_module
def test_rows_come_back_as_rows(name):
    for b in (1, B):
        if "MultimodalVAE" in name or "Conditional" in name:
            b = B
        out = CASES[name].run(fresh(name).eval(), b)
        assert len(out) == b and out.isfinite().all()
        assert CASES[name].row in (None, tuple(out.shape[1:]))


@every_module
def test_every_parameter_gets_a_finite_gradient(name):
    module = fresh(name)
    out = CASES[name].run(module, 3 * B)
    (out * noise(*out.shape, seed=8)).sum().backward()
    for parameter, p in module.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all(), parameter
        assert p.grad.abs().sum() > 0, parameter


@every_module
def test_evaluation_is_deterministic_and_row_by_row(name):
    module, case = fresh(name).eval(), CASES[name]
    whole = case.run(module, 3 * B)
    assert torch.equal(case.run(module, 3 * B), whole)
    if "MultimodalVAE" not in name and "Conditional" not in name:  # whose rows are checked in test_models
        assert torch.equal(noise(B, 2), noise(3 * B, 2)[:B])
        torch.testing.assert_close(case.run(module, B), whole[:B], atol=1e-5, rtol=1e-5)


@every_module
def test_state_goes_to_another_of_its_kind(name):
    one, other = fresh(name, 0).eval(), fresh(name, 1).eval()
    before = CASES[name].run(one, B)
    other.load_state_dict(one.state_dict())
    assert torch.equal(CASES[name].run(other, B), before)
    assert torch.equal(CASES[name].run(copy.deepcopy(one), B), before)
    if any(p.numel() > 2 for p in one.parameters()):
        assert not torch.equal(CASES[name].run(fresh(name, 2).eval(), B), before)


@every_module
def test_repr_says_what_it_is_and_how_large(name):
    module = fresh(name)
    text = repr(module)
    assert text.startswith(type(module).__name__) and "object at 0x" not in text
    assert any(character.isdigit() for character in text)


@every_module
def test_it_runs_in_bfloat16_autocast(name):
    module = fresh(name).eval()
    full = CASES[name].run(module, B)
    with torch.autocast("cpu", torch.bfloat16):
        half = CASES[name].run(module, B)
    assert half.isfinite().all()
    assert (half.float() - full).abs().max() < 0.06 * full.abs().max() + 0.02
    half.float().square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


# encoders ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("wrong", ["a channel more", "an axis more", "an axis less"])
def test_an_encoder_refuses_other_rows_and_names_both_shapes(name, wrong):
    encoder, shape = fresh(name), ENCODERS[name].shape
    given = {"a channel more": (shape[0] + 1, *shape[1:]), "an axis more": (*shape, 2), "an axis less": shape[:-1]}[
        wrong
    ]
    inner = encoder.encoder if name in ("Flat", "MultiScale") else encoder
    check = type(inner).features if isinstance(inner, parts.Conv3d) else type(inner).forward
    with pytest.raises(ValueError) as error:
        inspect.unwrap(check)(inner, noise(B, *given))  # without the tests' own check of shapes, which comes first
    assert type(inner).__name__ in str(error.value) and f"got {given}" in str(error.value)
    assert str(shape[0]) in str(error.value).split("got")[0]


@pytest.mark.parametrize("name", ANY_LENGTH)
@pytest.mark.parametrize("t", [5, 37, 60, 250])
def test_time_may_be_of_any_length(name, t):
    torch.manual_seed(0)
    encoder = ANY_LENGTH[name](t)
    x = noise(2, C, t).requires_grad_()
    out = encoder(x)
    assert out.shape[0] == 2 and out.shape[2] == D and out.isfinite().all()
    out.square().sum().backward()
    assert (x.grad.abs().sum((0, 1)) > 0).all()  # to the last sample: none is cut off


@pytest.mark.parametrize("name", ["SensorConv", "ResNet1d", "GRUEncoder", "LFCNN", "EEGNet", "ShallowNet"])
def test_one_encoder_takes_several_lengths(name):
    encoder = ANY_LENGTH[name](0)
    assert encoder(noise(2, C, 1)).shape[1] == 1
    assert encoder(noise(2, C, 37)).shape[1] < encoder(noise(2, C, 250)).shape[1]


def test_parts_that_cannot_be_made_say_why():
    with pytest.raises(ValueError, match=r"tubelet \(2, 4, 3\) does not divide time, height and width \(6, 8, 8\)"):
        parts.ViViT(FILM, (2, 4, 3), D)
    with pytest.raises(ValueError, match="dim 10 is not a multiple of heads 4"):
        parts.Attention(10)
    with pytest.raises(ValueError, match="n_private is 0: without a private code there is one scale"):
        parts.KnownScale(0)
    with pytest.raises(ValueError, match="dim 15 is odd"):
        parts.GRUEncoder(C, 15)
    with pytest.raises(ValueError, match=r"frames of \(6, 4, 8\) are too small to halve 3 times|frames of \(4, 8\)"):
        parts.FrameConv((1, 6, 4, 8), D)
    with pytest.raises(ValueError, match="Flat was made for 5 tokens, its encoder gave 32"):
        fresh("Flat")(noise(2, 2, 250))


def test_kept_attention_weights_are_those_of_the_fast_path():
    for attend, call in (
        (parts.Attention(D), lambda a: a(noise(B, 7, D))),
        (parts.Attention(D), lambda a: a(noise(B, 7, D), tokens(B))),
    ):
        plain = call(attend)
        assert attend.weights is None
        attend.keep = True
        torch.testing.assert_close(call(attend), plain)
        assert attend.weights.shape[:3] == (B, 4, 7) and not attend.weights.requires_grad
        torch.testing.assert_close(attend.weights.sum(-1), torch.ones(B, 4, 7))


def test_sensor_attention_reads_a_map_over_the_helmet():
    encoder = parts.SensorAttention(C, T, D, n_queries=3)
    encoder.attend.keep = True
    encoder(noise(B, C, T))
    assert encoder.attend.weights.shape == (B, 4, 3, C)


# conditioners --------------------------------------------------------------------------------------------------

conditioners = pytest.mark.parametrize("name", CONDITIONERS)


@conditioners
def test_a_conditioner_uses_its_context(name):
    module, x = fresh(name), noise(B, 7, D)
    a, b = module(x, tokens(B, seed=1)), module(x, tokens(B, seed=2))
    assert a.shape == x.shape and (a - b).abs().flatten(1).amax(1).min() > 1e-3


@conditioners
def test_an_absent_context_says_nothing_whatever_it_holds(name):
    module, there = fresh(name), torch.arange(B) % 2 == 0
    results = []
    for garbage in (0.0, 1e6, torch.nan):
        context = tokens(B, there=there)
        spoilt = torch.where(context.mask[..., None], context.x, garbage).requires_grad_()
        x = noise(B, 7, D).requires_grad_()
        module.zero_grad()
        out = module(x, Tokens(spoilt, context.mask))
        (out * noise(*out.shape, seed=3)).sum().backward()
        results.append((out, x.grad, spoilt.grad, *(p.grad for p in module.parameters())))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))
    assert (results[-1][2][~there] == 0).all() and (results[-1][2][there] != 0).any()
    nothing = results[0][0][~there]
    x = noise(B, 7, D)
    if name == "AdaIN":  # what is left is the normalisation
        x = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(nothing, x[~there])


@conditioners
def test_absent_tokens_of_a_context_do_not_matter(name):
    module, x, context = fresh(name), noise(B, 7, D), tokens(B, n=4)
    mask = context.mask.clone()
    mask[:, 2] = False
    some = module(x, Tokens(context.x, mask))
    spoilt = context.x.clone()
    spoilt[:, 2] = torch.nan
    assert torch.equal(module(x, Tokens(spoilt, mask)), some) and some.isfinite().all()
    torch.testing.assert_close(module(x, Tokens(context.x[:, [0, 1, 3]], mask[:, [0, 1, 3]])), some)


# posteriors ----------------------------------------------------------------------------------------------------

posteriors = pytest.mark.parametrize("name", POSTERIORS)


def beliefs(
    module: nn.Module, given: dict[str, Tokens]
) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, Any]]:
    """What a posterior says, and the gradients by view and by parameter."""
    x = {n: t.x.clone().requires_grad_() for n, t in given.items()}
    module.zero_grad()
    out = said(module({n: Tokens(x[n], t.mask) for n, t in given.items()}))
    (out * noise(*out.shape, seed=3)).sum().backward()
    return out.detach(), {n: v.grad for n, v in x.items()}, {n: p.grad for n, p in module.named_parameters()}


@posteriors
def test_a_missing_view_changes_nothing_whatever_it_holds(name):
    module, rows = fresh(name), torch.tensor([True, False, True, False, False, True])
    results = []
    for garbage in (0.0, 1e6, torch.nan):
        given = all_tokens(B)
        given["b"] = Tokens(torch.where(rows[:, None, None], given["b"].x, garbage), given["b"].mask & rows[:, None])
        results.append(beliefs(module, given))
    for out, by_view, by_parameter in results:
        assert torch.equal(out, results[0][0]) and out.isfinite().all()
        assert all(torch.equal(by_view[n], results[0][1][n]) for n in VIEWS)
        assert all(torch.equal(g, results[0][2][n]) and g.isfinite().all() for n, g in by_parameter.items())
        assert (by_view["b"][~rows] == 0).all() and (by_view["b"][rows] != 0).any() and (by_view["a"] != 0).any()


@posteriors
def test_a_view_that_is_missing_throughout_teaches_its_expert_nothing(name):
    module = fresh(name)
    out, by_view, by_parameter = beliefs(module, all_tokens(B) | {"b": tokens(B, there=False)})
    assert (by_view["b"] == 0).all()
    for parameter, gradient in by_parameter.items():
        if ".b." in parameter:
            assert (gradient == 0).all()
    others = fresh(name) if "Fused" in name else CASES[name].make.__call__(("a", "c"))  # an expert less
    if "Fused" not in name:
        others.load_state_dict({n: p for n, p in module.state_dict().items() if ".b." not in n})
        torch.testing.assert_close(said(others({n: t for n, t in all_tokens(B).items() if n != "b"})), out)


@posteriors
def test_with_every_view_missing_the_belief_is_the_prior_exactly(name):
    module, rows = fresh(name), torch.arange(B) == 2
    given = {
        n: Tokens(torch.where(rows[:, None, None], torch.nan, t.x), t.mask & ~rows[:, None])
        for n, t in all_tokens(B).items()
    }
    q = module(given)
    assert (q.mean[2] == 0).all() and (q.stddev[2] == (0 if "point" in name else 1)).all()
    assert (q.mean[rows == 0] != 0).all()
    if hasattr(q, "log_prob") and "point" not in name:
        z = noise(B, K)
        prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
        torch.testing.assert_close(q.log_prob(z)[2], prior[2])
        assert torch.distributions.kl_divergence(q, ivekit.distributions.standard_normal_like(q))[2] == 0
    _, by_view, by_parameter = beliefs(module, {n: Tokens(t.x, torch.zeros_like(t.mask)) for n, t in given.items()})
    assert all((g == 0).all() for g in (*by_view.values(), *by_parameter.values()))


@posteriors
def test_the_order_of_the_views_does_not_matter(name):
    module, given = fresh(name), all_tokens(B)
    given["b"] = tokens(B, there=torch.arange(B) > 2)
    shuffled = {n: given[n] for n in ("c", "a", "b")}
    assert torch.equal(said(module(shuffled)), said(module(given)))
    if "Fused" not in name or "AttentionPool" in name:  # Concat and Gated know the views by their places
        other = POSTERIORS[name](("c", "a", "b"))
        other.load_state_dict(module.state_dict())
        torch.testing.assert_close(said(other(given)), said(module(given)), rtol=1e-5, atol=1e-6)


@posteriors
def test_a_belief_can_be_sampled_and_evaluation_is_deterministic(name):
    module = fresh(name).eval()
    q = module(all_tokens(B))
    assert q.rsample().shape == q.mean.shape == (B, K) and q.rsample((3,)).shape == (3, B, K)
    assert torch.equal(said(module(all_tokens(B))), said(q)) and q.rsample().requires_grad


@pytest.mark.parametrize("name", FUSIONS)
def test_a_fusion_ignores_absent_views(name):
    module, x = fresh(name), noise(B, 3, D)
    present = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 0, 0]]) > 0
    out = module(x, present)
    assert torch.equal(module(torch.where(present[..., None], x, torch.nan), present), out)
    if name != "Concat":
        assert (module.weights[~present] == 0).all() and (module.weights[present] > 0).all()


# decoders ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETS)
def test_a_network_is_of_the_row_s_shape_and_takes_a_context(name):
    make, row = NETS[name]
    torch.manual_seed(0)
    net = make()
    assert net(codes(B)).shape == (B, *row) == net(codes(B), tokens(B)).shape


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_tells_a_distribution_of_a_row(name):
    make, row = DECODERS[name]
    torch.manual_seed(0)
    p = make()(codes(B), tokens(B))
    assert p.sample().shape == p.mode.shape == (B, *row) and p.sample((2,)).shape == (2, B, *row)
    classes = {"Categorical": (9,), "Autoregressive": (256,)}.get(name.split(",")[0], ())
    assert p.mean.shape == (B, *row, *classes)
    if name.startswith("Categorical"):
        torch.testing.assert_close(p.mean.sum(-1), torch.ones(B, *row))
    assert f"rows={B}" in repr(p) and tuple(p.event_shape) == row


def test_a_learned_scale_is_what_the_likelihood_says():
    scale = nn.Parameter(torch.tensor(-1.0))
    p = parts.Gaussian(parts.MLPDecoder(K, 9), scale)(codes(B))
    torch.testing.assert_close(p.stddev, torch.full((B, 9), math.exp(-1)))


def test_two_scales_where_a_view_is_known_and_where_it_is_not():
    scale = parts.KnownScale(2, (3,), start=(0.5, 2.0), floor=0.1)
    said_of = scale(codes(B))
    torch.testing.assert_close(said_of[::3], torch.full((2, 3), 2.1))
    torch.testing.assert_close(said_of[1::3], torch.full((2, 3), 0.6))


def test_own_gradient_passes_a_part_where_a_view_is_seen_and_all_where_it_is_not():
    plain = parts.MLPDecoder(K, 9)
    own = parts.OwnGradient(plain, shared=2, own=0.25)
    z = codes(B)
    assert torch.equal(own(z), plain(z))
    a, b = z.clone().requires_grad_(), z.clone().requires_grad_()
    plain(a).sum().backward()
    own(b).sum().backward()
    part = torch.where((z[:, 2:] != 0).any(1), 0.25, 1.0)[:, None]
    torch.testing.assert_close(b.grad[:, :2], part * a.grad[:, :2])
    torch.testing.assert_close(b.grad[:, 2:], a.grad[:, 2:])


# tokens and small pieces ---------------------------------------------------------------------------------------


def test_tokens_are_joined_stacked_and_averaged_where_they_are_there():
    a, b = tokens(B, 2, there=torch.arange(B) > 1), tokens(B, 3, seed=1, there=torch.arange(B) > 3)
    both = Tokens.cat([a, b])
    assert both.x.shape == (B, 5, D) and both.mask.sum(1).tolist() == [0, 0, 2, 2, 5, 5]
    assert both.present.tolist() == [False, False, True, True, True, True]
    torch.testing.assert_close(both.mean()[3], a.x[3].mean(0))
    assert (both.mean()[:2] == 0).all() and (a.mean()[:2] == 0).all()
    twice = a.stacked(torch.tensor([True, False, True]))
    assert twice.x.shape == (3 * B, 2, D)
    assert (
        torch.equal(twice.mask[:B], a.mask)
        and not twice.mask[B : 2 * B].any()
        and torch.equal(twice.mask[2 * B :], a.mask)
    )


def test_an_mlp_has_the_widths_it_was_given():
    net = mlp(3, 8, 8, 2)
    assert [layer.in_features for layer in net if isinstance(layer, nn.Linear)] == [3, 8, 8]
    assert isinstance(net[-1], nn.Linear) and net(noise(B, 3)).shape == (B, 2)


# models --------------------------------------------------------------------------------------------------------

models = pytest.mark.parametrize("name", MODELS)


@models
def test_a_model_says_outputs(name):
    model, v = fresh(name), recordings(B)
    out = model(v)
    blocks = {"shared", *getattr(model, "private", {})}
    assert set(out.z) == blocks and all(len(z) == B for z in out.z.values())
    assert set(out.q) == (blocks if isinstance(model, MultimodalVAE) else set())
    assert set(out.p) == set(model.decoders)
    for view, p in out.p.items():
        score = p.log_prob(v[view], v.present[view])
        assert score.shape == (B,) and score.isfinite().all() and (score[~v.rows_present(view)] == 0).all()
        assert view == "label" or p.mean.shape == v[view].shape


@models
def test_a_model_samples_in_training_only(name):
    model, v = fresh(name), recordings(B)
    same = torch.equal(model(v).z["shared"], model(v).z["shared"])
    assert same == isinstance(model, Conditional)
    model.eval()
    out = model(v)
    assert torch.equal(out.z["shared"], model(v).z["shared"])
    assert all(torch.equal(out.z[block], q.mean) for block, q in out.q.items())
    if isinstance(model, MultimodalVAE):
        assert all(torch.equal(q.mean, out.q[block].mean) for block, q in model.encode(v).items())


names = ("joint", "mvae", "mmvae", "mopoe", "mvtcae", "jmvae", "dmvae", "mmvae_plus", "leave_one_out")
PLANS = {name: getattr(plans, name) for name in names}


def test_every_plan_is_here():
    there = {
        n
        for n, f in inspect.getmembers(plans, inspect.isfunction)
        if not n.startswith("_") and f.__module__ == plans.__name__
    }
    assert there == set(PLANS)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("name", [name for name in MODELS if "VAE" in name])
def test_a_model_follows_every_plan(name, plan):
    model, v = fresh(name), recordings(B)
    plan = PLANS[plan](["a", "b"] if "condition" in name else VIEWS)
    objective = Objective(nll=NLL(), kl=KL())
    out, stacked = model(v, plan), plan.views(v)
    assert len(stacked) == len(plan) * B == len(out.z["shared"])
    loss = sum(objective(out, stacked, 0).values())
    loss.backward()
    assert loss.isfinite() and all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_models_that_cannot_be_made_or_fed_say_why():
    kinds = (
        {"a": parts.MLPEncoder(3, D)},
        parts.ProductOfExperts("a", D, K),
        {"a": parts.Gaussian(parts.MLPDecoder(K, 3))},
    )
    with pytest.raises(ValueError, match=r"private names \['b'\], which have no encoder; there are \['a'\]"):
        MultimodalVAE(*kinds, private={"b": parts.ProductOfExperts("b", D, 2)})
    with pytest.raises(ValueError, match=r"condition names \['x'\], which have no encoder; there are \['a'\]"):
        MultimodalVAE(*kinds, condition=("x",))
    with pytest.raises(KeyError, match=r"no view 'a'; there are \['b'\]"):
        MultimodalVAE(*kinds)(Views({"b": torch.ones(2, 3)}))
    with pytest.raises(ValueError, match=r"MLPEncoder takes rows of shape \(3\), got \(4,\)"):
        MultimodalVAE(*kinds)(Views({"a": torch.ones(2, 4)}))
    with pytest.raises(ValueError, match=r"seen must be \(subsets, 2 views\), got \(1, 3\)"):
        Plan(("a", "b"), torch.ones(1, 3) > 0, torch.ones(1, 3) > 0)


# terms and schedules -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("step", [0, 7, None])
def test_a_term_is_one_number_a_row(name, step):
    torch.manual_seed(0)
    model, v, plan, term = vae(private=True), recordings(4 * B), plans.dmvae(VIEWS), TERMS[name]()
    out, stacked = model(v, plan), plan.views(v)
    value = term(out, stacked, step)
    assert value.shape == (len(stacked),) and value.isfinite().all() and value.is_floating_point()
    total = Objective(only=term)(out, stacked, step)
    torch.testing.assert_close(total, {"only": value.mean()})
    assert type(term).__name__ in repr(Objective(only=term))
    if name in ("KL", "AR1") and step == 0 or name == "SubsetKL" and step is None:  # beta is 0; no plan in evaluation
        assert (value == 0).all()
    else:
        value.mean().backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert gradients and all(g.isfinite().all() for g in gradients) and any((g != 0).any() for g in gradients)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_starts_low_ends_high_and_stays_between(name):
    schedule = SCHEDULES[name]
    assert schedule(0) == 0.1 and schedule(None) == pytest.approx(2.0)
    assert all(0.1 <= schedule(step) <= 2.0 for step in range(40))
    assert [schedule(step) for step in range(6)] == sorted(schedule(step) for step in range(6))


def test_an_objective_needs_a_term_and_learns_those_that_are_modules():
    with pytest.raises(ValueError, match="needs at least one term, such as nll=NLL"):
        Objective()

    class Learned(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, out, views, step):
            return self.weight * torch.ones(len(views))

    objective = Objective(nll=NLL(), mine=Learned(), plain=lambda out, views, step: torch.ones(len(views)))
    assert [n for n, _ in objective.named_parameters()] == ["learned.mine.weight"]
    v, model = recordings(B), vae()
    terms = objective(model(v), v, 3)
    assert set(terms) == {"nll", "mine", "plain"} and all(t.ndim == 0 for t in terms.values())
    terms["mine"].backward()
    assert objective.learned["mine"].weight.grad == 1
