"""Objectives: sums of named terms, each ``(out, views, step) -> (b,)``, one number a row.

A term is any such function, or a module with parameters of its own. `step` is None in evaluation, and a schedule
then answers with its end.
"""

from .agreement import Leak, SubsetKL, TotalCorrelation, log_densities
from .classes import ByClass, balanced
from .dynamics import AR1
from .schedules import Cyclical, Linear, Schedule
from .spatial import L1, Bounds, InTraining, SpatialConsistency, neighbours
from .spectral import Resolutions, Spectral, Uncertain, Waveform, WithPhase, amplitude, samples
from .terms import KL, NLL, Objective, balance

__all__ = [
    "AR1", "KL", "L1", "NLL", "Bounds", "ByClass", "Cyclical", "InTraining", "Leak", "Linear", "Objective",
    "Resolutions", "Schedule", "SpatialConsistency", "Spectral", "SubsetKL", "TotalCorrelation", "Uncertain",
    "Waveform", "WithPhase", "amplitude", "balance", "balanced", "log_densities", "neighbours", "samples",
]  # fmt: skip
