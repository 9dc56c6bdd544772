"""A request's life: its states, and what may follow what.

    received -> waiting -> ready -> honoured -> restored

A gate that refuses a candidate ends an attempt, not the request: `attempt_failed` is still due.
Only a person refuses (with a reason code), withdraws, or holds. `in_progress` is no state of its
own: it is a request that is ready while a live lease works on it.
"""

from collections.abc import Mapping
from typing import Literal, get_args

from erasure_core.errors import BadInput

State = Literal[
    "received",
    "waiting",
    "ready",
    "attempt_failed",
    "on_hold",
    "duplicate",
    "honoured",
    "refused",
    "withdrawn",
    "restored",
]
STATES: tuple[State, ...] = get_args(State)
DUE: frozenset[State] = frozenset({"received", "waiting", "ready", "attempt_failed", "duplicate"})
OPEN: frozenset[State] = DUE | {"on_hold"}  # not answered yet: its clock runs
WORKABLE: frozenset[State] = DUE - {"duplicate"}  # what a run may take up
ENDED: frozenset[State] = frozenset({"refused", "withdrawn", "restored"})

_BY_A_PERSON: frozenset[State] = frozenset({"refused", "withdrawn", "on_hold"})
STEPS: Mapping[State, frozenset[State]] = {
    "received": _BY_A_PERSON | {"waiting", "ready", "duplicate"},
    "waiting": _BY_A_PERSON | {"received", "waiting", "ready", "duplicate"},
    "ready": _BY_A_PERSON | {"received", "waiting", "attempt_failed", "honoured", "duplicate"},
    "attempt_failed": _BY_A_PERSON
    | {"received", "waiting", "ready", "attempt_failed", "honoured", "duplicate"},
    "on_hold": frozenset({"received", "refused", "withdrawn"}),
    "duplicate": _BY_A_PERSON | {"received", "honoured", "duplicate"},
    # honoured again by a later version; brought back; open again after a rollback without it; or
    # withdrawn, where another request keeps its concept erased
    "honoured": frozenset({"honoured", "restored", "received", "withdrawn"}),
    "refused": frozenset({"received"}),
    "withdrawn": frozenset(),
    "restored": frozenset(),  # to erase the concept again takes a new request
}


def check_step(request_id: str, state: State, to: State) -> None:
    """Whether a request may go from `state` to `to`.

    Raises:
        BadInput: It may not; says what it may become.
    """
    if to not in STEPS[state]:
        allowed = ", ".join(shown(s) for s in STATES if s in STEPS[state]) or "nothing else"
        raise BadInput(
            f"request {request_id} is {shown(state)} and cannot become {shown(to)}; "
            f"it can become {allowed}"
        )


def shown(state: str) -> str:
    """A state as a person reads it."""
    return state.replace("_", " ")
