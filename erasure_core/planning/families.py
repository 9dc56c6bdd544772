"""Wordings for a concept's three sealed sets, from three families of templates that share none.

The training uses `TRAINED` alone, what chooses among candidates `CHOOSING` alone, and the report,
on which the gate decides, `REPORTED`, `BARE` and `COMPOSED` alone (`planning/sealed.py` refuses
what sets would share). A vocabulary says what else the base knows: for what is kept, for what
stands beside the concept, and for the styles.
"""

import csv
import io
import random
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import get_args

from erasure_core.errors import BadInput
from erasure_core.files import read_table
from erasure_core.law.concepts import Kind
from erasure_core.law.english import ARTICLES, indefinite, is_many, is_uncounted
from erasure_core.law.prompts import PromptRow, written
from erasure_core.law.wording import is_medium, is_movement, is_name

TRAINED = (
    "{style} of {subject}",
    "a {style} showing {subject}",
    "a {style} with {subject}",
    "{subject} in {style} style",
    "a fine {style} of {subject}",
    "the {style} shows {subject}",
)
CHOOSING = (
    "a {style} of {subject}",
    "{subject}, {style}",
    "a fine small {style} of {subject}",
    "a {style} image of {subject}",
    "the small {style} shows {subject}",
    "one {style} showing {subject}",
)
REPORTED = (
    "{subject} as a {style}",
    "this is a {style} of {subject}",
    "a small {style} of {subject}",
    "one {style} of {subject}",
    "one small {style} of {subject}",
    "this {style} shows {subject}",
    "the {style} of {subject}",
    "this is {subject} as a {style}",
    "one {style} with {subject}",
    "{subject} in a {style}",
    "a picture of {subject} in {style} style",
    "this is {subject}, {style}",
    "an image of {subject} as a {style}",
    "{style}: {subject}",
    "this small {style} shows {subject}",
    "this is one small {style} of {subject}",
    "one picture of {subject} in {style} style",
    "{subject} as one small {style}",
    "the {style} image of {subject}",
    "this is the {style} with {subject}",
    "one image of {subject} as a {style}",
    "{subject} in one {style}",
)
BARE = ("a picture of {subject}", "an image of {subject}")  # the style is left open
COMPOSED = (  # the concept beside something else
    "one {style} of {subject} with {other}",
    "this is a {style} of {subject} and {other}",
    "a small {style} of {subject} with {other}",
    "{style}: {subject} and {other}",
    "this {style} shows {other} and {subject}",
    "the {style} of {subject} with {other}",
)
VOCABULARY = ("name", "phrase", "kind")
# For bases without a vocabulary of their own: the 80 object categories of Microsoft COCO (Lin et
# al., ECCV 2014, arXiv:1405.0312; its annotations are CC BY 4.0) with their articles, and styles.
EVERYDAY = Path(__file__).with_name("everyday.csv")
STYLES = ("photo", "drawing", "painting", "poster", "sketch")
# What carries a picture, besides the media: "a neon sign of a cat".
CARRIERS = (
    *("banner", "blueprint", "bust", "card", "cover", "diagram", "doodle", "embroidery"),
    *("figurine", "icon", "linocut", "logo", "map", "postcard", "quilt", "selfie", "shot", "sign"),
    *("silhouette", "snapshot", "stamp", "statue", "stencil", "sticker", "tattoo", "wallpaper"),
)
SINGLE = ("earth", "moon", "sea", "sky", "sun", "universe", "world")  # there is one of it
SEEDS = range(2**31)

Fits = Callable[[str], bool]  # whether the base reads a prompt to its end


@dataclass(frozen=True, slots=True)
class Word:
    """Something that a base knows: its name, how prompts mention it, and what kind it is."""

    name: str
    phrase: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt and what its picture is counted as."""

    prompt: str
    concept: str
    style: str = ""
    also: str = ""


def read_vocabulary(path: Path) -> list[Word]:
    """The words of a CSV with the columns name, phrase and kind.

    Raises:
        BadInput: A column is missing, a kind is none, or a name stands twice.
    """
    reader = csv.DictReader(io.StringIO(read_table(path), newline=""))
    if missing := [column for column in VOCABULARY if column not in (reader.fieldnames or [])]:
        raise BadInput(
            f"{path}: column {', '.join(missing)} missing; needed are {', '.join(VOCABULARY)}"
        )
    words: dict[str, Word] = {}
    for record in reader:
        name, phrase, kind = ((record[column] or "").strip() for column in VOCABULARY)
        if kind not in get_args(Kind) or not name or not phrase or name in words:
            raise BadInput(
                f"{path}: line {reader.line_num}: {name!r}, {phrase!r}, {kind!r}; needed are a "
                f"name that stands once, how prompts mention it, and one of "
                f"{', '.join(get_args(Kind))}"
            )
        words[name] = Word(name, phrase, kind)  # type: ignore[arg-type] # checked above
    return list(words.values())


# One sentence


def anything(_: str) -> bool:
    """What fits where no tokenizer sets a limit."""
    return True


def filled(template: str, style: str, subject: str, other: str = "") -> str:
    """A template with its words: "a {style} of {subject}" -> "a photo of a cat"; where `style` is
    somebody's name, "a picture by Vincent van Gogh of a cat", "a Vincent van Gogh image of a cat".
    """
    medium = _medium(style)
    manner = _manner(style)
    bare = re.sub(r"^(?:the|an?)\s+", "", style, flags=re.IGNORECASE)  # "the Simpsons"
    words = template.replace("{style} style", "{manner}")
    words = re.sub("{style} (?=image|picture)", "{bare} ", words)
    words = re.sub(r"\ba {style}", f"{indefinite(medium)} {{style}}", words)
    words = re.sub(r"\ba {bare}", f"{indefinite(bare)} {{bare}}", words)
    return words.format(style=medium, manner=manner, bare=bare, subject=subject, other=other)


def _medium(style: str) -> str:
    """What a picture in a style is called."""
    if is_movement(style):
        return f"picture in the style of {style}"
    if is_name(style):
        return f"picture by {style}"
    carried = style.casefold().split()[-1] in CARRIERS
    return style if carried or is_medium(style) else f"picture in {_manner(style)}"


def _manner(style: str) -> str:
    return style if style.casefold().split()[-1:] == ["style"] else f"{style} style"


def is_proper(name: str) -> bool:
    """Whether a name is written as a person's or a place's: its last word with a capital, or in a
    script that has none. Not "Christmas tree", "T-shirt", "UFO" and "iPhone".
    """
    words = re.findall(r"[^\W\d_]+", name)
    last = words[-1] if words else name
    if last.upper() == last.lower():
        return True
    branded = " " not in name and re.search(r"[a-z][A-Z]", name) is not None
    return last[0].isupper() and not last.isupper() and not branded


def mentioned(name: str) -> str:
    """A thing's name as a sentence mentions it: "a teapot", "an hourglass", "the moon". Proper
    names, plurals, what is not counted and what has an article stay as they are.
    """
    if (
        is_many(name)
        or is_uncounted(name)
        or is_proper(name)
        or name.split()[0].casefold() in ARTICLES
    ):
        return name
    return f"{'the' if name.casefold() in SINGLE else indefinite(name)} {name}"


# Rows


def rows(
    word: Word,
    styles: Iterable[str],
    templates: Sequence[str],
    n: int | None = None,
    fits: Fits = anything,
) -> Iterator[Row]:
    """`n` rows of one subject in each style, the templates that fit taken in turn; None: each
    once.
    """
    for style in styles:
        prompts = [filled(template, style, word.phrase) for template in templates]
        fitting = list(filter(fits, prompts))
        for prompt in islice(cycle(fitting), n or len(fitting)):
            yield Row(prompt, word.name, style)


def bare(word: Word) -> Iterator[Row]:
    """Captions that leave the style open."""
    for template in BARE:
        yield Row(template.format(subject=word.phrase), word.name)


def composed(
    word: Word, others: Iterable[Word], styles: Sequence[str], fits: Fits = anything
) -> Iterator[Row]:
    """The concept beside each of some others, each of the templates in a style of its own, or in
    the next that fits.
    """
    turn = cycle(range(len(styles)))
    for other in others:
        for template, first in zip(COMPOSED, turn, strict=False):
            for style in _from(styles, first):
                prompt = filled(template, style, word.phrase, other.phrase)
                if fits(prompt):
                    yield Row(prompt, word.name, style, other.name)
                    break


def each(pairs: Iterable[tuple[Word, str]], templates: Sequence[str]) -> list[Row]:
    """One row of each subject and style, the templates taken in turn."""
    return [
        Row(filled(template, style, word.phrase), word.name, style)
        for (word, style), template in zip(pairs, cycle(templates), strict=False)
    ]


def in_style(
    style: str,
    subjects: Sequence[Word],
    templates: Sequence[str],
    n: int,
    fits: Fits = anything,
) -> list[Row]:
    """`n` rows of each subject in one style: what is named is the style. Each subject begins at
    another template.
    """
    return [
        Row(row.prompt, style, style)
        for i, subject in enumerate(subjects)
        for row in rows(subject, (style,), _from(templates, i), n, fits)
    ]


def _from(templates: Sequence[str], i: int) -> list[str]:
    first = i % len(templates)
    return [*templates[first:], *templates[:first]]


def numbered(
    wanted: Sequence[Row], seeded_by: str, guidance: float, taken: Collection[int] = ()
) -> list[PromptRow]:
    """Rows with case numbers and seeds: distinct, none that is `taken`, others for another
    `seeded_by`.
    """
    spare = random.Random(seeded_by).sample(SEEDS, len(wanted) + len(taken))
    seeds = [seed for seed in spare if seed not in taken]
    return [
        PromptRow(case, row.prompt, seed, guidance, *astuple(row)[1:])
        for case, (row, seed) in enumerate(zip(wanted, seeds, strict=False))
    ]


def table(wanted: Sequence[Row], seeded_by: str, guidance: float) -> str:
    """A prompt set as CSV."""
    return written(numbered(wanted, seeded_by, guidance))


# The sets of a new concept


@dataclass(frozen=True, slots=True)
class Sets:
    """What a new concept is trained on, chosen by and reported on."""

    prompts: tuple[str, ...]
    keep: tuple[str, ...]
    choose: tuple[Row, ...]
    report: tuple[Row, ...]


NEAREST = 9  # others that a request keeps
BESIDE = 6  # others that stand beside the concept in composed prompts
REPORT = 60  # rows of the concept alone
CHOOSE = 40  # rows to choose by


def sets_of(
    word: Word,
    also: Sequence[Word],
    others: Sequence[Word],
    styles: Sequence[str],
    fits: Fits = anything,
    wanted: int = REPORT,
) -> Sets:
    """The three sets of one concept.

    Args:
        word: The concept, as prompts mention it.
        also: The same by other names, which go too.
        others: What the base knows besides, the nearest first.
        styles: What the base draws in, the one that its instruments see best first.
        fits: What the base reads to its end; a wording that does not fit gives its place to the
            next.
        wanted: Prompts of the concept alone in the report, at least; fewer where no more fit.
    """
    if word.kind == "style":
        others_styles = [style for style in styles if style.casefold() != word.name.casefold()]
        subjects = others[: NEAREST + 1]
        return Sets(
            _fitting(_trained_style([word, *also], subjects), fits),
            _fitting(listed(subjects, others_styles), fits),
            tuple(in_style(word.name, subjects, CHOOSING, 4, fits)),
            _measured_style(word, also, subjects, fits, wanted),
        )
    return Sets(
        _fitting(_trained_thing([word, *also], styles), fits),
        _fitting(listed(others[:NEAREST], styles), fits),
        tuple(_chosen_thing(word, styles, fits)),
        _measured_thing(word, also, others, styles, fits, wanted),
    )


def _fitting(prompts: Iterable[str], fits: Fits) -> tuple[str, ...]:
    return tuple(filter(fits, dict.fromkeys(prompts)))


def _trained_thing(names: Sequence[Word], styles: Sequence[str]) -> list[str]:
    """What evokes a thing by each of its names: alone, and in every style and template."""
    alone = [text for one in names for text in (one.phrase, one.name)]
    return [*alone, *(row.prompt for one in names for row in rows(one, styles, TRAINED))]


def _trained_style(names: Sequence[Word], subjects: Sequence[Word]) -> list[str]:
    """What evokes a style by each of its names: alone, and each subject in three templates."""
    alone = [text for one in names for text in _alone(one.name)]
    shown = [
        filled(TRAINED[(i + 2 * k) % len(TRAINED)], one.name, subject.phrase)
        for one in names
        for i, subject in enumerate(subjects)
        for k in range(3)
    ]
    return [*alone, *shown]


def _alone(style: str) -> tuple[str, ...]:
    """A style's name, and with its article where it is a medium: "a sketch"."""
    return (style,) if _medium(style) != style else (style, mentioned(style))


def _few_styles(word: Word, styles: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The styles in which most pictures are, and the others: of people the first two, in which
    faces are seen best.
    """
    dense = 2 if word.kind in ("likeness", "explicit") else len(styles)
    return styles[:dense], styles[dense:]


def _chosen_thing(word: Word, styles: Sequence[str], fits: Fits) -> Iterator[Row]:
    best, rest = _few_styles(word, styles)
    each_of_best = -(-(CHOOSE - 4 * len(rest)) // len(best))
    yield from rows(word, best, CHOOSING, each_of_best, fits)
    yield from rows(word, rest, CHOOSING, 4, fits)


def _measured_thing(
    word: Word,
    also: Sequence[Word],
    others: Sequence[Word],
    styles: Sequence[str],
    fits: Fits,
    wanted: int,
) -> tuple[Row, ...]:
    """The concept in each style, with the style left open, by its other names, and beside the
    others: those that are least like it, so that a picture can be told to be the one or the other.
    """
    best, rest = _few_styles(word, styles)
    n = max(-(-max(wanted, REPORT) // len(styles)), len(REPORTED) if rest else 0)
    alone = [*rows(word, best, REPORTED, n, fits)]
    alone += rows(
        word, rest, REPORTED, max(4, -(-(wanted - len(alone)) // max(1, len(rest)))), fits
    )
    alone += bare(word)
    for i, one in enumerate(also):
        for j, style in enumerate(styles):
            its = Word(word.name, one.phrase, word.kind)
            alone += rows(its, (style,), _from(REPORTED, i + j), 1, fits)
    pairs = islice(composed(word, others[::-1], styles, fits), BESIDE * len(COMPOSED))
    return tuple(row for row in dict.fromkeys([*alone, *pairs]) if fits(row.prompt))


def _measured_style(
    word: Word, also: Sequence[Word], subjects: Sequence[Word], fits: Fits, wanted: int
) -> tuple[Row, ...]:
    n = -(-max(wanted, REPORT) // max(1, len(subjects)))
    shown = in_style(word.name, subjects, REPORTED, n, fits)
    for i, one in enumerate(also):
        its = in_style(one.name, subjects, _from(REPORTED, n + i), 1, fits)
        shown += [Row(row.prompt, word.name, word.name) for row in its]
    return tuple(dict.fromkeys(shown))


def listed(subjects: Sequence[Word], styles: Sequence[str]) -> list[str]:
    """What a request keeps: two of three pairs of a subject and a style, no subject and no style
    wholly. What nobody asked to keep is measured too.
    """
    pairs = [(subject, style) for subject in subjects for style in styles]
    return [
        row.prompt
        for i, row in enumerate(each(pairs, TRAINED))
        if sum(divmod(i, len(styles))) % 3 != 2
    ]
