"""Which explanation is to be trusted when? Every method against the truth of small simulated worlds; one row a map.

    python evidence/truth.py               goes on with the study that truth.csv and truth_models.csv hold
    python evidence/truth.py 200           the same, and stops after the model with which 200 seconds are over
    python evidence/truth.py default       the same maps of the run in data_samples/runs/world, without training

Worlds of `synth.small` over signal-to-noise x trials x seeds, the recipe `ive` at once, twice and four times the true
sizes, 300 steps of training each. A map explains the best linear readout of a factor in the block that it belongs to,
on test rows. Trained weights are kept in runs/truth, so that a method which is added later trains nothing again.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import captum.attr as attr
import numpy as np
import pandas as pd
import torch
from recovery import append

from ivekit import Views, metrics
from ivekit.explain import attention, attribute, check_attention, gradient_attention, groups
from ivekit.explain.patterns import gradient_pattern, haufe_pattern, pattern_of
from ivekit.explain.rotations import Readout, readout_target
from ivekit.explain.sources import latency_error, topography
from ivekit.explain.traverse import traverse
from ivekit.explain.truth import map_of, null_places, same_field, same_strength, shifted_places, true_places
from ivekit.recipe import Recipe, load, parts
from ivekit.synth import World, audiovisual, random_fields, small
from ivekit.training import latents, train

TABLE = Path(__file__).with_suffix(".csv")
MODELS = TABLE.with_name("truth_models.csv")
KEPT = TABLE.parents[1] / "runs" / "truth"
STORED = TABLE.parents[1] / "data_samples" / "runs" / "world"
SNR, TRIALS, TIMES, SEEDS = (-6, 0, 6), (256, 1024, 4096), (2, 1, 4), (0, 1, 2)
STUDY = [
    (seed, times, trials, snr_db, encoder)
    for seed in SEEDS
    for encoder, sizes in (("basis", TIMES), ("attention", TIMES[:1]))
    for times, trials, snr_db in itertools.product(sizes, TRIALS, SNR)
]
KEY = ["snr_db", "trials", "seed", "times", "encoder"]
STEPS, BATCH, ROWS, FEW = 300, 32, 64, 16  # rows explained, and those of methods that remove one group at a time
HOME = {"position": "shared", "motion": "shared", "vigilance": "meg", "contrast": "video"}
Maps = dict[str, torch.Tensor]  # (b, ...) or of a row's shape


# one model -------------------------------------------------------------------------------------------------------


def trained(world: World, snr_db: int, trials: int, seed: int, times: int, encoder: str) -> tuple[Any, float]:
    """The recipe's model of a world, as it was kept or trained anew, and the seconds that training took."""
    rows = parts(world.views)["train"]
    epochs = max(1, round(STEPS * BATCH / len(rows)))
    settings = dict(shared=2 * times, private=times, film=0.1, meg=encoder, epochs=epochs, batch_size=BATCH, seed=seed)
    recipe = Recipe("ive", settings)
    model, path = recipe.model(rows), KEPT / f"{snr_db}_{trials}_{seed}_{times}_{encoder}.pt"
    if path.exists():
        kept = torch.load(path, weights_only=True)
        model.load_state_dict(kept["model"])
        return model.eval(), kept["seconds"]
    began = time.perf_counter()
    for _ in train(model, recipe.objective(rows), rows, **recipe.training(rows)):
        pass
    took = time.perf_counter() - began
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": model.state_dict(), "seconds": took}, path)
    return model.eval(), took


SCORES: dict[str, Callable[..., Any]] = {
    "mig": metrics.mig, "mig-sup": metrics.mig_sup, "jemmig": metrics.jemmig, "dcimig": metrics.dcimig,
    "sap": metrics.sap, "modularity": metrics.modularity, "explicitness": metrics.explicitness, "irs": metrics.irs,
    "dci disentanglement": lambda z, f: metrics.dci(z, f).disentanglement,
    "dci completeness": lambda z, f: metrics.dci(z, f).completeness,
    "infomec modularity": lambda z, f: metrics.infomec(z, f).modularity,
    "snc": metrics.snc,
}  # fmt: skip


def scored(world: World, model: Any) -> dict[str, Any]:
    """What is read of every factor where it belongs and where not, and what scores of disentanglement say."""
    assert world.views.metadata is not None
    split = world.views.metadata["split"].to_numpy()
    codes = {block: z.numpy() for block, z in latents(model, world.views).items()}
    leak = metrics.block_readout(codes, world.factors, split != "test", split == "test")
    homes = HOME | {"caution": "behaviour"}
    wrong = [max(0.0, leak.loc[b, f]) for f in leak.columns for b in leak.index if b != homes[f]]
    said = {"block_score": metrics.block_score(leak, world.owners), "leak": float(np.mean(wrong))}
    said |= {f"recovery {factor}": float(leak.loc[home, factor]) for factor, home in homes.items()}
    together, test = np.concatenate(list(codes.values()), 1), split == "test"
    ours = metrics.scores(together[test], world.factors[test])
    said |= {name: float(ours[name]) for name in ("coverage", "mig", "modularity", "compactness")}
    said |= {f"published {name}": float(of(together[test], world.factors[test])) for name, of in SCORES.items()}
    return said | attended(world, model)


def attended(world: World, model: Any) -> dict[str, float | None]:
    """Whether weights of attention foretell what hiding a sensor does, for the shared factors of the MEG."""
    rows = parts(world.views)
    said: dict[str, float | None] = {}
    for factor in ("position", "motion"):
        explainers = {"attention": None, "gradient x attention": gradient_attention}
        for name, explainer in explainers.items():
            if not attention(model, rows["test"][:2]):
                said |= {f"check {name} {factor}": None, f"p {name} {factor}": None}
                continue
            assert world.views.metadata is not None
            truth = world.factors[factor].to_numpy()[world.views.metadata["split"] == "train"]
            readout = readout_target(model, rows["train"], truth, HOME[factor])
            check = check_attention(model, rows["test"][:ROWS], readout, explainer)
            said |= {f"check {name} {factor}": check.value, f"p {name} {factor}": check.p}
    return said


# methods ---------------------------------------------------------------------------------------------------------


def captum(method: Any, rows: int = ROWS, **settings: Any) -> Callable[..., Maps]:
    """A method of captum on a few rows."""
    return lambda model, views, readout, **_: attribute(model, views[:rows], readout, method, **settings)


def removed(method: Any, **settings: Any) -> Callable[..., Maps]:
    """A method that removes groups of sensors x samples, and of pixels."""

    def explain(model: Any, views: Views, readout: Readout, **_: Any) -> Maps:
        sizes: Any = (
            dict(meg=(2, 5), video=(1, 2, 3, 3)) if len(views["meg"][0]) < 100 else {}
        )  # of large worlds, 200 each
        return attribute(model, views[:FEW], readout, method, groups=groups(views, **sizes), **settings)

    return explain


def noise(model: Any, views: Views, readout: Readout, seed: int = 0, **_: Any) -> Maps:
    """The random explainer: independent numbers everywhere."""
    random = torch.Generator().manual_seed(seed)
    return {name: torch.randn(views[name].shape, generator=random) for name in ("meg", "video")}


def first_component(model: Any, views: Views, readout: Readout, **_: Any) -> Maps:
    """What the data alone show: their first principal component over rows, of each view."""
    found = {}
    for name in ("meg", "video"):
        x = views[name].flatten(1)
        found[name] = torch.linalg.svd(x - x.mean(0), full_matrices=False).Vh[0].reshape(views[name].shape[1:])
    return found


def oracle(model: Any, views: Views, readout: Readout, factor: np.ndarray, **_: Any) -> Maps:
    """The pattern of the true factor itself, which no explanation knows: as good as these rows allow."""
    return {name: pattern_of(views[name], torch.from_numpy(factor)) for name in ("meg", "video")}


def moved(model: Any, views: Views, readout: Readout, **_: Any) -> Maps:
    """Traversal: what is decoded as the readout rises by the code's own way of varying with it."""
    z = torch.cat([latents(model, views)[readout.block]])
    direction = torch.cov(z.mT).reshape(len(readout.weights), -1) @ readout.weights
    decoded = traverse(model, views, readout.block, direction.numpy(), [-1.0, 1.0])
    return {name: decoded[name][1] - decoded[name][0] for name in ("meg", "video")}


def over_time(weights: torch.Tensor, views: Views) -> Maps:
    """Attention looks at sensors, for all of a trial: (b, heads, queries, sensors) -> (b, c, t)."""
    return {"meg": weights.mean((1, 2))[..., None].expand(-1, -1, views["meg"].shape[2])}


def looked(model: Any, views: Views, readout: Readout, **_: Any) -> Maps:
    """Where attention over sensors went."""
    (attended,) = attention(model, views[:ROWS]).values()
    return over_time(attended.weights, views)


def looked_with_gradient(model: Any, views: Views, readout: Readout, **_: Any) -> Maps:
    """Where attention over sensors went as far as it raises the readout."""
    (attended,) = gradient_attention(model, views[:ROWS], readout).values()
    return over_time(attended.weights, views)


METHODS: dict[str, Callable[..., Maps]] = {
    "random": noise,
    "data only": first_component,
    "gradient": captum(lambda f: attr.Saliency(f), abs=False),
    "input x gradient": captum(attr.InputXGradient),
    "integrated gradients": captum(attr.IntegratedGradients, n_steps=16),
    "SmoothGrad": captum(lambda f: attr.NoiseTunnel(attr.Saliency(f)), nt_samples=8, abs=False),
    "occlusion": removed(attr.FeatureAblation),
    "Shapley sampling": removed(attr.ShapleyValueSampling, n_samples=3),
    "covariance x gradient": lambda model, views, readout, **_: gradient_pattern(model, views, readout),
    "pattern": lambda model, views, readout, **_: haufe_pattern(model, views, readout),
    "traversal": moved,
    "true factor": oracle,
}
ATTENTION: dict[str, Callable[..., Maps]] = {"attention": looked, "gradient x attention": looked_with_gradient}
PERTURBED = ("occlusion", "Shapley sampling")


# scores of a map -------------------------------------------------------------------------------------------------


@cache
def grid(sensors: Any) -> tuple[np.ndarray, np.ndarray]:
    """Places in the head every 6 mm (p, 3), in m, and what two tangential dipoles at each can say of a field."""
    import mne

    sphere = mne.make_sphere_model(r0=(0.0, 0.0, 0.04), head_radius=0.09, verbose="error")
    space = mne.setup_volume_source_space(pos=6.0, sphere=sphere, sphere_units="m", mindist=10.0, verbose="error")
    forward = mne.make_forward_solution(sensors.info, None, space, sphere, meg=True, eeg=False, verbose="error")
    lead = forward["sol"]["data"].reshape(len(sensors.names), -1, 3)
    return forward["source_rr"], np.linalg.svd(lead.transpose(1, 0, 2), full_matrices=False)[0][..., :2]


def dipole(field: np.ndarray, sensors: Any) -> np.ndarray:
    """The place whose dipole explains most of a field (m): a search over the grid."""
    places, basis = grid(sensors)
    return places[np.square(np.einsum("pcd,c->pd", basis, field)).sum(1).argmax()]


def chance(draws: Any, value: Any) -> float:
    """How often surrogates do as well."""
    return (1 + int((np.asarray(draws) >= value).sum())) / (1 + len(draws))


def on_meg(world: World, factor: str, explanation: torch.Tensor, fields: np.ndarray, seed: int) -> dict[str, Any]:
    """A map over sensors and time against the field, the place and the course of the true source."""
    sensors, field, course = world.views.about["meg"], world.topographies[factor], world.time_courses[factor]
    mean = explanation.detach().double()
    found = topography((mean if mean.ndim == 2 else mean.mean(0)).numpy())
    size = map_of(explanation, 2)
    truth, null = true_places(field, course), null_places(field, course, fields, seed=seed).reshape(400, -1)
    auc, draws = metrics.auroc(size.ravel(), truth.ravel()), metrics.auroc(size.ravel(), null)
    others = same_field(field, fields)  # what the fields of other dipoles would score
    said = {"topography": same_field(found.field, field), "topography_floor": np.quantile(others, 0.95)}
    said["strength"] = same_strength(size.mean(1), field)
    said["dipole_mm"] = 1e3 * np.linalg.norm(dipole(found.field, sensors) - world.places[factor])
    said["latency_ms"] = latency_error(found.course, course, sensors.times(len(course)))
    said |= {"auroc": auc, "auroc_floor": np.quantile(draws, 0.95), "auroc_p": chance(draws, auc)}
    lifts = {"precision_lift": metrics.precision_lift, "mass_lift": metrics.mass_lift, "rank": metrics.rank_accuracy}
    return said | {name: of(size.ravel(), truth.ravel()) for name, of in lifts.items()}


def on_film(world: World, factor: str, explanation: torch.Tensor, seed: int) -> dict[str, Any]:
    """A map over a film against the pixels that the factor moves."""
    size, truth = map_of(explanation, 4).ravel(), world.pixels[factor]
    null = shifted_places(truth, seed=seed).reshape(400, -1)
    auc, draws = metrics.auroc(size, truth.ravel()), metrics.auroc(size, null)
    return {"pixel_auc": auc, "pixel_floor": np.quantile(draws, 0.95), "pixel_p": chance(draws, auc)}


COLUMNS = [
    "topography", "topography_floor", "strength", "dipole_mm", "latency_ms", "auroc", "auroc_floor", "auroc_p",
    "precision_lift", "mass_lift", "rank", "pixel_auc", "pixel_floor", "pixel_p",
]  # fmt: skip


def maps(world: World, model: Any, methods: dict, seed: int, homes: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """One row a factor and method."""
    rows, fields = parts(world.views), random_fields(world.views.about["meg"], 400, seed=100)
    assert world.views.metadata is not None
    split = world.views.metadata["split"].to_numpy()
    for (factor, home), (name, method) in itertools.product(homes.items(), methods.items()):
        truth = world.factors[factor].to_numpy()
        readout = readout_target(model, rows["train"], truth[split == "train"], home)
        began = time.perf_counter()
        found = method(model, rows["test"], readout, factor=truth[split == "test"], seed=seed)
        said: dict[str, Any] = dict.fromkeys(COLUMNS) | {"seconds": time.perf_counter() - began}
        if factor in world.topographies and "meg" in found:
            said |= on_meg(world, factor, found["meg"], fields, seed)
        if factor in world.pixels and "video" in found:
            said |= on_film(world, factor, found["video"], seed)
        yield {"factor": factor, "method": name} | said


# the study -------------------------------------------------------------------------------------------------------


def done(table: Path, columns: list[str]) -> set[tuple]:
    return set(pd.read_csv(table)[columns].itertuples(index=False, name=None)) if table.exists() else set()


def tidy(value: Any) -> Any:
    """Three decimals, and nothing for what there is not."""
    return "" if value is None else round(float(value), 3) if isinstance(value, float | np.floating) else value


def study(seed: int, times: int, trials: int, snr_db: int, encoder: str) -> None:
    """One model: its row in the one table, and in the other what is not there yet of its maps."""
    key: dict[str, Any] = dict(zip(KEY, (snr_db, trials, seed, times, encoder)))
    there, every = done(TABLE, [*KEY, "method"]), METHODS if encoder == "basis" else ATTENTION
    methods = {name: method for name, method in every.items() if (*key.values(), name) not in there}
    new = tuple(key.values()) not in done(MODELS, KEY)
    if not (methods or new):
        return
    world = small(trials, seed=seed, snr_db=snr_db)
    model, seconds = trained(world, **key)
    if new:
        row = key | scored(world, model) | {"seconds": seconds}
        append(MODELS, {name: tidy(value) for name, value in row.items()})
    recovered = pd.read_csv(MODELS).set_index(KEY).loc[tuple(key.values())]
    homes = {f: home for f, home in HOME.items() if encoder == "basis" or f in world.topographies}
    for row in list(maps(world, model, methods, seed, homes)):
        whole = key | {"factor": row.pop("factor"), "method": row.pop("method")} | row
        whole["recovery"] = float(recovered[f"recovery {whole['factor']}"])
        append(TABLE, {name: tidy(value) for name, value in whole.items()})


def default() -> None:
    """Rows of truth.csv from the default world, by the default recipe as it was trained there."""
    key: dict[str, Any] = dict(zip(KEY, (0, 2048, 0, 2, "default")))
    there = done(TABLE, [*KEY, "method"])
    methods = {name: method for name, method in METHODS.items() if (*key.values(), name) not in there}
    if not methods:
        return
    world = audiovisual(2048, seed=0)
    model, _ = load(STORED, recipe="ive")
    factors = {factor: HOME.get(factor, "shared") for factor in world.topographies}
    assert world.views.metadata is not None
    split = world.views.metadata["split"].to_numpy()
    codes = {block: z.numpy() for block, z in latents(model, world.views).items()}
    leak = metrics.block_readout(codes, world.factors, split != "test", split == "test")
    for row in list(maps(world, model, methods, 0, factors)):
        whole = key | {"factor": row.pop("factor"), "method": row.pop("method")} | row
        whole["recovery"] = float(leak.loc[factors[whole["factor"]], whole["factor"]])
        append(TABLE, {name: tidy(value) for name, value in whole.items()})


def main(arguments: list[str]) -> None:
    torch.set_num_threads(1)
    if arguments == ["default"]:
        default()
        return
    until = time.perf_counter() + float(arguments[0]) if arguments else float("inf")
    for at in STUDY:
        if time.perf_counter() < until:
            study(*at)
    if not arguments:
        default()


if __name__ == "__main__":
    main(sys.argv[1:])
