"""Steps that change nothing, because their loss or its gradient is not finite: counted where they happen, and said."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

LIMIT = 50  # skipped in a row: above what half precision needs to find its scale, which is halved from 65536
SAID = logging.getLogger("ivekit.training")


def read(x: Tensor) -> float:
    """The number in a tensor. On the CPU nothing has to be waited for; elsewhere this does wait.

    >>> read(torch.tensor(2.5)), read(torch.tensor(True))
    (2.5, 1.0)
    """
    return float(x.cpu().numpy())


class Skips:
    """Counts the steps that are skipped, and puts back what a forward pass of such a step has moved.

    modules : whose buffers, such as a running mean, a forward pass may move. in_a_row : how many steps up to this one
    were skipped. of_epoch : how many were in this epoch. Both stay on the device.

    >>> skips = Skips([], torch.device("cpu"))
    >>> for loss in (torch.tensor(1.0), torch.tensor(torch.nan), torch.tensor(torch.inf)):
    ...     skips.count(skips.found(loss))
    >>> skips.in_a_row, skips.of_epoch
    (tensor(2), tensor(2))
    """

    def __init__(self, modules: Iterable[nn.Module], device: torch.device):
        self._none = self.in_a_row = self.of_epoch = torch.zeros((), dtype=torch.int64, device=device)
        buffers = [[*module.buffers(recurse=False)] for module in modules]
        self._kept = [[(buffer, buffer.clone()) for buffer in some] for some in buffers if some]
        self._versions = self._now()

    def _now(self) -> list[int]:
        """How often the buffers of each module were written; batch normalisation counts one of its three."""
        return [sum(buffer._version for buffer, _ in some) for some in self._kept]

    @staticmethod
    def found(x: Float[Tensor, ""]) -> Bool[Tensor, ""]:
        """Whether a number is not finite."""
        return (x - x) != 0  # an infinity minus itself is no number, and equals nothing

    def count(self, skipped: Bool[Tensor, ""]) -> None:
        """Notes whether a step was skipped; to be called after it."""
        then, now = self._versions, self._now()
        moved = [pair for some, a, b in zip(self._kept, then, now) if a != b for pair in some]
        if skipped.device.type != "cpu":
            self.in_a_row, self.of_epoch = (self.in_a_row + 1) * skipped, self.of_epoch + skipped
            for buffer, kept in moved:
                buffer.copy_(torch.where(skipped, kept, buffer))
        elif skipped.numpy():
            self.in_a_row, self.of_epoch = self.in_a_row + 1, self.of_epoch + 1
            for buffer, kept in moved:
                buffer.copy_(kept)
        else:
            self.in_a_row = self._none
        for buffer, kept in moved:
            kept.copy_(buffer)
        self._versions = self._now() if moved else now

    def look(self, step: int, end: str, n_steps: int, terms: Mapping[str, Tensor], lr: float) -> None:
        """Says at the end of an epoch how many of its steps were skipped; raises where too many were in a row.

        end : what ends with this step, such as "epoch 3" of `n_steps`, or nothing.
        """
        lost = 0 if self.of_epoch is self._none else int(read(self.of_epoch))
        if lost and (in_a_row := int(read(self.in_a_row))) >= LIMIT:
            error = _too_many(step, in_a_row, [name for name, term in terms.items() if read(self.found(term))], lr)
            SAID.error("%s", error)
            raise error
        if lost and end:
            SAID.warning("%s: %d of %d steps changed nothing: loss or gradient was not finite", end, lost, n_steps)
        if end:
            self.of_epoch = self._none


def _too_many(step: int, in_a_row: int, names: list[str], lr: float) -> FloatingPointError:
    what = f"not finite: {', '.join(names)}" if names else "every term is finite, but not their gradient"
    return FloatingPointError(
        f"step {step}: the last {in_a_row} steps changed nothing, because the loss or its gradient was not finite "
        f"({what}). The weights are those of step {step - in_a_row}, the last good one. What may help: a smaller lr "
        f'(it is {lr:g}), a smaller clip, precision="float32", a likelihood whose scale cannot fall to 0, or data '
        "standardised on training rows"
    )
