"""Which candidate is put forward: on the set that chooses, by values."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from erasure_core.law.gates import Measurement
from erasure_core.law.requests import read_request
from erasure_core.metrics.intervals import share
from erasure_core.planning.params import read_params
from erasure_core.planning.policy import WORD_METRICS
from tasks.evidence.decide import choose_candidate

ROOT = Path(__file__).parents[2]
POLICY = read_params(ROOT / "params.yaml").policy
CONCEPTS = {
    name: read_request(ROOT / f"examples/requests/{name}.yaml").concept
    for name in ("astronaut", "cat", "mosaic")
}
WORDINGS = [f"a wording {i % 24}" for i in range(40)]  # as the astronaut's choose set repeats them


def chosen(name: str, candidates: dict[str, dict[str, Measurement]], part: bool = False) -> str:
    """The candidate put forward for one concept by the policy of params.yaml."""
    whole, in_part = ([], [CONCEPTS[name]]) if part else ([CONCEPTS[name]], [])
    plan = SimpleNamespace(
        params=SimpleNamespace(policy=POLICY), whole=whole, in_part=in_part, restored_concepts=[]
    )
    return choose_candidate.fn(plan, candidates)


def measured(name: str, hits: int, ssim: float, n: int = 40) -> dict[str, Measurement]:
    """What the choose set says of a candidate: nothing composed, replaced, attacked, or besides."""
    found = [
        share(
            [i < shown for i in range(n)],
            metric=f"{prefix}{metric}[{name}]",
            better=better,
            settings={},
            clusters=WORDINGS[:n],
        )
        for metric in WORD_METRICS
        if metric in POLICY.targets[CONCEPTS[name].kind]
        for prefix, better, shown in (("base.", "higher", n), ("", "lower", hits))
    ]
    found.append(Measurement("ssim", ssim, ssim - 0.05, min(1, ssim + 0.05), n, "higher"))
    found += [
        Measurement(metric, 0.01, -0.02, 0.12, n, "lower")
        for metric in ("clip.score_drop", "clip.accuracy_drop")
    ]
    return {m.metric: m for m in found}


@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize("ssim", [0.05, 0.80, 0.95])
@pytest.mark.parametrize("n", [40, 20])  # fewer than policy.min_n prove nothing, and still choose
@pytest.mark.parametrize("name", CONCEPTS)
def test_no_hits_beat_all_hits_whatever_is_kept(name, n, ssim, part):
    candidates = {"erased": measured(name, 0, ssim, n), "unedited": measured(name, n, 0.99, n)}
    assert chosen(name, candidates, part) == "erased"


@pytest.mark.parametrize("name", CONCEPTS)
def test_of_those_within_all_limits_the_best_kept_wins(name):
    """3 of 40 are within 10 %, 5 are not."""
    candidates = {
        "harsh": measured(name, 0, 0.86),
        "mild": measured(name, 3, 0.95),
        "weak": measured(name, 5, 0.99),
    }
    assert chosen(name, candidates) == "mild"
