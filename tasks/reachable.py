"""Whether a service that the environment names answers, before anything waits for it."""

import socket
from threading import Thread
from urllib.parse import urlsplit

from erasure_core.errors import BadInput

SECONDS = 10  # after which a service counts as absent
WEB = {"http": 80, "https": 443}
DATABASES = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}  # whose host may be a file instead
PORTS = WEB | DATABASES


def check_reachable(what: str, url: str) -> None:
    """Refuse a service whose port does not open within `SECONDS`. What names no host passes.

    Raises:
        BadInput: It does not open.
    """
    address = urlsplit(url)
    kind = address.scheme.partition("+")[0]  # a database's driver follows
    if kind not in PORTS or (kind in DATABASES and not address.hostname):
        return
    try:
        fault = _fault_of(address.hostname or "", address.port or PORTS[kind])
    except ValueError as wrong:  # of the port's number
        fault = str(wrong)
    if fault:  # without the password that the URL may hold
        raise BadInput(
            f"{what} at {address.scheme}://{address.netloc.rpartition('@')[2]} does not answer "
            f"({fault}); start it or correct its address"
        )


def _fault_of(host: str, port: int) -> str | None:
    """Why a port does not open. In a thread, because no time-out covers the look-up of a name, nor
    several addresses.
    """
    faults: list[str | None] = []
    thread = Thread(target=lambda: faults.append(_connected(host, port)), daemon=True)
    thread.start()
    thread.join(SECONDS)
    return faults[0] if faults else f"nothing within {SECONDS} s"


def _connected(host: str, port: int) -> str | None:
    try:
        socket.create_connection((host, port), timeout=SECONDS).close()
    except (OSError, ValueError) as fault:  # the second of a name that cannot be one
        return str(fault)
    return None
