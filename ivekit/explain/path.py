"""Integrated gradients of many quantities at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..nn import Tokens
from ..views import Views
from .attribution import Attribution, completeness
from .check import Target
from .engine import Reader, chosen, in_parts, readers, row_bytes
from .forward import at_rest
from .removal import finished, words


def integrated_gradients(
    model: nn.Module,
    views: Views,
    target: Target,
    imputer: Any = None,
    n_steps: int = 50,
    megabytes: float | int = 16,
) -> Attribution:
    """The gradient of each quantity along the way from a baseline to the rows (Sundararajan et al., 2017).

    ``(x - x') . integral over a from 0 to 1 of df/dx at x' + a (x - x')``, by Gauss-Legendre quadrature with `n_steps`
    nodes, as captum does by default. The quantities share the way forward, and each goes back only through the views
    that it depends on. imputer : the baseline, as `ablation` takes it; what it makes of rows of which nothing is kept.

    >>> from ivekit.models import Outputs
    >>> class Square(nn.Module):
    ...     def forward(self, views):
    ...         return Outputs({}, {"shared": views["a"].square()}, {})
    >>> views = Views({"a": torch.tensor([[1.0, 3.0]])})
    >>> integrated_gradients(Square(), views, lambda out: out.z["shared"])["a"].round(decimals=4)
    tensor([[[1., 0.],
             [0., 9.]]])
    """
    with at_rest(model) as device:
        here = views.to(device)
        imputer, parts, errors = chosen(imputer, model, here), [], []
        for reader, own in readers(model, here, target, imputer, megabytes):
            base = {name: own(name, x, torch.zeros_like(x, dtype=torch.bool)) for name, x in _real(reader).items()}
            parts.append(_integral(reader, base, n_steps, megabytes))
            total = torch.stack([x.flatten(2).sum(2) for x in parts[-1].values()]).sum(0)
            with torch.no_grad():
                codes = {name: reader.encode(name, x, reader.rows) for name, x in base.items()}
                ends = reader.values(reader.codes, reader.rows), reader.values(codes, reader.rows)
            errors.append(completeness(total, *ends))
            single = reader.single
    return finished(parts, views, single, "integrated_gradients", words(imputer), torch.cat(errors))


def _real(reader: Reader) -> dict[str, Tensor]:
    for name, x in reader.x.items():
        if not x.is_floating_point():
            raise ValueError(
                f"view {name!r} holds {x.dtype}, which has no gradient: `attribute` explains bytes at their embedding, "
                "`ablation` removes them"
            )
    return reader.x


def _integral(reader: Reader, base: dict[str, Tensor], n_steps: int, megabytes: float | int) -> dict[str, Tensor]:
    """Attributions ``(b, k, ...)`` by view."""
    nodes, weights = (torch.from_numpy(a).to(reader.rows.device) for a in np.polynomial.legendre.leggauss(n_steps))
    alphas, weights = (1 + nodes) / 2, weights / 2
    total: dict[str, Tensor] = {}
    each = sum(row_bytes(x) for x in base.values()) * len(reader.rows)
    for part in in_parts(n_steps, each, megabytes):
        a, w = alphas[part.start : part.stop], weights[part.start : part.stop]
        for name, gradient in _gradients(reader, base, a, w).items():
            total[name] = total[name] + gradient if name in total else gradient
    return {name: g * (reader.x[name] - base[name])[:, None] for name, g in total.items()}


def _gradients(reader: Reader, base: dict[str, Tensor], alphas: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """The weighted sum over some steps of the gradients, ``(b, k, ...)`` by view."""
    s, rows = len(alphas), reader.rows.repeat(len(alphas))
    xs, codes = {}, {}
    for name, x in base.items():
        a = alphas.to(x).reshape(-1, *[1] * x.ndim)
        xs[name] = (x + a * (reader.x[name] - x)).flatten(0, 1).requires_grad_()
        codes[name] = reader.encode(name, xs[name], rows)
    ends = {name: _plain(code).detach().requires_grad_() for name, code in codes.items()}
    y = reader.values({name: _with(codes[name], end) for name, end in ends.items()}, rows)
    summed = {name: x.new_zeros(len(x) // s, y.shape[1], *x.shape[1:]) for name, x in xs.items()}
    for i in range(y.shape[1]):
        slopes = torch.autograd.grad(y[:, i].sum(), list(ends.values()), retain_graph=True, allow_unused=True)
        for name, slope in zip(ends, slopes):
            if slope is not None and slope.any():  # a private latent depends on its own view alone
                back = slope if not reader.apart else _back(codes[name], xs[name], slope)
                summed[name][:, i] = torch.tensordot(weights.to(back), back.unflatten(0, (s, -1)), 1)
    return summed


def _plain(code: Any) -> Tensor:
    return code.x if isinstance(code, Tokens) else code


def _with(code: Any, x: Tensor) -> Any:
    return Tokens(x, code.mask) if isinstance(code, Tokens) else x


def _back(code: Tokens, x: Tensor, slope: Tensor) -> Tensor:
    return torch.autograd.grad(code.x, x, slope, retain_graph=True)[0]
