"""Classes told by several networks at once."""

from __future__ import annotations

import torch
from einops import rearrange, reduce
from jaxtyping import Bool, Float
from torch import Tensor

from .discrete import Categorical
from .masks import clean, stacked, total


class Votes(Categorical):
    """Class probabilities averaged over members, each of which is scored by itself (Lakshminarayanan et al., 2017).

    logits : ``(b, m, ..., classes)``, of every member. `mean` is the average of their probabilities; `log_prob` the
        average of their log-probabilities, which is never more than the logarithm of the average (Jensen), and whose
        gradient teaches each member as if it were alone.

    >>> votes = Votes(torch.tensor([[[2.0, 0.0], [0.0, 2.0]]]))
    >>> votes.mean, votes.log_prob(torch.tensor([0]))
    (tensor([[0.5000, 0.5000]]), tensor([-1.1269]))
    """

    def __init__(self, logits: Float[Tensor, "b m *event classes"]):
        full = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        self.members = full.log_softmax(-1)
        super().__init__(reduce(self.members.exp(), "b m ... -> b ...", "mean").clamp(min=1e-30).log())

    def log_prob(self, x: Tensor, mask: Bool[Tensor, "b *any"] | None = None) -> Float[Tensor, "b"]:
        x, mask = clean(x, mask)
        told = reduce(self.members, "b m ... -> b ...", "mean")
        labels = rearrange(stacked(x, len(told)).long(), "... -> ... 1")
        return total(rearrange(told.gather(-1, labels), "... 1 -> ..."), mask)
