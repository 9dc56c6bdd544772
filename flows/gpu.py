"""The steps that want a GPU, as one flow of their own, so that a worker on a GPU machine can take
just these.
"""

from pathlib import Path

from prefect import flow

from erasure_core.planning.plan import BASE, Plan
from tasks.erasing.erase import erase
from tasks.erasing.generate import generate
from tasks.home import Home


@flow(name="erase-and-generate")
def erase_and_generate(plan_file: Path) -> None:
    """Train every candidate of a plan and make every picture; results go into the plan's folder."""
    plan, home = Plan.read(plan_file), Home.from_env()
    candidates = [candidate.name for candidate in plan.candidates()]
    generate(plan, BASE, home)
    for candidate in candidates:
        erase(plan, candidate, home)
        generate(plan, candidate, home)
