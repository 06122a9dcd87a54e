"""Recipes and run folders: settings are what functions take, and a run is rebuilt without data and without trust."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pandas as pd
import pytest
import tiny_recipe
import torch

import ivekit as ive
from ivekit.recipe import Recipe, fill_split, load, load_best, parts, run, save
from ivekit.training import evaluate, latents, write_tensors

TINY = Path(tiny_recipe.__file__)


# settings ----------------------------------------------------------------------------------------------------


def test_settings_are_the_arguments_of_the_functions_and_those_of_every_recipe():
    recipe = Recipe(TINY)
    own = {"n": 60, "noise": 0.3, "kind": "sine", "latent": 2, "widths": (8,), "beta": 1.0, "pause": 0.0, "stop": 0}
    trained = {"epochs": 3, "lr": 1e-2, "batch_size": 16}
    common = {"data": None, "split_by": None, "held_out": None, "seed": 0, "device": None, "precision": "float32"}
    common |= {"patience": None, "accumulate": 1}
    assert recipe.settings == own | trained | common
    assert recipe.changed() == {} and Recipe(TINY, {"latent": 3}).changed() == {"latent": 3}
    assert repr(Recipe(TINY, {"latent": 3})) == "Recipe('tiny_recipe', {'latent': 3})"


def test_a_recipe_is_a_name_a_file_or_a_module():
    assert Recipe(tiny_recipe).settings == Recipe(str(TINY)).settings
    with pytest.raises(ValueError, match="no recipe 'nope': there are .*ive"):
        Recipe("nope")
    with pytest.raises(FileNotFoundError, match="no recipe file nope.py"):
        Recipe("nope.py")


def test_settings_are_typed_as_yaml_and_take_the_kind_of_their_default():
    typed = ["latent=3", "noise=1", "lr=1e-3", "widths=[4, 4]", "kind=1e3", "split_by=null", "device=cpu"]
    recipe = Recipe.parse(TINY, typed)
    assert recipe.changed() == {"latent": 3, "noise": 1.0, "lr": 1e-3, "widths": (4, 4), "kind": "1e3", "device": "cpu"}
    assert isinstance(recipe.settings["noise"], float)


def test_settings_of_a_file_come_before_those_that_are_typed(tmp_path):
    config = tmp_path / "my.yaml"
    config.write_text("latent: 5\nbeta: 1e-1\n")
    assert Recipe.parse(TINY, ["latent=3"], config).changed() == {"latent": 3, "beta": 0.1}


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("latnt=3", "no setting 'latnt' in recipe tiny_recipe; did you mean 'latent'"),
        ("zzz=3", "no setting 'zzz' in recipe tiny_recipe; there are accumulate, batch_size, beta, data"),
        ("latent", "settings are written name=value, got 'latent'"),
        ("latent=many", "setting latent is of kind int, such as 2; got 'many'"),
        ("latent=2.5", "setting latent is of kind int"),
        ("noise=true", "setting noise is of kind float"),
        ("latent=[", "'\\[' is not a value in YAML"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(typed, says):
    with pytest.raises(ValueError, match=says):
        Recipe.parse(TINY, [typed])


def test_a_file_of_settings_that_is_none_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file of settings"):
        Recipe.parse(TINY, [], tmp_path / "my.yaml")
    (tmp_path / "my.yaml").write_text("- a\n- b\n")
    with pytest.raises(ValueError, match="must hold settings by name, got list"):
        Recipe.parse(TINY, [], tmp_path / "my.yaml")


def test_the_printed_config_has_every_setting_with_its_meaning_and_gives_the_same_back(tmp_path):
    recipe = Recipe(TINY, {"latent": 7, "widths": (3, 4), "kind": "none", "device": "cpu"})
    (tmp_path / "all.yaml").write_text(recipe.config())
    assert Recipe.parse(TINY, [], tmp_path / "all.yaml").settings == recipe.settings
    lines = recipe.config().splitlines()
    assert lines[0] == "# tiny_recipe: Three numbers and one of the same cause: does a small model find it?"
    assert lines[lines.index("noise: 0.3") - 1] == "# its standard deviation, in units of the signal"
    assert lines[lines.index("seed: 0") - 1].startswith("# of the split")
    assert {line.split(":")[0] for line in lines if line and line[0] not in "#- "} == set(recipe.settings)


def recipe_of(folder: Path, source: str) -> Recipe:
    """A recipe with these functions, beside those it cannot be without."""
    needed = "def model(data): return None\ndef objective(): return None\n"
    (folder / "mine.py").write_text(source if "def model" in source else needed + source)
    return Recipe(folder / "mine.py")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def model(data): ...", "has no function objective, so it is not a recipe"),
        ("def training(latent=2): ...\ndef data(latent=3): ...", "two defaults for latent: 3 and 2"),
        ("def data(rows): ...", "data\\(\\) of recipe mine needs a default for rows"),
        ("def training(size): ...", "training\\(\\) of recipe mine needs a default for size"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(source, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        recipe_of(tmp_path, source)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def training(): return {'epoch': 3}", "says \\['epoch'\\], which train does not take"),
        ("def training(): return {'epochs': 3}", "says \\['epochs'\\]: make them its arguments"),
    ],
)
def test_arguments_of_train_that_are_none_or_no_settings_are_refused(source, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        recipe_of(tmp_path, source).training(ive.Views({"a": torch.zeros(3)}))


def test_functions_are_given_what_they_ask_for(tmp_path):
    source = """
def model(data, epochs, lr):
    return torch.nn.Linear(len(data), epochs)
def objective(steps, *, seed):
    return lambda: (steps, seed)
"""
    recipe = recipe_of(tmp_path, "import torch" + source)
    rows = ive.Views({"a": torch.zeros(100)})
    assert recipe.model(rows).weight.shape == (10, 100)
    assert recipe.objective(rows)() == (20, 0)
    assert torch.equal(recipe.model(rows).weight, recipe.model(rows).weight)  # the seed draws the first weights
    with pytest.raises(ValueError, match="recipe mine has no data of its own: say data=FOLDER"):
        recipe.data()


# rows --------------------------------------------------------------------------------------------------------


def test_rows_of_a_recipe_are_views_a_world_or_a_folder(tmp_path):
    rows = Recipe(TINY).data()
    rows.save(tmp_path / "rows")
    assert torch.equal(Recipe(TINY, {"data": str(tmp_path / "rows")}).data()["a"], rows["a"])
    with pytest.raises(ValueError, match="data=nowhere is not a folder of saved rows"):
        Recipe(TINY, {"data": "nowhere"}).data()
    world = """
import ivekit as ive, pandas as pd, torch
from ivekit.synth import World
def data(n=20):
    return World(ive.Views({"a": torch.zeros(n, 2)}), pd.DataFrame({"f": range(n)}), {"f": frozenset({"a"})})
"""
    assert len(recipe_of(tmp_path, world).data()) == 20


def frame(n: int = 100, **columns) -> ive.Views:
    return ive.Views({"a": torch.zeros(n)}, metadata=pd.DataFrame(columns) if columns else None)


def split_of(views: ive.Views) -> list[str]:
    return views.metadata["split"].tolist()


def test_a_split_is_drawn_by_the_seed():
    first = split_of(fill_split(frame(), seed=0))
    assert {name: first.count(name) for name in set(first)} == {"train": 70, "validation": 10, "test": 20}
    assert split_of(fill_split(frame(), seed=0)) == first != split_of(fill_split(frame(), seed=1))
    rows = parts(fill_split(frame(trial=range(100))))
    assert sorted(i for part in rows.values() for i in part.metadata["trial"]) == list(range(100))


def test_a_split_by_subject_keeps_subjects_together():
    rows = parts(fill_split(frame(40, subject=[f"s{i % 4}" for i in range(40)]), by="subject"))
    subjects = [set(part.metadata["subject"]) for part in rows.values()]
    assert [len(s) for s in subjects] == [2, 1, 1] and len(set.union(*subjects)) == 4


def test_an_official_split_stays_and_gets_validation_rows_from_its_training_rows():
    official = ["train"] * 80 + ["test"] * 20
    filled = split_of(fill_split(frame(split=official)))
    assert filled[80:] == ["test"] * 20 and filled[:80].count("validation") == 10
    whole = ["train", "validation", "test"]
    assert split_of(fill_split(frame(3, split=whole))) == whole


@pytest.mark.parametrize(
    ("views", "by", "says"),
    [
        (frame(2), None, "no row is left for train: there are 2 rows"),
        (frame(8, subject=["s1", "s2"] * 4), "subject", "no row is left for train: .* of 2 values of 'subject'"),
        (frame(8), "subject", "cannot split by 'subject': the metadata has \\[\\]"),
        (
            frame(2, split=["train", "dev"]),
            None,
            "split must be one of train, validation, test in every row, got \\['dev'\\]",
        ),
        (frame(9, split=["train"] * 9), None, "no row is left for test"),
    ],
)
def test_a_split_that_leaves_a_part_empty_is_refused(views, by, says):
    with pytest.raises(ValueError, match=says):
        fill_split(views, by=by)


# runs --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a run."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    run(Recipe(TINY, {"epochs": 4}), folder, disable=True)
    return folder


def test_a_run_leaves_its_folder_complete(finished):
    files = {path.name for path in finished.iterdir()}
    asked = {
        "recipe.py",
        "settings.json",
        "weights.safetensors",
        "losses.csv",
        "scores.json",
        "report.html",
        "checkpoint",
    }
    assert files == asked | {"rows", "latents.csv", "objective.safetensors"}
    assert (finished / "recipe.py").read_bytes() == TINY.read_bytes()
    assert json.loads((finished / "settings.json").read_text())["epochs"] == 4
    scores = json.loads((finished / "scores.json").read_text())
    assert set(scores) == {"a", "b"}
    assert set(scores["a"]["reconstruction"]) == {"model", "constant", "zero", "linear", "interval"}
    assert "Kept is epoch" in (finished / "report.html").read_text()
    assert len(ive.Views.open(finished / "rows")) == 0


def test_a_run_stops_when_validation_no_longer_falls_and_keeps_the_best_epoch(tmp_path):
    model = run(Recipe(TINY, {"epochs": 50, "patience": 2, "lr": 0.3, "n": 40}), tmp_path, disable=True)
    kept = pd.read_csv(tmp_path / "losses.csv")["validation"].dropna()
    assert len(kept) < 50 and kept.argmin() == len(kept) - 3
    loaded, recipe = load(tmp_path, trust=True)
    rows = parts(recipe.data())
    objective = recipe.objective(rows["train"])
    load_best(tmp_path, loaded, objective)
    for best in (model, loaded):
        assert sum(evaluate(best, objective, rows["validation"]).values()) == pytest.approx(kept.min(), rel=1e-6)


def test_a_run_is_loaded_without_its_data(finished, monkeypatch):
    monkeypatch.setattr(Recipe, "data", None)
    model, recipe = load(finished, trust=True)
    assert not model.training and recipe.settings["epochs"] == 4
    rows = tiny_recipe.data()
    named, _ = load(finished, recipe=tiny_recipe)
    assert torch.equal(latents(model, rows)["shared"], latents(named, rows)["shared"])
    assert torch.equal(latents(named, rows)["shared"], latents(load(finished, recipe=recipe)[0], rows)["shared"])


def test_a_program_is_not_run_without_trust(finished):
    with pytest.raises(ValueError, match="is a program that ivekit does not come with.*trust=True.*recipe=..."):
        load(finished)


def test_weights_of_another_model_are_refused_with_what_differs(finished, tmp_path):
    recipe = Recipe(TINY, {"latent": 3})
    rows = parts(recipe.data())["train"]
    save(tmp_path, recipe, recipe.model(rows), rows)
    (tmp_path / "weights.safetensors").write_bytes((finished / "weights.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"decoders.a.net.net.0.weight is \(8, 2\) there and \(8, 3\) here"):
        load(tmp_path, trust=True)
    write_tensors(tmp_path / "weights.safetensors", {"odd": torch.zeros(1)})
    with pytest.raises(ValueError, match="decoders.a.net.net.0.bias is not in the file.* more"):
        load(tmp_path, trust=True)
    (tmp_path / "weights.safetensors").write_bytes(b"cut")
    with pytest.raises(ValueError, match="is cut or not a safetensors file"):
        load(tmp_path, trust=True)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not the folder of a run"):
        load(tmp_path)


def test_a_run_is_not_written_over_nor_mixed_with_another(finished):
    with pytest.raises(FileExistsError, match="holds a run already"):
        run(Recipe(TINY, {"epochs": 4}), finished)
    with pytest.raises(ValueError, match="cannot go on with other settings: latent was 2"):
        run(Recipe(TINY, {"epochs": 4, "latent": 3}), finished, resume=True)


def test_nothing_in_the_package_unpickles():
    """Loading a run or rows must not run a program that is hidden in a file."""
    for path in Path(ive.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names}
                if getattr(node, "module", None) == "pickle":
                    assert names <= {"PicklingError", "dumps"}, path  # what only writes
                    continue
                roots = {name.split(".")[0] for name in names | {getattr(node, "module", None) or ""}}
                assert not {"pickle", "joblib", "dill", "cloudpickle", "shelve"} & roots, path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in {("torch", "load"), ("pd", "read_pickle")}, path
