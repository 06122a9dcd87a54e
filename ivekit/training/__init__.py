"""Training and what is asked of a trained model: the loop, its learning rates, its state on disk, evaluation."""

from .augment import DropViews
from .cost import Cost, cost
from .evaluation import collapse, evaluate, latents, log_evidence
from .loop import Step, agreed, best_device, train
from .schedules import cosine, one_cycle, plateau, step_decay
from .state import State, read_tensors, write_tensors

__all__ = [
    "Cost", "DropViews", "State", "Step", "agreed", "best_device", "collapse", "cosine", "cost", "evaluate",
    "latents", "log_evidence", "one_cycle", "plateau", "read_tensors", "step_decay", "train", "write_tensors",
]  # fmt: skip
