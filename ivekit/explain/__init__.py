"""Explanations: what a model looked at. Each has the shape of what it explains, or names its axes."""

from .attention import Attended, attention, entropy, rollout, sparsity

__all__ = ["Attended", "attention", "entropy", "rollout", "sparsity"]
