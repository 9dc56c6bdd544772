"""The scheduled use, on a real Prefect server with two real workers: the inbox, the nightly
deployment, the audit.
"""

import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest

from ..processes import stop
from .conftest import ROOT, clean_environment

pytestmark = pytest.mark.slow

PORT = 14299
API = f"http://127.0.0.1:{PORT}/api"
REQUESTS = ("examples/requests/astronaut.yaml", "examples/requests/cat.yaml")
GPU_DEPLOYMENT = "erase-and-generate/erase-on-gpu"


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Not the state of the other slow tests: the inbox must be empty at first."""
    return tmp_path_factory.mktemp("nightly")


@pytest.fixture(scope="module")
def environment(home) -> dict[str, str]:
    return clean_environment(home) | {
        "ERASURE_CHECKOUT": str(ROOT),
        "PREFECT_API_URL": API,
        "PREFECT_HOME": str(home / "prefect"),
        "ERASURE_GPU_DEPLOYMENT": GPU_DEPLOYMENT,
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "true",
    }


@pytest.fixture(scope="module")
def prefect(environment, home):
    """A server and one worker per pool, started from `/`; gives a function that runs prefect's
    command line.
    """
    (home / "prefect").mkdir(parents=True)

    def command(*arguments: str, **how) -> subprocess.CompletedProcess:
        full = [sys.executable, "-m", *arguments]
        return subprocess.run(
            full, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, **how
        )

    with ExitStack() as stack:

        def start(name: str, *arguments: str) -> None:
            log = stack.enter_context((home / f"{name}.log").open("w"))
            process = subprocess.Popen(
                [sys.executable, "-m", "prefect", *arguments],
                cwd="/",
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            stack.callback(stop, process)

        start("server", "server", "start", "--host", "127.0.0.1", "--port", str(PORT))
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{API}/health", timeout=2)
                break
            except OSError:
                time.sleep(1)
        command("flows.bootstrap", timeout=300)
        start("cpu", "worker", "start", "--pool", "cpu")
        start("gpu", "worker", "start", "--pool", "gpu", "--work-queue", "training", "--limit", "1")
        yield command


def test_nightly_honours_the_inbox_in_one_release_and_then_has_nothing_to_do(
    prefect, erasure, home
):
    for request in REQUESTS:
        assert erasure("request", "add", request).code == 0
        assert erasure("request", "add", request).code == 0  # a second time changes nothing
    before = erasure("status", "--json").json
    assert before["counts"]["received"] == 2

    prefect("prefect", "deployment", "run", "honour-pending/nightly", "--watch", timeout=1800)
    after = erasure("status", "--json").json
    (model,) = after["models"]
    assert model["champion"] == 1
    assert [version["version"] for version in model["versions"]] == [1]
    assert {request["version"] for request in after["requests"]["honoured"]} == {1}
    assert len(after["requests"]["honoured"]) == 2

    log = (home / "gpu.log").read_text()
    # the GPU worker took the GPU steps
    assert "erase-and-generate" in log or "Completed submission of flow run" in log

    prefect("prefect", "deployment", "run", "honour-pending/nightly", "--watch", timeout=600)
    assert erasure("status", "--json").json["models"] == after["models"]


def test_the_audit_answers_both_ways(erasure):
    version = erasure("audit", "1", "--json").json
    assert version["intact"]
    ids = [request["subject_request_id"] for request in version["versions"][0]["requests"]]
    assert len(ids) == 2
    for request_id in ids:
        answer = erasure("audit", request_id, "--json").json
        assert [v["version"] for v in answer["honoured_by"]] == [1]


def test_the_registered_champion_draws_through_mlflow(environment, home):
    script = """
import mlflow, os
mlflow.set_tracking_uri(f"sqlite:///{os.environ['ERASURE_HOME']}/mlflow.db")
model = mlflow.pyfunc.load_model("models:/gallery@champion")
pictures = model.predict(["a photo of a cat", "a photo of a rocket"])
assert pictures.shape == (2, 64, 64, 3), pictures.shape
assert pictures.dtype == "uint8", pictures.dtype
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
