"""Every modality conditions every other: each pair beats its trivial predictor, and only by its condition."""

from __future__ import annotations

import os

import pytest
import torch

import ivekit as ive
from ivekit import synth
from ivekit.baselines import held_out
from ivekit.baselines.conditions import conditioned
from ivekit.baselines.forecast import autoregression, persistence
from ivekit.nn import AdaIN, CrossAttention, FiLM, ResNet3d
from ivekit.recipe import Recipe, parts
from ivekit.recipes import modal_merge
from ivekit.signal.text import from_bytes
from ivekit.training import train

NAMES = ("image", "series", "text", "table")
SMALL = {"n_rows": 500, "epochs": 14, "dim": 24, "depth": 1, "lr": 6e-3, "batch_size": 32}
TINY = {"n_rows": 60, "epochs": 1, "dim": 8, "depth": 1, "heads": 2, "width": 4}
# by how much a told view's score must be above the constant's at this size: R2, or of a text the bytes that are right
MARGIN = {"image": 0.12, "series": 0.2, "text": 0.15, "table": 0.5, "points": 0.1, "graph": 0.2}


def trained(settings: dict) -> tuple[torch.nn.Module, dict[str, ive.Views]]:
    torch.set_num_threads(1)
    recipe = Recipe("modal_merge", settings)
    rows = parts(recipe.data())
    model = recipe.model(rows["train"])
    for _ in train(model, recipe.objective(rows["train"]), rows["train"], **recipe.training(rows["train"])):
        pass
    return model, rows


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("source", NAMES)
def test_a_pair_beats_its_trivial_predictor_and_only_by_its_condition(source, target):
    model, rows = trained(SMALL | {"source": source, "target": target})
    (scores,) = conditioned(model, rows["train"], rows["test"]).values()
    assert scores["model"] > scores["constant"] + MARGIN[target], scores
    assert scores["shuffled"] < scores["constant"] + 0.02, scores


IN_SPACE = [
    ("points", "series"), ("image", "points"), ("points", "points"), ("points", "graph"),
    ("graph", "series"), ("text", "graph"), ("graph", "graph"), ("graph", "points"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "target"), IN_SPACE)
def test_points_and_graphs_are_conditions_and_targets_like_the_others(source, target):
    model, rows = trained(SMALL | {"source": source, "target": target})
    (scores,) = conditioned(model, rows["train"], rows["test"]).values()
    assert scores["model"] > scores["constant"] + MARGIN[target], scores
    assert scores["shuffled"] < scores["constant"] + 0.02, scores


def test_points_that_move_are_read_and_told_nowhere_says_so(tmp_path):
    views = synth.in_space(synth.pairs(500)).views
    places = torch.tensor(views.about["points"]["places"]).expand(500, -1, -1)
    cloud, there = torch.cat([places, views["points"]], -1), views.present["points"][..., 0]
    order = torch.rand(500, 64, generator=torch.Generator().manual_seed(0)).argsort(1)[..., None]  # in no order
    cloud, there = cloud.gather(1, order.expand(-1, -1, 4)), there.gather(1, order[..., 0])
    mask = there[..., None].expand(-1, -1, 4)
    about = {"cloud": {"columns": ["x", "y", "z", "brightness"]}}
    ive.Views({"cloud": cloud, "table": views["table"]}, {"cloud": mask}, None, about).save(tmp_path / "rows")
    saved = SMALL | {"data": str(tmp_path / "rows"), "source": "cloud", "target": "table"}
    model, rows = trained(saved)
    scores = conditioned(model, rows["train"], rows["test"])["table"]
    assert scores["model"] > 0.3 and scores["shuffled"] < 0.02, scores
    with pytest.raises(ValueError, match="points are told at known places"):
        trained(saved | {"source": "table", "target": "cloud"})


@pytest.mark.parametrize("conditioner", ["film", "adain", "diffusion"])
def test_nodes_are_told_by_every_conditioner(conditioner):
    model, rows = trained(SMALL | {"source": "table", "target": "graph", "conditioner": conditioner})
    (scores,) = conditioned(model, rows["train"], rows["test"]).values()
    assert scores["model"] > 0.15 and scores["shuffled"] < 0.02, scores


@pytest.mark.parametrize("conditioner", ["film", "adain", "diffusion"])  # cross-attention is the default, above
def test_the_other_conditioners_by_one_word(conditioner):
    more = {"epochs": 25} if conditioner == "diffusion" else {}
    model, rows = trained(SMALL | {"conditioner": conditioner} | more)
    (scores,) = conditioned(model, rows["train"], rows["test"]).values()
    assert scores["model"] > 0.2 and scores["shuffled"] < 0.02, scores


def test_a_model_that_does_not_use_its_condition_is_found_out():
    rows = parts(Recipe("modal_merge", SMALL).data())
    recipe = Recipe("modal_merge", SMALL)
    model = recipe.model(rows["train"])
    for block in model.decoders["series"].net.queries.conditioners:
        torch.nn.init.zeros_(block.attend.to_out.weight)
        block.attend.to_out.weight.requires_grad_(False)
    for _ in train(model, recipe.objective(rows["train"]), rows["train"], **recipe.training(rows["train"])):
        pass
    scores = conditioned(model, rows["train"], rows["test"])["series"]
    assert abs(scores["model"] - scores["shuffled"]) < 1e-6 and abs(scores["model"]) < 0.1, scores


def test_two_sources_tell_more_than_one_and_either_may_be_missing():
    model, rows = trained(SMALL | {"source": "image+text", "target": "table", "epochs": 8})
    test = rows["test"]
    both = model(test).p["table"].mean
    for gone in ("image", "text"):
        some = test.without(gone)
        spoilt = some.replace(**{gone: torch.full_like(test[gone], 7)})
        assert torch.equal(model(some).p["table"].mean, model(spoilt).p["table"].mean)
        assert not torch.allclose(model(some).p["table"].mean, both)
    assert conditioned(model, rows["train"], test)["table"]["model"] > 0.5


def test_a_series_forecasts_its_own_future_better_than_persistence_and_autoregression():
    model, rows = trained({"source": "series", "target": "series", "n_rows": 1400, "epochs": 25, "lr": 4e-3})
    past, future = (rows["train"][name].numpy() for name in ("series", "series_later"))
    new, truth = (rows["test"][name].numpy() for name in ("series", "series_later"))
    with torch.no_grad():
        told = model(rows["test"]).p["series_later"].mean.numpy()
    error = {
        "model": ive.metrics.mse(told, truth),
        "autoregression": ive.metrics.mse(autoregression(past, future, new), truth),
        "persistence": ive.metrics.mse(persistence(new, truth.shape[-1]), truth),
    }
    assert error["model"] < 0.9 * error["autoregression"] < 0.9 * error["persistence"], error


def test_volumes_are_read_and_written():
    for settings in ({"source": "image", "target": "table"}, {"source": "table", "target": "image"}):
        model, rows = trained(SMALL | settings | {"volume": True, "n_rows": 400, "epochs": 16})
        (scores,) = conditioned(model, rows["train"], rows["test"]).values()
        assert scores["model"] > 0.1 and scores["shuffled"] < 0.02, (settings, scores)
        assert rows["train"]["image"].shape[1:] == (1, 8, 16, 16)


def test_sentences_are_written():
    model, rows = trained(SMALL | {"source": "table", "target": "text", "epochs": 25})
    p = model(rows["test"][:20]).p["text"]
    said, truth = from_bytes(p.mode), from_bytes(rows["test"]["text"][:20])
    assert sum(a == b for a, b in zip(said, truth)) > 10, list(zip(said, truth))
    torch.manual_seed(0)
    assert sum("disc" in text and text.endswith("wave") for text in from_bytes(p.sample())) > 10


# settings --------------------------------------------------------------------------------------------------------

CHANGED = {
    "source": "table", "target": "table", "n_rows": 70, "volume": True, "noise": 0.3, "seed": 1, "conditioner": "film",
    "encoder": "resnet", "decoder": "lstm", "dim": 12, "depth": 2, "heads": 4, "blocks": (1, 2), "width": 6,
    "bottleneck": True, "epochs": 2, "batch_size": 16, "lr": 1e-2, "clip": 0.01, "precision": "bfloat16",
}  # fmt: skip
# other rows, where and in how many parts it is computed, when it stops
NOT_OF_THE_RUN = {"data", "split_by", "held_out", "device", "accumulate", "patience"}


def told(settings: dict) -> float:
    """A number that hangs on everything in a run: what the trained model says of new rows."""
    model, rows = trained(settings)
    with torch.no_grad():
        (p,) = model(rows["test"]).p.values()
    return float(p.mean.double().square().sum())


@pytest.fixture(scope="module")
def as_it_is():
    return {source: told(TINY | {"source": source}) for source in ("image", "series")}


def test_every_setting_has_a_test():
    assert set(Recipe("modal_merge").known) == set(CHANGED) | NOT_OF_THE_RUN


@pytest.mark.parametrize("name", CHANGED)
def test_every_setting_changes_the_run(name, as_it_is):
    source = "series" if name == "encoder" else "image"  # a picture has one encoder
    assert told({**TINY, "source": source, name: CHANGED[name]}) != as_it_is[source]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"source": "smell"}, "no view 'smell'"),
        ({"conditioner": "glue"}, "one of cross_attention, film, adain, diffusion; got 'glue'"),
        ({"encoder": "gru"}, "encoder of image is one of default, resnet; got 'gru'"),
        ({"source": "points", "encoder": "gru"}, "encoder of points is one of default, tokens, looks; got 'gru'"),
        ({"decoder": "convolution"}, "decoder of series is one of default, transformer, lstm, mlp; got 'convolution'"),
        ({"target": "text", "conditioner": "diffusion"}, "bytes are no numbers to add noise to"),
        ({"data": "nothing"}, "pairs, fmri, or a folder of saved rows; got 'nothing'"),
    ],
)
def test_what_nobody_knows_is_refused_by_name(settings, words):
    with pytest.raises((ValueError, KeyError), match=words):
        trained(TINY | settings)


@pytest.mark.parametrize("name", ["transformer", "gru", "lstm", "resnet"])
def test_series_have_four_encoders(name):
    assert told(TINY | {"source": "series", "target": "table", "encoder": name}) > 0


@pytest.mark.parametrize("target", ["image", "series"])
def test_a_large_model_is_a_line(target):
    large = {"blocks": (3, 4, 6, 3), "width": 64, "bottleneck": True, "heads": 16, "dim": 128, "depth": 2}
    recipe = Recipe("modal_merge", {"n_rows": 40, "target": target} | large)
    model = recipe.model(parts(recipe.data())["train"])
    encoder = model.encoders["image"].blocks
    assert 20e6 < sum(p.numel() for p in encoder.parameters()) < 25e6
    assert all(a.heads == 16 for a in model.modules() if hasattr(a, "heads"))


# parts -----------------------------------------------------------------------------------------------------------


def test_the_recipe_reads_rows_that_others_saved(tmp_path):
    rows = synth.pairs(60)
    rows.views.save(tmp_path / "rows")
    model, _ = trained(TINY | {"data": str(tmp_path / "rows"), "source": "text", "target": "image"})
    assert list(model.encoders) == ["text"] and list(model.decoders) == ["image"]


def test_modalities_by_what_their_rows_are():
    views = synth.pairs(3).views
    assert [modal_merge.modality(views[name]) for name in NAMES] == list(NAMES)
    assert modal_merge.modality(synth.pairs(3, volume=True).views["image"]) == "image"
    with pytest.raises(ValueError, match=r"a row of shape \(\) is no image"):
        modal_merge.modality(torch.zeros(4))


def test_conditioners_and_encoders_are_the_objects_they_name():
    recipe = Recipe("modal_merge", TINY | {"volume": True, "depth": 2})
    kinds = {"cross_attention": CrossAttention, "film": FiLM, "adain": AdaIN}
    for word, kind in kinds.items():
        recipe = Recipe("modal_merge", TINY | {"volume": True, "depth": 2, "conditioner": word})
        model = recipe.model(parts(recipe.data())["train"])
        acts = list(model.decoders["series"].net.queries.conditioners)
        assert len(acts) == 2 and all(type(act) is kind for act in acts)
        assert isinstance(model.encoders["image"], ResNet3d)


def test_conditions_of_other_rows_are_of_other_rows():
    from ivekit.baselines.conditions import _other_rows

    for n in (2, 3, 50):
        others = _other_rows(n, seed=0)
        assert sorted(others.tolist()) == list(range(n)) and (others != torch.arange(n)).all()
    with pytest.raises(ValueError, match="at least 2 test rows"):
        rows = synth.pairs(10).views
        conditioned(torch.nn.Identity(), rows, rows[:1])


def test_the_planted_relation_is_in_the_world():
    """Where there is a disc, its quarter of the time holds a bump of its side; elsewhere there is none."""
    world = synth.pairs(400, noise=0.0)
    t, quarter = world.views["series"], 8
    for height in range(4):
        disc = torch.tensor(world.factors[f"disc_{height + 1}"].to_numpy() > 0)
        (slot,) = world.relation(4, (4, 1))[:, height].nonzero()[0]
        loudest = t[:, :2, slot * quarter : (slot + 1) * quarter].amax((1, 2))
        assert loudest[disc].min() > 0.3 and loudest[~disc].max() < 0.2
    sides = t[:, :2].amax(2).argmax(1)
    assert sides.tolist() == world.factors["side"].tolist()
    assert world.relation(8, (4, 4)).sum(1).tolist() == [4] * 8
    with pytest.raises(ValueError, match="do not divide"):
        world.relation(5, (4, 4))


@pytest.mark.skipif("IVEKIT_DATA" not in os.environ, reason="IVEKIT_DATA is not set: it names the real recordings")
def test_real_bold_tells_what_was_seen():
    """The run that is held out: which of eight objects was on the screen, from half a slice."""
    said = dict(data="fmri", source="bold", target="stimulus", encoder="mlp", decoder="mlp", epochs=20, lr=1e-3)
    recipe = Recipe("modal_merge", said)
    rows = parts(recipe.data())
    model = recipe.model(rows["train"])
    for _ in train(model, recipe.objective(rows["train"]), rows["train"], **recipe.training(rows["train"])):
        pass
    score = held_out(model, rows["train"], rows["test"])["stimulus"]["from_others"]
    assert score["model"] > 0.25 and score["zero"] < 0.05, score
    assert rows["test"].metadata["run"].nunique() == 1
