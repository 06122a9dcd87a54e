"""Traversals decoded beforehand, for a page that cannot run the decoder: one latent at a time, from the mean.

Of a model without latents, what it tells of every row that one can start from.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray

from .looks import Buffers
from .scene import Scene

STEPS = 25  # of each latent, from one end of its slider to the other
BYTES = 12e6  # of all traversals before they are compressed: those of the least informative latents are left out


def grid(scene: Scene) -> tuple[dict[str, Any], Buffers]:
    """What each active latent does to each view, in bytes: ``value = offset + scale * byte``.

    Returns
    -------
    what it is: the `latents` (ids) in it, the `values` of each (by all latents of the scene, none for those that are
    not in it), offset and scale of each view; and "grid:VIEW" (latents, steps, *shape).

    >>> from ivekit.models import MultimodalVAE
    >>> from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
    >>> from ivekit.views import Views
    >>> from ivekit.widgets.scene import describe
    >>> model = MultimodalVAE(dict(a=MLPEncoder(3, 8)), ProductOfExperts("a", 8, 2), dict(a=Gaussian(MLPDecoder(2, 3))))
    >>> found, buffers = grid(describe(model, Views({"a": 9 * torch.randn(20, 3)})))
    >>> buffers["grid:a"].shape == (len(found["latents"]), 25, 3), len(found["values"])
    (True, 2)
    """
    if not scene.decode.size:
        return _by_row(scene)
    chosen, decode = _chosen(scene), scene.decode
    latents, mean = scene.said["latents"], np.array(scene.said["mean"])
    values = {i: _values(latents[i]["low"], latents[i]["high"], mean[i]) for i in chosen}
    parts: dict[str, list[ndarray]] = {name: [] for name in decode.names}
    row = scene.rows[torch.zeros(STEPS, dtype=torch.long)]
    for i in chosen:
        z = np.repeat(mean[None], STEPS, 0)
        z[:, i] = values[i]
        told = dict(zip(decode.outputs, decode.told(torch.from_numpy(z).float(), row)))
        for name in decode.names:
            parts[name].append(told[name].numpy())
    views, buffers = [], {}
    for view in scene.said["views"]:
        low, step, quantised = _quantised(np.stack(parts[view["name"]]), view["kind"])
        views.append({"name": view["name"], "offset": low, "scale": step})
        buffers[f"grid:{view['name']}"] = quantised
    said = f"This page holds {STEPS} steps of each latent, one latent at a time from the mean, not the decoder itself"
    each = [values[i].tolist() if i in values else [] for i in range(len(latents))]
    return {"latents": [latents[i]["id"] for i in chosen], "values": each, "views": views, "said": said}, buffers


def _by_row(scene: Scene) -> tuple[dict[str, Any], Buffers]:
    """What is told of each row: "rows:VIEW" (rows, *shape), as numbers."""
    decode = scene.decode
    each = [decode.told(None, scene.rows[at]) for at in torch.arange(len(scene.rows)).split(32)]
    told = {name: torch.cat([part[i] for part in each]).numpy() for i, name in enumerate(decode.outputs)}
    said = "This page holds what the model tells of each row that is offered, not the model itself"
    buffers = {f"rows:{name}": told[name] for name in decode.names}
    return {"latents": [], "values": [], "views": [], "rows": len(scene.rows), "said": said}, buffers


def _chosen(scene: Scene) -> list[int]:
    """The numbers of the latents that are decoded: those in use, the most informative ones where they are many.

    Where none is in use, the first: something is to be seen, if only that nothing moves.
    """
    latents = scene.said["latents"]
    a_latent = STEPS * sum(int(np.prod(view["shape"])) for view in scene.said["views"])
    ranked = sorted((i for i, one in enumerate(latents) if one["active"]), key=lambda i: -latents[i]["rank"])
    return sorted(ranked[: max(1, int(BYTES // a_latent))]) or [0]


def _values(low: float, high: float, mean: float) -> Float[ndarray, "steps"]:
    """From one end to the other, the mean among them, so that all latents start from the same picture."""
    at = np.linspace(low, high, STEPS)
    at[int(np.abs(at - mean).argmin())] = mean
    return at


def _quantised(x: Float[ndarray, "l v *shape"], kind: str) -> tuple[Any, Any, UInt8[ndarray, "l v *shape"]]:
    """Numbers as bytes: where 0 is, and how much a byte is; of a table by column, of texts as they are."""
    if kind == "text":
        return 0.0, 1.0, x.astype(np.uint8)
    axis = (0, 1) if kind == "numbers" else None
    low, high = x.min(axis), x.max(axis)
    step = np.where(high > low, (high - low) / 255, 1.0)
    return low.tolist(), step.tolist(), np.round((x - low) / step).clip(0, 255).astype(np.uint8)
