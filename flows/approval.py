"""Approval of a plan as a form in Prefect's interface; `erasure request approve` is the other."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from prefect import pause_flow_run, runtime
from prefect.exceptions import FlowPauseTimeout
from prefect.input import RunInput
from pydantic import AfterValidator, Field, ValidationError

from erasure_core.errors import BadInput
from erasure_core.law.clock import until
from erasure_core.text import markdown, one_line
from tasks.book.status import left_of
from tasks.book.store import Book, Entry
from tasks.requests.plan import NeedsApproval
from tasks.requests.steps import approve

DAY = 24 * 3600
PRINTED = r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$"  # which the form itself checks
Value = TypeVar("Value")


def _stripped(text: str) -> str:
    return one_line(text).strip()


class Approval(RunInput):
    """What the form asks."""

    your_name: Annotated[str, Field(pattern=PRINTED), AfterValidator(_stripped)]
    approve: bool = False


def approved(book: Book, work: Callable[[], Value]) -> Value:
    """Do `work`; where its plan needs approval and a form can be shown, wait for the form.

    Raises:
        NeedsApproval: No form can be shown here, or approval was not given within a day.
        BadInput: Who approves gave no name, or has approved before.
    """
    while True:
        try:
            return work()
        except NeedsApproval as needed:
            if runtime.deployment.id is None:
                raise
            answer = _asked(book, needed)
            if not answer.approve:
                raise
            approve(book, needed.plan, answer.your_name)


def _asked(book: Book, needed: NeedsApproval) -> Approval:
    """What was filled in."""
    form: Any = Approval.with_initial_data(description=_shown(book, needed))
    try:
        return pause_flow_run(wait_for_input=form, timeout=DAY)
    except FlowPauseTimeout:
        raise needed from None
    except ValidationError as fault:
        said = "; ".join(error["msg"] for error in fault.errors())
        raise BadInput(f"your_name of the form: {said}; run again") from None


def _shown(book: Book, needed: NeedsApproval) -> str:
    """What is to be approved, in Markdown."""
    entries = [book.ask(lambda r, i=i: r.request(i)) for i in needed.requests]  # type: ignore[misc]
    lines = [f"- request {e.row.id}: {markdown(e.concept)} ({e.kind}){_until(e)}" for e in entries]
    have = ", ".join(map(markdown, needed.have)) or "nobody"
    return "\n".join(
        [
            f"Plan `{needed.plan}` is about",
            "",
            *lines,
            "",
            f"It needs {needed.needed} approval(s); approved so far by {have}.",
        ]
    )


def _until(entry: Entry) -> str:
    """How urgent the decision is; nothing of what was settled before."""
    said = until(entry.row.due, left_of(entry.row))
    return f", {said}" if said else ""
