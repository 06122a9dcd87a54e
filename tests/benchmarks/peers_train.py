"""Steps of training beside `multivae` and `multiviewae`: the same encoders, decoders, data and batches, in turn.

.venv-peers/bin/python tests/benchmarks/peers_train.py [steps]
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from time import process_time
from typing import Any

import torch
from results import keep
from stub import stub
from timing import in_turn, ms, over
from torch import Tensor, nn

import ivekit as ive
from ivekit import nn as parts
from ivekit import plans
from ivekit.training import train

stub("torchvision", "torchmetrics", "imageio", "nltk", "tensorboard", "pytorch_lightning")
warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
import pytorch_lightning as lightning  # noqa: E402

# What multiviewae's models take from Lightning where Lightning does not train them.
lightning.LightningModule = type("Module", (nn.Module,), {"save_hyperparameters": lambda self: None})
lightning.seed_everything = lambda *a, **k: None
import multiviewae.models as views_peer  # noqa: E402
from multivae import models as peer  # noqa: E402
from multivae.data.datasets.base import MultimodalBaseDataset  # noqa: E402
from multivae.models.base import BaseAEConfig  # noqa: E402
from multivae.models.nn.default_architectures import MultipleHeadJointEncoder  # noqa: E402
from multiviewae.base.distributions import Normal as PeersNormal  # noqa: E402
from pythae.models.base.base_utils import ModelOutput  # noqa: E402
from pythae.models.nn.base_architectures import BaseDecoder, BaseEncoder  # noqa: E402

NAMES, ROWS, BATCH, WIDTH, LATENT = ("a", "b", "c"), 512, 64, 64, 8


class Small:
    """Perceptrons of 20 numbers a view."""

    shape = (20,)

    @staticmethod
    def trunk() -> nn.Module:
        return nn.Sequential(nn.Linear(20, 32), nn.GELU(), nn.Linear(32, WIDTH), nn.GELU())

    @staticmethod
    def told(latent: int) -> nn.Module:
        return nn.Sequential(nn.Linear(latent, 32), nn.GELU(), nn.Linear(32, 20))


class Images:
    """Convolutions of an image of 28 by 28 a view."""

    shape = (1, 28, 28)

    @staticmethod
    def trunk() -> nn.Module:
        convolved = [nn.Conv2d(1, 16, 4, 2, 1), nn.GELU(), nn.Conv2d(16, 32, 4, 2, 1), nn.GELU(), nn.Flatten()]
        return nn.Sequential(*convolved, nn.Linear(32 * 49, WIDTH), nn.GELU())

    @staticmethod
    def told(latent: int) -> nn.Module:
        start = [nn.Linear(latent, 32 * 49), nn.GELU(), nn.Unflatten(1, (32, 7, 7))]
        grown = [nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.GELU(), nn.ConvTranspose2d(16, 1, 4, 2, 1)]
        return nn.Sequential(*start, *grown)


class Told(nn.Module):
    """A decoder's network as ours are called."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, z: Tensor, context: None = None) -> Tensor:
        return self.net(z)


class Encoder(BaseEncoder):
    """As multivae's are: a belief of the shared code and, where wanted, of the view's own."""

    def __init__(self, trunk: nn.Module, private: int):
        super().__init__()
        self.trunk, self.latent_dim, self.style_dim = trunk, LATENT, private
        self.heads = nn.ModuleList(nn.Linear(WIDTH, n) for n in (LATENT, LATENT, private, private) if n)

    def forward(self, x: Tensor) -> ModelOutput:
        h = self.trunk(x)
        names = ("embedding", "log_covariance", "style_embedding", "style_log_covariance")
        return ModelOutput(**{name: head(h) for name, head in zip(names, self.heads)})


class Decoder(BaseDecoder):
    """As multivae's are."""

    def __init__(self, net: nn.Module, latent: int):
        super().__init__()
        self.net, self.latent_dim = net, latent

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.net(z))


class Belief(nn.Module):
    """As multiviewae's encoders are."""

    def __init__(self, trunk: nn.Module, latent: int):
        super().__init__()
        self.trunk, self.mean, self.log_variance = trunk, nn.Linear(WIDTH, latent), nn.Linear(WIDTH, latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.trunk(x)
        return self.mean(h), self.log_variance(h)


class Says(Told):
    """As multiviewae's decoders are."""

    def forward(self, z: Tensor, context: None = None) -> Any:
        return PeersNormal(loc=self.net(z), scale=torch.ones(1))


def multivae(kind: Any, name: str, private: int = 0, **more: Any) -> tuple[nn.Module, Callable[[dict], Tensor]]:
    """One of multivae's models on these nets, and its loss."""
    dims: dict[str, Any] = {"modalities_specific_dim": dict.fromkeys(NAMES, private)} if private else {}
    shapes = dict.fromkeys(NAMES, kind.shape)
    config = getattr(peer, f"{name}Config")(n_modalities=3, latent_dim=LATENT, input_dims=shapes, **dims, **more)
    encoders = {v: Encoder(kind.trunk(), private) for v in NAMES}
    decoders = {v: Decoder(kind.told(LATENT + private), LATENT + private) for v in NAMES}
    joint: dict[str, Any] = {}
    if name == "JMVAE":
        joint["joint_encoder"] = MultipleHeadJointEncoder(encoders, BaseAEConfig(latent_dim=LATENT), WIDTH, 1)
    model: Any = getattr(peer, name)(config, encoders, decoders, **joint).train()
    return model, lambda batch: model(MultimodalBaseDataset(batch), epoch=100).loss


def multiviewae(kind: Any, name: str, private: int = 0) -> tuple[nn.Module, Callable[[dict], Tensor]]:
    """One of multiviewae's models on these nets, and its loss."""
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:  # it makes folders where it stands
        os.chdir(folder)
        model: Any = getattr(views_peer, name)(input_dim=[20] * 3, z_dim=LATENT + private)
        os.chdir(here)
    model.encoders = nn.ModuleList(Belief(kind.trunk(), LATENT + private) for _ in NAMES)
    model.decoders = nn.ModuleList(Says(kind.told(LATENT + private)) for _ in NAMES)
    model.current_epoch, model._training, model.s_dim = 100, True, private
    model.train()

    def loss(batch: dict[str, Tensor]) -> Tensor:
        x = list(batch.values())
        return model.loss_function(x, model.forward(x))["loss"]

    return model, loss


def ours(kind: Any, plan: Any, posterior: Any, private: int = 0, **terms: Any) -> tuple[Any, Any, ive.Plan]:
    """The same nets here."""
    model = ive.MultimodalVAE(
        {v: nn.Sequential(kind.trunk(), nn.Unflatten(1, (1, WIDTH))) for v in NAMES},  # one token
        posterior(list(NAMES), WIDTH, LATENT),
        {v: parts.Gaussian(Told(kind.told(LATENT + private)), 1.0) for v in NAMES},
        private={v: parts.ProductOfExperts([v], WIDTH, private) for v in NAMES} if private else None,
    )
    return model, ive.Objective(nll=ive.NLL(), kl=ive.KL(), **terms), plan(NAMES)


def whole(names: tuple[str, ...]) -> None:
    """No plan: all views tell all."""


PoE = parts.ProductOfExperts
PAIRS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "multivae MVAE": (partial(ours, plan=plans.mvae, posterior=PoE), partial(multivae, name="MVAE")),
    "multivae MoPoE": (
        partial(ours, plan=whole, posterior=parts.MixtureOfProducts), partial(multivae, name="MoPoE"),
    ),
    "multivae JMVAE": (
        partial(ours, plan=plans.jmvae, posterior=PoE, agree=ive.SubsetKL(4)), partial(multivae, name="JMVAE"),
    ),
    "multivae DMVAE": (partial(ours, plan=plans.dmvae, posterior=PoE, private=4),
                       partial(multivae, name="DMVAE", private=4)),
    "multiviewae mVAE": (partial(ours, plan=whole, posterior=PoE), partial(multiviewae, name="mVAE")),
    "multiviewae DMVAE": (partial(ours, plan=plans.dmvae, posterior=PoE, private=4),
                          partial(multiviewae, name="DMVAE", private=4)),
}  # fmt: skip


def bare(model: nn.Module, loss: Callable[[dict], Tensor], data: ive.Views, epochs: int) -> Iterator[None]:
    """A peer's steps at their best: batches cut as ours are, and nothing of its trainer."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    for batch in (batch for _ in range(epochs) for batch in data.loader(BATCH, shuffle=True).batches()):
        value = loss(data[batch].tensors)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        yield


def kept(loss: Callable[[], Tensor]) -> float:
    """Megabytes that a step keeps for its gradient, each storage once."""
    found: dict[int, Tensor] = {}

    def keep_it(x: Tensor) -> Tensor:
        found[x.untyped_storage().data_ptr()] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep_it, lambda x: x):
        loss().backward()
    return sum(x.untyped_storage().nbytes() for x in found.values()) / 1e6


def _loss(model: Any, objective: Any, batch: ive.Views, plan: Any) -> Any:
    if plan is None:
        return sum(objective(model(batch), batch, 0).values())
    return sum(objective(model(batch, plan), plan.views(batch), 0).values())


def compared(kind: Any, name: str, steps: int) -> dict[str, Any]:
    """One pair's row."""
    torch.manual_seed(0)
    data = ive.Views({v: torch.randn(ROWS, *kind.shape) for v in NAMES})
    here, there = PAIRS[name]
    (model, objective, plan), (theirs, loss) = here(kind), there(kind)
    batch, sizes = data[:BATCH], [sum(p.numel() for p in net.parameters()) for net in (model, theirs)]
    memory = [
        kept(partial(_loss, model.train(), objective, batch, plan)),
        kept(lambda: loss(batch.tensors)),
    ]
    epochs = steps * BATCH // ROWS + 5
    mine = train(model, objective, data, epochs=epochs, batch_size=BATCH, plan=plan, seed=0, device="cpu")
    other = bare(theirs, loss, data, epochs)
    took = in_turn({"ours": mine.__next__, "theirs": other.__next__}, steps, 5, process_time)
    more = (
        f"{ms(took['theirs'])} over {ms(took['ours'])} a step; kept for the gradient {memory[1]:.1f} and "
        f"{memory[0]:.1f} MB; {sizes[1]} and {sizes[0]} parameters"
    )
    what = f"`{name.split()[0]}` {name.split()[1]} over ours, {'convolutions' if kind is Images else 'perceptrons'}"
    said = what.replace(" over ours", ": a step takes this many times as long as ours")
    return over(what, took["theirs"] / took["ours"], 1, more, said) | {"memory": memory[1] / memory[0]}


def main(steps: int = 60) -> None:
    """Keeps a row a model and kind of nets."""
    told = []
    for kind in (Images, Small):
        for name in PAIRS:
            told.append(compared(kind, name, steps))
            print(f"{told[-1]['what']}: {told[-1]['measured']}", flush=True)
    note = (
        f"Three views of {ROWS} rows of noise, batches of {BATCH}, {LATENT} shared latents and, for DMVAE, 4 of each "
        "view. Ours is `train`, with its clipping, seeds and checks; the peers' steps are bare: their loss, its "
        "gradient and fused AdamW on batches that are cut as ours are, and nothing of their trainers. multivae's JMVAE "
        "has a joint encoder beside the others, where ours multiplies the experts of the others. multiviewae's "
        "DMVAE tells each view from each code, ours from each subset's. torchvision, torchmetrics and Lightning, which "
        "the peers import, are stood in for. "
        f"Seconds of one core, medians of {steps} steps in turn."
    )
    command = ".venv-peers/bin/python tests/benchmarks/peers_train.py"
    keep("peers_train", "Training beside multivae and multiviewae", command, told, note,
         ("torch", "multivae", "multiviewae"))  # fmt: skip


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
