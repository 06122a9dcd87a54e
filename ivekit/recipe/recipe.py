"""Recipes: a Python file whose functions make data, model, objective and training; their arguments are its settings."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pandas as pd
import torch
import yaml
from torch import nn

from ..training import train
from ..views import Views
from .rows import fill_split

PARTS = ("data", "model", "objective", "training")
SHIPPED = Path(__file__).parents[1] / "recipes"
GIVEN = ("data", "steps")  # what a run gives to functions that ask: the training rows, and how many steps there will be


@dataclass(frozen=True)
class Setting:
    """A setting's default, its kind ("int", "float" ...; "" for any) and its meaning."""

    default: Any
    kind: str = ""
    meaning: str = ""


# What every recipe takes, whether its functions name it or not; where one does, its default and meaning hold.
COMMON = {
    "data": Setting(None, "", "a folder of saved rows (Views.save), instead of the recipe's own"),
    "split_by": Setting(
        None, "", "column of the metadata whose values stay in one part, where the seed makes the split"
    ),
    "held_out": Setting(
        None, "", "value of split_by, or several, whose rows are the test rows: a subject, a site; null draws them"
    ),
    "seed": Setting(0, "int", "of the split, the first weights, the order of rows and the noise"),
    "epochs": Setting(10, "int", "times all training rows are seen"),
    "batch_size": Setting(64, "int", "rows of a step, over all processes"),
    "accumulate": Setting(1, "int", "parts that a step's rows go through the model in, which takes less memory"),
    "lr": Setting(1e-3, "float", "learning rate"),
    "device": Setting(None, "", "cpu, cuda, cuda:1, mps; null takes a GPU if there is one"),
    "precision": Setting("float32", "str", "of the networks: float32, bfloat16 or float16"),
    "patience": Setting(None, "", "epochs without a better validation score after which a run stops; null for never"),
}
TRAINED = ("seed", "epochs", "batch_size", "accumulate", "lr", "device", "precision")  # `train` takes them


class Recipe:
    """A file that says how a model is made and trained, and the settings it is used with.

    source : the name of one in `ivekit.recipes`, the path of a file, or a module. Its functions are

    - ``data(...)``, all rows as `Views`, or a simulated world that has them; not asked where the setting ``data`` is
      a folder of saved rows;
    - ``model(data, ...)`` and ``objective(...)``, which are given the training rows and the number of steps where
      they have arguments ``data`` and ``steps`` without a default;
    - ``training(...)``, if there is one: more arguments of `ivekit.training.train`.

    Their arguments with defaults are the settings, and a line ``name : meaning`` of a docstring says what one means.

    settings : values by name; the others have their defaults.

    Raises
    ------
    ValueError : for a setting that nothing takes, of the wrong kind, or with two defaults; names those there are.
    """

    def __init__(self, source: str | Path | ModuleType, settings: Mapping[str, Any] | None = None):
        module = source if isinstance(source, ModuleType) else _module(source)
        self.path = Path(inspect.getfile(module))
        self.name, self.about = self.path.stem, (inspect.getdoc(module) or "").split("\n\n")[0]
        self.functions = {n: f for n in PARTS if isinstance(f := getattr(module, n, None), FunctionType)}
        if lacking := {"model", "objective"} - set(self.functions):
            raise ValueError(f"{self.path} has no function {' or '.join(sorted(lacking))}, so it is not a recipe")
        self.known = self._known()
        for name in settings or {}:
            if name not in self.known:
                raise ValueError(f"no setting {name!r} in recipe {self.name}{_guess(name, self.known)}")
        self.settings = {n: _fit(n, s, (settings or {}).get(n, s.default)) for n, s in self.known.items()}

    @classmethod
    def parse(cls, source: str | Path | ModuleType, pairs: Iterable[str] = (), *configs: str | Path) -> Recipe:
        """A recipe with settings as they are typed, ``["latent=16"]``, over those of YAML files."""
        known = cls(source).known
        said: dict[str, Any] = {}
        for config in configs:
            said |= _read(config)
        for pair in pairs:
            name, equals, text = pair.partition("=")
            if not equals:
                raise ValueError(f"settings are written name=value, got {pair!r}")
            kind = known[name].kind if name in known else ""
            said[name] = text if kind == "str" else _value(text)
        return cls(source, said)

    def __repr__(self) -> str:
        return f"Recipe({self.name!r}, {self.changed()})"

    def changed(self) -> dict[str, Any]:
        """The settings that are not at their defaults."""
        return {name: value for name, value in self.settings.items() if value != self.known[name].default}

    def config(self) -> str:
        """Every setting with its meaning, as YAML that `parse` takes back."""
        lines = [f"# {self.name}: {self.about}".replace("\n", "\n# "), ""]
        for name, value in self.settings.items():
            if meaning := self.known[name].meaning:
                lines.append(f"# {meaning}")
            plain = list(value) if isinstance(value, tuple) else value
            lines.append(
                yaml.safe_dump({name: plain}, default_flow_style=False, sort_keys=False, allow_unicode=True).strip()
            )
        return "\n".join(lines) + "\n"

    # what it makes ------------------------------------------------------------------------------------------------

    def data(self) -> Views:
        """All rows, with their split."""
        return self.world()[0]

    def world(self) -> tuple[Views, pd.DataFrame | None, dict[str, Any]]:
        """All rows, with their split; and where they are simulated, the true factors and the views that each drives."""
        where = self.settings["data"]
        folder = isinstance(where, str) and (Path(where) / "about.json").is_file()
        if where is not None and not folder and not self._takes("data", "data"):
            raise ValueError(
                f"data={where} is not a folder of saved rows (Views.save), and recipe {self.name} knows no other"
            )
        made: Any = Views.open(str(where)) if folder else self._call("data")
        views = made if isinstance(made, Views) else made.views
        known = getattr(made, "factors", None), dict(getattr(made, "owners", None) or {})
        return fill_split(views, *(self.settings[name] for name in ("seed", "split_by", "held_out"))), *known

    def model(self, data: Views, n_rows: int | None = None) -> nn.Module:
        """The model with its first weights, which the seed draws; `data` are the training rows.

        n_rows : how many training rows there are, where `data` are only like them.
        """
        with torch.random.fork_rng([]):
            torch.manual_seed(self.settings["seed"])
            return self._call("model", data, n_rows)

    def objective(self, data: Views) -> Any:
        """What the model is to make small."""
        with torch.random.fork_rng([]):
            torch.manual_seed(self.settings["seed"])
            return self._call("objective", data)

    def training(self, data: Views) -> dict[str, Any]:
        """The keyword arguments of `train`."""
        more = self._call("training", data) if "training" in self.functions else {}
        if unknown := set(more) - set(inspect.signature(train).parameters):
            raise ValueError(f"training() of recipe {self.name} says {sorted(unknown)}, which train does not take")
        if hidden := [name for name in TRAINED if name in more and not self._takes("training", name)]:
            raise ValueError(
                f"training() of recipe {self.name} says {hidden}: make them its arguments, so that they are settings"
            )
        return {name: self.settings[name] for name in TRAINED} | more

    def _takes(self, part: str, name: str) -> bool:
        return part in self.functions and name in inspect.signature(self.functions[part]).parameters

    def _call(self, part: str, data: Views | None = None, n_rows: int | None = None) -> Any:
        if part not in self.functions:
            raise ValueError(f"recipe {self.name} has no data of its own: say data=FOLDER, one that Views.save made")
        given: dict[str, Any] = {"data": data}
        if data is not None:
            n = len(data) if n_rows is None else n_rows
            given["steps"] = self.settings["epochs"] * -(-n // self.settings["batch_size"])
        arguments = inspect.signature(self.functions[part]).parameters.values()
        asked = {a.name: a for a in arguments if a.kind in (a.POSITIONAL_OR_KEYWORD, a.KEYWORD_ONLY)}
        return self.functions[part](
            **{
                n: self.settings[n] if a.default is not a.empty or n not in given else given[n]
                for n, a in asked.items()
            }
        )

    def _known(self) -> dict[str, Setting]:
        """The settings of all functions, then the common ones that none of them names."""
        known: dict[str, Setting] = {}
        for part, function in self.functions.items():
            meanings = _meanings(inspect.getdoc(function) or "")
            for name, a in inspect.signature(function).parameters.items():
                if a.default is a.empty:
                    if name not in GIVEN[part == "data" :] and name not in COMMON and a.kind != a.VAR_KEYWORD:
                        raise ValueError(f"{part}() of recipe {self.name} needs a default for {name}")
                    continue
                kind = a.annotation if isinstance(a.annotation, str) else getattr(a.annotation, "__name__", "")
                common = COMMON.get(name, Setting(None))
                new = Setting(
                    a.default, common.kind if a.annotation is a.empty else kind, meanings.get(name, common.meaning)
                )
                old = known.setdefault(name, new)
                if old.default != new.default:
                    raise ValueError(
                        f"recipe {self.name} has two defaults for {name}: {old.default!r} and {new.default!r}"
                    )
                if not old.meaning:
                    known[name] = new
        return known | {name: setting for name, setting in COMMON.items() if name not in known}


def _module(source: str | Path) -> ModuleType:
    """The module of a shipped recipe's name, or of a file."""
    path = Path(source)
    if path.suffix != ".py":
        names = sorted(p.stem for p in SHIPPED.glob("*.py") if not p.stem.startswith("_"))
        if str(source) not in names:
            raise ValueError(
                f"no recipe {str(source)!r}: there are {', '.join(names)}; your own is named by its file, my.py"
            )
        return importlib.import_module(f"ivekit.recipes.{source}")
    if not path.is_file():
        raise FileNotFoundError(f"there is no recipe file {path}")
    spec: Any = importlib.util.spec_from_file_location(f"ivekit_recipe_{path.stem}", path.resolve())
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses of a module look for it there
    spec.loader.exec_module(module)
    return module


def _guess(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return (
        f"; did you mean {near[0]!r}? There are {', '.join(sorted(known))}"
        if near
        else f"; there are {', '.join(sorted(known))}"
    )


def _meanings(doc: str) -> dict[str, str]:
    """The lines ``name : meaning`` of a docstring, each with the deeper lines that go on with it."""
    found: dict[str, str] = {}
    name, depth = None, 0
    for line in doc.splitlines():
        start, indent = re.match(r"\s*(\w+) : (.+)", line), len(line) - len(line.lstrip())
        if start:
            name, depth = start[1], indent
            found[name] = start[2].strip()
        elif name and line.strip() and indent > depth:
            found[name] += " " + line.strip()
        else:
            name = None
    return found


class _Loader(yaml.SafeLoader):
    """YAML whose numbers are those of its version 1.2 too: 1e-3 is one, not a text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _value(text: str) -> Any:
    try:
        return yaml.load(text, _Loader)  # noqa: S506, a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(f"{text!r} is not a value in YAML: {error}") from None


def _read(config: str | Path) -> dict[str, Any]:
    """The settings of a YAML (or JSON) file."""
    path = Path(config)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of settings {path}")
    said = _value(path.read_text(encoding="utf-8"))
    if not isinstance(said, dict | None):
        raise ValueError(f"{path} must hold settings by name, got {type(said).__name__}")
    return said or {}


def _fit(name: str, setting: Setting, value: Any) -> Any:
    """A value as its setting's kind: a whole number may stand for a float, a list for a tuple; else an error."""
    kind = setting.kind or ("" if setting.default is None else type(setting.default).__name__)
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(setting.default, tuple) and isinstance(value, list):
        return tuple(value)
    if kind in ("int", "float", "str", "bool") and type(value).__name__ != kind:
        raise ValueError(f"setting {name} is of kind {kind}, such as {setting.default!r}; got {value!r}")
    return value
