"""Decoders: a likelihood around a network turns a latent vector, and context if any, into a distribution.

``Gaussian(SensorField(8, 102, 60))`` is a decoder of MEG; the network maps ``z (b, k)`` and a context to a mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from .. import distributions
from .blocks import ResBlock1d, Tokens, cosines, mlp


class Gaussian(nn.Module):
    """A normal around the network's output: squared error, in units of `scale`.

    scale : the standard deviation, in standardised units: a number; a Parameter holding its logarithm, learned
        (sigma-VAE; Rybkin et al., 2021); or a module that tells it from z, such as `KnownScale`.

    >>> Gaussian(MLPDecoder(3, (2, 5)), 0.5)(torch.zeros(4, 3))
    Normal(rows=4, event=(2, 5))
    """

    density: type = distributions.Normal

    def __init__(self, net: nn.Module, scale: float | nn.Parameter | nn.Module = 1.0):
        super().__init__()
        self.net, self.scale = net, scale

    def forward(self, z: Float[Tensor, "b k"], context: Tokens | None = None) -> distributions.Normal:
        mean = self.net(z, context)
        if isinstance(self.scale, nn.Parameter):
            return self.density(mean, self.scale.exp())
        if not isinstance(self.scale, nn.Module):
            return self.density(mean, self.scale)
        scale = self.scale(z)
        return self.density(mean, scale.reshape(*scale.shape, *[1] * (mean.ndim - scale.ndim)))

    def extra_repr(self) -> str:
        return f"scale={self.scale}" if isinstance(self.scale, float | int) else ""


class Laplace(Gaussian):
    """A Laplace distribution around the network's output: absolute error, which outliers do not rule.

    >>> Laplace(MLPDecoder(3, 2))(torch.zeros(4, 3)).log_prob(torch.zeros(4, 2)).shape
    torch.Size([4])
    """

    density = distributions.Laplace


class Bernoulli(nn.Module):
    """Yes/no numbers, whose logits the network gives.

    >>> Bernoulli(MLPDecoder(3, 2))(torch.zeros(4, 3)).mean.shape
    torch.Size([4, 2])
    """

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, z: Float[Tensor, "b k"], context: Tokens | None = None) -> distributions.Bernoulli:
        return distributions.Bernoulli(self.net(z, context))


class Categorical(nn.Module):
    """Class probabilities: a classifier is a decoder of labels.

    >>> Categorical(MLPDecoder(3, 4))(torch.zeros(2, 3)).mean.shape
    torch.Size([2, 4])
    """

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, z: Float[Tensor, "b k"], context: Tokens | None = None) -> distributions.Categorical:
        return distributions.Categorical(self.net(z, context))


class KnownScale(nn.Module):
    """Two learned standard deviations: where a view's private code is known, and where it stands at its prior mean.

    A view predicted from the others alone is off by all that is private to it; with one scale for both cases, that
    miss would make the model careless about the views it does see. The private code is the last `n_private` of z,
    and stands at its prior mean when they are exactly 0.

    shape : of the scales; () is one for the whole view, (f,) one a column. `floor` keeps a perfect fit finite.

    >>> KnownScale(2)(torch.tensor([[1.0, 0.5, 0.5], [1.0, 0.0, 0.0]])).shape
    torch.Size([2])
    """

    def __init__(
        self, n_private: int, shape: Sequence[int] = (), start: tuple[float, float] = (1.0, 1.0), floor: float = 0.05
    ):
        super().__init__()
        if n_private < 1:
            raise ValueError(f"n_private is {n_private}: without a private code there is one scale, an nn.Parameter")
        self.n_private, self.floor = n_private, floor
        self.log = nn.Parameter(torch.stack([torch.full(tuple(shape), math.log(s)) for s in start]))

    def forward(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b ..."]:
        unknown = (z[:, -self.n_private :] == 0).all(1).long()
        return (self.log.exp() + self.floor)[unknown]

    def extra_repr(self) -> str:
        return f"n_private={self.n_private}, shape={tuple(self.log.shape[1:])}"


class OwnGradient(nn.Module):
    """A network, into whose shared code a view's own likelihood sends only the part `own` of its gradient.

    What a view sees of itself would fill the shared code with things private to it; what others see of it cannot.
    Where the private code (the last of z) is exactly 0, the view was not seen, and the gradient passes whole.

    >>> z = torch.ones(1, 3, requires_grad=True)
    >>> OwnGradient(MLPDecoder(3, 1), shared=2, own=0.0)(z).sum().backward()
    >>> z.grad[0, :2]
    tensor([0., 0.])
    """

    def __init__(self, net: nn.Module, shared: int, own: float = 0.2):
        super().__init__()
        self.net, self.shared, self.own = net, shared, own

    def forward(self, z: Float[Tensor, "b k"], context: Tokens | None = None) -> Float[Tensor, "b ..."]:
        u, w = z[:, : self.shared], z[:, self.shared :]
        seen = (w != 0).any(1, keepdim=True)
        u = torch.where(seen, u.detach() + self.own * (u - u.detach()), u)
        return self.net(torch.cat([u, w], -1), context)


class MLPDecoder(nn.Module):
    """A row of any shape from a small network.

    >>> MLPDecoder(3, (1, 16, 32, 32))(torch.zeros(2, 3)).shape
    torch.Size([2, 1, 16, 32, 32])
    """

    def __init__(self, latent: int, shape: int | Sequence[int], widths: Sequence[int] = (128,)):
        super().__init__()
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.net = mlp(latent, *widths, math.prod(self.shape))

    def forward(self, z: Float[Tensor, "b k"], context: Tokens | None = None) -> Float[Tensor, "b ..."]:
        return self.net(z).unflatten(-1, self.shape)


class SensorField(nn.Module):
    """MEG or EEG as a few fields times smooth courses: ``x = sum_r field_r course_r(t; z)`` plus what is constant.

    Sources are few and slow beside sensors and samples; a decoder that knows it has no room for noise. Courses are
    sums of `n_basis` cosines, linear in z with a nonlinear part added.

    >>> SensorField(8, 102, 60)(torch.zeros(2, 8)).shape
    torch.Size([2, 102, 60])
    """

    basis: Tensor

    def __init__(self, latent: int, n_chans: int, n_times: int, rank: int = 12, n_basis: int = 20, width: int = 64):
        super().__init__()
        n_basis, self.rank = min(n_basis, n_times), rank
        self.register_buffer("basis", cosines(n_times, n_basis))
        self.linear, self.net = nn.Linear(latent, rank * n_basis), mlp(latent, width, width, rank * n_basis)
        self.fields = nn.Linear(rank, n_chans, bias=False)
        nn.init.orthogonal_(self.fields.weight)
        self.constant = nn.Parameter(torch.zeros(n_chans, n_times))

    def forward(self, z: Float[Tensor, "b k"], context: Tokens | None = None) -> Float[Tensor, "b c t"]:
        courses = rearrange(self.linear(z) + self.net(z), "b (r n) -> b r n", r=self.rank) @ self.basis
        return self.fields.weight @ courses + self.constant


class FilmField(nn.Module):
    """A film as a smooth function of time, height and width: a sum of cosines in each, whose weights z tells.

    Objects are larger than pixels and move slower than frames; a decoder that knows it cannot learn pixel noise by
    heart, and costs a tenth of one that makes each pixel by itself.

    n_basis : cosines over time, height and width.

    >>> FilmField(8, (1, 16, 32, 32))(torch.zeros(2, 8)).shape
    torch.Size([2, 1, 16, 32, 32])
    """

    t: Tensor
    h: Tensor
    w: Tensor

    def __init__(
        self,
        latent: int,
        shape: Sequence[int],
        n_basis: tuple[int, int, int] = (8, 16, 16),
        widths: Sequence[int] = (128, 64),
    ):
        super().__init__()
        self.shape, n_chans = (shape[0], *map(min, n_basis, shape[1:])), shape[0]
        self.net = mlp(latent, *widths, math.prod(self.shape))
        for axis, n, kept in zip("thw", shape[1:], self.shape[1:]):
            self.register_buffer(axis, cosines(n, kept))
        self.constant = nn.Parameter(torch.zeros(n_chans, *shape[1:]))

    def forward(self, z: Float[Tensor, "b k"], context: Tokens | None = None) -> Float[Tensor, "b c t h w"]:
        x = self.h.mT @ (self.net(z).unflatten(-1, self.shape) @ self.w)
        over_time = self.t.mT @ rearrange(x, "b c t h w -> b c t (h w)")
        return over_time.unflatten(-1, self.constant.shape[-2:]) + self.constant


class ResNet1dDecoder(nn.Module):
    """Physiological signals of any length: upsampling residual blocks.

    shape : (channels, samples) of a row. depth : how often the time axis is doubled.
    steps : None takes the latents all together. A number takes them as that many steps in time, side by side as an
        encoder of as many tokens leaves them (`Fused`, `Experts`): a moment is then told by the latents near it alone.

    >>> ResNet1dDecoder(8, (1, 250))(torch.zeros(2, 8)).shape
    torch.Size([2, 1, 250])
    >>> ResNet1dDecoder(64, (1, 250), depth=3, steps=32)(torch.zeros(2, 64)).shape
    torch.Size([2, 1, 250])
    """

    def __init__(
        self,
        latent: int,
        shape: tuple[int, int],
        dim: int = 32,
        depth: int = 3,
        steps: int | None = None,
        least: int = 4,
    ):
        super().__init__()
        self.shape, self.start, self.dim, self.steps = tuple(shape), math.ceil(shape[1] / 2**depth), dim, steps
        widths = [max(least, dim // 2**i) for i in range(depth + 1)]
        if steps is None:
            self.seed: nn.Module = nn.Linear(latent, dim * self.start)
        elif steps != self.start or latent % steps:
            raise ValueError(
                f"{shape[1]} samples halved {depth} times are {self.start} steps, which must be `steps` and divide the "
                f"latents; got {steps} steps and {latent} latents"
            )
        else:
            self.seed = nn.Conv1d(latent // steps, widths[0], 3, padding=1)
        blocks = ([nn.Upsample(scale_factor=2), ResBlock1d(a, b)] for a, b in zip(widths, widths[1:]))
        self.blocks = nn.Sequential(*(layer for block in blocks for layer in block))
        self.out = nn.Conv1d(widths[-1], shape[0], 7, padding=3)

    def forward(self, z: Float[Tensor, "b k"], context: Tokens | None = None) -> Float[Tensor, "b c t"]:
        if self.steps is None:
            x = rearrange(self.seed(z), "b (d n) -> b d n", d=self.dim)
        else:
            x = self.seed(rearrange(z, "b (n k) -> b k n", n=self.steps))
        return self.out(self.blocks(x))[..., : self.shape[1]]
