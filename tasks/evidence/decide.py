"""Choose a candidate on one set of pictures, and judge it on another."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from prefect import task
from prefect.cache_policies import NO_CACHE

from erasure_core.law.gates import Gate, choose, judge_all
from erasure_core.planning.params import BESIDES, INSTEAD, Policy
from erasure_core.planning.plan import Plan
from tasks.evidence.further import DISTANCES, IDENTITY, SWEPT
from tasks.evidence.measure import Evidence, Found

FURTHER = (IDENTITY, *SWEPT)


@dataclass(frozen=True, slots=True)
class Decision:
    """The candidate put forward, and the verdicts: on the report set its own and the comparisons',
    on the set that chose all that could have been chosen.
    """

    chosen: str
    gates: Mapping[str, Gate]
    choice: Mapping[str, Gate] = field(default_factory=dict)

    @property
    def gate(self) -> Gate:
        """The verdict on the chosen candidate."""
        return self.gates[self.chosen]

    @property
    def promoted(self) -> bool:
        """Only `pass` promotes."""
        return self.gate.verdict == "pass"

    def verdict(self, candidate: str) -> str:
        """How a candidate is shown: by the report's verdict, or as not chosen."""
        return self.gates[candidate].verdict if candidate in self.gates else "not chosen"


@task(name="choose", cache_policy=NO_CACHE)
def choose_candidate(plan: Plan, choice: Mapping[str, Found]) -> str:
    """The candidate to report: of those that keep to every limit on the set that chooses the one
    that keeps the most, else the one that misses fewest.
    """
    kept = {who: found["ssim"].value for who, found in choice.items() if "ssim" in found}
    return choose(_gates(plan, choice, _of_choice(plan)), kept)


@task(name="gate", cache_policy=NO_CACHE)
def decide(plan: Plan, evidence: Evidence) -> Decision:
    """Judge what was reported."""
    chosen = next(name for name in plan.eligible if name in evidence.report)
    gates = _gates(plan, {chosen: evidence.report[chosen]})
    others = {name: found for name, found in evidence.report.items() if name != chosen}
    gates |= _gates(plan, others, plan.params.policy.without())  # comparisons are not attacked
    return Decision(chosen, gates, _gates(plan, evidence.choice, _of_choice(plan)))


def _of_choice(plan: Plan) -> Policy:
    """On the set that chooses nobody attacks, the replacement is not drawn, and what is measured
    further is not.
    """
    policy = plan.params.policy.without(*INSTEAD, *BESIDES, *FURTHER)
    return policy.model_copy(
        update={"kept": {m: x for m, x in policy.kept.items() if not m.startswith(DISTANCES)}}
    )


def _gates(plan: Plan, found: Mapping[str, Found], policy: Policy | None = None) -> dict[str, Gate]:
    policy = policy or plan.params.policy
    controls = policy.controls(plan.whole)
    limits = policy.limits(plan.whole, plan.restored_concepts)
    if plan.in_part:
        before, after = policy.of_parts(plan.in_part)
        controls, limits = [*controls, *before], [*limits, *after]
    return {who: judge_all(controls, limits, measured) for who, measured in found.items()}
