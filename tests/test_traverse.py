"""A traversal moves one coordinate and nothing else, and what it shows is what the decoder says."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch

from ivekit import MultimodalVAE, Views, explain
from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts

VALUES = [-2.0, 0.0, 1.0]


def model(condition: tuple[str, ...] = ()) -> MultimodalVAE:
    torch.manual_seed(0)
    views = {"a": 3, "b": 4}
    encoders = {name: MLPEncoder(n, 8) for name, n in views.items()}
    return MultimodalVAE(
        encoders,
        ProductOfExperts([name for name in views if name not in condition], 8, 2),
        {name: Gaussian(MLPDecoder(4, n)) for name, n in views.items() if name not in condition},
        private={name: ProductOfExperts([name], 8, 2) for name in views if name not in condition},
        condition=condition,
    )


def views(b: int = 6) -> Views:
    generator = torch.Generator().manual_seed(1)
    return Views({"a": torch.randn(b, 3, generator=generator), "b": torch.randn(b, 4, generator=generator)})


def test_one_latent_takes_the_values_and_the_others_stay():
    net, rows = model(), views()
    found = explain.traverse(net, rows, "shared", 1, VALUES)
    z = {block: q.mean.mean(0) for block, q in net.encode(rows).items()}
    for i, value in enumerate(VALUES):
        at = {block: code.clone()[None] for block, code in z.items()}
        at["shared"][:, 1] = value
        for name, p in net.eval().decode(at).items():
            torch.testing.assert_close(found[name][i], p.mean[0].detach())
    assert {name: tuple(x.shape) for name, x in found.items()} == {"a": (3, 3), "b": (3, 4)}


def test_a_private_latent_moves_its_own_view_alone():
    found = explain.traverse(model(), views(), "a", 0, VALUES)
    assert found["a"].std(0).min() > 0 and (found["b"] == found["b"][0]).all()


def test_it_starts_from_a_trial_or_from_the_prior():
    net, rows = model(), views()
    trial = explain.traverse(net, rows[2:3], "shared", 0, VALUES)
    own = net.eval().encode(rows[2:3])["shared"].mean[0, 0].detach()
    here = explain.traverse(net, rows[2:3], "shared", 0, [float(own)])
    torch.testing.assert_close(here["a"][0], net(rows[2:3]).p["a"].mean[0].detach())
    assert not torch.allclose(trial["a"], explain.traverse(net, rows, "shared", 0, VALUES)["a"])
    prior = explain.traverse(net, rows.without("a", "b"), "shared", 0, [0.0])["a"]
    zero = {block: torch.zeros(1, 2) for block in ("shared", "a", "b")}
    torch.testing.assert_close(prior, net.decode(zero)["a"].mean.detach())


def test_a_direction_is_a_latent_of_the_rotated_block():
    net, rows = model(), views()
    along = explain.traverse(net, rows, "shared", torch.tensor([0.0, 5.0]), VALUES)  # of any length
    torch.testing.assert_close(along["a"], explain.traverse(net, rows, "shared", 1, VALUES)["a"])
    slanted = torch.tensor([0.6, 0.8])
    z = net.eval().encode(rows)["shared"].mean.mean(0).detach()
    moved = z + (2.0 - z @ slanted) * slanted
    codes = {b: q.mean.mean(0)[None].detach() for b, q in net.encode(rows).items()} | {"shared": moved[None]}
    torch.testing.assert_close(
        explain.traverse(net, rows, "shared", slanted, [2.0])["a"], net.decode(codes)["a"].mean.detach()
    )


def test_what_conditions_the_decoders_is_given_to_them():
    net = model(condition=("b",))
    found = explain.traverse(net, views(), "shared", 0, VALUES)
    assert list(found) == ["a"] and found["a"].shape == (3, 3)


def test_the_band_holds_the_means_and_is_empty_where_nothing_is_left_to_vary():
    net, rows = model(), views()
    mean, band = (f(net, rows, "shared", 0, VALUES) for f in (explain.traverse, explain.traverse_band))
    low, high = band["a"]
    assert low.shape == mean["a"].shape and (low < high).all()
    assert ((low < mean["a"]) & (mean["a"] < high)).float().mean() > 0.8
    again = explain.traverse_band(net, rows, "shared", 0, VALUES)
    assert torch.equal(again["b"], band["b"])
    wider = explain.traverse_band(net, rows, "shared", 0, VALUES, level=0.99)["a"]
    assert ((wider[1] - wider[0]) >= (high - low)).all()
    with torch.no_grad():
        for decoder in net.decoders.values():
            decoder.net.net[0].weight[:, 1:] = 0  # only the latent that moves is heard
    low, high = explain.traverse_band(net, rows, "shared", 0, VALUES)["a"]
    torch.testing.assert_close(low, high)


def test_all_latents_at_once_are_each_by_itself():
    net, rows = model(), views()
    latents = explain.every_latent(net, rows)
    assert latents == [("shared", 0), ("shared", 1), ("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    found, bands = explain.traversals(net, rows, VALUES), explain.traversal_bands(net, rows, VALUES, n_samples=16)
    own = [[float(i), -1.0] for i in range(6)]
    each = explain.traversals(net, rows, own)
    for i, (block, index) in enumerate(latents):
        for name, x in explain.traverse(net, rows, block, index, VALUES).items():
            torch.testing.assert_close(found[name][i], x)
        for name, x in explain.traverse_band(net, rows, block, index, VALUES, n_samples=16).items():
            torch.testing.assert_close(bands[name][:, i], x)
        torch.testing.assert_close(each["a"][i], explain.traverse(net, rows, block, index, own[i])["a"])
    some = explain.traversals(net, rows, VALUES, [("b", 1), ("shared", torch.tensor([0.0, 1.0]))])
    torch.testing.assert_close(some["b"], found["b"][[5, 1]])
    with pytest.raises(ValueError, match=r"values are \(v,\), or \(l, v\) of 6 latents, got \(5, 2\)"):
        explain.traversals(net, rows, own[:5])


def test_many_codes_are_decoded_in_batches(monkeypatch):
    net, rows = model(), views()
    whole = explain.traversals(net, rows, VALUES)["a"]
    monkeypatch.setattr(import_module("ivekit.explain.traverse"), "BATCH", 4)
    torch.testing.assert_close(explain.traversals(net, rows, VALUES)["a"], whole)


@pytest.mark.parametrize(
    ("block", "index", "message"),
    [
        ("meg", 0, r"no block 'meg' of latents; there are \['shared', 'a', 'b'\]"),
        ("shared", 2, "latents 0 to 1, no 2"),
        ("shared", torch.zeros(2), r"is \(2,\) and not 0, got \(2,\)"),
        ("shared", torch.ones(3), r"is \(2,\) and not 0, got \(3,\)"),
    ],
)
def test_what_is_not_there_is_named(block, index, message):
    with pytest.raises(ValueError, match=message):
        explain.traverse(model(), views(), block, index, VALUES)
