"""What is installed from a wheel works in a folder elsewhere, with nothing of the repository beside it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TINY = ROOT / "tests" / "tiny_recipe.py"
# Every Python that starts imports it: what asks the network is noted, and refused.
WATCH = """
import os, sys
FAMILIES = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request")

def refuse(event, arguments):
    if event in FAMILIES and not (event == "socket.connect" and isinstance(arguments[1], (str, bytes))):
        with open(os.environ["ASKED"], "a") as file:
            print(event, arguments[1:], file=file)
        raise OSError(f"{event} {arguments[1:]}: the network is off")

sys.addaudithook(refuse)
"""
DONE = """
import importlib, json, pkgutil, sys
import ivekit
modules = [one.name for one in pkgutil.walk_packages(ivekit.__path__, "ivekit.") if "__main__" not in one.name]
for name in modules:
    importlib.import_module(name)
from ivekit import io, recipe
from ivekit.__main__ import main
from ivekit.recipe.recipe import SHIPPED

main(["train", sys.argv[1], "epochs=1", "--out", "run"])
main(["report", "run", "--trust", "--interactive"])
main(["export", "run", "--trust", "--out", "out"])
names = sorted(path.stem for path in SHIPPED.glob("[a-z]*.py"))
try:
    main(["lab"])
except SystemExit as end:
    lab = str(end)
said = {"where": ivekit.__file__, "rows": len(io.read_samples()), "recipes": names, "lab": lab}
said |= {"modules": len(modules)}
said |= {"loaded": type(recipe.load("run", trust=True)[0]).__name__}
said |= {"first setting": [recipe.Recipe(name) for name in names][0].config()}
print(json.dumps(said))
"""
ASK = """
import socket
try:
    socket.getaddrinfo("localhost", 80)
except OSError as error:
    print(error)
"""
PARTS = ("ivekit", "data_samples", "tests", "docs")  # of the repository, what a distribution is made of
HEAVY = shutil.ignore_patterns("__pycache__", "runs", "screenshots", "notebooks", "results", "*.png", "ivekit.*.rst")


def python(*words: str, folder: Path, **environment: str) -> str:
    """What Python says in a folder: neither the repository nor its conftest is on the path."""
    there = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "IVEKIT_DATA")}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=there | environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def build(source: Path, kind: str, into: Path) -> Path:
    """A distribution of a source tree, by the backend that pyproject.toml names and without a network."""
    say = f"import setuptools.build_meta as b; b.build_{kind}({str(into)!r})"
    python("-c", say, folder=source)
    (made,) = into.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return made


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of the repository's files, without what was built or trained in it."""
    copy = tmp_path_factory.mktemp("source") / "ivekit"
    copy.mkdir()
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    for name in PARTS:
        shutil.copytree(ROOT / name, copy / name, ignore=HEAVY)
    return copy


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory) -> Path:
    return build(source, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The folder that a wheel is installed into."""
    place = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as file:  # which is all that pip does with a wheel of pure Python
        file.extractall(place)
    return place


@pytest.fixture(scope="module")
def elsewhere(installed, tmp_path_factory) -> tuple[Path, dict]:
    """An empty folder in which everything was done that `DONE` does, by the installed package; and what it said."""
    folder, watch = tmp_path_factory.mktemp("elsewhere"), tmp_path_factory.mktemp("watch")
    (watch / "sitecustomize.py").write_text(WATCH)
    there = dict(PYTHONPATH=os.pathsep.join([str(installed), str(watch)]), ASKED=str(watch / "asked"))
    assert "socket.getaddrinfo" in python("-c", ASK, folder=folder, **there)
    (watch / "asked").unlink()
    said = python("-c", DONE, str(TINY), folder=folder, MPLBACKEND="agg", **there)
    (folder / "asked").write_text((watch / "asked").read_text() if (watch / "asked").exists() else "")
    return folder, json.loads(said.splitlines()[-1])


def test_a_wheel_holds_the_package_its_types_its_assets_and_its_recording(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = {path.relative_to(ROOT).as_posix() for path in (ROOT / "ivekit").rglob("*") if path.is_file()}
    tracked = {name for name in tracked if "__pycache__" not in name}
    assert tracked - names == set()
    assert {"ivekit/py.typed", "ivekit/samples/sub-01_epo.fif", "ivekit/recipes/mimo_ae.py"} <= names
    roots = {name.partition("/")[0] for name in names}
    assert {root for root in roots if not root.endswith(".dist-info")} == {"ivekit"}  # neither tests nor docs


def test_a_wheel_says_what_it_is(wheel):
    from packaging.metadata import Metadata

    with zipfile.ZipFile(wheel) as file:
        (name,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        said = Metadata.from_email(file.read(name))
        assert any(name.endswith("licenses/LICENSE") for name in file.namelist())
    version = re.search(r'__version__ = "(.+)"', (ROOT / "ivekit" / "__init__.py").read_text())[1]
    assert (said.name, str(said.version), said.license_expression) == ("ivekit", version, "BSD-3-Clause")
    assert "Train an interpretable variational encoder" in said.description


def test_a_source_distribution_gives_the_same_wheel(source, wheel, tmp_path):
    archive = build(source, "sdist", tmp_path)
    with tarfile.open(archive) as file:
        names = [name.partition("/")[2] for name in file.getnames()]
        file.extractall(tmp_path, filter="data")
    assert {"CHANGELOG.md", "constraints.txt", "tests/test_views.py", "data_samples/make.py"} <= set(names)
    tests = {path.relative_to(source).as_posix() for path in (source / "tests").rglob("*.*") if path.is_file()}
    assert tests <= set(names), "MANIFEST.in leaves files of the tests out"
    (tree,) = (path for path in tmp_path.iterdir() if path.is_dir())
    (again := tmp_path / "again").mkdir()
    here, there = (zipfile.ZipFile(path) for path in (wheel, build(tree, "wheel", again)))
    assert [(i.filename, i.CRC) for i in here.infolist()] == [(i.filename, i.CRC) for i in there.infolist()]


def test_the_installed_package_is_the_one_that_is_used_and_has_the_recording(elsewhere, installed):
    assert Path(elsewhere[1]["where"]).is_relative_to(installed) and elsewhere[1]["rows"] == 192


def test_a_run_is_trained_loaded_reported_and_exported_elsewhere(elsewhere):
    folder, said = elsewhere
    assert "<svg" in (folder / "run" / "report.html").read_text(encoding="utf-8")
    assert 'id="ivekit-wasm"' in (folder / "run" / "latents.html").read_text(encoding="utf-8")  # the runtime
    assert said["loaded"] == "MultimodalVAE" and (folder / "out" / "arrays.npz").is_file()


def test_neither_import_nor_a_run_asks_the_network(elsewhere):
    folder, said = elsewhere
    assert said["modules"] > 150 and (folder / "asked").read_text() == ""


def test_the_shipped_recipes_are_there(elsewhere):
    assert elsewhere[1]["recipes"] == ["ive", "lipid_cvae", "meg_decoding", "mimo_ae", "modal_merge"]
    assert elsewhere[1]["first setting"].startswith("# ive: ")


def test_what_only_the_repository_has_is_said(elsewhere):
    assert "they are in the repository, not in the package" in elsewhere[1]["lab"]
