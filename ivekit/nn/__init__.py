"""Networks: tensors and tokens in, tokens and distributions out. Nothing here knows what a trial is."""

from .blocks import Attention, ResBlock1d, Tokens, TransformerBlock, mlp
from .conditioning import AdaIN, CrossAttention, FiLM
from .decoders import (
    Bernoulli,
    Categorical,
    FilmField,
    Gaussian,
    KnownScale,
    Laplace,
    MLPDecoder,
    OwnGradient,
    ResNet1dDecoder,
    SensorField,
)
from .encoders import (
    Conv3d,
    Flat,
    FrameConv,
    GRUEncoder,
    MLPEncoder,
    MultiScale,
    ResNet1d,
    SensorAttention,
    SensorBasis,
    SensorConv,
    SensorGrid,
    ViViT,
)
from .posteriors import (
    AttentionPool,
    Concat,
    Fused,
    Gated,
    MixtureOfExperts,
    MixtureOfProducts,
    ProductOfExperts,
)

__all__ = [
    "AdaIN", "Attention", "AttentionPool", "Bernoulli", "Categorical", "Concat", "Conv3d", "CrossAttention", "FiLM",
    "FilmField", "Flat", "FrameConv", "Fused", "GRUEncoder", "Gated", "Gaussian", "KnownScale", "Laplace", "MLPDecoder",
    "MLPEncoder", "MixtureOfExperts", "MixtureOfProducts", "MultiScale", "OwnGradient", "ProductOfExperts",
    "ResBlock1d", "ResNet1d", "ResNet1dDecoder", "SensorAttention", "SensorBasis", "SensorConv", "SensorField",
    "SensorGrid", "Tokens", "TransformerBlock", "ViViT", "mlp",
]  # fmt: skip
