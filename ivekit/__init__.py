"""ivekit: interpretable variational encoders for several recordings at once."""

from .signal import Sensors, Standardise, Whiten, ZScore
from .views import Views

__all__ = ["Sensors", "Standardise", "Views", "Whiten", "ZScore"]
