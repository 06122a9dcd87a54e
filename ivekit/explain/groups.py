"""Features that are removed together: sensors x time bins, patches x frames, columns one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from einops import repeat
from jaxtyping import Int, Shaped
from torch import Tensor

from ..views import Views


def groups(views: Views, most: int = 200, **blocks: Sequence[int]) -> dict[str, Int[Tensor, "..."]]:
    """Which elements of each view are removed together, as a whole number an element.

    most : groups a view has at most where its block is not given, so that removing each of them ends.
    blocks : by view, how many elements a block has along each axis, the rows' axis left out. Of (sensors, samples)
        whose places are known, a block's sensors are neighbours on the head.

    A film is cut into square patches of some frames, all colours together; a table into its columns.
    Returns a tensor of a row's shape for each view, numbered from 0 in each.

    >>> views = Views({"film": torch.zeros(5, 3, 4, 8, 8), "table": torch.zeros(5, 3)})
    >>> g = groups(views, film=(3, 2, 4, 4))
    >>> g["film"].shape, int(g["film"].max()) + 1, g["table"]
    (torch.Size([3, 4, 8, 8]), 8, tensor([0, 1, 2]))
    """
    if unknown := set(blocks) - set(views):
        raise ValueError(f"blocks are given for {sorted(unknown)}, the views are {list(views)}")
    shapes = {name: tuple(x.shape[1:]) for name, x in views.items()}
    sizes = {name: tuple(blocks.get(name) or block(shape, most)) for name, shape in shapes.items()}
    return {name: _numbered(shape, sizes[name], _places(views, name)) for name, shape in shapes.items()}


def whole(views: Views) -> dict[str, Int[Tensor, "..."]]:
    """Each view as one group: what is lost with the whole recording.

    >>> whole(Views({"a": torch.zeros(5, 3)}))
    {'a': tensor([0, 0, 0])}
    """
    return {name: torch.zeros(x.shape[1:], dtype=torch.int64) for name, x in views.items()}


def block(shape: Sequence[int], most: int = 200) -> tuple[int, ...]:
    """How many elements a block has along each axis of a row, so that there are at most so many blocks.

    Blocks are doubled where there are most of them; height and width together, colours never apart.

    >>> block((102, 60)), block((1, 16, 32, 32)), block((6,)), block(())
    ((8, 4), (1, 2, 8, 8), (1,), ())
    """
    if most < 1:
        raise ValueError(f"most is {most}: there is at least one group")
    size = [1] * len(shape)
    if len(shape) == 4:
        size[0] = shape[0]
    axes = [[i] for i in range(len(shape))] if len(shape) < 3 else [*([i] for i in range(len(shape) - 2)), [-2, -1]]

    def counts() -> list[int]:
        return [math.ceil(n / s) for n, s in zip(shape, size)]

    while math.prod(counts()) > most:
        grown = max(reversed(axes), key=lambda axis: max(counts()[i] for i in axis))
        for i in grown:
            size[i] = min(2 * size[i], shape[i])
    return tuple(size)


def _numbered(shape: tuple[int, ...], size: tuple[int, ...], places: Any) -> Tensor:
    """A number for every element of a row, by the block that it is in."""
    if len(size) != len(shape) or any(s < 1 for s in size):
        raise ValueError(f"a block of {size} does not fit rows of shape {shape}: one number above 0 an axis")
    number = torch.zeros(shape, dtype=torch.int64)
    for i, (n, s) in enumerate(zip(shape, size)):
        of = torch.arange(n) // s
        if i == 0 and len(shape) == 2 and s > 1 and places is not None and len(places) == n:
            of = _patches(torch.as_tensor(places, dtype=torch.float64), math.ceil(n / s))
        number = number * (int(of.max()) + 1) + of.reshape(-1, *[1] * (len(shape) - i - 1))
    return number


def _places(views: Views, name: str) -> Any:
    """Where the sensors of a view are, where that is known."""
    places = getattr(views.about.get(name), "pos", None)
    return places if places is not None and bool(torch.as_tensor(places).isfinite().all()) else None


def _patches(places: Tensor, n: int) -> Int[Tensor, "c"]:
    """Places in n parts of neighbours and nearly equal number: cut in two across the longer side, again and again."""
    if n <= 1:
        return torch.zeros(len(places), dtype=torch.int64)
    along = places[:, int((places.max(0).values - places.min(0).values).argmax())]
    left = n // 2
    order, of = along.argsort(stable=True), torch.zeros(len(places), dtype=torch.int64)
    cut = round(len(places) * left / n)
    of[order[:cut]] = _patches(places[order[:cut]], left)
    of[order[cut:]] = _patches(places[order[cut:]], n - left) + left
    return of


def counted(groups: Mapping[str, Tensor]) -> dict[str, int]:
    """How many groups each view has.

    >>> counted({"a": torch.tensor([0, 0, 1])})
    {'a': 2}
    """
    return {name: int(of.max()) + 1 for name, of in groups.items()}


def spread(values: Shaped[Tensor, "*b g"], of: Int[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """A value a group, given to each of its elements.

    >>> spread(torch.tensor([[0.5, 2.0]]), torch.tensor([0, 0, 1]))
    tensor([[0.5000, 0.5000, 2.0000]])
    """
    return values[..., of.to(values.device)]


def gathered(values: Shaped[Tensor, "b *event"], of: Int[Tensor, "..."]) -> Shaped[Tensor, "b g"]:
    """The sum over the elements of each group: a row's attributions by group.

    >>> gathered(torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([0, 0, 1]))
    tensor([[3., 4.]])
    """
    flat, index = values.flatten(1), of.flatten().to(values.device)
    total = values.new_zeros(len(values), int(of.max()) + 1)
    return total.scatter_add(1, repeat(index, "e -> b e", b=len(values)), flat)
