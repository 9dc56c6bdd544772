"""The steps that want a GPU, as one flow of their own, so that a worker on a GPU machine can take
just these.
"""

from prefect import flow

from erasure_core.planning.plan import BASE, Plan
from tasks.erasing.erase import erase
from tasks.erasing.generate import generate
from tasks.placement import home_of_run
from tasks.requests.made_with import check_made_here


@flow(name="erase-and-generate", flow_run_name="erase and generate {run}")
def erase_and_generate(run: str) -> None:
    """Train every candidate of a plan and make every picture; results go into the run's folder.

    Args:
        run: Name of the run's folder in the state folder of whichever machine takes it.
    """
    home = home_of_run()
    plan = Plan.read(home.runs / run)
    check_made_here(plan)
    candidates = [candidate.name for candidate in plan.candidates()]
    generate(plan, BASE, home)
    for candidate in candidates:
        erase(plan, candidate, home)
        generate(plan, candidate, home)
