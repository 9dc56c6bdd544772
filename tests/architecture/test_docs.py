"""The docs name only states, reason codes and commands that exist, and all of the first; every
method, and every page; their lines are a hundred columns.
"""

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
COMMANDS = typer.main.get_command(app).commands
GROUPS = {
    name: set(group.commands) for name, group in COMMANDS.items() if hasattr(group, "commands")
}


def test_the_table_of_states_is_that_of_the_law():
    table = re.findall(r"^\| ([a-z ]+) \|", DOCS["requests.md"].partition("## The clock")[0], re.M)
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


def test_the_table_of_what_to_take_has_every_method():
    table = DOCS["methods.md"].partition("| you have | take |")[2].partition("\n\n")[0]
    takes = " ".join(line.split("|")[2] for line in table.splitlines()[2:])
    assert set(re.findall(r"`([a-z_]+)`", takes)) == set(METHODS)
