"""Whose fault it is that work on a request broke: the request's, or that of what it runs on."""

from erasure_core.errors import BadInput, ErasureError

# Servers, databases and disks answer in these packages' words; a request never does.
TOOLS = frozenset(
    ("filelock", "httpcore", "httpx", "mlflow", "prefect", "psycopg", "sqlalchemy", "sqlite3")
)
OUT_OF_MEMORY = "OutOfMemoryError"  # torch's, by name: no torch is imported for it


def is_of_request(fault: Exception) -> bool:
    """Whether the request must wait until it is mended. What a server that is too busy, a full disk
    or a machine without memory raises is no fault of a request: it stays due.
    """
    if isinstance(fault, BadInput):
        return True
    return not isinstance(fault, ErasureError | OSError | MemoryError) and not any(
        kind.__module__.partition(".")[0] in TOOLS or kind.__name__ == OUT_OF_MEMORY
        for kind in type(fault).__mro__
    )
