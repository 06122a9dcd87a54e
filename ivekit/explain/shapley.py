"""Shapley values by sampled orders, of many quantities at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..views import Views
from .attribution import Attribution, completeness
from .check import Target
from .engine import Code, Reader, chosen, imputed, in_parts, joined, readers, row_bytes, take
from .forward import at_rest
from .groups import counted, spread
from .groups import groups as grouped
from .imputers import Matched, Mean
from .removal import finished, words


def shapley(
    model: nn.Module,
    views: Views,
    target: Target,
    groups: Mapping[str, Tensor] | None = None,
    imputer: Any = None,
    samples: int = 25,
    seed: int = 0,
    orders: Int[Tensor, "s g"] | None = None,
    megabytes: float | int = 8,
) -> Attribution:
    """What each group of features adds to each quantity, averaged over the orders in which groups may be added.

    Shapley values (1953) by sampling orders (Castro et al., 2009; Strumbelj & Kononenko, 2014). Every element has the
    value of its group; groups counted once, a row's values sum to what it differs from the baseline.

    samples : orders, drawn with `seed`, every second the reverse of the one before, which halves the work of a given
        accuracy or more (Mitchell et al., 2022). orders : your own, ``(samples, groups of all views)``: on the orders
        that captum's `ShapleyValueSampling` draws, the values are captum's.

    A view has as many states in an order as it has groups, and each is encoded once; the states are then fused as
    the order says. Else as `ablation`.

    >>> from ivekit.models import Outputs
    >>> class Product(nn.Module):
    ...     def forward(self, views):
    ...         return Outputs({}, {"shared": views["a"].prod(1, keepdim=True)}, {})
    >>> shapley(Product(), Views({"a": torch.tensor([[2.0, 3.0]])}), lambda out: out.z["shared"][:, 0], samples=2)["a"]
    tensor([[3., 3.]])
    """
    groups = groups or grouped(views)
    with at_rest(model) as device, torch.no_grad():
        here = views.to(device)
        imputer, parts, errors = chosen(imputer, model, here), [], []
        for reader, own in readers(model, here, target, imputer, megabytes):
            of = {name: groups[name].to(device) for name in reader.names}
            drawn = antithetic(sum(counted(of).values()), samples, seed) if orders is None else orders
            values, change = _averaged(reader, own, of, drawn.to(device), megabytes)
            errors.append(completeness(values.sum(2), change, torch.zeros_like(change)))
            each = values.split(list(counted(of).values()), 2)
            parts.append({name: spread(x, of[name]) for name, x in zip(of, each)})
            single = reader.single
    return finished(parts, views, single, "shapley", words(imputer), torch.cat(errors))


def antithetic(n: int, samples: int, seed: int = 0) -> Int[Tensor, "s n"]:
    """Orders of n things, every second the reverse of the one before.

    >>> antithetic(3, 2)
    tensor([[2, 0, 1],
            [1, 0, 2]])
    """
    if samples < 1:
        raise ValueError(f"samples is {samples}: at least one order is needed")
    random = torch.Generator().manual_seed(seed)
    drawn = torch.stack([torch.randperm(n, generator=random) for _ in range((samples + 1) // 2)])
    return rearrange(torch.stack([drawn, drawn.flip(1)], 1), "s two n -> (s two) n")[:samples]


def _averaged(
    reader: Reader, imputer: Any, of: Mapping[str, Tensor], orders: Tensor, megabytes: float | int
) -> tuple[Float[Tensor, "b k g"], Float[Tensor, "b k"]]:
    """The mean over the orders of what each group adds, and what all add together."""
    n, b = orders.shape[1], len(reader.rows)
    if sorted(orders[0].tolist()) != list(range(sum(counted(of).values()))):
        raise ValueError(f"an order holds the numbers of {sum(counted(of).values())} groups once each, got {n} of them")
    total, change = torch.zeros(()), torch.zeros(())
    added = {name: _adder(reader, imputer, name, own, megabytes) for name, own in of.items()}
    tokens = sum(row_bytes(_plain(code)) for code in reader.codes.values())
    for part in in_parts(len(orders), tokens * b * (n + 1), 4 * megabytes):
        some, first, states = orders[part.start : part.stop], 0, {}
        for name, size in counted(of).items():
            mine = some[(some >= first) & (some < first + size)].reshape(len(some), size) - first
            states[name], first = added[name](mine), first + size
        values = _along(reader, states, some, of, megabytes)
        steps = rearrange(values.diff(dim=1), "s n b k -> n s b k")
        index = repeat(some, "s n -> n s b k", b=b, k=values.shape[-1])
        total = total + torch.zeros_like(steps).scatter_(0, index, steps).sum(1)
        change = values[0, -1] - values[0, 0]
    return rearrange(total / len(orders), "n b k -> b k n"), change


def _plain(code: Code) -> Tensor:
    return getattr(code, "x", code)


def _adder(reader: Reader, imputer: Any, name: str, of: Tensor, megabytes: float | int) -> Any:
    """``orders (s, groups of the view) -> its states with 0, 1, 2 ... groups added``, ``s x (groups + 1) x b`` rows."""
    fixed = type(imputer) in (Mean, Matched)  # what replaces a group does not depend on what else is there
    return (_Summed if fixed and name in reader.halves else _Encoded)(reader, imputer, name, of, megabytes)


class _Encoded:
    """Every state of a view is made and encoded."""

    def __init__(self, reader: Reader, imputer: Any, name: str, of: Tensor, megabytes: float | int):
        self.reader, self.imputer, self.name, self.of, self.megabytes = reader, imputer, name, of, megabytes

    def __call__(self, mine: Int[Tensor, "s g"]) -> Code:
        s, size = mine.shape
        rank, number, codes = mine.argsort(1), torch.arange((size + 1) * s, device=mine.device), []
        for part in in_parts(len(number), row_bytes(self.reader.x[self.name]) * len(self.reader.rows), self.megabytes):
            some = number[part.start : part.stop]
            there = rank[some // (size + 1)] < (some % (size + 1))[:, None]  # (states, groups)
            states = imputed(self.reader, self.imputer, self.name, there[:, self.of])
            codes.append(self.reader.encode(self.name, *states))
        return joined(codes)


class _Summed(_Encoded):
    """What the affine part of an encoder makes of each group is found once, and added up along the orders."""

    def __init__(self, reader: Reader, imputer: Any, name: str, of: Tensor, megabytes: float | int):
        super().__init__(reader, imputer, name, of, megabytes)
        affine, b = reader.halves[name].affine, len(reader.rows)
        size, parts = int(of.max()) + 1, []
        nothing = torch.zeros(1, *of.shape, dtype=torch.bool, device=of.device)
        self.empty = affine(imputed(reader, imputer, name, nothing)[0])  # (b, h)
        for part in in_parts(size, row_bytes(reader.x[name]) * b, megabytes):
            some = torch.arange(part.start, part.stop, device=of.device)
            alone = affine(imputed(reader, imputer, name, of == some.reshape(-1, *[1] * of.ndim))[0])
            parts.append(alone.unflatten(0, (-1, b)) - self.empty)
        self.each = torch.cat(parts)  # (g, b, h)

    def __call__(self, mine: Int[Tensor, "s g"]) -> Code:
        codes, rows = [], self.reader.rows.repeat(mine.shape[1] + 1)
        for one in mine:
            h = torch.cat([self.empty[None], self.each[one]]).cumsum(0).flatten(0, 1)
            for part in in_parts(len(h), row_bytes(h), self.megabytes):
                at = slice(part.start, part.stop)
                codes.append(self.reader.after(self.name, h[at], rows[at]))
        return joined(codes)


def _along(
    reader: Reader, states: Mapping[str, Code], orders: Tensor, of: Mapping[str, Tensor], megabytes: float | int
) -> Float[Tensor, "s n b k"]:
    """The target after 0, 1, 2 ... groups of each order have been added."""
    (s, n), b = orders.shape, len(reader.rows)
    index, first = {}, 0
    for name, size in counted(of).items():
        mine = ((orders >= first) & (orders < first + size)).long().cumsum(1)
        count = torch.cat([mine.new_zeros(s, 1), mine], 1) + (size + 1) * torch.arange(s, device=mine.device)[:, None]
        index[name], first = rearrange(count[..., None] * b + reader.rows, "s n b -> (s n b)"), first + size
    rows = reader.rows.repeat(s * (n + 1))
    each = sum(row_bytes(_plain(code)) for code in states.values())
    values = []
    for part in in_parts(len(rows), each, megabytes):
        at = slice(part.start, part.stop)
        values.append(reader.values({name: take(code, index[name][at]) for name, code in states.items()}, rows[at]))
    return rearrange(torch.cat(values), "(s n b) k -> s n b k", s=s, b=b)
