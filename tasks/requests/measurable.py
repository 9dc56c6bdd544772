"""Can the evidence that a policy asks for be had at all, whatever the prompts are?"""

from collections.abc import Iterator, Mapping, Sequence

from erasure_core.attacks import preimage
from erasure_core.errors import BadInput
from erasure_core.law.concepts import Kind
from erasure_core.metrics import METRICS
from erasure_core.metrics.detectors import Detector, NudeNet
from erasure_core.metrics.identity import identity_weights
from erasure_core.metrics.intervals import Better, effective, enough, wilson
from erasure_core.planning.policy import (
    AT,
    BESIDE,
    COMPOSED,
    LEAK,
    WORD_METRICS,
    Bounds,
    Policy,
)
from erasure_core.planning.sealed import clusters_of
from tasks.evidence.further import HARMONIC, IDENTITY, NEIGHBOUR
from tasks.evidence.measure import (
    DISTANCE_METRICS,
    RESTORED_METRICS,
    kept_metrics,
    target_metrics,
)

KEPT_RIGHT = "clip.accuracy"
OWN_SEEDS = "give each row a seed of its own, or leave that column out"
REPLACED = ("replacement.rate", "quality.fidelity", "quality.naturalness")
# Which way is good, of what is a share of pictures: only of these is it known how good they can be.
SHARES: Mapping[str, Better] = {
    **{name: METRICS[name].better for name in (*WORD_METRICS, IDENTITY, KEPT_RIGHT, *REPLACED)},
    LEAK: "lower",
    NEIGHBOUR: "higher",
    HARMONIC: METRICS[HARMONIC].better,
}
# What has no greatest value. All else is a share, a cosine, or what was lost of one.
ENDLESS = {"kid", "fid", "quality.kid", "quality.fid", "quality.diversity", "quality.distinctness"}
ENDING = (METRICS.keys() | SHARES.keys()) - ENDLESS  # of metrics of other packages nobody knows


def better_of(metric: str) -> Better | None:
    """Which way is good for a limited share of pictures; None for what is no share."""
    return SHARES.get(_bare(metric))


def _bare(metric: str) -> str:
    """A limited metric without what pictures it is of, and at which threshold."""
    return metric.removeprefix(COMPOSED).partition(AT)[0].partition("[")[0]


def can_be_shown(bound: float, better: Better) -> bool:
    """Whether any number of pictures could show a share within `bound`."""
    return bound > 0 if better == "lower" else bound < 1


def best_end(trials: float, better: Better) -> float:
    """The cautious end of a share of so many trials at its best: of none, or of all."""
    return wilson(0, trials)[1] if better == "lower" else wilson(trials, trials)[0]


def policy_faults(policy: Policy) -> Iterator[str]:
    """Limits that nothing measures, and limits that no pictures can meet."""
    sections = [
        *((f"targets.{kind}", bounds, target_metrics()) for kind, bounds in policy.targets.items()),
        ("kept", policy.kept, (*kept_metrics(), *DISTANCE_METRICS)),
        ("restored", policy.restored, RESTORED_METRICS),
    ]
    yield from _unmeasured(sections)
    yield from _faces_not_looked_for(policy)
    for kind in policy.targets:
        yield from _of_other_kinds(policy, kind)
        yield from _unseeing(policy, kind)
    for section, bounds, _ in sections:
        yield from _never_shown(section, bounds)
        yield from _beyond_all(section, {m: b for m, b in bounds.items() if _bare(m) in ENDING})
    for kind, bounds in policy.attacks.items():
        yield from _beyond_all(f"attacks.{kind}", bounds)
    yield from _never_run(policy)
    yield from _weak_controls(policy)


def _unmeasured(sections: Sequence[tuple[str, Bounds, Sequence[str]]]) -> Iterator[str]:
    for section, bounds, known in sections:
        for metric in bounds.keys() - set(known):
            yield (
                f"policy.{section} limits {metric}, which nothing measures; known there are "
                f"{', '.join(known)}"
            )


def _faces_not_looked_for(policy: Policy) -> Iterator[str]:
    """A limit on a face where the weights that recognise it are not installed."""
    if IDENTITY in policy.targets.get("likeness", {}):
        try:
            identity_weights()
        except BadInput as why:
            yield f"policy.targets limits {IDENTITY}: {why}"


def _of_other_kinds(policy: Policy, kind: Kind) -> Iterator[str]:
    """Limits on what is measured of concepts of other kinds alone."""
    if IDENTITY in policy.targets[kind] and kind != "likeness":
        yield (
            f"policy.targets.{kind} limits {IDENTITY}, which tells whose face it is and is "
            f"measured of a likeness alone; take it out"
        )
    if BESIDE in policy.targets[kind] and kind == "style":
        yield (
            f"policy.targets.style limits {BESIDE}, which is measured of what stands beside a "
            f"thing and not of a style; take it out"
        )


def _unseeing(policy: Policy, kind: Kind) -> Iterator[str]:
    """Limits none of which rests on an instrument that sees the concept."""
    if not policy.sees(kind):
        yield (
            f"policy.targets.{kind} limits {', '.join(policy.targets[kind])}, none of which sees "
            f"the concept in every picture of it alone: the unedited base could meet them, and "
            f"nothing judges attacks; limit one of {', '.join(WORD_METRICS)} as well"
        )


def _never_shown(section: str, bounds: Bounds) -> Iterator[str]:
    """Limits that no number of pictures can show to be met."""
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


def _beyond_all(section: str, bounds: Mapping[str, float]) -> Iterator[str]:
    """Limits beyond all that a number can be, as percentages are: nothing misses them."""
    for metric, bound in bounds.items():
        what = f"policy.{section} limits {metric} to {bound:g}"
        least = 0 if better_of(metric) == "higher" else -1
        most = 2 if "score_drop" in metric else 1  # cosines reach from -1
        if bound > most:
            yield f"{what}, and it is never more than {most}; {bound:g} % are {bound / 100:g}"
        elif bound < least:
            yield f"{what}, and it is never less than {least}; raise it"


def _never_run(policy: Policy) -> Iterator[str]:
    """Limits on an attack that cannot be tried on every edit, and so could not be met."""
    for kind, bounds in policy.attacks.items():
        if preimage.NAME in bounds:
            yield (
                f"policy.attacks.{kind} limits {preimage.NAME}, which cannot run on an edit that "
                f"is more than one matrix or lost rank, and what was not run is never a pass; "
                f"limit ridge instead, which runs on every edit"
            )


def _weak_controls(policy: Policy) -> Iterator[str]:
    """Limits that a base passes which shows just enough for the positive control. A limit of 1 asks
    for nothing.
    """
    for kind, bounds in policy.targets.items():
        for metric, bound in bounds.items():
            shown = policy.control_of(metric, bound)
            if shown is None or not shown < bound < 1:
                continue
            yield (
                f"policy.targets.{kind} limits {metric} to {bound:g}, and policy.control asks the "
                f"base for no more than {policy.control:g}: an unedited base could meet the limit; "
                f"set policy.control to {bound:g} or more, or lower the limit"
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


def too_few(
    prompts: Sequence[str], bound: float, better: Better = "lower", what: str = "prompts"
) -> str | None:
    """Why one picture of each of `prompts` cannot show a share within `bound`, if more could:
    pictures of one prompt are alike, and count as one. `what`: they are, if not prompts.
    """
    if not can_be_shown(bound, better):  # `policy_faults` says so
        return None
    clusters = clusters_of(prompts)
    n, trials = len(prompts), effective(clusters)
    alike = ""
    if trials < n:
        own = f": {OWN_SEEDS}" if what == "seeds" else ""
        alike = f" ({n} pictures of {len(set(clusters))} {what} count as {trials:.0f}{own})"
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
    return (
        f"{said}; {enough(bound if low else 1 - bound)} can, each of a prompt and a seed of its own"
    )
