"""Choose a candidate on one set of pictures, and judge it on another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from prefect import task
from prefect.cache_policies import NO_CACHE

from erasure_core.law.gates import Gate, Limit, choose, judge_all
from erasure_core.planning.plan import Plan
from erasure_core.planning.policy import Policy
from tasks.evidence.measure import Evidence, Found, attacks_not_run


@dataclass(frozen=True, slots=True)
class Decision:
    """The candidate put forward, and the verdicts on the report set: its own and the
    comparisons'.
    """

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

    def verdict(self, candidate: str) -> str:
        """How a candidate is shown: by the report's verdict, or as not chosen."""
        return self.gates[candidate].verdict if candidate in self.gates else "not chosen"


@task(name="choose", cache_policy=NO_CACHE)
def choose_candidate(plan: Plan, choice: Mapping[str, Found]) -> str:
    """The candidate to report: of those that keep to every limit on the set that chooses the one
    that keeps the most, else the one that misses fewest (`by_values`).
    """
    kept = {
        who: measurements["ssim"].value
        for who, measurements in choice.items()
        if "ssim" in measurements
    }
    gates = {who: by_values(plan, measurements) for who, measurements in choice.items()}
    return choose(gates, kept, plan.params.policy.kept)


@task(name="gate", cache_policy=NO_CACHE)
def decide(plan: Plan, evidence: Evidence) -> Decision:
    """Judge what was reported."""
    chosen = next(name for name in plan.eligible if name in evidence.report)
    attacked, alone = plan.params.policy, plan.params.policy.without()
    gates = {
        name: judge_all(
            *_limits(plan, attacked if name == chosen else alone),
            measurements,
            attacks_not_run(plan, name),
        )
        for name, measurements in evidence.report.items()  # comparisons are not attacked
    }
    return Decision(chosen, gates)


def by_values(plan: Plan, measurements: Found) -> Gate:
    """What chooses: values are held to the limits, not ends of intervals. A set that chooses is
    small, no candidate could prove a rate of 10 % on it, and all of them would miss the same.
    Limits on what it does not hold, as composed prompts, choose nothing.
    """
    controls, limits = _limits(plan, plan.params.policy)
    exact = {name: replace(m, low=m.value, high=m.value) for name, m in measurements.items()}

    def there(some: Sequence[Limit]) -> list[Limit]:
        return [replace(limit, min_n=1) for limit in some if limit.metric in measurements]

    return judge_all(there(controls), there(limits), exact)


def _limits(plan: Plan, policy: Policy) -> tuple[list[Limit], list[Limit]]:
    """What the base must show, and what a candidate must."""
    controls = policy.controls(plan.whole)
    limits = policy.limits(plan.whole, plan.restored_concepts)
    before, after = policy.of_parts(plan.in_part) if plan.in_part else ([], [])
    return [*controls, *before], [*limits, *after]
