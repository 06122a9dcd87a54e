"""Attributions of every latent of a model at once."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..views import Views
from .attribute import attribute
from .attribution import Attribution
from .engine import Reader
from .forward import at_rest
from .path import integrated_gradients


def attribute_latents(
    model: nn.Module,
    views: Views,
    method: Any = integrated_gradients,
    blocks: Sequence[str] | None = None,
    **settings: Any,
) -> Attribution:
    """How much each element of each view adds to each latent: ``(b, k, ...)`` by view.

    method : `integrated_gradients`, `ablation`, `occlusion` or `shapley`, which explain all latents in one pass; or a
        class of `captum.attr`, called for each latent in turn. blocks : of latents, all by default.
    settings : of the method. The attribution's `latents` says the block and number of each.

    >>> from ivekit import models, nn as parts
    >>> net = parts.ProductOfExperts("a", 8, 2)
    >>> model = models.MultimodalVAE({"a": parts.MLPEncoder(3, 8)}, net, {"a": parts.Gaussian(parts.MLPDecoder(2, 3))})
    >>> attribute_latents(model, Views({"a": torch.ones(4, 3)})).latents
    (('shared', 0), ('shared', 1))
    """
    latents = _latents(model, views, blocks)
    names = list(dict.fromkeys(block for block, _ in latents))
    if inspect.isclass(method):
        each = [
            attribute(model, views, lambda out, at=at: out.z[at[0]][:, at[1]], method, **settings) for at in latents
        ]
        parts = {name: torch.stack([one[name] for one in each], 1) for name in each[0]}
        errors = [one.completeness for one in each if one.completeness is not None]
        error = torch.stack(errors, 1) if errors else None
        return Attribution(parts, each[0].method, each[0].baseline, error, latents)
    said = method(model, views, lambda out: torch.cat([out.z[name] for name in names], 1), **settings)
    return Attribution(said, said.method, said.baseline, said.completeness, latents)


def _latents(model: nn.Module, views: Views, blocks: Sequence[str] | None) -> list[tuple[str, int]]:
    """Block and number of each latent, in the order of the blocks."""
    with at_rest(model) as device, torch.no_grad():
        seen: dict[str, int] = {}

        def note(out: Any) -> torch.Tensor:
            seen.update({name: z.shape[1] for name, z in out.z.items()})
            return next(iter(out.z.values()))

        reader = Reader(model, views[:1].to(device), note)
        reader.values(reader.codes, reader.rows)
    if unknown := set(blocks or ()) - set(seen):
        raise ValueError(f"no block {sorted(unknown)}; the latents are in {list(seen)}")
    return [(name, i) for name in (blocks or seen) for i in range(seen[name])]
