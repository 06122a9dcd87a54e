"""Simulated worlds: the truth they state is the truth in their data."""

from __future__ import annotations

import itertools

import mne
import numpy as np
import pandas as pd
import pytest
import torch
from einops import rearrange
from scipy.stats import multivariate_normal, skew
from sklearn.linear_model import RidgeCV

from ivekit.synth import World, audiovisual, linear_gaussian
from ivekit.synth import experiment as film
from ivekit.synth import meg as field
from ivekit.views import Views

BASELINE = 12  # samples before the stimulus
FILM = ["position", "motion", "size", "contrast"]


@pytest.fixture(scope="module")
def world() -> World:
    """The default world at the size that the studies use."""
    return audiovisual(2048)


def r2(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    return 1 - ((truth - guess) ** 2).mean(axis=0) / truth.var(axis=0)


def ridge(x: np.ndarray, y: np.ndarray, world: World) -> np.ndarray:
    """Held-out R2 of each column of y with the penalty tuned by leaving one out."""
    test = (world.views.metadata["split"] == "test").to_numpy()
    x = rearrange(x, "b ... -> b (...)")
    x = (x - x[~test].mean(axis=0)) / x[~test].std()
    fit = RidgeCV(np.logspace(-4, 6, 21), alpha_per_target=True).fit(x[~test], y[~test])
    return r2(y[test], fit.predict(x[test]))


def slopes(world: World) -> dict[str, np.ndarray]:
    """What one unit of each factor adds to the MEG (c, t): least squares on all its factors."""
    x, factors = world.views["meg"].numpy(), world.factors[list(world.topographies)].to_numpy()
    design = np.column_stack([np.ones(len(x)), factors])
    beta = np.linalg.lstsq(design, rearrange(x, "b c t -> b (c t)"), rcond=None)[0]
    return dict(zip(world.topographies, rearrange(beta, "f (c t) -> f c t", c=x.shape[1])[1:]))


def measured_snr(world: World, kind: str = "mag") -> float:
    """The stated definition, from the data: factors by regression, noise before the stimulus."""
    sensors = np.array(world.views.about["meg"].kinds) == kind
    noise = world.views["meg"].numpy()[:, sensors, :BASELINE].var(axis=(0, 2))
    ratios = []
    for factor, slope in slopes(world).items():
        best = np.abs(world.topographies[factor][sensors]).argmax()
        ratios.append(slope[sensors][best, world.time_courses[factor].argmax()] ** 2 / noise[best])
    return 10 * np.log10(np.mean(ratios))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


# --- what it is made of ----------------------------------------------------------------------------------------------


def test_shapes_units_and_ranges(world):
    meg, video, behaviour = (world.views[name] for name in ("meg", "video", "behaviour"))
    assert meg.shape == (2048, 102, 60) and video.shape == (2048, 1, 16, 32, 32) and behaviour.shape == (2048, 6)
    assert {meg.dtype, video.dtype, behaviour.dtype} == {torch.float32}
    assert 0 <= video.min() and video.max() <= 1 and 0.4 < video.mean() < 0.5
    sensors = world.views.about["meg"]
    assert set(sensors.kinds) == {"mag"} and sensors.sfreq == 125 and sensors.tmin == -0.096
    assert sensors.names == sensors.info.ch_names and np.isfinite(np.asarray(sensors.pos)).all()
    assert world.views.about["video"] == {"fps": 30.0}
    assert all(len(names) == 6 for names in world.views.about["behaviour"].values())
    assert all(50 < np.abs(field).max() < 300 for field in world.topographies.values())
    assert all(course.max() == 1 and not course[:BASELINE].any() for course in world.time_courses.values())


def test_factors_are_standard_normal_and_independent(world):
    assert list(world.factors) == list(world.owners) and len(world.factors) == 2048
    assert np.abs(world.factors.mean()).max() < 0.08 and np.abs(world.factors.std() - 1).max() < 0.06
    assert np.abs(np.corrcoef(world.factors.T) - np.eye(6)).max() < 0.08


def test_who_drives_what(world):
    counts = sorted(len(names) for names in world.owners.values())
    assert counts == [1, 1, 1, 2, 3, 3]
    assert {name for names in world.owners.values() if len(names) == 1 for name in names} == set(world.views)
    assert set(world.topographies) == {factor for factor, names in world.owners.items() if "meg" in names}


def test_split_is_drawn_within_every_subject(world):
    shares = pd.crosstab(world.views.metadata["subject"], world.views.metadata["split"], normalize="index")
    assert list(shares.index) == ["s01", "s02", "s03", "s04"]
    assert np.abs(shares[["train", "validation", "test"]].to_numpy() - [0.7, 0.1, 0.2]).max() < 0.01
    assert world.views.metadata.groupby("subject")["trial"].agg(["min", "max"]).eq([0, 511]).all(axis=None)


def test_uneven_subjects_share_the_trials():
    assert audiovisual(10, n_subjects=4).views.metadata["subject"].value_counts(sort=False).tolist() == [3, 3, 2, 2]


def test_the_seed_decides_everything():
    one, same, other = audiovisual(16, seed=3), audiovisual(16, seed=3), audiovisual(16, seed=4)
    for name in one.views:
        assert torch.equal(one.views[name], same.views[name]) and not torch.equal(one.views[name], other.views[name])
    assert one.factors.equals(same.factors) and not one.factors.equals(other.factors)
    assert one.views.metadata.equals(same.views.metadata)
    assert not np.allclose(one.topographies["motion"], other.topographies["motion"], rtol=1e-3)


def test_the_megs_settings_change_the_meg_alone():
    one, other = audiovisual(16), audiovisual(16, snr_db=6.0, kinds=("grad",))
    assert one.factors.equals(other.factors) and one.views.metadata.equals(other.views.metadata)
    assert all(torch.equal(one.views[name], other.views[name]) for name in ("video", "behaviour"))


def test_changing_a_worlds_info_leaves_the_next_world_alone():
    audiovisual(4).views.about["meg"].info["bads"] = ["MEG 0111"]
    assert audiovisual(4).views.about["meg"].info["bads"] == []


# --- the MEG ---------------------------------------------------------------------------------------------------------


def test_snr_is_as_defined_at_the_default(world):
    assert measured_snr(world) == pytest.approx(0.0, abs=0.3)


@pytest.mark.parametrize(("snr_db", "kinds"), [(8.0, ("mag",)), (4.0, ("grad", "mag"))])
def test_snr_is_as_asked(snr_db, kinds):
    assert measured_snr(audiovisual(1024, seed=1, snr_db=snr_db, kinds=kinds), kinds[0]) == pytest.approx(
        snr_db, abs=0.3
    )


def test_topographies_and_courses_are_those_of_the_data(world):
    for factor, slope in slopes(world).items():
        topography, course = world.topographies[factor], world.time_courses[factor]
        at_peak = slope[:, course.argmax()]
        assert cosine(at_peak, topography) > 0.99
        assert at_peak @ topography / (topography @ topography) == pytest.approx(1, abs=0.05)
        assert cosine(topography @ slope, course) > 0.99


def test_noise_has_the_recordings_level(world):
    noise = world.views["meg"].numpy()[:, :, :BASELINE]
    assert np.median(noise.std(axis=(0, 2))) == pytest.approx(field.LEVEL["mag"], rel=0.03)
    # along the direction of least variance there is next to nothing from the head, only the sensors' own noise
    eigenvalues = np.linalg.eigvalsh(np.cov(rearrange(noise, "b c t -> c (b t)")))
    assert np.sqrt(eigenvalues[0]) == pytest.approx(field.SENSOR["mag"], rel=0.05)


def test_noise_is_one_over_f_with_an_alpha_rhythm():
    scaled = field.sources(np.random.default_rng(0), 1, -200.0, ("mag",))  # no evoked field to speak of
    x = field.trials(np.random.default_rng(1), np.zeros((600, 4)), np.zeros(600, int), scaled)
    power = (np.abs(np.fft.rfft(x * np.hanning(60), axis=2)) ** 2).mean(axis=0)  # 2.08 Hz a bin
    alpha = np.abs(scaled.alpha[0]).sum(axis=1)
    best, rest = alpha.argmax(), alpha.argmin()
    # 1/f power falls by 4 from 4 to 16 Hz, less what the sensors' white noise adds; at 10 Hz the rhythm stands out
    assert 2.5 < power[rest, 2] / power[rest, 8] < 5
    assert power[best, 5] / power[best, 8] > 3 * power[rest, 5] / power[rest, 8]


def test_typed_noise_levels_are_the_recordings(data_dir):
    covariance = mne.read_cov(data_dir / "meg_neuromag306" / "noise-cov.fif", verbose="error")
    names = [name.replace(" ", "") for name in covariance.ch_names]
    for kind in ("mag", "grad"):
        wanted = {name.replace(" ", "") for name in field.info((kind,)).ch_names}
        picks = [i for i, name in enumerate(names) if name in wanted]
        values = covariance.data[np.ix_(picks, picks)] * field.FEMTO[kind] ** 2
        eigenvalues = np.linalg.eigvalsh(values)
        smallest = eigenvalues[eigenvalues > 1e-3 * np.median(eigenvalues)][0]
        assert np.sqrt(np.median(np.diag(values))) == pytest.approx(field.LEVEL[kind], abs=0.06)
        assert np.sqrt(smallest) == pytest.approx(field.SENSOR[kind], abs=0.06)


def test_gradiometers_have_their_own_units():
    world = audiovisual(256, kinds=("mag", "grad"))
    kinds = np.array(world.views.about["meg"].kinds)
    assert world.views["meg"].shape == (256, 306, 60) and (kinds == "mag").sum() == 102
    noise = world.views["meg"].numpy()[:, :, :BASELINE].std(axis=(0, 2))
    # scaled at the magnetometers, physics brings the gradiometers near what the same recording has
    assert np.median(noise[kinds == "grad"]) == pytest.approx(field.LEVEL["grad"], rel=0.35)


def test_the_head_is_inside_the_helmet():
    info = field.info(("mag",))
    sensors = mne.transforms.apply_trans(info["dev_head_t"], [channel["loc"][:3] for channel in info["chs"]])
    assert np.linalg.norm(sensors - field.CENTRE, axis=1).min() > 0.095


def test_subjects_differ_in_their_heads():
    evoked = field.sources(np.random.default_rng(0), 6, 0.0, ("mag",)).evoked
    cosines = [cosine(evoked[i, :, 0], evoked[j, :, 0]) for i, j in itertools.combinations(range(6), 2)]
    assert 0.9 < min(cosines) < 0.999


def test_subjects_differ_in_their_gains(monkeypatch):
    usual = field._lead_field(("mag",), (0.0,) * 6)
    monkeypatch.setattr(field, "_lead_field", lambda kinds, head: usual)  # all heads in the same place
    evoked = field.sources(np.random.default_rng(0), 40, 0.0, ("mag",)).evoked
    gains = evoked / evoked[0]
    assert np.ptp(gains, axis=(1, 2)).max() < 1e-9  # one number a subject
    assert np.log(gains[:, 0, 0]).std() == pytest.approx(0.1, rel=0.3)


def test_a_matched_filter_reads_every_factor_of_the_meg(world):
    """Whitened by the noise before the stimulus, then in time, along the true fields and courses."""
    x, factors = world.views["meg"].numpy().astype(float), list(world.topographies)
    covariance = np.cov(rearrange(x[:, :, :BASELINE], "b c t -> c (b t)"))
    filters = np.linalg.solve(covariance, np.stack(list(world.topographies.values()), axis=1))
    sources = np.einsum("bct,cf->fbt", x, filters)
    courses = world.time_courses.values()
    read = np.stack([s @ np.linalg.solve(np.cov(s.T), course) for s, course in zip(sources, courses)], axis=1)
    scores = ridge(read / read.std(axis=0), world.factors[factors].to_numpy(), world)
    assert (scores > 0.75).all() and (scores < 0.95).all()


# --- the film and the behaviour --------------------------------------------------------------------------------------


def test_half_of_the_films_factors_are_not_linear_in_its_pixels(world):
    scores = ridge(world.views["video"].numpy(), world.factors[FILM].to_numpy("f4"), world)
    assert (scores < 0.5).sum() >= 2 and (scores > 0.1).all()


def test_a_small_network_reads_every_factor_of_the_film(world):
    torch.manual_seed(0)
    sizes, layers = [8, 24, 32, 48], []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [torch.nn.Conv2d(n_in, n_out, 3, 2, 1), torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(768, 128), torch.nn.ReLU())
    network.append(torch.nn.Linear(128, 4))
    x = (world.views["video"][:, 0, ::2] - 0.45) * 10
    y = torch.tensor(world.factors[FILM].to_numpy("f4"))
    test = torch.tensor((world.views.metadata["split"] == "test").to_numpy())
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=12 * 26)
    for _ in range(12):
        for rows in (~test).nonzero()[:, 0][torch.randperm(int((~test).sum()))].split(64):
            loss = ((network(x[rows]) - y[rows]) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        assert (r2(y[test].numpy(), network(x[test]).numpy()) > 0.85).all()


def test_the_shared_factors_alone_predict_the_film():
    """What is expected of the film, given what MEG or behaviour can know, beats the mean film by far."""
    factors = audiovisual(64).factors
    draw = np.random.default_rng(1)

    def expected(known: list[str]) -> np.ndarray:
        total = 0.0
        for _ in range(24):
            unknown = pd.DataFrame(draw.standard_normal(factors.shape), columns=list(factors))
            total = total + film._video(draw, unknown.assign(**factors[known]), 0.0)
        return total / 24

    seen, mean = film._video(draw, factors, 0.0), expected([])
    error = ((seen - mean.mean(axis=0)) ** 2).mean()
    assert ((seen - expected(["position", "motion", "size"])) ** 2).mean() < 0.5 * error
    assert ((seen - expected(["position", "motion"])) ** 2).mean() < 0.65 * error


def test_the_object_moves_as_its_factors_say():
    factors = pd.DataFrame(np.zeros((2, 6)), columns=list(film.OWNERS))
    factors.loc[0, ["position", "motion"]] = 1.0  # to the right, rising
    x = film._video(np.random.default_rng(0), factors, 0.0)[:, 0]
    places = [[np.unravel_index(frame.argmax(), frame.shape) for frame in trial] for trial in x]
    assert places[0][0][0] > 16 > places[0][-1][0] and places[0][8][1] > 17
    assert all(abs(row - 15.5) < 2 and abs(column - 15.5) < 2 for row, column in places[1])


def test_behaviour_is_plausible_and_readable(world):
    columns = world.views.about["behaviour"]["columns"]
    x = dict(zip(columns, world.views["behaviour"].numpy().T))
    assert x["reaction_time"].min() > 0.25 and skew(x["reaction_time"]) > 0.5 and 0.4 < x["reaction_time"].mean() < 1
    assert set(np.unique(x["choice"])) == {0.0, 1.0} and 0.45 < x["choice"].mean() < 0.55
    assert 0 < x["confidence"].min() and x["confidence"].max() < 1
    assert 0 <= x["rating"].min() and x["rating"].max() <= 100 and x["pupil"].min() > 1.5
    table = np.stack([(column - column.mean()) / column.std() for column in x.values()], axis=1)
    scores = dict(zip(world.factors, ridge(table, world.factors.to_numpy(), world)))
    assert min(scores[factor] for factor in ("position", "motion", "caution")) > 0.85
    assert max(scores[factor] for factor in ("size", "vigilance", "contrast")) < 0.05


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_trials": 3, "n_subjects": 4}, "n_subjects is 4, it must be from 1 to the number of trials, 3"),
        ({"n_trials": 3, "n_subjects": 0}, "n_subjects is 0"),
        ({"kinds": ("eeg",)}, r"kinds is \('eeg',\), it must be"),
        ({"kinds": ()}, "kinds is"),
        ({"kinds": ("mag", "mag")}, "kinds is"),
        ({"pixel_noise": -0.1}, "pixel_noise is -0.1"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        audiovisual(**arguments)


@pytest.mark.parametrize(
    ("n_rows", "owners", "message"),
    [
        (3, {"z": frozenset({"a"})}, "3 rows of factors for 2 rows of views"),
        (2, {"y": frozenset({"a"})}, r"owners are given for \['y'\], the factors are \['z'\]"),
        (2, {"z": frozenset({"b"})}, r"z drives \['b'\], the views are \['a'\]"),
    ],
)
def test_a_world_is_consistent(n_rows, owners, message):
    with pytest.raises(ValueError, match=message):
        World(Views({"a": torch.zeros(2, 1)}), pd.DataFrame({"z": np.zeros(n_rows)}), owners)


# --- the linear-Gaussian world ---------------------------------------------------------------------------------------


def dense_log_density(world, views: Views) -> np.ndarray:
    """Row by row from the full covariance of everything that is present."""
    loadings = np.concatenate([world.loadings[name].numpy() for name in views])
    variance = np.concatenate([np.full(len(world.loadings[name]), world.noise[name] ** 2) for name in views])
    covariance = loadings @ loadings.T + np.diag(variance)
    x = np.concatenate([views[name].double().numpy() for name in views], axis=1)
    masks = [views.present[name] for name in views]
    masks = [mask[:, None] if mask.ndim == 1 else mask for mask in masks]
    seen = np.concatenate([mask.expand(views[name].shape).numpy() for mask, name in zip(masks, views)], axis=1)
    return np.array(
        [
            multivariate_normal.logpdf(row[s], np.zeros(s.sum()), covariance[np.ix_(s, s)]) if s.any() else 0.0
            for row, s in zip(x, seen)
        ]
    )


@pytest.mark.parametrize("orthogonal", [True, False])
def test_evidence_is_exact_with_every_missing_pattern(orthogonal):
    world = linear_gaussian(n_rows=16, noise={"a": 0.3, "b": 0.7, "c": 1.1}, orthogonal=orthogonal, seed=2)
    patterns = torch.tensor(list(itertools.product([False, True], repeat=3))).repeat(2, 1)
    x = {name: world.views[name].clone() for name in world.views}
    for name, seen in zip(x, patterns.T):
        x[name][~seen] = torch.nan  # what is missing may be anything
    views = Views(x, dict(zip(x, patterns.T)))
    evidence = world.log_evidence(views)
    assert evidence.dtype == torch.float64
    np.testing.assert_allclose(evidence.numpy(), dense_log_density(world, views), rtol=1e-10, atol=1e-10)


def test_evidence_is_exact_with_holes_and_without_views():
    world = linear_gaussian(n_rows=32)
    views = world.views.without("b")
    holes = Views(dict(views.tensors), {"c": torch.rand(32, 6, generator=torch.Generator().manual_seed(0)) > 0.4})
    np.testing.assert_allclose(world.log_evidence(holes).numpy(), dense_log_density(world, holes), rtol=1e-10)


def test_posterior_is_that_of_the_joint_normal():
    world = linear_gaussian(n_rows=4, orthogonal=False)
    mean, covariance = world.posterior(world.views)
    loadings = torch.cat(list(world.loadings.values()))
    variance = torch.cat([torch.full((len(a),), world.noise[name] ** 2) for name, a in world.loadings.items()])
    gain = loadings.T @ torch.linalg.inv(loadings @ loadings.T + variance.diag())
    x = torch.cat([world.views[name] for name in world.views], dim=1).double()
    torch.testing.assert_close(mean, x @ gain.T)
    torch.testing.assert_close(covariance[0], torch.eye(3, dtype=torch.float64) - gain @ loadings)


def test_orthogonal_loadings_make_the_product_of_experts_exact():
    world = linear_gaussian(n_rows=8)
    joint, covariance = world.posterior(world.views)
    precision, pull = torch.ones(8, 3, dtype=torch.float64), torch.zeros(8, 3, dtype=torch.float64)
    for name in world.views:  # one view's posterior over the prior is its expert
        mean, spread = world.posterior(Views({name: world.views[name]}))
        single = 1 / spread.diagonal(dim1=1, dim2=2)
        precision, pull = precision + single - 1, pull + single * mean
    torch.testing.assert_close(covariance, torch.diag_embed(1 / precision))
    torch.testing.assert_close(joint, pull / precision)
    assert linear_gaussian(n_rows=1, orthogonal=False).posterior(world.views[:1])[1][0].triu(1).abs().max() > 1e-3


def test_nothing_seen_is_the_prior():
    world = linear_gaussian(n_rows=3)
    nothing = Views(dict(world.views.tensors), {name: torch.zeros(3, dtype=torch.bool) for name in world.views})
    mean, covariance = world.posterior(nothing)
    assert not mean.any() and torch.equal(covariance[1], torch.eye(3, dtype=torch.float64))
    assert not world.log_evidence(nothing).any()


def test_linear_gaussian_draws_from_its_own_law():
    world = linear_gaussian(n_rows=40_000, widths={"one": 5, "two": 4}, n_latents=2, noise=0.4)
    for name, loading in world.loadings.items():
        wanted = loading @ loading.T + 0.16 * torch.eye(len(loading), dtype=torch.float64)
        assert (torch.cov(world.views[name].double().T) - wanted).abs().max() < 0.04
    assert np.abs(np.cov(world.factors.T) - np.eye(2)).max() < 0.03
    assert world.owners["z1"] == {"one", "two"}
    same, other = (linear_gaussian(4, seed=seed).views["a"] for seed in (0, 1))
    assert torch.equal(same, linear_gaussian(4).views["a"]) and not torch.equal(same, other)


def test_wrong_linear_gaussian_worlds_are_named():
    with pytest.raises(ValueError, match="view 'a' has 2 columns, too few for 3 orthogonal latents"):
        linear_gaussian(widths={"a": 2})
    with pytest.raises(ValueError, match="the noise of view 'b' is 0.0, it must be positive"):
        linear_gaussian(noise={"a": 1.0, "b": 0.0, "c": 1.0})
    with pytest.raises(ValueError, match="view 'meg' is none of this world's: a, b, c"):
        linear_gaussian(2).log_evidence(Views({"meg": torch.zeros(2, 4)}))
