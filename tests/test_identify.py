"""What each latent is said to be: the right column, beside what chance finds, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from ivekit import Conditional, MultimodalVAE, Views, explain
from ivekit.distributions import Delta, Mixture, Normal
from ivekit.explain.identify import interval
from ivekit.nn import Categorical, Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts

N = 400
rng = np.random.default_rng(0)
CODES = rng.standard_normal((N, 4)) * [1.0, 2.0, 1.0, 0.05]  # the last one is not in use: its variance is 0.0025


class Known(nn.Module):
    """A model whose beliefs are the numbers of its views."""

    def __init__(self, believe=lambda x: Normal(x, 0.5)):
        super().__init__()
        self.believe = believe

    def encode(self, views):
        return {"shared": self.believe(views["a"][:, :3]), "meg": self.believe(views["a"][:, 3:])}


def views(metadata=None, n=N) -> Views:
    return Views({"a": torch.from_numpy(CODES[:n]).float()}, metadata=metadata)


def factors(**more) -> pd.DataFrame:
    noisy = CODES[:, 1] + rng.standard_normal(N)
    return pd.DataFrame({"size": -CODES[:, 0], "motion": noisy, "noise": np.random.default_rng(5).random(N), **more})


def test_each_latent_is_what_it_goes_with():
    found = explain.identify(Known(), views(), factors())
    assert found[["block", "index"]].agg(tuple, axis=1).tolist() == [
        ("shared", 0),
        ("shared", 1),
        ("shared", 2),
        ("meg", 0),
    ]
    assert found["match"].tolist()[:2] == ["size", "motion"]
    assert found["passed"].tolist() == [True, True, False, False]
    assert found["r"][0] == pytest.approx(-1) and found["low"][0] == found["high"][0] == pytest.approx(-1)
    assert found["r"][1] == pytest.approx(np.corrcoef(CODES[:, 1], factors()["motion"])[0, 1], abs=0.03)
    assert found["low"][1] < found["r"][1] < found["high"][1] < 1
    assert found["said"][0].startswith("shared 0 goes with size (r = −1.00")
    assert "goes with nothing known, most with" in found["said"][2]


def test_nats_and_spreads_are_those_of_the_posterior():
    found = explain.identify(Known(), views(), factors())
    z = CODES.astype(np.float32)
    np.testing.assert_allclose(found["kl"], (0.5 * (0.25 + z**2 - 1) - np.log(0.5)).mean(0), rtol=1e-4)
    np.testing.assert_allclose(found["sd"], 0.5)
    wide = Known(lambda x: Normal(x, 0.1 + x.abs()))
    np.testing.assert_allclose(explain.identify(wide, views())["sd"], np.sqrt(np.square(0.1 + abs(z)).mean(0)), 1e-4)


def test_what_is_not_in_use_matches_nothing():
    """Even if its last digits go with a factor perfectly."""
    found = explain.identify(Known(), views(), factors(copy=CODES[:, 3])).iloc[3]
    assert not found["active"] and found["match"] == "" and np.isnan(found["r"]) and not found["passed"]
    assert "not in use" in found["said"]


def test_the_floor_is_that_of_the_largest_of_many():
    """Noise against many columns: its best match is far, and still below the floor; one column has a lower floor."""
    noise = pd.DataFrame(np.random.default_rng(1).standard_normal((N, 40)))
    found = explain.identify(Known(), views(), noise)
    assert found["r"].abs().max() > 2 / np.sqrt(N) and not found["passed"].any()
    assert explain.identify(Known(), views(), noise[[0]])["floor"][0] < found["floor"][0]


def test_chance_passes_once_in_twenty_tables():
    draws = [pd.DataFrame(np.random.default_rng(100 + i).standard_normal((60, 5))) for i in range(100)]
    passed = [explain.identify(Known(), views(n=60), x, n_shuffles=99)["passed"].any() for x in draws]
    assert sum(passed) <= 13  # 5 expected; more than 13 once in 1,500 such tests


def test_the_interval_holds_the_truth_for_skewed_columns():
    """In 95 of 100 samples, where Fisher's own standard error holds it in 86."""
    skewed = lambda e: np.exp(0.5 * np.stack([e[:, 0], 0.8 * e[:, 0] + 0.6 * e[:, 1]]))  # noqa: E731
    samples = [skewed(np.random.default_rng(i).standard_normal((N, 2))) for i in range(300)]
    true = np.corrcoef(*skewed(np.random.default_rng(9).standard_normal((1_000_000, 2))))[0, 1]
    hits, fishers = 0, 0
    for z, x in samples:
        r = np.corrcoef(z, x)[0, 1]
        low, high = interval(z, x, r)
        hits += low < true < high
        fishers += abs(np.arctanh(r) - np.arctanh(true)) < 1.96 / np.sqrt(N - 3)
    assert 0.91 < hits / 300 < 0.98 and fishers / 300 < 0.9


def test_what_is_missing_is_left_out_of_its_own_column_alone():
    holes = factors()
    holes.loc[::2, "motion"] = np.nan
    found = explain.identify(Known(), views(), holes)
    rows = np.arange(1, N, 2)
    assert found["match"][1] == "motion"
    assert found["r"][1] == pytest.approx(np.corrcoef(CODES[rows, 1], holes["motion"][rows])[0, 1])
    assert found["r"][0] == pytest.approx(-1)
    whole = explain.identify(Known(), views(), factors())
    assert found["high"][1] - found["low"][1] > 1.2 * (whole["high"][1] - whole["low"][1])


def test_columns_that_say_nothing_match_nothing():
    same = pd.DataFrame({"constant": np.ones(N), "few": [1.0, 2.0, 3.0, *[np.nan] * (N - 3)], "none": np.nan})
    found = explain.identify(Known(), views(), same)
    assert (found["match"] == "").all() and not found["passed"].any() and found["floor"].isna().all()
    assert "nothing known to compare it with" in found["said"][0]
    both = explain.identify(Known(), views(), same.assign(size=CODES[:, 0]))
    assert both["match"][0] == "size" and set(both["match"]) <= {"size", ""}


def test_without_factors_it_is_the_metadata_that_counts():
    metadata = pd.DataFrame({"split": ["test"] * N, "pupil": CODES[:, 2], "sure": CODES[:, 0] > 0})
    found = explain.identify(Known(), views(metadata))
    assert found["match"].tolist()[0] == "sure" and found["match"].tolist()[2] == "pupil"
    assert (explain.identify(Known(), views())["match"] == "").all()
    assert (explain.identify(Known(), views(pd.DataFrame({"split": ["test"] * N})))["match"] == "").all()


def test_other_beliefs_and_models_without_any():
    point = explain.identify(Known(Delta), views(), factors())
    assert point["kl"].isna().all() and (point["sd"] == 0).all() and point["match"][0] == "size"
    both = Known(lambda x: Mixture(torch.stack([x, x]), torch.ones(2, *x.shape), torch.full((2, len(x)), 0.5)))
    assert explain.identify(both, views(), factors())["match"][0] == "size"
    reader = Conditional(dict(a=MLPEncoder(4, 8)), dict(label=Categorical(MLPDecoder(8, 3))))
    nothing = explain.identify(reader, views(), factors())
    assert len(nothing) == 0 and "match" in nothing


def test_a_model_of_ours_is_left_as_it_was():
    model = MultimodalVAE(
        dict(a=MLPEncoder(4, 8)), ProductOfExperts("a", 8, 2), dict(a=Gaussian(MLPDecoder(2, 4)))
    ).train()
    found = explain.identify(model, views(), factors())
    assert model.training and all(weight.requires_grad for weight in model.parameters())
    assert found.equals(explain.identify(model, views(), factors()))


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="factors have 3 rows, the views 400"):
        explain.identify(Known(), views(), factors()[:3])
    with pytest.raises(ValueError, match="factors have 400 rows, the views 399"):
        explain.identify(Known(), views(n=399), factors())
    with pytest.raises(ValueError, match="factors condition are no numbers"):
        explain.identify(Known(), views(), factors(condition="face"))
    with pytest.raises(ValueError, match="5 shuffles cannot say"):
        explain.identify(Known(), views(), factors(), n_shuffles=5)
    with pytest.raises(ValueError, match="18 shuffles cannot say"):
        explain.identify(Known(), views(), factors(), n_shuffles=18)
