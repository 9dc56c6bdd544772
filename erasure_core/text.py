"""Text from outside: whether it can be seen, how it is shown, and whole numbers written in it."""

import re
import unicodedata
from collections.abc import Sequence

# They steer a terminal, or the order and the width of what is read, instead of being read.
STEERING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# Default_Ignorable_Code_Point of Unicode, but for what is Cf: letters and marks by category, of
# which nothing is drawn.
UNDRAWN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U000e0000-\U000e0fff]"
)
# Written between two letters, they choose a letter's form in Persian, Hindi, Sinhala: of the word.
JOINER = re.compile("(?<=[^\0-\x7f])[\u200c\u200d](?=[^\0-\x7f])")
# What comes along where a word is copied from a page: where it may break, and which way it is read.
COPIED = re.compile("[\u00ad\u061c\u200b\u200e\u200f\u2060\ufeff]")
NO_CHARACTER = re.compile("[\0\ud800-\udfff]")  # no table and no tokenizer takes them
# Of Markdown within a line: emphasis, code, links, HTML, table cells, entities.
MARKUP = re.compile(r"[\\`*_\[\]<>|~]|&(?=#?\w+;)")
BLANK = "\u2800"  # a symbol by category, drawn as a space
# Characters of names in a line: room for what is put around them in MLflow's name of a run, which a
# database keeps 250 of. One name of a concept always fits.
LINE = 220
# Characters of who did something and of why, as the book keeps it: names stand in events, which no
# purge touches, and reasons in one line of what `request list` shows.
WHO, WHY = 200, 2000
WHOLE_NUMBER = r"[0-9]{1,19}"  # as many as 2**63 has; more are no number that anybody means


def escaped(text: str) -> str:
    """`text` with whatever steers a terminal, line breaks too, written as \\uXXXX, as JSON does; a
    joiner of letters stays.
    """
    if text.isprintable():
        return text
    between = {found.start() for found in JOINER.finditer(text)}
    return "".join(
        code(c) if unicodedata.category(c) in STEERING and i not in between else c
        for i, c in enumerate(text)
    )


def markdown(text: str) -> str:
    """`text` on one line of Markdown, as it is written: nothing in it is markup there."""
    return MARKUP.sub(r"\\\g<0>", escaped(text))


def code(character: str) -> str:
    """A character as JSON writes one that is not written as it is: \\u5bae."""
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return re.sub("(....)", r"\\u\1", units)


def visible(text: str) -> bool:
    """Whether `text` holds at least one character that a reader sees."""
    drawn = UNDRAWN.sub("", text)
    return any(unicodedata.category(c)[0] not in "CMZ" and c != BLANK for c in drawn)


def seen(text: str) -> str:
    """`text`, for pydantic. `ValueError` if nothing in it can be seen."""
    if not visible(text):
        raise ValueError("nothing in it can be seen; write words")
    return text


def broken(text: str) -> str | None:
    """The first code in `text` that is no character, NUL or half of one, as U+D83D; None if each
    is one.
    """
    found = NO_CHARACTER.search(text)
    return f"U+{ord(found[0]):04X}" if found else None


def composed(text: str) -> str:
    """`text` with its accents composed (NFC): the same word is the same characters."""
    return unicodedata.normalize("NFC", text)


def one_line(text: str) -> str:
    """`text`, for pydantic. `ValueError` unless it is one line that can be seen and printed."""
    if escaped(text) != text:
        raise ValueError("it holds control or format characters; write one line of plain text")
    return seen(text)


def within(text: str, most: int) -> str:
    """`text`, for pydantic. `ValueError` if it has more than `most` characters."""
    if len(text) > most:
        raise ValueError(f"it has {len(text)} characters; at most {most}")
    return text


def names_of(names: Sequence[str], more: int = 0, most: int = LINE) -> str:
    """`names` in at most `most` characters: `cat, church and 40 more`.

    `more` is how many there are besides.
    """

    def line(count: int) -> str:
        left = len(names) - count + more
        return ", ".join(short[:count]) + (f" and {left} more" if left else "")

    room = most - len(f" and {len(names) + more} more")
    short = [n if len(n) <= room else f"{n[: room - 3]}..." for n in names[:most]]
    return next((said for n in range(len(short), 0, -1) if len(said := line(n)) <= most), "")


def whole_number(text: str) -> int | None:
    """The number that `text` writes in ASCII digits, of at most 19; None if it does not."""
    return int(text) if re.fullmatch(WHOLE_NUMBER, text) else None
