"""A stranger's files and names do nothing: no program in them is run, and no page takes a name for markup."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import hostile_recipe
import numpy as np
import pandas as pd
import pytest
import torch
from browser.chromium import chromium, why_not
from hostile_recipe import NAME, WORDS

from ivekit import Views
from ivekit.__main__ import main
from ivekit.explain import Attribution
from ivekit.models import MultimodalVAE
from ivekit.nn import Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts
from ivekit.recipe import Recipe, interactive, load, open_recipe, parts, run, save
from ivekit.widgets import explore, panels
from ivekit.widgets.net import Decode
from ivekit.widgets.translate import Untranslatable, _as_code, translate

TINY = Path(__file__).with_name("tiny_recipe.py")

RUNS = {"script", "iframe", "object", "embed", "base", "form", "meta", "link"}  # elements that do something


# nothing is unpickled ----------------------------------------------------------------------------------------

UNPICKLED: list[tuple] = []


def _listen(event: str, arguments: tuple) -> None:
    if event == "pickle.find_class":
        UNPICKLED.append(arguments)


@pytest.fixture(scope="module")
def listened() -> None:
    """From here on Python tells of each name that an unpickler looks up, whoever called it."""
    sys.addaudithook(_listen)  # it cannot be taken away again; it costs nothing


class Trap:
    """Unpickled, it leaves a file."""

    def __init__(self, flag: Path):
        self.flag = flag

    def __reduce__(self):
        return Path.touch, (self.flag,)


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """The folder of a model that was not trained: no run is needed to be loaded."""
    folder = tmp_path_factory.mktemp("kept")
    recipe = Recipe(TINY)
    rows = parts(recipe.data())["train"]
    save(folder, recipe, recipe.model(rows), rows)
    return folder


def spoilt(folder: Path) -> Iterator[Path]:
    """The files of a run's folder."""
    yield from sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".py")


def test_an_unpickler_is_heard(listened, tmp_path):
    UNPICKLED.clear()
    pickle.loads(pickle.dumps(Trap(tmp_path / "flag")))
    assert UNPICKLED and (tmp_path / "flag").exists()


def test_no_file_of_a_runs_folder_is_unpickled(listened, kept, tmp_path):
    UNPICKLED.clear()
    flag, names = tmp_path / "flag", [path.relative_to(kept) for path in spoilt(kept)]
    assert {"weights.safetensors", "settings.json"} < {path.name for path in names} and len(names) > 4
    for i, name in enumerate(names):
        for j, write in enumerate((_raw, _torch, _array)):
            folder = tmp_path / f"{i}{j}"
            shutil.copytree(kept, folder)
            write(folder / name, Trap(flag))
            with pytest.raises((ValueError, FileNotFoundError)):
                load(folder, recipe=TINY)
    assert not flag.exists() and UNPICKLED == []


def _raw(path: Path, trap: Trap) -> None:
    path.write_bytes(pickle.dumps(trap))


def _torch(path: Path, trap: Trap) -> None:
    torch.save({"weight": trap}, path)


def _array(path: Path, trap: Trap) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([trap], object), allow_pickle=True)


# a stranger's recipe -----------------------------------------------------------------------------------------


@pytest.fixture
def stranger(kept, tmp_path) -> tuple[Path, Path]:
    """A run whose recipe leaves a file as soon as it is imported; and that file."""
    folder, flag = tmp_path / "run", tmp_path / "executed"
    shutil.copytree(kept, folder)
    own = folder / "recipe.py"
    own.write_text(f"{TINY.read_text()}\nimport pathlib\n\npathlib.Path({str(flag)!r}).touch()\n")
    return folder, flag


def test_a_strangers_program_is_run_only_when_it_is_trusted(stranger):
    folder, flag = stranger
    with pytest.raises(ValueError, match="recipe.py is a program that ivekit does not come with.*trust=True.*recipe="):
        load(folder)
    with pytest.raises(ValueError, match="is a program"):
        open_recipe(folder)
    mine, recipe = load(folder, recipe=TINY)  # the stranger's weights and settings, my recipe
    assert recipe.path == TINY and not flag.exists()
    theirs, _ = load(folder, trust=True)
    assert flag.exists()
    assert all(torch.equal(x, y) for x, y in zip(mine.state_dict().values(), theirs.state_dict().values(), strict=True))


@pytest.mark.parametrize("command", ["evaluate", "report", "export"])
def test_no_command_runs_a_strangers_program_unasked(stranger, command, tmp_path):
    folder, flag = stranger
    more = ["--out", str(tmp_path / "out")] if command == "export" else []
    with pytest.raises(SystemExit, match="is a program that ivekit does not come with"):
        main([command, str(folder), *more])
    assert not flag.exists() and not (tmp_path / "out").exists()


def test_neither_resume_runs_it(stranger):
    folder, flag = stranger
    with pytest.raises(SystemExit):
        main(["train", "ive", "--out", str(folder), "--resume"])
    assert not flag.exists()


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2]",
        '"words"',
        "null",
        "[" * 100_000,
        '{"latent": ' + "9" * 5000 + "}",
        "{\"latent\": \"__import__('os').system('true')\"}",
        '{"latent": 1e999}',
        '{"__class__": {"latent": 3}}',
        '{"latent": 2, "model": "os.system"}',
        "\x80\x04",
    ],
)
def test_hostile_settings_are_refused(kept, tmp_path, text):
    shutil.copytree(kept, folder := tmp_path / "run")
    (folder / "settings.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"settings|setting|latent"):
        load(folder, recipe=TINY)


def test_a_name_that_would_end_a_text_is_not_written_into_code():
    """Where torch traces a decoder it writes the names of its parts between quotation marks, and runs what it wrote."""
    name = 'x") or open("flag", "w") or ("'
    rows = Views({name: torch.zeros(4, 3)})
    model = MultimodalVAE({name: MLPEncoder(3, 8)}, ProductOfExperts([name], 8, 2), {name: Gaussian(MLPDecoder(2, 3))})
    with pytest.raises(Untranslatable, match="would end a text"):
        translate(Decode(model, rows), rows)
    for ordinary in ("heart rate", "Puls-1", "größe", "a(b)", "x.y"):
        assert _as_code(ordinary)
    for ends in ("'", '"', "\\", "\n", "\u202e"):
        assert not _as_code(f"a{ends}b")


@pytest.mark.parametrize("name", ["../../secret", "/etc/hostname", "..", "a/b"])
def test_rows_that_point_elsewhere_are_refused(kept, tmp_path, name):
    shutil.copytree(kept, folder := tmp_path / "run")
    about = folder / "rows" / "about.json"
    said = json.loads(about.read_text())
    about.write_text(json.dumps(said | {"views": [name, "b"]}))
    with pytest.raises(ValueError, match="cannot be one"):
        load(folder, recipe=TINY)


# pages -------------------------------------------------------------------------------------------------------


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the text outside scripts and styles."""

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.inside = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        self.text += data if self.inside not in ("script", "style") else ""


def does(page: str) -> list[str]:
    """What of a page does something: elements, and attributes that run or fetch."""
    found = []
    for tag, attributes in Elements(page).found:
        found += [tag] * (tag in RUNS)
        for name, value in attributes.items():
            fetches = name in ("src", "href", "xlink:href", "action", "data") and not (value or "").startswith(
                ("#", "data:")
            )
            if name.startswith("on") or name == "srcdoc" or fetches:
                found.append(f"{tag} {name}={value}")
    return found


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """Every kind of page that ivekit writes, of rows whose names would do something; and how many scripts it has."""
    root = tmp_path_factory.mktemp("hostile")
    source = root / f"{NAME.replace('/', '')}.py"
    shutil.copy(hostile_recipe.__file__, source)
    recipe = Recipe(source, {"words": WORDS, "epochs": 1, "device": "cpu"})
    model = run(recipe, root / "run", disable=True)
    made = {"report": root / "run" / "report.html"}
    made["latents"] = interactive(root / "run", recipe, model, recipe.data())
    rows = recipe.data()[:20]
    given = dict(title=WORDS, about={WORDS: WORDS})
    tame = Views({"meg": rows[f"{NAME}meg"]}, metadata=rows.metadata, about={"meg": rows.about[f"{NAME}meg"]})
    made["explorer"] = explore(hostile_recipe.of_sensors(), tame, **given).export(root / "explorer.html")
    meg, table, _ = rows
    said = Attribution({table: torch.ones(20, 2), meg: torch.ones(20, 8, 5)}, "IntegratedGradients", "zero")
    made["attribution"] = panels.attribution(said, rows, what=WORDS).export(root / "attribution.html")
    factors = pd.DataFrame({WORDS: rows[table][:, 0].numpy(), NAME: rows[table][:, 1].numpy()})
    made["disentanglement"] = panels.disentanglement(model, rows, factors).export(root / "disentanglement.html")
    made["rows"] = root / "rows.html"
    made["rows"].write_text(f"<!doctype html><meta charset='utf-8'>{rows._repr_html_()}", encoding="utf-8")
    return made


@pytest.mark.parametrize("name", ["report", "latents", "explorer", "attribution", "disentanglement", "rows"])
def test_no_name_becomes_a_part_of_a_page(pages, name):
    page = pages[name].read_text(encoding="utf-8")
    mine = {
        "explorer": ["meta"] * 4 + ["script"] * 6,  # with the net and the runtime, which is in two
        "latents": ["meta"] * 4 + ["script"] * 3,
        "attribution": ["meta", "script"],
        "disentanglement": ["meta", "script"],
        "report": ["meta"] * 3,
        "rows": ["meta"],
    }
    assert sorted(does(page)) == mine[name]
    assert "\u202e" in page or "\\u202e" in page  # the names are there


def test_what_would_run_is_found():
    assert does(f"<p>{WORDS}</p>") == ["script", "svg onload=pwned=1", "img src=x", "img onerror=pwned=1"]
    assert does("<a href='javascript:x'>") == ["a href=javascript:x"]


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "a browser is here")
def test_a_browser_runs_none_of_the_names(pages):
    with chromium() as browser:
        page = browser.new_page()
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        page.set_content(f"<p>{WORDS}</p>")
        page.wait_for_function("window.pwned === 1")  # where nothing is escaped, it would
        for name, path in pages.items():
            page.goto(path.as_uri())
            page.wait_for_load_state("networkidle")
            if name in ("explorer", "latents"):
                page.wait_for_selector("input[type=range]", state="attached")
                page.locator("input[type=range]").first.press("ArrowRight")
            page.wait_for_load_state("networkidle")
            assert page.evaluate("window.pwned") is None, name
            assert page.locator("[onerror], [onload], img[src=x]").count() == 0, name
        assert dialogs == []
