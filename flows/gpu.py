"""The steps that want a GPU, as one flow of their own, so that a worker on a GPU machine can take
just these.
"""

from prefect import flow

from erasure_core.planning.plan import BASE, Plan, Stage
from flows.telling import one_line
from tasks.erasing.erase import erase
from tasks.erasing.first_look import first_look
from tasks.erasing.generate import generate
from tasks.evidence.attack_candidate import attack
from tasks.placement import home_of_run
from tasks.requests.made_with import check_made_here


@flow(name="erase-and-generate", flow_run_name="erase and generate {run}, {stage}")
@one_line
def erase_and_generate(run: str, stage: Stage, candidates: list[str]) -> None:
    """Train candidates of a plan and make their pictures and the base's; results go into the run's
    folder, and what is there is kept.

    Args:
        run: Name of the run's folder in the state folder of whichever machine takes it.
        stage: Which pictures: those that choose a candidate, or those that are reported.
        candidates: Names of the candidates.
    """
    home = home_of_run()
    plan = Plan.read(home.runs / run)
    check_made_here(plan)
    first_look(plan, home)
    generate(plan, BASE, home, stage)
    for candidate in candidates:
        erase(plan, candidate, home)
        generate(plan, candidate, home, stage)
        if stage == "report" and candidate in plan.eligible:
            attack(plan, candidate, home)
