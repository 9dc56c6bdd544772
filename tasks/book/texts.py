"""Texts beside the chain, compared with what its events name."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from erasure_core.law import fold
from erasure_core.law.chain import Event
from erasure_core.law.concepts import concept_label


@dataclass(frozen=True, slots=True)
class Stored:
    """One text as it stands in the book."""

    sha256: str  # by which the chain names it
    subject: str  # whose it is: a request's id, or model/version
    label: str | None  # under which what was asked is found again
    body: str
    whole: bool  # whether salt and body still have that hash

    def placed(self, named: fold.Text) -> tuple[str, str | None]:
        """The subject and the label that follow from the chain and from the text itself."""
        return named.subject, label_of(self.body) if named.asked else None


def label_of(asked: str) -> str:
    """The label of a text that holds what was asked."""
    concept = json.loads(asked)["concept"]
    return concept_label(concept["kind"], concept["name"])


def faults_of_texts(events: Iterable[Event], stored: Iterable[Stored]) -> Iterator[str]:
    """What is wrong with `stored`, which must be all that `events` name, and no others."""
    named, there = fold.texts(events), set()
    for text in stored:
        there.add(text.sha256)
        if (fault := _fault(text, named)) is not None:
            yield fault
    for sha256, text_of in named.kept.items():
        if sha256 not in there:
            yield f"a text of {text_of.subject} is gone from the book; restore the book from a copy"


def _fault(text: Stored, named: fold.Texts) -> str | None:
    if not text.whole:
        return changed(text.subject, text.sha256)
    if (gone := named.forgotten.get(text.sha256)) is not None:
        return (
            f"a text of {gone.subject} is in the book, though it was purged; `erasure reconcile "
            "--tables` removes it"
        )
    if (known := named.kept.get(text.sha256)) is None:
        return (
            f"a text of {text.subject} (sha256 {text.sha256[:16]}...) is in the book that no event "
            "names; `erasure reconcile --tables` removes it"
        )
    if (text.subject, text.label) != text.placed(known):
        return (
            f"a text of {known.subject} was given to another request or another concept in the "
            "book; `erasure reconcile --tables` puts it back"
        )
    return None


def changed(subject: str, sha256: str) -> str:
    """That a text is not what the chain names."""
    return (
        f"a text of {subject} was changed in the book (recorded sha256 {sha256[:16]}...); "
        "restore the book from a copy"
    )
