"""Baselines: what is reached for nothing, and that it is reached honestly."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from torch import nn

from ivekit import Standardise, Views, Whiten, ZScore, baselines
from ivekit import nn as parts
from ivekit.baselines import held_out, linear
from ivekit.distributions import Categorical, Normal
from ivekit.models import Conditional, MultimodalVAE, Outputs


class Says(nn.Module):
    """A stand-in for a model: whatever a function says of each view."""

    def __init__(self, say, sizes=(), encoders=("a", "b"), standardise=None):
        super().__init__()
        self.say, self.sizes, self.standardise = say, dict(sizes), standardise
        self.encoders = dict.fromkeys(encoders)

    def forward(self, views: Views) -> Outputs:
        z = {block: torch.zeros(len(views), k) for block, k in self.sizes.items()}
        return Outputs({}, z, self.say(views))


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pair(n: int = 80, rank: int = 2, noise: float = 0.1) -> Views:
    """Two views that share `rank` numbers: a (3, 4) and b (5)."""
    u, maps = normal(n, rank), (normal(rank, 12, seed=1), normal(rank, 5, seed=2))
    a, b = (u @ m + noise * normal(n, m.shape[1], seed=3 + i) for i, m in enumerate(maps))
    return Views({"a": 3 + a.reshape(n, 3, 4), "b": b})


def perfect(views: Views) -> dict:
    return {name: Normal(x, 1.0) for name, x in views.items()}


def zscores(train: Views) -> Standardise:
    return Standardise.fit(train, **{name: ZScore() for name in train})


# what the scores are


def test_a_perfect_model_scores_1_and_the_constant_0():
    data = pair()
    scores = held_out(Says(perfect, {"shared": 2}), data[:60], data[60:])
    assert list(scores) == ["a", "b"] and list(scores["a"]) == ["reconstruction", "from_others"]
    for metrics in scores.values():
        for s in metrics.values():
            assert s["model"] == 1 and s["constant"] == 0 and s["interval"] == [1, 1]


def test_saying_the_training_mean_scores_0():
    data = pair()
    mean = {name: x[:60].mean(0, keepdim=True) for name, x in data.items()}
    model = Says(lambda views: {name: Normal(m.expand(len(views), *m.shape[1:]), 1.0) for name, m in mean.items()})
    for metrics in held_out(model, data[:60], data[60:]).values():
        for s in metrics.values():
            assert s["model"] == pytest.approx(0, abs=1e-6) and s["zero"] == pytest.approx(0, abs=1e-6)


def test_a_score_is_the_mean_r2_of_the_channels():
    data, off = pair(), normal(80, 3, 4, seed=9)
    model = Says(lambda views: {"a": Normal(views["a"] + off[: len(views)], 1.0)})
    score = held_out(model, data, data)["a"]["reconstruction"]["model"]
    flat, guess = data["a"].double().numpy(), (data["a"] + off).double().numpy()
    each = [r2_score(flat[:, c], guess[:, c], multioutput="variance_weighted") for c in range(3)]
    assert score == pytest.approx(np.mean(each), abs=1e-5)


def test_units_do_not_matter():
    data = pair()
    b = data["b"] * torch.tensor([1e-3, 1, 1e4, 1, 1]) + 7
    off = normal(20, 5, seed=9)

    def score(data: Views, scale: torch.Tensor) -> dict:
        wrong = Says(lambda views: {"b": Normal(views["b"] + off[: len(views)] * scale, 1.0)}, {"shared": 2})
        wrong.standardise = zscores(data[:60])
        return held_out(wrong, data[:60], data[60:])["b"]

    plain, scaled = score(data, torch.ones(5)), score(data.replace(b=b), torch.tensor([1e-3, 1, 1e4, 1, 1]))
    for metric in plain:
        for who in ("model", "linear"):
            assert plain[metric][who] == pytest.approx(scaled[metric][who], abs=1e-3)
        assert 0 < plain[metric]["linear"] < 1


def test_the_mean_of_the_likelihood_is_scored_and_nothing_else_of_it():
    data = pair()
    model = Says(lambda views: {"b": SimpleNamespace(mean=views["b"], mode=views["b"] + 5)})
    assert held_out(model, data[:60], data[60:])["b"]["reconstruction"]["model"] == 1


def test_from_others_is_told_without_the_view():
    data = pair()
    seen = []

    def say(views: Views) -> dict:
        seen.append(tuple(bool(views.present[name].all()) for name in ("a", "b")))
        return {"b": Normal(views["b"] * views.present["b"][:, None], 1.0)}

    scores = held_out(Says(say), data[:60], data[60:])["b"]
    assert scores["reconstruction"]["model"] == 1 and scores["from_others"]["model"] < 0.1
    assert set(seen) == {(True, True), (True, False)}


def test_the_zero_input_is_the_average_recording_with_nothing_missing():
    data = pair().masked(a=torch.arange(80) % 2 == 0)
    seen = []

    def say(views: Views) -> dict:
        if len(views) == 1:
            seen.append(views)
        return {"b": Normal(views["b"] + 1, 1.0)}

    train = data[:60]
    model = Says(say, standardise=zscores(train))
    scores = held_out(model, train, data[60:])["b"]["reconstruction"]
    here = train["a"][train.present["a"]]
    assert torch.allclose(seen[0]["a"][0], here.mean((0, 2))[:, None].expand(3, 4), atol=1e-5)
    assert all(bool(views.present["a"].all()) for views in seen)
    guess = (train["b"].mean(0) + 1).expand(20, 5).double().numpy()
    truth, var = data["b"][60:].double().numpy(), train["b"].double().var(0, correction=0).numpy()
    mean = train["b"].double().mean(0).numpy()
    expected = 1 - (np.square(truth - guess) / var).sum() / (np.square(truth - mean) / var).sum()
    assert scores["zero"] == pytest.approx(expected, abs=1e-5)


def test_intervals_hold_the_score_and_narrow_with_rows():
    data, off = pair(600), normal(600, 5, seed=9)
    model = Says(lambda views: {"b": Normal(views["b"] + off[: len(views)], 1.0)})
    wide = {}
    for n in (25, 500):
        s = held_out(model, data[:100], data[100 : 100 + n])["b"]["reconstruction"]
        low, high = s["interval"]
        assert low < s["model"] < high
        wide[n] = high - low
    assert 2 < wide[25] / wide[500] < 9  # the root of 20 is 4.5


# missing rows and masked numbers


def test_rows_that_lack_a_view_are_left_out_of_its_score():
    data, off = pair(), normal(80, 5, seed=9)
    here = torch.arange(80) % 3 > 0
    row = torch.arange(80)

    def say(views: Views) -> dict:
        return {"b": Normal(views["b"] + off[views["row"]], 1.0)}

    holed = data.replace(row=row, b=torch.where(here[:, None], data["b"], torch.nan)).masked(b=here)
    left = data.replace(row=row)

    def scores(train: Views, test: Views) -> list[float]:
        s = held_out(Says(say, {"shared": 2}), train, test)["b"]
        return [
            x
            for metric in s.values()
            for who in ("model", "zero", "linear", "interval")
            for x in np.atleast_1d(metric[who])
        ]

    fewer = left[:60][here[:60]]
    assert scores(fewer, holed[60:]) == pytest.approx(scores(fewer, left[60:][here[60:]]))
    assert scores(holed[:60], left[60:]) == pytest.approx(scores(fewer, left[60:]))


def test_masked_numbers_do_not_count():
    data = pair()
    mask = torch.rand(80, 5, generator=torch.Generator().manual_seed(0)) < 0.8

    def score(fill: float) -> dict:
        holed = data.replace(b=torch.where(mask, data["b"], fill)).masked(b=mask)
        model = Says(lambda views: {"b": Normal(torch.nan_to_num(views["b"]) + 0.3, 1.0)}, {"shared": 2})
        model.standardise = zscores(holed[:60])
        return held_out(model, holed[:60], holed[60:])["b"]

    plain = score(0.0)
    assert plain == score(1e6) == score(math.nan)
    assert 0 < plain["reconstruction"]["linear"] < 1


def test_a_view_without_test_rows_or_without_variance_has_no_score():
    data = pair()
    gone = data.masked(a=torch.arange(80) < 60)
    assert list(held_out(Says(perfect), gone[:60], gone[60:])) == ["b"]
    still, moves = data.replace(a=torch.full((80, 2), 0.1)), data.replace(a=normal(80, 2))
    assert list(held_out(Says(perfect), still[:60], moves[60:])) == ["b"]


def test_a_constant_channel_does_not_count():
    data = pair()
    still = data.replace(b=torch.cat([data["b"], torch.full((80, 1), 0.1)], 1))
    model = Says(lambda views: {"b": Normal(views["b"] + torch.tensor([0.0] * 5 + [9.0]), 1.0)})
    assert held_out(model, still[:60], still[60:])["b"]["reconstruction"]["model"] == 1


def test_wrong_input_is_named():
    data = pair()
    with pytest.raises(ValueError, match="got 60 and 0"):
        held_out(Says(perfect), data[:60], data[60:60])
    with pytest.raises(ValueError, match="'a' is missing in all 60 training rows"):
        held_out(Says(perfect), data.without("a")[:60], data[60:])
    with pytest.raises(ValueError, match=r"a row of 'b' is \(5,\), what the model tells of it \(2,\)"):
        held_out(Says(lambda views: {"b": Normal(views["b"][:, :2], 1.0)}), data[:60], data[60:])


# linear models


def test_principal_components_of_exact_rank_tell_everything():
    data = pair(noise=0.0)
    model = Says(perfect, {"shared": 1, "a": 1, "b": 0}, standardise=zscores(data[:60]))
    scores = held_out(model, data[:60], data[60:])
    assert scores["a"]["reconstruction"]["linear"] == pytest.approx(1, abs=1e-5)  # 1 shared and 1 of its own: rank 2
    assert scores["b"]["reconstruction"]["linear"] < 0.95  # 1 shared and nothing of its own


def test_principal_components_are_those_of_the_singular_values():
    x, x_new = (normal(60, 200, seed=s).double().numpy() for s in (0, 1))
    v = np.linalg.svd(x - x.mean(0), full_matrices=False)[2][:7]
    expected = (x_new - x.mean(0)) @ v.T @ v + x.mean(0)
    assert linear.principal_components(x, x_new, 7) == pytest.approx(expected, abs=1e-8)
    assert linear.principal_components(x[:5], x_new, 100).shape == x_new.shape


def planted(n: int = 300, d: int = 30, e: int = 20, rank: int = 3, noise: float = 0.0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2 * n, d)) + 1
    y = x @ rng.standard_normal((d, rank)) @ rng.standard_normal((rank, e)) - 2
    y += noise * y.std() * rng.standard_normal(y.shape)
    return x[:n], y[:n], x[n:], y[n:]


@pytest.mark.parametrize(("n", "d"), [(300, 30), (60, 200)])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_reduced_rank_regression_recovers_a_planted_rank(n, d, dtype):
    x, y, x_new, y_new = (a.astype(dtype) for a in planted(n, d))
    told = [linear.reduced_rank(x, y, x_new, rank) for rank in (1, 2, 3, 4, 20)]
    assert [np.linalg.matrix_rank(t - y.mean(0), tol=1e-3 * np.abs(t).max()) for t in told[:3]] == [1, 2, 3]
    scores = [r2_score(y_new, t, multioutput="variance_weighted") for t in told]
    assert scores[0] < scores[1] < scores[2]
    assert np.ptp(scores[2:]) < 0.01  # more than there is adds nothing
    if d < n:
        assert scores[2] > 0.999


def test_a_narrow_waist_helps_against_noise():
    x, y, x_new, y_new = planted(80, 60, noise=1.0)
    told = (linear.reduced_rank(x, y, x_new, rank) for rank in (3, 20))
    three, all_ = (r2_score(y_new, t, multioutput="variance_weighted") for t in told)
    assert three > all_ + 0.05


@pytest.mark.parametrize(("n", "noise"), [(45, 1.0), (45, 3.0), (100, 3.0)])
def test_reduced_rank_regression_by_its_formulas(n, noise):
    x, y, x_new, _ = planted(n, 40, noise=noise)
    x, x_new = x * np.linspace(0.1, 3, 40), x_new * np.linspace(0.1, 3, 40)
    xc, yc, found = x - x.mean(0), y - y.mean(0), []
    s = np.linalg.eigvalsh(xc.T @ xc)
    for penalty in linear.PENALTIES * s.mean():
        hat = xc @ np.linalg.solve(xc.T @ xc + penalty * np.eye(40), xc.T)
        found.append(np.square(yc - hat @ yc).sum() / (1 - (np.trace(hat) + 1) / n) ** 2)
    ridge = Ridge(alpha=linear.PENALTIES[np.argmin(found)] * s.mean()).fit(x, y)
    assert linear.reduced_rank(x, y, x_new, 99) == pytest.approx(ridge.predict(x_new), abs=1e-6)
    v = np.linalg.eigh(yc.T @ xc @ ridge.coef_.T)[1][:, -2:]
    expected = (x_new - x.mean(0)) @ ridge.coef_.T @ v @ v.T + y.mean(0)
    assert linear.reduced_rank(x, y, x_new, 2) == pytest.approx(expected, abs=1e-8)


def test_more_columns_than_rows_and_the_reverse_agree():
    x, y, x_new, _ = planted(100, 40, noise=1.0)
    wide = [np.concatenate([a, np.zeros((len(a), 100))], 1) for a in (x, x_new)]
    penalty_free = linear.reduced_rank(x, y, x_new, 3)
    assert linear.reduced_rank(wide[0], y, wide[1], 3) == pytest.approx(penalty_free, abs=1e-6)


def test_where_there_is_nothing_to_tell_the_mean_is_told():
    x, y, x_new = (normal(100, k, seed=k).numpy() for k in (30, 5, 30))
    score = r2_score(y, linear.reduced_rank(x, y, x_new, 2))
    assert abs(score) < 0.05
    still = linear.reduced_rank(np.ones((20, 3)), y[:20], np.ones((2, 3)), 1)
    assert still == pytest.approx(np.stack([y[:20].mean(0)] * 2), abs=1e-6)


def test_of_too_many_rows_some_are_used(monkeypatch):
    x, y, x_new, y_new = planted(300, 60)
    monkeypatch.setattr(linear, "MOST_ROWS", 50)
    told = linear.reduced_rank(x, y, x_new, 3)
    assert 0.3 < r2_score(y_new, told, multioutput="variance_weighted") < 0.99
    assert (told == linear.reduced_rank(x, y, x_new, 3)).all()
    assert (told != linear.reduced_rank(x, y, x_new, 3, seed=1)).any()


def test_a_film_costs_little():
    x, y = normal(60, 4000).numpy(), normal(60, 16384, seed=1).numpy()
    assert linear.reduced_rank(x, y, x[:2], 3).shape == (2, 16384)
    assert linear.reduced_rank(y, x, y[:2], 3).shape == (2, 4000)
    assert linear.principal_components(y, y[:2], 8).dtype == np.float32


def test_ten_columns_are_not_drowned_by_many():
    n = 200
    code = normal(n, 2)
    data = Views({"a": code, "b": normal(n, 3000, seed=1), "c": code @ normal(2, 4, seed=2)})
    model = Says(perfect, {"shared": 2}, "abc")
    assert held_out(model, data[:150], data[150:])["c"]["from_others"]["linear"] > 0.5


def test_what_the_test_rows_hold_changes_no_fit(monkeypatch):
    data = pair()
    told, regress, decompose = [], baselines.reduced_rank, baselines.principal_components

    def spy(fit):
        def run(*args):
            told.append(([a for a in args if isinstance(a, np.ndarray)], fit(*args)))
            return told[-1][1]

        return run

    monkeypatch.setattr(baselines, "reduced_rank", spy(regress))
    monkeypatch.setattr(baselines, "principal_components", spy(decompose))
    model = Says(lambda views: {"b": Normal(views["b"], 1.0)}, {"shared": 2}, standardise=zscores(data[:60]))
    test = data[60:]
    for changed in (test, test.replace(b=1000 + test["b"] ** 2)):
        held_out(model, data[:60], changed)
    (first_pca, _), (_, first), (second_pca, _), (_, second) = told
    assert (first == second).all()  # told from a alone, so another truth in b changes nothing
    assert (first_pca[0] == second_pca[0]).all() and first_pca[0].shape == (60, 5)


def test_the_other_views_missing_rows_are_the_mean():
    data = pair()
    gone = data.masked(a=torch.arange(80) < 70)
    model = Says(perfect, {"shared": 2}, standardise=zscores(data[:60]))
    known, unknown = (held_out(model, data[:60], part)["b"]["from_others"] for part in (gone[60:70], gone[70:]))
    assert known["linear"] > 0.8 and unknown["linear"] == pytest.approx(unknown["constant"], abs=0.05)


# labels


def labelled(n: int = 300) -> Views:
    x = normal(n, 4)
    return Views({"x": x, "label": (x[:, 0] + 2 * x[:, 1] > 0.5).long()})


def test_labels_are_scored_by_accuracy_beside_logistic_regression():
    data = labelled()
    train, test = data[:200], data[200:]

    def say(views: Views) -> dict:
        score = views["x"] @ torch.tensor([1.0, 2, 0, 0]) - 0.5
        return {"label": Categorical(torch.stack([-score, score], 1))}

    scores = held_out(Says(say, encoders=("x",)), train, test)
    assert list(scores["label"]) == ["from_others"]  # the label is not encoded: nothing to reconstruct
    s = scores["label"]["from_others"]
    assert s["model"] == 1 and s["interval"] == [1, 1]
    assert s["constant"] == pytest.approx(float((test["label"] == 0).float().mean()))
    assert s["zero"] == s["constant"] and s["linear"] > 0.95


def test_labels_that_are_encoded_are_reconstructed_by_components_of_their_columns():
    data = labelled()
    model = Says(lambda views: {"label": Categorical(torch.zeros(len(views), 2))}, {"shared": 1}, ("x", "label"))
    s = held_out(model, data[:200], data[200:])["label"]
    assert s["reconstruction"]["linear"] == 1 and 0.95 < s["from_others"]["linear"] < 1


def test_missing_and_many_labels():
    x = normal(300, 4)
    labels = torch.stack([(x[:, 0] > 0).long() * 3, (x[:, 1] > 0).long() + 1], 1)  # classes 0, 3 and 1, 2
    mask = torch.rand(300, 2, generator=torch.Generator().manual_seed(0)) < 0.7
    data = Views({"x": x, "label": torch.where(mask, labels, -9)}, {"label": mask})
    model = Says(lambda views: {"label": Categorical(torch.zeros(len(views), 2, 5))}, encoders=("x",))
    s = held_out(model, data[:200], data[200:])["label"]["from_others"]
    here, truth = mask[200:], labels[200:]
    assert s["model"] == pytest.approx(float((truth[here] == 0).float().mean()))
    assert s["linear"] > 0.9 > s["constant"] > 0.3


def test_a_single_class_and_a_rare_one():
    x = normal(30, 3).numpy()
    assert (linear.logistic(x, np.full(30, 7), x[:4]) == 7).all()
    assert set(linear.logistic(x, np.r_[np.zeros(29), 5].astype(int), x)) <= {0, 5}


# models of ours


def vae(train: Views) -> MultimodalVAE:
    torch.manual_seed(0)
    encoders = {"a": nn.Sequential(nn.Flatten(), parts.MLPEncoder(12, 16)), "b": parts.MLPEncoder(5, 16)}
    decoders = {"a": parts.Gaussian(parts.MLPDecoder(4, (3, 4))), "b": parts.Gaussian(parts.MLPDecoder(2, 5))}
    shared, own = parts.ProductOfExperts(["a", "b"], 16, 2), parts.ProductOfExperts(["a"], 16, 2)
    return MultimodalVAE(encoders, shared, decoders, {"a": own}, standardise=zscores(train))


def test_a_trained_model_comes_near_the_linear_one():
    data = pair(400)
    train, test = data[:300], data[300:]
    model = vae(train)
    optimizer = torch.optim.Adam(model.parameters(), 3e-2)
    for _ in range(20):
        for seen in (train, train.without("b"), train.without("a")):
            loss = sum(-p.log_prob(train[name]).mean() for name, p in model(seen).p.items())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    scores = held_out(model, train, test)
    for metrics in scores.values():
        for s in metrics.values():
            assert s["interval"][0] > 0.6 and s["linear"] > 0.9 and abs(s["zero"]) < 0.3
    # 2 shared and 2 of its own; the rank of the truth is 2, so a linear model loses only the noise
    assert scores["a"]["reconstruction"]["linear"] > scores["a"]["from_others"]["linear"] > 0.95


def test_whitened_sensors_are_told_in_their_own_units():
    n = 120
    course = torch.sin(torch.arange(20) / 3.0)
    x = 1e3 * (normal(n, 1, 1, seed=1) * normal(6, 1, seed=2) * course + 0.1 * normal(n, 6, 20, seed=3))
    data = Views({"a": x})
    model = Says(perfect, {"shared": 1}, ("a",), Standardise.fit(data[:90], a=Whiten(shrink=(0.1, 0.1))))
    s = held_out(model, data[:90], data[90:])["a"]
    assert list(s) == ["reconstruction"]
    assert 0.5 < s["reconstruction"]["linear"] < 1 and s["reconstruction"]["model"] == 1


def test_held_out_is_deterministic_and_fit_for_json():
    data = pair()
    model = vae(data[:60])
    first, second, other = (held_out(model, data[:60], data[60:], seed=seed) for seed in (3, 3, 4))
    assert first == second == json.loads(json.dumps(first))
    assert first["a"]["from_others"]["interval"] != other["a"]["from_others"]["interval"]


def test_held_out_leaves_model_and_random_numbers_as_they_were():
    data = pair()
    model = vae(data[:60])
    model.train()
    model.encoders["a"].eval()  # frozen by its user
    state = torch.random.get_rng_state()
    training = held_out(model, data[:60], data[60:])
    assert model.training and model.encoders["b"].training and not model.encoders["a"].training
    assert (torch.random.get_rng_state() == state).all()
    assert all(p.grad is None for p in model.parameters())
    assert held_out(model.eval(), data[:60], data[60:]) == training  # nothing was sampled


def test_a_classifier_and_a_condition():
    data = labelled()
    torch.manual_seed(0)
    model = Conditional({"x": parts.MLPEncoder(4, 8)}, {"label": parts.Categorical(parts.MLPDecoder(8, 2))})
    s = held_out(model, data[:200], data[200:])
    assert list(s) == ["label"] and list(s["label"]) == ["from_others"] and 0 <= s["label"]["from_others"]["model"] <= 1
    pairs = pair()
    encoders = {"a": nn.Sequential(nn.Flatten(), parts.MLPEncoder(12, 8)), "b": parts.MLPEncoder(5, 8)}
    decoders = {"a": parts.Gaussian(parts.MLPDecoder(2, (3, 4)))}
    told = MultimodalVAE(encoders, parts.ProductOfExperts(["a"], 8, 2), decoders, condition=("b",))
    assert list(held_out(told, pairs[:60], pairs[60:])["a"]) == ["reconstruction", "from_others"]


def test_a_network_of_anybody_needs_no_parts_of_ours():
    class Theirs(nn.Module):
        def forward(self, views):
            return Outputs({}, {}, {"b": Normal(views["b"], 1.0)})

    data = pair()
    s = held_out(Theirs(), data[:60], data[60:])["b"]
    assert s["reconstruction"]["model"] == 1 and s["reconstruction"]["linear"] == pytest.approx(1, abs=1e-5)
    assert s["from_others"]["linear"] > 0.9


# printing


def test_table_and_text():
    data = pair()
    scores = held_out(vae(data[:60]), data[:60], data[60:])
    frame = baselines.table(scores)
    assert list(frame.columns) == ["view", "metric", "model", "low", "high", "constant", "zero", "linear"]
    assert frame.loc[1, "linear"] == scores["a"]["from_others"]["linear"] and len(frame) == 4
    lines = baselines.text(scores, decimals=3).splitlines()
    assert len(lines) == 6 and lines[2].split()[:2] == ["a", "reconstruction"]
    assert f"{scores['b']['reconstruction']['linear']:.3f}" in lines[4]
    assert "-0.00" not in baselines.text({"a": {"m": dict(model=-1e-9, constant=0, zero=0, linear=0, interval=[0, 0])}})
