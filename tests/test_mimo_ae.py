"""The autoencoder of physiological signals: any signals of any length, weights by name, its worth, no dead setting."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import ivekit as ive
from ivekit import baselines, nn
from ivekit.baselines.linear import principal_components
from ivekit.nn import Tokens
from ivekit.objectives import Uncertain
from ivekit.recipe import Recipe, parts
from ivekit.synth import physiology
from ivekit.training import DropViews, train

FUSIONS = ("concat", "gate", "attention", "experts")
SMALL = dict(n_subjects=10, n_windows=16, epochs=30, batch_size=16, dim=32, lr=6e-3)


def fit(**settings):
    """The recipe's model, objective and rows, trained."""
    torch.set_num_threads(1)
    recipe = Recipe("mimo_ae", SMALL | settings)
    rows = parts(recipe.data())
    model, objective = recipe.model(rows["train"]), recipe.objective(rows["train"])
    for _ in train(model, objective, rows["train"], **recipe.training(rows["train"]) | {"device": "cpu"}):
        pass
    return model, objective, rows


def noise_views(t: int, chans: dict[str, int], b: int = 8) -> ive.Views:
    random = torch.Generator().manual_seed(0)
    frame = pd.DataFrame({"split": ["train"] * b})
    return ive.Views({n: torch.randn(b, c, t, generator=random) for n, c in chans.items()}, metadata=frame)


@pytest.fixture(scope="module")
def trained():
    return fit()


# what it is worth ----------------------------------------------------------------------------------------------


def test_it_beats_zero_constant_and_as_many_principal_components_on_new_people(trained):
    model, _, rows = trained
    assert not set(rows["train"].metadata["subject"]) & set(rows["test"].metadata["subject"])
    scores = baselines.held_out(model, rows["train"], rows["test"])
    for name, least in {"ecg": 0.4, "ppg": 0.75, "rsp": 0.85}.items():
        said = scores[name]["reconstruction"]
        assert said["interval"][0] > max(said["constant"], said["zero"]) + least, (name, said)
    flat = {
        split: torch.cat([*model.standardise(rows[split]).tensors.values()], 1).flatten(1)
        for split in ("train", "test")
    }
    with torch.no_grad():
        told = rows["test"].replace(**{n: p.mean for n, p in model(rows["test"]).p.items()})
    error = (torch.cat([*model.standardise(told).tensors.values()], 1).flatten(1) - flat["test"]).square().mean()
    pca = principal_components(flat["train"].numpy(), flat["test"].numpy(), 128)
    assert error < 0.85 * np.square(pca - flat["test"].numpy()).mean()


def test_a_missing_signal_is_told_from_the_others(trained):
    model, _, rows = trained
    scores = baselines.held_out(model, rows["train"], rows["test"])
    for name, least in {"ppg": 0.45, "rsp": 0.6}.items():
        said = scores[name]["from_others"]
        assert said["interval"][0] > max(said["constant"], said["zero"]) + least, (name, said)


def test_a_hidden_signal_may_hold_anything(trained):
    model, _, rows = trained
    gone = rows["test"][:5].without("ecg")
    spoilt = gone.replace(ecg=torch.full_like(gone["ecg"], torch.nan))
    for name, p in model(gone).p.items():
        assert torch.equal(p.mean, model(spoilt).p[name].mean) and p.mean.isfinite().all()


def test_the_code_keeps_time(trained):
    """A change of the first second is told in the first steps of the code, and the last steps do not hear of it."""
    model, _, rows = trained
    x = rows["test"][:6]
    other = x.replace(ecg=torch.cat([x["ecg"][..., 30:60], x["ecg"][..., 30:]], -1))
    with torch.no_grad():
        a, b = (model(v).z["shared"].unflatten(1, (15, 8)) for v in (x, other))
    moved = (a - b).abs().mean((0, 2))
    assert moved[:2].min() > 10 * moved[-4:].max()


# any signals, any fusion ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("t", "depth", "steps"), [(240, 4, 15), (250, 4, 16), (100, 3, 13), (37, 2, 10), (1000, 6, 16)]
)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_any_number_of_signals_channels_and_samples(t, depth, steps, fusion):
    chans = {"ecg": 1} if t == 100 else {"ecg": 2, "acc": 3, "rsp": 1, "eda": 1}
    views = noise_views(t, chans)
    recipe = Recipe("mimo_ae", dict(fusion=fusion, depth=depth, dim=16, spectrum="amplitude"))
    model = recipe.model(views)
    out = model(views)
    assert {n: p.mean.shape for n, p in out.p.items()} == {n: x.shape for n, x in views.items()}
    assert out.z["shared"].shape == (8, 128 // steps * steps)
    loss = sum(recipe.objective(views)(out, views, 0).values())
    loss.backward()
    assert loss.isfinite() and all(p.grad is not None for n, p in model.named_parameters() if "posterior" not in n)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_weights_are_told_by_name_and_a_missing_signal_has_none(fusion):
    views = noise_views(240, {"ecg": 1, "rsp": 1, "eda": 1})
    model = Recipe("mimo_ae", dict(fusion=fusion, dim=16)).model(views).eval()
    weights = model.weights(views)
    if fusion == "concat":
        assert weights == {}
        return
    assert set(weights) == {"ecg", "rsp", "eda"} and all(w.shape == (8, 15) for w in weights.values())
    total = sum(weights.values())
    assert all(((w > 0) & (w < 1)).all() for w in weights.values())
    if fusion == "attention":
        torch.testing.assert_close(total, torch.ones(8, 15))
    if fusion == "experts":
        assert (total < 1).all()  # the rest is the prior's
    less = model.weights(views.without("rsp"))
    assert (less["rsp"] == 0).all() and (fusion == "gate" or (less["ecg"] > weights["ecg"]).all())


def test_weights_follow_the_names_whatever_their_order():
    """Attention to the second signal alone is told under that signal's name, at the right window and step."""
    posterior = nn.Fused(["a", "b"], nn.AttentionPool(4), 4, 6, steps=3)
    with torch.no_grad():
        posterior.fusion.query.copy_(torch.tensor([50.0, 0, 0, 0]))
    x = {name: torch.zeros(2, 3, 4) for name in "ab"}
    x["a"][..., 0], x["b"][1, 2, 0] = 1.0, 2.0
    weights = posterior.weights({n: Tokens.of(v, torch.ones(2, dtype=torch.bool)) for n, v in x.items()})
    expected = torch.zeros(2, 3)
    expected[1, 2] = 1
    torch.testing.assert_close(weights["b"], expected)
    torch.testing.assert_close(weights["a"], 1 - expected)


def test_a_mixture_does_not_weigh():
    model = ive.MultimodalVAE({"a": nn.MLPEncoder(3, 8)}, nn.MixtureOfExperts("a", 8, 2), {})
    with pytest.raises(ValueError, match="MixtureOfExperts does not weigh"):
        model.weights(ive.Views({"a": torch.zeros(2, 3)}))


def test_steps_are_told_one_by_one_by_the_same_head():
    """What an expert says of a step depends on that step's token alone, in the same way at every step."""
    x = torch.randn(1, 5, 8, generator=torch.Generator().manual_seed(0)).repeat(2, 1, 1)
    x[1, 3] = x[0, 1]
    here = torch.ones(2, dtype=torch.bool)
    for posterior in (
        nn.ProductOfExperts(["a"], 8, 10, steps=5),
        nn.Fused(["a"], nn.Gated(1, 8), 8, 10, steps=5),
        nn.Fused(["a"], nn.Concat(1, 8), 8, 10, point=True, steps=5),
    ):
        code = posterior({"a": Tokens.of(x, here)}).mean.unflatten(1, (5, 2))
        torch.testing.assert_close(code[0, [0, 1, 2, 4]], code[1, [0, 1, 2, 4]])
        torch.testing.assert_close(code[1, 3], code[0, 1])
        assert not torch.allclose(code[0, 3], code[1, 3])


def test_steps_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="10 latents cannot be shared evenly by 3 steps"):
        nn.ProductOfExperts(["a"], 8, 10, steps=3)
    tokens = {"a": Tokens.of(torch.zeros(2, 4, 8), torch.ones(2, dtype=torch.bool))}
    with pytest.raises(ValueError, match="has 5 steps, and a view came with 4 tokens"):
        nn.ProductOfExperts(["a"], 8, 10, steps=5)(tokens)
    with pytest.raises(ValueError, match="100 samples halved 3 times are 13 steps"):
        nn.ResNet1dDecoder(26, (1, 100), depth=3, steps=12)


# the code as a point or a belief, losses and what is hidden -------------------------------------------------------


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_code_is_a_point_or_a_belief(fusion):
    views = noise_views(240, {"ecg": 1, "rsp": 1})
    point = Recipe("mimo_ae", dict(fusion=fusion, dim=16)).model(views)(views)
    assert (point.q["shared"].stddev == 0).all()
    recipe = Recipe("mimo_ae", dict(fusion=fusion, dim=16, beta=0.1, epochs=1))
    belief = recipe.model(views)(views)
    assert (belief.q["shared"].stddev > 0).all()
    assert recipe.objective(views)(belief, views, None)["kl"] > 0
    assert "kl" not in Recipe("mimo_ae", dict(fusion=fusion)).objective(views).terms


def test_weights_learned_by_uncertainty_move(trained):
    _, objective, _ = fit(weighting="uncertainty", n_windows=6, epochs=3)
    weights = {name: float(term.weight) for name, term in objective.terms.items()}
    assert all(isinstance(term, Uncertain) for term in objective.terms.values())
    assert min(weights.values()) > 0.55, weights  # from 0.5, since both errors are below 1
    assert not [term for term in trained[1].terms.values() if isinstance(term, Uncertain)]


def test_views_are_dropped_as_often_as_said_and_never_all():
    torch.manual_seed(0)
    rows = torch.arange(4000)
    views = ive.Views({n: torch.ones(4000, 1) for n in "abc"}, {"b": rows % 4 > 0, "a": rows > 7, "c": rows > 7})
    shown = DropViews(0.3)(views)
    there = torch.stack([shown.present[n] for n in "abc"], 1)
    was = torch.stack([views.present[n] for n in "abc"], 1)
    assert (there <= was).all() and torch.equal(there.any(1), was.any(1))
    assert abs(there[was].float().mean() - 0.7) < 0.03
    one = DropViews(1.0)(views)
    assert (torch.stack([one.present[n] for n in "abc"], 1)[8:].sum(1) == 1).all()
    assert DropViews(0.0)(views) is views
    with pytest.raises(ValueError, match="between 0 and 1, got 1.5"):
        DropViews(1.5)


# the settings --------------------------------------------------------------------------------------------------

TINY = dict(n_subjects=5, n_windows=4, epochs=1, batch_size=8, dim=16)


def first_losses(settings) -> list[float]:
    recipe = Recipe("mimo_ae", TINY | settings)
    rows = parts(recipe.data())["train"]
    model, objective = recipe.model(rows), recipe.objective(rows)
    steps = train(model, objective, rows, **recipe.training(rows) | {"device": "cpu"})
    return [float(step.loss.detach()) for step in steps]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (dict(fusion="sum"), "concat, gate, attention, experts; got 'sum'"),
        (dict(spectrum="mel"), "amplitude, phase, windows; got 'mel'"),
        (dict(weighting="grid"), "shares or uncertainty, got 'grid'"),
        (dict(scale="person"), "training or window, got 'person'"),
        (dict(data="mri"), "world, physio, resting, or a folder of saved rows; got 'mri'"),
        (dict(spectral=1.5), "from 0 to 1; got 1.5"),
        (dict(latent=8), "a code of 8 numbers cannot keep 15 steps"),
        (dict(test=["s99"]), r"no subject \['s99'\]; there are s01"),
    ],
)
def test_names_that_nobody_knows_are_refused_with_those_there_are(wrong, said):
    with pytest.raises(ValueError, match=said):
        first_losses(wrong)


def test_signals_of_different_lengths_are_refused():
    views = ive.Views({"ecg": torch.zeros(4, 1, 240), "rsp": torch.zeros(4, 1, 80)})
    with pytest.raises(ValueError, match="windows of one length.*'ecg': 15, 'rsp': 5"):
        Recipe("mimo_ae").model(views)
    with pytest.raises(ValueError, match=r"\(channels, samples\), got .*'age'"):
        Recipe("mimo_ae").model(ive.Views({"age": torch.zeros(4, 1)}))


def test_subjects_are_for_what_the_settings_say():
    rows = parts(Recipe("mimo_ae", TINY | dict(validation=["s02", "s03"], test="s05")).data())
    who = {split: sorted(set(v.metadata["subject"])) for split, v in rows.items()}
    assert who == {"train": ["s01", "s04"], "validation": ["s02", "s03"], "test": ["s05"]}


# the simulated body --------------------------------------------------------------------------------------------


def test_the_body_has_the_rhythms_that_its_factors_say():
    """Rates are read off spectra and the delay off a lag: by none of the simulator's formulas."""
    world = physiology(n_subjects=6, n_windows=10, window=60, noise=0.02)
    x = {name: v[:, 0].numpy() for name, v in world.views.items()}
    hertz = np.fft.rfftfreq(1800, 1 / 30)

    def peak(signal, low, high):
        power = np.abs(np.fft.rfft(signal - signal.mean(1, keepdims=True))) * ((hertz > low) & (hertz < high))
        return 60 * hertz[power.argmax(1)]

    assert np.abs(peak(x["ppg"], 0.7, 1.8) - world.factors["heart_rate"]).median() < 1.5
    assert np.abs(peak(x["rsp"], 0.1, 0.4) - world.factors["breath_rate"]).median() < 1.0
    depth = x["rsp"].std(1)
    assert np.corrcoef(depth, world.factors["depth"])[0, 1] > 0.95
    spikes = np.diff(x["ecg"], axis=1).clip(min=0) ** 2
    lags = [
        np.correlate(p - p.mean(), s[:1700] - s[:1700].mean(), "valid")[:25].argmax() for p, s in zip(x["ppg"], spikes)
    ]
    assert np.corrcoef(lags, world.factors["delay"])[0, 1] > 0.5


def test_the_heart_quickens_while_breathing_in_as_much_as_the_coupling_says():
    world = physiology(n_subjects=4, n_windows=10, window=60, sfreq=100, noise=0.0)
    found = []
    for heart, breath in zip(world.views["ecg"][:, 0].numpy(), world.views["rsp"][:, 0].numpy()):
        tops = np.flatnonzero(
            (heart[1:-1] > heart[:-2]) & (heart[1:-1] >= heart[2:]) & (heart[1:-1] > 0.55 * heart.max())
        )
        rate = 1 / np.diff(tops)
        lungs = np.interp((tops[1:] + tops[:-1]) / 2, np.arange(len(breath)), breath)
        found.append(np.polyfit(lungs / breath.std(), rate / rate.mean(), 1)[0])
    assert np.corrcoef(found, world.factors["coupling"])[0, 1] > 0.8 and np.mean(found) > 0.03


def test_people_of_different_splits_are_different_and_a_seed_is_a_world():
    a, b, c = (physiology(n_subjects=10, n_windows=2, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(a.views["ecg"], b.views["ecg"]) and not torch.equal(a.views["ecg"], c.views["ecg"])
    assert a.views.metadata.groupby("split")["subject"].nunique().to_dict() == {"test": 2, "train": 7, "validation": 1}
    with pytest.raises(ValueError, match="of 2 subjects none can be held out"):
        physiology(n_subjects=2)


# real recordings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "names"), [("physio", {"ecg", "eda", "rsp"}), ("resting", {"ecg", "ppg", "rsp"})])
def test_it_trains_on_real_recordings(data, names, data_dir, monkeypatch):
    monkeypatch.setenv("IVEKIT_DATA", str(data_dir))
    model, _, rows = fit(data=data, step=3.0, epochs=12)
    assert set(rows["train"]) == names and rows["train"]["ecg"].shape[1:] == (1, 240)
    scores = baselines.held_out(model, rows["train"], rows["test"])
    for name in names - {"ecg"}:
        said = scores[name]["reconstruction"]
        assert said["model"] > max(said["constant"], said["zero"]) + 0.3, (name, said)
