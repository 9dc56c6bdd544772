"""The child that serves Prefect or MLflow to the command that started it:
`python -P serve.py prefect|mlflow PORT`, 0 for any free one. Without -P a file of the working
folder, or of this one, could stand in for a library.

It prints its port when it is ready, and ends with its parent: when standard input ends, and on
Linux by the kernel's hand as well. No signal stops it first: a terminal or a service manager sends
its signals to all processes of a command, and a client that lost its server waits minutes for it.
"""

import contextlib
import ctypes
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator

import uvicorn

PR_SET_PDEATHSIG = 1  # linux/prctl.h
APPS = {  # where the application is, and whether that is a function that makes it
    "prefect": ("prefect.server.api.server:create_app", True),
    "mlflow": ("mlflow.server.fastapi_app:app", False),
}
GRACE = 5.0  # seconds to shut down in, before it is ended


class Embedded(uvicorn.Server):
    """Says its port on standard output once it answers, and leaves signals to its parent."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)


def serve(what: str, port: int) -> None:
    """Serve on a loopback port until standard input ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    app, made = APPS[what]
    config = uvicorn.Config(app, factory=made, port=port, log_level="error", lifespan="on")
    server = Embedded(config)
    threading.Thread(target=_end_with_input, args=[server], daemon=True).start()
    server.run()


def _end_with_input(server: uvicorn.Server) -> None:
    sys.stdin.buffer.read()
    server.should_exit = True
    time.sleep(GRACE)
    os._exit(1)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
