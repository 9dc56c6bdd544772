"""Three sealed sets: prompts are trained on, or they choose among candidates, or they are reported.

What chose a candidate cannot also judge it: with a true leak of 10 % and pictures of one prompt
that are alike (correlation 0.3), the best of six lambdas passes a limit of 10 % on the pictures
that chose it 37.5 % of the time (docs/methods.md). What was trained on only shows what was learnt
by heart.

Two prompts are the same where the network reads them alike: their tokens are equal once case,
punctuation and characters without a width are gone, or their text states point the same way.
"""

import string
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept, stand_in
from erasure_core.law.prompts import PromptRow, noise_of
from erasure_core.metrics.intervals import effective
from erasure_core.text import UNDRAWN

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

Encode = Callable[[Sequence[str]], Tensor]  # prompts -> text states, (n, tokens, d)
Key = tuple[int, ...]

# Cosine of two prompts' directions from which they say the same. Different wordings of the gallery
# reach 0.9991, a prompt beside itself in capitals 1.
ALIKE = 0.9995
CHUNK = 64  # prompts encoded at a time


@dataclass(frozen=True, slots=True)
class Sealed:
    """A prompt of one of the three sets, with the words to say where it stands."""

    prompt: str
    where: str  # "prompts of 'cat'", "case 3 of the choose set"
    seed: int | None = None  # of a measured row


def bare(prompt: str) -> str:
    """`prompt` in lower case without punctuation, symbols, accents' variants, what nobody sees
    (controls, private use, what no standard assigns) and surplus spaces.
    """
    plain = unicodedata.normalize("NFKC", UNDRAWN.sub("", prompt)).casefold()
    kept = (
        " " if c in string.punctuation or unicodedata.category(c)[0] in "PSZ" else c
        for c in plain
        if unicodedata.category(c)[0] != "C" or c.isspace()
    )
    return " ".join("".join(kept).split())


def clusters_of(prompts: Iterable[str]) -> list[str]:
    """What the picture of each prompt shares with others, for intervals: its bare prompt. Sixty
    ways to write one wording draw pictures that are alike, and are no sixty trials.
    """
    return [bare(prompt) for prompt in prompts]


def clusters_of_rows(rows: Sequence[PromptRow]) -> list[str]:
    """What the picture of each row shares with others: its bare prompt, or its noise, whichever
    leaves fewer of them independent. Sixty wordings drawn from one seed are as alike as sixty
    copies: on the gallery's base two of them have an SSIM of 0.89, one wording from two seeds 0.14.
    """
    prompts = clusters_of(row.prompt for row in rows)
    seeds = [f"seed {row.noise}" for row in rows]
    return min(prompts, seeds, key=effective) if rows else []


def alike_by(rows: Sequence[PromptRow]) -> str:
    """What more of the pictures of `rows` have in common: "prompts" or "seeds"."""
    prompts = clusters_of(row.prompt for row in rows)
    return "prompts" if clusters_of_rows(rows) == prompts else "seeds"


def key(tokenizer: "CLIPTokenizer", prompt: str) -> Key:
    """The token ids of the bare prompt."""
    return _ids(tokenizer, bare(prompt))


@lru_cache(maxsize=1 << 16)
def _ids(tokenizer: "CLIPTokenizer", text: str) -> Key:
    return tuple(tokenizer(text).input_ids)


@dataclass(frozen=True, slots=True)
class Directions:
    """Where prompts point: the mean of their text states less the empty prompt's, of length 1.
    Each prompt is read once.
    """

    encode: Encode
    known: dict[str, Tensor] = field(default_factory=dict)

    def of(self, prompts: Sequence[str]) -> Tensor:
        """(n, d) float64."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self.known]
        for first in range(0, len(new), CHUNK):
            some = new[first : first + CHUNK]
            states = self.encode(["", *some]).double()
            pointing = normalize((states[1:] - states[:1]).mean(dim=1))
            self.known.update(zip(some, pointing, strict=True))
        return torch.stack([self.known[prompt] for prompt in prompts])


def one_of(
    prompts: Sequence[str], tokenizers: Sequence["CLIPTokenizer"], directions: Directions
) -> Callable[[str], bool]:
    """Whether a prompt is one of `prompts`, as sealed sets tell prompts apart."""
    if not prompts:
        return lambda _: False
    keys = [(t, {key(t, prompt) for prompt in prompts}) for t in tokenizers]
    pointing = directions.of(prompts)  # (n, d)

    def is_one(prompt: str) -> bool:
        if any(key(tokenizer, prompt) in known for tokenizer, known in keys):
            return True
        return bool((pointing @ directions.of([prompt])[0]).max() >= ALIKE)

    return is_one


def trained(
    concepts: Sequence[Concept],
    protected: Iterable[str] = (),
    among: Sequence[Concept] = (),
) -> list[Sealed]:
    """Every prompt that a method may read: erased, as it is replaced where `among` are erased
    together, and kept; and `protected`, those that its settings name.
    """
    found = [Sealed(p, "the settings of the method") for p in protected]
    for c in concepts:
        replaced = [stand_in(c, p, among) for p in c.prompts]
        found += [Sealed(p, f"prompts of '{c.name}'") for p in c.prompts]
        found += [Sealed(p, f"prompts of '{c.name}', replaced") for p in replaced]
        found += [Sealed(p, f"keep of '{c.name}'") for p in c.keep]
    return found


def measured(rows: Iterable[PromptRow], which: str) -> list[Sealed]:
    """The rows of one table as members of the set `which` ("choose", "report")."""
    return [
        Sealed(row.prompt, f"case {row.case_number} of the {which} set", row.evaluation_seed)
        for row in rows
    ]


def check_rows(tokenizer: "CLIPTokenizer", rows: Sequence[PromptRow], what: str) -> None:
    """Refuse a table in which a prompt and seed stand twice: a second copy is no more evidence.

    Raises:
        BadInput: Names the two cases, and how many rows are copies.
    """
    first: dict[tuple[Key, int], int] = {}
    copies = []
    for row in rows:
        case = first.setdefault((key(tokenizer, row.prompt), row.noise), row.case_number)
        if case != row.case_number:
            copies.append((case, row.case_number))
    if copies:
        large = any(row.noise != row.evaluation_seed for row in rows)
        bits = " (of which the last 32 bits are read)" if large else ""
        raise BadInput(
            f"{what}: cases {copies[0][0]} and {copies[0][1]} have the same prompt and seed{bits}, "
            f"so the same picture ({len(copies)} such copies); give each row a seed of its own, or "
            f"another wording"
        )


def check_stages(
    rows: Mapping[Any, Sequence[PromptRow]],
    concepts: Sequence[Concept],
    tokenizers: Sequence["CLIPTokenizer"],
    directions: Directions | None = None,
    protected: Iterable[str] = (),
    among: Sequence[Concept] = (),
) -> None:
    """Refuse what the training of `concepts`, the choosing and the report have in common.

    Args:
        rows: "choose" and "report" -> what is measured there.
        concepts: What is trained on.
        tokenizers: As for `check_apart`.
        directions: As for `check_apart`.
        protected: Prompts that the method's settings name.
        among: All that is erased together.

    Raises:
        BadInput: Names the rows.
    """
    sets = {stage: measured(table, stage) for stage, table in rows.items()}
    check_apart({"train": trained(concepts, protected, among), **sets}, tokenizers, directions)


def check_apart(
    sets: Mapping[str, Sequence[Sealed]],
    tokenizers: Sequence["CLIPTokenizer"],
    directions: Directions | None = None,
) -> None:
    """Refuse sets that share a prompt or a seed.

    Args:
        sets: Name of each set ("train", "choose", "report") -> its prompts.
        tokenizers: The base's; prompts are the same where any of them reads the same tokens.
        directions: Of the base's text encoder; None compares tokens and seeds alone.

    Raises:
        BadInput: Names both places, and how many more there are.
    """
    names = list(sets)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    for a, b in pairs:
        found = list(_same_tokens(sets[a], sets[b], tokenizers)) or list(
            _same_seeds(sets[a], sets[b])
        )
        if not found and directions is not None:
            found = list(_same_states(sets[a], sets[b], directions))
        if found:
            more = f" ({len(found)} such rows)" if len(found) > 1 else ""
            raise BadInput(found[0] + more)


def _same_tokens(
    a: Sequence[Sealed], b: Sequence[Sealed], tokenizers: Sequence["CLIPTokenizer"]
) -> Iterator[str]:
    for tokenizer in tokenizers:
        known: dict[Key, Sealed] = {}
        for one in a:
            known.setdefault(key(tokenizer, one.prompt), one)
        for other in b:
            if same := known.get(key(tokenizer, other.prompt)):
                yield _said(same, other, "the same words")


def _same_seeds(a: Sequence[Sealed], b: Sequence[Sealed]) -> Iterator[str]:
    known = {noise_of(one.seed): one for one in a if one.seed is not None}
    for other in b:
        if other.seed is not None and (one := known.get(noise_of(other.seed))):
            same = "" if one.seed == other.seed else f" ({one.seed}, the same in its last 32 bits)"
            yield (
                f"{other.where} has the seed {other.seed}, which {one.where} has too{same}; "
                f"pictures of one seed share their composition: give each set seeds of its own"
            )


def _same_states(a: Sequence[Sealed], b: Sequence[Sealed], directions: Directions) -> Iterator[str]:
    if not a or not b:
        return
    mine, theirs = (directions.of([one.prompt for one in some]) for some in (a, b))
    cosines, nearest = (theirs @ mine.T).max(dim=1)
    for other, cosine, i in zip(b, cosines.tolist(), nearest.tolist(), strict=True):
        if cosine >= ALIKE:
            yield _said(a[i], other, f"the same text states (cosine {cosine:.5f})")


def _said(one: Sealed, other: Sealed, how: str) -> str:
    trained_on = one.seed is None
    where = f"is also trained on ({one.where})" if trained_on else f"is also {one.where}"
    why = (
        "the result only shows what was learnt by heart"
        if trained_on
        else "what chose a candidate cannot judge it"
    )
    read_as = "" if one.prompt == other.prompt else f", read as {one.prompt!r}"
    return (
        f"{other.where}: the measured prompt {other.prompt!r} {where}{read_as}: {how}; measure on "
        f"other wordings, or {why}"
    )
