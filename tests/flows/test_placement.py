"""The seam between the flows and the machines: in process, or through a real worker on the GPU
pool.
"""

import asyncio
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings

from erasure_core.errors import BadInput, ErasureError
from erasure_core.planning.params import read_params
from flows.bootstrap import DEPLOYMENTS, ZOMBIES, begin_book, bootstrap
from tasks.placement import GPU_DEPLOYMENT, run_gpu_step
from tasks.requests import made_with

from ..processes import stop

FLOWS = """
    import os
    from pathlib import Path

    from prefect import flow


    @flow(name="step")
    def step(folder: str, fail: bool = False) -> None:
        if fail:
            raise RuntimeError("out of memory")
        device = os.environ.get("CUDA_VISIBLE_DEVICES")
        Path(folder, "made").write_text(f"{Path.cwd().name} {device}")
"""
DEPLOY = """
    pull:
      - prefect.deployments.steps.set_working_directory:
          directory: "{{ $ERASURE_CHECKOUT }}"
    deployments:
      - name: on-gpu
        entrypoint: throwaway_flows:step
        work_pool:
          name: gpu
          work_queue_name: training
"""


def test_without_a_deployment_the_step_runs_here(monkeypatch):
    monkeypatch.delenv(GPU_DEPLOYMENT, raising=False)
    seen = []
    run_gpu_step(lambda **parameters: seen.append((os.getpid(), parameters)), {"plan": "p.json"})
    assert seen == [(os.getpid(), {"plan": "p.json"})]


def test_what_the_step_raises_here_is_what_the_caller_sees(monkeypatch):
    monkeypatch.delenv(GPU_DEPLOYMENT, raising=False)

    def step():
        raise BadInput("no such base")

    with pytest.raises(BadInput, match="no such base"):
        run_gpu_step(step, {})


def test_bootstrap_needs_a_server_that_outlives_it(monkeypatch):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(BadInput, match="PREFECT_API_URL"),
    ):
        bootstrap()


@pytest.mark.parametrize("build", ["", "+cpu", "+cu130"])
def test_a_plan_names_the_release_of_torch_and_not_what_it_is_built_for(build, monkeypatch):
    """Or workers with and without a GPU would refuse one another's plans."""
    params, version = read_params(DEPLOYMENTS.parents[1] / "params.yaml"), made_with.version
    planned = made_with.made_with(params)

    def of_build(name: str) -> str:
        return version(name).partition("+")[0] + (build if name == "torch" else "")

    monkeypatch.setattr(made_with, "version", of_build)
    assert made_with.made_with(params) == planned
    assert made_with.machine()["torch"] == torch.__version__


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A folder with a throw-away flow and its deployment, on the path of this process and of the
    workers it starts.
    """
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "throwaway_flows.py").write_text(textwrap.dedent(FLOWS))
    (folder / "prefect.yaml").write_text(textwrap.dedent(DEPLOY))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(DEPLOYMENTS.parents[1])]))
    monkeypatch.setenv("ERASURE_CHECKOUT", str(folder))
    return folder


async def on_server():
    async with get_client() as client:
        automations = [a for a in await client.read_automations() if a.name == ZOMBIES]
        pools = {pool.name for pool in await client.read_work_pools()}
        queue = await client.read_work_queue_by_name("training", work_pool_name="gpu")
        deployments = {
            d.name: (d.id, d.entrypoint, d.work_pool_name, d.work_queue_name)
            for d in await client.read_deployments()
        }
        return automations, pools, queue.priority, deployments


def test_a_book_is_begun_where_the_state_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("ERASURE_HOME", raising=False)
    assert begin_book() is None
    monkeypatch.setenv("ERASURE_HOME", str(tmp_path / "home"))
    assert begin_book() == begin_book() == tmp_path / "home"
    assert (tmp_path / "home/book.db").exists()


@pytest.mark.slow
def test_bootstrap_twice_leaves_one_of_each(checkout):
    bootstrap(checkout / "prefect.yaml")
    before = asyncio.run(on_server())
    bootstrap(checkout / "prefect.yaml")
    (zombies,), pools, priority, deployments = asyncio.run(on_server())
    assert deployments == before[3]
    assert deployments["on-gpu"][1:] == ("throwaway_flows:step", "gpu", "training")
    assert {"cpu", "gpu"} <= pools
    assert priority == 1
    assert [zombies.id] == [automation.id for automation in before[0]]
    assert (
        zombies.trigger.within.total_seconds()
        == 3 * get_current_settings().flows.heartbeat_frequency
    )


@pytest.mark.slow
def test_a_real_worker_on_the_gpu_pool_runs_the_step(
    prefect_server, checkout, monkeypatch, tmp_path
):
    bootstrap(checkout / "prefect.yaml")
    monkeypatch.setenv(GPU_DEPLOYMENT, "step/on-gpu")

    @flow
    def parent(fail: bool) -> None:
        run_gpu_step(
            pytest.fail, {"folder": str(tmp_path), "fail": fail}
        )  # the function itself must not be called here

    worker = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "prefect",
            "worker",
            "start",
            "--pool",
            "gpu",
            "--work-queue",
            "training",
            "--limit",
            "1",
        ],
        env={
            **os.environ,
            "PREFECT_API_URL": prefect_server,
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "CUDA_VISIBLE_DEVICES": "7",
        },
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        parent(fail=False)
        assert (
            tmp_path / "made"
        ).read_text() == "checkout 7"  # in the worker's checkout, on the worker's GPU
        with pytest.raises(ErasureError, match=r"step/on-gpu ended Failed.*out of memory"):
            parent(fail=True)
    finally:
        stop(worker)
