"""A request's life: all hundred pairs of states, against a table written out by hand."""

from itertools import product

import pytest

from erasure_core.errors import BadInput
from erasure_core.law.life import DUE, ENDED, STATES, STEPS, WORKABLE, check_step

# A row is where a request is, a column where it may go: x allowed, . not.
BY_HAND = """
                received waiting ready attempt_failed on_hold duplicate honoured refused withdrawn restored
received           .        x      x         .           x        x         .       x        x        .
waiting            x        x      x         .           x        x         .       x        x        .
ready              x        x      .         x           x        x         x       x        x        .
attempt_failed     x        x      x         x           x        x         x       x        x        .
on_hold            x        .      .         .           .        .         .       x        x        .
duplicate          x        .      .         .           x        x         x       x        x        .
honoured           x        .      .         .           .        .         x       .        x        x
refused            x        .      .         .           .        .         .       .        .        .
withdrawn          .        .      .         .           .        .         .       .        .        .
restored           .        .      .         .           .        .         .       .        .        .
"""  # noqa: E501
HEADER, *ROWS = [line.split() for line in BY_HAND.strip().splitlines()]
ALLOWED = {
    (row[0], to) for row in ROWS for to, mark in zip(HEADER, row[1:], strict=True) if mark == "x"
}
PAIRS = list(product(HEADER, HEADER))


def test_the_table_names_every_state():
    assert sorted(HEADER) == sorted(row[0] for row in ROWS) == sorted(STATES) == sorted(STEPS)


@pytest.mark.parametrize(("state", "to"), [pair for pair in PAIRS if pair in ALLOWED])
def test_a_legal_step_is_allowed(state, to):
    check_step("1", state, to)


@pytest.mark.parametrize(("state", "to"), [pair for pair in PAIRS if pair not in ALLOWED])
def test_an_illegal_step_is_refused_and_says_what_is_allowed(state, to):
    with pytest.raises(BadInput, match=r"request 1 is .* and cannot become .*; it can become .+"):
        check_step("1", state, to)


@pytest.mark.parametrize("state", STATES)
def test_a_state_that_is_unknown_is_no_step(state):
    with pytest.raises(BadInput, match="cannot become in progress"):
        check_step("1", state, "in_progress")


def test_nothing_of_our_own_making_ends_a_request():
    """A gate, a fault and a missing file lead to states that are still due."""
    assert {"waiting", "attempt_failed"} <= WORKABLE
    assert not ENDED & DUE


@pytest.mark.parametrize("state", sorted(DUE | {"on_hold"}))
def test_a_person_can_always_end_what_is_due(state):
    assert {"refused", "withdrawn"} <= STEPS[state]
