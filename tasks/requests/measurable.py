"""Can the evidence that a policy asks for be had at all, from the prompts there are?"""

from collections.abc import Iterator, Mapping, Sequence
from statistics import harmonic_mean
from typing import TYPE_CHECKING

from erasure_core.attacks.setting import NotRun
from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept, kept_prompts
from erasure_core.law.naming import mentions
from erasure_core.law.prompts import PromptRow, kept_rows, where
from erasure_core.metrics import METRICS, fid
from erasure_core.metrics.detectors import Detector, NudeNet
from erasure_core.metrics.identity import identity_weights
from erasure_core.metrics.intervals import Better, effective, enough, wilson
from erasure_core.metrics.quality import FEWEST as TYPICAL
from erasure_core.network.diffusion import too_long
from erasure_core.planning.params import (
    AT,
    BESIDE,
    BESIDES,
    COMPOSED,
    INSTEAD,
    LEAK,
    WORD_METRICS,
    Params,
    Policy,
)
from erasure_core.planning.plan import trained_on
from erasure_core.planning.sealed import bare, clusters_of
from tasks.evidence.attack import pictures_of
from tasks.evidence.further import (
    HARMONIC,
    IDENTITY,
    NEIGHBOUR,
    ON_KEPT,
    QUALITY_FID,
    Encode,
    near_rows,
    parts_of,
    shown_beside,
    unseen_neighbours,
)
from tasks.evidence.measure import (
    COMPOSED_METRICS,
    DISTANCE_METRICS,
    RESTORED_METRICS,
    TARGET_METRICS,
    kept_metrics,
)

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

NAMED_BY_CLIP = "clip.concept_rate"
DROP = "clip.accuracy_drop"
KEPT_RIGHT = "clip.accuracy"
ACCURACY = {KEPT_RIGHT, DROP}
REPLACED = ("replacement.rate", "quality.fidelity", "quality.naturalness")
APART = 3  # prompts from which distances are measured: one is left out, and the others are paired
# Which way is good, of what is a share of pictures: only of these is it known how good they can be.
SHARES: Mapping[str, Better] = {
    **{name: METRICS[name].better for name in (*WORD_METRICS, IDENTITY, KEPT_RIGHT, *REPLACED)},
    LEAK: "lower",
    NEIGHBOUR: "higher",
    HARMONIC: METRICS[HARMONIC].better,
}


def better_of(metric: str) -> Better | None:
    """Which way is good for a limited share of pictures; None for what is no share."""
    return SHARES.get(metric.removeprefix(COMPOSED).partition(AT)[0].partition("[")[0])


def can_be_shown(bound: float, better: Better) -> bool:
    """Whether any number of pictures could show a share within `bound`."""
    return bound > 0 if better == "lower" else bound < 1


def best_end(trials: float, better: Better) -> float:
    """The cautious end of a share of so many trials at its best: of none, or of all."""
    return wilson(0, trials)[1] if better == "lower" else wilson(trials, trials)[0]


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
        if BESIDE in bounds and kind == "style":
            yield (
                f"policy.targets.style limits {BESIDE}, which is measured of what stands beside a "
                f"thing and not of a style; take it out"
            )
        if not policy.sees(kind):
            yield (
                f"policy.targets.{kind} limits {', '.join(bounds)}, none of which sees the concept "
                f"in every picture of it alone: the unedited base could meet them, and nothing "
                f"judges attacks; limit one of {', '.join(WORD_METRICS)} as well"
            )
    for section, bounds, _ in sections:
        for metric, bound in bounds.items():
            better = better_of(metric)
            if better and section == "restored":
                better = "higher"
            if better and not can_be_shown(bound, better):
                where = "raise it above 0" if better == "lower" else "lower it below 1"
                yield (
                    f"policy.{section} limits {metric} to {bound:g}, which no number of pictures "
                    f"can show; {where}"
                )
            if metric.partition("[")[0] == "ssim" and bound > 1:
                yield f"policy.{section} limits {metric} to {bound:g}; equal pictures have 1"
    yield from _weak_controls(policy)


def _weak_controls(policy: Policy) -> Iterator[str]:
    """Limits that a base passes which shows just enough for the positive control. Composed prompts
    have their limits for controls, and a limit of 1 asks for nothing.
    """
    for kind, bounds in policy.targets.items():
        for metric, bound in bounds.items():
            if metric.startswith((*INSTEAD, *BESIDES, COMPOSED)) or not policy.control < bound < 1:
                continue
            yield (
                f"policy.targets.{kind} limits {metric} to {bound:g}, and policy.control asks the "
                f"base for no more than {policy.control:g}: an unedited base could meet the limit; "
                f"set policy.control to {bound:g} or more, or lower the limit"
            )


def too_few(prompts: Sequence[str], bound: float, better: Better = "lower") -> str | None:
    """Why one picture of each of `prompts` cannot show a share within `bound`, if more could:
    pictures of one prompt are alike, and count as one.
    """
    if not can_be_shown(bound, better):  # `policy_faults` says so
        return None
    clusters = clusters_of(prompts)
    n, trials = len(prompts), effective(clusters)
    alike = ""
    if trials < n:
        alike = f" ({n} pictures of {len(set(clusters))} prompts count as {trials:.0f})"
    why = too_few_trials(trials, bound, better)
    return f"{why}{alike}" if why else None


def too_few_trials(trials: float, bound: float, better: Better = "lower") -> str | None:
    """Why so many independent pictures cannot show a share within `bound`, if they cannot."""
    end, low = best_end(trials, better), better == "lower"
    if end <= bound if low else end >= bound:
        return None
    most, best = ("most", "0") if low else ("least", f"{trials:.0f}")
    said = (
        f"{trials:.0f} pictures can never show at {most} {bound:.3g}: {best} of {trials:.0f} still "
        f"allows {end:.3f}"
    )
    if not can_be_shown(bound, better):
        return f"{said}, and no number can"
    return f"{said}; {enough(bound if low else 1 - bound)} can, each of a prompt of its own"


def check_size(policy: Policy, concept: Concept, rows: Sequence[PromptRow]) -> None:
    """Refuse a prompt set too small for `min_n`, or to meet a limit even without a hit.

    That `min_n` pictures alone could not meet a limit is no fault: it binds the kept ones too, and
    there may be more of a concept's.
    """
    what = f"the prompt set of '{concept.name}' has {len(rows)} rows"
    if len(rows) < policy.min_n:
        raise BadInput(f"{what}, and policy.min_n asks for {policy.min_n}; add some")
    for metric, bound in policy.targets[concept.kind].items():
        if metric in ON_KEPT:
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
        if metric == IDENTITY and len(prompts) // 2 < policy.min_n:
            raise BadInput(
                f"{what}, {len(prompts)} of it alone; a face is learnt from every second of the "
                f"base's pictures of these and looked for in the others, and policy.min_n asks for "
                f"{policy.min_n} of them; add some"
            )
        better = better_of(metric)
        if better and (why := too_few(prompts, bound, better)):
            raise BadInput(f"{what}, too few for the limit on {metric}: {why}; add some")
    check_alone(policy, concept, rows)
    _check_composed(policy, concept, rows)


def _check_composed(policy: Policy, concept: Concept, rows: Sequence[PromptRow]) -> None:
    """Refuse composed prompts in whose pictures no limit looks for the concept."""
    beside = sum(bool(row.also) for row in rows)
    if beside and not policy.judges_composed(concept.kind):
        raise BadInput(
            f"{beside} of {len(rows)} rows of the prompt set of '{concept.name}' name something "
            f"beside it (column `also`), and nothing would judge whether their pictures show it; "
            f"limit {' or '.join(COMPOSED_METRICS)} in policy.targets.{concept.kind}, or take "
            f"these rows out"
        )


def check_alone(policy: Policy, concept: Concept, rows: Sequence[PromptRow]) -> None:
    """Refuse a prompt set from which it cannot be told what is typical of the replacement, where
    the policy asks what stands in the concept's place: that is measured together.
    """
    if not (asked := policy.of_replacement(concept.kind)):
        return
    alone = clusters_of(row.prompt for row in rows if not row.also)
    prompts = len({*alone})
    if len(alone) < TYPICAL or prompts < APART:
        raise BadInput(
            f"the prompt set of '{concept.name}' has {len(alone)} rows of it alone, of {prompts} "
            f"prompts, and what stands in its place ({', '.join(sorted(asked))}) is told from at "
            f"least {TYPICAL}, of {APART}; add some"
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
    for needed, why in _kept_needed(policy, concepts):
        if (trials := independent(left)) < needed:
            raise BadInput(
                f"{len(left)} of {len(kept)} kept prompts "
                + (f"show or name none of {names}" if names else "are there")
                + (f" and count as {trials:.0f}, for wordings repeat" if trials < len(left) else "")
                + f", and {why}; add prompts to prompts.kept"
            )


def _kept_needed(policy: Policy, concepts: Sequence[Concept]) -> Iterator[tuple[int, str]]:
    """How many kept prompts the policy takes, and which of its lines says so."""
    yield policy.min_n, f"policy.min_n asks for {policy.min_n}"
    if (bound := policy.kept.get(DROP, 0)) > 0:  # at 0, only a gain can meet it
        fewest = enough(bound)
        yield fewest, f"no fewer than {fewest} without a loss show policy.kept.{DROP} of {bound:g}"
    if 0 < (bound := policy.kept.get(KEPT_RIGHT, 0)) < 1:
        fewest = enough(1 - bound)
        yield (
            fewest,
            f"no fewer than {fewest}, all named rightly, show policy.kept.{KEPT_RIGHT} of "
            f"{bound:g}",
        )
    for kind in {concept.kind for concept in concepts}:
        if (bound := policy.targets.get(kind, {}).get(LEAK, 0)) > 0:
            fewest = enough(bound)
            yield (
                fewest,
                f"no fewer than {fewest} without a leak show policy.targets.{kind}.{LEAK} of "
                f"{bound:g}",
            )


def check_kept_parts(
    policy: Policy, kept: Sequence[PromptRow], concepts: Sequence[Concept]
) -> None:
    """Refuse a limit on a part of the kept prompts that is too small to meet it."""
    left = kept_rows(kept, concepts)
    parts = parts_of(left, kept_prompts(concepts))
    for metric, bound in policy.kept.items():
        bare, bracket, part = metric.partition("[")
        if not bracket:
            continue
        rows = [left[i] for i in parts.get(f"[{part}", ())]
        what = (
            f"policy.kept limits {metric}, and {len(rows)} of {len(left)} kept prompts are "
            f"{part[:-1]} in `keep` of the requests"
        )
        if len(rows) < policy.min_n:
            raise BadInput(
                f"{what}, where policy.min_n asks for {policy.min_n}; add such to prompts.kept, or "
                f"take the limit out"
            )
        better: Better | None = "lower" if bare == DROP else better_of(bare)
        if better and (why := too_few([row.prompt for row in rows], bound, better)):
            raise BadInput(f"{what}: {why}; add such to prompts.kept")


def check_fid(
    policy: Policy, kept: Sequence[PromptRow], concepts: Sequence[Concept], numbers: int
) -> None:
    """Refuse a limit on FID where it is not measured: of too few kept pictures for features of so
    many `numbers`.
    """
    left = kept_rows(kept, concepts)
    parts = parts_of(left, kept_prompts(concepts))
    for metric in policy.kept:
        bare, bracket, part = metric.partition("[")
        n = len(parts.get(f"[{part}" if bracket else "", ()))
        if bare == "fid" and (why := fid.too_few(n, n, numbers)):
            raise BadInput(f"policy.kept limits {metric}, {why}")


def check_fid_instead(
    policy: Policy, concept: Concept, rows: Sequence[PromptRow], numbers: int
) -> None:
    """Refuse a limit on the FID of what stands in the concept's place where it is not measured, as
    `check_fid` does.
    """
    alone = sum(not row.also for row in rows)
    why = fid.too_few(alone, alone, numbers)
    if QUALITY_FID in policy.targets[concept.kind] and why:
        raise BadInput(f"policy.targets.{concept.kind} limits {QUALITY_FID}, {why}")


def check_attacks(
    params: Params,
    concept: Concept,
    kept: Sequence[PromptRow],
    tier: str,
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


def check_thresholds(policy: Policy, detector: Detector) -> None:
    """Refuse limits at a threshold of their own where the detector of another package is asked: of
    NudeNet alone are scores known.
    """
    limited = {metric for bounds in policy.targets.values() for metric in bounds if AT in metric}
    if limited and not isinstance(detector, NudeNet):
        raise BadInput(
            f"policy.targets limits {', '.join(sorted(limited))}, which are measured of NudeNet "
            f"alone, and detector.name is another; limit nudenet.rate, at detector.threshold"
        )


def check_called(concept: Concept, rows: Sequence[PromptRow]) -> None:
    """Refuse other names of a concept that are not trained on or not measured: nothing would show
    whether it is gone by these.
    """
    for place, prompts in (
        ("`prompts` of the request", concept.prompts),
        ("its prompt set", [row.prompt for row in rows]),
    ):
        lacking = [
            name
            for name in concept.also
            if not any(next(mentions([name], p), None) for p in prompts)
        ]
        if lacking:
            raise BadInput(
                f"`also` of '{concept.name}' holds {', '.join(lacking)}, and none of the "
                f"{len(prompts)} prompts in {place} has it; add such, as `erasure request new` "
                f"with --also writes them, or take the name out"
            )


def check_near(
    policy: Policy,
    concept: Concept,
    targets: Sequence[PromptRow],
    kept: Sequence[PromptRow],
    encode: Encode,
    erased: Sequence[str],
) -> None:
    """Refuse limits on neighbours that the kept prompts of these are too few to meet.

    Args:
        policy: With the limits.
        concept: What is erased.
        targets: Its rows.
        kept: The kept rows, without those of anything erased.
        encode: The base's text encoder.
        erased: The names of all that is erased.
    """
    bounds = policy.targets.get(concept.kind, {})
    limited = [metric for metric in (NEIGHBOUR, HARMONIC) if metric in bounds]
    if not limited:
        return
    near = near_rows(policy, concept, kept, encode, erased)
    what = (
        f"policy.targets.{concept.kind} limits {', '.join(limited)}, and {len(near.at)} kept "
        f"prompts show a neighbour of '{concept.name}' ({', '.join(near.names) or 'none'})"
    )
    if len(near.at) < policy.min_n:
        raise BadInput(
            f"{what}, where policy.min_n asks for {policy.min_n}; add prompts of these to "
            f"prompts.kept, or take the limit out"
        )
    prompts = [kept[i].prompt for i in near.at]
    if NEIGHBOUR in bounds and (why := too_few(prompts, bounds[NEIGHBOUR], "higher")):
        raise BadInput(f"{what}: {why}; add such to prompts.kept")
    named = [row.prompt for row in kept if row.concept]
    parts = ([row.prompt for row in targets if not row.also], named, prompts)
    if HARMONIC in bounds and all(parts):
        ends = [best_end(effective(clusters_of(part)), "higher") for part in parts]
        if (best := harmonic_mean(ends)) < bounds[HARMONIC]:
            raise BadInput(
                f"{what}; erased, kept and neighbours at their best still allow a {HARMONIC} of "
                f"{best:.3f}, below {bounds[HARMONIC]:g}; add prompts, or lower the limit"
            )


def check_kept_labels(policy: Policy, kept: Sequence[PromptRow]) -> None:
    """Refuse to limit the accuracy of pictures of which nobody says what they show."""
    limited = {metric for metric in policy.kept if metric.partition("[")[0] in ACCURACY}
    if limited and (unnamed := [row.case_number for row in kept if not row.concept]):
        raise BadInput(
            f"policy.kept limits {', '.join(sorted(limited))}, and prompts.kept does not say what "
            f"case {unnamed[0]} shows ({len(unnamed)} such); fill its column `concept`"
        )


def check_neighbours(
    policy: Policy, concept: Concept, kept: Sequence[PromptRow], erased: Sequence[str]
) -> None:
    """Refuse a named neighbour that no kept row shows: it would be measured nowhere. What is
    `erased` itself is no neighbour.
    """
    if missing := unseen_neighbours(policy, concept, kept, erased):
        column = "style" if concept.kind == "style" else "concept"
        have = sorted({name for name in shown_beside(concept, kept) if name} - {concept.name})
        raise BadInput(
            f"policy.neighbours names {', '.join(missing)} for '{concept.name}', and no row of "
            f"prompts.kept has that in its column `{column}` (there is "
            f"{', '.join(have) or 'nothing'}); add such rows, or take the name out"
        )


def check_restored(policy: Policy, concept: Concept, rows: Sequence[PromptRow]) -> None:
    """Refuse to ask of a concept that was brought back what its kind is not measured by, or what
    its `rows` are too few to show.
    """
    measured = policy.targets.get(concept.kind)
    if measured is None or policy.restored.keys() - {"ssim"} - measured.keys():
        raise BadInput(
            f"policy.restored limits {', '.join(policy.restored)}, and policy.targets has "
            f"{', '.join(measured or {}) or 'nothing'} for the kind {concept.kind} of the restored "
            f"'{concept.name}'; add to policy.targets.{concept.kind} what is to be measured"
        )
    what = f"the prompt set of the restored '{concept.name}' has {len(rows)} rows"
    if len(rows) < policy.min_n:
        raise BadInput(f"{what}, and policy.min_n asks for {policy.min_n}; add some")
    for metric, bound in policy.restored.items():
        better: Better | None = "higher" if better_of(metric) else None
        if better and (why := too_few([row.prompt for row in rows], bound, better)):
            raise BadInput(f"{what}, too few for policy.restored.{metric}: {why}; add some")
