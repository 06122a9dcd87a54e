"""What recordings of the same trials share, and what is private to each: MEG, film and behaviour, or what you have."""

from __future__ import annotations

from functools import partial
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
    OwnGradient,
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


def model(data: ive.Views, shared: int = 6, private: int = 6, dim: int = 64, own: float = 1.0) -> ive.MultimodalVAE:
    """A product of experts over all views, and one private code a view.

    shared : latents that all views have in common
    private : latents of each view alone
    dim : width of what an encoder says
    own : part of its likelihood's gradient that a view sends into the shared code when it was seen itself
    """
    parts = {name: _parts(data, name, shared + private, dim) for name in data}
    encoders, nets, transforms = ({name: part[i] for name, part in parts.items()} for i in range(3))
    scales = {name: KnownScale(private, x.shape[1:] if x.ndim == 2 else ()) for name, x in data.items()}
    return ive.MultimodalVAE(
        encoders,
        ProductOfExperts(list(data), dim, shared),
        {name: Gaussian(OwnGradient(net, shared, own), scales[name]) for name, net in nets.items()},
        private={name: ProductOfExperts([name], dim, private) for name in data},
        standardise=ive.Standardise.fit(data, **transforms),
    )


def _parts(data: ive.Views, name: str, latent: int, dim: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Encoder, decoder's network and standardisation for one view, by what a row of it is."""
    shape, about = tuple(data[name].shape[1:]), data.about.get(name)
    if isinstance(about, ive.Sensors) and {"mag", "grad", "eeg"} & set(about.kinds):
        n_baseline = int((about.times(shape[1]) < 0).sum())
        encoder = SensorBasis(shape[0], shape[1], dim, n_filters=24, n_basis=16, width=32)
        return encoder, SensorField(latent, shape[0], shape[1], n_basis=16), ive.Whiten(n_baseline or None)
    if len(shape) == 4:
        halved = (shape[0], *(n // 2 for n in shape[1:]))
        encoder = nn.Sequential(nn.AvgPool3d(2), FrameConv(halved, dim, (32, 32)))
        return encoder, FilmField(latent, shape, widths=(256, 128)), ive.ZScore()
    if len(shape) == 2:
        n_tokens = -(-shape[1] // 8)
        return Flat(ResNet1d(shape[0], dim), n_tokens, dim), ResNet1dDecoder(latent, shape), ive.ZScore()
    return MLPEncoder(shape[0], dim), MLPDecoder(latent, shape, (64, 64)), ive.ZScore()


def objective(data: ive.Views, steps: int, beta: float = 1.0, film: float = 0.01, agree: float = 0.5) -> ive.Objective:
    """The bound of every subset of views on all views, and what keeps private things out of the shared code.

    beta : weight of the divergence from the prior, reached after 30 % of the steps; for a film's own code after 80 %
    film : weight of a film's likelihood, so that its thousands of pixels do not drown the other views
    agree : weight of the divergence of what all views say from what each says alone
    """
    names, films = list(data), [name for name, x in data.items() if x.ndim == 5]
    early, late = ive.Linear(0.0, beta, int(0.3 * steps)), ive.Linear(0.0, beta, int(0.8 * steps))
    rest = dict.fromkeys(["shared", *names], 0.0) | dict.fromkeys(films, 1.0)
    return ive.Objective(
        nll=ive.NLL(dict.fromkeys(films, film)),
        kl=ive.KL(early, dict.fromkeys(films, 0.0)),
        kl_film=ive.KL(late, rest),
        agree=ive.SubsetKL(len(names) + 1, 0, range(1, len(names) + 1), ive.Linear(0.0, agree, early.steps)),
    )


def training(
    data: ive.Views, epochs: int = 150, batch_size: int = 32, lr: float = 4e-3, clip: float = 50.0
) -> dict[str, Any]:
    """All views, and each alone, tell all.

    epochs : times all rows are seen; 30 are enough for the simulated world's 1434 training rows
    clip : largest norm of the gradient
    """
    scheduler = partial(one_cycle, warmup=0.15)
    return dict(
        plan=plans.dmvae(list(data)), scheduler=scheduler, epochs=epochs, batch_size=batch_size, lr=lr, clip=clip
    )
