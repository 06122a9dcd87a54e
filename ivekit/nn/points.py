"""Points in space: values at coordinates become tokens, and a latent vector a field that can be asked anywhere."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .blocks import Tokens, TransformerBlock, expect, full, mlp
from .conditioning import CrossAttention

Coordinates = Sequence[Sequence[float | int]] | Float[Tensor, "n 3"]


class FourierFeatures(nn.Module):
    """Coordinates as waves of random directions and lengths, which let a small network draw fine maps.

    ``[x, sin(2 pi B x), cos(2 pi B x)]``, B normal of standard deviation `bandwidth`, in waves a unit of x, and fixed
    (Tancik et al., 2020). A large bandwidth learns fine detail, and guesses wildly between the points it was taught.

    >>> FourierFeatures(16)(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 5, 35])
    """

    waves: Tensor

    def __init__(self, n_waves: int, bandwidth: float = 0.25, n_axes: int = 3, seed: int = 0):
        super().__init__()
        drawn = torch.randn(n_axes, n_waves, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("waves", 2 * torch.pi * bandwidth * drawn)
        self.bandwidth, self.size = bandwidth, n_axes + 2 * n_waves

    def forward(self, x: Float[Tensor, "*b xyz"]) -> Float[Tensor, "*b d"]:
        phase = x @ self.waves
        return torch.cat([x, phase.sin(), phase.cos()], -1)

    def extra_repr(self) -> str:
        return f"n_waves={self.waves.shape[1]}, bandwidth={self.bandwidth}"


class CoordinateEncoder(nn.Module):
    """Where, as tokens: Fourier features of coordinates through a small network; one token a point.

    As the encoder of a view named in `condition`, its tokens are the questions that a `PointDecoder` answers.

    >>> CoordinateEncoder(32)(torch.zeros(2, 50, 3)).shape
    torch.Size([2, 50, 32])
    """

    def __init__(self, dim: int, n_waves: int = 48, bandwidth: float = 0.25, width: int = 96, n_axes: int = 3):
        super().__init__()
        self.n_axes, self.waves = n_axes, FourierFeatures(n_waves, bandwidth, n_axes)
        self.net = mlp(self.waves.size, width, width, dim)

    def forward(self, x: Float[Tensor, "b n xyz"]) -> Float[Tensor, "b n d"]:
        expect(x, (None, self.n_axes), self)
        return self.net(self.waves(x))


class GatedBlock(nn.Module):
    """A residual block whose channels are opened and shut: by a gate at each token, and by what all tokens hold.

    ``x + s * (a * sigmoid(g))``: a, g from the token itself (a gated linear unit; Dauphin et al., 2017), the
    excitation s from the mean of `squeeze` (squeeze-and-excitation; Hu et al., 2018). A field is given the latent's
    tokens to squeeze: its answer at one point must not hang on which others are asked.

    >>> GatedBlock(16)(torch.zeros(2, 5, 16)).shape
    torch.Size([2, 5, 16])
    """

    def __init__(self, dim: int):
        super().__init__()
        self.net = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, 2 * dim))
        self.excite = nn.Sequential(*mlp(dim, max(4, dim // 4), dim), nn.Sigmoid())

    def forward(
        self, x: Float[Tensor, "b n d"], squeeze: Float[Tensor, "b m d"] | None = None
    ) -> Float[Tensor, "b n d"]:
        seen = (x if squeeze is None else squeeze).mean(1, keepdim=True)
        return x + 2 * self.excite(seen) * F.glu(self.net(x), -1)


class PointEncoder(nn.Module):
    """Values at any number of points, some missing, as a few tokens: coarse and fine looks at all of space.

    Each look has its place, an anchor, and averages what the points near it say: attention whose scores are those of
    content minus the squared distance in units of a width that is learned. Coarse looks are wide and few, fine ones
    narrow and many; each also knows how much there was to see, and how much it scattered. Self-attention then lets them
    compare, and what leaves are `n_tokens` mixtures of all looks, in order.

    Rows are ``(n, 3 + f)``: coordinates, standardised or of about that size, then f values. mask : (b, n), or of the
    rows' shape; a point is used where all its numbers are there. A row without points has no token.

    looks : (how many, how wide, in units of the coordinates) of each scale.

    >>> PointEncoder(16)(torch.zeros(2, 50, 4), torch.ones(2, 50, dtype=torch.bool)).x.shape
    torch.Size([2, 4, 16])
    """

    def __init__(
        self,
        dim: int,
        n_values: int = 1,
        n_tokens: int = 4,
        looks: Sequence[tuple[int, float]] = ((1, 3.0), (8, 1.0), (40, 0.4)),
        n_waves: int = 24,
        depth: int = 1,
        heads: int = 4,
    ):
        super().__init__()
        self.n_numbers, self.heads, self.n_tokens = 3 + n_values, heads, n_tokens
        self.waves = FourierFeatures(n_waves)
        self.embed = mlp(self.waves.size + n_values, 2 * dim, dim)
        self.to_kv = nn.Linear(dim, 2 * dim)
        self.anchors = nn.Parameter(torch.cat([_spread_out(n) for n, _ in looks]))
        self.log_width = nn.Parameter(torch.cat([torch.full((n,), width).log() for n, width in looks]))
        self.queries = nn.Parameter(torch.randn(len(self.anchors), dim) / dim**0.5)
        self.amount = nn.Linear(1 + n_values, dim)
        self.compare = nn.Sequential(
            *(nn.Sequential(TransformerBlock(dim, heads), GatedBlock(dim)) for _ in range(depth))
        )
        self.mix = nn.Linear(len(self.anchors) * dim, n_tokens * dim)

    def forward(self, x: Float[Tensor, "b n f"], mask: Bool[Tensor, "b n *f"]) -> Tokens:
        expect(x, (None, self.n_numbers), self)
        here = mask.all(-1) if mask.ndim == 3 else mask
        looks = self.compare(self.look(torch.where(here[..., None], x, 0), here))
        tokens = rearrange(self.mix(rearrange(looks, "b m d -> b (m d)")), "b (n d) -> b n d", n=self.n_tokens)
        return Tokens(tokens, repeat(here.any(1), "b -> b n", n=self.n_tokens))

    def look(self, x: Float[Tensor, "b n f"], here: Bool[Tensor, "b n"]) -> Float[Tensor, "b m d"]:
        """What each anchor sees of the points around it."""
        xyz = x[..., :3]
        points = self.embed(torch.cat([self.waves(xyz), x[..., 3:]], -1))
        k, v = rearrange(self.to_kv(points), "b n (two h d) -> two b h n d", two=2, h=self.heads)
        q = rearrange(self.queries, "m (h d) -> h m d", h=self.heads)
        near = -0.5 * torch.cdist(self.anchors, xyz).square() / (2 * self.log_width).exp()[:, None]  # b m n
        near = torch.where(here[:, None], near, torch.finfo(near.dtype).min / 4)
        weights = (q @ k.mT / q.shape[-1] ** 0.5 + near[:, None]).softmax(-1)
        seen = rearrange(weights @ v, "b h m d -> b m (h d)")
        return seen + self.queries + self.amount(self.surroundings(near, x[..., 3:], here))

    def surroundings(
        self, near: Float[Tensor, "b m n"], values: Float[Tensor, "b n f"], here: Bool[Tensor, "b n"]
    ) -> Float[Tensor, "b m f2"]:
        """How many points lie around each anchor, and how much their values scatter there: how noisy they are."""
        amount = torch.where(here[:, None], near, -torch.inf).logsumexp(-1, keepdim=True).clamp(min=-10)
        with torch.autocast(near.device.type, enabled=False):  # a difference of squares needs all its digits
            weights, values = full(near).softmax(-1), full(values)
            scatter = (weights @ values.square() - (weights @ values).square()).clamp(min=0)
        return torch.cat([0.2 * amount, 0.5 * (scatter + 1e-3).log()], -1)


class PointTokens(nn.Module):
    """Values at any number of points, some missing, one token a point: attention can then choose among points.

    A point's values weigh vectors that hang on its place (Fourier features through a small network), and a small
    network follows. Points do not know of one another: of many, `PointEncoder` makes fewer tokens.

    Rows are ``(n, 3 + f)``: coordinates, standardised or of about that size, then f values. mask : as `PointEncoder`'s.

    >>> PointTokens(16)(torch.zeros(2, 50, 4), torch.ones(2, 50, dtype=torch.bool)).x.shape
    torch.Size([2, 50, 16])
    """

    def __init__(self, dim: int, n_values: int = 1, n_waves: int = 32, bandwidth: float = 0.5):
        super().__init__()
        self.n_numbers, self.axes, self.waves = 3 + n_values, {"point": -1}, FourierFeatures(n_waves, bandwidth)
        self.where = mlp(self.waves.size, dim, (1 + n_values) * dim)
        self.net = nn.Sequential(nn.LayerNorm(dim), *mlp(dim, 2 * dim, dim))

    def forward(self, x: Float[Tensor, "b n f"], mask: Bool[Tensor, "b n *f"]) -> Tokens:
        expect(x, (None, self.n_numbers), self)
        here = mask.all(-1) if mask.ndim == 3 else mask
        x = torch.where(here[..., None], x, 0)
        place, *slopes = rearrange(self.where(self.waves(x[..., :3])), "b n (f d) -> f b n d", f=self.n_numbers - 2)
        h = place + sum(slope * x[..., 3 + i, None] for i, slope in enumerate(slopes))
        return Tokens(h + self.net(h), here)


class KnownPlaces(nn.Module):
    """Values at places that are the same in every row, for an encoder of points: (b, n, f) with the places beside.

    xyz : (n, 3), in any unit; they are standardised as `Places` are.
    encoder : of rows ``(n, 3 + f)``: `PointTokens` or `PointEncoder`.

    >>> encode = KnownPlaces([[0.0, 0, 0], [10, 0, 0], [0, 10, 0]], PointEncoder(16))
    >>> encode(torch.zeros(2, 3, 1), torch.ones(2, 3, dtype=torch.bool)).x.shape
    torch.Size([2, 4, 16])
    """

    xyz: Tensor

    def __init__(self, xyz: Coordinates, encoder: nn.Module):
        super().__init__()
        self.encoder, self.axes = encoder, getattr(encoder, "axes", {})
        self.register_buffer("xyz", standard(xyz))

    def forward(self, x: Float[Tensor, "b n f"], mask: Bool[Tensor, "b n *f"]) -> Tokens:
        expect(x, (len(self.xyz), None), self)
        here = mask.all(-1) if mask.ndim == 3 else mask
        return self.encoder(torch.cat([repeat(self.xyz, "n xyz -> b n xyz", b=len(x)), x], -1), here)


def standard(xyz: Coordinates) -> Float[Tensor, "n 3"]:
    """Places around their middle, in units of their spread.

    >>> standard([[0.0, 0, 0], [2, 0, 0]]).tolist()
    [[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    """
    x = torch.as_tensor(xyz, dtype=torch.float64)
    if x.ndim != 2 or x.shape[1] != 3 or not x.isfinite().all():
        raise ValueError(f"places are (n, 3) finite numbers, x, y and z, got {tuple(x.shape)}")
    centred = x - x.mean(0)
    return (centred / centred.square().sum(1).mean().sqrt().clamp(min=1e-12)).float()


def _spread_out(n: int) -> Float[Tensor, "n 3"]:
    """Places that fill the cube from -1.5 to 1.5 evenly: the first one its centre (a low-discrepancy sequence)."""
    golden = 1.2207440846057596  # the root of x^4 = x + 1: the plastic number's kin in three dimensions
    steps = torch.tensor([1 / golden, 1 / golden**2, 1 / golden**3], dtype=torch.float64)
    return (3 * ((0.5 + torch.arange(n)[:, None] * steps) % 1) - 1.5).float()


class PointDecoder(nn.Module):
    """A field: the value at any coordinates, also ones never seen, for a latent vector.

    The latent becomes tokens, which compare themselves by self-attention; each question (a token of the context, from
    a `CoordinateEncoder`) looks at them by cross-attention, stage by stage, each stage adding to the answer of the one
    before. Beside it stands a sum of maps weighted linearly by the latent, the part that a principal component
    analysis would find. An output scale is learned; no sigmoid bends what leaves.

    Each point is answered by itself: the answer does not depend on which others are asked, nor on how many.

    n_values : numbers a point; 1 gives (b, n), more give (b, n, f).

    >>> questions = Tokens.of(CoordinateEncoder(16)(torch.rand(2, 50, 3)), torch.ones(2, dtype=torch.bool))
    >>> PointDecoder(4, 16)(torch.zeros(2, 4), questions).shape
    torch.Size([2, 50])
    """

    def __init__(
        self,
        latent: int,
        dim: int,
        n_values: int = 1,
        n_tokens: int = 8,
        depth: int = 2,
        heads: int = 4,
        rank: int = 16,
    ):
        super().__init__()
        self.n_values, self.n_tokens = n_values, n_tokens
        self.to_tokens = nn.Linear(latent, n_tokens * dim)
        self.places = nn.Parameter(0.1 * torch.randn(n_tokens, dim))
        self.compare = nn.Sequential(TransformerBlock(dim, heads), GatedBlock(dim))
        self.ask = nn.ModuleList(CrossAttention(dim, heads) for _ in range(depth))
        self.stages = nn.ModuleList(GatedBlock(dim) for _ in range(depth))
        self.answers = nn.ModuleList(nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, n_values)) for _ in range(depth))
        self.weigh, self.maps = nn.Linear(latent, rank), mlp(dim, 2 * dim, rank * n_values)
        self.log_scale = nn.Parameter(torch.zeros(n_values))

    def forward(self, z: Float[Tensor, "b k"], context: Tokens | None) -> Float[Tensor, "b n *f"]:
        if context is None:
            raise ValueError("a PointDecoder is asked at coordinates: name their view in the model's condition")
        tokens = self.tokens(z)
        x, there = context.x, Tokens.of(tokens, torch.ones(z.shape[0], dtype=torch.bool, device=z.device))
        maps = rearrange(self.maps(x), "b n (f r) -> b n f r", f=self.n_values)
        total = (maps * self.weigh(z)[:, None, None]).sum(-1)
        for ask, stage, answer in zip(self.ask, self.stages, self.answers):
            x = stage(ask(x, there), tokens)
            total = total + answer(x)
        total = self.log_scale.exp() * total
        return total[..., 0] if self.n_values == 1 else total

    def tokens(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b m d"]:
        """The latent as tokens that have looked at each other."""
        return self.compare(rearrange(self.to_tokens(z), "b (m d) -> b m d", m=self.n_tokens) + self.places)


class RowScale(nn.Module):
    """A standard deviation a row, told from its latent: each lipid, subject or recording has its own noise.

    For ``Gaussian(net, scale=RowScale(latent))``; the variance is learned with the mean, and `floor` keeps it finite.

    >>> RowScale(4)(torch.zeros(3, 4)).shape
    torch.Size([3])
    """

    def __init__(self, latent: int, width: int = 16, start: float = 0.5, floor: float = 0.02):
        super().__init__()
        self.floor, self.start = floor, start
        self.net = mlp(latent, width, 1)

    def forward(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b"]:
        return self.start * (4 * torch.tanh(self.net(z)[:, 0] / 4)).exp() + self.floor  # a clamp would pass no gradient
