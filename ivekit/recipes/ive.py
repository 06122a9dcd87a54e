"""What recordings of the same trials share, and what is private to each: MEG, film and behaviour, or what you have."""

from __future__ import annotations

from typing import Any

from torch import nn

import ivekit as ive
from ivekit import io, plans, synth
from ivekit.nn import (
    FilmField,
    Flat,
    FrameConv,
    Gaussian,
    KnownScale,
    MLPDecoder,
    MLPEncoder,
    ProductOfExperts,
    ResNet1d,
    ResNet1dDecoder,
    SensorBasis,
    SensorField,
)
from ivekit.training import one_cycle

READ = {"samples": io.read_samples, "hand_movement": io.read_hand_movement, "physio": io.read_resting}


def data(data: str = "samples", n_trials: int = 2048, snr_db: float = 0.0, seed: int = 0) -> Any:
    """The recordings.

    data : samples (the shipped recording), world (simulated anew), or of IVEKIT_DATA hand_movement or physio
    n_trials : of the simulated world
    snr_db : of the simulated world's single trials, in dB
    """
    if data == "world":
        return synth.audiovisual(n_trials, seed=seed, snr_db=snr_db)
    if data not in READ:
        raise ValueError(f"data is one of world, {', '.join(READ)}; got {data!r}")
    return READ[data](seed=seed)


def model(data: ive.Views, shared: int = 6, private: int = 2, dim: int = 64) -> ive.MultimodalVAE:
    """A product of experts over all views, and one private code a view.

    shared : latents that all views have in common
    private : latents of each view alone
    dim : width of what an encoder says
    """
    parts = {name: _parts(data, name, shared + private, dim) for name in data}
    encoders, nets, transforms = ({name: part[i] for name, part in parts.items()} for i in range(3))
    scales = {name: KnownScale(private, x.shape[1:] if x.ndim == 2 else ()) for name, x in data.items()}
    return ive.MultimodalVAE(
        encoders,
        ProductOfExperts(list(data), dim, shared),
        {name: Gaussian(net, scales[name]) for name, net in nets.items()},
        private={name: ProductOfExperts([name], dim, private) for name in data},
        standardise=ive.Standardise.fit(data, **transforms),
    )


def _parts(data: ive.Views, name: str, latent: int, dim: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Encoder, decoder's network and standardisation for one view, by what a row of it is."""
    shape, about = tuple(data[name].shape[1:]), data.about.get(name)
    if isinstance(about, ive.Sensors):
        n_baseline = int((about.times(shape[1]) < 0).sum())
        return SensorBasis(*shape, dim), SensorField(latent, *shape), ive.Whiten(n_baseline or None)
    if len(shape) == 4:
        halved = (shape[0], *(n // 2 for n in shape[1:]))
        return nn.Sequential(nn.AvgPool3d(2), FrameConv(halved, dim)), FilmField(latent, shape), ive.ZScore()
    if len(shape) == 2:
        n_tokens = -(-shape[1] // 8)
        return Flat(ResNet1d(shape[0], dim), n_tokens, dim), ResNet1dDecoder(latent, shape), ive.ZScore()
    return MLPEncoder(*shape, dim), MLPDecoder(latent, shape, (64, 64)), ive.ZScore()


def objective(data: ive.Views, steps: int, beta: float = 1.0, film: float = 0.05, agree: float = 0.5) -> ive.Objective:
    """The bound of every subset of views on all views, and what keeps private things out of the shared code.

    beta : weight of the divergence from the prior, reached after 30 % of the steps
    film : weight of a film's likelihood, so that its thousands of pixels do not drown the other views
    agree : weight of the divergence of what all views say from what each says alone
    """
    n, warm_up = len(list(data)), int(0.3 * steps)
    films = {name: film for name, x in data.items() if x.ndim == 5}
    return ive.Objective(
        nll=ive.NLL(films),
        kl=ive.KL(ive.Linear(0.0, beta, warm_up)),
        agree=ive.SubsetKL(n + 1, to=range(1, n + 1), weight=ive.Linear(0.0, agree, warm_up)),
    )


def training(data: ive.Views, epochs: int = 40, lr: float = 4e-3, clip: float = 50.0) -> dict[str, Any]:
    """All views, and each alone, tell all.

    clip : largest norm of the gradient
    """
    return dict(plan=plans.dmvae(list(data)), scheduler=one_cycle, epochs=epochs, lr=lr, clip=clip)
