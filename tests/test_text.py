"""Texts are bytes with a mask: what is not there does not matter, and no byte is told from later ones."""

from __future__ import annotations

import math

import pytest
import torch

from ivekit import Views
from ivekit.distributions import Autoregressive
from ivekit.models import Conditional
from ivekit.nn import (
    AdaIN,
    CrossAttention,
    FiLM,
    LanguageModel,
    TextEncoder,
    TextGRU,
    Tokens,
)
from ivekit.nn import Autoregressive as Writer
from ivekit.objectives import NLL, Objective
from ivekit.signal.text import from_bytes, to_bytes
from ivekit.training import train

D = 16
WORDS = ["a", "two words", "Größe, 5 µm", ""]


def test_texts_come_back():
    x, present = to_bytes(WORDS)
    assert from_bytes(x) == WORDS
    assert present.sum(1).tolist() == [len(text.encode()) + 1 for text in WORDS]
    assert from_bytes(to_bytes(WORDS, 20)[0]) == WORDS and to_bytes([])[0].shape == (0, 1)
    assert from_bytes([torch.tensor([255, 104])]) == ["\N{REPLACEMENT CHARACTER}h"]
    with pytest.raises(ValueError, match="the longest text and its end take 15 bytes, n is 5"):
        to_bytes(WORDS, 5)


@pytest.mark.parametrize("make", [TextEncoder, TextGRU])
def test_what_is_not_there_does_not_matter(make):
    torch.manual_seed(0)
    encoder = make(D)
    x, mask = to_bytes(WORDS, 20)
    spoilt = torch.where(mask, x, 200)
    a, b = encoder(x, mask), encoder(spoilt, mask)
    assert torch.equal(a.mask, mask)
    assert torch.equal(a.x[mask], b.x[mask])
    longer = encoder(*to_bytes(WORDS, 25))
    if make is TextEncoder:
        torch.testing.assert_close(longer.x[:, :20][mask], a.x[mask])


@pytest.mark.parametrize("make", [TextEncoder, TextGRU])
def test_order_matters(make):
    torch.manual_seed(0)
    encoder = make(D)
    a, b = (encoder(*to_bytes([text])).mean() for text in ("left of right", "right of left"))
    assert (a - b).abs().max() > 1e-3


def context(b: int) -> Tokens:
    return Tokens.of(torch.randn(b, 3, D), torch.ones(b, dtype=torch.bool))


@pytest.mark.parametrize("act", [lambda: CrossAttention(D), lambda: FiLM(D), lambda: AdaIN(D, causal=True)])
def test_no_byte_is_told_from_itself_or_later_ones(act):
    torch.manual_seed(0)
    net, given = LanguageModel(2, 12, [act(), act()], D), context(1)
    x = torch.randint(1, 256, (1, 12))
    z, before = torch.zeros(1, 2), None
    for i in range(12):
        changed = x.clone()
        changed[:, i:] = torch.randint(1, 256, (1, 12 - i))
        said, true = net(changed, z, given), net(x, z, given)
        torch.testing.assert_close(said[:, : i + 1], true[:, : i + 1])
        before = said
    assert before is not None and not torch.allclose(net(x, z, given)[:, 1:], net(x.flip(1), z, given)[:, 1:])


def test_an_adain_over_all_of_a_text_would_see_the_future():
    torch.manual_seed(0)
    net, given, x = LanguageModel(0, 12, [AdaIN(D)], D), context(1), torch.randint(1, 256, (1, 12))
    changed = x.clone()
    changed[:, 6:] = 7
    z = torch.zeros(1, 1)
    assert (net(changed, z, given)[:, :6] - net(x, z, given)[:, :6]).abs().max() > 1e-3


def test_a_causal_adain_is_an_adain_of_what_there_is_so_far():
    torch.manual_seed(0)
    whole, so_far = AdaIN(D), AdaIN(D, causal=True)
    so_far.load_state_dict(whole.state_dict())
    x, given = torch.randn(2, 7, D), context(2)
    for n in (2, 5, 7):
        torch.testing.assert_close(so_far(x, given)[:, n - 1], whole(x[:, :n], given)[:, -1], atol=1e-4, rtol=1e-4)


def table() -> Autoregressive:
    """Three letters; each is told from the one before it: 1 -> 2 -> 0, which ends."""
    follow = torch.tensor([[0.1, 0.6, 0.3], [0.2, 0.2, 0.6], [0.7, 0.2, 0.1]]).log()

    def logits(x: torch.Tensor) -> torch.Tensor:
        before = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
        return follow[before]

    return Autoregressive(logits, (1, 2), torch.device("cpu"))


def test_its_probabilities_sum_to_one_and_are_products():
    p = table()
    every = [torch.tensor([[i, j]]) for i in range(3) for j in range(3)]
    total = sum(float(p.log_prob(x).exp()) for x in every)
    assert math.isclose(total, 1, abs_tol=1e-6)
    assert math.isclose(float(p.log_prob(torch.tensor([[1, 2]])).exp()), 0.6 * 0.6, rel_tol=1e-5)
    there = torch.tensor([[True, False]])
    assert math.isclose(float(p.log_prob(torch.tensor([[1, 2]]), there).exp()), 0.6, rel_tol=1e-5)
    assert p.mode.tolist() == [[1, 2]]
    torch.testing.assert_close(p.mean[0], torch.tensor([[0.1, 0.6, 0.3], [0.2, 0.2, 0.6]]))


def test_its_samples_are_as_often_as_they_are_probable():
    torch.manual_seed(0)
    p = table()
    drawn = p.sample((4000,))[:, 0]
    for first, expected in ((0, 0.1), (1, 0.6), (2, 0.3)):
        assert abs(float((drawn[:, 0] == first).float().mean()) - expected) < 0.03
    assert (drawn[drawn[:, 0] == 0, 1] == 0).all()  # what has ended stays ended
    second = drawn[drawn[:, 0] == 1, 1]
    assert abs(float((second == 2).float().mean()) - 0.6) < 0.04


def test_a_language_model_learns_a_sentence_a_condition():
    """Two sentences, one for each sign of a number: written without a mistake, and surer than the other one."""
    torch.manual_seed(0)
    texts = ["it is cold", "it is warm today"]
    label = torch.arange(40) % 2
    x, present = to_bytes([texts[i] for i in label])
    views = Views({"sign": 2.0 * label[:, None] - 1, "text": x}, {"text": present})
    from ivekit.nn import ColumnEncoder

    net = LanguageModel(0, x.shape[1], [CrossAttention(D)], D)
    model = Conditional({"sign": ColumnEncoder(1, D)}, {"text": Writer(net)})
    for _ in train(model, Objective(nll=NLL()), views, epochs=30, batch_size=20, lr=1e-2, seed=0):
        pass
    p = model(views).p["text"]
    assert from_bytes(p.mode) == [texts[i] for i in label]
    other = x[torch.arange(40) ^ 1]
    assert (p.log_prob(x, present) > p.log_prob(other, present) + 3).all()
