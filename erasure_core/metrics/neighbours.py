"""Neighbours of a concept: what an erasure is most likely to take along, found by text states.

Paper      Moon et al., Holistic Unlearning Benchmark, 2024, arXiv:2410.05664, and Lu et al., MACE,
           CVPR 2024, arXiv:2403.06135 (specificity is measured on what is near).
Reference  Nothing; algebra in the tests.
Departs    Neighbours are found in the base's own text encoder, not in a list made by hand; a policy
           may name more.
Cost       One pass of the text encoder over the vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

Encode = Callable[[Sequence[str]], Tensor]  # prompts -> text states, (n, tokens, d)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A word of the vocabulary and how near it is."""

    name: str
    cosine: float  # of its direction with the concept's, -1..1


def directions(encode: Encode, phrases: Sequence[str]) -> Tensor:
    """Where phrases point: the mean of their text states less the empty prompt's, less the mean of
    all phrases (what every phrase shares says nothing about which are near), of length 1.

    Args:
        encode: The base's text encoder: prompts -> states, (n, tokens, d).
        phrases: At least three different ones.

    Returns:
        (n, d) float64.

    Raises:
        ValueError: If there are fewer than three phrases, one stands twice, or one points nowhere.
    """
    if len(set(phrases)) < 3 or len(set(phrases)) < len(phrases):
        raise ValueError(
            f"neighbours are found among three phrases or more, each once; got {list(phrases)}"
        )
    states = encode(["", *phrases]).detach().double().cpu()
    pointing = (states[1:] - states[:1]).mean(dim=1)
    pointing = pointing - pointing.mean(dim=0)
    lengths = pointing.norm(dim=1, keepdim=True)
    if not bool((lengths > 1e-9).all()) or not bool(pointing.isfinite().all()):
        bad = phrases[int((~(lengths[:, 0] > 1e-9)).nonzero()[0])]
        raise ValueError(f"the text states of {bad!r} point nowhere; leave it out")
    return pointing / lengths


def nearest(
    encode: Encode, concept: str, vocabulary: Sequence[str], n: int = 3
) -> tuple[Neighbour, ...]:
    """The `n` of `vocabulary` whose text states point most nearly the concept's way, nearest first.

    Args:
        encode: The base's text encoder: prompts -> states, (n, tokens, d).
        concept: As prompts mention it: "the astronaut".
        vocabulary: What the base knows besides, as prompts mention it; the concept itself is
            passed over.
        n: How many, >= 1; fewer where the vocabulary holds fewer.

    Raises:
        ValueError: If n is below 1, or fewer than two other phrases are given.
    """
    if n < 1:
        raise ValueError(f"at least one neighbour is asked for, got n={n}")
    others = [phrase for phrase in dict.fromkeys(vocabulary) if phrase != concept]
    pointing = directions(encode, [concept, *others])
    cosines = (pointing[1:] @ pointing[0]).tolist()
    ranked = sorted(zip(others, cosines, strict=True), key=lambda pair: (-pair[1], pair[0]))
    return tuple(Neighbour(name, cosine) for name, cosine in ranked[:n])
