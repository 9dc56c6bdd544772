"""The signed head of the chain, in a file of its own: so that a cut-off end is noticed."""

import sys
from collections.abc import Callable
from pathlib import Path

from erasure_core.errors import ErasureError
from erasure_core.files import remedy, write_text
from erasure_core.law.chain import Event
from erasure_core.law.statement import Head, Signer
from tasks.book.keys import Keys
from tasks.home import Home


def head_file(home: Home) -> Path:
    """Where the newest signed head lies."""
    return home.root / "head.json"


def write_head(home: Home, event: Event) -> None:
    """Sign `event` as the head of the chain."""
    _sign(home, event.seq, event.sha256)


def _sign(home: Home, seq: int, sha256: str) -> None:
    write_text(head_file(home), Keys(home).sign_head(seq, sha256).decode())


def rotate_key(home: Home) -> Signer:
    """Sign with a new key from now on, the head too: the old one may then be believed no more."""
    last = readable_head(home)
    signer = Keys(home).rotate()
    if last is not None:
        _sign(home, last.seq, last.sha256)
    return signer


def follow(
    home: Home, event: Event, sha256_at: Callable[[int], str | None], *, young: bool
) -> None:
    """Sign `event` as the head, if the one that was signed before is still in the chain.

    Otherwise the file stays as it is, and with it the evidence that the chain was cut off; a file
    that is gone is made anew only by `erasure reconcile`, which is asked to by a person. What was
    changed is changed by then: a disk that is too full for the signature is said, and no fault of
    it.

    Args:
        home: The state folder.
        event: The newest event.
        sha256_at: The hash of an event by its number, None where the chain has none.
        young: Whether nothing but its opening was in the chain before: a kill may have come before
            its first head.
    """
    if not head_file(home).exists():
        may_sign = young
    else:
        last = readable_head(home)
        may_sign = last is not None and last.seq < event.seq and sha256_at(last.seq) == last.sha256
    if not may_sign:
        return
    try:
        write_head(home, event)
    except OSError as fault:
        print(
            f"note: this is done, and its event {event.seq} not signed yet ({fault.strerror}: "
            f"{fault.filename}); {remedy(fault)}, and the next command signs it",
            file=sys.stderr,
            flush=True,
        )


def read_head(home: Home) -> Head | None:
    """The newest head that was signed; None where none ever was.

    Raises:
        ErasureError: The file is not what was signed.
    """
    file = head_file(home)
    return Keys(home).opened_head(file.read_bytes()) if file.exists() else None


def readable_head(home: Home) -> Head | None:
    """That head, if it is to be believed."""
    try:
        return read_head(home)
    except ErasureError:
        return None  # the audit says what is wrong with it
