"""One release at a time: a lease in the book, with a heartbeat, on any number of machines.

A holder that dies loses it: at once if it ran on this machine, in the same container; else when its
heartbeat was seen to stand still for `PATIENCE` seconds, those not counted in which the database
was away. No two clocks are compared: whoever waits counts by its own.
A holder that was only paused finds its token gone and can promote nothing.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

from sqlalchemy import delete, insert, select, update

from erasure_core.errors import ErasureError
from erasure_core.law.chain import now
from tasks.book.actor import acting
from tasks.book.schema import leases
from tasks.book.store import Book, Reader, Transaction
from tasks.process import has_died, is_of_here, this_process

BEAT = 3.0  # seconds between heartbeats
PATIENCE = 30.0  # seconds without one after which a holder elsewhere counts as dead
LOOK = 1.0  # seconds between looks of who waits

Waiting = Callable[[Mapping[str, Any]], None]


class LeaseLost(ErasureError):
    """Another process took over; what this one made is kept, but it may not be released."""


class LeaseTaken(ErasureError):
    """Another process holds the lease, and waiting was not wanted."""


@dataclass(frozen=True, slots=True)
class Held:
    """A lease that this process holds."""

    name: str
    token: str

    def check(self, reader: Reader) -> None:
        """Raise `LeaseLost` unless the lease is still held, as seen inside a transaction."""
        query = select(leases.c.token).where(leases.c.name == self.name)
        if reader.connection.scalar(query) != self.token:
            raise LeaseLost(
                f"another process took over the lease of {self.name}, this one was paused or cut "
                "off too long; nothing was released by it, run again"
            )


@contextmanager
def holding(
    book: Book, name: str, doing: str, *, wait: bool = True, on_wait: Waiting | None = None
) -> Iterator[Held]:
    """Hold the lease `name` for the length of a `with`.

    Args:
        book: The book.
        name: A registered model, or another thing that one process at a time may work on.
        doing: What for, as others are told.
        wait: Whether to wait for another holder that is at work; of one elsewhere it is looked
            whether its heart beats.
        on_wait: Is told once of each holder that is waited for; None: a line on stderr.

    Raises:
        LeaseTaken: Another process holds it and `wait` is False.
    """
    held = Held(name, str(uuid4()))
    _take(book, held, doing, wait, on_wait or _say_who)
    stop = threading.Event()
    beating = threading.Thread(target=_beat, args=(book, held, stop), name="lease", daemon=True)
    beating.start()
    try:
        yield held
    finally:
        stop.set()
        beating.join()
        mine = (leases.c.name == held.name, leases.c.token == held.token)
        book.change(lambda tx: tx.connection.execute(delete(leases).where(*mine)))


def said(lease: Mapping[str, Any]) -> str:
    """Who holds a lease, in words."""
    holder = lease["holder"]
    return (
        f"{lease['doing']} by {holder['user']}@{holder['host']} (process {holder['pid']}) "
        f"since {lease['since'][:19]}Z"
    )


def named(lease: Mapping[str, Any]) -> str:
    """Which lease is held by whom, in words; one of no model says it by what is done."""
    model = "" if lease["name"].startswith("/") else f"{lease['name']}: "
    return model + said(lease)


def _say_who(lease: Mapping[str, Any]) -> None:
    print(f"waiting for {named(lease)}", file=sys.stderr, flush=True)


def alive(lease: Mapping[str, Any]) -> bool:
    """Whether the holder may still run: False only for a process of this machine, and container,
    that is gone.
    """
    return not has_died(_process(lease))


def is_near(lease: Mapping[str, Any]) -> bool:
    """Whether the holder is of this machine and container, so that `alive` knows of it."""
    return is_of_here(_process(lease))


def _process(lease: Mapping[str, Any]) -> str:
    """The holder, as `this_process` names it; empty of one that does not say."""
    return str(lease["holder"].get("process", ""))


def held_beside(book: Book, model: str) -> Mapping[str, Any] | None:
    """The lease of another model whose holder is at work, if there is one: of one that may have
    died elsewhere, it takes `PATIENCE` seconds to see.
    """
    others = book.ask(lambda reader: [other for other in reader.models() if other != model])
    leases = (book.ask(lambda reader, name=name: reader.lease(name)) for name in others)  # type: ignore[misc]
    return next((lease for lease in leases if lease is not None and _beats(book, lease)), None)


def _beats(book: Book, lease: Mapping[str, Any]) -> bool:
    """Whether a holder is at work: of one elsewhere, whether its heart beats before it counts as
    dead.
    """
    if is_near(lease):
        return alive(lease)
    watch = _Watch()
    while watch.still_now(lease) <= PATIENCE:
        watch.see(lease)
        time.sleep(LOOK)
        now = book.ask(lambda reader: reader.lease(lease["name"]))
        if now is None or _pulse(now) != _pulse(lease):
            return now is not None
    return False


@dataclass(slots=True)
class _Watch:
    """A holder, as who waits sees it."""

    seen: Mapping[str, Any] | None = None
    looked: float = 0.0  # when, by `time.monotonic`
    still: float = 0.0  # seconds for which its pulse had stood still by then

    def still_now(self, other: Mapping[str, Any]) -> float:
        """Seconds for which the pulse of `other` stands still. Between two looks a holder may have
        been kept from beating, by the same database that kept this one from looking: a longer time
        between them counts no more than the next beat and look take.
        """
        if self.seen is None or _pulse(self.seen) != _pulse(other):
            return 0.0
        return self.still + min(time.monotonic() - self.looked, BEAT + LOOK)

    def beats(self, other: Mapping[str, Any]) -> bool:
        """Whether its heart has beaten since it was seen last."""
        return self.seen is not None and _pulse(self.seen) != _pulse(other)

    def see(self, other: Mapping[str, Any]) -> None:
        self.still = self.still_now(other)
        self.seen, self.looked = other, time.monotonic()


def _take(book: Book, held: Held, doing: str, wait: bool, on_wait: Waiting) -> None:
    watch = _Watch()
    while True:
        other = book.change(partial(_try, held=held, doing=doing, watch=watch))
        if other is None:
            return
        if not wait and (is_near(other) or watch.beats(other)):
            raise LeaseTaken(f"{named(other)}; wait for it, or run without --no-wait")
        if watch.seen is None or watch.seen["token"] != other["token"]:
            on_wait(other)
        watch.see(other)
        time.sleep(LOOK)


def _try(tx: Transaction, *, held: Held, doing: str, watch: _Watch) -> Mapping[str, Any] | None:
    """Take the lease if it is free; return who holds it otherwise."""
    other = tx.lease(held.name)
    if other is not None and other["token"] == held.token:
        return None  # an earlier try had succeeded
    if other is not None and alive(other) and watch.still_now(other) <= PATIENCE:
        return other
    tx.connection.execute(delete(leases).where(leases.c.name == held.name))
    row = {"name": held.name, "token": held.token, "beat": 0, "since": now(), "doing": doing}
    tx.connection.execute(insert(leases).values({**row, "holder": json.dumps(_me())}))
    return None


def _beat(book: Book, held: Held, stop: threading.Event) -> None:
    mine = (leases.c.name == held.name, leases.c.token == held.token)
    once_more = update(leases).where(*mine).values(beat=leases.c.beat + 1)
    while not stop.wait(BEAT):
        try:
            if not book.change(lambda tx: tx.connection.execute(once_more).rowcount):
                return  # taken over: `check` tells whoever wants to release
        except ErasureError:
            continue  # the database is away: nobody else can take the lease either


def _pulse(lease: Mapping[str, Any]) -> tuple[str, int]:
    return lease["token"], lease["beat"]


def _me() -> dict[str, Any]:
    return {**acting(), "pid": os.getpid(), "process": this_process()}
