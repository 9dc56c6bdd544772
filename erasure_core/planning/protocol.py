"""The protocol of a number: what decides it beside the model that is measured. Two numbers of one
protocol may be compared; where it differs, so does a row, a setting, an instrument or the base.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any

from erasure_core.law.concepts import Concept, kept_prompts
from erasure_core.law.gates import SPLIT, Measurement, concept_of
from erasure_core.law.lineage import sha256_json
from erasure_core.law.prompts import PromptRow
from erasure_core.planning.params import Sampling
from erasure_core.planning.plan import Plan, Stage, kept_name, restored_name, target_name
from erasure_core.planning.policy import ATTACK, BESIDES, INSTEAD

DIGITS = 12
INSTRUMENTS = ("clip", "nudenet weights", "features")  # of `Plan.made_with`
OF_OTHERS = ("plugin ", "detector ")  # begin those of other packages
# Settings of a measurement that tell what was found, and where an instrument lies on this machine.
FOUND = {
    *("losses", "gains", "shows it", "changed most", "attempts", "controls"),
    *("where_the_base_shows_it", "unet_evaluations", "seconds"),
}
LIES = {"clip", "folder", "revision"}


def protocol(
    m: Measurement, rows: Sequence[PromptRow], sampling: Sampling, base: str, **more: object
) -> str:
    """`DIGITS` hexadecimal digits, the same for every model and for the base beside it.

    Args:
        m: The number.
        rows: That its pictures were drawn from.
        sampling: How they were drawn.
        base: Root hash of what the model was made from, and may be compared with.
        more: What else decides it.
    """
    content = {
        "metric": m.metric.removeprefix("base."),
        "settings": {k: v for k, v in m.settings.items() if k not in FOUND | LIES},
        "rows": [astuple(row) for row in rows],
        "sampling": sampling.model_dump(mode="json", exclude={"batch_size"}),
        "base": base,
        **more,
    }
    return sha256_json(content)[:DIGITS]


def of_plan(
    plan: Plan, stage: Stage, tables: Mapping[str, Sequence[PromptRow]], m: Measurement
) -> str:
    """The protocol of a number that a run measured.

    Args:
        plan: The run's.
        stage: Of which pictures.
        tables: Prompt set -> its rows that are measured.
        m: The number.
    """
    metric, params = m.metric.removeprefix("base."), plan.params
    known = [*plan.concepts, *plan.restored_concepts]
    concept = next((c for c in known if c.name == concept_of(metric)), None)
    by_hash = plan.made_with.items()
    return protocol(
        m,
        [row for name in _sets(metric, concept, stage) for row in tables.get(name, ())],
        params.sampling,
        plan.base_sha256,
        detector=params.detector.model_dump(mode="json"),
        clip=params.clip.model_dump(mode="json", exclude=LIES | {"path"}),
        instruments={n: h for n, h in by_hash if n in INSTRUMENTS or n.startswith(OF_OTHERS)},
        asked=_asked(plan, metric, concept),
    )


def _sets(metric: str, concept: Concept | None, stage: Stage) -> list[str]:
    """The prompt sets that a metric is measured on."""
    if concept is None:
        return [kept_name(stage)]
    if metric.startswith("restored."):
        return [restored_name(concept, stage)]
    beside = metric.startswith((*BESIDES, ATTACK))
    return [target_name(concept, stage), *([kept_name(stage)] if beside else ())]


def _asked(plan: Plan, metric: str, concept: Concept | None) -> dict[str, Any]:
    """What of the requests decides a metric: what an attacker asks for, what is to stand in the
    concept's place, what is listed.
    """
    if concept and metric.startswith(ATTACK):
        return {"concept": concept.model_dump(mode="json"), "seed": plan.params.seed}
    if concept and metric.startswith(INSTEAD):
        return {"replacement": concept.replacement}
    if metric.endswith(tuple(f"[{part}]" for part in SPLIT)):
        return {"keep": kept_prompts(plan.concepts)}
    return {}
