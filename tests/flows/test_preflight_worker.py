"""A GPU pool is ready when a worker of it is alive, as a real Prefect server says."""

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate

from erasure_core.errors import BadInput
from tasks.requests.machine import check_gpu_worker


@flow(name="step")
def step() -> None:
    """What a deployment of the test runs; it never does."""


@pytest.fixture(scope="module")
def deployment(prefect_server) -> str:
    """The name of a deployment on a pool of its own, `gpus`, that no worker has."""
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="gpus", type="process"))
        flow_id = client.create_flow(step)
        client.create_deployment(flow_id=flow_id, name="on-gpus", work_pool_name="gpus")
    return "step/on-gpus"


def test_deployment_that_is_not_there_is_refused(deployment):
    with pytest.raises(BadInput, match="has no deployment step/elsewhere; run `python -m flows"):
        check_gpu_worker("step/elsewhere")


def test_pool_is_ready_only_with_a_worker_alive(deployment):
    with pytest.raises(BadInput, match=r"no worker of the pool gpus, .* \(0 known\); start one"):
        check_gpu_worker(deployment)
    with get_client(sync_client=True) as client:
        client.send_worker_heartbeat("gpus", "one", heartbeat_interval_seconds=600)
    check_gpu_worker(deployment)
