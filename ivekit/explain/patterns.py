"""Patterns, not filters: the signal that comes with a quantity of a model, which is what a map can show.

The weights (or gradients) by which a model reads a quantity out of data are a *filter*. A filter also has weights where
it only cancels noise, so its map is no map of a source. The *pattern* is: how the data change when the quantity does
(Haufe et al., 2014, NeuroImage 87).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from einops import rearrange, reduce
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor, nn

from ..nn.decoding import patterns
from ..views import Views
from .check import Target
from .forward import at_rest, value
from .imputers import there


def target_values(
    model: nn.Module, views: Views, target: Target, batch_rows: int = 256
) -> Float[Tensor, "b"] | Float[Tensor, "b k"]:
    """What a target is in every row, at rest and without gradients, on the CPU: (b,), or (b, k) for k at once.

    >>> from ivekit.models import Outputs
    >>> class Sum(nn.Module):
    ...     def forward(self, views):
    ...         return Outputs({}, {"shared": views["a"].sum(1, keepdim=True)}, {})
    >>> target_values(Sum(), Views({"a": torch.tensor([[1.0, 2.0], [3.0, 4.0]])}), lambda out: out.z["shared"][:, 0])
    tensor([3., 7.])
    """
    with at_rest(model) as device, torch.no_grad():
        parts = [_told(target, model(rows), rows).cpu() for rows in _batches(views, batch_rows, device)]
    return torch.cat(parts)


def haufe_pattern(
    model: nn.Module, views: Views, target: Target, batch_rows: int = 256
) -> dict[str, Float[Tensor, "..."]]:
    """How each view changes when a quantity of the model grows by one: what a topomap of that quantity should show.

    ``a = cov(x, z) / var(z)`` over the rows of `views` (Haufe et al., 2014), z being the target; any target of any
    model. Of several targets, (b, k), each by itself: they are not separated from one another. In the view's unit per
    unit of the target. Rows, or elements, in which a view is missing are left out. A target that is the same in every
    row comes with nothing, and neither does an element that is never there: their pattern is 0, not NaN.

    Take it on rows that fitted neither the model nor the target: on training rows it also shows what was learnt by
    heart. It says what *comes with* the target, by whichever way; not what the model looked at.

    Returns
    -------
    {view: a pattern of a row's shape}, or (k, *shape) for k targets.

    >>> from ivekit.models import Outputs
    >>> class Cancel(nn.Module):  # sensor 0 hears signal and noise, sensor 1 the noise alone: the difference is clean
    ...     def forward(self, views):
    ...         return Outputs({}, {"shared": views["meg"] @ torch.tensor([[1.0], [-1.0]])}, {})
    >>> signal, noise = torch.tensor([1.0, -1.0, 1.0, -1.0]), torch.tensor([2.0, 2.0, -2.0, -2.0])
    >>> views = Views({"meg": torch.stack([signal + noise, noise], 1)})
    >>> haufe_pattern(Cancel(), views, lambda out: out.z["shared"][:, 0])["meg"]  # the filter is (1, -1)
    tensor([1., 0.])
    """
    z = target_values(model, views, target, batch_rows)
    return {name: pattern_of(views[name], z, views.present[name], batch_rows) for name in views}


def pattern_of(
    x: Real[Tensor, "_ *shape"],
    z: Real[Tensor, "_"] | Real[Tensor, "_ k"],
    present: Bool[Tensor, "_ *any"] | None = None,
    batch_rows: int = 256,
) -> Float[Tensor, "..."]:
    """The regression of data on a number a row, ``cov(x, z) / var(z)``: the pattern of that number.

    x (b, ...), z (b,) or (b, k); present, (b,) or of x's shape, where x was recorded. Sums are taken in double
    precision, `batch_rows` rows at a time.

    >>> pattern_of(torch.tensor([[0.0, 1.0], [2.0, 1.0]]), torch.tensor([0.0, 1.0]))
    tensor([2., 0.])
    """
    if len(z) != len(x):
        raise ValueError(f"{len(z)} values of the target for {len(x)} rows of data")
    if not len(x):
        return torch.zeros(*z.shape[1:], *x.shape[1:])
    there = torch.ones(len(x), dtype=torch.bool) if present is None else present.cpu()
    here = there[..., None].flatten(1).double()  # (b, 1) or (b, p)
    codes = z.detach().double().cpu()[..., None].flatten(1)
    codes = codes - codes[here.any(1)].mean(0).nan_to_num()  # sums of what lies about 0 lose no digits
    n = here.sum(0).clamp(min=1)
    centre = sum(_recorded(x, here, rows).sum(0) for rows in torch.arange(len(x)).split(batch_rows)) / n
    together = torch.zeros(codes.shape[1], x[:1].numel(), dtype=torch.double)
    for rows in torch.arange(len(x)).split(batch_rows):
        together += codes[rows].mT @ (_recorded(x, here, rows) - centre * here[rows])
    squares = codes.square().mT @ here
    variance = squares - (codes.mT @ here).square() / n
    varies = variance > 1e-12 * squares.amax().clamp(min=1e-300)
    slope = torch.where(varies, together / torch.where(varies, variance, 1.0), 0.0)
    pattern = slope.reshape(codes.shape[1], *x.shape[1:]).to(torch.get_default_dtype())
    return pattern[0] if z.ndim == 1 else pattern


def _recorded(x: Tensor, here: Float[Tensor, "b any"], rows: Int[Tensor, "r"]) -> Float[Tensor, "r p"]:
    """Some rows in double precision, 0 where nothing was recorded (which may hold anything, NaN as well)."""
    return torch.where(here[rows] > 0, x[rows].cpu().double()[..., None].flatten(1), 0.0)


def gradient_pattern(
    model: nn.Module, views: Views, target: Target, batch_rows: int = 256
) -> dict[str, Float[Tensor, "..."]]:
    """The pattern of a target's straight-line part: covariance of the data times its mean gradient.

    ``C g / (g' C g)`` (Haufe et al., 2014, for the filter g), C the covariance of a view over rows, which is never
    formed: it is the pattern of ``g' x``. Where the model is linear and sees one view, it is `haufe_pattern`; where it
    is not, it shows what a linear reader with this gradient would hear, so take the pattern of the target itself.

    >>> from ivekit.models import Outputs
    >>> class First(nn.Module):
    ...     def forward(self, views):
    ...         return Outputs({}, {"shared": 3 * views["a"][:, :1]}, {})
    >>> views = Views({"a": torch.tensor([[0.0, 0.0], [1.0, 2.0]])})
    >>> gradient_pattern(First(), views, lambda out: out.z["shared"][:, 0])["a"].round(decimals=2)
    tensor([0.3300, 0.6700])
    """
    found = {}
    for name, g in mean_gradient(model, views, target, batch_rows).items():
        x, here = views[name], views.present[name]
        several = g.ndim == x.ndim
        flat = rearrange(g, "k ... -> k (...)") if several else rearrange(g, "... -> 1 (...)")
        seen = torch.where(there(views, name), x, 0.0).flatten(1)
        heard = seen @ flat.to(seen).mT
        found[name] = pattern_of(x, heard if several else heard[:, 0], here, batch_rows)
    return found


def mean_gradient(
    model: nn.Module, views: Views, target: Target, batch_rows: int = 256
) -> dict[str, Float[Tensor, "..."]]:
    """The mean gradient of a target over rows, by view: a filter. It says how the model reads, not where a source is.

    Of the views of real numbers; 0 where the target does not depend on a view. (k, *shape) for k targets.

    >>> from ivekit.models import Outputs
    >>> class Square(nn.Module):
    ...     def forward(self, views):
    ...         return Outputs({}, {"shared": views["a"].square()}, {})
    >>> mean_gradient(Square(), Views({"a": torch.tensor([[1.0], [2.0]])}), lambda out: out.z["shared"][:, 0])["a"]
    tensor([3.])
    """
    names = [name for name, x in views.items() if x.is_floating_point()]
    sums: dict[str, Any] = dict.fromkeys(names, 0.0)
    several = False
    with at_rest(model) as device, torch.enable_grad():
        for rows in _batches(views, batch_rows, device):
            inputs = {name: rows[name].detach().clone().requires_grad_() for name in names}
            rows = rows.replace(**inputs)
            z = _told(target, model(rows), rows)
            several = z.ndim == 2
            for name, g in zip(names, _gradients(z if several else rearrange(z, "b -> b 1"), list(inputs.values()))):
                sums[name] = sums[name] + g
    return {name: (s if several else s[0]) / len(views) for name, s in sums.items()}


def _gradients(z: Float[Tensor, "b k"], inputs: list[Tensor]) -> list[Float[Tensor, "k *shape"]]:
    """The gradient of each target's sum over rows, summed over rows, for every input."""
    by_target = [
        torch.autograd.grad(column.sum(), inputs, retain_graph=True, allow_unused=True, materialize_grads=True)
        for column in z.unbind(1)
    ]
    return [torch.stack([reduce(g, "b ... -> ...", "sum").cpu() for g in of]) for of in zip(*by_target)]


def along(model: nn.Module, views: Views, target: Target) -> dict[str, Float[Tensor, "b *shape"]]:
    """The part of every row that goes with a target: its pattern times how far the row's value is from the mean.

    An explainer in the shape of the data, so that a pattern can stand before the same checks as an attribution.

    >>> from ivekit.models import Outputs
    >>> class First(nn.Module):
    ...     def forward(self, views):
    ...         return Outputs({}, {"shared": views["a"][:, :1]}, {})
    >>> along(First(), Views({"a": torch.tensor([[0.0, 0.0], [1.0, 2.0]])}), lambda out: out.z["shared"][:, 0])["a"]
    tensor([[-0.5000, -1.0000],
            [ 0.5000,  1.0000]])
    """
    z = target_values(model, views, target)
    if z.ndim != 1:
        raise ValueError(f"a row has one part that goes with one target; this one has the shape {tuple(z.shape)}")
    each = {name: pattern_of(views[name], z, views.present[name]) for name in views}
    far = z - z.mean()
    return {name: far.reshape(-1, *[1] * a.ndim) * a for name, a in each.items()}


# spatial filters -----------------------------------------------------------------------------------------------------


def spatial_filters(model: nn.Module) -> dict[str, Float[Tensor, "d c"]]:
    """The spatial filters of a model's encoders, by view, for sensors in the data's own units: not maps of sources.

    Of encoders that keep them as `spatial` (SensorBasis, LF-CNN, VAR-CNN, EEGNet, ShallowNet), behind the model's own
    whitening or z-score. Draw them as "filter", and `filter_patterns` as "pattern".

    Raises
    ------
    ValueError : when no encoder has any.

    >>> from ivekit.models import Conditional
    >>> from ivekit.nn import Categorical, LFCNN, MLPDecoder
    >>> model = Conditional({"meg": LFCNN(102, 32)}, {"label": Categorical(MLPDecoder(32, 4))})
    >>> spatial_filters(model)["meg"].shape
    torch.Size([32, 102])
    """
    encoders: Any = getattr(model, "encoders", None) or {}
    transforms: Any = getattr(getattr(model, "standardise", None), "transforms", {})
    found = {}
    for view, encoder in encoders.items():
        weights = [_as_filters(m.spatial.weight.detach()) for m in encoder.modules() if hasattr(m, "spatial")]
        if weights:
            found[view] = _before(transforms[view] if view in transforms else None, torch.cat(weights))
    if not found:
        raise ValueError(f"no encoder of this {type(model).__name__} keeps spatial filters; take haufe_pattern")
    return found


def filter_patterns(model: nn.Module, views: Views) -> dict[str, Float[Tensor, "d c"]]:
    """The field that comes with the output of each spatial filter, by view: component patterns of an LF-CNN, say.

    ``C w / (w' C w)`` with the covariance C of the sensors over rows and samples of `views` (Haufe et al., 2014;
    `ivekit.nn.decoding.patterns`), in the sensors' unit per unit of the output. Rows without the view are left out.

    >>> from ivekit.models import Conditional
    >>> from ivekit.nn import Categorical, LFCNN, MLPDecoder
    >>> model = Conditional({"meg": LFCNN(5, 3)}, {"label": Categorical(MLPDecoder(3, 4))})
    >>> filter_patterns(model, Views({"meg": torch.randn(4, 5, 20)}))["meg"].shape
    torch.Size([3, 5])
    """
    found = {}
    for view, filters in spatial_filters(model).items():
        here = there(views, view)
        x = torch.where(here, views[view], 0.0).double().cpu()
        x = torch.where(here, x - x.sum(0) / here.sum(0).clamp(min=1), 0.0)
        n = rearrange(here.double(), "b c t -> c (b t)")
        flat = rearrange(x, "b c t -> c (b t)")
        covariance = flat @ flat.mT / (n @ n.mT).clamp(min=1)
        found[view] = patterns(filters.cpu().double(), covariance).to(filters.dtype)
    return found


def _as_filters(weight: Tensor) -> Float[Tensor, "d c"]:
    """The weights of a spatial layer, one filter a row: of a linear map, or of a convolution over all sensors."""
    shapes = {2: "d c -> d c", 3: "d c 1 -> d c", 4: "d f c 1 -> (d f) c"}
    return rearrange(weight, shapes[weight.ndim])


def _before(transform: Any, filters: Float[Tensor, "d c"]) -> Float[Tensor, "d c"]:
    """Filters for standardised sensors as filters for the sensors themselves; a change of scale in time is left out."""
    if transform is None:
        return filters
    if hasattr(transform, "space"):
        return filters @ transform.space.to(filters)
    return filters / transform.scale.flatten().to(filters)


# rows ----------------------------------------------------------------------------------------------------------------


def _told(target: Target, out: Any, rows: Views) -> Tensor:
    """A target's values, (b,) or (b, k), whether it takes the outputs alone or the rows too."""
    z = value(target, out, lambda: rows)
    if z.ndim not in (1, 2) or len(z) != len(rows):
        raise ValueError(f"a target is (b,) or (b, k) with b = {len(rows)} rows, this one is {tuple(z.shape)}")
    return z


def _batches(views: Views, rows: int, device: torch.device) -> Iterator[Views]:
    return (views[start : start + rows].to(device) for start in range(0, len(views), rows))
