"""Approval of a plan as a form in Prefect's interface; `erasure request approve` is the other."""

from collections.abc import Callable
from typing import Any, TypeVar

from prefect import pause_flow_run, runtime
from prefect.input import RunInput

from tasks.book.store import Book
from tasks.requests.plan import NeedsApproval
from tasks.requests.steps import approve

DAY = 24 * 3600
Value = TypeVar("Value")


class Approval(RunInput):
    """What the form asks."""

    your_name: str
    approve: bool = False


def approved(book: Book, work: Callable[[], Value]) -> Value:
    """Do `work`; where its plan needs approval and a form can be shown, wait for the form.

    Raises:
        NeedsApproval: No form can be shown here, or approval was not given.
    """
    while True:
        try:
            return work()
        except NeedsApproval as needed:
            if runtime.deployment.id is None:
                raise
            answer: Any = pause_flow_run(wait_for_input=Approval, timeout=DAY)
            if not answer.approve:
                raise
            approve(book, needed.plan, answer.your_name)
