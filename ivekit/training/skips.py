"""Steps that change nothing, because their loss or its gradient is not finite: counted where they happen, and said."""

from __future__ import annotations

import logging
import math
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
    return float(x.tolist())  # type: ignore[arg-type]


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
    def found(*numbers: Float[Tensor, ""]) -> Bool[Tensor, ""] | bool:
        """Whether one of some numbers is not finite: known at once on the CPU, elsewhere when the device is done."""
        if numbers[0].device.type == "cpu":
            return not all(math.isfinite(read(x)) for x in numbers)
        return torch.stack([x.float() - x.float() != 0 for x in numbers]).any()  # an infinity minus itself is no number

    def count(self, skipped: Bool[Tensor, ""] | bool) -> None:
        """Notes whether a step was skipped; to be called after it."""
        then, now = self._versions, self._now()
        moved = [pair for some, a, b in zip(self._kept, then, now) if a != b for pair in some]
        for buffer, kept in moved:
            if isinstance(skipped, Tensor):
                buffer.copy_(torch.where(skipped, kept, buffer))
            elif skipped:
                buffer.copy_(kept)
            kept.copy_(buffer)
        self._versions = self._now() if moved else now
        if skipped is False:
            self.in_a_row = self._none
        else:
            self.in_a_row, self.of_epoch = (self.in_a_row + 1) * skipped, self.of_epoch + skipped

    def look(self, step: int, end: str, n_steps: int, terms: Mapping[str, Tensor], lr: float) -> None:
        """Says at the end of an epoch how many of its steps were skipped; raises where too many were in a row.

        end : what ends with this step, such as "epoch 3" of `n_steps`, or nothing.
        """
        lost = 0 if self.of_epoch is self._none else int(read(self.of_epoch))
        if lost and (in_a_row := int(read(self.in_a_row))) >= LIMIT:
            error = _too_many(step, in_a_row, [name for name, term in terms.items() if bool(self.found(term))], lr)
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
