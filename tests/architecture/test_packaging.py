"""What a wheel asks for and holds: every library that is imported, with a bound that the tested
versions meet; a version of its own; no folder of the checkout that is no package.
"""

import ast
import json
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tasks.registry.packaging import REQUIREMENTS

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = SETTINGS["project"]
OURS = ("erasure_core", "tasks", "flows")
TESTED = dict(re.findall(r"^(\S+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
TESTED = {canonicalize_name(name): found for name, found in TESTED.items()}
NOT_IMPORTED = {"dvc", "fastapi"}  # called as a command; kept at a version that Prefect works with
NOT_INSTALLED = {"dlib": ["dlib-bin"]}  # of an extra that is no part of the tests' environment
BROUGHT_BY = {**NOT_INSTALLED, **packages_distributions()}  # read once: it opens every record


def _requirements(lines: list[str]) -> dict[str, Requirement]:
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


DECLARED = _requirements(PROJECT["dependencies"])
EXTRAS = _requirements([line for e in PROJECT["optional-dependencies"].values() for line in e])


def _imported(file: Path) -> set[str]:
    """The top-level names that a file imports, anywhere in it."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    plain = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    of = [n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module and not n.level]
    return {name.partition(".")[0] for name in [*plain, *of]}


def _third_party() -> set[str]:
    files = [file for folder in OURS for file in (ROOT / folder).rglob("*.py")]
    return set().union(*map(_imported, files)) - sys.stdlib_module_names - set(OURS)


def _distributions(name: str) -> set[str]:
    """Who brings the import name `name`."""
    return {canonicalize_name(each) for each in BROUGHT_BY[name]}


def test_every_library_that_is_imported_is_declared():
    known = {*DECLARED, *EXTRAS}
    assert [name for name in sorted(_third_party()) if not _distributions(name) & known] == []


def test_every_library_that_is_declared_is_used():
    used = set().union(*map(_distributions, _third_party()))
    assert set(DECLARED) - used == NOT_IMPORTED


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_its_bound_is_there_and_the_tested_version_is_within(name):
    bounds = DECLARED[name].specifier
    assert [bound for bound in bounds if bound.operator == ">="]
    assert bounds.contains(TESTED[name])


def test_the_version_is_the_one_that_the_changelog_is_about():
    """A version that is not out is a development version of the one that comes."""
    heading = re.search(
        r"^## (\S+?)(, unreleased)?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    version = Version(PROJECT["version"])
    assert version.base_version == heading[1]
    assert version.is_devrelease is bool(heading[2])


def test_a_wheel_holds_no_other_top_level_names():
    include = SETTINGS["tool"]["setuptools"]["packages"]["find"]["include"]
    assert sorted(name.rstrip("*") for name in include) == sorted(OURS)


def test_the_seconds_that_a_wheel_tells_are_those_that_were_measured():
    told = json.loads((ROOT / "tasks/requests/durations.json").read_bytes())
    rows = json.loads((ROOT / "benchmarks/results/compare.json").read_bytes())["rows"]
    assert told == {row["method"]: row["seconds"] for row in rows if row["form"] == "tuned"}


def test_nothing_asks_pip_for_the_projects_own_name():
    """What PyPI calls so is somebody else's: it comes by its wheel's file, or from a checkout."""
    told = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "mlflow/README.md"]
    told += [file for folder in OURS for file in (ROOT / folder).rglob("*.py")]
    for file in told:
        by_name = re.findall(r"pip install[^`\n]*[ '\"]erasure(?![\w-])", file.read_text())
        assert not by_name, file
    plugin = tomllib.loads((ROOT / "examples/plugin/pyproject.toml").read_text())["project"]
    assert "erasure" not in _requirements(plugin.get("dependencies", []))
    assert [line for line in REQUIREMENTS.decode().splitlines() if not line.startswith("#")] == []
