"""ivekit: interpretable variational encoders for several recordings at once."""

from .models import Conditional, MultimodalVAE, Outputs, Plan
from .objectives import KL, NLL, Cyclical, Linear, Objective, SubsetKL
from .signal import Sensors, Standardise, Whiten, ZScore
from .views import Views

__version__ = "0.1.0.dev0"

__all__ = [
    "KL", "NLL", "Conditional", "Cyclical", "Linear", "MultimodalVAE", "Objective", "Outputs", "Plan", "Sensors",
    "Standardise", "SubsetKL", "Views", "Whiten", "ZScore",
]  # fmt: skip
