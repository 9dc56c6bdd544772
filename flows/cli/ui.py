"""Prefect's and MLflow's pages on the state folder."""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from typing import Annotated

import typer

from erasure_core.errors import BadInput
from flows.cli.common import DONE, app, reported
from flows.cli.show import hint, show
from tasks.home import Home

Port = typer.Option(min=1, max=65535, help="Port of its pages, on this machine alone.")


@app.command()
@reported
def ui(
    prefect_port: Annotated[int, Port] = 4200,
    mlflow_port: Annotated[int, Port] = 5000,
) -> int:
    """Serve the pages of Prefect and MLflow on the state folder until Ctrl-C. Whoever is on this
    machine can open them: they have no password. A server that the environment names is named.
    """
    home = Home.from_env()
    with contextlib.ExitStack() as running:
        hint(f"starting the pages of {home.root}; about half a minute")
        try:
            for start in (_prefect(home, prefect_port), _mlflow(home, mlflow_port)):
                show(running.enter_context(start))
            hint("Ctrl-C ends both")
            signal.pause()
        except KeyboardInterrupt:  # how this command is meant to end
            hint("ended")
    return DONE


@contextlib.contextmanager
def _prefect(home: Home, port: int) -> Iterator[str]:
    """Prefect's server; gives what to say of it."""
    from erasure_core.redact import redacted
    from tasks.reachable import check_reachable

    if named := os.environ.get("PREFECT_API_URL"):
        check_reachable("the Prefect server", named)
        yield f"Prefect  {redacted(named).removesuffix('/api')}"
        return
    from flows.cli.server import in_state_folder, serving

    _check_free(port, "--prefect-port")
    url = f"http://127.0.0.1:{port}"
    own = {
        "PREFECT_UI_API_URL": f"{url}/api",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT__SERVER_FINAL": "1",
    }
    home.begin()
    with serving("prefect", home.prefect, in_state_folder(home) | own, port):
        yield f"Prefect  {url}  (runs report there with PREFECT_API_URL={url}/api)"


@contextlib.contextmanager
def _mlflow(home: Home, port: int) -> Iterator[str]:
    """MLflow's server; gives what to say of it."""
    from erasure_core.redact import redacted
    from tasks.reachable import check_reachable

    if home.tracking_uri.startswith("http"):
        check_reachable("MLflow", home.tracking_uri)
        yield f"MLflow   {redacted(home.tracking_uri)}"
        return
    from flows.cli.server import serving
    from tasks.registry.client import prepare_store

    _check_free(port, "--mlflow-port")
    prepare_store(home)
    own = {  # what `mlflow server` hands to its own children
        "_MLFLOW_SERVER_FILE_STORE": home.tracking_uri,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": home.artifacts.absolute().as_uri(),
    }
    with serving("mlflow", home.mlflow, os.environ | own, port):
        yield f"MLflow   http://127.0.0.1:{port}"


def _check_free(port: int, option: str) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", port))
        except OSError as fault:
            raise BadInput(
                f"port {port}: {(fault.strerror or str(fault)).lower()}; give another with {option}"
            ) from None
