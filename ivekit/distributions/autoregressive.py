"""Sequences of classes in which each is told from those before it: texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.distributions import Distribution

from ..noise import noise
from .masks import clean, said, stacked, total


class Autoregressive(Distribution):
    """Bytes ``(b, n)``, each told from those before it.

    ``log p(x)`` is the sum over i of ``log p(x_i | x_1, x_2, ..., x_{i-1})``.

    logits : ``x (b, m) -> (b, m, classes)``, for any m up to n, of which none may look at its own byte or a later one.
    end : the class that ends a text; what is written after it is `end` again.

    `mode` is the text that takes the most probable byte at each place (greedily, so not always the most probable
    text), and `mean` the probabilities that it was taken from, ``(b, n, classes)``.

    >>> p = Autoregressive(lambda x: torch.zeros(*x.shape, 4), (2, 3), torch.device("cpu"))
    >>> p.log_prob(torch.ones(2, 3, dtype=torch.int64))
    tensor([-4.1589, -4.1589])
    >>> p.mode
    tensor([[0, 0, 0],
            [0, 0, 0]])
    """

    arg_constraints: dict = {}
    __repr__ = said

    def __init__(self, logits: Callable[[Tensor], Tensor], shape: tuple[int, int], device: torch.device, end: int = 0):
        self.logits, self.device, self.end = logits, device, end
        super().__init__(torch.Size(shape[:1]), torch.Size(shape[1:]), validate_args=False)

    def log_prob(self, x: Int[Tensor, "r n"], mask: Bool[Tensor, "b *any"] | None = None) -> Float[Tensor, "b"]:
        """By teacher forcing: each byte given the true ones before it, and summed over those that are there."""
        x, mask = clean(x, mask)
        x = stacked(x, self.batch_shape[0]).long()
        log_p = self.logits(x).float().log_softmax(-1)
        return total(rearrange(log_p.gather(-1, x[..., None]), "b n 1 -> b n"), mask)

    @property
    def mean(self) -> Float[Tensor, "b n classes"]:
        with torch.no_grad():
            return self.logits(self.mode).softmax(-1)

    @property
    def mode(self) -> Int[Tensor, "b n"]:
        return self._write(lambda logits: logits.argmax(-1))

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Int[Tensor, "..."]:
        def draw(logits: Tensor) -> Tensor:  # the Gumbel-max trick
            return (logits - noise(torch.rand, logits).log().neg().log()).argmax(-1)

        drawn = [self._write(draw) for _ in range(torch.Size(sample_shape).numel())]
        return torch.stack(drawn).unflatten(0, tuple(sample_shape)) if sample_shape else drawn[0]

    def _write(self, choose: Callable[[Tensor], Tensor]) -> Int[Tensor, "b n"]:
        """Byte after byte, until every text has ended."""
        x = torch.full((*self.batch_shape, *self.event_shape), self.end, dtype=torch.int64, device=self.device)
        ended = torch.zeros(len(x), dtype=torch.bool, device=self.device)
        with torch.no_grad():
            for i in range(x.shape[1]):
                if ended.all():
                    break
                x[:, i] = torch.where(ended, self.end, choose(self.logits(x[:, : i + 1])[:, i].float()))
                ended |= x[:, i] == self.end
        return x
