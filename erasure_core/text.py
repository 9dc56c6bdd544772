"""Text from outside: whether it can be seen, how it is shown, and whole numbers written in it."""

import re
import unicodedata

# They steer a terminal, or the order and the width of what is read, instead of being read.
STEERING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
BLANKS = "\u115f\u1160\u2800\u3164\uffa0"  # letters and symbols by category, and nothing to see
WHOLE_NUMBER = r"[0-9]{1,19}"  # as many as 2**63 has; more are no number that anybody means


def escaped(text: str) -> str:
    """`text` with whatever steers a terminal, line breaks too, written as \\uXXXX, as JSON does."""
    if text.isprintable():
        return text
    return "".join(_code(c) if unicodedata.category(c) in STEERING else c for c in text)


def _code(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return re.sub("(....)", r"\\u\1", units)


def visible(text: str) -> bool:
    """Whether `text` holds at least one character that a reader sees."""
    return any(unicodedata.category(c)[0] not in "CMZ" and c not in BLANKS for c in text)


def seen(text: str) -> str:
    """`text`, for pydantic. `ValueError` if nothing in it can be seen."""
    if not visible(text):
        raise ValueError("nothing in it can be seen; write words")
    return text


def composed(text: str) -> str:
    """`text` with its accents composed (NFC): the same word is the same characters."""
    return unicodedata.normalize("NFC", text)


def one_line(text: str) -> str:
    """`text`, for pydantic. `ValueError` unless it is one line that can be seen and printed."""
    if escaped(text) != text:
        raise ValueError("it holds control or format characters; write one line of plain text")
    return seen(text)


def whole_number(text: str) -> int | None:
    """The number that `text` writes in ASCII digits, of at most 19; None if it does not."""
    return int(text) if re.fullmatch(WHOLE_NUMBER, text) else None
