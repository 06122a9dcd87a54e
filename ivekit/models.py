"""The two models, with latent variables and without: both take `Views` and say `Outputs`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from einops import repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .distributions import SomeCopies, in_units
from .nn import Tokens
from .signal import Standardise
from .views import Views


@dataclass
class Outputs:
    """What a model says of a batch.

    q : the posteriors q(z | x), by block of the latent space: "shared", or the name of the view it is private to.
    z : samples of them while training, their means otherwise, ``(b, k)``.
    p : the likelihoods p(x | z), by view, in the data's own units.
    """

    q: dict[str, Any]
    z: dict[str, Tensor]
    p: Mapping[str, Any]


class _WhenAsked(Mapping[str, Any]):
    """Likelihoods by view, each made when it is first asked for."""

    def __init__(self, make: Callable[[str], Any], names: Sequence[str]):
        self._make, self._made = make, dict.fromkeys(names)

    def __getitem__(self, name: str) -> Any:
        if self._made[name] is None:
            self._made[name] = self._make(name)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


@dataclass(frozen=True)
class Plan:
    """Which subsets of the views a model sees in training, and which views each subset must tell.

    names : the views, in the order of the columns.
    seen, scored : (subsets, views). A row that has nothing of what a subset sees is not scored by it.
    unseen : the private code of a view that is not seen, from a standard normal sample: ``torch.zeros_like`` puts it
        at its prior mean, ``torch.clone`` leaves it a sample of the prior.

    The published objectives for several views are such plans; `ivekit.plans` has them by name.

    >>> Plan(("a", "b"), torch.tensor([[True, True], [True, False]]), torch.ones(2, 2, dtype=torch.bool))
    Plan: a+b -> a, b; a -> a, b
    """

    names: tuple[str, ...]
    seen: Bool[Tensor, "s m"]
    scored: Bool[Tensor, "s m"]
    unseen: Any = torch.clone

    def __post_init__(self):
        for role, mask in (("seen", self.seen), ("scored", self.scored)):
            if mask.ndim != 2 or mask.shape[1] != len(self.names) or mask.shape != self.seen.shape:
                raise ValueError(f"{role} must be (subsets, {len(self.names)} views), got {tuple(mask.shape)}")

    def __len__(self) -> int:
        return len(self.seen)

    def __repr__(self) -> str:
        def some(row: Tensor) -> list[str]:
            return [name for name, there in zip(self.names, row.tolist()) if there]

        each = (f"{'+'.join(some(a)) or 'nothing'} -> {', '.join(some(b))}" for a, b in zip(self.seen, self.scored))
        return f"Plan: {'; '.join(each)}"

    def sees(self, name: str) -> Bool[Tensor, "s"]:
        """The subsets that a view is in; one that the plan does not name is always seen."""
        return self._column(self.seen, name)

    def told(self, name: str) -> list[int]:
        """The subsets that are scored on a view; all of them, where none is or the plan does not name it.

        >>> Plan(("a",), torch.tensor([[True], [True]]), torch.tensor([[False], [True]])).told("a")
        [1]
        """
        each = self._column(self.scored, name).tolist()
        return [i for i, scored in enumerate(each) if scored or not any(each)]

    def _column(self, mask: Tensor, name: str) -> Tensor:
        return mask[:, self.names.index(name)] if name in self.names else torch.ones(len(mask), dtype=torch.bool)

    def views(self, batch: Views) -> Views:
        """The batch once a subset, ``(s b)`` rows, of which present is what that subset is scored on.

        >>> plan = Plan(("a",), torch.tensor([[True], [False]]), torch.tensor([[True], [True]]))
        >>> plan.views(Views({"a": torch.ones(3, 2)}))
        Views of 6 rows
          a  (2,)
        """
        if unknown := set(self.names) - set(batch):
            raise ValueError(f"the plan names {sorted(unknown)}, but the views are {list(batch)}")
        there, present = torch.stack([batch.rows_present(name) for name in self.names]), {}
        seen = self.seen.to(there.device, non_blocking=True)
        told = (seen[:, :, None] & there).any(1) | ~seen.any(1, keepdim=True)  # (s, b)
        for name, mask in batch.present.items():
            scored = told & self._column(self.scored, name).to(mask.device, non_blocking=True)[:, None]
            each = repeat(mask, "b ... -> s b ...", s=len(self)) & scored.reshape(*scored.shape, *[1] * (mask.ndim - 1))
            present[name] = each.flatten(0, 1)
        return _Stacked(batch, len(self), present)


class _Stacked(Views):
    """A batch stacked several times over, copied only for those who ask for the copies."""

    def __init__(self, batch: Views, copies: int, present: Mapping[str, Tensor]):
        self.once, self.copies, self.present, self.about = batch, copies, dict(present), batch.about
        self._frame, self._rows = None, None

    @property
    def tensors(self) -> dict[str, Tensor]:  # type: ignore[override]
        return {name: self[name] for name in self.once}

    @property
    def metadata(self):
        frame = self.once.metadata
        return frame if frame is None else frame.iloc[np.tile(np.arange(len(frame)), self.copies)]

    def __getitem__(self, key):
        if isinstance(key, str):
            return repeat(self.once[key], "b ... -> (s b) ...", s=self.copies)
        return Views(self.tensors, self.present, about=self.about)[key]

    def __len__(self) -> int:
        return self.copies * len(self.once)

    def __iter__(self) -> Iterator[str]:
        return iter(self.once)

    def __contains__(self, name: object) -> bool:
        return name in self.once

    def batch(self, name: str) -> Tensor:
        return self.once[name]


class MultimodalVAE(nn.Module):
    """Views explained by a latent vector that they share and, where wanted, one that each has to itself.

    encoders : view -> tokens. Views named in `condition` are encoded, not decoded. One whose `forward` takes `mask`
        (text, points: rows of any length) is given the view's own, (b, n), and returns `Tokens`.
    posterior : the tokens of all views -> q(z_shared | x).
    decoders : (z_shared and the view's own z side by side, tokens of the condition) -> p(x | z).
    private : for the views that have one, the tokens of that view -> q(z_view | x_view).
    standardise : fitted on training rows; encoders see its numbers, likelihoods are told in the data's units.

    >>> from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
    >>> model = MultimodalVAE(dict(a=MLPEncoder(3, 8)), ProductOfExperts("a", 8, 2), dict(a=Gaussian(MLPDecoder(2, 3))))
    >>> out = model(Views({"a": torch.zeros(4, 3)}))
    >>> out.q["shared"], out.p["a"]
    (Normal(rows=4, event=(2,)), Normal(rows=4, event=(3,)))
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        posterior: nn.Module,
        decoders: Mapping[str, nn.Module],
        private: Mapping[str, nn.Module] | None = None,
        condition: Sequence[str] = (),
        standardise: Standardise | None = None,
    ):
        super().__init__()
        for role, names in (("private", private or {}), ("condition", condition)):
            if unknown := set(names) - set(encoders):
                raise ValueError(f"{role} names {sorted(unknown)}, which have no encoder; there are {list(encoders)}")
        self.encoders, self.decoders = nn.ModuleDict(encoders), nn.ModuleDict(decoders)
        self.posterior, self.private = posterior, nn.ModuleDict(private or {})
        self.condition, self.standardise = tuple(condition), standardise or Standardise()

    def encode(self, views: Views) -> dict[str, Any]:
        """The posteriors of a batch, by block."""
        return self._beliefs(self.tokens(views))

    def tokens(self, views: Views, names: Sequence[str] | None = None) -> dict[str, Tokens]:
        """What the encoders say of a batch, by view; or those of the named views alone."""
        return _tokens(self.encoders, self.standardise, views, names)

    def tell(self, tokens: dict[str, Tokens]) -> Outputs:
        """What the model says of views that are encoded already: means of the latents, and likelihoods when asked for.

        A change of one view is followed by encoding that view alone: its tokens beside those of the others.
        """
        q = self._beliefs(tokens)
        z, context = {block: d.mean for block, d in q.items()}, self._context(tokens)
        return Outputs(q, z, _WhenAsked(lambda name: self._likelihood(name, z, context), list(self.decoders)))

    def weights(self, views: Views) -> dict[str, Float[Tensor, "b n"]]:
        """What each view weighs in the shared belief, by name and step: gate, attention, or part of the precision."""
        weigh: Any = getattr(self.posterior, "weights", None)
        if weigh is None:
            raise ValueError(f"a {type(self.posterior).__name__} does not weigh its views against each other")
        tokens = self.tokens(views)
        return weigh({name: t for name, t in tokens.items() if name not in self.condition})

    def _beliefs(self, tokens: dict[str, Tokens]) -> dict[str, Any]:
        own = {name: head({name: tokens[name]}) for name, head in self.private.items()}
        told = {name: t for name, t in tokens.items() if name not in self.condition}
        return {"shared": self.posterior(told)} | own

    def _context(self, tokens: dict[str, Tokens]) -> Tokens | None:
        return Tokens.cat([tokens[name] for name in self.condition]) if self.condition else None

    def decode(self, z: Mapping[str, Tensor], context: Tokens | None = None) -> dict[str, Any]:
        """The likelihoods of every view from latent vectors by block, ``(b, k)`` each."""
        return {name: self._likelihood(name, z, context) for name in self.decoders}

    def _likelihood(self, name: str, z: Mapping[str, Tensor], context: Tokens | None) -> Any:
        own = [z[name]] if name in self.private else []
        p = self.decoders[name](torch.cat([z["shared"], *own], -1), context)
        return _in_units(self.standardise, name, p)

    def forward(self, views: Views, plan: Plan | None = None) -> Outputs:
        tokens = self.tokens(views)
        if plan is not None:
            sees = {name: plan.sees(name).to(t.x.device, non_blocking=True) for name, t in tokens.items()}
            tokens = {name: t.stacked(sees[name]) for name, t in tokens.items()}
        q = self._beliefs(tokens)
        z = {block: d.rsample() if self.training else d.mean for block, d in q.items()}
        if plan is not None and self.training:
            for name in self.private:
                z[name] = torch.where(tokens[name].present[:, None], z[name], plan.unseen(z[name]))
        if plan is None or self.condition:
            return Outputs(q, z, self.decode(z, self._context(tokens)))
        return Outputs(q, z, {name: self._scored(name, z, plan) for name in self.decoders})

    def _scored(self, name: str, z: Mapping[str, Tensor], plan: Plan) -> Any:
        """The likelihood of a view in the copies of a batch that are scored on it; the others are not decoded."""
        which = plan.told(name)
        if len(which) == len(plan):
            return self._likelihood(name, z, None)
        each = {block: x.unflatten(0, (len(plan), -1)) for block, x in z.items() if block in ("shared", name)}
        some = {block: torch.cat([x[i] for i in which]) for block, x in each.items()}
        return SomeCopies(self._likelihood(name, some, None), which, len(plan))


class Conditional(nn.Module):
    """Some views tell others, p(y | x): cross-modal models and classifiers.

    fusion : tokens of all encoded views -> ``(b, k)``; by default the mean of those that are there, which forgets
        their order: give `Flat` encoders, or a fusion that keeps it, where order matters.

    >>> from ivekit.nn import Categorical, MLPDecoder, MLPEncoder
    >>> model = Conditional(dict(x=MLPEncoder(3, 8)), dict(label=Categorical(MLPDecoder(8, 4))))
    >>> model(Views({"x": torch.zeros(5, 3)})).p["label"].mean.shape
    torch.Size([5, 4])
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        decoders: Mapping[str, nn.Module],
        fusion: Any = None,
        standardise: Standardise | None = None,
    ):
        super().__init__()
        self.encoders, self.decoders = nn.ModuleDict(encoders), nn.ModuleDict(decoders)
        self.fusion, self.standardise = fusion, standardise or Standardise()

    def tokens(self, views: Views, names: Sequence[str] | None = None) -> dict[str, Tokens]:
        """What the encoders say of a batch, by view; or those of the named views alone."""
        return _tokens(self.encoders, self.standardise, views, names)

    def tell(self, tokens: dict[str, Tokens]) -> Outputs:
        """What the model says of views that are encoded already, likelihoods when asked for."""
        z, context = self._fused(tokens)
        return Outputs(
            {}, {"shared": z}, _WhenAsked(lambda name: self._likelihood(name, z, context), list(self.decoders))
        )

    def _fused(self, tokens: dict[str, Tokens]) -> tuple[Tensor, Tokens]:
        context = Tokens.cat(list(tokens.values()))
        return context.mean() if self.fusion is None else self.fusion(tokens), context

    def _likelihood(self, name: str, z: Tensor, context: Tokens) -> Any:
        return _in_units(self.standardise, name, self.decoders[name](z, context))

    def forward(self, views: Views, plan: None = None) -> Outputs:
        z, context = self._fused(self.tokens(views))
        return Outputs({}, {"shared": z}, {name: self._likelihood(name, z, context) for name in self.decoders})


def _tokens(
    encoders: nn.ModuleDict, standardise: Standardise, views: Views, names: Sequence[str] | None
) -> dict[str, Tokens]:
    if names is not None:  # the others are not looked at, so that they need not be standardised
        views = Views({name: views[name] for name in names}, {name: views.present[name] for name in names})
    views = standardise(views)
    return {name: _encode(encoders[name], views, name) for name in (names or encoders)}


def _encode(encoder: nn.Module, views: Views, name: str) -> Tokens:
    """The tokens of one view; an encoder of ragged rows takes their mask too, and says which tokens are there."""
    if not is_ragged(type(encoder)):
        return Tokens.of(encoder(views[name]), views.rows_present(name))
    x, mask = views[name], views.present[name]
    here = mask if mask.ndim > 1 else repeat(mask, "b -> b n", n=x.shape[1])
    return encoder(x, here)


@cache
def is_ragged(encoder: type) -> bool:
    """Whether encoders of a class take the mask of their rows, which may be of any length.

    >>> is_ragged(nn.Linear)
    False
    """
    return "mask" in inspect.signature(encoder.forward).parameters


def _in_units(standardise: Standardise, name: str, p: Any) -> Any:
    return in_units(p, standardise.transforms[name]) if name in standardise.transforms else p
