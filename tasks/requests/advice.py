"""What a request may be told that is no fault: it can be worked on, and might come to more."""

from collections.abc import Iterable, Iterator

from erasure_core.law.clock import unknown
from erasure_core.law.concepts import Concept
from erasure_core.law.requests import DeletionRequest

FEW = 12  # wordings below which a request is told that it has few
EXAMPLES = 32  # wordings that each example request has


def advice(requests: Iterable[DeletionRequest]) -> Iterator[str]:
    """A line for each request that rests on no law that is known, trains on wordings of something
    else, or on few.
    """
    for request in requests:
        if (why := unknown(request.regulation)) is not None:
            yield f"the request for {request.concept.name!r}: {why}"
        concept, n = request.concept, len(request.concept.prompts)
        yield from _of_others(concept)
        if n < FEW:
            yield (
                f"the request for {concept.name!r} has {n} wording{'s' * (n != 1)} to train on; "
                f"the examples have {EXAMPLES}. The concept often comes back in wordings that were "
                f"not trained on, with closed forms such as uce most of all; `erasure request new` "
                f"writes a request with as many"
            )


def _of_others(concept: Concept) -> Iterator[str]:
    """That wordings do not name the concept, in whose place nothing but the replacement stands: a
    comma in a list of YAML parts one in two. Explicit content is seldom named.
    """
    others = [prompt for prompt in concept.prompts if not concept.named_in(prompt)]
    if others and concept.kind != "explicit":
        yield (
            f"{len(others)} of {len(concept.prompts)} wordings of the request for {concept.name!r} "
            f"do not name it ({others[0]!r}): each is trained to be {concept.replacement!r} alone; "
            f"take it out, or name {concept.name} in it. In a list in [ ], one that holds a comma "
            f"needs quotes"
        )
