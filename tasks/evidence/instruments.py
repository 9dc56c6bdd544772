"""What looks at pictures: the detector and the scorer, loaded once."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from erasure_core.law.concepts import Concept
from erasure_core.law.prompts import PromptRow
from erasure_core.metrics import features
from erasure_core.metrics.clip_score import ClipScorer, bare, once
from erasure_core.metrics.detectors import Detector, NudeNet, opened
from erasure_core.metrics.features import ClipFeatures, Features
from erasure_core.network.images import Chosen
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
    styles: Sequence[str] = (),
) -> tuple[list[str], dict[str, object]]:
    """What CLIP calls each picture among `labels` and the concept, and how it was asked."""
    among, templates = asked_among(instruments.params, concept, labels, styles)
    named = instruments.scorer.name_concepts(pictures, among, templates)
    return named, {**instruments.scorer.settings, "templates": templates, "among": among}


def asked_among(
    params: Params, concept: Concept, labels: Sequence[str], styles: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """What a picture may be named where `concept` is looked for, and the templates it is asked in:
    the concept among `labels`; a style among the parameters' styles and other `styles`, and asked
    of each subject, so that it is the style that is named.
    """
    if concept.kind == "style":
        return _with(concept, once([*params.clip.styles, *styles])), of_each(labels)
    return _with(concept, labels), list(params.clip.templates)


@dataclass(frozen=True, slots=True)
class Labels:
    """What pictures may be named by rows that say what they show: a thing among `things`, and a
    style among `styles`, as where a style is erased (`asked_among`).
    """

    things: list[str]
    styles: list[str]

    @classmethod
    def of(
        cls, labels: Iterable[str], rows: Iterable[PromptRow], styles: Sequence[str]
    ) -> "Labels":
        """Of `labels` those that are no style which one of `rows` shows; these beside `styles`."""
        shown = [row.concept for row in rows if _is_style(row, styles)]
        no_things = set(map(bare, shown))
        things = [label for label in labels if bare(label) not in no_things]
        return cls(things, once([*styles, *shown]))

    def names(
        self, scorer: ClipScorer, rows: Sequence[PromptRow], pictures: Sequence[Image.Image]
    ) -> list[str]:
        """What CLIP calls the picture of each row; "" where the row does not say what it shows, or
        there are no two names to choose from.
        """
        called = [""] * len(rows)
        for at, among, templates in self._groups(rows):
            named = scorer.name_concepts(Chosen(pictures, at), among, templates)
            for i, name in zip(at, named, strict=True):
                called[i] = name
        return called

    def among(self, rows: Sequence[PromptRow]) -> list[str]:
        """By what pictures of `rows` are named."""
        return [label for _, among, _ in self._groups(rows) for label in among]

    def _groups(
        self, rows: Sequence[PromptRow]
    ) -> Iterator[tuple[list[int], list[str], list[str]]]:
        """Which of the rows are named together, among what and in which templates (none: CLIP's
        own).
        """
        shown = [(i, _is_style(row, self.styles)) for i, row in enumerate(rows) if row.concept]
        asked = (False, self.things, list[str]()), (True, self.styles, of_each(self.things))
        for styled, among, templates in asked:
            at = [i for i, is_style in shown if is_style == styled]
            if at and len(among) > 1:
                yield at, among, templates


def _is_style(row: PromptRow, styles: Collection[str]) -> bool:
    """Whether what a row says that it shows is a style: its own, or one of `styles`."""
    said = bare(row.concept)
    return said != "" and said in {bare(style) for style in (row.style, *styles)}


def of_each(things: Iterable[str]) -> list[str]:
    """The templates in which a style is asked of each of some things."""
    return [f"a {{}} of {thing}" for thing in things]


def _with(concept: Concept, labels: Iterable[str]) -> list[str]:
    """`labels` and the concept's name, in place of what is that but for case and article."""
    name = concept.name
    return sorted({name, *(label for label in labels if bare(label) != bare(name))})
