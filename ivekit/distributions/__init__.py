"""The distributions that models speak in: closed forms, no validation, and masks that say what was recorded.

Every one has rows first: ``log_prob(x, mask)`` is ``(b,)``, a sum over all that a row holds and `mask` admits. When
the rows are a batch stacked several times over (see `Plan`), x may be one copy of it, which spares memory and time.
`torch.distributions` validates each call and is seven times slower on a film; these are its formulas alone.
"""

from .autoregressive import Autoregressive
from .beliefs import Delta, Mixture, kl_by_latent, product, standard_normal_like
from .columns import Columns, LogNormal
from .copies import SomeCopies
from .discrete import Bernoulli, Categorical
from .normal import Laplace, Normal
from .units import Standardised, in_units
from .votes import Votes

__all__ = [
    "Autoregressive", "Bernoulli", "Categorical", "Columns", "Delta", "Laplace", "LogNormal", "Mixture", "Normal",
    "SomeCopies", "Standardised", "Votes", "in_units", "kl_by_latent", "product", "standard_normal_like",
]  # fmt: skip
