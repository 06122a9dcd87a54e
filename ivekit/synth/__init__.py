"""Worlds whose factors are known: simulated recordings that say what a model should have found."""

from .experiment import audiovisual
from .gaussian import LinearGaussian, linear_gaussian
from .world import World

__all__ = ["LinearGaussian", "World", "audiovisual", "linear_gaussian"]
