"""Three numbers and one of the same cause: does a small model find it?

A recipe for the tests of recipes, runs and the command line.
"""

from __future__ import annotations

import time

import torch
from torch import nn

import ivekit as ive
from ivekit import plans
from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts


class Weighed(nn.Module):
    """A term that learns how much it weighs."""

    def __init__(self, term):
        super().__init__()
        self.term, self.log = term, nn.Parameter(torch.zeros(()))

    def forward(self, out, views, step):
        return self.log.exp() * self.term(out, views, step) - 4 * self.log


def data(n: int = 60, noise: float = 0.3, kind: str = "sine"):
    """Simulated rows.

    n : how many rows
    noise : its standard deviation, in units
        of the signal
    kind : of the second view: sine or none
    """
    random = torch.Generator().manual_seed(0)
    z = torch.randn(n, 1, generator=random)
    a = torch.cat([z, -z, z], 1) + noise * torch.randn(n, 3, generator=random)
    return ive.Views({"a": a, "b": torch.sin(z) if kind == "sine" else z})


def model(data, latent: int = 2, widths: tuple[int, ...] = (8,)):
    """A small model.

    latent : size of the shared code
    """
    return ive.MultimodalVAE(
        encoders={"a": MLPEncoder(3, 8), "b": MLPEncoder(1, 8)},
        posterior=ProductOfExperts(["a", "b"], 8, latent),
        decoders={name: Gaussian(MLPDecoder(latent, size, widths), 0.5) for name, size in (("a", 3), ("b", 1))},
        standardise=ive.Standardise.fit(data, a=ive.ZScore(), b=ive.ZScore()),
    )


def objective(steps, beta: float = 1.0):
    """The evidence bound.

    beta : weight of the divergence
    """
    return ive.Objective(nll=Weighed(ive.NLL()), kl=ive.KL(beta=ive.Linear(0.0, beta, steps // 3)))


def training(data, epochs: int = 3, lr: float = 1e-2, batch_size: int = 16, pause: float = 0.0, stop: int = 0):
    """How it is trained.

    pause : seconds to wait at every step
    stop : the step that an interrupt comes at; 0 for none
    """
    seen = []

    def augment(views):
        seen.append(None)
        time.sleep(pause)
        if len(seen) == stop:
            raise KeyboardInterrupt
        return views

    return dict(plan=plans.dmvae(list(data)), augment=augment, epochs=epochs, batch_size=batch_size, lr=lr)
