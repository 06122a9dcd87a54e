"""Explanations, and whether to believe them. Each has the shape of what it explains, or names its axes."""

from . import imputers
from .attention import Attended, attention, entropy, rollout, sparsity
from .attribute import attribute
from .attribution import Attribution
from .check import Check, Explainer, Target, verdict
from .groups import groups
from .imputers import training_mean, zeros

__all__ = [
    "Attended",
    "Attribution",
    "Check",
    "Explainer",
    "Target",
    "attention",
    "attribute",
    "entropy",
    "groups",
    "imputers",
    "rollout",
    "sparsity",
    "training_mean",
    "verdict",
    "zeros",
]
