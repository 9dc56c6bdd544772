"""Attack the chosen candidate of a run, as its policy declares."""

from dataclasses import asdict, replace

from prefect import task
from prefect.cache_policies import NO_CACHE

from erasure_core.files import pretty_json, write_text
from erasure_core.law.gates import Measurement
from erasure_core.network.models import copied
from erasure_core.network.weights import WeightDelta
from erasure_core.planning.plan import Plan
from tasks.erasing.snapshot import teacher_of
from tasks.evidence.attack import Shown, attack_model, measurements, not_run, write_sheets
from tasks.evidence.instruments import Instruments
from tasks.evidence.measure import NOT_RUN
from tasks.home import Home


@task(name="attack", task_run_name="attack {candidate}", tags=["gpu"], cache_policy=NO_CACHE)
def attack(plan: Plan, candidate: str, home: Home) -> None:
    """Try to bring back each concept that is measured whole; keep what came of it, with pictures.

    What is there, from a run that was stopped, is kept; so is what another process finished
    meanwhile, since this one was paused: a version may rest on it.
    """
    policy, file = plan.params.policy, plan.attacks_file(candidate)
    if policy.audience is None or file.exists():
        return
    base = teacher_of(plan, home)
    victim = copied(base)
    WeightDelta.load(plan.delta_file(candidate)).apply(victim.unet)
    instruments, shown = Instruments.of(plan.params), Shown.of(plan)
    measured: list[Measurement] = []
    unmeasured: dict[str, str] = {}
    for concept in plan.whole:
        names = list(policy.attacks_on(concept.kind))
        attacked = attack_model(
            base, victim, concept, plan.params, shown, names, policy.tier, instruments
        )
        if file.exists():
            return
        write_sheets(attacked, file.with_suffix("") / concept.slug)
        settings = {"audience": policy.audience, "tier": policy.tier}
        measured += [
            replace(m, settings={**m.settings, **settings})
            for m in measurements(attacked.results, policy.tier)
        ]
        unmeasured |= not_run(attacked.results)
    came_to = {"measurements": [asdict(m) for m in measured], NOT_RUN: unmeasured}
    write_text(file, pretty_json(came_to))
