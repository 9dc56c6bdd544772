"""Random lives of requests against a model of a few lines; after every step the tables are what
the chain folds to.
"""

import tempfile
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from erasure_core.errors import BadInput
from erasure_core.law import chain, fold
from tasks.book.lease import Held
from tasks.book.schema import leases
from tasks.release.settle import settle
from tasks.requests import steps
from tasks.requests.intake import add
from tasks.requests.park import make_ready, park
from tests.book.books import MODEL, a_request, outcome, quick_book

NAMES = ("cat", "dog")  # few, so that people ask for the same
PEOPLE = tuple(UUID(int=number) for number in range(1, 5))
ANYBODY = st.sampled_from(PEOPLE)
LIVE = ("received", "waiting", "ready", "attempt_failed", "honoured")
DUE = ("received", "waiting", "ready", "attempt_failed")


class Lives(RuleBasedStateMachine):
    """What people, runs and the gate do to the requests of one model, in any order."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.book = quick_book(Path(self.folder.name))
        self.held = Held(MODEL, "token")
        row = {"beat": 0, "holder": "{}", "since": "", "doing": ""}
        lease = {"name": MODEL, "token": "token", **row}
        self.book.change(lambda tx: tx.connection.execute(leases.insert().values(lease)))
        # the model: where each person's request is, and whose request stands for it
        self.state: dict[UUID, str] = {}
        self.name: dict[UUID, str] = {}
        self.of: dict[UUID, UUID] = {}
        self.given_up: set[UUID] = set()

    def teardown(self):
        self.book.engine.dispose()
        self.folder.cleanup()

    def _standing(self, name: str) -> list[UUID]:
        """Whose requests for a concept stand for themselves."""
        return [
            who
            for who, state in self.state.items()
            if self.name[who] == name and state in LIVE and who not in self.of
        ]

    def _enter(self, who: UUID) -> None:
        """Who comes, or comes back: honoured together with somebody, or on their own."""
        others = [other for other in self._standing(self.name[who]) if other != who]
        self.state[who] = "received"
        if others:
            self.of[who] = others[0]
            honoured = self.state[others[0]] == "honoured"
            self.state[who] = "honoured" if honoured else "duplicate"

    def _hand_on(self, who: UUID) -> None:
        waiting = [o for o, of in self.of.items() if of == who and self.state[o] == "duplicate"]
        waiting.sort(key=list(self.name).index)  # the oldest stands for the others now
        for position, other in enumerate(waiting):
            if position == 0:
                del self.of[other]
                self.state[other] = "received"
            else:
                self.of[other] = waiting[0]

    def _try(self, legal: bool, step) -> bool:
        if legal:
            step()
        else:
            with pytest.raises(BadInput):
                step()
        return legal

    @rule(who=ANYBODY, name=st.sampled_from(NAMES))
    def added(self, who, name):
        new = who not in self.state
        same = self.name.get(who) == name
        over = self.state.get(who) in ("refused", "withdrawn", "restored")
        if self._try(
            new or (same and not over), lambda: add(self.book, [a_request(who, name)], MODEL)
        ):
            self.name[who] = name
            if new:
                self._enter(who)

    @rule(who=ANYBODY)
    def waits(self, who):
        if self.state.get(who) in ("received", "waiting", "ready", "attempt_failed"):
            park(self.book, {str(who): "no prompt set"})
            self.state[who] = "waiting"

    @rule(who=ANYBODY)
    def becomes_ready(self, who):
        if self.state.get(who) in ("received", "waiting"):
            make_ready(self.book, [self.book.ask(lambda reader: reader.request(who))])
            self.state[who] = "ready"

    @rule(verdict=st.sampled_from(["pass", "fail"]), chosen=st.sets(ANYBODY, min_size=1))
    def released(self, verdict, chosen):
        new = [who for who in sorted(chosen) if self.state.get(who) in DUE and who not in self.of]
        if len({self.name[who] for who in new}) == len(new) > 0:
            settle(self.book, self.held, outcome(self.book, new, verdict))
            for who in new:
                self.state[who] = "honoured" if verdict == "pass" else "attempt_failed"
            for other, of in self.of.items():
                if of in new and verdict == "pass":
                    self.state[other] = "honoured"

    @rule(who=ANYBODY)
    def restored(self, who):
        alone = who not in self.of and who not in self.of.values()
        if self.state.get(who) == "honoured" and alone:
            settle(self.book, self.held, outcome(self.book, [], restoring=who))
            self.state[who] = "restored"

    @precondition(lambda self: self.state)
    @rule(who=ANYBODY, end=st.sampled_from(["refused", "withdrawn", "on_hold"]))
    def ended_by_a_person(self, who, end):
        step = {
            "refused": lambda: steps.refuse(self.book, who, "gdpr-17-3-a", None),
            "withdrawn": lambda: steps.withdraw(self.book, who, "no longer"),
            "on_hold": lambda: steps.hold(self.book, who, "a case"),
        }[end]
        legal = (*DUE, "duplicate") if end == "on_hold" else (*DUE, "duplicate", "on_hold")
        together = end == "withdrawn" and who in self.of  # the other keeps the concept erased
        if together:
            legal = (*legal, "honoured")
        stands = self.state.get(who) == "honoured" and who in self.of.values()
        if stands and end == "withdrawn" and who not in self.given_up:
            step()  # it is kept, and the concept stays erased for the others
            self.given_up.add(who)
        elif self._try(self.state.get(who) in legal, step):
            self.of.pop(who, None)
            self.state[who] = end
            self._hand_on(who)

    @rule(who=ANYBODY)
    def taken_up_again(self, who):
        legal = self.state.get(who) in ("waiting", "ready", "attempt_failed", "on_hold", "refused")
        if self._try(legal, lambda: steps.retry(self.book, who, None)):
            self._enter(who)

    @invariant()
    def the_book_says_what_the_model_says(self):
        entries = self.book.ask(lambda reader: reader.requests())
        assert {UUID(e.row.id): e.row.state for e in entries} == self.state
        of = {UUID(e.row.id): e.row.duplicate_of for e in entries if e.row.duplicate_of}
        assert of == {who: str(other) for who, other in self.of.items()}

    @invariant()
    def tables_are_what_the_chain_folds_to(self):
        with self.book.read() as reader:
            folded = fold.fold(chain.checked(reader.events()))
            assert reader.tables() == folded

    @invariant()
    def the_champion_erases_exactly_what_is_honoured(self):
        with self.book.read() as reader:
            champion = reader.champion(MODEL)
            erased = set(champion.requests) if champion else set()
        alone = {who for who, s in self.state.items() if s == "honoured" and who not in self.of}
        assert erased == {str(who) for who in alone}

    @invariant()
    def one_request_stands_for_each_concept(self):
        standing = [self.name[w] for w, s in self.state.items() if s in LIVE and w not in self.of]
        assert len(standing) == len(set(standing))


TestLives = Lives.TestCase
TestLives.settings = settings(
    max_examples=15,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
