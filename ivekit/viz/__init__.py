"""Figures: arrays in, axes out. For a paper's column, for colour-blind readers, on light and dark pages.

Every function draws into `ax`, or into a figure of its own, and returns the axes. The ink is matplotlib's own
(``text.color``), so that ``plt.style.context("dark_background")`` gives the same figures on black.
"""

from .attention import attention_browser, attention_evidence, attention_matrix, attention_overlay
from .attribution import attributed_field, attributed_film
from .brain import bold, connectivity, slice_map
from .card import card, claim
from .decoding import class_maps, confusion, generalisation, over_time, ranked, sensor_time
from .disentanglement import floors, gaps, leak, relation
from .fields import butterfly, colour_bar, explained, frames, place_colours, reconstruction, topomap
from .film import animate, film, pictures, record
from .points import agreement, calibration, principal_plane, scatter3d, sections, strip
from .save import save
from .scoreboard import scoreboard
from .signals import comparison, fusion_weights, traces
from .style import COLUMN, CYCLE, LINES, STYLE, legend_above
from .tables import bars, kl, latents, loss_columns, losses, matrix, presence, scores
from .trajectories import trajectory
from .traversal import animate_traversal, traversal
from .traversals import changes, traversals

__all__ = [
    "COLUMN",
    "CYCLE",
    "LINES",
    "STYLE",
    "agreement",
    "animate",
    "animate_traversal",
    "attention_browser",
    "attention_evidence",
    "attention_matrix",
    "attention_overlay",
    "attributed_field",
    "attributed_film",
    "bars",
    "bold",
    "butterfly",
    "calibration",
    "card",
    "changes",
    "claim",
    "class_maps",
    "colour_bar",
    "comparison",
    "confusion",
    "connectivity",
    "explained",
    "film",
    "floors",
    "frames",
    "fusion_weights",
    "gaps",
    "generalisation",
    "kl",
    "latents",
    "leak",
    "legend_above",
    "loss_columns",
    "losses",
    "matrix",
    "over_time",
    "pictures",
    "place_colours",
    "presence",
    "principal_plane",
    "ranked",
    "reconstruction",
    "record",
    "relation",
    "save",
    "scatter3d",
    "scoreboard",
    "scores",
    "sections",
    "sensor_time",
    "slice_map",
    "strip",
    "topomap",
    "traces",
    "trajectory",
    "traversal",
    "traversals",
]
