"""ivekit: interpretable variational encoders for several recordings at once."""

from importlib import import_module as _import_module

from .memory import keep_freed as _keep_freed
from .models import Conditional, MultimodalVAE, Outputs, Plan
from .objectives import AR1, KL, NLL, Cyclical, Linear, Objective, SubsetKL
from .signal import RobustZScore, Sensors, Standardise, Whiten, ZScore
from .training import Step, evaluate, latents, log_evidence, train
from .views import Views

__version__ = "0.1.0"
_keep_freed()

_PARTS = (
    "baselines", "distributions", "explain", "io", "metrics", "nn", "plans", "recipe", "report", "signal", "synth",
    "topomap", "viz", "watch", "widgets",
)  # fmt: skip

__all__ = [
    "AR1", "KL", "NLL", "Conditional", "Cyclical", "Linear", "MultimodalVAE", "Objective", "Outputs", "Plan",
    "RobustZScore", "Sensors", "Standardise", "Step", "SubsetKL", "Views", "Whiten", "ZScore", "evaluate", "latents",
    "log_evidence", "train",
]  # fmt: skip


def __getattr__(name: str):
    """Parts that need mne, scikit-learn or matplotlib are imported when they are first named."""
    if name in _PARTS:
        return _import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PARTS])
