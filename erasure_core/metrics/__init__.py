"""What is measured of a candidate. Each entry turns per-image facts into one `Measurement` with its
interval.

`METRICS` is what this package brings; `all_metrics` adds what others declare under the entry point
group `erasure.metrics`, each a `Metric` by its name.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Literal, get_args

from erasure_core.errors import BadInput
from erasure_core.law.gates import Measurement
from erasure_core.metrics.clip_score import (
    accuracy,
    accuracy_drop,
    clip_score,
    concept_rate,
    score_drop,
)
from erasure_core.metrics.detectors import detection_rate
from erasure_core.metrics.fid import fid_to_base
from erasure_core.metrics.harmonic import harmonic_mean
from erasure_core.metrics.identity import identity_rate
from erasure_core.metrics.intervals import Better
from erasure_core.metrics.kid import kid_to_base
from erasure_core.metrics.quality import (
    distinctness,
    distribution,
    distribution_fid,
    diversity,
    fidelity,
    naturalness,
)
from erasure_core.metrics.replacement import replacement_rate, replacement_score_drop
from erasure_core.metrics.ssim import paired_ssim
from erasure_core.plugins import takes, with_plugins

Side = Literal["target", "kept", "restored", "attack", "table"]
Need = Literal["detector", "clip", "features", "base", "persons"]
ENTRY_POINTS = "erasure.metrics"


@dataclass(frozen=True)
class Metric:
    """One metric: how it is measured and what may be said of it. Calling it calls `measure`.

    `needs`: what the caller must have: "detector", "clip", "features" (`features.Features`),
    "base" (the base's pictures of the same cases, and on the target side of the same cases with the
    concept replaced), "persons" (pictures of who is to be recognised).
    """

    measure: Callable[..., Measurement]
    sides: frozenset[Side]  # of what pictures it is measured
    better: Better  # on the candidate
    needs: frozenset[Need]
    missed: str  # what it means that a limit on it is missed, to be read behind the number

    def __post_init__(self) -> None:
        for field, given, allowed in (("sides", self.sides, Side), ("needs", self.needs, Need)):
            if wrong := given - set(get_args(allowed)):
                raise BadInput(
                    f"{field} of a metric: {', '.join(sorted(wrong))}; use "
                    f"{', '.join(get_args(allowed))}"
                )
        # whose header is cited: the file of the measurement, not this one
        object.__setattr__(self, "__module__", self.measure.__module__)

    def __call__(self, *args: object, **kwargs: object) -> Measurement:
        return self.measure(*args, **kwargs)


def _metric(
    measure: Callable[..., Measurement],
    sides: tuple[Side, ...],
    better: Better,
    needs: tuple[Need, ...],
    missed: str,
) -> Metric:
    return Metric(measure, frozenset(sides), better, frozenset(needs), missed)


_SHOWN: tuple[Side, ...] = ("target", "restored", "attack")
_ELSEWHERE = "kept pictures are distributed unlike the base's"
METRICS: dict[str, Metric] = {
    "nudenet.rate": _metric(
        detection_rate, _SHOWN, "lower", ("detector",), "the detector still sees the concept"
    ),
    "identity.rate": _metric(
        identity_rate, _SHOWN, "lower", ("persons",), "the person is still recognised"
    ),
    "clip.concept_rate": _metric(
        concept_rate, _SHOWN, "lower", ("clip",), "pictures are still named as the concept"
    ),
    "replacement.rate": _metric(
        replacement_rate,
        ("target",),
        "higher",
        ("clip",),
        "what stands in the concept's place is not the replacement that the request names",
    ),
    "replacement.score_drop": _metric(
        replacement_score_drop,
        ("target",),
        "lower",
        ("clip", "base"),
        "the pictures fit the replaced prompt worse than the base's pictures of it",
    ),
    "quality.kid": _metric(
        distribution,
        ("target",),
        "lower",
        ("features", "base"),
        "the pictures are distributed unlike the base's pictures of the replacement",
    ),
    "quality.fid": _metric(
        distribution_fid,
        ("target",),
        "lower",
        ("features", "base"),
        "the pictures are distributed unlike the base's pictures of the replacement",
    ),
    "quality.fidelity": _metric(
        fidelity,
        ("target",),
        "higher",
        ("features", "base"),
        "the pictures lie apart from any that the base draws of the replacement",
    ),
    "quality.diversity": _metric(
        diversity,
        ("target",),
        "higher",
        ("features", "base"),
        "the pictures are alike: a few memorised ones stand for every prompt",
    ),
    "quality.distinctness": _metric(
        distinctness,
        ("target",),
        "higher",
        ("features", "base"),
        "the pictures repeat: a few memorised ones stand for many prompts",
    ),
    "quality.naturalness": _metric(
        naturalness,
        ("target",),
        "higher",
        ("base",),
        "the pictures are no pictures as the base draws them: noise, or an empty area",
    ),
    "ssim": _metric(
        paired_ssim,
        ("kept", "restored"),
        "higher",
        ("base",),
        "pictures that were to stay have changed",
    ),
    "fid": _metric(fid_to_base, ("kept",), "lower", ("features", "base"), _ELSEWHERE),
    "kid": _metric(kid_to_base, ("kept",), "lower", ("features", "base"), _ELSEWHERE),
    "clip.score": _metric(
        clip_score, ("kept", "target"), "higher", ("clip",), "pictures do not fit their prompts"
    ),
    "clip.score_drop": _metric(
        score_drop,
        ("kept",),
        "lower",
        ("clip", "base"),
        "kept pictures fit their prompts worse than the base's",
    ),
    "clip.accuracy": _metric(
        accuracy, ("kept",), "higher", ("clip",), "kept pictures are named as something else"
    ),
    "clip.accuracy_drop": _metric(
        accuracy_drop,
        ("kept",),
        "lower",
        ("clip", "base"),
        "kept pictures are named as something else where the base's were not",
    ),
    "harmonic": _metric(
        harmonic_mean, ("table",), "higher", (), "one of erased, kept and neighbour is bad"
    ),
}


def all_metrics(plugins: Iterable[EntryPoint] | None = None) -> Mapping[str, Metric]:
    """`METRICS` and those of installed packages.

    Args:
        plugins: Entry points to add; None: the installed ones of the group `erasure.metrics`.

    Raises:
        BadInput: If a plug-in cannot be loaded, is no `Metric`, or takes a name that is taken; the
            message says which, and of which package.
    """
    return with_plugins(
        METRICS,
        ENTRY_POINTS,
        "metric",
        _is_metric,
        "an erasure_core.metrics.Metric whose function takes pictures, before them the base's "
        "where it needs these, and `clusters` by name",
        plugins,
    )


def _is_metric(loaded: object) -> bool:
    if not isinstance(loaded, Metric):
        return False
    measured = loaded.needs <= {"base"} and not loaded.sides.isdisjoint(("kept", "target"))
    return not measured or takes(loaded.measure, 1 + len(loaded.needs), "clusters")


def plugged(side: Side) -> dict[str, Metric]:
    """The metrics of other packages that a run measures: of "kept" pictures, alone or beside the
    base's, as `measure(images, clusters=...)` or `measure(base_images, images, clusters=...)`; of
    "target" pictures as `measure(images, clusters=...)`.
    """
    given: dict[str, frozenset[Need]] = {"kept": frozenset({"base"}), "target": frozenset()}
    others = {name: m for name, m in all_metrics().items() if name not in METRICS}
    return {name: m for name, m in others.items() if side in m.sides and m.needs <= given[side]}


def metric(
    name: str, side: Side | None = None, among: Mapping[str, Metric] | None = None
) -> Metric:
    """The metric that a policy names, "ssim" or, with what it is measured on, "ssim[listed]".

    Args:
        name: As the policy says it.
        side: Where the policy says it; None: anywhere.
        among: What there is; None: `all_metrics()`.

    Raises:
        BadInput: If there is none, with the near names, or it is not measured on that side.
    """
    known = all_metrics() if among is None else among
    bare = name.partition("[")[0]
    fitting = [n for n, m in known.items() if side is None or side in m.sides]
    if bare in fitting:
        return known[bare]
    where = f" on the {side} side" if side else ""
    if bare in known:
        raise BadInput(
            f"metric {name!r} is measured on {', '.join(sorted(known[bare].sides))}, not{where}; "
            f"{where.strip() or 'there'} use one of {', '.join(fitting)}"
        )
    near = difflib.get_close_matches(bare, fitting, n=3) or difflib.get_close_matches(
        bare.rpartition(".")[2], [n.rpartition(".")[2] for n in fitting]
    )
    meant = f"; did you mean {' or '.join(near)}" if near else ""
    raise BadInput(f"there is no metric {name!r}{where}{meant}; use one of {', '.join(fitting)}")
