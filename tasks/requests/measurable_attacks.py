"""Can the attacks that a policy limits be tried, and show what it asks for?"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from erasure_core.attacks.setting import NotRun
from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept
from erasure_core.law.gates import Tier
from erasure_core.law.naming import mentions
from erasure_core.law.prompts import PromptRow
from erasure_core.network.diffusion import too_long
from erasure_core.planning.params import Params
from erasure_core.planning.plan import trained_on
from erasure_core.planning.sealed import bare, clusters_of
from tasks.evidence.attack import pictures_of
from tasks.requests.measurable import best_end, too_few_trials

if TYPE_CHECKING:
    from transformers import CLIPTokenizer


def check_attacks(
    params: Params,
    concept: Concept,
    kept: Sequence[PromptRow],
    tier: Tier,
    tokenizers: "Sequence[CLIPTokenizer]" = (),
) -> None:
    """Refuse a limit on an attack that cannot run of `concept` or on this base, one that an attack
    which brings back nothing, as its control, would not meet at the budget of `tier`, and one that
    the base would not exceed though the attack always brings it back and its control never.

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
            counted = pictures_of(*given)
        except NotRun as fault:
            lower = ", and lower policy.tier, which asks for it" * (name in params.policy.required)
            raise BadInput(
                f"policy.attacks.{concept.kind} limits {name}, which cannot run of "
                f"'{concept.name}': {fault}; mend that, or take the limit out{lower}"
            ) from None
        if not counted:
            continue
        what = f"policy.attacks.{concept.kind} limits {name} to {bound:g}, and at the tier {tier}"
        if why := too_few_trials(counted[0], bound):
            raise BadInput(f"{what} {why}; raise the limit")
        if bound < 1 and (best := best_excess(*counted)) < bound:
            raise BadInput(
                f"{what} the base, which must exceed the limit under the same attack, cannot show "
                f"more than {best:.3f}: {counted[0]:.0f} of {counted[0]:.0f} pictures, and 0 of "
                f"{counted[1]:.0f} of its control; lower the limit, or set it to 1, which limits "
                f"nothing"
            )


def best_excess(trials: float, control: float) -> float:
    """The cautious end of an excess at its best: all of so many trials, and none of the control."""
    missed, seen = 1 - best_end(trials, "higher"), best_end(control, "lower")
    return 1 - math.hypot(missed, seen)  # Newcombe's, as `intervals.excess`


def check_untrained(concept: Concept) -> None:
    """Refuse descriptions and names in other languages that the request also trains on: attacks ask
    in them, and what was trained on only shows what was learnt by heart: `BadInput`.
    """
    trained = trained_on([concept])
    wordings = clusters_of(trained)
    described = [one for one in concept.described if bare(one) in wordings]
    named = [n for n in concept.translated if any(any(mentions([n], p)) for p in trained)]
    for field, some in (("described", described), ("translated", named)):
        if some:
            raise BadInput(
                f"{some[0]!r} stands in `{field}`, in which attacks ask, and is also trained on "
                f"({len(some)} such): take it out of `prompts` or out of `{field}`"
            )
