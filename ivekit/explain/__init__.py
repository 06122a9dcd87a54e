"""Explanations, and whether to believe them. Each has the shape of what it explains, or names its axes."""

from . import imputers, rotations, sources
from .attention import Attended, attention, entropy, rollout, sparsity
from .attribute import attribute
from .attribution import Attribution
from .check import Check, Explainer, Target, verdict
from .groups import groups
from .imputers import training_mean, zeros
from .patterns import along, filter_patterns, gradient_pattern, haufe_pattern, mean_gradient, spatial_filters
from .rotations import Readout, check_rotation, readout_target
from .traverse import traverse, traverse_band

__all__ = [
    "Attended",
    "Attribution",
    "Check",
    "Explainer",
    "Readout",
    "Target",
    "along",
    "attention",
    "attribute",
    "check_rotation",
    "entropy",
    "filter_patterns",
    "gradient_pattern",
    "groups",
    "haufe_pattern",
    "imputers",
    "mean_gradient",
    "readout_target",
    "rollout",
    "rotations",
    "sources",
    "sparsity",
    "spatial_filters",
    "training_mean",
    "traverse",
    "traverse_band",
    "verdict",
    "zeros",
]
