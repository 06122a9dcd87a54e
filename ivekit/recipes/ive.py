"""MEG, video and behaviour of the same trials: what they share, and what is private to each."""

from __future__ import annotations

from torch import nn

import ivekit as ive
from ivekit import plans
from ivekit.nn import (
    FrameConv,
    Gaussian,
    KnownScale,
    MLPDecoder,
    MLPEncoder,
    OwnGradient,
    ProductOfExperts,
    SensorBasis,
    SensorField,
)


def model(data: ive.Views, shared: int = 6, private: tuple[int, int, int] = (8, 6, 4), dim: int = 64, own: float = 0.2, film: int = 64):
    meg, video, behaviour = (tuple(data[name].shape[1:]) for name in ("meg", "video", "behaviour"))
    n_baseline = int((data.about["meg"].times(meg[1]) < 0).sum())
    sizes = dict(zip(("meg", "video", "behaviour"), private))

    def decoder(name: str, net: nn.Module, shape=(), start=(1.0, 1.0)) -> Gaussian:
        return Gaussian(OwnGradient(net, shared, own), KnownScale(sizes[name], shape, start))

    return ive.MultimodalVAE(
        encoders=dict(
            meg=SensorBasis(*meg, dim),
            video=FrameConv(video, dim),
            behaviour=MLPEncoder(behaviour[0], dim),
        ),
        posterior=ProductOfExperts(list(sizes), dim, shared),
        private={name: ProductOfExperts([name], dim, k) for name, k in sizes.items()},
        decoders=dict(
            meg=decoder("meg", SensorField(shared + sizes["meg"], *meg)),
            video=decoder("video", MLPDecoder(shared + sizes["video"], video, (128, film))),
            behaviour=decoder("behaviour", MLPDecoder(shared + sizes["behaviour"], behaviour, (64, 64)), behaviour, (0.3, 1.0)),
        ),
        standardise=ive.Standardise.fit(data, meg=ive.Whiten(n_baseline), video=ive.ZScore(), behaviour=ive.ZScore()),
    )


def objective(beta: float = 1.0, shared_beta: float = 1.4, film_weight: float = 0.3, leak: float = 0.0, warm: int = 300):
    up = ive.Linear(0.0, 1.0, warm)
    terms = dict(
        nll=ive.NLL({"video": film_weight}),
        kl=ive.KL(lambda step: beta * up(step), {"shared": shared_beta}),
    )
    return ive.Objective(**terms)
