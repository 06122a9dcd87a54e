"""The state of a run, in memory and on disk: safetensors with JSON in their header. Nothing here pickles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..guard import reachable
from ..store import whole


@dataclass(frozen=True)
class State:
    """All that a run needs to go on exactly where it was: what `train` takes as `start`.

    step : how many steps were done. seed : that of the run. epoch_loss : the losses of this epoch so far, summed.
    The rest is what model, objective, optimiser, schedule and scaler say of themselves.
    """

    step: int
    seed: int
    model: dict[str, Tensor]
    objective: dict[str, Tensor]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    scaler: dict[str, Any]
    epoch_loss: Float[Tensor, ""]

    def save(self, folder: str | Path) -> None:
        """Stores the state as one file, ``state.safetensors``, written whole or not at all."""
        tensors: dict[str, Tensor] = {}
        rest = json.dumps(_take_out(vars(self), "state", tensors))
        write_tensors(Path(folder) / "state.safetensors", tensors, {"state": rest})

    @classmethod
    def open(cls, folder: str | Path) -> State:
        """What `save` stored.

        Raises
        ------
        FileNotFoundError, ValueError : when there is none, or the file is cut or another program's.

        >>> State.open("nowhere")
        Traceback (most recent call last):
        FileNotFoundError: nowhere/state.safetensors does not exist
        """
        path = Path(folder) / "state.safetensors"
        tensors, said = read_tensors(path)
        if "state" not in said:
            raise ValueError(f"{path} holds tensors, but not the state of a run")
        return cls(**_put_back(json.loads(said["state"]), tensors))


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], said: Mapping[str, str] | None = None) -> None:
    """Stores tensors as a safetensors file, written whole or not at all, with texts in its header.

    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as tmp:
    ...     write_tensors(f"{tmp}/a.safetensors", {"a": torch.arange(3)}, {"unit": "fT"})
    ...     read_tensors(f"{tmp}/a.safetensors")
    ({'a': tensor([0, 1, 2])}, {'unit': 'fT'})
    """
    apart = {name: x.detach().cpu().clone().contiguous() for name, x in tensors.items()}  # shared memory is refused
    with whole(path) as new:
        new.write_bytes(save(apart, dict(said or {})))


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and texts of a safetensors file. A cut or foreign file is an error that names it."""
    if not reachable(path).is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is cut or not a safetensors file: {error}") from None


def copied(tree: Any) -> Any:
    """Dicts and lists of tensors, with the tensors copied.

    >>> import torch
    >>> copied({"a": [torch.ones(1), 2]})
    {'a': [tensor([1.]), 2]}
    """
    if isinstance(tree, Tensor):
        return tree.detach().clone()
    if isinstance(tree, Mapping):
        return {key: copied(value) for key, value in tree.items()}
    return type(tree)(copied(value) for value in tree) if isinstance(tree, list | tuple) else tree


def _take_out(tree: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """A tree as JSON can hold it: tensors go to `tensors`, and a dict becomes pairs, since its keys may be numbers."""
    if isinstance(tree, Tensor):
        tensors[name] = tree
        return {"tensor": name}
    if isinstance(tree, Mapping):
        return {"dict": [[key, _take_out(value, f"{name}.{key}", tensors)] for key, value in tree.items()]}
    if isinstance(tree, list | tuple):
        values = [_take_out(value, f"{name}.{i}", tensors) for i, value in enumerate(tree)]
        return {type(tree).__name__: values}
    return tree


def _put_back(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `_take_out`."""
    if not isinstance(tree, dict):
        return tree
    ((kind, held),) = tree.items()
    if kind == "tensor":
        return tensors[held]
    if kind == "dict":
        return {key: _put_back(value, tensors) for key, value in held}
    values = [_put_back(value, tensors) for value in held]
    return tuple(values) if kind == "tuple" else values
