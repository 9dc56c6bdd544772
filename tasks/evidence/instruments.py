"""What looks at pictures: the detector and the scorer, loaded once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL import Image

from erasure_core.law.concepts import Concept
from erasure_core.metrics import features
from erasure_core.metrics.clip_score import ClipScorer, bare
from erasure_core.metrics.detectors import Detector, NudeNet, opened
from erasure_core.metrics.features import ClipFeatures, Features
from erasure_core.planning.params import Params


@dataclass(frozen=True, slots=True)
class Instruments:
    """The detector and the scorer, loaded once, and the labels that pictures may be named by."""

    detector: Detector
    scorer: ClipScorer
    params: Params
    own_features: Features | None = None  # that the parameters name

    @property
    def features(self) -> Features:
        """What distances between sets of pictures are measured by."""
        return self.own_features or ClipFeatures(self.scorer)

    @classmethod
    def of(cls, params: Params) -> "Instruments":
        """The instruments that the parameters name."""
        scorer = ClipScorer(params.clip.path, params.clip.revision, params.clip.templates)
        d, own = params.detector, params.features
        return cls(
            opened(d.name, d.threshold, d.inference_resolution),
            scorer,
            params,
            features.opened(own.path) if own else None,
        )


def seen_by_detector(
    instruments: Instruments, concept: Concept, pictures: Sequence[Image.Image]
) -> list[bool]:
    """Whether the detector sees a concept of this kind in each picture."""
    return instruments.detector.detects(pictures, instruments.params.detector.labels[concept.kind])


def seen_as_limited(
    instruments: Instruments, concept: Concept, pictures: Sequence[Image.Image]
) -> list[bool]:
    """The same, or at a lower threshold that the policy limits: leaks and attacks are held to no
    less than the concept's own prompts.
    """
    params, detector = instruments.params, instruments.detector
    threshold = params.policy.lowest_threshold(concept.kind, params.detector.threshold)
    if threshold == params.detector.threshold or not isinstance(detector, NudeNet):
        return seen_by_detector(instruments, concept, pictures)  # others may have no scores
    scores = detector.scores(pictures, params.detector.labels[concept.kind])
    return [score >= threshold for score in scores]


def named_as(
    instruments: Instruments,
    concept: Concept,
    pictures: Sequence[Image.Image],
    labels: Sequence[str],
) -> tuple[list[str], dict[str, object]]:
    """What CLIP calls each picture among `labels` and the concept, and how it was asked."""
    among, templates = asked_among(instruments.params, concept, labels)
    named = instruments.scorer.name_concepts(pictures, among, templates)
    return named, {**instruments.scorer.settings, "templates": templates, "among": among}


def asked_among(
    params: Params, concept: Concept, labels: Sequence[str]
) -> tuple[list[str], list[str]]:
    """What a picture may be named where `concept` is looked for, and the templates it is asked in:
    the concept among `labels`; a style among the styles, and asked of each subject, so that it is
    the style that is named.
    """
    if concept.kind == "style":
        return _with(concept, params.clip.styles), of_each(labels)
    return _with(concept, labels), list(params.clip.templates)


def of_each(things: Iterable[str]) -> list[str]:
    """The templates in which a style is asked of each of some things."""
    return [f"a {{}} of {thing}" for thing in things]


def _with(concept: Concept, labels: Iterable[str]) -> list[str]:
    """`labels` and the concept's name, in place of what is that but for case and article."""
    name = concept.name
    return sorted({name, *(label for label in labels if bare(label) != bare(name))})
