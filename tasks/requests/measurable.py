"""Can the evidence that a policy asks for be had at all, from the prompts there are?"""

from collections.abc import Iterator, Sequence

from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept
from erasure_core.law.prompts import PromptRow, kept_rows, where
from erasure_core.metrics.identity import identity_weights
from erasure_core.metrics.intervals import effective, enough, wilson
from erasure_core.metrics.quality import FEWEST as TYPICAL
from erasure_core.planning.params import BESIDES, COMPOSED, INSTEAD, SEEING, Policy
from erasure_core.planning.sealed import clusters_of
from tasks.evidence.further import IDENTITY, shown_beside, unseen_neighbours
from tasks.evidence.measure import (
    DISTANCE_METRICS,
    FURTHER_METRICS,
    RESTORED_METRICS,
    TARGET_METRICS,
    kept_metrics,
)

NAMED_BY_CLIP = "clip.concept_rate"
DROP = "clip.accuracy_drop"
ACCURACY = {"clip.accuracy", DROP}


def policy_faults(policy: Policy) -> Iterator[str]:
    """Limits that nothing measures, and limits that no pictures can meet."""
    sections = [
        *((f"targets.{kind}", bounds, TARGET_METRICS) for kind, bounds in policy.targets.items()),
        ("kept", policy.kept, (*kept_metrics(), *DISTANCE_METRICS)),
        ("restored", policy.restored, RESTORED_METRICS),
    ]
    for section, bounds, known in sections:
        for metric in bounds.keys() - set(known):
            yield (
                f"policy.{section} limits {metric}, which nothing measures; known there are "
                f"{', '.join(known)}"
            )
    if IDENTITY in policy.targets.get("likeness", {}):
        try:
            identity_weights()
        except BadInput as why:
            yield f"policy.targets limits {IDENTITY}: {why}"
    for kind, bounds in policy.targets.items():
        if IDENTITY in bounds and kind != "likeness":
            yield (
                f"policy.targets.{kind} limits {IDENTITY}, which tells whose face it is and is "
                f"measured of a likeness alone; take it out"
            )
        if not policy.sees(kind):
            yield (
                f"policy.targets.{kind} limits {', '.join(bounds)}, none of which sees the concept "
                f"in pictures of it alone: the unedited base could meet them; limit one of "
                f"{', '.join(SEEING)} as well"
            )
        for metric, bound in bounds.items():
            if bound <= 0 and not metric.startswith((*INSTEAD, *BESIDES)):
                yield (
                    f"policy.targets.{kind} limits {metric} to {bound:g}, which no number of "
                    f"pictures can show; raise it above 0"
                )


def too_few(prompts: Sequence[str], bound: float) -> str | None:
    """Why one picture of each of `prompts` cannot show a share of at most `bound` > 0, if they
    cannot: pictures of one prompt are alike, and count as one.
    """
    clusters = clusters_of(prompts)
    n, trials = len(prompts), effective(clusters)
    end = wilson(0, trials)[1]
    if end <= bound:
        return None
    alike = ""
    if trials < n:
        alike = f" ({n} pictures of {len(set(clusters))} prompts count as {trials:.0f})"
    return (
        f"{trials:.0f} pictures can never show at most {bound:.3g}: 0 of {trials:.0f} still allows "
        f"{end:.3f}; {enough(bound)} can, each of a prompt of its own{alike}"
    )


def check_size(policy: Policy, concept: Concept, rows: Sequence[PromptRow]) -> None:
    """Refuse a prompt set too small for `min_n`, or to meet a limit even without a hit.

    That `min_n` pictures alone could not meet a limit is no fault: it binds the kept ones too, and
    there may be more of a concept's.
    """
    what = f"the prompt set of '{concept.name}' has {len(rows)} rows"
    if len(rows) < policy.min_n:
        raise BadInput(f"{what}, and policy.min_n asks for {policy.min_n}; add some")
    for metric, bound in policy.targets[concept.kind].items():
        if metric.startswith((*INSTEAD, *FURTHER_METRICS)):
            continue
        composed = metric.startswith(COMPOSED)
        prompts = [row.prompt for row in rows if bool(row.also) == composed]
        if not prompts:
            raise BadInput(
                f"{what}, {'none' if composed else 'all'} of which name something beside it, and "
                f"the policy limits {metric}; fill or empty the column `also` of some"
            )
        if len(prompts) < policy.min_n:
            raise BadInput(
                f"{what}, and {len(prompts)} of them for {metric}, for which policy.min_n asks for "
                f"{policy.min_n}; add some"
            )
        if bound > 0 and (why := too_few(prompts, bound)):
            raise BadInput(f"{what}, too few for the limit on {metric}: {why}; add some")
    check_alone(policy, concept, rows)


def check_alone(policy: Policy, concept: Concept, rows: Sequence[PromptRow]) -> None:
    """Refuse a prompt set from which it cannot be told what is typical of the replacement, where
    the policy asks what stands in the concept's place: that is measured together.
    """
    alone = sum(not row.also for row in rows)
    if (asked := policy.of_replacement(concept.kind)) and alone < TYPICAL:
        raise BadInput(
            f"the prompt set of '{concept.name}' has {alone} rows of it alone, and what stands in "
            f"its place ({', '.join(sorted(asked))}) is told from at least {TYPICAL}; add some"
        )


def check_label(policy: Policy, concept: Concept, rows: Sequence[PromptRow]) -> None:
    """Refuse a prompt set that does not say that it shows its concept: CLIP would never name it,
    not even on the base. A style is named among the parameters' styles instead.
    """
    named = {row.concept for row in rows}
    asked = NAMED_BY_CLIP in policy.targets[concept.kind] and concept.kind != "style"
    if asked and concept.name not in named:
        raise BadInput(
            f"the column `concept` of the prompt set of '{concept.name}' holds "
            f"{', '.join(sorted(filter(None, named))) or 'nothing'}; write {concept.name} there"
        )
    _check_no_other(concept, rows)


def _check_no_other(concept: Concept, rows: Sequence[PromptRow]) -> None:
    """Refuse a prompt set some of whose rows say that they show its concept and others that they
    show another: all are measured as the concept, and the base itself would seem to lack it.
    """
    column = "style" if concept.kind == "style" else "concept"
    named = [getattr(row, column) for row in rows]
    others = [row for row, word in zip(rows, named, strict=True) if word not in ("", concept.name)]
    if others and concept.name in named:
        words = sorted({getattr(row, column) for row in others})
        cases = where([row.case_number for row in others]).replace("line", "case", 1)
        raise BadInput(
            f"the column `{column}` of the prompt set of '{concept.name}' holds "
            f"{', '.join(words)} in {len(others)} of {len(rows)} rows ({cases}), which are "
            f"measured as '{concept.name}' too; take them out, or write {concept.name} there"
        )


def independent(rows: Sequence[PromptRow]) -> float:
    """As how many pictures those of `rows` count, one of each row: of one wording they are alike,
    and count as one.
    """
    return effective(clusters_of(row.prompt for row in rows)) if rows else 0


def check_kept(policy: Policy, kept: Sequence[PromptRow], concepts: Sequence[Concept]) -> None:
    """Refuse an erasure that leaves too few of the kept prompts to measure what stays."""
    left = kept_rows(kept, concepts)
    names = ", ".join(concept.name for concept in concepts)
    for needed, why in _kept_needed(policy):
        if (trials := independent(left)) < needed:
            raise BadInput(
                f"{len(left)} of {len(kept)} kept prompts "
                + (f"show or name none of {names}" if names else "are there")
                + (f" and count as {trials:.0f}, for wordings repeat" if trials < len(left) else "")
                + f", and {why}; add prompts to prompts.kept"
            )


def _kept_needed(policy: Policy) -> Iterator[tuple[int, str]]:
    """How many kept prompts the policy takes, and which of its lines says so."""
    yield policy.min_n, f"policy.min_n asks for {policy.min_n}"
    if (bound := policy.kept.get(DROP, 0)) > 0:  # at 0, only a gain can meet it
        fewest = enough(bound)
        yield fewest, f"no fewer than {fewest} without a loss show policy.kept.{DROP} of {bound:g}"


def check_kept_labels(policy: Policy, kept: Sequence[PromptRow]) -> None:
    """Refuse to limit the accuracy of pictures of which nobody says what they show."""
    limited = {metric for metric in policy.kept if metric.partition("[")[0] in ACCURACY}
    if limited and (unnamed := [row.case_number for row in kept if not row.concept]):
        raise BadInput(
            f"policy.kept limits {', '.join(sorted(limited))}, and prompts.kept does not say what "
            f"case {unnamed[0]} shows ({len(unnamed)} such); fill its column `concept`"
        )


def check_neighbours(policy: Policy, concept: Concept, kept: Sequence[PromptRow]) -> None:
    """Refuse a named neighbour that no kept row shows: it would be measured nowhere."""
    if missing := unseen_neighbours(policy, concept, kept):
        column = "style" if concept.kind == "style" else "concept"
        have = sorted({name for name in shown_beside(concept, kept) if name} - {concept.name})
        raise BadInput(
            f"policy.neighbours names {', '.join(missing)} for '{concept.name}', and no row of "
            f"prompts.kept has that in its column `{column}` (there is "
            f"{', '.join(have) or 'nothing'}); add such rows, or take the name out"
        )


def check_restored(policy: Policy, concept: Concept) -> None:
    """Refuse to ask of a concept that was brought back what its kind is not measured by."""
    measured = policy.targets.get(concept.kind)
    if measured is None or policy.restored.keys() - {"ssim"} - measured.keys():
        raise BadInput(
            f"policy.restored limits {', '.join(policy.restored)}, and policy.targets has "
            f"{', '.join(measured or {}) or 'nothing'} for the kind {concept.kind} of the restored "
            f"'{concept.name}'; add to policy.targets.{concept.kind} what is to be measured"
        )
