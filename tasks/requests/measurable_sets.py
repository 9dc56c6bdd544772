"""Can the evidence that a policy asks for be had from the prompt sets there are?"""

from collections.abc import Iterator, Sequence
from statistics import harmonic_mean

from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept, kept_prompts
from erasure_core.law.naming import mentions
from erasure_core.law.prompts import PromptRow, kept_rows, where
from erasure_core.metrics import fid
from erasure_core.metrics.intervals import Better, effective, enough
from erasure_core.metrics.quality import FEWEST as TYPICAL
from erasure_core.planning.policy import (
    COMPOSED,
    DROP,
    LEAK,
    NAMED_RIGHTLY,
    WORD_METRICS,
    Policy,
)
from erasure_core.planning.sealed import alike_by, clusters_of_rows
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
from tasks.evidence.measure import COMPOSED_METRICS
from tasks.requests.measurable import KEPT_RIGHT, OWN_SEEDS, best_end, better_of, too_few

NAMED_BY_CLIP = "clip.concept_rate"
ACCURACY = {KEPT_RIGHT, DROP}
APART = 3  # prompts from which distances are measured: one is left out, and the others are paired


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
        composed, bare = metric.startswith(COMPOSED), metric.removeprefix(COMPOSED)
        some = [row for row in rows if bool(row.also) == composed]
        if not some:
            raise BadInput(
                f"{what}, {'none' if composed else 'all'} of which name something beside it, and "
                f"the policy limits {metric}; fill or empty the column `also` of some"
            )
        if len(some) < policy.min_n:
            raise BadInput(
                f"{what}, and {len(some)} of them for {metric}, for which policy.min_n asks for "
                f"{policy.min_n}; add some"
            )
        if metric == IDENTITY and len(some) // 2 < policy.min_n:
            raise BadInput(
                f"{what}, {len(some)} of it alone; a face is learnt from every second of the "
                f"base's pictures of these and looked for in the others, and policy.min_n asks for "
                f"{policy.min_n} of them; add some"
            )
        better = better_of(metric)
        if better and (why := _too_few(some, bound, better)):
            raise BadInput(f"{what}, too few for the limit on {metric}: {why}; add some")
        if better:
            _check_control(policy, what, metric, bound, some)
        of_parts = policy.seen_in_part(concept.kind) and bare in WORD_METRICS
        if policy.again and of_parts and len(some) < policy.again.parts:
            raise BadInput(
                f"{what}, {len(some)} of them for {metric}, and policy.again measures one of "
                f"{policy.again.parts} parts in a release, some of which would have none; lower "
                f"policy.again.parts, or add some"
            )
    check_alone(policy, concept, rows)
    _check_composed(policy, concept, rows)


def _check_control(
    policy: Policy, what: str, metric: str, bound: float, rows: Sequence[PromptRow]
) -> None:
    """Refuse prompts too few for the base to reach the control of a limited share, though it shows
    the concept in every picture: each run would be void.
    """
    control = policy.control_of(metric, bound)
    if control is None:
        return
    of = f"the limit on {metric}" if metric.startswith(COMPOSED) else "policy.control"
    if metric == IDENTITY:
        rows = rows[1::2]  # the face is learnt from the base's others
    if why := _too_few(rows, control, "higher"):
        raise BadInput(
            f"{what}, too few for {of} of {control:g}, which the base must reach by {metric}: {why}"
            f"; add some, or lower it"
        )


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
    alone = clusters_of_rows([row for row in rows if not row.also])
    prompts = len({*alone})
    if len(alone) < TYPICAL or prompts < APART:
        raise BadInput(
            f"the prompt set of '{concept.name}' has {len(alone)} rows of it alone, of {prompts} "
            f"{alike_by(rows)}, and what stands in its place ({', '.join(sorted(asked))}) is told "
            f"from at least {TYPICAL}, of {APART}; add some"
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
    _check_shown(policy, concept, rows)


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


def _check_shown(policy: Policy, concept: Concept, rows: Sequence[PromptRow]) -> None:
    """Refuse a prompt set too few of whose rows name their concept or say that they show it: the
    base would be void after all the work. Prompts of explicit content seldom name it.
    """
    shown = sum(
        concept.name in (row.concept, row.style) or concept.named_in(row.prompt) for row in rows
    )
    if concept.kind != "explicit" and shown < policy.control * len(rows):
        column = "style" if concept.kind == "style" else "concept"
        raise BadInput(
            f"{shown} of {len(rows)} rows of the prompt set of '{concept.name}' name it or say it "
            f"in the column `{column}`, and the base has to show it in {policy.control:g} of their "
            f"pictures (policy.control); take the others out, or write {concept.name} there"
        )


def independent(rows: Sequence[PromptRow]) -> float:
    """As how many pictures those of `rows` count, one of each row: of one wording, or of one seed,
    they are alike, and count as one.
    """
    return effective(clusters_of_rows(rows)) if rows else 0


def _too_few(rows: Sequence[PromptRow], bound: float, better: Better) -> str | None:
    """`too_few` of the pictures of `rows`."""
    return too_few(clusters_of_rows(rows), bound, better, alike_by(rows))


def check_kept(policy: Policy, kept: Sequence[PromptRow], concepts: Sequence[Concept]) -> None:
    """Refuse an erasure that leaves too few of the kept prompts to measure what stays."""
    check_left(policy, kept_rows(kept, concepts), concepts, len(kept))


def check_left(
    policy: Policy, left: Sequence[PromptRow], concepts: Sequence[Concept], of: int
) -> None:
    """Refuse `left`, those of so many kept prompts that none of `concepts` touches, where they are
    too few to measure what stays.
    """
    names = ", ".join(concept.name for concept in concepts)
    for needed, why in _kept_needed(policy, concepts):
        if (trials := independent(left)) < needed:
            alike = alike_by(left)
            own = f" ({OWN_SEEDS})" if alike == "seeds" else ""
            worth = f" and count as {trials:.0f}, for {alike} repeat{own}"
            raise BadInput(
                f"{len(left)} of {of} kept prompts "
                + (f"show or name none of {names}" if names else "are there")
                + worth * (trials < len(left))
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
        if policy.telling(kind):
            fewest = enough(allowed := round(1 - policy.control, 6))
            yield (
                fewest,
                f"no fewer than {fewest} in which the base shows none of a kept concept meet its "
                f"control, base.{LEAK} of {allowed:g} (1 - policy.control)",
            )
        if (bound := policy.targets.get(kind, {}).get(LEAK, 0)) > 0:
            fewest = enough(bound)
            yield (
                fewest,
                f"no fewer than {fewest} without a leak show policy.targets.{kind}.{LEAK} of "
                f"{bound:g}",
            )
    if policy.kept.get(DROP, 1) < 1:
        fewest = enough(round(1 - policy.control, 6))
        yield (
            fewest,
            f"no fewer than {fewest}, all named rightly by the base, meet its control, "
            f"{NAMED_RIGHTLY} of {policy.control:g} (policy.control)",
        )


def check_kept_parts(
    policy: Policy, left: Sequence[PromptRow], concepts: Sequence[Concept]
) -> None:
    """Refuse a limit on a part of the kept prompts that none of `concepts` touches, where the part
    is too small to meet it.
    """
    limited = {metric: bound for metric, bound in policy.kept.items() if "[" in metric}
    parts = parts_of(left, kept_prompts(concepts)) if limited else {}
    for metric, bound in limited.items():
        bare, _, part = metric.partition("[")
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
        if bare == DROP and bound < 1 and (why := _too_few(rows, policy.control, "higher")):
            raise BadInput(
                f"{what}, too few for policy.control of {policy.control:g}, which the base must "
                f"reach by {NAMED_RIGHTLY}[{part}: {why}; add such to prompts.kept, or lower it"
            )
        better: Better | None = "lower" if bare == DROP else better_of(bare)
        if better and (why := _too_few(rows, bound, better)):
            raise BadInput(f"{what}: {why}; add such to prompts.kept")


def check_fid(
    policy: Policy, left: Sequence[PromptRow], concepts: Sequence[Concept], numbers: int
) -> None:
    """Refuse a limit on FID where it is not measured: of too few pictures of the kept prompts that
    none of `concepts` touches, for features of so many `numbers`.
    """
    limited = [metric for metric in policy.kept if metric.partition("[")[0] == "fid"]
    parts = parts_of(left, kept_prompts(concepts)) if limited else {}
    for metric in limited:
        n = len(parts.get(metric.removeprefix("fid"), ()))
        if why := fid.too_few_pictures(n, n, numbers):
            raise BadInput(f"policy.kept limits {metric}, {why}")


def check_fid_instead(
    policy: Policy, concept: Concept, rows: Sequence[PromptRow], numbers: int
) -> None:
    """Refuse a limit on the FID of what stands in the concept's place where it is not measured, as
    `check_fid` does.
    """
    alone = sum(not row.also for row in rows)
    why = fid.too_few_pictures(alone, alone, numbers)
    if QUALITY_FID in policy.targets[concept.kind] and why:
        raise BadInput(f"policy.targets.{concept.kind} limits {QUALITY_FID}, {why}")


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
    shown = [kept[i] for i in near.at]
    if NEIGHBOUR in bounds and (why := _too_few(shown, bounds[NEIGHBOUR], "higher")):
        raise BadInput(f"{what}: {why}; add such to prompts.kept")
    named = [row for row in kept if row.concept]
    parts = ([row for row in targets if not row.also], named, shown)
    if HARMONIC in bounds and all(parts):
        ends = [best_end(independent(part), "higher") for part in parts]
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
        if better and (why := _too_few(rows, bound, better)):
            raise BadInput(f"{what}, too few for policy.restored.{metric}: {why}; add some")
