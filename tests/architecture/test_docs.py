"""The docs name only states, reason codes and commands that exist, and all of the first; every
method, room and page, and what contributors open; their lines are a hundred columns.
"""

import ast
import re
from pathlib import Path

import pytest
import typer

from erasure_core.law import clock, fold
from erasure_core.law.life import STATES, shown
from erasure_core.methods import METHODS
from flows.cli import app

ROOT = Path(__file__).parents[2]
DOCS = {file.name: file.read_text() for file in (ROOT / "docs").glob("*.md")}
TOP = ("erasure_core", "tasks", "flows")
COMMANDS = typer.main.get_command(app).commands
GROUPS = {
    name: set(group.commands) for name, group in COMMANDS.items() if hasattr(group, "commands")
}


def test_the_table_of_states_is_that_of_the_law():
    told = DOCS["requests.md"].partition("## States")[2].partition("## The clock")[0]
    table = re.findall(r"^\| ([a-z ]+) \|", told, re.M)
    assert set(table) - {"state"} == set(map(shown, STATES))


def test_the_table_of_events_is_that_of_the_fold():
    table = DOCS["audit.md"].partition("## Events")[2].partition("## The chain")[0]
    cells = " ".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|"))
    named = set(re.findall(r"`([a-z]+\.[a-z<>]+)`", cells))
    assert named - {"request.<state>"} == {*fold._EFFECTS, *fold.WITHOUT_EFFECT}


def test_every_reason_code_it_names_exists():
    named = set(
        re.findall(
            r"`((?:gdpr|ccpa)-[0-9][0-9a-z-]+|own-policy|other-ground)`", DOCS["requests.md"]
        )
    )
    assert named
    assert named <= set(clock.reasons())


@pytest.mark.parametrize("name", sorted(DOCS))
def test_every_command_it_names_exists(name):
    words = re.findall(r"`erasure ([a-z]+)(?: ([a-z]+))?", DOCS[name].replace("\n", " "))
    assert {first for first, _ in words} <= set(COMMANDS)
    for first, second in words:
        assert not second or first not in GROUPS or second in GROUPS[first]


PROSE = [*sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("*.md"))]


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.name)
def test_its_lines_are_a_hundred_columns(page):
    """But those of tables, of blocks of code, and pictures, which cannot be broken."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    lines = [line for line in prose.splitlines() if not line.startswith(("|", "!["))]
    assert [line for line in lines if len(line) > 100] == []


def test_the_table_of_rooms_is_that_of_the_packages():
    table = DOCS["architecture.md"].partition("| room |")[2].partition("\n\n")[0]
    named = re.findall(r"^\| `([a-z_/]+)/`", table, re.MULTILINE)
    rooms = [
        file.parent.relative_to(ROOT) for top in TOP for file in (ROOT / top).rglob("__init__.py")
    ]
    inside = [room.as_posix() for room in rooms if "migrations" not in room.parts]
    assert sorted(named) == sorted({*inside} - {"tasks"})  # which has nothing but rooms


CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([A-Z][A-Z_]+)`", CONTRIBUTING))))
def test_what_contributors_add_to_is_written_by_hand(name):
    """And not made of another list, in which their line would have to stand."""
    written = (ast.Dict, ast.Tuple, ast.Constant)
    given = [value for top in (*TOP, "tests") for value in _given(ROOT / top, name)]
    assert [value for value in given if isinstance(value, written)]


def _given(folder, name):
    for file in folder.rglob("*.py"):
        if name in (text := file.read_text()):
            for statement in ast.parse(text).body:
                targets = getattr(statement, "targets", [getattr(statement, "target", None)])
                if name in (getattr(target, "id", None) for target in targets):
                    yield statement.value


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([a-z_]+/[a-z_/.]+)`", CONTRIBUTING))))
def test_what_contributors_open_is_there(path):
    assert (ROOT / path).exists()


def test_the_table_of_what_to_take_has_every_method():
    table = DOCS["methods.md"].partition("| you have | take |")[2].partition("\n\n")[0]
    takes = " ".join(line.split("|")[2] for line in table.splitlines()[2:])
    assert set(re.findall(r"`([a-z_]+)`", takes)) == set(METHODS)
