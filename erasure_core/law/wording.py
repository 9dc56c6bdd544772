"""Where a prompt names a concept, and what the prompt says when something else stands there.

English, as the encoders of these models read it: articles, plurals in -s, "a cup of coffee". Names
are taken as people are called, in any script.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

ARTICLES = ("a", "an", "the")
# Words that say how much of a thing there is: "a cup of coffee" is coffee, and becomes tea whole.
CONTAINERS = (
    "bag",
    "bottle",
    "bowl",
    "box",
    "can",
    "cup",
    "glass",
    "jar",
    "loaf",
    "mug",
    "pair",
    "piece",
    "plate",
    "pot",
    "slice",
)
# Words after which a name does not go on with the noun before it.
FUNCTION_WORDS = frozenset(
    (
        *("a", "an", "and", "as", "at", "be", "beside", "by", "for", "from", "in", "into", "is"),
        *("like", "near", "of", "on", "one", "or", "over", "the", "this", "that", "to", "under"),
        *("with", "without", "two", "three", "four", "some", "many"),
    )
)
UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
APOSTROPHE = "['\u2019]"  # typed, and printed
ADJECTIVES = 3  # at most, between an article and the name


@dataclass(frozen=True, slots=True)
class Mention:
    """One place where a prompt names a concept: its characters from `begin` to `end`."""

    begin: int
    end: int
    plural: bool


def mentions(names: Sequence[str], prompt: str) -> Iterator[Mention]:
    """Where `prompt` has one of `names`, as words of their own, whatever their case; the longest
    name first where several begin.
    """
    for found in _pattern(tuple(names)).finditer(prompt):
        yield Mention(found.start(), found.end(), found["plural"] is not None)


@lru_cache(maxsize=1024)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    each = (_words(name) for name in sorted(names, key=len, reverse=True))
    return re.compile(rf"(?:{'|'.join(each)})(?P<plural>(?<=\w)e?s(?!\w))?", re.IGNORECASE)


def _words(name: str) -> str:
    """A name as a pattern: whole words, but in scripts that put no space between words."""
    words = r"\s+".join(re.sub(APOSTROPHE, APOSTROPHE, re.escape(word)) for word in name.split())
    begins = "" if _unspaced(name[0]) else r"(?<!\w)"
    ends = "" if _unspaced(name[-1]) else r"(?=e?s(?!\w)|\W|$)"
    return f"{begins}{words}{ends}"


def _unspaced(character: str) -> bool:
    return unicodedata.name(character, "").startswith(UNSPACED)


def replaced(names: Sequence[str], replacement: str, prompt: str, style: bool = False) -> str:
    """`prompt` with `replacement` wherever it has one of `names`; the bare replacement if it has
    none.

    The article before a name goes, as the replacement brings its own. Where the replacement has
    none, a style keeps the prompt's: "a sketch of a cat" becomes "a photo of a cat". Words that
    the replacement begins with are not said twice ("a cup of coffee", "a cup of tea"), and what a
    thing is held in goes with it ("a cup of coffee", "a rocket").
    """
    parts, position = [], 0
    for mention in mentions(names, prompt):
        before = prompt[position : mention.begin]
        parts.append(_put(before, replacement, mention.plural, style, prompt[mention.end :]))
        position = mention.end
    return "".join(parts) + prompt[position:] if parts else replacement


def _put(before: str, replacement: str, plural: bool, style: bool, after: str) -> str:
    """The words before a name and what stands in its place."""
    article, noun = _split(replacement)
    kept = _without_shared(before, noun)
    if kept is None:
        kept = _without_container(before)
    words = kept.split()
    last = words[-1].casefold() if words else ""
    if last in ARTICLES:
        space = kept[: kept.rstrip().rfind(words[-1])]
        if plural:
            return f"{space}{_many(noun)}"
        if not article and style:
            return f"{space}{_article(last, noun)} {noun}"
        return f"{space}{replacement}"
    if plural:
        return f"{kept}{_many(noun)}"
    in_a_style = style and re.match(r"\s+styles?\b", after, re.IGNORECASE)
    return f"{kept}{noun if in_a_style or _within_noun(words) else replacement}"


def _split(phrase: str) -> tuple[str, str]:
    """Article and the rest; the article is empty where there is none."""
    first, _, rest = phrase.partition(" ")
    return (first, rest) if rest and first.casefold() in ARTICLES else ("", phrase)


def _article(like: str, noun: str) -> str:
    if like == "the":
        return like
    return "an" if noun[:1].casefold() in "aeiou" else "a"


def _without_shared(before: str, noun: str) -> str | None:
    """`before` without the words at its end with which `noun` begins; None where there are none."""
    shared = noun.split()
    for n in range(len(shared) - 1, 0, -1):
        words = r"\s+".join(map(re.escape, shared[:n]))
        pattern = rf"(?:(?<!\w)(?:an?|the)\s+)?(?<!\w){words}\s+$"
        if found := re.search(pattern, before, re.IGNORECASE):
            return before[: found.start()]
    return None


def _without_container(before: str) -> str:
    """`before` without "a cup of" at its end."""
    holding = "|".join(CONTAINERS)
    return re.sub(
        rf"(?:(?<!\w)(?:an?|the)\s+)?(?<!\w)(?:{holding})s?\s+of\s+$", "", before, flags=re.I
    )


def _within_noun(words: Sequence[str]) -> bool:
    """Whether what follows goes on with a noun that has its article already: "an old ..."."""
    for word in reversed(words[-ADJECTIVES - 1 :]):
        folded = word.casefold()
        if folded in ARTICLES:
            return word is not words[-1]
        if folded in FUNCTION_WORDS or folded.endswith(("ing", "s", ",", ":")):
            return False
    return False


def _many(noun: str) -> str:
    """The plural, of the word before "of" where there is one."""
    head, of, rest = noun.partition(" of ")
    if head.casefold().endswith(("s", "x", "ch", "sh")):
        return f"{head}{'' if head.casefold().endswith('s') else 'es'}{of}{rest}"
    return f"{head}s{of}{rest}"
