"""A tracking server that is not there is said so at once, in one line, without its password."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from erasure_core.errors import ErasureError
from tasks.home import QUIET
from tasks.registry.reach import reachable


@pytest.fixture
def listening():
    """A socket that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def unauthorized():
    """A server that wants a password and keeps what it was asked."""
    asked = []

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(dict(self.headers))
            self.send_response(401)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, asked
        server.shutdown()


def fault_of(uri: str, seconds: float = 10) -> str:
    with pytest.raises(ErasureError) as fault:
        reachable(uri, seconds)
    return str(fault.value)


def test_a_closed_port_is_no_connection(closed_port):
    said = fault_of(f"http://user:s3cret@127.0.0.1:{closed_port}")
    assert "no connection" in said
    assert "s3cret" not in said


def test_a_server_that_never_answers_is_given_up(listening):
    said = fault_of(f"http://user:s3cret@127.0.0.1:{listening}", 0.5)
    assert "no answer within 0.5 s" in said
    assert "s3cret" not in said


def test_a_refusal_is_an_answer(unauthorized):
    port, _ = unauthorized
    reachable(f"http://user:s3cret@127.0.0.1:{port}")


def test_the_password_is_not_sent(unauthorized):
    port, asked = unauthorized
    reachable(f"http://user:s3cret@127.0.0.1:{port}/x")
    (headers,) = asked
    assert "Authorization" not in headers


def test_a_folder_to_be_made_will_do(tmp_path):
    reachable(f"sqlite:///{tmp_path}/new/mlflow.db")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_of_the_folder_is_found(tmp_path):
    (tmp_path / "home").write_text("")
    assert "is not a folder" in fault_of(f"sqlite:///{tmp_path}/home/mlflow.db")


def test_mlflow_gives_up_soon_by_the_names_we_set(monkeypatch):
    from mlflow.environment_variables import (
        MLFLOW_HTTP_REQUEST_MAX_RETRIES,
        MLFLOW_HTTP_REQUEST_TIMEOUT,
    )

    for variable in (MLFLOW_HTTP_REQUEST_TIMEOUT, MLFLOW_HTTP_REQUEST_MAX_RETRIES):
        monkeypatch.setenv(variable.name, QUIET[variable.name])
    assert (MLFLOW_HTTP_REQUEST_TIMEOUT.get(), MLFLOW_HTTP_REQUEST_MAX_RETRIES.get()) == (10, 1)
