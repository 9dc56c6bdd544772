"""Whether a service that the environment names answers, before anything waits for it."""

import socket
from urllib.parse import urlsplit

from erasure_core.errors import BadInput

SECONDS = 10  # after which a service counts as absent
PORTS = {"http": 80, "https": 443}


def check_reachable(what: str, url: str) -> None:
    """Refuse a service whose port does not open within `SECONDS`. What is no web address passes.

    Raises:
        BadInput: It does not open.
    """
    address = urlsplit(url)
    if address.scheme not in PORTS:
        return
    try:
        port = address.port or PORTS[address.scheme]
        socket.create_connection((address.hostname or "", port), timeout=SECONDS).close()
    except (OSError, ValueError) as fault:  # without the password that the URL may hold
        raise BadInput(
            f"{what} at {address.scheme}://{address.netloc.rpartition('@')[2]} does not answer "
            f"({fault}); start it or correct its address"
        ) from None
