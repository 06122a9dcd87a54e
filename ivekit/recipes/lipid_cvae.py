"""Maps of lipids over the brain, from the sections that were measured: told at any place, with an error bar."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from einops import repeat
from torch import nn

import ivekit as ive
from ivekit import io, synth
from ivekit.nn import (
    CoordinateEncoder,
    Gaussian,
    GridDecoder,
    GridEncoder,
    Laplace,
    PointDecoder,
    PointEncoder,
    ProductOfExperts,
    RowScale,
)
from ivekit.noise import noise as drawn
from ivekit.objectives import L1, Bounds, InTraining, SpatialConsistency
from ivekit.signal import PointScore
from ivekit.training import one_cycle


def data(
    data: str = "world", n_lipids: int = 200, n_sections: int = 14, n_points: int = 40, withheld: float = 0.5,
    noise: str = "mixed", level: float = 0.5, system: str = "cartesian", seed: int = 0,
) -> ive.Views:  # fmt: skip
    """Maps with whole sections missing, one row a lipid.

    data : world (a simulated atlas), or a table of points (.parquet, .csv, .tsv, .h5; see `ivekit.io.read_points`)
    n_lipids : of the simulated atlas
    n_sections : of the simulated atlas, from back to front
    n_points : in each section of the simulated atlas
    withheld : part of the sections that a lipid's row does not see
    noise : of the simulated atlas: mixed, gaussian, laplace or student
    level : standard deviation of that noise, in those of the clean maps
    system : of a table's coordinates: cartesian, or spherical (radius, polar angle, azimuth)
    """
    if data == "world":
        return scored_on_truth(
            synth.lipids(n_lipids, n_sections, n_points, withheld=withheld, noise=noise, level=level, seed=seed)
        )
    if not Path(data).is_file():
        raise ValueError(f"data is world, or the file of a table of points; got {data!r}")
    return io.withhold(io.read_points(data, system=system), withheld, seed)


def scored_on_truth(world: synth.World) -> ive.Views:
    """An atlas whose test rows hold, in place of noisy values, the truth of the measured sections they do not see."""
    views = world.views
    test = torch.tensor((views.metadata["split"] == "test").tolist())[:, None]  # type: ignore[index]
    hidden = views.present["lipids"] & ~views.present["observed"][..., 0]
    truth = torch.where(test, torch.from_numpy(world.clean["lipids"]).float(), views["lipids"])
    there = torch.where(test, hidden, views.present["lipids"])
    return ive.Views(views.tensors | {"lipids": truth}, views.present | {"lipids": there}, views.metadata, views.about)


def model(
    data: ive.Views, latent: int = 16, dim: int = 48, encoder: str = "points", decoder: str = "field",
    bandwidth: float = 0.25, likelihood: str = "gaussian", scale: str = "row",
) -> ive.MultimodalVAE:  # fmt: skip
    """q(z | x, c) from the points that were observed, p(x | z, c) at all coordinates.

    latent : numbers that stand for a lipid's whole map
    dim : width of tokens
    encoder : points (attention of anchors to the points around them) or grid (convolutions over sections)
    decoder : field (cross-attention from coordinates to the latent's tokens) or grid (a volume grown coarse to fine)
    bandwidth : of the field's waves, in periods a standard deviation of the coordinates
    likelihood : gaussian or laplace
    scale : of the likelihood, learned: row (told from the latent, one a lipid) or all (one for all)
    """
    encoders = {"points": PointEncoder, "grid": GridEncoder}
    nets = {"field": partial(PointDecoder, dim=dim), "grid": GridDecoder}
    asked = {"field": partial(CoordinateEncoder, dim, bandwidth=bandwidth), "grid": nn.Identity}
    scales = {"row": partial(RowScale, latent), "all": partial(nn.Parameter, torch.tensor(-0.7))}
    density = _choice("likelihood", likelihood, {"gaussian": Gaussian, "laplace": Laplace})
    net, spread = _choice("decoder", decoder, nets)(latent), _choice("scale", scale, scales)()
    return ive.MultimodalVAE(
        {"observed": _choice("encoder", encoder, encoders)(dim), "coords": asked[decoder]()},
        ProductOfExperts(["observed"], dim, latent),
        {"lipids": density(net, spread)},
        condition=["coords"],
        standardise=ive.Standardise.fit(data, **{name: PointScore() for name in ("observed", "coords", "lipids")}),
    )


def objective(
    data: ive.Views, steps: int, beta: float = 1.0, schedule: str = "linear", free_bits: float = 0.0, l1: float = 0.0,
    smooth: float = 1.0, bounds: float = 10.0,
) -> ive.Objective:  # fmt: skip
    """The evidence bound; and in training a price, free bits and penalties. The epoch is chosen by the bound, beta 1.

    beta : weight of the divergence from the prior
    schedule : of beta: linear (from 0, reached after 30 % of the steps), cyclical (four times from 0) or constant
    free_bits : nats that each latent may carry for nothing
    l1 : weight of the absolute values of the latents' means
    smooth : weight of the differences between neighbouring points
    bounds : weight of what is told outside the possible range, where the data say one (`about`)
    """
    ramps = {
        "linear": ive.Linear(0.0, beta, int(0.3 * steps)),
        "cyclical": ive.Cyclical(0.0, beta, -(-steps // 4)),
        "constant": beta,
    }
    low, high = data.about.get("lipids", {}).get("range", (None, None))
    return ive.Objective(
        nll=ive.NLL(),
        kl=InTraining(ive.KL(_choice("schedule", schedule, ramps), free_bits=free_bits), ive.KL()),
        l1=InTraining(L1(l1)),
        smooth=InTraining(SpatialConsistency("lipids", weight=smooth)),
        bounds=InTraining(Bounds("lipids", low, high, bounds)),
    )


def training(
    data: ive.Views, epochs: int = 50, batch_size: int = 16, lr: float = 3e-3, clip: float = 20.0,
    seen: Sequence[float] = (0.3, 0.9),
) -> dict[str, Any]:  # fmt: skip
    """Other sections are seen each time; all that were measured must be told.

    epochs : times all rows are seen
    clip : largest norm of the gradient
    seen : least and largest part of the sections that a row sees in training
    """
    n = int(data["section"].max()) + 1  # counted once: a GPU would be waited for at every step
    augment, scheduler = partial(reveal, low=seen[0], high=seen[1], n=n), partial(one_cycle, warmup=0.1)
    return dict(augment=augment, scheduler=scheduler, epochs=epochs, batch_size=batch_size, lr=lr, clip=clip)


def reveal(views: ive.Views, low: float, high: float, n: int | None = None) -> ive.Views:
    """The same rows seeing other sections: each row a part between `low` and `high` of them, drawn anew.

    n : how many sections there are; None counts them.
    """
    section, x = views["section"], views["observed"]
    n = int(section.max()) + 1 if n is None else n
    u = drawn(torch.rand, x.new_zeros(len(x), n + 1))
    kept = (u[:, :n] < low + (high - low) * u[:, n:]).gather(1, section)
    there = views.present["lipids"]
    seen = kept & (there if there.ndim == 2 else there[:, None])
    new = views.replace(observed=torch.cat([views["coords"], views["lipids"][..., None]], -1))
    new.present["observed"] = repeat(seen, "b n -> b n f", f=x.shape[2])
    return new


def _choice(name: str, value: str, among: dict[str, Any]) -> Any:
    if value not in among:
        raise ValueError(f"{name} is one of {', '.join(among)}; got {value!r}")
    return among[value]
