"""What a trained model says of rows: its objective's terms, its latents, how many are used, and the evidence.

Every function here looks at rows in order, in evaluation mode, without gradients and with noise of its own; model,
objective and the caller's random numbers are as they were afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..distributions import Mixture, Normal, kl_by_latent, standard_normal_like
from ..views import Views


@contextmanager
def still(*parts: Any, seed: int = 0) -> Iterator[torch.device]:
    """Evaluation mode, no gradients and noise from `seed` within the block; all as it was afterwards.

    >>> net = nn.Dropout()
    >>> with still(net): net.training
    False
    >>> net.training
    True
    """
    modules = [module for part in parts if isinstance(part, nn.Module) for module in part.modules()]
    modes, device = [module.training for module in modules], _device(*modules)
    try:
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            for module in modules:
                module.training = False
            yield device
    finally:
        for module, mode in zip(modules, modes):
            module.training = mode


def _device(*modules: nn.Module) -> torch.device:
    tensors = (t for module in modules for t in (*module.parameters(), *module.buffers()))
    return next((t.device for t in tensors), torch.device("cpu"))


def evaluate(
    model: nn.Module, objective: Callable[..., dict[str, Tensor]], data: Views, batch_size: int = 256
) -> dict[str, float]:
    """The objective's terms, averaged over rows; schedules stand at their end.

    >>> count = lambda out, views, step: {"mean": views["x"].mean()}
    >>> evaluate(nn.Identity(), count, Views({"x": torch.tensor([1.0, 2.0, 6.0])}), batch_size=2)
    {'mean': 3.0}
    """
    total: dict[str, Any] = {}
    with still(model, objective) as device:
        for views in _batches(data, batch_size, device):
            for name, term in objective(model(views), views, None).items():
                total[name] = total.get(name, 0.0) + term.double() * len(views) / len(data)
    return {name: float(value) for name, value in total.items()}


def latents(model: nn.Module, data: Views, batch_size: int = 256) -> dict[str, Float[Tensor, "b k"]]:
    """The posterior means of every row, by block: ``{"shared": (rows, k), "meg": ...}``, on the CPU."""
    with still(model) as device:
        parts = [_means(model, views) for views in _batches(data, batch_size, device)]
    return {block: torch.cat([part[block] for part in parts]).cpu() for block in parts[0]}


def collapse(model: Any, data: Views, batch_size: int = 256) -> pd.DataFrame:
    """Which latents are used: a row a latent, with its block and index.

    kl : the divergence of its posterior from the prior, averaged over rows, in nats (for a mixture, its bound by
    the components; NaN where the belief is a point). variance : that of the posterior mean over rows.
    active : whether that is above 0.01 (Burda et al., 2016); a latent that is not has collapsed onto the prior.
    """
    total: dict[str, Any] = {}
    with still(model) as device:
        for views in _batches(data, batch_size, device):
            for block, q in model.encode(views).items():
                total[block] = total.get(block, 0.0) + _kl_by_latent(q).double().sum(0) / len(data)
    frames = []
    for block, means in latents(model, data, batch_size).items():
        spread = means.double().var(0, correction=0)
        found = {"kl": total[block].cpu(), "variance": spread, "active": spread > 0.01}
        frames.append(pd.DataFrame({"block": block, "index": range(means.shape[1]), **found}))
    return pd.concat(frames, ignore_index=True)


def _kl_by_latent(q: Any) -> Float[Tensor, "b k"]:
    prior = standard_normal_like(q)
    if isinstance(q, Mixture):
        each = torch.stack([kl_by_latent(Normal(m, s), prior) for m, s in zip(q.means, q.scales)])
        return (q.weights[..., None] * each).sum(0)
    return kl_by_latent(q, prior) if isinstance(q, Normal) else torch.full_like(q.mean, torch.nan)


def log_evidence(
    model: nn.Module, data: Views, n_samples: int = 64, seed: int = 0, batch_size: int = 256
) -> Float[Tensor, "b"]:
    """An estimate from below of log p(x) of each row, in nats, of the views that are present in it.

    ``log mean_k p(x | z_k) p(z_k) / q(z_k | x)`` with `n_samples` samples of the posterior (Burda et al., 2016): it
    rises towards log p(x) with their number, and is exact at any number where the posterior is.
    """
    if n_samples < 1:
        raise ValueError(f"n_samples must be at least 1, got {n_samples}")
    if given := getattr(model, "condition", ()):
        raise ValueError(f"this model is of p(x | {', '.join(given)}), and only a p(x) without conditions is estimated")
    with still(model, seed=seed) as device:
        return torch.cat([_log_evidence(model, views, n_samples) for views in _batches(data, batch_size, device)]).cpu()


def _log_evidence(model: Any, views: Views, n_samples: int) -> Float[Tensor, "b"]:
    """A sample at a time: what a decoder makes of one is large, and is kept of none."""
    beliefs = model.encode(views)
    if points := [block for block, q in beliefs.items() if not isinstance(q, Normal | Mixture)]:
        raise ValueError(f"the posteriors of {points} are points, which have no density: there is no evidence to take")
    weights = []
    for _ in range(n_samples):
        z = {block: q.sample() for block, q in beliefs.items()}
        log_p: Any = sum(p.log_prob(views[name], views.present[name]) for name, p in model.decode(z).items())
        log_ratio = sum(
            standard_normal_like(q).log_prob(z[block]) - q.log_prob(z[block]) for block, q in beliefs.items()
        )
        weights.append((log_p + log_ratio).double())
    return torch.stack(weights).logsumexp(0) - math.log(n_samples)


def _batches(data: Views, batch_size: int, device: torch.device) -> Iterator[Views]:
    if not len(data):
        raise ValueError("no rows to look at: data is empty")
    steps = range(len(data.loader(batch_size)))  # slices, which copy nothing, and not the batches of the loader
    return (data[i * batch_size : (i + 1) * batch_size].to(device) for i in steps)


def _means(model: Any, views: Views) -> dict[str, Tensor]:
    """By block; a model that does not encode says its latents with the rest."""
    if not hasattr(model, "encode"):
        return model(views).z
    return {block: q.mean for block, q in model.encode(views).items()}
