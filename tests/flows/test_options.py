"""Options of the command line, without what they start."""

from collections.abc import Iterator

import click
import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from erasure_core.law.prompts import GUIDANCE
from flows.cli import app


def commands(group, name: str = "erasure") -> Iterator[tuple[str, click.Command]]:
    for each, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} {each}")
        else:
            yield f"{name} {each}", command


COMMANDS = dict(commands(get_command(app)))


def test_all_commands_are_looked_at():
    assert {"erasure run", "erasure attack", "erasure request add"} <= COMMANDS.keys()


def test_every_option_and_argument_says_first_what_it_is():
    """Its name is no beginning of a sentence that goes on "Of the first ..."."""
    told = {f"{name} {p.name}": p.help or "" for name, c in COMMANDS.items() for p in c.params}
    assert [name for name, said in told.items() if not said] == []
    begun = ("Of ", "Without ", "As ", "On ", "How ")
    assert [name for name, said in told.items() if said.startswith(begun)] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_that_is_left_out_is_no_fault(name):
    command = COMMANDS[name]
    context = click.Context(command)
    for option in command.params:
        if option.callback and option.default is None and not option.required:
            assert option.callback(context, option, None) in (None, [])


@pytest.mark.parametrize("name", ["generate", "purify", "evaluate"])
def test_guidance_is_within_what_a_prompt_set_may_hold(name):
    command = COMMANDS[f"erasure {name}"]
    (guidance,) = (option for option in command.params if option.name == "guidance")
    assert (guidance.min, guidance.max) == GUIDANCE
    for value in ("-5", "1e20", "nan"):
        with pytest.raises(typer.BadParameter, match="Input should be"):
            command.make_context(name, ["--guidance", value])


def test_a_kind_may_have_capitals_and_another_word_is_told_the_near_one():
    command = COMMANDS["erasure request new"]
    said = ["cat", "--instead", "a dog", "--kind"]
    assert command.make_context("new", [*said, "Object"]).params["kind"] == "object"
    with pytest.raises(typer.BadParameter, match=r"'artist': .*did you mean style\?"):
        command.make_context("new", [*said, "artist"])
    with pytest.raises(typer.BadParameter, match="'thingy' is none of likeness, style, object"):
        command.make_context("new", [*said, "thingy"])


@pytest.mark.parametrize("words", [(), ("run",), ("request",), ("request", "new")])
def test_help_has_its_short_name(words):
    answer = CliRunner().invoke(app, [*words, "-h"])
    assert (answer.exit_code, "Usage: " in answer.output) == (0, True)
