"""Networks: tensors and tokens in, tokens and distributions out. Nothing here knows what a trial is."""

from .blocks import Attention, ResBlock1d, Tokens, TransformerBlock, mlp
from .columns import Columns, LogNormal
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
from .decoding import LFCNN, VARCNN, EEGNet, Jitter, LowPass, ShallowNet, patterns, responses
from .denoisers import ImageDenoiser, MLPDenoiser, TokenDenoiser
from .diffusion import Diffusion
from .encoders import (
    Conv3d,
    Flat,
    FrameConv,
    MLPEncoder,
    MultiScale,
    ResNet1d,
    SensorAttention,
    SensorBasis,
    SensorConv,
    SensorGrid,
)
from .posteriors import (
    AttentionPool,
    Concat,
    Fused,
    Gated,
    MixtureOfExperts,
    MixtureOfProducts,
    Point,
    ProductOfExperts,
)
from .recurrent import GRUEncoder, LSTMEncoder, Summary
from .vivit import FactorisedViViT, ViViT

__all__ = [
    "AdaIN", "Attention", "AttentionPool", "Bernoulli", "Categorical", "Columns", "Concat", "Conv3d",
    "CrossAttention", "Diffusion", "EEGNet", "FactorisedViViT", "FiLM", "FilmField", "Flat", "FrameConv", "Fused",
    "GRUEncoder", "Gated", "Gaussian", "ImageDenoiser", "Jitter", "KnownScale", "LFCNN", "LSTMEncoder", "Laplace",
    "LogNormal", "LowPass", "MLPDecoder", "MLPDenoiser", "MLPEncoder", "MixtureOfExperts", "MixtureOfProducts",
    "MultiScale", "OwnGradient", "Point", "ProductOfExperts", "ResBlock1d", "ResNet1d", "ResNet1dDecoder", "SensorAttention",
    "SensorBasis", "SensorConv", "SensorField", "SensorGrid", "ShallowNet", "Summary", "TokenDenoiser", "Tokens",
    "TransformerBlock", "VARCNN", "ViViT", "mlp", "patterns", "responses",
]  # fmt: skip
