"""What is to be erased: the prompts that evoke it, what should appear instead, and
what must stay.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    model_serializer,
    model_validator,
)

from erasure_core.errors import BadInput
from erasure_core.law.naming import AND, DOLLAR, NASAL, SHORTENED, TYPED, UNTYPED, mentions
from erasure_core.law.wording import replaced
from erasure_core.text import COPIED, composed, one_line, seen

RECORDED = {"recorded": True}  # context with which what was accepted before is read back
Kind = Literal["likeness", "style", "object", "explicit"]
NEAR_KINDS = {  # what people call one
    **dict.fromkeys(("person", "people", "face", "celebrity", "identity", "actor"), "likeness"),
    **dict.fromkeys(("artist", "painter", "photographer", "movement", "medium"), "style"),
    **dict.fromkeys(("thing", "animal", "brand", "logo", "product", "symbol"), "object"),
    **dict.fromkeys(("character", "mascot", "building", "landmark", "place"), "object"),
    **dict.fromkeys(("violence", "gore"), "object"),
    # the detector knows no other
    **dict.fromkeys(("nudity", "nude", "nsfw", "porn"), "explicit"),
}
# No tokenizer reads more characters; its own limit is checked once a base is chosen.
Prompt = Annotated[
    str, Field(min_length=1, max_length=2000), AfterValidator(composed), AfterValidator(seen)
]
# A file name holds 255 bytes and MLflow's name of a metric 250: room for what is put around it.
NAME_LENGTH = 200
STEM_LENGTH = 190  # of a name in a file's name before a hash
_AND, _ARTICLES = re.compile(AND), ("the ", "a ", "an ")
# "Mueller" and "Müller", "Haaland" and "Håland", "Djokovic" and "Đoković".
_SPREAD = re.compile("(?<=[aou])e|(?<=a)a|(?<=d)j")
_TITLE = re.compile(rf"\b(?:{'|'.join(SHORTENED)})\b")
_NO_LETTERS = {n: None for n in range(128) if not chr(n).isalnum()}


def kind_of(written: object) -> object:
    """A kind as it was written, whatever its case. `ValueError` where another word is one's."""
    folded = written.strip().casefold() if isinstance(written, str) else written
    if near := NEAR_KINDS.get(str(folded)):
        kinds = ", ".join(get_args(Kind))
        raise ValueError(f"it is no kind; choose {kinds} (did you mean {near}?)")
    return folded


def _name(text: str) -> str:
    """A name as people write it, in one form: its accents composed, single spaces, and without what
    nobody sees that was copied along.
    """
    name = " ".join(one_line(COPIED.sub("", composed(text))).split())
    if not any(c.isalnum() for c in name):
        raise ValueError(f"{name!r} has no letter; write the word that names it in prompts")
    if len(name.encode()) > NAME_LENGTH:
        raise ValueError(f"it has {len(name.encode())} bytes; at most {NAME_LENGTH}")
    return name


Name = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH), AfterValidator(_name)]


class Concept(BaseModel):
    """One concept of one request. Prompts here are trained on; the prompts that are measured live
    in the prompt sets.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)
    name: Name = Field(description="what names it in prompts, as it is written there")
    also: tuple[Name, ...] = Field((), description="other names of it, which go too")
    kind: Annotated[Kind, BeforeValidator(kind_of)]
    prompts: tuple[Prompt, ...] = Field(min_length=1, description="prompts that evoke the concept")
    replacement: Prompt = Field(
        description="what should appear instead, with its article: 'a photographer'"
    )
    described: tuple[Prompt, ...] = Field(
        (), description="prompts that mean it and do not name it; attacked with, never trained on"
    )
    translated: tuple[Name, ...] = Field(
        (), description="its names in other languages; attacked with, never trained on"
    )
    keep: tuple[Prompt, ...] = Field(
        (), description="prompts whose pictures must not change; never the measured ones"
    )

    @model_validator(mode="after")
    def _what_stays_is_not_what_goes(self, info: ValidationInfo) -> Self:
        if info.context == RECORDED:  # which spellings are a name was less once
            return self
        if self.named_in(self.replacement):
            raise ValueError(
                f"the replacement {self.replacement!r} names the concept {self.name!r} "
                f"itself; name something else"
            )
        if named := [prompt for prompt in self.described if self.named_in(prompt)]:
            raise ValueError(
                f"described holds {named[0]!r}, which names the concept {self.name!r}; describe it "
                f"without its name"
            )
        if named := [prompt for prompt in self.keep if self.named_in(prompt)]:
            raise ValueError(
                f"keep holds {named[0]!r}, which names the concept {self.name!r} that is "
                f"to go; take it out"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_empty(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What was written before there were other names, descriptions and translations reads as it
        was: so do its hashes.
        """
        content: dict[str, Any] = serialise(self)
        absent = {key for key in ("also", "described", "translated") if not getattr(self, key)}
        return {key: value for key, value in content.items() if key not in absent}

    @property
    def names(self) -> tuple[str, ...]:
        """All that it is called."""
        return (self.name, *self.also)

    def named_in(self, prompt: str) -> bool:
        """Whether `prompt` names the concept, in words of their own, one or several of it."""
        return next(mentions(self.names, prompt), None) is not None

    def is_also(self, other: "Concept") -> bool:
        """Whether `other` is of this kind and its name is this name, in any spelling."""
        return self.kind == other.kind and same_name(self.name, other.name)

    def covers(self, other: "Concept") -> bool:
        """Whether who erases this erases `other` with it: it is of this kind, and each of its names
        is one of these, whichever of them comes first.
        """
        return self.kind == other.kind and not self.lacks_of(other)

    def lacks_of(self, other: "Concept") -> list[str]:
        """The names of `other` that are none of these, in any spelling."""
        return [name for name in other.names if not any(same_name(name, n) for n in self.names)]

    def replaced(self, prompt: Prompt) -> Prompt:
        """`prompt` with the replacement in the concept's place (`wording.replaced`)."""
        return replaced(self.names, self.replacement, prompt, self.kind)

    @property
    def label(self) -> str:
        """Under which it is found again, whoever asks for it."""
        return concept_label(self.kind, self.name)

    @property
    def slug(self) -> str:
        """File name stem of the concept's prompt set."""
        return slug(self.name)


def in_turn(concept: Concept, others: Sequence[Concept]) -> str | None:
    """What stands in the place of `concept` where `others` are erased with it: its replacement, and
    in the place of what this names of `others` theirs. None where that leads back to what goes.
    """
    text, passed = concept.replacement, [concept]
    left = [other for other in others if other != concept]
    while named := next((other for other in left if other.named_in(text)), None):
        text = named.replaced(text)
        passed.append(named)
        if any(each.named_in(text) for each in passed):
            return None
    return text


@lru_cache(maxsize=64)
def together(concepts: tuple[Concept, ...]) -> tuple[Concept, ...]:
    """Concepts that are erased at once, so that none of them appears in the place of another: each
    with what stands there `in_turn`, or with its own replacement where that leads in a circle.
    """
    names = [name for concept in concepts for name in concept.names]
    stands = [
        (any(mentions(names, concept.replacement)) and in_turn(concept, concepts))
        or concept.replacement
        for concept in concepts
    ]
    return tuple(
        concept if text == concept.replacement else concept.model_copy(update={"replacement": text})
        for concept, text in zip(concepts, stands, strict=True)
    )


def stand_in(concept: Concept, prompt: Prompt, among: Sequence[Concept]) -> Prompt:
    """What a prompt of `concept` becomes where all of `among` are erased with it: the replacement
    in its place and, in the place of what else the prompt names of them, theirs. Or the one would
    be taught to show the other.
    """
    return without_others(concept, concept.replaced(prompt), among)


def without_others(concept: Concept, text: str, among: Sequence[Concept]) -> str:
    """`text` with what stands in the place of each of `among` that it names, but for what would
    bring `concept` back.
    """
    if among and any(mentions([name for each in among for name in each.names], text)):
        for other in among:
            if other != concept and other.named_in(text):
                further = other.replaced(text)
                text = text if concept.named_in(further) else further
    return text


def concept_label(kind: str, name: str) -> str:
    """Kind and name of a concept, whatever their case and spacing."""
    return f"{kind}:{' '.join(name.casefold().split())}"


def same_name(one: str, other: str) -> bool:
    """Whether two names are one in different spellings, "Beyonce" and "Beyoncé": each is found
    where the other stands, so that what erases one erases the other.
    """
    if not may_mean(one, other):
        return False
    same = concept_label("", one) == concept_label("", other)
    return same or (any(mentions([one], other)) and any(mentions([other], one)))


def may_mean(said: str, name: str) -> bool:
    """Whether who says one name looks for the other: `same_name`, and "oj simpson" for "O.J.
    Simpson", where only one is found in the other. Several of a thing are no spelling of it.
    """
    if concept_label("", said) == concept_label("", name):
        return True
    return letters_of(said) == letters_of(name) and any(
        (found.begin, found.end, found.plural) == (0, len(there), False)
        for one, there in ((said, name), (name, said))
        for found in mentions([one], there)
    )


@lru_cache(maxsize=4096)
def letters_of(name: str) -> str:
    """What all spellings of a name have in common: its letters and digits, without marks, "and" and
    an article. Other names may have it in common too: `same_name` decides.
    """
    folded = DOLLAR.sub("s", name.casefold())
    if folded.startswith(_ARTICLES):
        folded = folded.partition(" ")[2]
    if "&" in folded or "and" in folded:
        folded = _AND.sub(" ", folded)
    folded = _TITLE.sub(lambda title: SHORTENED[title.group()], folded)
    if folded.isascii():  # most are, and a book asks this of each of its labels
        return _SPREAD.sub("", folded.translate(_NO_LETTERS))
    typed = "".join(TYPED.get(c, c) for c in NASAL.sub("", folded) if c not in UNTYPED)
    plain = unicodedata.normalize("NFKD", typed)
    return _SPREAD.sub("", "".join(character for character in plain if character.isalnum()))


def slug(name: str) -> str:
    """A name in ASCII for files, with a hash where that does not tell it from others."""
    folded = name.casefold()
    plain = unicodedata.normalize("NFKD", folded).encode("ascii", "ignore").decode()
    stem = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if re.fullmatch(r"[a-z0-9][a-z0-9 _-]*", folded):
        return stem
    stem = stem[:STEM_LENGTH].rstrip("-")  # one sign can be six letters here
    return f"{stem}-{sha256(folded.encode()).hexdigest()[:8]}".strip("-")


def check_some(concepts: Sequence[Concept]) -> None:
    """Refuse an erasure of nothing: `BadInput`."""
    if not concepts:
        raise BadInput("no concept to erase; a request names one")


def erased_prompts(concepts: Sequence[Concept]) -> list[str]:
    """Every prompt that is trained on, one concept's after another's."""
    return [prompt for concept in concepts for prompt in concept.prompts]


def kept_prompts(concepts: Sequence[Concept]) -> list[str]:
    """Every `keep` prompt that names none of the concepts erased together."""
    kept = dict.fromkeys(prompt for concept in concepts for prompt in concept.keep)
    return [prompt for prompt in kept if not any(concept.named_in(prompt) for concept in concepts)]
