"""One release at a time: processes that die, are paused, or come late."""

import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from erasure_core.files import here
from erasure_core.planning.params import Retention
from tasks.book import lease
from tasks.book.lease import LeaseLost, LeaseTaken, alive, held_beside, holding, said
from tasks.book.status import status
from tasks.release.errands import OUTSIDE, run_errands
from tasks.release.purge import purge
from tasks.release.rollback import roll_back
from tasks.release.settle import settle
from tasks.requests.intake import add
from tests.book.books import (
    MODEL,
    A,
    B,
    a_book,
    a_request,
    event_names,
    outcome,
    quick_book,
    state_of,
)

ROOT = Path(__file__).parents[2]
# Holds the lease until it is told to go on, then tries to release a version, and says how it went.
HOLDER = """\
import sys
from pathlib import Path
from uuid import UUID
from tasks.book import lease
from tasks.release.errands import OUTSIDE, run_errands
from tasks.release.purge import purge
from tasks.release.rollback import roll_back
from tasks.release.settle import settle
from tests.book.books import A, MODEL, a_book, outcome
lease.BEAT = 0.05
book = a_book(Path(sys.argv[1]))
result = outcome(book, [A])
try:
    with lease.holding(book, MODEL, "testing") as held:
        print("held", flush=True)
        sys.stdin.readline()
        settle(book, held, result)
        print("released", flush=True)
except Exception as fault:
    print(type(fault).__name__, flush=True)
"""


@pytest.fixture
def book(tmp_path):
    book = a_book(tmp_path / "home")
    add(book, [a_request(A)], MODEL)
    return book


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(lease, "LOOK", 0.02)
    monkeypatch.setattr(lease, "BEAT", 0.05)
    monkeypatch.setattr(lease, "PATIENCE", 1.0)


@contextlib.contextmanager
def another_holder(book) -> Iterator[subprocess.Popen]:
    """Another process that holds the lease."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(book.home.root)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def row(book):
    return book.ask(lambda reader: reader.lease(MODEL))


def test_a_lease_is_free_after_its_with(book):
    with holding(book, MODEL, "testing"):
        assert alive(row(book))
    assert row(book) is None


def test_a_lease_is_free_after_a_failure(book):
    with pytest.raises(ZeroDivisionError), holding(book, MODEL, "testing"):
        raise ZeroDivisionError
    assert row(book) is None


def test_models_do_not_wait_for_one_another(book):
    with holding(book, MODEL, "one"), holding(book, "other", "two", wait=False):
        assert row(book)["doing"] == "one"


def test_a_second_process_is_told_who_holds_it(book):
    told = []

    def stop(other):
        told.append(said(other))
        raise InterruptedError

    with (
        another_holder(book) as process,
        pytest.raises(InterruptedError),
        holding(book, MODEL, "late", on_wait=stop),
    ):
        pass
    assert f"(process {process.pid}) since 20" in told[0]
    assert told[0].startswith("testing by ")


@pytest.mark.slow
def test_who_waits_without_a_word_of_its_own_is_told_on_stderr(book, capsys, monkeypatch):
    def go_on(seconds):
        if not told:
            told.append(process.stdin.write("\n"))
            process.stdin.flush()
        pause(seconds)

    pause, told = time.sleep, []
    with another_holder(book) as process:
        monkeypatch.setattr(lease.time, "sleep", go_on)
        with holding(book, MODEL, "late"):
            pass
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("waiting for toy: testing by ")
    assert f"(process {process.pid}) since 20" in line


@pytest.mark.parametrize(
    "command",
    [
        lambda book: roll_back(book, MODEL, 1, "an emergency", wait=False),
        lambda book: purge(book, MODEL, Retention(), wait=False),
    ],
    ids=["rollback", "purge"],
)
def test_without_waiting_nothing_is_rolled_back_or_purged(book, command):
    before = event_names(book)
    with holding(book, MODEL, "releasing"), pytest.raises(LeaseTaken, match="toy: releasing by"):
        command(book)
    assert event_names(book) == before


def test_without_waiting_what_follows_outside_is_behind(book):
    with holding(book, MODEL, "releasing") as held:
        settle(book, held, outcome(book, [A]))
    with holding(book, OUTSIDE, "closing runs that died"):
        (line,) = run_errands(book, MODEL, wait=False)
        with pytest.raises(LeaseTaken, match=r"^closing runs that died by"):
            purge(book, MODEL, Retention(), wait=False)
    assert line.startswith("closing runs that died by ")
    assert book.ask(lambda reader: len(list(reader.waiting_outside(MODEL)))) == 5


@pytest.mark.slow
def test_without_waiting_a_held_lease_is_an_error(book):
    with another_holder(book) as process:
        refused = pytest.raises(LeaseTaken, match=rf"process {process.pid}.*--no-wait")
        with refused, holding(book, MODEL, "late", wait=False):
            pytest.fail("two at once")


@pytest.mark.parametrize("beats", [True, False])
def test_without_waiting_a_lease_of_the_dead_elsewhere_is_taken(tmp_path, held, monkeypatch, beats):
    """A container that was killed holds it: every night would end at it, for ever."""
    book = quick_book(tmp_path / "other")
    holder = by(held, "process:elsewhere/12345678:0:0.00")["holder"]
    row = {**held, "token": "theirs", "holder": json.dumps(holder)}
    book.change(lambda tx: tx.connection.execute(lease.leases.insert().values(**row)))
    beat = lease.leases.update().values(beat=lease.leases.c.beat + 1)
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if beats:
            book.change(lambda tx: tx.connection.execute(beat))
        pause(0.05)

    pause = time.sleep
    monkeypatch.setattr(lease, "PATIENCE", 0.1)
    monkeypatch.setattr(lease.time, "sleep", sleep)
    taken = pytest.raises(LeaseTaken, match="run without --no-wait") if beats else nullcontext()
    with taken, holding(book, MODEL, "late", wait=False):
        assert not beats
    assert slept  # not told dead or alive at first sight


@pytest.mark.slow
def test_who_waits_goes_on_when_the_holder_is_done(book):
    with another_holder(book) as process:
        process.stdin.write("\n")
        process.stdin.flush()
        with holding(book, MODEL, "late"):
            assert row(book)["doing"] == "late"
        assert process.stdout.readline() == "released\n"


@pytest.mark.slow
def test_the_lease_of_a_killed_process_is_taken_without_waiting(book):
    with another_holder(book) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with holding(book, MODEL, "late", wait=False):
            assert row(book)["holder"]["pid"] == os.getpid()


@pytest.fixture
def held(book):
    """The lease of this process, as others see it."""
    with holding(book, MODEL, "testing"):
        return row(book)


def by(lease_row, process: str):
    """The same lease, held by another process."""
    return {**lease_row, "holder": {**lease_row["holder"], "process": process}}


def test_a_process_with_a_used_number_is_not_the_holder(held):
    """Numbers of processes come again: the time of its start tells them apart."""
    place = held["holder"]["process"].rpartition(":")[0]
    assert alive(held)
    assert not alive(by(held, f"{place}:1.00"))


def test_a_clock_that_is_set_kills_no_holder(held, monkeypatch):
    later = psutil.boot_time() + 3600  # which is how a clock that was set shows
    monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: later)
    assert psutil.Process().create_time() > time.time()
    assert alive(held)


@pytest.mark.parametrize("place", ["elsewhere/12345678", f"{platform.node()}/12345678"])
def test_a_holder_on_another_machine_or_in_another_container_counts_as_alive(held, place):
    """There, 0 may be the number of a process that works."""
    assert alive(by(held, f"process:{place}:0:0.00"))
    assert not alive(by(held, f"process:{platform.node()}/{here()}:0:0.00"))


def test_a_holder_that_names_no_process_counts_as_alive(held):
    """An earlier version holds the lease: whoever waits looks at its heartbeat."""
    holder = {k: v for k, v in held["holder"].items() if k != "process"}
    assert alive({**held, "holder": holder})


@pytest.mark.parametrize("holder", ["x", "[]", "{}", '{"process": 5}', "[" * 9999])
def test_who_holds_a_lease_that_was_edited_is_unknown_and_it_stops_nobody(book, holder):
    with holding(book, MODEL, "testing"):
        change = lease.leases.update().values(holder=holder, token="theirs")
        book.change(lambda tx: tx.connection.execute(change))
        assert "by unknown@unknown" in status(book)["models"][0]["released_now"]
        with holding(book, MODEL, "late"):  # its heart does not beat
            assert row(book)["doing"] == "late"


@pytest.mark.parametrize("beats", [True, False])
def test_of_a_holder_elsewhere_a_purge_of_another_model_looks_whether_it_works(
    book, held, monkeypatch, beats
):
    add(book, [a_request(B)], "other")
    holder = json.dumps(by(held, "process:elsewhere/12345678:0:0.00")["holder"])
    here = lease.leases.insert().values(**{**held, "holder": holder})
    book.change(lambda tx: tx.connection.execute(here))
    beat = lease.leases.update().values(beat=lease.leases.c.beat + 1)

    def sleep(seconds):
        if beats:
            book.change(lambda tx: tx.connection.execute(beat))
        pause(seconds)

    pause = time.sleep
    monkeypatch.setattr(lease, "PATIENCE", 0.1)
    monkeypatch.setattr(lease.time, "sleep", sleep)
    assert (held_beside(book, "other") is not None) == beats


def test_a_paused_holder_loses_the_lease_and_promotes_nothing(book):
    with another_holder(book) as process:
        process.send_signal(signal.SIGSTOP)
        with holding(book, MODEL, "late"):
            process.send_signal(signal.SIGCONT)
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "LeaseLost\n"
            assert row(book)["doing"] == "late"
    assert "version.decided" not in event_names(book)
    assert state_of(book, A) == "received"


@pytest.mark.slow
def test_a_holder_that_lost_its_lease_leaves_the_new_one(book):
    with another_holder(book) as process:
        process.send_signal(signal.SIGSTOP)
        with holding(book, MODEL, "late") as held:
            process.send_signal(signal.SIGCONT)
            process.communicate("\n", timeout=60)  # it ends, and gives back what it has not
            assert row(book)["token"] == held.token


@pytest.mark.slow
def test_a_beating_heart_is_never_taken_for_dead(book, monkeypatch):
    """Three times its patience, the late one waits: the holder lives."""
    until = time.monotonic() + 3 * lease.PATIENCE

    class Enough(Exception):
        pass

    def sleep(seconds):
        if time.monotonic() > until:
            raise Enough
        pause(seconds)

    pause = time.sleep
    with another_holder(book):
        monkeypatch.setattr(lease.time, "sleep", sleep)
        with pytest.raises(Enough), holding(book, MODEL, "late"):
            pytest.fail("two at once")


@pytest.mark.parametrize("lives", [True, False])
def test_while_the_database_is_away_no_holder_is_taken_for_dead(tmp_path, held, monkeypatch, lives):
    """None can beat then; one that lives does so again, but later than who waits may look."""
    book, clock, away = quick_book(tmp_path / "other"), [0.0], [2 * lease.PATIENCE]
    holder = by(held, "process:elsewhere/12345678:0:0.00")["holder"]
    row = {**held, "token": "theirs", "holder": json.dumps(holder)}
    book.change(lambda tx: tx.connection.execute(lease.leases.insert().values(**row)))
    beat = lease.leases.update().values(beat=lease.leases.c.beat + 1)

    def sleep(seconds):
        clock[0] += seconds
        if clock[0] > lease.PATIENCE / 2 and away:
            clock[0] += away.pop()
        elif lives:
            book.change(lambda tx: tx.connection.execute(beat))
        if clock[0] > 5 * lease.PATIENCE:
            raise InterruptedError

    monkeypatch.setattr(lease, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    ends = pytest.raises(InterruptedError) if lives else nullcontext()
    with ends, holding(book, MODEL, "late"):
        assert not lives
        assert clock[0] > 2.9 * lease.PATIENCE  # its patience, and the time away


def test_a_lease_that_was_taken_over_ends_a_release(book):
    result = outcome(book, [A])
    with holding(book, MODEL, "testing") as held:
        other = json.dumps({**row(book)["holder"], "pid": 1})
        theirs = lease.leases.update().values(token="theirs", holder=other)
        book.change(lambda tx: tx.connection.execute(theirs))
        with pytest.raises(LeaseLost, match="nothing was released"):
            settle(book, held, result)
    assert row(book)["token"] == "theirs"
