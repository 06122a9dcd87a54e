"""Likelihoods at the edges: a single part, several copies, axes beside the rows, draws by a seed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch import distributions as oracle

from ivekit.distributions import Autoregressive, Categorical, Columns, Laplace, Mixture, Normal, SomeCopies, Votes


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_columns_of_a_single_part_are_that_part():
    alone = Normal(normal(4, 3), 2.0)
    columns, x = Columns([alone]), normal(4, 3, seed=1)
    assert columns.batch_shape == (4,) and columns.event_shape == (3,)
    torch.testing.assert_close(columns.log_prob(x), alone.log_prob(x))
    torch.testing.assert_close(columns.stddev, alone.stddev)
    assert columns.sample((5,)).shape == (5, 4, 3)


@pytest.mark.parametrize("which", [[0], [2], [0, 2], [0, 1, 2]])
def test_copies_of_which_nothing_is_told_have_rows_all_the_same(which):
    base = Normal(normal(2 * len(which), 3), 1.5)
    some = SomeCopies(base, which, copies=3)
    assert some.batch_shape == (6,) and some.event_shape == (3,)
    x = normal(2, 3, seed=1)
    each = some.log_prob(x.repeat(3, 1)).unflatten(0, (3, 2))
    rows = base.loc.unflatten(0, (len(which), 2))
    for i in range(3):
        expected = Normal(rows[which.index(i)], 1.5).log_prob(x) if i in which else torch.zeros(2)
        torch.testing.assert_close(each[i], expected)
        mean = rows[which.index(i)] if i in which else torch.zeros(2, 3)
        torch.testing.assert_close(some.mean.unflatten(0, (3, 2))[i], mean)
    assert some.sample((4,)).shape == (4, 6, 3) and some.variance.shape == (6, 3)
    masked = some.log_prob(x.repeat(3, 1), torch.arange(6) % 2 == 0)
    torch.testing.assert_close(masked, each.flatten() * (torch.arange(6) % 2 == 0))


def test_votes_of_labels_along_an_axis():
    logits, labels = normal(4, 3, 5, 6), torch.arange(20).reshape(4, 5) % 6
    votes = Votes(logits)
    told = logits.log_softmax(-1).mean(1)
    expected = torch.stack([told[i, j, labels[i, j]] for i in range(4) for j in range(5)]).reshape(4, 5)
    torch.testing.assert_close(votes.log_prob(labels), expected.sum(1))
    here = normal(4, 5) > 0
    torch.testing.assert_close(votes.log_prob(labels, here), (expected * here).sum(1))
    torch.testing.assert_close(votes.mean, logits.softmax(-1).mean(1))
    assert isinstance(votes, Categorical) and votes.event_shape == (5,)


def test_writing_stops_when_every_text_has_ended():
    asked = []

    def logits(x: Tensor) -> Tensor:
        asked.append(x.shape[1])
        says = torch.tensor([[2, 0, 1, 1], [2, 3, 0, 1]])[:, : x.shape[1]]
        return 50.0 * torch.nn.functional.one_hot(says, 4).float()

    p = Autoregressive(logits, (2, 9), torch.device("cpu"))
    assert p.mode.tolist() == [[2, *[0] * 8], [2, 3, *[0] * 7]]
    assert asked == [1, 2, 3], "nobody is asked about what comes after the end"


def test_draws_are_the_mean_and_as_many_spreads_as_the_noise_says():
    loc, scale = normal(3, 4), normal(3, 4, seed=1).exp()
    torch.manual_seed(5)
    expected = oracle.Normal(loc, scale).sample((2,))
    torch.manual_seed(5)
    torch.testing.assert_close(Normal(loc, scale).sample((2,)), expected)
    one = Mixture(loc[None], scale[None], torch.ones(1, 3))
    torch.manual_seed(5)
    torch.rand(2, 3, 1)  # which component is drawn first
    noise = torch.randn(2, 3, 4)
    torch.manual_seed(5)
    torch.testing.assert_close(one.sample((2,)), loc + scale * noise)


def test_laplace_draws_stay_finite_and_have_their_spread():
    torch.manual_seed(0)
    p = Laplace(torch.full((1, 1), 3.0), torch.full((1, 1), 0.5))
    x = p.sample((40_000,)).flatten()
    assert x.isfinite().all() and float(x.median()) == pytest.approx(3, abs=0.02)
    assert float((x - 3).abs().mean()) == pytest.approx(0.5, rel=0.03)
    assert float(x.std()) == pytest.approx(float(p.stddev), rel=0.05) == pytest.approx(0.5 * 2**0.5, rel=0.05)
