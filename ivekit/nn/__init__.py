"""Networks: tensors and tokens in, tokens and distributions out. Nothing here knows what a trial is."""

from .blocks import Attention, ResBlock1d, Tokens, TransformerBlock, mlp
from .columns import Columns, LogNormal
from .committee import Committee, SideBySide
from .conditioning import AdaIN, CrossAttention, FiLM, Queries
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
from .decoding import LFCNN, VARCNN, Dropout, EEGNet, Jitter, LowPass, ShallowNet, patterns, responses
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
from .graphs import GraphBlock, GraphEncoder, NodeDecoder, NodeDenoiser, NodeNames, Places
from .grids import GatedConv3d, GridDecoder, GridEncoder, Rasterise
from .images import ConvDecoder, ResNet2d, ResNet3d
from .points import (
    CoordinateEncoder,
    FourierFeatures,
    GatedBlock,
    KnownPlaces,
    PointDecoder,
    PointEncoder,
    PointTokens,
    RowScale,
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
from .sequences import ColumnEncoder, LSTMDecoder, SeriesTransformer, TokenDecoder
from .text import Autoregressive, LanguageModel, TextEncoder, TextGRU
from .vivit import FactorisedViViT, ViViT

__all__ = [
    "LFCNN", "VARCNN", "AdaIN", "Attention", "AttentionPool", "Autoregressive", "Bernoulli", "Categorical",
    "ColumnEncoder", "Columns", "Committee", "Concat", "Conv3d", "ConvDecoder", "CoordinateEncoder", "CrossAttention",
    "Diffusion", "Dropout", "EEGNet", "FactorisedViViT", "FiLM", "FilmField", "Flat", "FourierFeatures", "FrameConv",
    "Fused", "GRUEncoder", "Gated", "GatedBlock", "GatedConv3d", "Gaussian", "GraphBlock", "GraphEncoder",
    "GridDecoder", "GridEncoder", "ImageDenoiser", "Jitter", "KnownPlaces", "KnownScale", "LSTMDecoder", "LSTMEncoder",
    "LanguageModel", "Laplace", "LogNormal", "LowPass", "MLPDecoder", "MLPDenoiser", "MLPEncoder", "MixtureOfExperts",
    "MixtureOfProducts", "MultiScale", "NodeDecoder", "NodeDenoiser", "NodeNames", "OwnGradient", "Places", "Point",
    "PointDecoder", "PointEncoder", "PointTokens", "ProductOfExperts", "Queries", "Rasterise", "ResBlock1d", "ResNet1d",
    "ResNet1dDecoder", "ResNet2d", "ResNet3d", "RowScale", "SensorAttention", "SensorBasis", "SensorConv",
    "SensorField", "SensorGrid", "SeriesTransformer", "ShallowNet", "SideBySide", "Summary", "TextEncoder", "TextGRU",
    "TokenDecoder", "TokenDenoiser", "Tokens", "TransformerBlock", "ViViT", "mlp", "patterns", "responses",
]  # fmt: skip
