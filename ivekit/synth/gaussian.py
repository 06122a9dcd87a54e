"""A linear-Gaussian world, where the evidence and the posterior are known exactly whatever is missing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd
import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from ..views import Views


@dataclass(frozen=True, repr=False, eq=False)
class LinearGaussian:
    """Views that are linear in one normal latent vector: ``x = A z + noise`` in each, and the exact answers about them.

    Parameters
    ----------
    views : the data, ``(b, c)`` a view.
    factors : the true z, one column a latent.
    loadings : view -> A ``(c, k)``, float64.
    noise : view -> the standard deviation of its white noise.

    What is absent of a view, rows or elements, and a view that is not there at all are left out of the answers.
    """

    views: Views
    factors: pd.DataFrame
    loadings: Mapping[str, Float[Tensor, "_ k"]]
    noise: Mapping[str, float]

    @property
    def owners(self) -> dict[str, frozenset[str]]:
        """Latent -> the views it drives: every one."""
        return {factor: frozenset(self.loadings) for factor in self.factors.columns}

    def posterior(self, views: Views) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k k"]]:
        """Mean and covariance of z given what is present: ``P^-1 h`` and ``P^-1`` (Bishop, 2006, equation 2.116).

        ``P = 1 + sum A' A / s^2`` and ``h = sum A' x / s^2`` over what is present; with nothing present, the prior.

        >>> world = linear_gaussian(n_rows=3, n_latents=2)
        >>> mean, covariance = world.posterior(world.views)
        >>> mean.shape, covariance.shape
        (torch.Size([3, 2]), torch.Size([3, 2, 2]))
        """
        precision, pull = self._precision_and_pull(views)
        covariance = torch.linalg.inv(precision)
        return einsum(covariance, pull, "b k l, b l -> b k"), covariance

    def log_evidence(self, views: Views) -> Float[Tensor, "b"]:
        """log p(what is present) of each row in nats; 0 where nothing is.

        ``(h' P^-1 h - log|P|) / 2`` plus the log density of x under the noise alone: the determinant lemma and
        Woodbury's identity on ``N(x; 0, A A' + s^2)``.

        >>> world = linear_gaussian(n_rows=3)
        >>> both, one = world.log_evidence(world.views), world.log_evidence(world.views.without("c"))
        >>> both.dtype, bool((both != one).all())
        (torch.float64, True)
        """
        precision, pull = self._precision_and_pull(views)
        explained = einsum(pull, torch.linalg.solve(precision, pull), "b k, b k -> b")
        alone = sum(
            -0.5 * (mask * (math.log(2 * math.pi * noise**2) + (x / noise) ** 2)).sum(dim=1)
            for x, mask, _, noise in self._parts(views)
        )
        return alone + 0.5 * (explained - torch.linalg.slogdet(precision).logabsdet)

    def _precision_and_pull(self, views: Views) -> tuple[Float[Tensor, "b k k"], Float[Tensor, "b k"]]:
        prior = torch.eye(len(self.factors.columns), dtype=torch.float64)
        precision, pull = repeat(prior, "k l -> b k l", b=len(views)).clone(), prior.new_zeros(len(views), len(prior))
        for x, mask, loading, noise in self._parts(views):
            precision += einsum(mask, loading, loading, "b c, c k, c l -> b k l") / noise**2
            pull += einsum(x, loading, "b c, c k -> b k") / noise**2
        return precision, pull

    def _parts(self, views: Views) -> Iterator[tuple[Tensor, Tensor, Tensor, float]]:
        """Data (0 where absent), mask (b, c), loadings and noise of each view."""
        for name in views:
            if name not in self.loadings:
                raise ValueError(f"view {name!r} is none of this world's: {', '.join(self.loadings)}")
            x, mask = views[name].double(), views.present[name]
            mask = (rearrange(mask, "b -> b 1") if mask.ndim == 1 else mask).expand_as(x)
            yield x.where(mask, 0.0), mask.double(), self.loadings[name], self.noise[name]

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} ({a.shape[0]})" for name, a in self.loadings.items())
        return f"LinearGaussian of {len(self.views)} rows: {self.factors.shape[1]} latents -> {sizes}"


def linear_gaussian(
    n_rows: int = 1024,
    n_latents: int = 3,
    widths: Mapping[str, int] | None = None,
    noise: float | Mapping[str, float] = 0.5,
    orthogonal: bool = True,
    seed: int = 0,
) -> LinearGaussian:
    """Draw a linear-Gaussian world: z is standard normal and each view is ``A z`` plus white noise.

    With orthogonal columns in every A the posterior has a diagonal covariance, given any of the views, and equals the
    product of the prior and of one diagonal expert a view: a product of experts can be exactly right, else not.

    Parameters
    ----------
    widths : view -> its number of columns; three views of 4, 5 and 6 by default.
    noise : standard deviation, one for all views or view -> its own.

    Raises
    ------
    ValueError : when a view has fewer columns than latents and they should be orthogonal; when a noise is not positive.

    >>> linear_gaussian(n_rows=8)
    LinearGaussian of 8 rows: 3 latents -> a (4), b (5), c (6)
    """
    widths = dict(widths or {"a": 4, "b": 5, "c": 6})
    noise = {name: float(noise[name] if isinstance(noise, Mapping) else noise) for name in widths}
    _check(widths, noise, n_latents, orthogonal)
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    loadings = {name: _loading(draw(width, n_latents), orthogonal) for name, width in widths.items()}
    z = draw(n_rows, n_latents)
    tensors = {
        name: (einsum(z, a, "b k, c k -> b c") + noise[name] * draw(n_rows, len(a))).float()
        for name, a in loadings.items()
    }
    factors = pd.DataFrame(z.numpy(), columns=[f"z{i + 1}" for i in range(n_latents)])
    return LinearGaussian(Views(tensors), factors, loadings, noise)


def _loading(a: Float[Tensor, "c k"], orthogonal: bool) -> Float[Tensor, "c k"]:
    """Columns of norms from 0.6 to 1.4, so that the latents are told apart; at right angles when asked."""
    columns = torch.linalg.qr(a).Q if orthogonal else a / a.norm(dim=0)
    return columns * torch.linspace(1.4, 0.6, a.shape[1], dtype=a.dtype)


def _check(widths: Mapping[str, int], noise: Mapping[str, float], n_latents: int, orthogonal: bool):
    for name, width in widths.items():
        if orthogonal and width < n_latents:
            raise ValueError(
                f"view {name!r} has {width} columns, too few for {n_latents} orthogonal latents; "
                f"widen it or say orthogonal=False"
            )
        if not noise[name] > 0:
            raise ValueError(f"the noise of view {name!r} is {noise[name]}, it must be positive")
