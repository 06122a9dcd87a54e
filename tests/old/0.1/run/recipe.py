"""Two views of one cause, as few weights as can be: the run that tests/old keeps of each version.

A run's folder holds this file as it was, and later versions run it from there: it may say nothing but public names.
"""

from __future__ import annotations

import torch
from torch import nn

import ivekit as ive
from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts


class Weighed(nn.Module):
    """A term that learns how much it weighs."""

    def __init__(self, term):
        super().__init__()
        self.term, self.log = term, nn.Parameter(torch.zeros(()))

    def forward(self, out, views, step):
        return self.log.exp() * self.term(out, views, step) - 4 * self.log


def data(n: int = 60):
    """n : how many rows"""
    z = torch.randn(n, 1, generator=torch.Generator().manual_seed(0))
    return ive.Views({"a": torch.cat([z, -z, z], 1), "b": torch.sin(z)}, {"b": torch.arange(n) % 5 > 0})


def model(data, latent: int = 2):
    """latent : size of the shared code"""
    return ive.MultimodalVAE(
        encoders={"a": MLPEncoder(3, 4, 4), "b": MLPEncoder(1, 4, 4)},
        posterior=ProductOfExperts(["a", "b"], 4, latent),
        decoders={name: Gaussian(MLPDecoder(latent, size, (4,)), 0.5) for name, size in (("a", 3), ("b", 1))},
        standardise=ive.Standardise.fit(data, a=ive.ZScore(), b=ive.ZScore()),
    )


def objective(steps, beta: float = 1.0):
    """beta : weight of the divergence"""
    return ive.Objective(nll=Weighed(ive.NLL()), kl=ive.KL(beta=ive.Linear(0.0, beta, steps // 3)))


def training(epochs: int = 2, lr: float = 1e-2, batch_size: int = 16, stop: int = 5):
    """stop : the step that an interrupt comes at"""
    seen = []

    def augment(views):
        seen.append(None)
        if len(seen) == stop:
            raise KeyboardInterrupt
        return views

    return dict(augment=augment, epochs=epochs, lr=lr, batch_size=batch_size)
