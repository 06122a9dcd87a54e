"""Attention by name: every head of every block, with the right axes, leaving the model as it was."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ivekit import Views, explain, metrics, synth, viz
from ivekit.distributions import Normal
from ivekit.models import Conditional, MultimodalVAE
from ivekit.nn import (
    Autoregressive,
    ColumnEncoder,
    CrossAttention,
    Gaussian,
    LanguageModel,
    MLPDecoder,
    ProductOfExperts,
    ResNet2d,
    SensorAttention,
    SeriesTransformer,
    TextEncoder,
    TokenDecoder,
)
from ivekit.recipe import Recipe, parts
from ivekit.signal.text import to_bytes
from ivekit.training import train

D = 16


def views(b: int = 5) -> Views:
    torch.manual_seed(0)
    text, there = to_bytes(["two words", "a", "more words", "b", "c"][:b])
    tensors = {"image": torch.randn(b, 1, 16, 16), "series": torch.randn(b, 3, 32), "text": text}
    return Views(tensors, {"text": there})


def model(depth: int = 2) -> Conditional:
    torch.manual_seed(0)
    encoders = {"image": ResNet2d((1, 16, 16), D), "text": TextEncoder(D, depth=1)}
    net = TokenDecoder(0, (3, 32), [CrossAttention(D, 2) for _ in range(depth)], D, heads=4)
    return Conditional(encoders, {"series": Gaussian(net)})


def test_every_attention_is_there_by_name_and_axes():
    found = explain.attention(model(), views())
    cross, within = "decoders.series.net.queries.conditioners.0.attend", "decoders.series.net.queries.blocks.1.attend"
    assert list(found) == [
        "encoders.text.blocks.0.attend", cross, cross.replace("0", "1"), within.replace("1", "0"), within,
    ]  # fmt: skip
    assert found["encoders.text.blocks.0.attend"].rows == {"text": {"byte": 11}}
    assert found[cross].rows == {"series": {"time": 8}}
    assert found[cross].columns == {"image": {"height": 4, "width": 4}, "text": {"byte": 11}}
    assert found[cross].weights.shape == (5, 2, 8, 27) and found[within].weights.shape == (5, 4, 8, 8)
    assert found[within].rows == found[within].columns == {"series": {"time": 8}}
    assert found[cross].row_names()[3] == "time 3"
    assert found[cross].column_names()[5] == "image: height 1, width 1"
    assert found[cross].column_names()[16] == "text: byte 0"
    assert "2 heads, series (time 8) -> image (height 4, width 4) + text (byte 11)" in repr(found[cross])


def test_weights_are_shares_of_what_is_there():
    rows = views()
    found = explain.attention(model(), rows.without("image"))["decoders.series.net.queries.conditioners.0.attend"]
    torch.testing.assert_close(found.weights.sum(-1), torch.ones(5, 2, 8))
    assert found.on("image").shape == (5, 2, 8, 4, 4) and (found.on("image") == 0).all()
    assert (found.on("text")[~rows.present["text"][:, None, None].expand(5, 2, 8, 11)] == 0).all()
    nothing = explain.attention(model(), rows.without("image", "text"))
    assert (nothing["decoders.series.net.queries.conditioners.0.attend"].weights == 0).all()
    with pytest.raises(ValueError, match=r"no keys of view 'series'; there are \['image', 'text'\]"):
        found.on("series")


def test_the_places_of_a_view_are_its_own():
    attended = explain.Attended(
        torch.arange(10.0)[None, None, None], {"x": {"time": 1}}, {"a": {"byte": 4}, "b": {"height": 2, "width": 3}}
    )
    assert attended.on("b")[0, 0, 0].tolist() == [[4, 5, 6], [7, 8, 9]]
    assert attended.column_names()[4 + 5] == "b: height 1, width 2"


def test_the_model_is_as_it_was():
    net, rows = model(), views()
    net.train()
    state = {name: x.clone() for name, x in net.state_dict().items()}
    net.decoders["series"].net.queries.blocks[0].attend.keep = True
    explain.attention(net, rows)
    assert net.training and all(module.training for module in net.modules())
    attentions = [module for module in net.modules() if hasattr(module, "keep")]
    assert [module.keep for module in attentions].count(True) == 1
    assert all(module.weights is None for module in attentions)
    assert not any(module._forward_hooks for module in net.modules())
    assert all(torch.equal(x, state[name]) for name, x in net.state_dict().items())


def test_texts_are_read_by_what_is_in_the_rows():
    """A language model runs only when it is asked for a density: it is asked."""
    rows = views()
    net = Conditional(
        {"series": SeriesTransformer(3, D, depth=1)},
        {"text": Autoregressive(LanguageModel(0, 11, [CrossAttention(D)], D))},
    )
    found = explain.attention(net, rows)
    cross = found["decoders.text.net.conditioners.0.attend"]
    assert cross.rows == {"text": {"byte": 11}} and cross.columns == {"series": {"time": 8}}
    causal = found["decoders.text.net.blocks.0.attend"].weights
    assert (causal.triu(1) == 0).all() and (causal.tril() > 0).sum() == 5 * 4 * 66
    assert "decoders.text.net.conditioners.0.attend" not in explain.attention(net, Views({"series": rows["series"]}))


def test_other_models_and_encoders():
    """Learned queries over sensors; a variational model whose condition is what is looked at."""
    encoders = {"meg": SensorAttention(6, 20, D, n_queries=3), "table": ColumnEncoder(4, D)}
    decoders = {"meg": Gaussian(TokenDecoder(2, (6, 20), [CrossAttention(D)], D))}
    net = MultimodalVAE(encoders, ProductOfExperts(["meg"], D, 2), decoders, condition=["table"])
    found = explain.attention(net, Views({"meg": torch.randn(2, 6, 20), "table": torch.randn(2, 4)}))
    assert found["encoders.meg.attend"].rows == {"meg": {"query": 3}}
    assert found["encoders.meg.attend"].columns == {"meg": {"token": 6}}
    assert found["decoders.meg.net.queries.conditioners.0.attend"].columns == {"table": {"column": 4}}
    plain = Conditional({"table": ColumnEncoder(4, D)}, {"y": Gaussian(MLPDecoder(D, 2))})
    assert explain.attention(plain, Views({"table": torch.randn(2, 4)})) == {}
    assert isinstance(plain(Views({"table": torch.randn(2, 4)})).p["y"], Normal)


# what attention is like ------------------------------------------------------------------------------------------


def test_entropy_and_sparsity_between_their_ends():
    even, one = torch.full((16,), 1 / 16), torch.eye(16)[3]
    half = torch.cat([torch.full((4,), 0.25), torch.zeros(12)])
    assert torch.allclose(explain.entropy(torch.stack([even, half, one])), torch.tensor([1.0, 0.5, 0.0]), atol=1e-6)
    expected = torch.tensor([0.0, (4 - 2) / 3, 1.0])
    assert torch.allclose(explain.sparsity(torch.stack([even, half, one])), expected, atol=1e-6)
    assert explain.entropy(torch.rand(2, 3, 5, 7).softmax(-1)).shape == (2, 3, 5)
    for of in (explain.entropy, explain.sparsity):
        with pytest.raises(ValueError, match="over one key attention has no choice"):
            of(torch.ones(4, 1))


def test_rollout_is_the_share_of_each_input():
    """Of a linear network of averages with ways around them, the rollout is the network itself."""
    torch.manual_seed(0)
    layers = [torch.rand(2, 3, 6, 6).softmax(-1) for _ in range(3)]
    x = torch.randn(2, 6, 4)
    h = x
    for weights in layers:
        h = 0.5 * h + 0.5 * (weights.mean(1) @ h)
    shares = explain.rollout(layers)
    torch.testing.assert_close(shares @ x, h)
    torch.testing.assert_close(shares.sum(-1), torch.ones(2, 6))
    with pytest.raises(ValueError, match="at least one layer"):
        explain.rollout([])


# against the truth -----------------------------------------------------------------------------------------------


def test_attention_finds_the_planted_relation_and_untrained_attention_does_not():
    torch.set_num_threads(1)
    settings = {"n_rows": 700, "epochs": 20, "depth": 1, "lr": 6e-3, "batch_size": 32}
    recipe = Recipe("modal_merge", settings)
    rows, truth = parts(recipe.data()), synth.pairs(2).relation(8, (4, 4))
    name, scores = "decoders.series.net.queries.conditioners.0.attend", []
    for epochs in (0, 20):
        net = recipe.model(rows["train"])
        if epochs:
            for _ in train(net, recipe.objective(rows["train"]), rows["train"], **recipe.training(rows["train"])):
                pass
        w = explain.attention(net, rows["test"])[name].weights.mean(1).numpy()
        scores.append((metrics.hit_rate(w, truth), metrics.localisation_auc(w, truth)))
    assert scores[1][0] > 0.7 and scores[1][1] > 0.7, scores
    assert abs(scores[0][1] - 0.5) < 0.15, scores


def test_attention_in_figures():
    w, truth = np.random.default_rng(0).dirichlet(np.ones(16), 8), synth.pairs(2).relation(8, (4, 4))
    ax = viz.attention_matrix(w, [f"time {i}" for i in range(8)], [f"cell {i}" for i in range(16)], truth=truth)
    assert len(ax.patches) == truth.sum() and np.array_equal(ax.images[0].get_array(), w)
    assert (ax.patches[0].get_x(), ax.patches[0].get_y()) == tuple(np.argwhere(truth)[0][::-1] - 0.5)
    ax = viz.attention_overlay(np.zeros((1, 16, 16)), w[0].reshape(4, 4), truth=truth[0].reshape(4, 4))
    alpha = ax.images[1].get_alpha()
    assert math.isclose(alpha.max(), 0.75) and alpha.argmax() == w[0].argmax()
    assert ax.patches[0].get_width() == 4 and ax.patches[0].get_y() + 0.5 == 4 * np.argwhere(truth[0])[0] // 4
    figure = viz.attention_browser(np.stack([w, w[::-1]]), list(map(str, range(8))), list(map(str, range(16))))
    assert [trace.visible for trace in figure.data] == [True, False, False]
    np.testing.assert_allclose(np.asarray(figure.data[2].z), w[::-1], atol=1e-4)
    shown = [button.args[0]["visible"] for button in figure.layout.updatemenus[0].buttons]
    assert shown == [[True, False, False], [False, True, False], [False, False, True]]
    with pytest.raises(ValueError, match="8 rows and 3 columns are named"):
        viz.attention_matrix(w, list("abcdefgh"), list("abc"))
