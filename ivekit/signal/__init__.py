"""Sensors and the numbers they give: where they are, grids, and standardisation fitted on training rows."""

from .sensors import Sensors
from .standardise import Standardise, Whiten, ZScore

__all__ = ["Sensors", "Standardise", "Whiten", "ZScore"]
