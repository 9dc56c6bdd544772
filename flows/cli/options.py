"""What options may be, the same for every command; and a wrong one told in one line."""

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer
from typer.core import TyperGroup

from erasure_core.errors import BadInput
from erasure_core.law.concepts import Kind, kind_of
from erasure_core.law.prompts import GUIDANCE
from erasure_core.text import WHO, WHY, escaped, one_line, within
from flows.cli.show import complain

LARGEST = 2**63 - 1  # of what the registry, the generators and JSON's readers count with


def finite(value: float | None) -> float | None:
    """An option's number. NaN and infinities compare with no limit and would pass through."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no finite number")
    return value


def guidance_option(meaning: str) -> Any:
    """An option for a guidance scale, within `law.prompts.GUIDANCE`."""
    return typer.Option(min=GUIDANCE[0], max=GUIDANCE[1], callback=finite, help=meaning)


def printable(value: str | None) -> str | None:
    """An option's text that is shown as it is, where a line break would forge a line."""
    if value is not None and escaped(value) != value:
        raise typer.BadParameter("it holds control characters; write one line of plain text")
    return value


def kind_named(text: str) -> Kind:
    """An option's kind of concept, in capitals too; the near one is named for another word."""
    try:
        found = kind_of(text)
    except ValueError as fault:
        raise typer.BadParameter(f"{text!r}: {fault}") from None
    if found not in get_args(Kind):
        raise typer.BadParameter(f"{text!r} is none of {', '.join(get_args(Kind))}")
    return cast(Kind, found)


def said(value: str | None) -> str | None:
    """An option's text that is recorded: words that a reader sees, in no more than the book keeps,
    without blanks around them.
    """
    return None if value is None else _seen(value, WHY)


def name_said(value: str | None) -> str | None:
    """The same of a person's name."""
    return None if value is None else _seen(value, WHO)


def all_said(values: list[str] | None) -> list[str] | None:
    """Several texts that are read and not recorded, of any length."""
    return [_seen(value, len(value)) for value in values or ()]


def _seen(value: str, most: int) -> str:
    try:
        return within(one_line(value).strip(), most)
    except ValueError as fault:
        raise typer.BadParameter(str(fault)) from None


def out_folder(path: Path) -> Path:
    """A folder to be made or filled. Asked before any work, which would be lost otherwise."""
    if escaped(str(path)) != str(path):
        raise typer.BadParameter("it holds control characters; name another folder")
    if os.path.lexists(path) and not path.is_dir():
        raise typer.BadParameter(f"{path} is no folder; name another")
    return path


def out_folder_if_any(path: Path | None) -> Path | None:
    """`out_folder`, for an option that may be left out."""
    return None if path is None else out_folder(path)


# What a run takes in place of the parameters'.
Base = Annotated[
    str | None,
    typer.Option(
        help=(
            "Base to erase from, instead of the parameters': a folder, a checkpoint in one "
            ".safetensors file, or a hub id as owner/name@commit."
        )
    ),
]
Method = Annotated[
    str | None,
    typer.Option(help="Method of erasing, instead of the parameters' or the requests'."),
]
Lambdas = Annotated[
    str | None,
    typer.Option(
        help="Lambdas, with commas between them, instead of the parameters': one candidate for "
        "each. A higher one holds on to more, and may erase less; more take as much longer."
    ),
]
Changed = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        callback=all_said,
        help="Change of one parameter, as method.updates=100; again for another.",
    ),
]


def changes_of(lambdas: str | None, changed: Sequence[str] | None) -> list[str]:
    """Both as `key=value`."""
    return [*([] if lambdas is None else [f"lambdas=[{lambdas}]"]), *(changed or ())]


# How a prompt file that somebody gives is read.
BadRows = Annotated[str, typer.Option(help="Rows that cannot be used: refuse or skip them.")]
TooLong = Annotated[
    str,
    typer.Option(help="Prompts with more tokens than the models read: refuse, cut or skip them."),
]
PromptColumn = Annotated[
    str | None,
    typer.Option(
        callback=printable,
        help="The column of prompts, where several could be it, or none has a known name.",
    ),
]


def rows_and_length(bad_rows: str, too_long: str) -> tuple[Any, Any]:
    """What becomes of rows that cannot be used, and of prompts that are too long."""
    return (
        one_of("--bad-rows", bad_rows, ("refuse", "skip")),
        one_of("--too-long", too_long, ("refuse", "cut", "skip")),
    )


def one_of(option: str, value: str, allowed: Sequence[str]) -> Any:
    """The value of an option that takes a few words."""
    if value not in allowed:
        raise BadInput(f"{option} {escaped(value)!r} is none of {', '.join(allowed)}; choose one")
    return value


class OneLineGroup(TyperGroup):
    """Commands whose wrong options are told in one line, as every other bad input is."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        with _told():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        with _told():
            return super().invoke(ctx)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except typer.TyperException as fault:
        message = fault.format_message()
        if message.startswith("Usage:"):  # nothing was asked: the message is the help
            raise
        complain(f"{message.rstrip('.')}; --help says what is allowed")
        raise typer.Exit(fault.exit_code) from None
