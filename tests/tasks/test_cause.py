"""What breaks on a machine's account parks nobody's request."""

import sqlite3

import httpx
import pytest
import torch
from filelock import Timeout
from mlflow.exceptions import MlflowException
from prefect.exceptions import PrefectException, PrefectHTTPStatusError
from sqlalchemy.exc import OperationalError

from erasure_core.errors import BadInput, ErasureError
from tasks.requests.cause import is_of_request

BUSY = httpx.Response(503, request=httpx.Request("GET", "http://127.0.0.1/api"))


@pytest.mark.parametrize(
    "fault",
    [
        PrefectHTTPStatusError("503 Service Unavailable", request=BUSY.request, response=BUSY),
        PrefectException("the server went away"),
        httpx.ReadTimeout("slow"),
        MlflowException("no experiment"),
        OperationalError("select 1", {}, Exception("locked")),
        sqlite3.OperationalError("database is locked"),
        Timeout("dvc.lock"),
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        OSError(28, "No space left on device"),
        ErasureError("DVC failed"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_servers_disks_and_memory_are_no_fault_of_a_request(fault):
    assert not is_of_request(fault)


@pytest.mark.parametrize(
    "fault", [BadInput("no such label"), KeyError("cat"), RuntimeError("shapes differ")]
)
def test_what_its_own_work_raises_is(fault):
    assert is_of_request(fault)
