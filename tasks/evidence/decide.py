"""Judge every candidate by the policy and choose the one to put forward."""

from collections.abc import Mapping
from dataclasses import dataclass

from prefect import task
from prefect.cache_policies import NO_CACHE

from erasure_core.law.gates import Gate, choose, judge_all
from erasure_core.planning.params import DEFAULT_PRESET
from erasure_core.planning.plan import Plan
from tasks.evidence.measure import Found


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict on every candidate, comparisons included, and the name of the one put forward."""

    chosen: str
    gates: Mapping[str, Gate]

    @property
    def gate(self) -> Gate:
        """The verdict on the chosen candidate."""
        return self.gates[self.chosen]

    @property
    def promoted(self) -> bool:
        """Only `pass` promotes."""
        return self.gate.verdict == "pass"


@task(name="choose and gate", cache_policy=NO_CACHE)
def decide(plan: Plan, found: Mapping[str, Found]) -> Decision:
    """Judge each candidate; choose among those of the default preset."""
    policy = plan.params.policy
    controls, limits = (
        policy.controls(plan.concepts),
        policy.limits(plan.concepts, plan.restored_concepts),
    )
    gates = {who: judge_all(controls, limits, measured) for who, measured in found.items()}
    eligible = {c.name for c in plan.candidates() if c.preset == DEFAULT_PRESET}
    kept = {who: measured["ssim"].value for who, measured in found.items() if "ssim" in measured}
    return Decision(
        choose({who: gate for who, gate in gates.items() if who in eligible}, kept), gates
    )
