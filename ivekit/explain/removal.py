"""What is lost when a part of a recording is removed: ablation and occlusion, of many quantities at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..views import Views
from .attribution import Attribution
from .check import Target
from .engine import Reader, chosen, imputed, in_parts, readers, row_bytes, take
from .forward import at_rest
from .groups import block, spread
from .groups import groups as grouped
from .imputers import there

Removals = Callable[[str, tuple[int, ...]], Iterator[Tensor]]  # view, shape of a row -> masks of what is removed


def ablation(
    model: nn.Module,
    views: Views,
    target: Target,
    groups: Mapping[str, Tensor] | None = None,
    imputer: Any = None,
    megabytes: float | int = 8,
) -> Attribution:
    """What each quantity loses when a group of features is removed, the rest being as it was.

    target : ``Outputs -> (b,)`` or ``(b, k)``. groups : of a usable size by default (see `groups`).
    imputer : what takes their place: `imputers.Mean` (of training rows, by default), `imputers.Conditional`, other
        trials (`Views`), your function. megabytes : of copies of the rows that exist at once.

    Every element has the value of its group, ``f(x) - f(x without the group)``, as in captum's `FeatureAblation`. Only
    the view that was touched is encoded again, and only what the target looks at is decoded.

    >>> from ivekit import models, nn as parts
    >>> net = parts.ProductOfExperts("a", 8, 2)
    >>> model = models.MultimodalVAE({"a": parts.MLPEncoder(3, 8)}, net, {"a": parts.Gaussian(parts.MLPDecoder(2, 3))})
    >>> ablation(model, Views({"a": torch.ones(4, 3)}), lambda out: out.z["shared"])
    Attribution of 4 rows by ablation, baseline: training mean; completeness is not promised
      a  (4, 2, 3)
    """
    groups = groups or grouped(views)

    def values(reader: Reader, imputer: Any) -> dict[str, Tensor]:
        parts = {}
        for name in reader.names:
            of = groups[name].to(reader.rows.device)
            lost = _losses(reader, imputer, name, _Groups(of), megabytes)
            parts[name] = spread(rearrange(lost, "g b k -> b k g"), of)
        return parts

    return _removed(model, views, target, imputer, megabytes, "ablation", values)


def occlusion(
    model: nn.Module,
    views: Views,
    target: Target,
    windows: Mapping[str, Sequence[int]] | None = None,
    strides: Mapping[str, Sequence[int]] | None = None,
    imputer: Any = None,
    megabytes: float | int = 8,
) -> Attribution:
    """What each quantity loses when a window is removed that slides over a recording (Zeiler & Fergus, 2014).

    windows : by view, its size along each axis of a row; at most 200 windows side by side by default.
    strides : how far it slides along each axis; by its own size where none is given.

    An element has the mean loss over the windows that it is in, as in captum's `Occlusion`. Else as `ablation`.

    >>> from ivekit.models import Outputs
    >>> class Sum(nn.Module):
    ...     def forward(self, views):
    ...         return Outputs({}, {"shared": views["a"].sum(1, keepdim=True)}, {})
    >>> occlusion(Sum(), Views({"a": torch.tensor([[1.0, 2.0, 4.0]])}), lambda out: out.z["shared"][:, 0],
    ...           windows={"a": (2,)}, strides={"a": (1,)})["a"]
    tensor([[3.0000, 4.5000, 6.0000]])
    """
    windows, strides = windows or {}, strides or {}

    def values(reader: Reader, imputer: Any) -> dict[str, Tensor]:
        parts = {}
        for name in reader.names:
            shape = tuple(reader.x[name].shape[1:])
            size = tuple(windows.get(name) or block(shape))
            slid = _Windows(shape, size, tuple(strides.get(name) or size), reader.rows.device)
            lost = _losses(reader, imputer, name, slid, megabytes)
            parts[name] = slid.mean(rearrange(lost, "g b k -> b k g"))
        return parts

    return _removed(model, views, target, imputer, megabytes, "occlusion", values)


class _Groups:
    """Groups of features, removed one at a time."""

    def __init__(self, of: Int[Tensor, "..."]):
        self.of, self.n = of, int(of.max()) + 1

    def __len__(self) -> int:
        return self.n

    def keep(self, part: range) -> Bool[Tensor, "g *event"]:
        some = torch.arange(part.start, part.stop, device=self.of.device)
        return self.of != some.reshape(-1, *[1] * self.of.ndim)


class _Windows:
    """Places of a window that slides over a row; the last along an axis may stand out over the edge."""

    def __init__(self, shape: tuple[int, ...], size: tuple[int, ...], stride: tuple[int, ...], device: Any):
        if len(size) != len(shape) or len(stride) != len(shape) or min((*size, *stride), default=1) < 1:
            raise ValueError(f"a window {size} that slides by {stride} does not fit rows of shape {shape}")
        starts = [range(0, max(1, math.ceil((n - w) / s) * s + 1), s) for n, w, s in zip(shape, size, stride)]
        self.shape, self.size, self.starts = shape, size, list(itertools.product(*starts))
        self.device = device

    def __len__(self) -> int:
        return len(self.starts)

    def keep(self, part: range) -> Bool[Tensor, "g *event"]:
        masks = torch.ones(len(part), *self.shape, dtype=torch.bool, device=self.device)
        for mask, start in zip(masks, self.starts[part.start : part.stop]):
            mask[tuple(slice(a, a + w) for a, w in zip(start, self.size))] = False
        return masks

    def mean(self, lost: Float[Tensor, "b k g"]) -> Float[Tensor, "b k *event"]:
        """Over the windows that an element is in."""
        inside = (~self.keep(range(len(self)))).flatten(1).to(lost)
        return (lost @ inside / inside.sum(0).clamp(min=1)).unflatten(-1, self.shape) if self.shape else lost[..., 0]


def _losses(reader: Reader, imputer: Any, name: str, removals: Any, megabytes: float | int) -> Float[Tensor, "g b k"]:
    """``f(x) - f(x without)`` for each thing that is removed from one view."""
    b, lost = len(reader.rows), []
    whole = reader.values(reader.codes, reader.rows)
    for part in in_parts(len(removals), row_bytes(reader.x[name]) * b, megabytes):
        x, rows = imputed(reader, imputer, name, removals.keep(part))
        codes = {n: take(code, rows) for n, code in reader.codes.items() if n != name}
        changed = {n: codes.get(n) for n in reader.codes} | {name: reader.encode(name, x, rows)}
        lost.append(whole - rearrange(reader.values(changed, rows), "(g b) k -> g b k", b=b))
    return torch.cat(lost)


def _removed(
    model: nn.Module, views: Views, target: Target, imputer: Any, megabytes: float | int, method: str, values: Any
) -> Attribution:
    """All rows, in parts that fit into memory; what was not recorded has 0."""
    with at_rest(model) as device, torch.no_grad():
        here = views.to(device)
        imputer, parts = chosen(imputer, model, here), []
        for reader, own in readers(model, here, target, imputer, megabytes):
            parts.append(values(reader, own))
            single = reader.single
    return finished(parts, views, single, method, words(imputer))


def words(imputer: Any) -> str:
    """What an imputer puts in, in words.

    >>> words(lambda name, x, keep: x)
    'as given'
    """
    return getattr(imputer, "words", "as given")


def finished(
    parts: Sequence[Mapping[str, Tensor]],
    views: Views,
    single: bool,
    method: str,
    baseline: str,
    error: Tensor | None = None,
) -> Attribution:
    """Parts ``(b, k, ...)`` put together; 0 where nothing was recorded; without k where there is one quantity."""
    kept = {}
    for name in parts[0]:
        x, here = torch.cat([part[name] for part in parts]).to(views[name].device), there(views, name)
        x = torch.where(here[:, None], x, 0)
        kept[name] = x[:, 0] if single else x
    return Attribution(kept, method, baseline, error if error is None or not single else error[:, 0])
