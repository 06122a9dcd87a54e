"""Explanations, and whether to believe them. Each has the shape of what it explains, or names its axes."""

from .attention import Attended, attention, entropy, rollout, sparsity
from .check import Check, Explainer, Target, verdict

__all__ = ["Attended", "Check", "Explainer", "Target", "attention", "entropy", "rollout", "sparsity", "verdict"]
