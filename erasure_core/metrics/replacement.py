"""What stands in the concept's place: is it the replacement that the request names?

A target rate of 0 is had by noise as well. Pictures are named among the same labels as for the
concept, with the replacement among them; and they are scored against the prompt as the request
rewrites it, beside the base's own pictures of that prompt.

Paper      Radford et al., CLIP, ICML 2021, arXiv:2103.00020; Hessel et al., CLIPScore, EMNLP 2021,
           arXiv:2104.08718. Kumari et al., ICCV 2023, arXiv:2303.13516, compare with the
           replacement (their anchor) in the same way.
Reference  Nothing beside `clip_score.py`.
Departs    Nothing.
Cost       What `ClipScorer` costs for each picture.
"""

from collections.abc import Hashable, Mapping, Sequence

from erasure_core.law.gates import Measurement
from erasure_core.metrics.clip_score import bare, concept_rate, score_drop


def labels_with(labels: Sequence[str], replacement: str) -> tuple[list[str], str]:
    """The labels that pictures may be named by with the replacement among them, and which of them
    the replacement is: one that is there already, or a new one.

    Args:
        labels: What pictures may be named by.
        replacement: As the request says it, with or without its article.

    Raises:
        ValueError: If the replacement has no word.
    """
    name = bare(replacement)
    if not name:
        raise ValueError(f"the replacement {replacement!r} has no word to name a picture by")
    same = [label for label in labels if bare(label) == name]
    return (list(labels), same[0]) if same else ([*labels, name], name)


def replacement_rate(
    named: Sequence[str],
    replacement: str,
    *,
    settings: Mapping[str, object],
    metric: str = "replacement.rate",
    clusters: Sequence[Hashable] | None,
) -> Measurement:
    """Share of target pictures that are named as the replacement, Wilson interval; higher is
    better.

    Args:
        named: What `ClipScorer.name_concepts` called each picture.
        replacement: The label, as `labels_with` returned it.
        settings: `{**scorer.settings, "among": labels}`.
        metric: Its name, e.g. "replacement.rate[astronaut]".
        clusters: The prompt of each picture.

    Raises:
        ValueError: If there are no pictures, one has no name, or the settings say that the
            replacement was not among the labels (then nothing could be named so).
    """
    among = settings.get("among")
    if isinstance(among, Sequence) and not isinstance(among, str) and replacement not in among:
        raise ValueError(
            f"{metric}: {replacement!r} was not among the labels ({', '.join(map(str, among))}); "
            f"name pictures among labels_with(labels, replacement)"
        )
    return concept_rate(
        named,
        replacement,
        settings={**settings, "replacement": replacement},
        metric=metric,
        better="higher",
        clusters=clusters,
    )


def replacement_score_drop(
    base_scores: Sequence[float],
    scores: Sequence[float],
    *,
    settings: Mapping[str, object],
    metric: str = "replacement.score_drop",
    clusters: Sequence[Hashable] | None,
) -> Measurement:
    """How much worse the target pictures fit the replaced prompt than the base's pictures of the
    replaced prompt do: mean of (base - candidate), same seed; 0 is ideal.

    Args:
        base_scores: `scores(base's pictures of the replaced prompts, replaced prompts)`.
        scores: `scores(candidate's pictures of the target prompts, replaced prompts)`.
        settings: `ClipScorer.settings`.
        metric: Its name.
        clusters: The prompt of each pair.

    Raises:
        ValueError: If the lists differ in length, are empty, or hold NaN.
    """
    return score_drop(
        base_scores,
        scores,
        settings={**settings, "prompt": "target prompt with the concept replaced"},
        metric=metric,
        clusters=clusters,
    )
