"""Networks that decode: filters that can be read, attention that adds up, grids that lose no sensor, what they cost."""

from __future__ import annotations

import math

import mne
import numpy as np
import pytest
import torch
from einops import rearrange
from einops.layers.torch import Rearrange
from torch import nn
from torch.nn import functional as F

import ivekit.nn as parts
from ivekit import Sensors, Views, ZScore
from ivekit.distributions import Votes
from ivekit.explain.engine import split
from ivekit.models import Conditional, Outputs
from ivekit.nn import Tokens
from ivekit.objectives import NLL, ByClass, Objective, balanced
from ivekit.synth.states import ARRAYS, array_info, lead_field, states
from ivekit.training import cost, train


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# sensors on a grid ---------------------------------------------------------------------------------------------


def real_sensors(name: str, data_dir=None) -> Sensors:
    if name in ARRAYS:
        return Sensors.from_info(array_info(name))
    layout = mne.channels.read_layout(name)
    return Sensors(layout.names, layout.pos[:, :2], ["mag"] * len(layout.names), 125.0)


@pytest.mark.parametrize(
    ("name", "n"),
    [("neuromag306", 306), ("neuromag102", 102), ("magnes248", 248), ("ctf275", 274), ("ctf151", 151),
     ("Vectorview-all", 306), ("magnesWH3600", 248), ("CTF-275", 275), ("KIT-157", 157), ("Neuromag_122", 122)],
)  # fmt: skip
def test_every_sensor_has_a_cell_of_its_own_and_comes_back_exactly(name, n):
    sensors = real_sensors(name)
    assert len(sensors.names) == n
    side = math.ceil(n**0.5)
    cells = sensors.cells((side, side))
    assert len(set(cells.tolist())) == n and int(cells.max()) < side**2
    x = noise(2, n, 7)
    assert torch.equal(sensors.from_grid(sensors.to_grid(x, (side, side))), x)
    across = np.stack([1 - cells.numpy() // side / (side - 1), cells.numpy() % side / (side - 1)])
    for place, axis in zip(across, (1, 0)):  # front is up, right is right
        assert np.corrcoef(place, sensors.pos[:, axis])[0, 1] > 0.9


@pytest.mark.parametrize("name", ["neuromag306", "magnes248", "ctf151"])
def test_a_wave_at_one_sensor_is_in_its_own_cell_at_every_frame_and_nowhere_else(name):
    sensors, t = real_sensors(name), 11
    n, side = len(sensors.names), math.ceil(len(sensors.names) ** 0.5)
    cells = sensors.cells((side, side))

    class Seen(nn.Module):
        def forward(self, x):
            self.film = x
            return x.flatten(2)

    net = parts.SensorGrid(cells, (side, side), Seen())
    for sensor in (0, n // 2, n - 1):
        x = torch.zeros(1, n, t)
        x[0, sensor] = 1 + torch.arange(t)
        film = sensors.to_grid(x, (side, side))[0]
        net(x)
        assert torch.equal(net.encoder.film[0, 0], film)
        h, w = divmod(int(cells[sensor]), side)
        for frame in range(t):
            assert film[frame, h, w] == 1 + frame and film[frame].count_nonzero() == 1


def test_real_files_lie_on_grids_too(data_dir):
    raw = mne.io.read_raw_fif(data_dir / "meg_bti248" / "bti248_raw.fif", verbose="error").pick("mag")
    evoked = mne.read_evokeds(data_dir / "meg_neuromag306" / "auditory_visual-ave.fif.gz", verbose="error")[0]
    evoked.pick("meg")
    for info, n in ((raw.info, 248), (evoked.info, 306)):
        sensors = Sensors.from_info(info)
        x = noise(1, n, 3)
        assert len(sensors.names) == n
        assert torch.equal(sensors.from_grid(sensors.to_grid(x, (18, 18))), x)
    stored, there = array_info("magnes248"), raw.info
    for name in ("MEG 001", "MEG 200"):
        a, b = (i["chs"][i.ch_names.index(name)]["loc"] for i in (stored, there))
        np.testing.assert_allclose(a[:3], b[:3], atol=1e-4)
        np.testing.assert_allclose(a[9:], b[9:], atol=1e-4)


# filters -------------------------------------------------------------------------------------------------------


def test_the_pattern_of_the_best_filter_is_the_source_and_the_filter_is_not():
    rng = np.random.default_rng(0)
    field, other = rng.standard_normal((2, 8))
    other = field + 0.5 * other  # what disturbs looks like the source, in part
    noise_cov = 4 * np.outer(other, other) + 0.1 * np.eye(8)
    covariance = torch.from_numpy(np.outer(field, field) + noise_cov).float()
    best = torch.from_numpy(np.linalg.solve(noise_cov, field)).float()[None]
    found = parts.patterns(best, covariance)[0].numpy()
    assert np.corrcoef(found, field)[0, 1] > 0.9999
    assert np.corrcoef(best[0].numpy(), field)[0, 1] < 0.9


def test_responses_are_those_of_the_filters():
    t = torch.arange(63) / 125
    kernels = torch.stack([torch.cos(2 * torch.pi * 20 * t), torch.ones(63) / 63])
    gain = parts.responses(kernels, 126)
    hertz = np.linspace(0, 62.5, 126)
    assert abs(hertz[gain[0].argmax()] - 20) < 1 and gain[1].argmax() == 0
    torch.testing.assert_close(gain[1, 0], torch.tensor(1.0))


def test_a_source_hears_its_own_past_in_lf_and_that_of_others_in_var():
    for kind, others in ((parts.LFCNN, False), (parts.VARCNN, True)):
        torch.manual_seed(0)
        net = kind(5, 4, width=5)
        assert net.temporal.weight.shape == (4, 4 if others else 1, 5)
        x = noise(1, 5, 30).requires_grad_()
        heard = net.spatial(x)
        heard.retain_grad()
        net.temporal(F.pad(heard, (2, 2)))[0, 0].sum().backward()
        assert (heard.grad[0, 1:].abs().sum() > 0) == others
        torch.testing.assert_close(net.sources(x), net.temporal(F.pad(net.spatial(x), (2, 2))))


def test_lf_cnn_is_the_formula():
    torch.manual_seed(0)
    net = parts.LFCNN(5, 4, width=7, pool=3).eval()
    x = noise(2, 5, 31)
    s = torch.einsum("dc,bct->bdt", net.spatial.weight[..., 0], x) + net.spatial.bias[:, None]
    s = F.pad(s, (3, 3)).unfold(-1, 7, 1) * net.temporal.weight[None, :, :, :]
    s = (s.sum(-1) + net.temporal.bias[:, None]).clamp(min=0)
    expected = torch.stack([s[..., i : i + 3].amax(-1) for i in range(0, 31, 3)], 1)
    torch.testing.assert_close(net(x), expected)


@pytest.mark.parametrize(("net", "after"), [(parts.EEGNet, "norms.0"), (parts.ShallowNet, "norm")])
def test_filters_in_time_and_space_are_one_convolution_of_the_same_values(net, after):
    torch.manual_seed(0)
    net, x, seen = net(7, 16), noise(3, 7, 50), []
    net.get_submodule(after).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    net(x)
    left = (net.width - 1) // 2
    by_sensor = net.temporal(F.pad(rearrange(x, "b c t -> (b c) 1 t"), (left, net.width - 1 - left)))
    expected = net.spatial(rearrange(by_sensor, "(b c) f t -> b f c t", b=3))[:, :, 0]
    torch.testing.assert_close(seen[0], expected, rtol=1e-4, atol=1e-5)


def test_low_pass_keeps_what_is_slow_and_nothing_else():
    t = torch.arange(200) / 100
    slow, fast = torch.cos(2 * torch.pi * 1.5 * (t + 0.005)), torch.cos(2 * torch.pi * 15 * (t + 0.005))
    net = parts.LowPass(200, 21)
    torch.testing.assert_close(net((slow + fast)[None]) * (21 / 200) ** 0.5, slow[None], atol=1e-4, rtol=0)
    white = parts.LowPass(125, 11, 22)(noise(400, 4, 125))
    assert 0.95 < float(white.std()) < 1.05
    with pytest.raises(ValueError, match=r"n_basis is 0: from 1 to the samples there are \(9\)"):
        parts.LowPass(9, 0)


def test_jitter_is_of_training_only_and_as_large_as_it_says():
    x = 3 * torch.ones(200, 10, 50)
    net = parts.Jitter(noise=0.5, drop=0.25)
    assert torch.equal(net.eval()(x), x)
    torch.manual_seed(0)
    seen = net.train()(x)
    silent = seen.mean(-1).abs() < 1
    assert 0.2 < silent.float().mean() < 0.3
    assert 0.48 < seen[silent].std() < 0.52
    wave = torch.arange(50.0).expand(200, 10, 50)
    by = parts.Jitter(shift=3)(wave)[:, :, 0]
    assert set(by.flatten().tolist()) == {0.0, 1.0, 2.0, 3.0, 47.0, 48.0, 49.0}
    assert (by == by[:, :1]).all()  # the channels of a row move together


@pytest.mark.parametrize("p", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("shape", [(7, 5), (6, 4, 30), (5, 3, 8, 8)])
def test_dropout_is_that_of_torch_draw_for_draw(p, shape):
    x = noise(*shape).requires_grad_()
    found = []
    for net in (nn.Dropout(p), parts.Dropout(p)):
        torch.manual_seed(3)
        dropped = net(x)
        (slope,) = torch.autograd.grad(dropped.square().sum(), x)
        found.append((dropped, slope, torch.rand(3)))
    assert all(torch.equal(one, other) for one, other in zip(*found)), "and what is drawn after it is the same, too"


def test_dropout_is_known_to_be_affine_in_evaluation():
    """The encoder `linear` of meg_decoding goes through the explainers' engine as one affine part."""
    net = nn.Sequential(nn.Flatten(), parts.Dropout(0.5), nn.Linear(6, 3), nn.GELU(), nn.Unflatten(1, (1, 3)))
    model = Conditional({"meg": net}, {"y": parts.Gaussian(parts.MLPDecoder(3, 1, ()))}).eval()
    half, x = split(model, "meg"), noise(4, 2, 3)
    assert half is not None and half.affine(x).shape == (4, 3) and torch.equal(half.affine(x), net[:3](x))


@pytest.mark.parametrize("shift", [0, 3])
@pytest.mark.parametrize("drop", [0.0, 0.3])
def test_jitter_draws_what_the_functions_of_torch_draw(shift, drop):
    x = noise(9, 4, 50)
    torch.manual_seed(5)
    seen = parts.Jitter(0.5, drop, shift)(x)
    torch.manual_seed(5)
    if shift:
        by = torch.randint(-shift, shift + 1, (9, 1))
        x = torch.stack([row.roll(int(n), -1) for row, n in zip(x, by)])
    x = F.dropout1d(x, drop)
    assert torch.equal(seen, x + 0.5 * torch.randn_like(x))


def test_what_is_dropped_of_a_row_does_not_depend_on_the_parts_of_its_batch():
    """A step in three uneven parts is that of all rows at once; with torch's own dropout it is another."""
    x = noise(60, 6, 30)
    rows = Views({"meg": x, "y": x[:, :1, 0]})

    def trained(kind: type, accumulate: int) -> torch.Tensor:
        torch.manual_seed(0)
        time_first = parts.GRUEncoder(6, 4)  # as its result lies in memory
        net = nn.Sequential(parts.Jitter(0.5, 0.2, 2), kind(0.5), time_first, kind(0.2), parts.Summary(4))
        model = Conditional({"meg": net}, {"y": parts.Gaussian(parts.MLPDecoder(4, 1, ()))})
        sgd = torch.optim.SGD(model.parameters(), 0.1)
        how = dict(epochs=2, batch_size=17, seed=0, device="cpu", optimizer=sgd, accumulate=accumulate)
        for _ in train(model, Objective(nll=NLL()), rows, **how):
            pass
        return torch.cat([weight.detach().flatten() for weight in model.parameters()])

    torch.testing.assert_close(trained(parts.Dropout, 3), trained(parts.Dropout, 1), atol=1e-6, rtol=1e-4)
    assert torch.equal(trained(parts.Dropout, 1), trained(nn.Dropout, 1))
    assert not torch.allclose(trained(nn.Dropout, 3), trained(nn.Dropout, 1), atol=1e-3)


# attention -----------------------------------------------------------------------------------------------------


def test_attention_over_time_finds_the_moment_that_matters():
    torch.manual_seed(0)
    where = torch.randint(0, 20, (512,))
    x = 0.3 * noise(512, 4, 20)
    label = torch.randint(0, 2, (512,))
    x[torch.arange(512), 0, where] += 4.0
    x[torch.arange(512), 1, where] += 4.0 * (2 * label - 1)
    steps = nn.Sequential(Rearrange("b c t -> b t c"), nn.Linear(4, 16))
    net = nn.Sequential(steps, parts.Summary(16), nn.Flatten(), nn.Linear(16, 2))
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
    for _ in range(80):
        loss = F.cross_entropy(net(x), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net[1].attend.keep = True
    assert (net(x).argmax(1) == label).float().mean() > 0.95
    weights = rearrange(net[1].attend.weights, "b 1 1 t -> b t")
    torch.testing.assert_close(weights.sum(1), torch.ones(512))
    found = [(weights.argmax(1) == where)[label == k].float().mean() for k in (0, 1)]
    assert max(found) > 0.95  # chance: 0.05; to look for one of two classes is enough


def test_a_forward_gru_knows_nothing_of_what_comes_after():
    for kind in (parts.GRUEncoder, parts.LSTMEncoder):
        x = noise(1, 3, 12)
        later = x.clone()
        later[..., 8:] += 1
        for directions, same in ((1, True), (2, False)):
            torch.manual_seed(0)
            net = kind(3, 8, directions=directions)
            assert torch.equal(net(x)[:, :8], net(later)[:, :8]) == same
    with pytest.raises(ValueError, match="directions is 3"):
        parts.GRUEncoder(3, 6, directions=3)


def test_factorised_attention_is_within_moments_and_then_over_them():
    torch.manual_seed(0)
    net = parts.FactorisedViViT((1, 6, 6, 6), (2, 3, 3), 8, depth=(1, 0)).eval()
    x = noise(1, 1, 6, 6, 6)
    other = x.clone()
    other[:, :, :2] += 1
    changed = (net(x) - net(other)).abs().sum((0, 2)) > 1e-6
    assert changed.tolist() == [True, False, False]  # without blocks over time, moments know nothing of each other
    net.look.attend.keep = True
    net(x)
    assert net.look.attend.weights.shape == (3, 1, 1, 4)
    both = parts.FactorisedViViT((1, 6, 6, 6), (2, 3, 3), 8).eval()
    assert ((both(x) - both(other)).abs().sum((0, 2)) > 1e-6).all()


def test_the_transformers_of_the_recipe_have_half_a_million_parameters():
    shape = (1, 125, 18, 18)
    for net in (parts.ViViT(shape, (25, 3, 3), 96, 6), parts.FactorisedViViT(shape, (25, 3, 3), 96, (3, 3))):
        assert 4e5 < sum(p.numel() for p in net.parameters()) < 6e5


def test_it_is_the_vivit_of_transformers_with_copied_weights():
    hub = pytest.importorskip("transformers", "5.0", reason="transformers 5, the oracle of this test, is not installed")
    d, tubelet = 32, (2, 4, 4)
    config = hub.VivitConfig(
        image_size=8, num_frames=6, tubelet_size=list(tubelet), num_channels=1, hidden_size=d, num_hidden_layers=2,
        num_attention_heads=4, intermediate_size=2 * d, hidden_act="gelu", layer_norm_eps=1e-5,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs, ours = hub.VivitModel(config).eval(), parts.ViViT((1, 6, 8, 8), tubelet, d, 2, 4).eval()
    state = dict(theirs.state_dict())
    copied = {
        "position": state["embeddings.position_embeddings"][0, 1:],  # theirs has a class token before the others
        "embed.1.weight": state["embeddings.patch_embeddings.projection.weight"].flatten(1),
        "embed.1.bias": state["embeddings.patch_embeddings.projection.bias"],
    }
    for i in range(2):
        layer = {name.removeprefix(f"layers.{i}."): w for name, w in state.items() if name.startswith(f"layers.{i}.")}
        for kind in ("weight", "bias"):
            copied |= {
                f"blocks.{i}.attend.norm.{kind}": layer[f"layernorm_before.{kind}"],
                f"blocks.{i}.attend.to_q.{kind}": layer[f"attention.q_proj.{kind}"],
                f"blocks.{i}.attend.to_kv.{kind}": torch.cat([layer[f"attention.{n}_proj.{kind}"] for n in "kv"]),
                f"blocks.{i}.attend.to_out.{kind}": layer[f"attention.o_proj.{kind}"],
                f"blocks.{i}.net.0.{kind}": layer[f"layernorm_after.{kind}"],
                f"blocks.{i}.net.1.{kind}": layer[f"mlp.fc1.{kind}"],
                f"blocks.{i}.net.3.{kind}": layer[f"mlp.fc2.{kind}"],
            }
    ours.load_state_dict(copied)
    x = noise(2, 1, 6, 8, 8)
    with torch.no_grad():
        tokens = theirs.embeddings.patch_embeddings(rearrange(x, "b c t h w -> b t c h w"))
        expected = tokens + copied["position"]
        for block in theirs.layers:
            said = block(expected)
            expected = said[0] if isinstance(said, tuple) else said
        torch.testing.assert_close(ours(x), expected, atol=1e-5, rtol=1e-5)


# votes and weights ---------------------------------------------------------------------------------------------


def test_votes_average_probabilities_and_teach_each_member_as_if_alone():
    logits = noise(6, 3, 4).requires_grad_()
    label = torch.tensor([0, 1, 2, 3, 0, 1])
    votes = Votes(logits)
    torch.testing.assert_close(votes.mean, logits.softmax(-1).mean(1))
    assert torch.equal(votes.mode, logits.softmax(-1).mean(1).argmax(-1))
    votes.log_prob(label).sum().backward()
    alone = logits.detach().clone().requires_grad_()
    (-F.cross_entropy(rearrange(alone, "b m k -> (b m) k"), label.repeat_interleave(3), reduction="sum") / 3).backward()
    torch.testing.assert_close(logits.grad, alone.grad)
    assert (votes.log_prob(label) <= votes.mean[torch.arange(6), label].log() + 1e-6).all()


def test_a_committee_needs_a_token_a_member():
    committee = parts.Committee([nn.Linear(8, 4), nn.Linear(8, 4)])
    there = torch.ones(5) > 0
    x = noise(5, 2, 8)
    votes = committee(x[:, 0], Tokens.of(x, there))
    expected = torch.stack([head(x[:, i]) for i, head in enumerate(committee.heads)], 1)
    torch.testing.assert_close(votes.members, expected.log_softmax(-1))
    with pytest.raises(ValueError, match="a committee of 2 needs as many tokens of context, got 3"):
        committee(x[:, 0], Tokens.of(noise(5, 3, 8), there))
    with pytest.raises(ValueError, match="got none"):
        committee(x[:, 0])


def test_balanced_weights_make_rare_classes_count_as_much():
    labels = torch.tensor([0] * 6 + [1] * 3 + [2])
    weights = balanced(labels)
    sums = [sum(weights[k] for k in labels.tolist() if k == c) for c in range(3)]
    assert sums == pytest.approx([10 / 3] * 3, abs=0.01)
    views = Views({"label": labels}, present={"label": torch.arange(10) != 9})
    out = Outputs({}, {}, {"label": Votes(torch.zeros(10, 1, 3))})
    term = ByClass(NLL(), "label", weights)(out, views, None)
    expected = math.log(3) * torch.tensor([weights[k] for k in labels.tolist()])
    expected[9] = 0  # not there: nothing is scored
    torch.testing.assert_close(term, expected)
    with pytest.raises(ValueError, match="there is no row of class 1"):
        balanced(torch.tensor([0, 2]))


def test_a_row_without_a_label_counts_once_whatever_the_classes_are_called():
    views = Views({"label": torch.tensor([0, 1, 1])}, present={"label": torch.tensor([True, True, False])})
    for label in (0, 1, -1):  # what stands where there is none
        spoilt = views.replace(label=torch.tensor([0, 1, label]))
        term = ByClass(lambda out, views, step: torch.full((3,), 2.0), "label", [3.0, 0.5])
        assert term(Outputs({}, {}, {}), spoilt, None).tolist() == [6, 1, 2]
    one = ByClass(lambda out, views, step: torch.ones(3), "label", [3.0])  # of a single class
    assert one(Outputs({}, {}, {}), views.replace(label=torch.zeros(3, dtype=torch.int64)), None).tolist() == [3, 3, 1]


# what it costs -------------------------------------------------------------------------------------------------


class Reads(nn.Module):
    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, views):
        return self.net(views["x"])


@pytest.mark.parametrize(
    ("net", "flop"),
    [
        (parts.GRUEncoder(10, 32), 2 * 3 * 16 * (10 + 16) * 20 * 2),
        (parts.LSTMEncoder(10, 16, directions=1), 2 * 4 * 16 * (10 + 16) * 20),
        (parts.LFCNN(10, 8, width=5, pool=1), 2 * 20 * 8 * (10 + 5)),
    ],
    ids=["GRU", "LSTM", "LFCNN"],
)
def test_operations_are_counted(net, flop):
    model = Reads(net)
    found = cost(model, Views({"x": noise(4, 10, 20)}))
    assert found.flop == flop and found.parameters == sum(p.numel() for p in net.parameters())
    assert found.megabytes > 0 and found.seconds > 0 and all(p.grad is None for p in model.parameters())


def test_costs_leave_a_model_as_it_was_and_grow_with_attention():
    shape = (1, 12, 6, 6)
    joint, apart = (Reads(nn.Sequential(nn.Unflatten(1, (1, 12)), net)) for net in (
        parts.ViViT(shape, (1, 2, 2), 16, 2), parts.FactorisedViViT(shape, (1, 2, 2), 16, (1, 1))))  # fmt: skip
    rows = Views({"x": noise(3, 12, 6, 6)})
    assert cost(joint, rows).flop > cost(apart, rows).flop
    normed = Reads(parts.EEGNet(5, 4)).eval()
    before = {name: x.clone() for name, x in normed.state_dict().items()}
    cost(normed, Views({"x": noise(3, 5, 40)}))
    assert all(torch.equal(before[name], x) for name, x in normed.state_dict().items()) and not normed.net.training


# the world -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("array", ARRAYS)
def test_every_array_hears_the_states_as_loud_as_a_recording(array):
    world = states(n_trials=8, n_subjects=2, array=array)
    info, x = array_info(array), world.views["meg"]
    mags = np.array(info.get_channel_types()) == "mag"
    assert x.shape == (16, info["nchan"], 125) and x.isfinite().all()
    assert 100 < float(x[:, mags].std((0, 2)).median()) < 250  # fT, as in a real recording
    assert set(world.topographies) == set(world.time_courses) == {"see", "hear", "move", "count"}
    assert world.views.metadata.groupby("subject")["state"].value_counts().eq(2).all()


def test_a_slow_field_is_what_is_left_on_average_and_a_rhythm_leaves_nothing():
    world = states(n_trials=400, n_subjects=1, array="ctf151", evoked=2.0, rhythm=0.0)
    label, x = world.views["label"], world.views["meg"]
    for i, name in enumerate(world.owners):
        peak = int(world.time_courses[name].argmax())
        mean = x[label == i].mean(0)[:, peak].numpy()
        assert np.corrcoef(mean, world.topographies[name])[0, 1] > 0.8
    loud = states(n_trials=400, n_subjects=1, array="ctf151", evoked=0.0, rhythm=2.0).views
    quiet = states(n_trials=400, n_subjects=1, array="ctf151", evoked=0.0, rhythm=0.0).views
    see = (loud["label"] == 0).numpy()
    power = [torch.fft.rfft(v["meg"][see])[..., 10].abs().square().mean(0).max() for v in (loud, quiet)]
    assert power[0] > 4 * power[1]  # 10 Hz
    means = [v["meg"][see].mean(0).abs().max() for v in (loud, quiet)]
    assert means[0] < 1.6 * means[1]


def test_the_field_of_a_dipole_is_that_of_mne_and_a_radial_one_has_none():
    info = array_info("magnes248")
    place = np.array([[0.0, 0.03, 0.06], [0.0, 0.0, 0.07]])
    field = lead_field(info, place, np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    assert 1 < np.abs(field[:, 0]).max() < 60  # fT per nAm at the helmet
    assert np.abs(field[:, 1]).max() < 1e-6


def test_subjects_differ_and_seeds_repeat():
    a, b, c = (states(n_trials=8, n_subjects=2, array="ctf151", seed=seed).views["meg"] for seed in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)
    with pytest.raises(ValueError, match="n_trials is 6: a multiple of 4"):
        states(n_trials=6)
    with pytest.raises(ValueError, match="array is one of neuromag306, .* got 'kit'"):
        states(n_trials=4, array="kit")
    assert ZScore().fit(a, torch.ones(16) > 0)(a).std() == pytest.approx(1, abs=0.05)
