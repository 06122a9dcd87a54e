"""Evaluating a target on many changed copies of some rows, encoding again only the view that was changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from einops import repeat
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor, nn

from ..models import is_ragged
from ..nn import Dropout, Tokens
from ..signal import RobustZScore, Whiten, ZScore
from ..signal.points import PointScore
from ..views import Views
from .check import Target
from .forward import encoded, value
from .imputers import Matched, Mean, recorded, training_mean

Code = Any  # what became of one view: its tokens, or its rows where views are not encoded apart


# modules that are affine in evaluation: of a sum of inputs they make the sum of outputs, but for a constant
AFFINE = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.Flatten, nn.Unflatten,
    nn.Identity, nn.Dropout, Dropout, ZScore, RobustZScore, PointScore, Whiten,
)  # fmt: skip


class Split(NamedTuple):
    """An encoder in two: what comes first and is affine, and what follows.

    An encoder says what its parts are by two methods, ``forward(x) = after(affine(x))``; of modules one after another,
    those that are known to be affine come first.
    """

    affine: Callable[[Tensor], Tensor]
    after: Callable[[Tensor], Tensor]


def split(model: nn.Module, name: str) -> Split | None:
    """Standardisation and encoder of a view in two, None where nothing of them is known to be affine.

    >>> from ivekit import models, nn as parts
    >>> mlp = nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Unflatten(1, (1, 8)))
    >>> model = models.Conditional({"a": mlp}, {"y": parts.Gaussian(parts.MLPDecoder(8, 2))})
    >>> split(model, "a").affine(torch.zeros(5, 3)).shape
    torch.Size([5, 8])
    """
    known: Any = model
    first = [known.standardise.transforms[name]] if name in known.standardise.transforms else []
    modules = [*first, *_in_turn(known.encoders[name])]
    n = next((i for i, module in enumerate(modules) if type(module) not in AFFINE), len(modules))
    own: Any = modules[n] if n < len(modules) else None
    halved = hasattr(own, "affine") and hasattr(own, "after")
    before, rest = list(modules[:n]), list(modules[n + halved :])
    if not before and not halved:
        return None
    return Split(
        lambda x: _through([*before, *([own.affine] if halved else [])], x),
        lambda h: _through([*([own.after] if halved else []), *rest], h),
    )


def _in_turn(module: Any) -> list[nn.Module]:
    return [m for part in module for m in _in_turn(part)] if type(module) is nn.Sequential else [module]


def _through(steps: Sequence[Any], x: Tensor) -> Tensor:
    for step in steps:
        x = step(x)
    return x


class Reader:
    """A model and a target on copies of some rows, each view in a state of its own.

    A model with `tokens` and `tell` (`MultimodalVAE`, `Conditional`) is asked to encode only what changed and to fuse
    again, and decodes only what the target looks at. Any other is run as a whole.

    >>> from ivekit.models import Outputs
    >>> class Sum(nn.Module):
    ...     def forward(self, views):
    ...         return Outputs({}, {"shared": views["a"]}, {})
    >>> reader = Reader(Sum(), Views({"a": torch.ones(2, 3)}), lambda out: out.z["shared"])
    >>> reader.values(reader.codes, reader.rows).shape
    torch.Size([2, 3])
    """

    def __init__(self, model: nn.Module, views: Views, target: Target):
        self.model, self.views, self.target = model, views, target
        self.names, self.apart = encoded(model, views), hasattr(model, "tokens") and hasattr(model, "tell")
        self.rows = torch.arange(len(views), device=next(iter(views.tensors.values())).device)
        self.x = {name: recorded(views, name) for name in self.names}
        self.codes = {name: self.encode(name, x, self.rows) for name, x in self.x.items()}
        # with holes within rows, or tokens that are not all there, a view is read as a whole
        self.halves = {name: half for name in self.names if self._plain(name) and (half := split(model, name))}

    def _plain(self, name: str) -> bool:
        model: Any = self.model
        numbers = self.x[name].is_floating_point() and self.views.present[name].ndim == 1
        return self.apart and numbers and not is_ragged(type(model.encoders[name]))

    def after(self, name: str, h: Float[Tensor, "p *h"], rows: Int[Tensor, "p"]) -> Tokens:
        """The tokens of a view from what its affine part made of copies of the rows with these numbers."""
        return Tokens.of(self.halves[name].after(h), self.views.present[name][rows])

    def encode(self, name: str, x: Num[Tensor, "p *event"], rows: Int[Tensor, "p"]) -> Code:
        """What one view says in a state `x` of it, of copies of the rows with these numbers."""
        if not self.apart:
            return x
        model: Any = self.model
        return model.tokens(Views({name: x}, {name: self.views.present[name][rows]}), (name,))[name]

    def values(self, codes: Mapping[str, Code], rows: Int[Tensor, "p"]) -> Float[Tensor, "p k"]:
        """The target where each view is in a state that was encoded; of one quantity, k is 1."""
        model: Any = self.model
        out = model.tell(dict(codes)) if self.apart else model(self._batch(codes, rows))
        y = value(self.target, out, lambda: self.views[rows])
        if y.ndim not in (1, 2) or len(y) != len(rows):
            raise ValueError(f"a target says (b,) or (b, k) for b = {len(rows)} rows, got {tuple(y.shape)}")
        return y if y.ndim == 2 else y[:, None]

    def _batch(self, codes: Mapping[str, Tensor], rows: Tensor) -> Views:
        tensors = {name: codes[name] if name in codes else x[rows] for name, x in self.views.items()}
        return Views(tensors, {name: m[rows] for name, m in self.views.present.items()}, about=self.views.about)

    @property
    def single(self) -> bool:
        """Whether the target says one number a row."""
        out_of = self.rows[:1]
        model: Any = self.model
        first = {name: take(code, out_of) for name, code in self.codes.items()}
        out = model.tell(first) if self.apart else model(self._batch(first, out_of))
        return value(self.target, out, lambda: self.views[out_of]).ndim == 1


def take(code: Code, index: Int[Tensor, "p"]) -> Code:
    """Some rows of what was encoded, in an order, some several times.

    >>> take(torch.tensor([1.0, 2.0]), torch.tensor([1, 1]))
    tensor([2., 2.])
    """
    return Tokens(code.x[index], code.mask[index]) if isinstance(code, Tokens) else code[index]


def joined(codes: Sequence[Code]) -> Code:
    """Rows that were encoded in parts, one after another.

    >>> joined([torch.zeros(1), torch.ones(2)])
    tensor([0., 1., 1.])
    """
    if isinstance(codes[0], Tokens):
        return Tokens(torch.cat([c.x for c in codes]), torch.cat([c.mask for c in codes]))
    return torch.cat(list(codes))


def imputed(
    reader: Reader, imputer: Any, name: str, keep: Bool[Tensor, "g *event"]
) -> tuple[Num[Tensor, "p *event"], Int[Tensor, "p"]]:
    """Copies of all rows, one a mask, in which what is not kept is imputed; and the rows' numbers. Rows run fastest."""
    x, g = reader.x[name], len(keep)
    if type(imputer) is Mean:  # the same for each copy: nothing is repeated to find it out
        copies = torch.where(keep[:, None], x, imputer.values[name].to(x)).flatten(0, 1)
    else:
        each = repeat(keep, "g ... -> (g b) ...", b=len(x))
        copies = imputer(name, repeat(x, "b ... -> (g b) ...", g=g), each)
    return copies, reader.rows.repeat(g)


def in_parts(n: int, each: int, megabytes: float | int) -> Iterator[range]:
    """Ranges of 0..n-1 in which things of `each` bytes together have so many megabytes at most, or are alone.

    >>> list(in_parts(5, 500_000, 1))
    [range(0, 2), range(2, 4), range(4, 5)]
    """
    step = max(1, int(megabytes * 1e6 / max(1, each)))
    return (range(i, min(i + step, n)) for i in range(0, n, step))


def row_bytes(x: Num[Tensor, "b *event"]) -> int:
    """Bytes of one row.

    >>> row_bytes(torch.zeros(7, 10))
    40
    """
    return x.shape[1:].numel() * x.element_size()


def readers(
    model: nn.Module, views: Views, target: Target, imputer: Any, megabytes: float | int
) -> Iterator[tuple[Reader, Any]]:
    """The rows in parts of which a copy fits into memory, each with the imputer of those rows."""
    largest = max(row_bytes(views[name]) for name in encoded(model, views))
    for part in in_parts(len(views), largest, megabytes):
        some = views[part.start : part.stop]
        own = imputer[slice(part.start, part.stop)] if isinstance(imputer, Matched) else imputer
        yield Reader(model, some, target), own


def chosen(imputer: Any, model: nn.Module, views: Views) -> Any:
    """An imputer; the training mean where none is given, and other trials or fixed rows as `attribute` takes them.

    >>> chosen(None, nn.Identity(), Views({"a": torch.zeros(2, 3)}))
    Mean(a): training mean
    """
    if imputer is None or imputer is training_mean:
        return Mean(training_mean(model, views), "training mean")
    if isinstance(imputer, Views):
        if len(imputer) != len(views):
            raise ValueError(f"{len(imputer)} other trials for {len(views)} rows: give as many")
        return Matched(imputer, training_mean(model, views))
    return Mean(imputer) if isinstance(imputer, Mapping) else imputer
