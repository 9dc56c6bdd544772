"""The docs name only states, reason codes and commands that exist, and all of the first."""

import re
from pathlib import Path

import pytest
import typer

from erasure_core.law import clock, fold
from erasure_core.law.life import STATES, shown
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


@pytest.mark.parametrize("name", ["audit.md", "requests.md"])
def test_its_lines_are_a_hundred_columns(name):
    assert [line for line in DOCS[name].splitlines() if len(line) > 100] == []
