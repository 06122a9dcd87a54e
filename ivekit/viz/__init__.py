"""Figures: arrays in, axes out. For a paper's column, for colour-blind readers, on light and dark pages.

Every function draws into `ax`, or into a figure of its own, and returns the axes. The ink is matplotlib's own
(``text.color``), so that ``plt.style.context("dark_background")`` gives the same figures on black.
"""

from .attention import attention_browser, attention_matrix, attention_overlay
from .fields import butterfly, frames, place_colours, reconstruction, topomap
from .points import agreement, calibration, principal_plane, scatter3d, sections, strip
from .style import COLUMN, CYCLE, STYLE
from .tables import bars, kl, latents, loss_columns, losses, matrix, presence, scores
from .trajectories import trajectory

__all__ = [
    "COLUMN",
    "CYCLE",
    "STYLE",
    "agreement",
    "attention_browser",
    "attention_matrix",
    "attention_overlay",
    "bars",
    "butterfly",
    "calibration",
    "frames",
    "kl",
    "latents",
    "loss_columns",
    "losses",
    "matrix",
    "place_colours",
    "presence",
    "principal_plane",
    "reconstruction",
    "scatter3d",
    "scores",
    "sections",
    "strip",
    "topomap",
    "trajectory",
]
