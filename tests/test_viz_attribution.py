"""Figures of attributions: the place and time that are drawn are those given."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from ivekit import viz
from ivekit.topomap import Topomap


@pytest.fixture
def topo() -> Topomap:
    pos = 0.03 * np.stack(np.meshgrid([-2, -1, 0, 1, 2], [-2, -1, 0, 1]), -1).reshape(20, 2)
    return Topomap(SimpleNamespace(names=[f"S{i}" for i in range(20)], kinds=["mag"] * 20, pos=pos, info=None))


def test_the_map_is_that_of_the_largest_moment_and_the_first_sensor_the_largest(topo):
    sizes = np.zeros((20, 6))
    sizes[7, 4], sizes[3, 1] = 2.0, 1.0
    field, image = viz.attributed_field(sizes, np.arange(6) / 10, topo, "motion")
    assert image.get_title() == "map at 0.400 s" and field.get_title() == "|attribution| of motion"
    assert image.images[0].get_array()[0, 4] == 2.0 and image.images[0].get_array()[1, 1] == 1.0


def test_signed_numbers_are_no_sizes(topo):
    with pytest.raises(ValueError, match="go down to -1"):
        viz.attributed_field(-np.ones((20, 6)), np.arange(6), topo)
    with pytest.raises(ValueError, match="from -1"):
        viz.attributed_film(np.ones((1, 2, 3, 3)), -np.ones((1, 2, 3, 3)))


def test_the_pixel_with_most_is_red_and_others_are_grey():
    sizes = np.zeros((1, 2, 4, 4))
    sizes[0, 1, 2, 3] = 1.0
    ax = viz.attributed_film(np.random.default_rng(0).random((1, 2, 4, 4)), sizes, n=2, part=1 / 32)
    strip = ax.images[0].get_array()
    red = np.argwhere(np.abs(strip[..., 0] - strip[..., 1]) > 0.1)
    assert red.tolist() == [[2, 5 + 3]]
