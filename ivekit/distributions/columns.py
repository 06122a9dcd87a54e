"""Tables whose columns are of different kinds: reaction times, choices and ratings side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Distribution

from .masks import all_there, clean, real, said, stacked, total
from .normal import Normal
from .units import in_units


class LogNormal(Distribution):
    """Numbers above a shift whose logarithm is normal, such as reaction times (Heathcote et al., 1991).

    base : a normal of ``u``, where ``x = shift + middle exp(step u)``.
    shift : the least a number can be, in the data's units: for reaction times, what moving alone takes.

    In the data's units, `middle` is the training mean over the shift and `step` the coefficient of variation there: a
    u of 1 multiplies by about what one standard deviation adds.

    >>> p = LogNormal(Normal(torch.zeros(1, 1), 1.0))
    >>> p.log_prob(torch.ones(1, 1)), p.mean
    (tensor([-0.9189]), tensor([[1.6487]]))
    """

    arg_constraints: dict = {}
    __repr__ = said

    def __init__(
        self,
        base: Normal,
        shift: float = 0.0,
        middle: Float[Tensor, "..."] | float = 1.0,
        step: Float[Tensor, "..."] | float = 1.0,
    ):
        self.base, self.shift = base, shift
        self.middle, self.step = (v if isinstance(v, Tensor) else base.loc.new_full((), v) for v in (middle, step))
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def in_units(self, transform: Any) -> LogNormal:
        """The same of data that `transform` standardises; a shift that is not below their mean is an error."""
        # A GPU is not made to wait for that at every step of training; evaluation asks.
        asks = transform.loc.device.type == "cpu" or not torch.is_grad_enabled()
        if asks and not torch.compiler.is_compiling() and bool((transform.loc <= self.shift).any()):
            raise ValueError(f"shift {self.shift} is not below the training means {transform.loc.tolist()}")
        middle = transform.loc - self.shift
        return LogNormal(self.base, self.shift, middle, transform.scale / middle)

    def _data(self, u: Tensor) -> Tensor:
        return self.shift + self.middle * (self.step * u).exp()

    def _moment(self, n: int) -> Tensor:
        """The mean of ``(x - shift)^n``."""
        s = self.base.stddev * self.step
        return self.middle**n * (n * self.step * self.base.mean + 0.5 * (n * s).square()).exp()

    @property
    def mean(self) -> Tensor:
        return self.shift + self._moment(1)

    @property
    def mode(self) -> Tensor:
        return self._data(self.base.mean - self.step * self.base.variance)

    @property
    def variance(self) -> Tensor:
        return self._moment(2) - self._moment(1).square()

    @property
    def stddev(self) -> Tensor:
        return self.variance.sqrt()

    def log_prob(self, x: Float[Tensor, "r *event"], mask: Bool[Tensor, "b *any"] | None = None) -> Float[Tensor, "b"]:
        over = real(x) - self.shift
        if mask is not None:
            over = torch.where(clean(torch.ones_like(over), mask)[0] > 0, over, self.middle)
        if over.device.type == "cpu" and not torch.compiler.is_compiling() and not all_there(~(over <= 0)):
            raise ValueError(f"a log-normal of shift {self.shift} has no number as small as {float(x.min()):g}")
        rows = len(self.base.loc)
        log = (over / self.middle).log()
        volume = total(stacked(-over.log() - self.step.log(), rows), mask)  # du/dx = 1 / (step (x - shift))
        return self.base.log_prob(log / self.step, mask) + volume

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        return self._data(self.base.sample(sample_shape))


class Columns(Distribution):
    """Likelihoods side by side, each of the next columns of a table ``(b, f)``.

    >>> p = Columns([Normal(torch.zeros(2, 1), 1.0), Normal(torch.ones(2, 2), 1.0)])
    >>> p.mean, p.log_prob(torch.zeros(2, 3)).shape
    (tensor([[0., 1., 1.],
            [0., 1., 1.]]), torch.Size([2]))
    """

    arg_constraints: dict = {}
    __repr__ = said

    def __init__(self, parts: Sequence[Any]):
        widths = [part.event_shape.numel() for part in parts]
        ends = torch.tensor(widths).cumsum(0).tolist()
        self.parts, self.columns = list(parts), [slice(end - n, end) for n, end in zip(widths, ends)]
        super().__init__(parts[0].batch_shape, torch.Size(ends[-1:]), validate_args=False)

    def in_units(self, transform: Any) -> Columns:
        """The same of data that `transform` standardises: each part in the units of its columns."""
        return Columns([in_units(p, transform.part(columns)) for p, columns in zip(self.parts, self.columns)])

    def _joined(self, name: str) -> Float[Tensor, "b f"]:
        return torch.cat([getattr(part, name).float() for part in self.parts], -1)

    @property
    def mean(self) -> Tensor:
        return self._joined("mean")

    @property
    def mode(self) -> Tensor:
        return self._joined("mode")

    @property
    def stddev(self) -> Tensor:
        return self._joined("stddev")

    def log_prob(self, x: Float[Tensor, "r f"], mask: Bool[Tensor, "b *any"] | None = None) -> Float[Tensor, "b"]:
        each = [
            part.log_prob(x[:, columns], mask if mask is None or mask.ndim == 1 else mask[:, columns])
            for part, columns in zip(self.parts, self.columns)
        ]
        return torch.stack(each).sum(0)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        return torch.cat([part.sample(sample_shape).float() for part in self.parts], -1)
