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
    megabytes: float | int = 16,
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
    tokens = sum(row_bytes(_plain(code)) for code in reader.codes.values())
    for part in in_parts(len(orders), tokens * b * (n + 1), 4 * megabytes):
        some = orders[part.start : part.stop]
        values = _along(reader, _states(reader, imputer, of, some, megabytes), some, of, megabytes)
        added = torch.zeros(n, len(part), *values.shape[2:]).to(values)
        steps = values.diff(dim=1)  # (s, n, b, k)
        index = repeat(some, "s n -> n s b k", b=b, k=values.shape[-1])
        total = total + added.scatter_(0, index, rearrange(steps, "s n b k -> n s b k")).sum(1)
        change = values[0, -1] - values[0, 0]
    return rearrange(total / len(orders), "n b k -> b k n"), change


def _plain(code: Code) -> Tensor:
    return getattr(code, "x", code)


def _states(
    reader: Reader, imputer: Any, of: Mapping[str, Tensor], orders: Tensor, megabytes: float | int
) -> dict[str, Code]:
    """Each view with 0, 1, 2 ... of its groups added in each order, encoded: ``(orders x (groups + 1) x b)`` rows."""
    states, first = {}, 0
    for name, own in of.items():
        size = int(own.max()) + 1
        mine = orders[(orders >= first) & (orders < first + size)].reshape(len(orders), size) - first
        rank, first = mine.argsort(1), first + size
        number = torch.arange((size + 1) * len(orders), device=own.device)
        codes = []
        for part in in_parts(len(number), row_bytes(reader.x[name]) * len(reader.rows), megabytes):
            some = number[part.start : part.stop]
            added = rank[some // (size + 1)] < (some % (size + 1))[:, None]  # (states, groups)
            codes.append(reader.encode(name, *imputed(reader, imputer, name, added[:, own])))
        states[name] = joined(codes)
    return states


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
