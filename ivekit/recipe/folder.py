"""A run's folder: the recipe as it was, its settings, the weights. Nothing in it is ever unpickled.

``recipe.py  settings.json  rows/  weights.safetensors`` rebuild the model without the data (``rows/`` holds none of
them, only their shapes and what `about` says); ``objective.safetensors`` is there when the objective learns.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..atomic import whole, writing
from ..guard import reading
from ..training import read_tensors, write_tensors
from ..views import Views
from .recipe import SHIPPED, Recipe


def save(folder: str | Path, recipe: Recipe, model: nn.Module, data: Views, objective: Any = None) -> None:
    """Stores a model with the recipe that made it, so that `load` gives it back.

    data : the training rows, or any like them: what they are is kept, none of the rows.
    objective : kept where it has learned something.

    The weights are written last, and earlier ones are removed first: whoever is killed on the way leaves a folder
    without weights, never one whose weights are of other settings.
    """
    folder = Path(folder)
    for name in ("weights.safetensors", "objective.safetensors"):
        with writing(folder / name):
            (folder / name).unlink(missing_ok=True)
    save_settings(folder, recipe)
    write_text(folder / "recipe.py", recipe.path.read_text(encoding="utf-8"))
    data[:0].save(folder / "rows")
    save_weights(folder, model, objective)


def save_settings(folder: str | Path, recipe: Recipe) -> None:
    """Stores the settings alone, as JSON that ``--config`` takes too."""
    write_text(Path(folder) / "settings.json", json.dumps(recipe.settings, indent=1) + "\n")


def save_weights(folder: str | Path, model: nn.Module, objective: Any = None) -> None:
    """Stores the weights alone, as safetensors."""
    write_tensors(Path(folder) / "weights.safetensors", model.state_dict())
    if learned := objective.state_dict() if isinstance(objective, nn.Module) else {}:
        write_tensors(Path(folder) / "objective.safetensors", learned)


def load(folder: str | Path, trust: bool = False, recipe: Any = None) -> tuple[nn.Module, Recipe]:
    """The model of a run, in evaluation mode and on the CPU, and its recipe with the run's settings.

    A recipe is a program. The folder's own is run only when you `trust` it; otherwise the one you name is (`recipe`:
    a `Recipe`, a module, a path or a shipped one's name), or the shipped one that is the same, byte for byte.

    Raises
    ------
    FileNotFoundError : when the folder holds no run.
    ValueError : when no recipe may be run, or the weights are another model's; says which differ.
    """
    folder = Path(folder)
    found = open_recipe(folder, trust, recipe)
    model = found.model(Views.open(folder / "rows"))
    load_weights(model, folder / "weights.safetensors")
    return model.eval(), found


def open_recipe(folder: str | Path, trust: bool = False, recipe: Any = None) -> Recipe:
    """The recipe of a run with the run's settings; which program it may be, `load` says."""
    folder = Path(folder)
    settings = read_settings(folder)
    if recipe is not None:
        return Recipe(recipe.path if isinstance(recipe, Recipe) else recipe, settings)
    own = folder / "recipe.py"
    same = [path for path in SHIPPED.glob("*.py") if own.is_file() and path.read_bytes() == own.read_bytes()]
    if same:
        return Recipe(same[0].stem, settings)
    if not trust:
        raise ValueError(
            f"{own} is a program that ivekit does not come with. If you know where it is from, load({str(folder)!r}, "
            f"trust=True) runs it; load({str(folder)!r}, recipe=...) takes one that you name instead"
        )
    return Recipe(own, settings)


def read_settings(folder: str | Path) -> dict[str, Any]:
    """The settings of a run."""
    path = Path(folder) / "settings.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is not the folder of a run: it has no settings.json")
    with reading(path, "settings"):
        said = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(said, dict):
            raise ValueError(f"it holds a {type(said).__name__}, not settings by name")
        return said


def load_weights(module: nn.Module, path: str | Path) -> None:
    """Puts stored weights into a module that is like the one they are from; an error says what is not alike."""
    weights, _ = read_tensors(path)
    here = module.state_dict()
    differ = [
        *(f"{name} is not in the file" for name in here.keys() - weights.keys()),
        *(f"{name} is only in the file" for name in weights.keys() - here.keys()),
        *(_shapes(name, weights[name], here[name]) for name in here.keys() & weights.keys()),
    ]
    if differ := sorted(filter(None, differ)):
        more = f" and {len(differ) - 6} more" if len(differ) > 6 else ""
        raise ValueError(f"{path} holds the weights of another model: {'; '.join(differ[:6])}{more}")
    module.load_state_dict(weights)


def _shapes(name: str, stored: Tensor, here: Tensor) -> str:
    return "" if stored.shape == here.shape else f"{name} is {tuple(stored.shape)} there and {tuple(here.shape)} here"


def write_text(path: Path, text: str) -> None:
    """Writes a file whole, or not at all."""
    with whole(path) as new:
        new.write_text(text, encoding="utf-8")
