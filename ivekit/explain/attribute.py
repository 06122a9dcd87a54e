"""What in which recording adds to a quantity: any method of captum, on any model of several views."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from captum import attr
from captum._utils.models.linear_model import SkLearnRidge
from einops import reduce, repeat
from torch import Tensor, nn

from ..views import Views
from .attribution import Attribution, completeness
from .check import Target
from .forward import Explained, at_rest, encoded, seeded
from .groups import block, counted, gathered, whole
from .groups import groups as grouped
from .imputers import real, recorded, there, training_mean

Baseline = Callable[[nn.Module, Views], Mapping[str, Tensor]] | Views | Mapping[str, Tensor]

# what takes the place of a row is drawn from several: they are a set, not a partner for each row
DRAWN = (attr.GradientShap, attr.DeepLiftShap, attr.NeuronGradientShap, attr.NeuronDeepLiftShap)
SUMS = (  # to what the quantity differs from the baseline's
    attr.IntegratedGradients, attr.DeepLift, attr.GradientShap, attr.ShapleyValueSampling, attr.KernelShap,
)  # fmt: skip


def attribute(
    model: nn.Module,
    views: Views,
    target: Target,
    method: Any = attr.IntegratedGradients,
    baseline: Any = training_mean,
    groups: Mapping[str, Tensor] | None = None,
    batch_rows: int = 128,
    seed: int = 0,
    **kwargs: Any,
) -> Attribution:
    """How much each element of each view adds to a quantity, by any of captum's methods.

    target : ``Outputs -> (b,)``, or ``(Outputs, Views) -> (b,)`` with the rows explained (for a reconstruction error).
    method : a class of `captum.attr`, or ``f -> an object with .attribute``: ``lambda f: NoiseTunnel(Saliency(f))``.
    baseline : `training_mean`, `zeros`, other trials (`Views` of as many rows, or one), or a row for each view.
    groups : features that are removed together, where the method removes any; of a usable size by default.
    batch_rows : rows that go through the model at once, copies of rows among them: this bounds memory.
    kwargs : of captum's own ``attribute``, and ``layer`` of methods that look at one.

    All encoded views are explained at once (conditions too), in their own shapes; of a model without `encoders`, all
    views of real numbers. What is missing in a row has attribution 0. Bytes are explained at their embedding, summed
    over it. Methods that draw are given `seed`; the model is left as it was.

    >>> from ivekit import models, nn as parts
    >>> model = models.Conditional({"a": parts.MLPEncoder(3, 8)}, {"y": parts.Gaussian(parts.MLPDecoder(8, 2))})
    >>> views = Views({"a": torch.ones(4, 3), "y": torch.zeros(4, 2)})
    >>> attribute(model, views, lambda out: out.p["y"].mean[:, 0], attr.InputXGradient)
    Attribution of 4 rows by InputXGradient, baseline: none; completeness is not promised
      a  (4, 3)
    """
    if not len(views):
        raise ValueError("there are no rows to explain")
    layer = kwargs.pop("layer", None)
    with at_rest(model) as device, seeded(seed), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="captum")
        here = views.to(device)
        f = Explained(model, here, target, _explained(model, here, layer))
        explainer = _made(method, f, layer)
        rows, words = _baseline(baseline, model, here)
        call = _Call(f, explainer, _inputs(f), _inputs(f, rows), groups, batch_rows, kwargs)
        parts = {name: torch.cat(batches) for name, *batches in zip(f.names, *call.batches())}
        error = _error(call, parts) if isinstance(explainer, SUMS) else None
    kept = {name: _recorded_only(parts.get(name), views, name) for name in encoded(model, views)}
    return Attribution(kept, _named(explainer), words if call.takes("baselines") else "none", error)


def _explained(model: nn.Module, views: Views, layer: nn.Module | None) -> list[str]:
    """The views to explain: all that are encoded; those that a layer inside one encoder sees, where one is given."""
    names = encoded(model, views)
    if layer is None or not hasattr(model, "encoders"):
        return names
    encoders: Any = model.encoders
    return [name for name in names if any(m is layer for m in encoders[name].modules())] or names


def _made(method: Any, f: Explained, layer: nn.Module | None) -> Any:
    """A method around a function; captum's classes by what they need to be made."""
    needs = inspect.signature(method).parameters if inspect.isclass(method) else {}
    if inspect.isclass(method) and issubclass(method, attr.LayerAttribution):
        raise ValueError(f"{method.__name__} explains a layer, not the views: no element of a view has such a number")
    if "layer" in needs and layer is None:
        raise ValueError(f"{_said(method)} looks at a layer: give layer=, one of the model's modules")
    more: list[Any] = [layer] if "layer" in needs else []
    if method is attr.Lime:  # captum's lasso sets a target of small numbers to 0; ridge is Ribeiro et al.'s (2016) own
        more = [SkLearnRidge(alpha=1.0)]
    make: Any = method
    try:
        explainer = make(attr.Saliency(f) if method is attr.NoiseTunnel else f, *more)
    except (TypeError, AssertionError) as error:
        raise ValueError(f"{_said(method)} is not made of a function alone: give a function f -> method") from error
    if not hasattr(explainer, "attribute"):
        raise ValueError(
            f"{_said(method)} has no way to attribute: give one of the classes of captum.attr made from it"
        )
    return explainer


def _said(method: Any) -> str:
    return getattr(method, "__name__", repr(method))


def _baseline(baseline: Baseline, model: nn.Module, views: Views) -> tuple[dict[str, Tensor], str]:
    """One row a view, or several; and what they are, in words."""
    mean = training_mean(model, views)
    if isinstance(baseline, Views):
        other = baseline.to(next(iter(mean.values())).device)
        return {name: recorded(other, name, mean[name]) for name in other if name in mean}, "another trial"
    rows = dict(baseline(model, views) if callable(baseline) else baseline)
    words = getattr(baseline, "__name__", "as given").replace("_", " ")
    known: Any = getattr(getattr(model, "standardise", None), "transforms", {})
    bare = [name for name in encoded(model, views) if baseline is training_mean and name not in known]
    return rows, f"{words} (0 of {', '.join(bare)}, never standardised)" if bare else words


def _inputs(f: Explained, rows: Mapping[str, Tensor] | None = None) -> tuple[Tensor, ...]:
    """The explained views as numbers, what is missing filled; or rows of a baseline, one at least."""
    if rows is None:
        fill = training_mean(f.model, f.views)
        return f.inputs({name: recorded(f.views, name, fill[name]) for name in f.names})
    if missing := [name for name in f.names if name not in rows]:
        raise ValueError(f"the baseline lacks {missing}; the views explained are {list(f.names)}")
    return f.inputs({name: x if (x := rows[name]).ndim == f.views[name].ndim else x[None] for name in f.names})


@dataclass
class _Call:
    """Calls of captum's `attribute`, a batch of rows each, with the settings that it needs and was not given."""

    f: Explained
    explainer: Any
    inputs: tuple[Tensor, ...]
    baselines: tuple[Tensor, ...]
    groups: Mapping[str, Tensor] | None
    batch_rows: int
    given: dict[str, Any]

    def __post_init__(self):
        if self.batch_rows < 1:
            raise ValueError(f"batch_rows is {self.batch_rows}: at least one row goes through the model at once")
        if "baselines" in self.given:
            raise ValueError("a baseline is given as baseline=, by view, not as captum's baselines=")
        if self.groups is not None and not self.takes("feature_mask"):
            raise ValueError(f"{_named(self.explainer)} knows no groups of features; FeatureAblation does")
        if self.groups is None:  # all orders of the features are gone through by ShapleyValues: few, or for ever
            self.groups = (whole if isinstance(self.explainer, attr.ShapleyValues) else grouped)(self.f.views)

    def takes(self, name: str) -> bool:
        """Whether the method, or that inside a noise tunnel, has such a parameter."""
        inner = getattr(self.explainer, "attribution_method", None)
        return any(name in inspect.signature(m.attribute).parameters for m in (self.explainer, inner) if m is not None)

    def batches(self) -> Iterator[tuple[Tensor, ...]]:
        """Attributions of batches of rows, one tensor a view."""
        rows = torch.arange(len(self.inputs[0]), device=self.inputs[0].device)
        with torch.no_grad():  # what is wrong with model or target is said before the method is tried
            self.f(*(x[:1] for x in self.inputs), rows[:1])
        for some in rows.tensor_split(math.ceil(len(rows) / self._at_once())):
            inputs = tuple(x[some] for x in self.inputs)
            try:
                # captum makes some masks of windows on the CPU, wherever the rows are
                with some.device if isinstance(self.explainer, attr.Occlusion) else nullcontext():
                    said = self.explainer.attribute(inputs, additional_forward_args=(some,), **self._settings(some))
            except (TypeError, AssertionError, AttributeError) as error:
                raise ValueError(f"{_named(self.explainer)} refuses this model: {error}") from error
            if any(x.numel() == 0 for x in said):
                raise ValueError(f"{_named(self.explainer)}: the layer's map does not fit the axes of {self.f.names}")
            yield tuple(self._shaped(name, x) for name, x in zip(self.f.names, said))

    def _at_once(self) -> int:
        """Rows a call, so that methods which copy rows and cannot be told how many stay within `batch_rows`."""
        if isinstance(self.explainer, DRAWN):
            return max(1, self.batch_rows // self.given.get("n_samples", max(5, len(self.baselines[0]))))
        return max(1, self.batch_rows // 2)

    def _settings(self, rows: Tensor) -> dict[str, Any]:
        """What captum's `attribute` is called with: ours where nothing was given."""
        several = max(1, self.batch_rows // len(rows))
        n_groups = sum(counted(self.groups or {}).values())
        ours = {
            "baselines": lambda: self._partners(rows),
            "feature_mask": self._features,
            "sliding_window_shapes": self._windows,
            "strides": self._windows,
            "perturbations_per_eval": lambda: several,
            "internal_batch_size": lambda: self.batch_rows,
            "nt_samples_batch_size": lambda: several,
            "stdevs": lambda: tuple(0.1 * float(x.std()) for x in self.inputs),  # of Smilkov et al. (2017): 10 %
            "n_samples": lambda: 2 * n_groups + 50 if isinstance(self.explainer, attr.Lime) else None,
        }
        if "sliding_window_shapes" in self.given:
            del ours["strides"]
        wanted = {name: make() for name, make in ours.items() if name not in self.given and self.takes(name)}
        return {name: x for name, x in wanted.items() if x is not None} | self.given

    def _partners(self, rows: Tensor) -> tuple[Tensor, ...]:
        """The row of the baseline for each row; where it is drawn from several, all of them."""
        if isinstance(self.explainer, DRAWN):
            return tuple(x if len(x) > 1 else x.expand(2, *x.shape[1:]) for x in self.baselines)
        return tuple(x[rows] for x in self.each_baseline())

    def each_baseline(self) -> tuple[Tensor, ...]:
        """As many rows of the baseline as are explained."""
        for name, x, own in zip(self.f.names, self.baselines, self.inputs):
            if len(x) not in (1, len(own)) or x.shape[1:] != own.shape[1:]:
                raise ValueError(
                    f"the baseline of {name!r} is {tuple(x.shape)}: {tuple(own.shape)} is needed, or one row of it"
                )
        return tuple(x.expand_as(own) for x, own in zip(self.baselines, self.inputs))

    def _features(self) -> tuple[Tensor, ...]:
        """Groups as captum numbers them: through all views."""
        masks, first = [], 0
        for name, x in zip(self.f.names, self.inputs):
            of = (self.groups or {})[name].to(x.device)
            masks.append(
                (of + first).reshape(1, *of.shape, *[1] * (x.ndim - of.ndim - 1)).expand(1, *x.shape[1:]).contiguous()
            )
            first += int(of.max()) + 1
        return tuple(masks)

    def _windows(self) -> tuple[tuple[int, ...], ...]:
        """Windows side by side, as large as a default group; all of a byte's embedding."""
        rows = {name: tuple(self.f.views[name].shape[1:]) for name in self.f.names}
        return tuple((*block(rows[name]), *x.shape[len(rows[name]) + 1 :]) for name, x in zip(rows, self.inputs))

    def _shaped(self, name: str, x: Tensor) -> Tensor:
        """As the view is: of a byte, the sum over its embedding, where a group's value was not given to all of it."""
        if name not in self.f.tables:
            return x.detach()
        once = self.takes("feature_mask") or self.takes("sliding_window_shapes")
        return reduce(x.detach(), "b n d -> b n", "mean" if once else "sum")


def _error(call: _Call, parts: Mapping[str, Tensor]) -> Tensor:
    """The error of completeness of each row."""
    groups = (call.groups or {}) if call.takes("feature_mask") else {}
    rows = torch.arange(len(call.inputs[0]), device=call.inputs[0].device)

    def said(inputs: tuple[Tensor, ...], rows: Tensor) -> Tensor:
        each = zip(*(x.split(call.batch_rows) for x in (*inputs, rows)))
        with torch.no_grad():
            return torch.cat([call.f(*some) for some in each])

    total = torch.stack([_total(x, groups.get(name)) for name, x in parts.items()]).sum(0)
    if not isinstance(call.explainer, DRAWN):
        return completeness(total, said(call.inputs, rows), said(call.each_baseline(), rows))
    n = len(call.baselines[0])  # each row against the mean over the baselines that it was drawn from
    drawn = said(tuple(repeat(x, "n ... -> (b n) ...", b=len(rows)) for x in call.baselines), rows.repeat_interleave(n))
    return completeness(total, said(call.inputs, rows), reduce(drawn, "(b n) -> b", "mean", n=n))


def _total(x: Tensor, of: Tensor | None) -> Tensor:
    """The sum of a row's attributions, that of a group counted once."""
    if of is None:
        return x.flatten(1).sum(1)
    size = of.flatten().bincount().to(x)
    return (gathered(x, of) / size).sum(1)


def _recorded_only(x: Tensor | None, views: Views, name: str) -> Tensor:
    """0 where nothing was recorded, and in a view that was not explained."""
    like = views[name]
    x = torch.zeros(like.shape, dtype=real(like)) if x is None else x
    return torch.where(there(views, name), x.to(like.device), 0)


def _named(explainer: Any) -> str:
    inner = getattr(explainer, "attribution_method", None)
    name = type(explainer).__name__
    return name if inner is None else f"{name} of {type(inner).__name__}"
