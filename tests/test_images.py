"""Pictures and volumes: sizes that papers give, places that are kept, shapes of any size."""

from __future__ import annotations

import pytest
import torch

from ivekit.nn import ConvDecoder, ResNet2d, ResNet3d, Tokens


def size(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("settings", "millions"),
    [  # convolutions and their normalisation without the classifier: 11.18 and 23.51 million (He et al., 2016)
        (dict(blocks=(2, 2, 2, 2)), 11.18),
        (dict(blocks=(3, 4, 6, 3), bottleneck=True), 23.51),
    ],
)
def test_the_published_sizes(settings, millions):
    net = ResNet2d((3, 224, 224), 64, width=64, stem=4, **settings)
    assert abs((size(net.stem) + size(net.blocks)) / 1e6 - millions) < 0.02 * millions
    assert net.axes == {"height": 7, "width": 7}


def test_each_stage_halves():
    net = ResNet2d((1, 32, 24), 8, (1, 1, 1), 4)
    assert net.axes == {"height": 4, "width": 3}
    assert net(torch.zeros(2, 1, 32, 24)).shape == (2, 12, 8)
    volume = ResNet3d((1, 9, 8, 12), 8, (1, 1), 4)
    assert volume.axes == {"depth": 3, "height": 2, "width": 3}


def test_a_token_is_of_its_own_place():
    """What is bright in a cell moves the cell's own token most, on average over random weights."""
    torch.manual_seed(0)
    nets, x = [ResNet2d((1, 16, 16), 32) for _ in range(20)], 0.1 * torch.randn(4, 1, 16, 16)
    with torch.no_grad():
        for row, column in ((0, 0), (1, 3), (3, 2)):
            lit = x.clone()
            lit[:, 0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 1
            moved = sum((net(lit) - net(x)).square().sum(-1).mean(0) for net in nets)
            assert int(moved.argmax()) == 4 * row + column


def test_a_mean_over_tokens_knows_where_things_are_and_how_bright():
    """Ridge regression on the mean token of an untrained encoder tells row and brightness of a disc."""
    torch.manual_seed(0)
    place, bright = torch.randint(0, 4, (400,)), 0.5 + torch.rand(400)
    x = torch.zeros(400, 1, 16, 16)
    for i in range(400):
        x[i, 0, 4 * place[i] : 4 * place[i] + 3, 6:9] = bright[i]
    with torch.no_grad():
        z = ResNet2d((1, 16, 16), 64)(x).mean(1)
    z = torch.cat([z, torch.ones(400, 1)], 1).double()
    for truth in (place.double(), bright.double()):
        w = torch.linalg.solve(z[:300].T @ z[:300] + 1e-6 * torch.eye(65), z[:300].T @ truth[:300])
        error = (z[300:] @ w - truth[300:]).square().mean() / truth.var()
        assert error < 0.3


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 9, 14), (1, 5, 6, 7), (2, 8, 4, 4)])
def test_a_picture_of_any_size_is_made(shape):
    net = ConvDecoder(0, shape, [], 16, depth=2)
    context = Tokens.of(torch.zeros(3, 2, 16), torch.ones(3, dtype=torch.bool))
    assert net(torch.zeros(3, 1), context).shape == (3, *shape)


def test_what_is_no_picture_is_refused():
    with pytest.raises(ValueError, match=r"a row must be \(colours, height, width\), got shape \(16, 16\)"):
        ResNet2d((16, 16), 8)
    with pytest.raises(ValueError, match=r"got \(4, 4\)"):
        ConvDecoder(0, (4, 4), [], 8)
