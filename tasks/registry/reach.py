"""Is the tracking server there? Asked before work begins: MLflow itself tries for minutes."""

import os
from functools import cache
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit, urlunsplit

from erasure_core.errors import ErasureError
from erasure_core.redact import redacted


@cache  # a failure is not kept: it is asked again
def reachable(uri: str, seconds: float = 10) -> None:
    """Check that MLflow's store can be used: a server answers, whatever it answers, or the folder
    of a SQLite file can be written. Other stores are not asked.

    Args:
        uri: MLflow's tracking URI.
        seconds: How long a server may take, name look-up and all addresses included.

    Raises:
        ErasureError: If it cannot be used. Shows no password.
    """
    if uri.startswith("sqlite:///"):
        fault = _unwritable(Path(uri.removeprefix("sqlite:///")).parent)
    elif uri.startswith(("http://", "https://")):
        fault = _unanswered(uri, seconds)
    else:
        fault = None
    if fault:
        raise ErasureError(
            f"MLflow's store {redacted(uri)} cannot be used: {fault}; start it, or set "
            "MLFLOW_TRACKING_URI to another (unset: a file in the state folder)"
        )


def _unwritable(folder: Path) -> str | None:
    there = next(f for f in (folder, *folder.parents) if f.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return None
    return f"{there} is not a folder that can be written"


def _unanswered(uri: str, seconds: float) -> str | None:
    """In a thread, because no time-out covers the look-up of a name, nor several addresses."""
    faults: list[str | None] = []
    thread = Thread(target=lambda: faults.append(_fault(uri, seconds)), daemon=True)
    thread.start()
    thread.join(seconds)
    return faults[0] if faults else f"no answer within {seconds:g} s"


def _fault(uri: str, seconds: float) -> str | None:
    """Asked without the URL's password: who may in is MLflow's to find out, and so is whom to
    trust.
    """
    import requests

    parts = urlsplit(uri)
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    try:
        requests.get(
            bare, timeout=seconds, stream=True, allow_redirects=False, auth=lambda request: request
        ).close()
    except requests.exceptions.SSLError:
        return None
    except requests.Timeout:
        return f"no answer within {seconds:g} s"
    except (requests.RequestException, ValueError) as fault:
        return f"no connection ({type(fault).__name__})"
    return None
