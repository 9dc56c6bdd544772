"""What every command shares: the application, its exit codes, and how a failure is told.

Exit codes: 0 done (a run: promoted), 3 refused by the gate, 2 bad input, 1 failure or an audit that
found something, 130 interrupted.
"""

import contextlib
import errno
import functools
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, ParamSpec

import typer

from erasure_core.errors import BadInput, ErasureError
from erasure_core.redact import redacted
from erasure_core.text import escaped
from flows.cli.options import OneLineGroup, name_said
from flows.cli.printed import PARAMS
from flows.cli.show import complain, hint
from tasks.home import Home

if TYPE_CHECKING:
    from tasks.book.store import Book

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 3, 130
IMPORTING = "<frozen importlib._bootstrap>"  # the file of a frame that is importing

app = typer.Typer(
    cls=OneLineGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
inbox = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Deletion requests: take in, show, decide."
)
app.add_typer(inbox, name="request")

debugging: ContextVar[bool] = ContextVar("debugging", default=False)
Arguments = ParamSpec("Arguments")
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout, and nothing else there.")
]


def _named_or_here(path: Path) -> Path:
    """Where nobody named the parameters, a folder without any is no working folder."""
    if path == PARAMS and not path.exists():
        raise typer.BadParameter(
            f"there is no {path} in {Path.cwd()}; go to a working folder (`erasure init DIR` makes "
            f"one), or name your own with --params"
        )
    return path


ParamsFile = Annotated[
    Path,
    typer.Option(
        "--params",
        callback=_named_or_here,
        help="Parameters: every number that the work depends on.",
    ),
]
By = Annotated[
    str | None,
    typer.Option(callback=name_said, help="Who does this; default: the user of this process."),
]
NoWait = Annotated[
    bool,
    typer.Option("--no-wait", help="Stop at once if another process is releasing this model."),
]
MODEL_HELP = (
    "Which model: base, candidate, champion, a version's number, or a folder (./1 for a folder "
    "called 1)."
)


def book_of(home: Home, params: Path, no_wait: bool) -> "Book":
    """The book, once it was said who is waited for; see `look_at_lease`."""
    from tasks.book.door import open_book

    book = open_book(home, make=False)
    look_at_lease(book, params, no_wait)
    return book


def look_at_lease(book: "Book", params: Path, no_wait: bool) -> None:
    """Say at once who is waited for: imports and the server take seconds.

    Raises:
        LeaseTaken: There is somebody, and `no_wait`.
    """
    from erasure_core.planning.model_name import registered_model
    from tasks.book.lease import LeaseTaken, alive, is_near
    from tasks.book.lease import named as who

    lease = book.ask(lambda reader: reader.lease(registered_model(params)))
    if lease is not None and alive(lease):
        if no_wait and is_near(lease):
            raise LeaseTaken(f"{who(lease)}; wait for it, or run without --no-wait")
        hint(f"{'looking whether it works: ' if no_wait else 'waiting for '}{who(lease)}")


def _say_version(asked: bool) -> None:
    if asked:
        print(f"erasure {version('erasure')}")
        raise typer.Exit(DONE)


@app.callback()
def prepare(
    context: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and Prefect's log.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Print the version, alone."
        ),
    ] = False,
) -> None:
    """Take concepts out of text-to-image models, on request, with proof. State lives in
    ERASURE_HOME (default .erasure).
    """
    debugging.set(debug)
    if context.invoked_subcommand == "init":
        return  # where there is no working folder yet, nothing else is begun
    if not debug:  # Prefect logs each failure with its traceback; here a failure is one line
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
        # the second is for Prefect's own services, which complain when they are stopped
        for handler in ("CONSOLE", "DEBUG"):
            os.environ.setdefault(f"PREFECT_LOGGING_HANDLERS_{handler}_LEVEL", "CRITICAL")
    try:
        Home.from_env().checked().prepare_environment()
    except ErasureError as fault:
        raise typer.Exit(_failed(str(fault), fault.exit_code)) from None
    except OSError as fault:
        raise typer.Exit(_failed(_os_error(fault), FAILED)) from None


def reported(command: Callable[Arguments, int]) -> Callable[Arguments, None]:
    """Make a command whose return value is the exit code, and whose failures are one line on
    stderr.
    """

    @functools.wraps(command)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            code = command(*args, **kwargs)
        except KeyboardInterrupt:
            code = _failed(
                "interrupted; what was finished is kept, the same command goes on from there",
                INTERRUPTED,
            )
        except ErasureError as fault:
            code = _failed(str(fault), fault.exit_code)
        except OSError as fault:
            too_long = fault.errno == errno.ENAMETOOLONG  # whatever names it is the input
            code = _failed(_os_error(fault), BadInput.exit_code if too_long else FAILED)
        except Exception as fault:
            code = _failed(
                (
                    f"{type(fault).__name__}: {fault}; run again with `erasure --debug ...` "
                    f"for the traceback"
                ),
                FAILED,
            )
        raise typer.Exit(code)

    return run


def _failed(message: str, code: int) -> int:
    if debugging.get():
        shown = redacted(traceback.format_exc())
        print("\n".join(map(escaped, shown.splitlines())), file=sys.stderr)
    complain(message)
    return code


def _os_error(fault: OSError) -> str:
    what = (
        f"{fault.strerror}: {fault.filename}" if fault.strerror and fault.filename else str(fault)
    )
    return f"{what}; free some space and run again" if fault.errno == errno.ENOSPC else what


@contextlib.contextmanager
def stdout_free() -> Iterator[None]:
    """Whatever libraries print goes to stderr: stdout belongs to the answer."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def interrupt_on_signals() -> None:
    """A service manager's SIGTERM and a closed terminal's SIGHUP end a command as Ctrl-C does."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, a background shell
            signal.signal(number, _interrupt)
    signal.signal(signal.SIGALRM, _interrupt)


def _interrupt(_number: int, frame: FrameType | None) -> None:
    """An import that is interrupted may swallow that and leave half a module, with which the work
    would go on: it is asked again until it is through.
    """
    while frame:
        if frame.f_code.co_filename == IMPORTING:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            return
        frame = frame.f_back
    raise KeyboardInterrupt
