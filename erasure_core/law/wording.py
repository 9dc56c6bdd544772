"""What a prompt says when something else stands where it names a concept.

English, as the encoders of these models read it: articles, plurals, "a cup of coffee".
"""

import re
from collections.abc import Sequence

from erasure_core.law.english import indefinite, many, plurals
from erasure_core.law.naming import COUNTS, mentions

ARTICLES = ("a", "an", "the")
# Words that stay where they are, with the bare noun: "this cat" becomes "this dog".
DETERMINERS = (
    *("this", "that", "these", "those", "my", "your", "his", "her", "its", "our", "their"),
    *("no", "each", "every", "any", "another", "one", "some"),
)
# Words that say how much of a thing there is: "a cup of coffee" is coffee, and becomes tea whole.
CONTAINERS = (
    *("bag", "bottle", "bowl", "box", "can", "cup", "glass", "jar", "loaf", "mug", "pair"),
    *("piece", "plate", "pot", "slice"),
)
HOLDING = "|".join(CONTAINERS)
SEVERAL = "|".join(sorted((form for word in CONTAINERS for form in plurals(word)), reverse=True))
# Words after which a name does not go on with the noun before it.
FUNCTION_WORDS = frozenset(
    (
        *("a", "an", "and", "as", "at", "be", "beside", "by", "for", "from", "in", "into", "is"),
        *("like", "near", "of", "on", "or", "over", "the", "to", "under"),
        *("with", "without", *COUNTS, *DETERMINERS),
    )
)
# What is somebody's, or of a movement: "a picture by Vincent van Gogh".
MADE = re.compile(
    r"(?<!\w)(artwork|drawing|illustration|image|painting|photo|picture|portrait|poster|print|"
    r"sketch|work)\s+(by|in\s+the\s+style\s+of)\s+$",
    re.IGNORECASE,
)
MAKERS = ("artist", "painter", "photographer", "illustrator", "person", "somebody")
ADJECTIVES = 3  # at most, between an article and the name


def replaced(names: Sequence[str], replacement: str, prompt: str, style: bool = False) -> str:
    """`prompt` with `replacement` wherever it has one of `names`; the bare replacement if it has
    none.

    The article before a name goes, as the replacement brings its own; other determiners stay ("this
    cat", "this dog"). Where the replacement has none, a style keeps the prompt's: "a sketch of a
    cat" becomes "a photo of a cat"; and "a picture by somebody" becomes what is no maker's. Words
    that the replacement begins with are not said twice ("a cup of coffee", "a cup of tea"; "a
    coffee cup"), and what a thing is held in goes with it ("a cup of coffee", "a rocket").
    """
    parts, position = [], 0
    for mention in mentions(names, prompt):
        before, after = prompt[position : mention.begin], prompt[mention.end :]
        held = _container_after(replacement, after)
        several = mention.plural or bool(re.search(rf"(?:{SEVERAL})$", held, re.IGNORECASE))
        parts.append(_put(before, replacement, several, style, after))
        position = mention.end + len(held)
    return "".join(parts) + prompt[position:] if parts else replacement


def _put(before: str, replacement: str, plural: bool, style: bool, after: str) -> str:
    """The words before a name and what stands in its place."""
    article, noun = _split(replacement)
    if held := "" if style else _held(before, noun):  # "a cup of coffee, sketch" is of coffee
        return held
    kept, counted = _without_repeated(before, noun)
    plural = plural or counted
    if style and not _is_maker(noun):
        kept = MADE.sub("", kept)
    words = kept.split()
    last = words[-1].casefold() if words else ""
    if last in ARTICLES:
        space = kept[: kept.rstrip().rfind(words[-1])]
        if plural:
            return f"{space}{many(noun)}"
        if not article and style:
            return f"{space}{'the' if last == 'the' else indefinite(noun)} {noun}"
        return f"{space}{replacement}"
    if plural:
        return f"{kept}{many(noun)}"
    if last == "some":  # of what is not counted: "some tea", not "some cup of tea"
        noun = noun.rpartition(" of ")[2] if _is_container(noun) else noun
    in_a_style = style and re.match(r"\s+styles?\b", after, re.IGNORECASE)
    return f"{kept}{noun if in_a_style or _within_noun(words) else replacement}"


def _split(phrase: str) -> tuple[str, str]:
    """Article and the rest; the article is empty where there is none."""
    first, _, rest = phrase.partition(" ")
    return (first, rest) if rest and first.casefold() in ARTICLES else ("", phrase)


def _without_shared(before: str, noun: str) -> str | None:
    """`before` without the words at its end with which `noun` begins; None where there are none."""
    shared = noun.split()
    for n in range(len(shared) - 1, 0, -1):
        words = r"\s+".join(map(re.escape, shared[:n]))
        pattern = rf"(?:(?<!\w)(?:an?|the)\s+)?(?<!\w){words}\s+$"
        if found := re.search(pattern, before, re.IGNORECASE):
            return before[: found.start()]
    return None


def _without_repeated(before: str, noun: str) -> tuple[str, bool]:
    """`before` without what `noun` says itself, or "a cup of", at its end; and whether that was
    several.
    """
    pattern = rf"(?:(?<!\w)(?:an?|the)\s+)?(?<!\w)(?:{SEVERAL})\s+of\s+$"
    if found := re.search(pattern, before, re.IGNORECASE):
        return before[: found.start()], True
    kept = _without_shared(before, noun)
    if kept is not None:
        return kept, False
    pattern = rf"(?:(?<!\w)(?:an?|the)\s+)?(?<!\w)(?:{HOLDING})\s+of\s+$"
    return re.sub(pattern, "", before, flags=re.IGNORECASE), False


def _held(before: str, noun: str) -> str:
    """The words before a name and what stands in its place, where adjectives part it from what it
    is held in, "a large cup of hot ..."; nothing where they do not. What has no container of its
    own takes the container's place, "a large rocket".
    """
    pattern = (
        rf"(?<!\w)(?P<container>{HOLDING}|{SEVERAL})\s+of\s+(?P<like>(?:\w+,?\s+){{0,2}}\w+\s+)$"
    )
    found = re.search(pattern, before, re.IGNORECASE)
    if not found or not FUNCTION_WORDS.isdisjoint(re.findall(r"\w+", found["like"].casefold())):
        return ""
    if _is_container(noun):
        return f"{before}{noun.partition(' of ')[2]}"
    several = found["container"].casefold() not in CONTAINERS
    return f"{before[: found.start()]}{many(noun) if several else noun}"


def _container_after(replacement: str, after: str) -> str:
    """The beginning of `after` that is what a thing is held in, where the replacement says that
    itself: "a coffee cup" becomes "a cup of tea". Nothing of "can", which is a verb too.
    """
    if not _is_container(_split(replacement)[1]):
        return ""
    pattern = rf"\s+(?!can\b)(?:{HOLDING}|{SEVERAL})(?!\w)"
    found = re.match(pattern, after, re.IGNORECASE)
    return found.group() if found else ""


def _is_container(noun: str) -> bool:
    """Whether a noun without its article is so much of something: "cup of tea"."""
    return re.match(rf"(?:{HOLDING})\s+of\s", noun, re.IGNORECASE) is not None


def _is_maker(noun: str) -> bool:
    """Whether a picture can be by it: somebody's name, or what somebody is."""
    last = noun.split()[-1]
    return last[0].isupper() or last.casefold() in MAKERS


def _within_noun(words: Sequence[str]) -> bool:
    """Whether what follows goes on with a noun that has its article or another determiner already:
    "an old ...", "this ...".
    """
    for word in reversed(words[-ADJECTIVES - 1 :]):
        folded = word.casefold()
        if folded in DETERMINERS or folded in COUNTS:
            return True
        if folded in ARTICLES:
            return word is not words[-1]
        if folded in FUNCTION_WORDS or folded.endswith(("ing", "s", ",", ":")):
            return False
    return False
