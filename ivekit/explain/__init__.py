"""Explanations, and whether to believe them. Each has the shape of what it explains, or names its axes."""

from . import imputers, rotations, sources
from .attention import Attended, attention, entropy, gradient_attention, rollout, sparsity
from .attention_check import check_attention, map_title
from .attribute import attribute
from .attribution import Attribution
from .card import Card, card
from .check import Check, Explainer, Target, verdict
from .checks_input import check_completeness, check_deletion, check_robustness, check_traversal
from .checks_model import cascade, check_labels, check_specificity, check_stability, check_weights
from .effects import check_effect, factor_effects, latent_effects, match_effects
from .groups import groups
from .identify import identify
from .imputers import training_mean, zeros
from .latents import attribute_latents
from .maps import assigned, one_latent, only, regressed
from .path import integrated_gradients
from .patterns import along, filter_patterns, gradient_pattern, haufe_pattern, mean_gradient, spatial_filters
from .randomise import layers, randomised, shuffled_pairs
from .removal import ablation, occlusion
from .rotations import Readout, check_rotation, readout_target
from .shapley import antithetic, shapley
from .support import Support, departures
from .traverse import every_latent, traversal_bands, traversals, traverse, traverse_band
from .truth import (
    check_false_positives,
    check_topography,
    check_truth,
    localised,
    null_places,
    scrambled,
    shifted_places,
    sign_flips,
    true_places,
)

__all__ = [
    "Attended",
    "Attribution",
    "Card",
    "Check",
    "Explainer",
    "Readout",
    "Support",
    "Target",
    "ablation",
    "along",
    "antithetic",
    "assigned",
    "attention",
    "attribute",
    "attribute_latents",
    "card",
    "cascade",
    "check_attention",
    "check_completeness",
    "check_deletion",
    "check_effect",
    "check_false_positives",
    "check_labels",
    "check_robustness",
    "check_rotation",
    "check_specificity",
    "check_stability",
    "check_topography",
    "check_traversal",
    "check_truth",
    "check_weights",
    "departures",
    "entropy",
    "every_latent",
    "factor_effects",
    "filter_patterns",
    "gradient_attention",
    "gradient_pattern",
    "groups",
    "haufe_pattern",
    "identify",
    "imputers",
    "integrated_gradients",
    "latent_effects",
    "layers",
    "localised",
    "map_title",
    "match_effects",
    "mean_gradient",
    "null_places",
    "occlusion",
    "one_latent",
    "only",
    "randomised",
    "readout_target",
    "regressed",
    "rollout",
    "rotations",
    "scrambled",
    "shapley",
    "shifted_places",
    "shuffled_pairs",
    "sign_flips",
    "sources",
    "sparsity",
    "spatial_filters",
    "training_mean",
    "traversal_bands",
    "traversals",
    "traverse",
    "traverse_band",
    "true_places",
    "verdict",
    "zeros",
]
