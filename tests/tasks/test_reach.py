"""A service that is not there is said so at once, in one line, without its password."""

import socket
import threading

import pytest

from erasure_core.errors import BadInput, ErasureError
from tasks import reachable
from tasks.home import QUIET, Home
from tasks.reachable import check_reachable
from tasks.registry.client import connected

SCHEMES = ("http", "postgresql", "postgresql+psycopg", "mysql+pymysql", "mssql+pyodbc")


@pytest.fixture
def listening():
    """A socket that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_closed_port_is_said_without_the_password(scheme, closed_port):
    said = rf"^MLflow at {scheme}://127.0.0.1:{closed_port} does not answer \(".replace("+", r"\+")
    with pytest.raises(BadInput, match=said) as refused:
        check_reachable("MLflow", f"{scheme}://user:s3cret@127.0.0.1:{closed_port}/x")
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_open_port_will_do(scheme, listening):
    check_reachable("MLflow", f"{scheme}://127.0.0.1:{listening}/x")


@pytest.mark.parametrize(
    "url", ["sqlite:////nowhere/mlflow.db", "postgresql+psycopg:///mlflow", "file:///nowhere"]
)
def test_what_names_no_host_passes(url):
    check_reachable("MLflow", url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "postgresql://host:port/x", "http://"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(BadInput, match="does not answer"):
        check_reachable("MLflow", url)


def test_a_name_that_nobody_looks_up_is_given_up(monkeypatch):
    """No time-out of a socket covers that."""
    monkeypatch.setattr(reachable, "SECONDS", 0.05)
    gone = threading.Event()

    def look_up(*_, **__):
        gone.wait(60)
        raise OSError

    monkeypatch.setattr(socket, "create_connection", look_up)
    with pytest.raises(BadInput, match=r"\(nothing within 0.05 s\)"):
        check_reachable("MLflow", "http://tracking.example")
    gone.set()


def test_mlflow_waits_for_no_database_that_is_away(tmp_path, monkeypatch, closed_port):
    """It tries for 101 s by itself."""
    uri = f"postgresql+psycopg://user:s3cret@127.0.0.1:{closed_port}/mlflow"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(ErasureError, match="does not answer") as refused, connected(Home(tmp_path)):
        pytest.fail("connected")
    assert "s3cret" not in str(refused.value)


def test_mlflow_gives_up_soon_by_the_names_we_set(monkeypatch):
    from mlflow.environment_variables import (
        MLFLOW_HTTP_REQUEST_MAX_RETRIES,
        MLFLOW_HTTP_REQUEST_TIMEOUT,
    )

    for variable in (MLFLOW_HTTP_REQUEST_TIMEOUT, MLFLOW_HTTP_REQUEST_MAX_RETRIES):
        monkeypatch.setenv(variable.name, QUIET[variable.name])
    assert (MLFLOW_HTTP_REQUEST_TIMEOUT.get(), MLFLOW_HTTP_REQUEST_MAX_RETRIES.get()) == (10, 1)
