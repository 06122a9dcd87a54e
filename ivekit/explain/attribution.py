"""An attribution: how much each element of each view adds to a quantity, and what it was measured against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor


class Attribution(dict[str, Tensor]):
    """Numbers of the views' shapes, by view: of one quantity ``(b, ...)``, of several at once ``(b, k, ...)``.

    method : by what they were computed. baseline : in words, what takes the place of what is removed.
    completeness : where the method promises that a row's attributions sum to what its quantity differs from the
        baseline's, how far they are from it: |sum - difference| of each row over the mean |difference| of the rows,
        ``(b,)`` or ``(b, k)``. None where nothing is promised.
    latents : of an attribution of latents, the block and number of each.

    >>> import torch
    >>> Attribution({"a": torch.ones(2, 3)}, "InputXGradient", "none")
    Attribution of 2 rows by InputXGradient, baseline: none; completeness is not promised
      a  (2, 3)
    >>> Attribution({"a": torch.ones(2, 3)}, "IntegratedGradients", "zeros", torch.tensor([0.01, 0.04]))
    Attribution of 2 rows by IntegratedGradients, baseline: zeros; completeness error 2.5%, in the worst row 4.0%
      a  (2, 3)
    """

    def __init__(
        self,
        parts: Mapping[str, Tensor],
        method: str,
        baseline: str,
        completeness: Float[Tensor, "b *k"] | None = None,
        latents: Sequence[tuple[str, int]] = (),
    ):
        super().__init__(parts)
        self.method, self.baseline, self.completeness = method, baseline, completeness
        self.latents = tuple(latents)

    def __repr__(self) -> str:
        rows = len(next(iter(self.values())))
        of = f" for {len(self.latents)} latents" if self.latents else ""
        lines = [f"Attribution of {rows} rows{of} by {self.method}, baseline: {self.baseline}; {self._complete()}"]
        return "\n".join([*lines, *(f"  {name}  {tuple(x.shape)}" for name, x in self.items())])

    def _complete(self) -> str:
        error = self.completeness
        if error is None:
            return "completeness is not promised"
        return f"completeness error {float(error.mean()):.1%}, in the worst row {float(error.max()):.1%}"


def completeness(
    total: Float[Tensor, "b *k"], value: Float[Tensor, "b *k"], at_baseline: Float[Tensor, "b *k"]
) -> Float[Tensor, "b *k"]:
    """How far each row's attributions are from summing to what its quantity differs from the baseline's.

    ``|total - (value - at_baseline)|`` over the mean ``|value - at_baseline|`` of the rows.

    >>> import torch
    >>> completeness(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0]), torch.tensor([0.0, 0.0]))
    tensor([0.0000, 0.5000])
    """
    change = value - at_baseline
    return (total - change).abs() / change.abs().mean(0).clamp(min=1e-12)
