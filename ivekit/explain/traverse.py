"""Turn latents and decode: what sliders show, without the sliders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int, Real
from torch import Tensor

from ..nn import Tokens
from ..views import Views
from .forward import at_rest

Latent = tuple[str, int | Real[Any, "k"]]  # a block, and a latent's number in it or a direction
BATCH = 512  # codes that are decoded at once: memory for the widest layer of a decoder, and as fast as more


def start(model: Any, views: Views) -> dict[str, Float[Tensor, "k"]]:
    """The code that a traversal starts from: the mean over rows of the posterior means, by block.

    Of one row, that row's own. Of rows of which nothing is there (``views.without(*views)``), the prior's mean.

    >>> from ivekit.models import MultimodalVAE
    >>> from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
    >>> model = MultimodalVAE(dict(a=MLPEncoder(3, 8)), ProductOfExperts("a", 8, 2), dict(a=Gaussian(MLPDecoder(2, 3))))
    >>> start(model, Views({"a": torch.ones(4, 3)}).without("a"))["shared"]
    tensor([0., 0.])
    """
    return {block: q.mean.mean(0).cpu() for block, q in beliefs(model, views).items()}


def beliefs(model: Any, views: Views) -> dict[str, Any]:
    """The posteriors of rows, by block, at rest and without gradients.

    >>> from ivekit.models import MultimodalVAE
    >>> from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
    >>> model = MultimodalVAE(dict(a=MLPEncoder(3, 8)), ProductOfExperts("a", 8, 2), dict(a=Gaussian(MLPDecoder(2, 3))))
    >>> beliefs(model, Views({"a": torch.ones(4, 3)}))
    {'shared': Normal(rows=4, event=(2,))}
    """
    with at_rest(model) as device, torch.no_grad():
        return dict(model.encode(views.to(device)))


def every_latent(model: Any, views: Views) -> list[tuple[str, int]]:
    """All latents of a model, block by block: (block, number).

    >>> from ivekit.models import MultimodalVAE
    >>> from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
    >>> model = MultimodalVAE(dict(a=MLPEncoder(3, 8)), ProductOfExperts("a", 8, 2), dict(a=Gaussian(MLPDecoder(2, 3))))
    >>> every_latent(model, Views({"a": torch.ones(4, 3)}))
    [('shared', 0), ('shared', 1)]
    """
    return [(block, i) for block, z in start(model, views[:1]).items() for i in range(len(z))]


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
    as it is. What conditions the decoders is that of the first row.

    Raises
    ------
    ValueError : when there is no such block or latent.

    >>> from ivekit.models import MultimodalVAE
    >>> from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
    >>> model = MultimodalVAE(dict(a=MLPEncoder(3, 8)), ProductOfExperts("a", 8, 2), dict(a=Gaussian(MLPDecoder(2, 3))))
    >>> traverse(model, Views({"a": torch.zeros(4, 3)}), "shared", 0, [-2, 0, 2])["a"].shape
    torch.Size([3, 3])
    """
    return {name: x[0] for name, x in traversals(model, views, values, [(block, index)]).items()}


def traversals(
    model: Any,
    views: Views,
    values: Sequence[Any] | Real[Any, "v"] | Real[Any, "l v"],
    latents: Sequence[Latent] | None = None,
) -> dict[str, Float[Tensor, "l v *shape"]]:
    """What a model decodes while each of some latents in turn takes some values, in one stacked decode.

    values : the same for all latents (v,), or each latent's own (l, v). latents : by block and number or direction; by
    default all there are (`every_latent`). Otherwise as `traverse`, of which this is many.

    >>> from ivekit.models import MultimodalVAE
    >>> from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
    >>> model = MultimodalVAE(dict(a=MLPEncoder(3, 8)), ProductOfExperts("a", 8, 2), dict(a=Gaussian(MLPDecoder(2, 3))))
    >>> traversals(model, Views({"a": torch.zeros(4, 3)}), [-2, 0, 2])["a"].shape
    torch.Size([2, 3, 3])
    """
    z = {block: rearrange(code, "k -> 1 k") for block, code in start(model, views).items()}
    said = decoded(model, views[:1], moved(z, latents or every_latent(model, views), values))
    return {name: x[:, 0] for name, x in said.items()}


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
    band = traversal_bands(model, views, values, [(block, index)], level, n_samples, seed)
    return {name: x[:, 0] for name, x in band.items()}


def traversal_bands(
    model: Any,
    views: Views,
    values: Sequence[Any] | Real[Any, "v"] | Real[Any, "l v"],
    latents: Sequence[Latent] | None = None,
    level: float = 0.9,
    n_samples: int = 64,
    seed: int = 0,
) -> dict[str, Float[Tensor, "2 l v *shape"]]:
    """The bounds of `traverse_band` for each of some latents: all its draws at all its values are one stacked decode.

    values and latents as in `traversals`; the other arguments as in `traverse_band`. The same draws for every latent.

    >>> from ivekit.models import MultimodalVAE
    >>> from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
    >>> model = MultimodalVAE(dict(a=MLPEncoder(3, 8)), ProductOfExperts("a", 8, 2), dict(a=Gaussian(MLPDecoder(2, 3))))
    >>> traversal_bands(model, Views({"a": torch.zeros(4, 3)}), [-2, 0, 2])["a"].shape
    torch.Size([2, 2, 3, 3])
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(views), (n_samples,), generator=generator)
    z = {name: _drawn(q, rows, generator) for name, q in beliefs(model, views).items()}
    latents = latents or every_latent(model, views)
    each = [  # latent by latent: the draws of all of them would not fit into memory
        _bounds(decoded(model, views[:1], moved(z, [latent], at[None])), level)
        for latent, at in zip(latents, steps(values, len(latents)))
    ]
    return {name: torch.stack([bounds[name] for bounds in each], 1) for name in each[0]}


# what they are made of ---------------------------------------------------------------------------------------------


def steps(values: Any, n_latents: int) -> Float[Tensor, "l v"]:
    """The values that each latent takes, from values for all of them or for each.

    >>> steps([-1, 1], 3).shape
    torch.Size([3, 2])
    """
    at = torch.as_tensor(values, dtype=torch.get_default_dtype())
    at = repeat(at, "v -> l v", l=n_latents) if at.ndim == 1 else at
    if at.ndim != 2 or len(at) != n_latents:
        raise ValueError(f"values are (v,), or (l, v) of {n_latents} latents, got {tuple(at.shape)}")
    return at


def moved(
    z: Mapping[str, Float[Tensor, "s _"]], latents: Sequence[Latent], values: Any
) -> dict[str, Float[Tensor, "l s v _"]]:
    """Codes of s starts (l, s, v, k), in which each latent, or coordinate along a direction, in turn takes v values.

    >>> moved({"shared": torch.zeros(1, 2)}, [("shared", 1)], [3])["shared"].flatten()
    tensor([0., 3.])
    """
    at = steps(values, len(latents))
    codes = {name: repeat(x, "s k -> l s v k", l=len(at), v=at.shape[1]).clone() for name, x in z.items()}
    for i, (block, index) in enumerate(latents):
        direction = direction_of(z, block, index)
        far = at[i] - rearrange(z[block] @ direction, "s -> s 1")
        codes[block][i] += rearrange(far, "s v -> s v 1") * direction
    return codes


def direction_of(z: Mapping[str, Float[Tensor, "*s _"]], block: str, index: Any) -> Float[Tensor, "k"]:
    """The direction of length 1 that a latent, or a direction of any length, is in its block.

    >>> direction_of({"shared": torch.zeros(2)}, "shared", torch.tensor([3.0, 4.0]))
    tensor([0.6000, 0.8000])
    """
    if block not in z:
        raise ValueError(f"no block {block!r} of latents; there are {list(z)}")
    k = z[block].shape[-1]
    if isinstance(index, int):
        if not 0 <= index < k:
            raise ValueError(f"block {block!r} has latents 0 to {k - 1}, no {index}")
        return torch.eye(k)[index]
    direction = torch.as_tensor(index, dtype=torch.get_default_dtype())
    if direction.shape != (k,) or not direction.norm() > 0:
        raise ValueError(f"a direction in block {block!r} is ({k},) and not 0, got {tuple(direction.shape)}")
    return direction / direction.norm()


def decoded(model: Any, rows: Views, z: Mapping[str, Float[Tensor, "l s v _"]]) -> dict[str, Tensor]:
    """The means of all views for stacked codes, {view: (l, s, v, *shape)}, `BATCH` of them at a time.

    rows : what conditions the decoders: that of one row for all starts, or of each start's own, s of them.
    """
    n, s, v, _ = next(iter(z.values())).shape
    if len(rows) not in (1, s):
        raise ValueError(f"the condition is that of 1 row or of {s}, one a start, got {len(rows)} rows")
    of = repeat(torch.arange(s) % len(rows), "s -> (l s v)", l=n, v=v)
    flat = {name: rearrange(code, "l s v k -> (l s v) k") for name, code in z.items()}
    parts = list(_in_batches(model, rows, flat, of))
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return {name: rearrange(x, "(l s v) ... -> l s v ...", l=n, s=s) for name, x in joined.items()}


def _in_batches(
    model: Any, rows: Views, z: Mapping[str, Float[Tensor, "n _"]], of: Int[Tensor, "n"]
) -> Iterator[dict[str, Tensor]]:
    """The means for some codes after others; `of` says which row's condition each has."""
    with at_rest(model) as device, torch.no_grad():
        context = None
        if getattr(model, "condition", ()):
            context = Tokens.cat(list(model.tokens(rows.to(device), model.condition).values()))
        for some in torch.arange(len(of)).split(BATCH):
            given = None if context is None else Tokens(context.x[of[some]], context.mask[of[some]])
            p = model.decode({name: code[some].to(device) for name, code in z.items()}, given)
            yield {name: likelihood.mean.cpu() for name, likelihood in p.items()}


def _drawn(q: Any, rows: Int[Tensor, "n"], generator: torch.Generator) -> Float[Tensor, "n k"]:
    mean, sd = q.mean.cpu()[rows], q.stddev.cpu()[rows]
    return mean + sd * torch.randn(mean.shape, generator=generator)


def _bounds(said: Mapping[str, Float[Tensor, "1 s v ..."]], level: float) -> dict[str, Float[Tensor, "2 v ..."]]:
    """The central interval over draws; one value after another, since torch's quantile takes 16 million numbers."""
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2])
    return {
        name: torch.stack([x[0, :, j].quantile(tails, 0) for j in range(x.shape[2])], 1) for name, x in said.items()
    }
