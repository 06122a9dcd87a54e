"""Turn one latent and decode: what a slider shows, without the slider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int, Real
from torch import Tensor

from ..nn import Tokens
from ..views import Views
from .forward import at_rest

Codes = Mapping[str, Float[Tensor, "k"]]


def start(model: Any, views: Views) -> dict[str, Float[Tensor, "k"]]:
    """The code that a traversal starts from: the mean over rows of the posterior means, by block.

    Of one row, that row's own. Of rows of which nothing is there (``views.without(*views)``), the prior's mean.

    >>> from ivekit.models import MultimodalVAE
    >>> from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
    >>> model = MultimodalVAE(dict(a=MLPEncoder(3, 8)), ProductOfExperts("a", 8, 2), dict(a=Gaussian(MLPDecoder(2, 3))))
    >>> start(model, Views({"a": torch.ones(4, 3)}).without("a"))["shared"]
    tensor([0., 0.])
    """
    with at_rest(model) as device, torch.no_grad():
        return {block: q.mean.mean(0).cpu() for block, q in model.encode(views.to(device)).items()}


def traverse(
    model: Any, views: Views, block: str, index: int | Real[Any, "k"], values: Sequence[float | int] | Real[Any, "v"]
) -> dict[str, Float[Tensor, "v *shape"]]:
    """What a model decodes while one latent takes some values and everything else stays as it starts (`start`).

    index : the number of a latent, or a direction (k,), such as a column of a rotation or a readout's weights; along
        one of length 1, a value is the code's coordinate there.
    values (v,): in units of the latent, whose prior has a standard deviation of 1.

    Returns
    -------
    {view: (v, *shape)}, the likelihoods' means in the data's own units. A view of which the latent says nothing stays
    as it is.

    Raises
    ------
    ValueError : when there is no such block or latent.

    >>> from ivekit.models import MultimodalVAE
    >>> from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
    >>> model = MultimodalVAE(dict(a=MLPEncoder(3, 8)), ProductOfExperts("a", 8, 2), dict(a=Gaussian(MLPDecoder(2, 3))))
    >>> traverse(model, Views({"a": torch.zeros(4, 3)}), "shared", 0, [-2, 0, 2])["a"].shape
    torch.Size([3, 3])
    """
    z = start(model, views)
    moved = _moved(z, block, index, values)
    return _decoded(model, views[:1], moved)


def traverse_band(
    model: Any,
    views: Views,
    block: str,
    index: int | Real[Any, "k"],
    values: Sequence[float | int] | Real[Any, "v"],
    level: float = 0.9,
    n_samples: int = 64,
    seed: int = 0,
) -> dict[str, Float[Tensor, "2 v *shape"]]:
    """Between which bounds a traversal's means lie when all other latents are what they may be, not what they are.

    The other latents are drawn from the posteriors of `views` (of one row: that row's; of several, each draw takes a
    row), the same draws at every value. Lower and upper end of the central interval that holds `level` of the draws.
    It says nothing of the noise around the means.

    >>> from ivekit.models import MultimodalVAE
    >>> from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
    >>> model = MultimodalVAE(dict(a=MLPEncoder(3, 8)), ProductOfExperts("a", 8, 2), dict(a=Gaussian(MLPDecoder(2, 3))))
    >>> low, high = traverse_band(model, Views({"a": torch.zeros(4, 3)}), "shared", 0, [-2, 0, 2])["a"]
    >>> low.shape, bool((low <= high).all())
    (torch.Size([3, 3]), True)
    """
    with at_rest(model) as device, torch.no_grad():
        beliefs = model.encode(views.to(device))
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(views), (n_samples,), generator=generator)
    drawn = {name: _drawn(q, rows, generator) for name, q in beliefs.items()}
    paths = [_moved({name: z[i] for name, z in drawn.items()}, block, index, values) for i in range(n_samples)]
    each = [_decoded(model, views[:1], path) for path in paths]
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2])
    return {name: torch.stack([said[name] for said in each]).quantile(tails, 0) for name in each[0]}


def _drawn(q: Any, rows: Int[Tensor, "n"], generator: torch.Generator) -> Float[Tensor, "n k"]:
    mean, sd = q.mean.cpu()[rows], q.stddev.cpu()[rows]
    return mean + sd * torch.randn(mean.shape, generator=generator)


def _moved(z: Codes, block: str, index: Any, values: Any) -> dict[str, Float[Tensor, "v k"]]:
    """The code once a value, of which one latent, or the coordinate along a direction, has that value."""
    if block not in z:
        raise ValueError(f"no block {block!r} of latents; there are {list(z)}")
    k = len(z[block])
    if isinstance(index, int):
        if not 0 <= index < k:
            raise ValueError(f"block {block!r} has latents 0 to {k - 1}, no {index}")
        direction = torch.eye(k)[index]
    else:
        direction = torch.as_tensor(index, dtype=torch.get_default_dtype())
        if direction.shape != (k,) or not direction.norm() > 0:
            raise ValueError(f"a direction in block {block!r} is ({k},) and not 0, got {tuple(direction.shape)}")
        direction = direction / direction.norm()
    at = torch.as_tensor(values, dtype=torch.get_default_dtype())
    moved = {name: repeat(code, "k -> v k", v=len(at)) for name, code in z.items()}
    far = at - z[block] @ direction
    moved[block] = moved[block] + rearrange(far, "v -> v 1") * direction
    return moved


def _decoded(model: Any, row: Views, z: Mapping[str, Float[Tensor, "v k"]]) -> dict[str, Tensor]:
    """The means of all views for some codes; what conditions the decoders is that of one row."""
    n = len(next(iter(z.values())))
    with at_rest(model) as device, torch.no_grad():
        context = None
        if model.condition:
            rows = row[torch.zeros(n, dtype=torch.long)].to(device)
            context = Tokens.cat(list(model.tokens(rows, model.condition).values()))
        p = model.decode({name: code.to(device) for name, code in z.items()}, context)
        return {name: likelihood.mean.cpu() for name, likelihood in p.items()}
