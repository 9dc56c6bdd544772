"""The README says only what exists: its make targets, its commands and options, its links, its
request, its table.
"""

import json
import re
from pathlib import Path

import pytest
import typer

from erasure_core.law.requests import read_request
from erasure_core.methods import METHODS
from flows.cli import app
from tasks.comparing.forms import ours
from tasks.comparing.table import as_markdown, orderings, short_table

from ..readme import ROOT, commands

COMPARED = json.loads((ROOT / "benchmarks/results/compare.json").read_bytes())
README = (ROOT / "README.md").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_it_names_commands_at_all():
    assert len(commands()) >= 6


@pytest.mark.parametrize("words", commands() + commands("docs/requests.md"), ids=" ".join)
def test_every_command_exists_and_takes_these_arguments(words):
    if words[0] == "make":
        assert words[1] in TARGETS
        return
    assert words[0] == ".venv/bin/erasure"
    command, rest = typer.main.get_command(app), words[1:]
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    assert command.make_context(words[1], rest, resilient_parsing=False).params


def test_the_build_for_cpus_is_that_of_the_makefile():
    (asked,) = re.findall(r"`(make erase TORCH=.*)`", README)
    assert f"# {asked}\n" in (ROOT / "Makefile").read_text()


def test_every_row_of_the_command_table_exists():
    named = set(re.findall(r"^\| `erasure (\w+)", README, re.MULTILINE))
    assert named == set(typer.main.get_command(app).commands)


IN_TABLE = [row.split() for row in re.findall(r"^\| `erasure ([^`|\\]+)`", README, re.MULTILINE)]


@pytest.mark.parametrize("words", IN_TABLE, ids=" ".join)
def test_a_command_in_the_table_has_every_option_that_is_required(words):
    command, rest = typer.main.get_command(app), words
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0].strip("\\,")], rest[1:]
    options = {opt for p in command.params if p.required for opt in p.opts if opt[0] == "-"}
    assert options <= set(rest)


@pytest.mark.parametrize(
    "target", sorted({link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link})
)
def test_every_link_leads_somewhere(target):
    assert (ROOT / target).exists()


def test_the_request_it_shows_is_valid(tmp_path: Path):
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "request.yaml").write_text(text)
    assert read_request(tmp_path / "request.yaml").concept.name == "astronaut"


def test_its_table_of_methods_is_the_one_that_was_measured():
    assert short_table(COMPARED) in README


def test_a_row_names_what_of_its_settings_is_ours():
    for row in COMPARED["rows"]:
        settings = METHODS[row["method"]].Settings.model_validate(row["settings"])
        assert row["ours"] == ours(settings, row["kind"])


def test_so_are_the_tables_of_the_page_on_the_comparison():
    page = (ROOT / "docs/compare.md").read_text()
    assert as_markdown(COMPARED) in page
    for concept in {row["concept"] for row in COMPARED["rows"]}:
        assert orderings(COMPARED, concept) in page
    assert {row["method"] for row in COMPARED["rows"]} <= METHODS.keys()
