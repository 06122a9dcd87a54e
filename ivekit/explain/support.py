"""Where the data's codes lie, and whether a code that a slider makes is still there.

A decoder answers whatever it is asked, also of codes that no trial has: combinations that never occur, and ends that
none reaches. What it says there was never held against anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Real
from torch import Tensor

from ..views import Views
from .traverse import Latent, beliefs, direction_of, every_latent, moved, start


@dataclass(frozen=True, eq=False)
class Support:
    """The region of the latent space that holds most of the data's codes, an ellipsoid.

    blocks : their names and sizes, in the order in which codes stand side by side (k). centre (k,), precision (k, k) of
    the codes; limit, the distance (Mahalanobis) that 99 % of them keep.

    Codes are draws from the rows' posteriors, so this is the aggregate posterior (Hoffman & Johnson, 2016, "ELBO
    surgery"), seen as one normal distribution: a hole in its middle is not seen. A latent that the model does not use
    lies where the prior does.

    >>> from ivekit.models import MultimodalVAE
    >>> from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
    >>> model = MultimodalVAE(dict(a=MLPEncoder(3, 8)), ProductOfExperts("a", 8, 2), dict(a=Gaussian(MLPDecoder(2, 3))))
    >>> region = Support.of(model, Views({"a": torch.randn(50, 3)}))
    >>> region.blocks, 2 < region.limit < 4
    ({'shared': 2}, True)
    >>> region.far({"shared": torch.tensor([[0.0, 0.0], [9.0, 0.0]])}) > 1
    tensor([False,  True])
    """

    blocks: Mapping[str, int]
    centre: Float[Tensor, "k"]
    precision: Float[Tensor, "k k"]
    limit: float
    share: float = 0.99

    @classmethod
    def of(cls, model: Any, views: Views, share: float = 0.99, draws: int = 8, seed: int = 0) -> Support:
        """The region of the codes of some rows, training rows best; `draws` codes a row."""
        q = beliefs(model, views)
        mean, sd = (torch.cat([getattr(b, what).cpu() for b in q.values()], 1) for what in ("mean", "stddev"))
        generator = torch.Generator().manual_seed(seed)
        z = (mean + sd * torch.randn(draws, *mean.shape, generator=generator)).flatten(0, 1).double()
        precision = torch.linalg.inv(torch.cov(z.mT).reshape(z.shape[1], -1) + 1e-9 * torch.eye(z.shape[1]))
        limit = _distance(z - z.mean(0), precision).quantile(share)
        sizes = {name: belief.mean.shape[1] for name, belief in q.items()}
        kind = torch.get_default_dtype()
        return cls(sizes, z.mean(0).to(kind), precision.to(kind), float(limit), share)

    def far(self, z: Mapping[str, Real[Tensor, "*n _"]]) -> Float[Tensor, "*n"]:
        """How far codes by block (..., k) are out: their distance over the limit, above 1 outside."""
        if {name: x.shape[-1] for name, x in z.items()} != dict(self.blocks):
            raise ValueError(f"codes of {dict(self.blocks)} are needed, got { {n: x.shape[-1] for n, x in z.items()} }")
        return _distance(torch.cat([z[name] for name in self.blocks], -1) - self.centre, self.precision) / self.limit

    def along(self, z: Mapping[str, Real[Tensor, "*n _"]], latent: Latent) -> Float[Tensor, "*n"]:
        """How far out codes are along one latent, or direction, alone, over what as many of the data's codes keep."""
        axis = direction_of(z, *latent)
        u = torch.cat([axis if name == latent[0] else torch.zeros(k) for name, k in self.blocks.items()])
        sd = (u @ torch.linalg.inv(self.precision.double()).to(u) @ u).sqrt()
        widest = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor((1 + self.share) / 2))
        return ((torch.cat([z[name] for name in self.blocks], -1) - self.centre) @ u).abs() / (sd * widest)

    def __repr__(self) -> str:
        what = f"{len(self.centre)} latents of {', '.join(self.blocks)}"
        return f"Support of {what}: {100 * self.share:.0f} % of the codes within {self.limit:.1f}"


def departures(
    model: Any,
    views: Views,
    values: Sequence[Any] | Real[Any, "v"] | Real[Any, "l v"],
    latents: Sequence[Latent] | None = None,
    region: Support | None = None,
) -> Float[Tensor, "l v"]:
    """How far out each step of each traversal is (`traversals`): above 1, it has left the data.

    The larger of two: of the whole code (`Support.far`), and of the coordinate that moves, over what 99 % of the codes
    keep along it. Among many latents the first alone would let a single one go very far.
    region : where the data's codes lie (`Support.of` training rows); by default those of `views`.

    >>> from ivekit.models import MultimodalVAE
    >>> from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
    >>> model = MultimodalVAE(dict(a=MLPEncoder(3, 8)), ProductOfExperts("a", 8, 2), dict(a=Gaussian(MLPDecoder(2, 3))))
    >>> departures(model, Views({"a": torch.randn(50, 3)}), [0.0, 9.0]) > 1
    tensor([[False,  True],
            [False,  True]])
    """
    z = {block: rearrange(code, "k -> 1 k") for block, code in start(model, views).items()}
    latents, region = latents or every_latent(model, views), region or Support.of(model, views)
    path = moved(z, latents, values)
    alone = torch.stack([region.along(path, latent)[i, 0] for i, latent in enumerate(latents)])
    return torch.maximum(region.far(path)[:, 0], alone)


def _distance(far: Float[Tensor, "*n k"], precision: Float[Tensor, "k k"]) -> Float[Tensor, "*n"]:
    return einsum(far, precision.to(far), far, "... i, i j, ... j -> ...").clamp(min=0).sqrt()
