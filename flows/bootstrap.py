"""Prepare a Prefect server for this project: `python -m flows.bootstrap`. Doing it again changes
nothing.

Work pools `cpu` and `gpu` (a worker takes runs from one pool only, so that pools are what keeps
training on GPU machines), the queue `training`, the automation that declares runs of dead machines
crashed, and the deployments of `prefect.yaml`.
"""

import asyncio
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from erasure_core.errors import BadInput, ErasureError
from tasks.book.door import open_book
from tasks.home import Home
from tasks.reachable import check_reachable

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.events.schemas.automations import AutomationCore

DEPLOYMENTS = Path(__file__).with_name("prefect.yaml")
POOLS = {
    "cpu": "Intake, measurement, gate, promotion, reports.",
    "gpu": "Training and generation: one worker per GPU, each with --limit 1.",
}
QUEUE = "training"
ZOMBIES = "erasure: runs without a heartbeat have crashed"


def bootstrap(deployments: Path = DEPLOYMENTS) -> None:
    """Create or update everything on the server that `PREFECT_API_URL` names.

    Raises:
        BadInput: If no server is named (deployments on the embedded one would vanish with this
            process), or the named one does not answer.
        ErasureError: If Prefect refuses a deployment, with its last lines.
    """
    from prefect.settings import PREFECT_API_URL

    server = PREFECT_API_URL.value()
    if not server:
        raise BadInput(
            "PREFECT_API_URL is not set; start a server (prefect server start) and set "
            "it to http://<host>:4200/api"
        )
    check_reachable("the Prefect server", server)
    asyncio.run(_prepare_server())
    prefect = [sys.executable, "-P", "-m", "prefect"]
    done = subprocess.run(
        [*prefect, "deploy", "--all", "--no-prompt", "--prefect-file", str(deployments)],
        env={**os.environ, "PREFECT_API_URL": server, "PYTHONPATH": _with_flows()},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise ErasureError(
            f"prefect deploy of {deployments} failed: "
            f"{' '.join((done.stderr or done.stdout).split()[-60:])}"
        )


def begin_book() -> Path | None:
    """Begin the book of the state folder that `ERASURE_HOME` names, if it has none: workers refuse
    a folder without one, and the first request may come by the form. None where it names none.
    """
    if not os.environ.get("ERASURE_HOME"):
        return None
    home = Home.from_env().checked()
    open_book(home)
    return home.root


def _with_flows() -> str:
    """Where Python finds the flows that are deployed, also where nothing is installed."""
    given = os.environ.get("PYTHONPATH")
    return os.pathsep.join([*([given] if given else []), str(Path(__file__).parents[1])])


async def _prepare_server() -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
    from prefect.workers.process import ProcessWorker

    async with get_client() as client:
        for name, description in POOLS.items():
            template = ProcessWorker.get_default_base_job_template()
            pool = WorkPoolCreate(
                name=name, type="process", description=description, base_job_template=template
            )
            try:
                await client.create_work_pool(pool)
            except ObjectAlreadyExists:
                continue  # an operator's own limits and job template stay
        try:
            await client.read_work_queue_by_name(QUEUE, work_pool_name="gpu")
        except ObjectNotFound:
            await client.create_work_queue(QUEUE, work_pool_name="gpu", priority=1)
        await _create_or_update(client, _zombie_automation())


async def _create_or_update(client: "PrefectClient", wanted: "AutomationCore") -> None:
    existing = await client.read_automations_by_name(wanted.name)
    if existing:
        await client.update_automation(existing[0].id, wanted)
    else:
        await client.create_automation(wanted)


def _zombie_automation() -> "AutomationCore":
    """A run whose machine died stays RUNNING, and keeps its slot, until somebody says otherwise:
    three missed heartbeats do.
    """
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification
    from prefect.settings import get_current_settings

    heartbeat = get_current_settings().flows.heartbeat_frequency or 180
    return AutomationCore(
        name=ZOMBIES,
        description="Without it a killed GPU machine blocks its pool for good.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},
            match=ResourceSpecification.model_validate(
                {"prefect.resource.id": ["prefect.flow-run.*"]}
            ),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=3 * heartbeat),
        ),
        actions=[
            ChangeFlowRunState(
                name=None,
                state=StateType.CRASHED,
                message="No heartbeat: the machine or its worker died.",
                force=False,
            )
        ],
    )


if __name__ == "__main__":
    Home.from_env().prepare_environment()
    try:
        bootstrap()
        begun = begin_book()
    except ErasureError as fault:
        print(fault, file=sys.stderr)
        sys.exit(fault.exit_code)
    print("pools, queue, automation and deployments are in place")
    print(f"book of record: {begun}" if begun else "no book begun: ERASURE_HOME is not set")
