"""The signed head of the chain, in a file of its own: so that a cut-off end is noticed."""

from pathlib import Path

from erasure_core.errors import ErasureError
from erasure_core.files import write_text
from erasure_core.law.chain import Event
from erasure_core.law.statement import Head
from tasks.book.keys import Keys
from tasks.home import Home


def head_file(home: Home) -> Path:
    """Where the newest signed head lies."""
    return home.root / "head.json"


def write_head(home: Home, event: Event) -> None:
    """Sign the head of the chain, unless a newer one was signed meanwhile."""
    keys, file = Keys(home), head_file(home)
    if file.exists() and (last := readable_head(home)) and last.seq >= event.seq:
        return
    write_text(file, keys.sign_head(event.seq, event.sha256).decode())


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
        return None  # the audit says what is wrong with it; a new one is signed
