"""Can the attacks that a policy limits be tried, and show what it asks for?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from erasure_core.attacks.setting import NotRun
from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept
from erasure_core.law.gates import Tier
from erasure_core.law.prompts import PromptRow
from erasure_core.network.diffusion import too_long
from erasure_core.planning.params import Params
from erasure_core.planning.plan import trained_on
from erasure_core.planning.sealed import bare, clusters_of
from tasks.evidence.attack import pictures_of
from tasks.requests.measurable import too_few_trials

if TYPE_CHECKING:
    from transformers import CLIPTokenizer


def check_attacks(
    params: Params,
    concept: Concept,
    kept: Sequence[PromptRow],
    tier: Tier,
    tokenizers: "Sequence[CLIPTokenizer]" = (),
) -> None:
    """Refuse a limit on an attack that cannot run of `concept` or on this base, and one that an
    attack which brings back nothing, as its control, would not meet at the budget of `tier`.

    Args:
        params: With the limits.
        concept: What is attacked.
        kept: The kept rows.
        tier: Of the budget.
        tokenizers: The base's, one a text encoder; none: a base of one that reads everything.
    """

    def reads(prompt: str) -> bool:
        return not too_long(tokenizers, [prompt])

    for name, bound in params.policy.attacks_on(concept.kind).items():
        given = name, concept, params, kept, tier, reads, max(1, len(tokenizers))
        try:
            trials = pictures_of(*given)
        except NotRun as fault:
            lower = ", and lower policy.tier, which asks for it" * (name in params.policy.required)
            raise BadInput(
                f"policy.attacks.{concept.kind} limits {name}, which cannot run of "
                f"'{concept.name}': {fault}; mend that, or take the limit out{lower}"
            ) from None
        if trials and (why := too_few_trials(trials, bound)):
            raise BadInput(
                f"policy.attacks.{concept.kind} limits {name} to {bound:g}, and at the tier "
                f"{tier} {why}; raise the limit"
            )


def check_untrained(concept: Concept) -> None:
    """Refuse descriptions and names in other languages that the request also trains on: attacks ask
    in them, and what was trained on only shows what was learnt by heart: `BadInput`.
    """
    trained = clusters_of(trained_on([concept]))
    described = [one for one in concept.described if bare(one) in trained]
    named = [n for n in concept.translated if any(f" {bare(n)} " in f" {p} " for p in trained)]
    for field, some in (("described", described), ("translated", named)):
        if some:
            raise BadInput(
                f"{some[0]!r} stands in `{field}`, in which attacks ask, and is also trained on "
                f"({len(some)} such): take it out of `prompts` or out of `{field}`"
            )
