"""What a model is made of, read from the model itself: the parts of its diagram, in names and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..explain.forward import at_rest
from ..nn import Columns, Committee, Flat, Fused, OwnGradient, Point, SideBySide
from ..views import Views

SILENT = (nn.Identity, nn.Dropout)  # parts that a diagram need not name


@dataclass(frozen=True)
class Lane:
    """One view's way through a model, on either side of the latents: what it is, and the parts that it passes.

    view; parts, class names in order; lines, more to say of the parts; shape, of a row; said, of the view itself;
    own, the words for a posterior that is private to the view, "" without; kind, "read", "told" or "condition".

    >>> Lane("meg", ("SensorBasis",), ("1 token of 64",), "102 × 60", "Whiten", "", "read").view
    'meg'
    """

    view: str
    parts: tuple[str, ...]
    lines: tuple[str, ...]
    shape: str
    said: str
    own: str
    kind: str


@dataclass(frozen=True)
class Architecture:
    """The lanes that a model reads and those that it tells, and what is between them.

    middle : class names of the shared posterior, or of the fusion; lines, more to say of it.
    shared : whether what is in the middle is latents with a posterior. weights : how many numbers are learned in all.

    >>> Architecture((), (), ("ProductOfExperts",), ("6 latents",), True, 12).middle
    ('ProductOfExperts',)
    """

    read: tuple[Lane, ...]
    told: tuple[Lane, ...]
    middle: tuple[str, ...]
    lines: tuple[str, ...]
    shared: bool
    weights: int


def architecture(model: Any, views: Views) -> Architecture | None:
    """The parts of a `MultimodalVAE` or a `Conditional`; None of any other model, whose parts nobody knows.

    >>> import torch
    >>> from ivekit.models import Conditional
    >>> from ivekit.nn import Categorical, MLPDecoder, MLPEncoder
    >>> reader = Conditional(dict(x=MLPEncoder(3, 8)), dict(label=Categorical(MLPDecoder(8, 4))))
    >>> found = architecture(reader, Views({"x": torch.zeros(5, 3)}))
    >>> found.read[0].parts, found.middle, found.told[0].parts
    (('MLPEncoder',), ('mean of tokens',), ('MLPDecoder',))
    """
    if not (hasattr(model, "encoders") and hasattr(model, "decoders") and hasattr(model, "tokens")):
        return None
    with at_rest(model) as device:
        row = views[:1].to(device)
        tokens, out = model.tokens(row), model(row)
    condition, private = getattr(model, "condition", ()), getattr(model, "private", {})
    transforms = getattr(getattr(model, "standardise", None), "transforms", {})
    read = [
        Lane(
            name, names(net), (_tokens(tokens[name].x.shape), *_weights(net)), _shape(views, name),
            type(transforms[name]).__name__ if name in transforms else "",
            f"{out.z[name].shape[1]} latents" if name in private else "", "condition" if name in condition else "read",
        )
        for name, net in model.encoders.items()
    ]  # fmt: skip
    told = [
        Lane(name, _nets(decoder), _weights(decoder), _shape(views, name), likelihood(decoder), "", "told")
        for name, decoder in model.decoders.items()
    ]
    middle, lines = _middle(model, out)
    shared = "shared" in getattr(out, "q", {})
    return Architecture(tuple(read), tuple(told), middle, lines, shared, sum(w.numel() for w in model.parameters()))


def names(module: Any) -> tuple[str, ...]:
    """The classes that a module is made of, in order, those inside what only wraps them.

    >>> names(nn.Sequential(nn.AvgPool3d(2), nn.Dropout(), nn.Linear(3, 4)))
    ('AvgPool3d', 'Linear')
    """
    if isinstance(module, SILENT):
        return ()
    if isinstance(module, nn.Sequential):
        return tuple(name for part in module for name in names(part))
    if isinstance(module, Flat):
        return (*names(module.encoder), "Flat")
    if isinstance(module, OwnGradient):
        return names(module.net)
    if isinstance(module, Point):
        return (*names(module.posterior), "Point")
    if isinstance(module, Fused):
        return (*names(module.fusion), *(["Point"] if module.point else []))
    if isinstance(module, SideBySide | Committee):
        members = next(list(part) for part in module.children() if isinstance(part, nn.ModuleList))
        first, *rest = names(members[0])
        return (f"{len(members)} × {first}" if len(members) > 1 else first, *rest)
    return (type(module).__name__,)


def likelihood(decoder: Any) -> str:
    """What a decoder says of its view: the kind of distribution; of a table, the kinds of its columns.

    >>> from ivekit.nn import Gaussian, MLPDecoder
    >>> likelihood(Gaussian(MLPDecoder(2, 3)))
    'Gaussian'
    """
    if isinstance(decoder, Columns):
        return ", ".join(dict.fromkeys(likelihood(part) for part in decoder.decoders.values()))
    return "Categorical" if isinstance(decoder, Committee) else type(decoder).__name__


def _nets(decoder: Any) -> tuple[str, ...]:
    if isinstance(decoder, Columns):
        return tuple(dict.fromkeys(name for part in decoder.decoders.values() for name in _nets(part)))
    if isinstance(decoder, Committee):
        return names(decoder)
    return names(decoder.net) if hasattr(decoder, "net") else ()


def _middle(model: Any, out: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if hasattr(model, "posterior"):
        return names(model.posterior), (f"{out.z['shared'].shape[1]} latents",)
    fusion, width = getattr(model, "fusion", None), f"{out.z['shared'].shape[1]} numbers"
    if fusion is None:
        return ("mean of tokens",), (width,)
    return (names(fusion) if isinstance(fusion, nn.Module) else (getattr(fusion, "__name__", "fusion"),)), (width,)


def _tokens(shape: Sequence[int]) -> str:
    return f"{shape[1]} token{'' if shape[1] == 1 else 's'} of {shape[2]}"


def _weights(module: nn.Module) -> tuple[str, ...]:
    n = sum(weight.numel() for weight in module.parameters())
    return (f"{thousands(n)} weights",) if n else ()


def thousands(n: int) -> str:
    """A number of weights, as short as it is read.

    >>> thousands(57_312), thousands(812), thousands(2_400_000)
    ('57 k', '812', '2.4 M')
    """
    return f"{n / 1e6:.1f} M" if n >= 999_500 else f"{n / 1e3:.0f} k" if n >= 1000 else str(n)


def _shape(views: Views, name: str) -> str:
    if name not in views:
        return ""
    classes = (views.about.get(name) or {}).get("classes") if isinstance(views.about.get(name), Mapping) else None
    return f"{len(classes)} classes" if classes else "\u2009×\u2009".join(map(str, views[name].shape[1:])) or "1"
