"""Graphs and points: links are heard, what is missing is not, and a node is told by its neighbours alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ivekit import Views, synth
from ivekit.nn import GraphBlock, GraphEncoder, KnownPlaces, PointTokens
from ivekit.recipes import modal_merge
from ivekit.signal.graphs import adjacency, strongest_links
from ivekit.synth import space

CHAIN = [[i, i + 1, 1.0] for i in range(5)]


def heard(encoder: torch.nn.Module, x: torch.Tensor, node: int) -> list[int]:
    """The nodes whose tokens change with the numbers at one."""
    mask = torch.ones(x.shape[:2], dtype=torch.bool)
    other = x.clone()
    other[:, node] += 1
    moved = (encoder(other, mask).x - encoder(x, mask).x).abs().amax((0, 2))
    return (moved > 1e-6).nonzero().flatten().tolist()


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_node_is_heard_as_many_links_away_as_there_are_blocks(depth):
    torch.manual_seed(0)
    encoder = GraphEncoder(CHAIN, (6, 2), 8, depth)
    assert heard(encoder, torch.randn(3, 6, 2), 3) == [n for n in range(6) if abs(n - 3) <= depth]


def test_a_hole_among_the_neighbours_does_not_make_the_others_quieter():
    block = GraphBlock([[0, 1, 1.0], [0, 2, -3.0], [0, 3, 2.0]], 4, 8)
    h, mask = torch.randn(5, 4, 8, generator=torch.Generator().manual_seed(0)), torch.ones(5, 4, dtype=torch.bool)
    assert torch.equal(block(h, mask), block(h)), "where nothing is missing, nothing changes"
    mask[2, 2], mask[3, 1:] = False, False
    heard = block._heard(h, mask)
    torch.testing.assert_close(heard[2, 0], (h[2, 1] + 2 * h[2, 3]) / 3)
    assert (heard[3, 0] == 0).all(), "nobody is there to be heard"


def test_a_missing_node_has_no_token_and_is_not_heard():
    torch.manual_seed(0)
    encoder, x = GraphEncoder(CHAIN, (6, 2), 8), torch.randn(3, 6, 2)
    mask = torch.ones(3, 6, dtype=torch.bool)
    mask[:, 2] = False
    spoilt = x.clone()
    spoilt[:, 2] = 1e6
    some, other = encoder(x, mask), encoder(spoilt, mask)
    assert torch.equal(some.mask, mask) and torch.equal(some.x[mask], other.x[mask])
    block, x = GraphBlock(CHAIN, 6, 8), torch.randn(3, 6, 8)
    spoilt = torch.where(mask[..., None], x, torch.randn(3, 6, 8))
    assert torch.equal(block(x, mask)[mask], block(spoilt, mask)[mask])
    assert not torch.equal(block(x)[mask], block(spoilt)[mask])


def test_a_link_has_its_weight_and_sign():
    torch.manual_seed(0)
    for edges, links in (([[0, 1, 1.0], [0, 2, 3.0]], [0, 0.25, 0.75]), ([[0, 1, -2.0]], [0, -1, 0])):
        block = GraphBlock(edges, 3, 8)
        torch.testing.assert_close(block.links[0], torch.tensor(links, dtype=torch.float32))
    assert (GraphBlock([[0, 1, 1.0]], 3, 8).links[2] == 0).all()  # a node without links hears nobody


def test_the_strongest_links_are_those_of_the_matrix():
    rng = np.random.default_rng(0)
    c = np.corrcoef(rng.standard_normal((8, 50)))
    edges = strongest_links(c, keep=0.25)
    upper = np.abs(c[np.triu_indices(8, 1)])
    assert len(edges) == 7 and sorted(abs(w) for *_, w in edges) == sorted(upper)[-7:]
    matrix = adjacency(edges, 8)
    assert (matrix == matrix.T).all() and all(matrix[i, j] == w == c[i, j] for i, j, w in edges)
    for wrong, said in ((c[:, ::-1], "symmetric"), (c, "above 0 and at most 1, got 0")):
        with pytest.raises(ValueError, match=said):
            strongest_links(wrong, keep=0 if wrong is c else 0.1)
    with pytest.raises(ValueError, match=r"two of the nodes 0 to 2, got \[0, 3, 1.0\]"):
        adjacency([[0, 3, 1.0]], 3)


def test_known_places_are_points_whose_places_are_not_said_twice():
    torch.manual_seed(0)
    xyz = 30 * torch.randn(7, 3)
    encoder = PointTokens(8, 2)
    x, mask = torch.randn(4, 7, 2), torch.rand(4, 7, 2) > 0.2
    centred = xyz - xyz.mean(0)
    where = (centred / centred.square().sum(1).mean().sqrt()).expand(4, -1, -1)
    here = KnownPlaces(xyz, encoder)(x, mask)
    points = encoder(torch.cat([where, x], -1), mask.all(-1))
    torch.testing.assert_close(here.x, points.x)
    assert torch.equal(here.mask, mask.all(-1))
    with pytest.raises(ValueError, match=r"\(n, 3\) finite numbers"):
        KnownPlaces([[0.0, 0.0]], encoder)


def test_points_and_nodes_hold_what_was_planted():
    world = synth.in_space(synth.pairs(300, noise=0.0), noise=0.0, missing=0.2)
    views = world.views
    assert abs(float(views.present["points"].float().mean()) - 0.8) < 0.02
    left = torch.from_numpy(space.places()[:, 0] < -0.2)
    bright = [views["points"][:, side, 0].amax(1) for side in (left, ~left)]
    assert ((bright[0] < bright[1]).numpy() == world.factors["side"].to_numpy().astype(bool)).mean() > 0.97
    drive = torch.linalg.solve(torch.from_numpy(space.spread()), views["graph"].double())
    assert drive[:, 9:].abs().max() < 1e-6  # what hubs hold comes from their neighbours
    for i in range(4):
        disc = torch.from_numpy(world.factors[f"disc_{i + 1}"].to_numpy() > 0)
        active = drive[:, [i, i + 4]].abs().amax((1, 2)) > 0.1
        assert torch.equal(active, disc)
    assert views["graph"][:, 9:].std(0).min() > 0.02  # and yet they vary


def test_the_other_views_stay_as_they_were():
    world = synth.pairs(20)
    more = synth.in_space(world, seed=3)
    assert all(torch.equal(world.views[name], more.views[name]) for name in world.views)
    assert set(more.views) - set(world.views) == {"points", "points_later", "graph", "graph_later"}
    again = synth.in_space(world, seed=3)
    assert all(torch.equal(more.views[name], again.views[name]) for name in more.views)


def test_modalities_are_told_by_what_is_said_of_them(tmp_path):
    synth.in_space(synth.pairs(3)).views.save(tmp_path / "rows")
    views = Views.open(tmp_path / "rows")
    what = {name: modal_merge.modality(views[name], views.about.get(name)) for name in views}
    assert [what[name] for name in ("image", "series", "text", "table", "points", "graph")] == [
        *list(what)[:4],
        "points",
        "graph",
    ]
    assert modal_merge.modality(torch.zeros(2, 5, 4), {"columns": ["x", "y", "z", "fibre"]}) == "points"
    assert modal_merge.modality(torch.zeros(2, 5, 4), {"columns": ["a", "b", "c", "d"]}) == "series"
