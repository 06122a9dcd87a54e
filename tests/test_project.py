"""The project's files agree with one another, and the settings of the tests are in force."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import runpy
import tomllib
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import ivekit

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
CONDA = {"pytorch": "torch", "matplotlib-base": "matplotlib", "playwright-python": "playwright"}  # its names


def ranges(lines: list[str]) -> dict[str, str]:
    """{name: its version range, in one order}, without the lines that name this package."""
    found = map(Requirement, lines)
    return {r.name.lower(): ",".join(sorted(map(str, r.specifier))) for r in found if r.name != "ivekit"}


TOOLS = {"mutation", "audit"}  # programs that look at the project from outside, each put in when it is run


def wanted() -> dict[str, str]:
    """Core and tests, which take every extra but the tools."""
    extras = [extra for name, extra in EXTRAS.items() if name not in TOOLS]
    return ranges([*PROJECT["dependencies"], *(line for extra in extras for line in extra)])


def test_the_conda_environment_is_the_project_s():
    lines = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (by_pip,) = (line["pip"] for line in lines if isinstance(line, dict))
    conda = ranges([line for line in lines if isinstance(line, str)])
    assert conda.pop("python") == PROJECT["requires-python"]
    assert conda.pop("pip") == ""
    renamed = {CONDA.get(name, name): version for name, version in conda.items()}
    assert renamed | ranges([line for line in by_pip if line != "-e ."]) == wanted()
    assert "-e ." in by_pip


def pins() -> dict[str, Version]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in (line.split("==") for line in lines)}


def test_every_dependency_is_pinned_within_its_range():
    assert not [name for name, version in pins().items() if version.local], "a local version has one source only"
    for name, specifier in wanted().items():
        assert pins()[canonicalize_name(name)] in SpecifierSet(specifier), name


def test_the_pins_install_on_every_python_that_is_promised():
    oldest = f"{SpecifierSet(PROJECT['requires-python'])}".removeprefix(">=") + ".0"
    here = {canonicalize_name(found.name): found for found in importlib.metadata.distributions()}
    pinned = [here[name] for name, pin in pins().items() if name in here and here[name].version == str(pin)]
    too_new = [d.name for d in pinned if oldest not in SpecifierSet(d.metadata.get("Requires-Python") or "")]
    assert too_new == []


def test_the_test_extra_takes_every_other_one():
    (line,) = (line for line in EXTRAS["test"] if line.startswith("ivekit["))
    assert Requirement(line).extras == set(EXTRAS) - {"test", "dev", "docs"} - TOOLS  # make test builds no site


def test_the_version_is_said_once():
    assert "version" in PROJECT["dynamic"] and "version" not in PROJECT
    assert str(Version(ivekit.__version__)) == ivekit.__version__


def test_a_release_is_the_same_everywhere():
    """A version that is not under way has its section and its day in the changelog, and is the one that is cited."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    released = re.findall(r"^## (\d\S*) - (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert released[0] == (str(cited["version"]), str(cited["date-released"]))
    assert Version(ivekit.__version__).is_devrelease or ivekit.__version__ == released[0][0]
    assert cited["license"] == PROJECT["license"]


def test_templates_are_forms_that_can_be_filled():
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    for path in (path for path in forms if path.name != "config.yml"):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert {"name", "description", "body"} <= set(form), path
        asked = [part for part in form["body"] if part["type"] != "markdown"]
        assert len({part["id"] for part in asked}) == len(asked) > 1, path
        assert any(part.get("validations", {}).get("required") for part in asked), path


def test_files_that_the_documents_name_are_there():
    for name in ("SECURITY.md", "CONTRIBUTING.md", "MANIFEST.in", "docs/choose.md", "docs/index.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        named = re.findall(r"`((?:tests|docs|ivekit|data_samples)/[\w/.]+|\w+\.(?:cff|md|txt|toml))`", text)
        assert [path for path in named if not (ROOT / path).exists()] == [], name


def test_the_matrix_takes_what_is_promised():
    matrix = runpy.run_path(str(ROOT / "tests" / "matrix" / "__main__.py"), run_name="matrix")
    assert [name for name in matrix["TESTS"] if not (ROOT / "tests" / f"{name}.py").is_file()] == []
    held = {canonicalize_name(name): Version(version) for name, version in matrix["constraints"]("oldest").items()}
    for name, specifier in ranges(PROJECT["dependencies"]).items():
        name, least = (
            canonicalize_name(name),
            min(Version(one.version) for one in SpecifierSet(specifier) if ">" in str(one)),
        )
        assert held[name] == (pins()[name] if name == "torch" else least), name
    assert matrix["constraints"]("old-mne")["numpy"] == str(pins()["numpy"])
    assert matrix["constraints"]("torch-2.6")["torch"] == "2.6"
    with pytest.raises(SystemExit, match="no environment 'neweset'"):
        matrix["constraints"]("neweset")


def test_package_data_travel():
    assert (ROOT / "ivekit" / "py.typed").is_file()


def test_ci_runs_the_test_command():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text()


@pytest.mark.parametrize(
    "target",
    "demo test lab notebooks notebooks-matrix site samples runs evidence bench sbom audit matrix clean".split(),
)
def test_make_has(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_list_of_packages_says_whose_version_it_is_of():
    """As `make sbom` writes it for a program that reads no dynamic version."""
    (found, written) = re.search(r"sed \"s/(.*?)/(.*?)\\\"", (ROOT / "Makefile").read_text()).groups()
    said = re.sub(found, f'{written}"{ivekit.__version__}"', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert tomllib.loads(said)["project"]["version"] == ivekit.__version__


def test_an_audit_that_nobody_answers_fails():
    (line,) = re.findall(r"^.*/pip-audit .*$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert "--strict" in line.split()


def test_scripts_that_make_runs_exist():
    called = re.findall(r"\$\(BIN\)/python ([\w/]+\.py)", (ROOT / "Makefile").read_text())
    assert called and not [name for name in called if not (ROOT / name).is_file()]


def test_shapes_are_checked_here():
    assert "jaxtyping" in type(importlib.util.find_spec("ivekit").loader).__module__


def test_one_thread():
    assert torch.get_num_threads() == 1


def test_the_readme_says_what_the_study_of_topographies_found():
    means = pd.read_csv(ROOT / "evidence" / "topography.csv").groupby("map")["cos"].mean()
    said = re.search(r"a cosine of (\S+) with.*?the same quantity (\S+) ", (ROOT / "README.md").read_text(), re.DOTALL)
    found = [means["readout: gradient"], means["readout: pattern"]]
    assert [float(number) for number in said.groups()] == pytest.approx(found, abs=0.0051)
