"""A model's decoders as one function of numbers, which a kernel can ask and a browser can run.

``Decode(model, views)(z, *given)`` is what the sliders turn: all blocks of latents side by side, and beside them what
the model is given (the condition of a `MultimodalVAE`, all inputs of a `Conditional`). It tells the mean and, where
there is one, the standard deviation of every view, in the data's own units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from einops import repeat
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from ..distributions import Autoregressive
from ..explain.forward import evaluating
from ..models import is_ragged
from ..nn import Tokens
from ..views import Views


class Decode(nn.Module):
    """What a model tells from latents and from what it is given, as a function of tensors.

    model : a `MultimodalVAE`, or anything with `encode` and `decode`; a `Conditional`; or any module that makes
        `Outputs` of `Views`, which has no latents to turn and can be asked through `told` alone.
    views : rows, of which the first says the shapes.

    Attributes
    ----------
    blocks : {block: how many latents}, in the order in which they stand in z. given : the views that are given.
    names : the views that are told. outputs : what `forward` returns, "meg" (its mean) and "meg.sd" and so on.

    >>> from ivekit.models import MultimodalVAE
    >>> from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
    >>> model = MultimodalVAE(dict(a=MLPEncoder(3, 8)), ProductOfExperts("a", 8, 2), dict(a=Gaussian(MLPDecoder(2, 3))))
    >>> decode = Decode(model, Views({"a": torch.zeros(4, 3)}))
    >>> decode.blocks, decode.outputs, [x.shape for x in decode(torch.zeros(5, 2))]
    ({'shared': 2}, ['a', 'a.sd'], [torch.Size([5, 3]), torch.Size([5, 3])])
    """

    def __init__(self, model: nn.Module, views: Views):
        super().__init__()
        self.model: Any = model
        self.latent = hasattr(model, "encode") and hasattr(model, "decode")
        given: Any = getattr(model, "condition" if self.latent else "encoders", ())
        self.given: tuple[str, ...] = tuple(given)
        row, z = views[:1], None
        with evaluating(model) as device, torch.no_grad():
            beliefs = self.model.encode(row.to(device)) if self.latent else {}
            self.blocks = {block: q.mean.shape[1] for block, q in beliefs.items()}
            if self.latent:
                z = torch.zeros(1, sum(self.blocks.values()), device=device)
            p = self.likelihoods(z, row.to(device))
            self.names = [name for name in p if name in views]
            if not self.names:
                raise ValueError(
                    f"the model tells {list(p)}, and the views are {list(views)}: none of them can be shown"
                )
            self.sds = [name for name in self.names if _sd(p[name]) is not None]
        self.outputs = [out for name in self.names for out in (name, *([f"{name}.sd"] if name in self.sds else []))]

    @property
    def size(self) -> int:
        """How many latents there are."""
        return sum(self.blocks.values())

    def split(self, z: Float[Tensor, "b k"]) -> dict[str, Float[Tensor, "b _"]]:
        """The blocks of a code that stand side by side."""
        return dict(zip(self.blocks, z.split(list(self.blocks.values()), 1)))

    @property
    def inputs(self) -> list[str]:
        """What `forward` takes, in order: "z" of a model with latents, "given:NAME" of what stands beside it."""
        return [*(["z"] if self.size else []), *(f"given:{name}" for name in self.given)]

    def forward(self, *inputs: Shaped[Tensor, "b *shape"]) -> tuple[Tensor, ...]:
        """Mean and standard deviation of every view, in the order of `outputs`; all that is given is there, whole."""
        given = inputs[1:] if self.size else inputs
        tokens = {name: self._tokens(name, x) for name, x in zip(self.given, given)}
        if self.latent:
            context = Tokens.cat([tokens[name] for name in self.given]) if self.given else None
            return self._said(self.model.decode(self.split(inputs[0]), context))
        return self._said(self.model.tell(tokens).p)

    def told(self, z: Float[Tensor, "b k"] | None, rows: Views) -> tuple[Tensor, ...]:
        """The same of rows whose given views may lack parts: on the model's device, the answers on the CPU."""
        with evaluating(self.model) as device, torch.no_grad():
            p = self.likelihoods(None if z is None else z.to(device), rows.to(device))
            return tuple(x.cpu() for x in self._said(p))

    def likelihoods(self, z: Float[Tensor, "b k"] | None, rows: Views) -> Mapping[str, Any]:
        """By view, what is told of codes in rows that say what is given; without codes, of the rows' own."""
        if not self.latent or z is None:
            return self.model(rows).p
        context = Tokens.cat(list(self.model.tokens(rows, self.given).values())) if self.given else None
        return self.model.decode(self.split(z) if self.blocks else {}, context)

    def _tokens(self, name: str, x: Tensor) -> Tokens:
        """The tokens of one given view that is wholly there."""
        transforms: Any = getattr(getattr(self.model, "standardise", None), "transforms", {})
        x = transforms[name](x) if name in transforms else x
        encoder, here = self.model.encoders[name], x.flatten(1)[:, 0] == x.flatten(1)[:, 0]
        if is_ragged(type(encoder)):
            return encoder(x, repeat(here, "b -> b n", n=x.shape[1]))
        return Tokens.of(encoder(x), here)

    def _said(self, p: Mapping[str, Any]) -> tuple[Tensor, ...]:
        told = [(mean_of(p[name]), _sd(p[name]) if name in self.sds else None) for name in self.names]
        return tuple(x.float() for both in told for x in both if x is not None)


def mean_of(p: Any) -> Tensor:
    """What a likelihood tells: its mean, of a text what it writes, of a plain tensor the tensor.

    >>> from ivekit.distributions import Normal
    >>> mean_of(Normal(torch.ones(1, 2), 3.0))
    tensor([[1., 1.]])
    """
    if isinstance(p, Tensor):
        return p
    return p.mode if isinstance(p, Autoregressive) else p.mean


def _sd(p: Any) -> Tensor | None:
    """The standard deviation in the shape of the mean; None of what has none (classes, texts, samples)."""
    if isinstance(p, Tensor | Autoregressive):
        return None
    try:
        return p.stddev.expand_as(p.mean)
    except (NotImplementedError, AttributeError):
        return None


def side_by_side(blocks: Mapping[str, Tensor], order: Sequence[str]) -> Float[Tensor, "b k"]:
    """Codes by block as one code.

    >>> side_by_side({"b": torch.ones(1, 1), "a": torch.zeros(1, 2)}, ["a", "b"])
    tensor([[0., 0., 1.]])
    """
    return torch.cat([blocks[name] for name in order], 1)
