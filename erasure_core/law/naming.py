"""Where a prompt names a concept, however people spell the name: with or without its accents and
hyphens, typed or printed, one or several, in any script.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from erasure_core.law.english import GRAMMAR, headed, is_many, plurals, singulars, unchanged

COUNTS = (
    *("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve"),
    *("several", "few", "many"),
)
COUNTED = re.compile(rf"(?<!\w)({'|'.join(COUNTS)}|these|those|[2-9]|[1-9]\d+)\s+$", re.IGNORECASE)
UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
# What Korean writes on the end of a noun: "several", and then its part in the sentence.
PARTICLES = "|".join(
    (
        *("이", "가", "은", "는", "을", "를", "의", "에", "에게", "에서", "께서", "와", "과", "도"),
        *("만", "로", "으로", "부터", "까지", "처럼", "보다", "한테", "하고", "나", "이나", "랑"),
        *("이랑", "인", "이다", "입니다"),
    )
)
CALLED = "씨|님|풍"  # and before that: "Mr", "dear", "in the style of"
# What Russian and Ukrainian write on the end of a name for its part in the sentence, without marks:
# "portrait of Putin" is "портрет Путина". Not -ов and -ин, which make another name.
CYRILLIC = re.compile("[\u0430-\u044f\u0456\u0454]{4,}", re.IGNORECASE)
CASED = re.compile("(?:[оыи]и|[аеиоуыэюяьіє])$", re.IGNORECASE)
CASES = "|".join(
    (
        *("а", "у", "ом", "ем", "е", "ои", "ого", "ому", "ым", "ых", "ыми", "и"),  # noqa: RUF001
        *("ы", "ам", "ами", "ах", "еи", "ю", "я", "ью", "ою", "ею", "их", "им"),  # noqa: RUF001
        *("ими", "ая", "ую", "ям", "ями", "ях", "ыи", "ии", "о", "ь", "і", "ові"),  # noqa: RUF001
        *("єм", "є"),
    )
)
# Put into a word or behind it, and no part of it: what draws an Arabic word out, the dot below by
# which Hindi writes sounds of Persian, the marks of brands.
UNTYPED = frozenset("\u0640\u093c\u00ae\u00a9\u2122\u2120")
ZWNJ = "\u200c"  # parts two letters, which a hyphen does elsewhere
# What Arabic and Hebrew write on the beginning of a word: "and", "in", "as", "to", "from", "the".
PREFIXES = {"ARABIC": "وفبكل", "HEBREW": "ושבכלמה"}
# Whose letters people type without their marks too.
MARKED = ("LATIN", "GREEK", "CYRILLIC", "ARABIC", "HEBREW")
TYPED = {  # what people type in place of what has no key of its own
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u05be\ufe63\uff0d", "-"),
    **dict.fromkeys("\u2018\u2019\u02bb\u02bc\u00b4`\u2032\u05f3\uff07", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb\uff02", '"'),
    **dict.fromkeys("\u30fb\uff65\u2027\u30a0\uff1d", "\u00b7"),
    **{"_": " ", "/": "-", ZWNJ: "-"},  # "AC/DC" is "AC-DC"
    # Of Persian and Urdu keyboards: yeh, kaf and heh.
    **{"\u06cc": "\u064a", "\u0649": "\u064a", "\u06a9": "\u0643"},
    **dict.fromkeys("\u0629\u06c1\u06d5", "\u0647"),
    **{"ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "\u1e9e": "SS"},
    **{"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O"},
    **{"ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "\u0131": "i", "ħ": "h", "Ħ": "H"},
    **{"ə": "e", "Ə": "E"},
    "\u0901": "\u0902",  # Hindi's nasal vowels, with a bow or without
}
# What people type for a marked letter in its own language: "Mueller".
SPREAD = {
    **{"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"},
    **{"Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "Ø": "Oe", "Å": "Aa"},
    **{"đ": "dj", "Đ": "Dj"},
}
# Before the consonants of its row, Hindi writes a nasal with its sign or as a dot.
NASAL = re.compile("(?:[\u0919\u091e\u0923\u0928\u092e]\u094d|\u0902)(?=[\u0915-\u092d])")
SAME_LENGTH = str.maketrans({c: typed for c, typed in TYPED.items() if c.isascii()})
# Between the parts of a name: blanks, a hyphen, the dot of Chinese and Japanese, "and"; after the
# dot of an initial also nothing.
AND = r"(?<=\S)\s*&\s*(?=\S)|(?:\s+|(?<=\w)-)(?i:and)(?:\s+|-(?=\w))"
JOINT = re.compile(rf"({AND}|\s+|(?<=\w)[-\u00b7](?=\w)|(?<=[^\W\d_]\.)(?=\w))")
JOINED = "(?:\\s+|-|\u00b7)"
# Of a name as a hyphen is, "O'Connor"; but not what shortens another word, "cat's", "she'll".
APOSTROPHE = re.compile(r"(?<=[^\W\d_])'(?=[^\W\d_])(?!(?:[dmst]|ll|re|ve)(?!\w))", re.IGNORECASE)
DOLLAR = re.compile(r"\$(?=[^\W\d_])")  # "Ke$ha" is "Kesha"
# What a name may have in front or behind of a word, and people leave out: "#MeToo", "Yahoo!".
SIGN, MARK = re.compile(r"^[#@](?=\w)"), re.compile(r"(?<=\w)[!?,:;]+$")
# Between a number and more than a letter, where a blank may stand: "AK47" is "an AK 47", and "A4"
# is no "a 4".
NUMBERED = re.compile(r"(?<=[^\W\d_]{2})(?=\d)|(?<=\d)(?=[^\W\d_]{2})")
DOT = r"\.?"
VOWELLESS = re.compile("[b-df-hj-np-tv-xz]{2,4}", re.IGNORECASE)  # what is shortened: "Mr", "St"
ARTICLE = re.compile(r"(?:an?|the)\s+(?=\w)", re.IGNORECASE)
INNER_ARTICLE = re.compile(r"(?<=\w)\s+an?\s+(?=\w)")
JUNIOR = re.compile(r",?\s+(?=(?:[js]r|junior|senior)\b)", re.IGNORECASE)
# What stands before a name, or behind it, shortened and in full: "Mt. Fuji", "Mount Fuji".
IN_FULL = {
    **{"mr": "mister", "dr": "doctor", "st": "saint", "mt": "mount", "ft": "fort"},
    **{"prof": "professor", "capt": "captain", "lt": "lieutenant", "sgt": "sergeant"},
    **{"jr": "junior", "sr": "senior"},
}
SHORTENED = {full: short for short, full in IN_FULL.items()}


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
    patterns = _patterns(tuple(names))
    first, *others = _readings(prompt)
    if not others:
        yield from _mentions(*patterns, *first)
        return
    found = {mention for reading in (first, *others) for mention in _mentions(*patterns, *reading)}
    position = 0
    for mention in sorted(found, key=lambda m: (m.begin, -m.end)):
        if mention.begin >= position:
            yield mention
            position = mention.end


def _mentions(
    several: re.Pattern[str], one: re.Pattern[str], text: str, stood: Sequence[int]
) -> Iterator[Mention]:
    for found in several.finditer(text):
        said = found.group()
        if _goes_on(text, *found.span()):
            continue
        counts = unchanged(said) or is_many(said)
        counted = counts and COUNTED.search(text[: found.start()]) is not None
        plural = counted or not one.fullmatch(said)
        yield Mention(stood[found.start()], stood[found.end()], plural)


def _goes_on(text: str, begin: int, end: int) -> bool:
    """Whether a vowel's sign, which is no letter of its own, makes another word of what stands from
    `begin` to `end`: in Hindi "Ramayana" begins with "Ram".
    """
    before = "" if _unspaced(text[begin]) else text[:begin][-1:]
    return any(unicodedata.category(sign).startswith("M") for sign in (*before, *text[end:][:1]))


def _readings(text: str) -> list[tuple[str, Sequence[int]]]:
    """`text` as keyboards have it: without its marks, "Muller", and as its own, "Mueller"."""
    if text.isascii() or SPREAD.keys().isdisjoint(unicodedata.normalize("NFC", text)):
        return [_typed(text)]
    return [_typed(text), _typed(text, spread=True)]


@lru_cache(maxsize=4096)
def _typed(text: str, *, spread: bool = False) -> tuple[str, Sequence[int]]:
    """`text` as a plain keyboard has it, "Beyoncé" as "Beyonce", letters of full and half width as
    any others; and where each of its characters stands in `text`, the end with them. With `spread`
    "Müller" is "Mueller".
    """
    if text.isascii():
        return _keyed(text.translate(SAME_LENGTH)), range(len(text) + 1)
    typed: list[str] = []
    stood: list[int] = []
    for i, character in enumerate(text):
        if _is_unseen(character) and not (character == ZWNJ and _is_of(text[i - 1 : i], "ARABIC")):
            continue
        written = TYPED.get(character, character)
        if spread:  # its mark may be a character of its own
            written = SPREAD.get(unicodedata.normalize("NFC", text[i : i + 2])[0], written)
        letters = unicodedata.normalize("NFKD", written)
        if typed and unicodedata.combining(letters[0]):
            if _is_marked(typed[-1]):
                continue
            joined = unicodedata.normalize("NFC", typed[-1] + letters)
            if len(joined) == 1:  # of half width, or decomposed: a letter and its sign
                typed[-1] = joined
                continue
        plain = [letter for letter in letters if not unicodedata.combining(letter)]
        bare = _is_marked(letters[0]) or character in TYPED
        kept = plain if bare else [*unicodedata.normalize("NFKC", character)]
        kept = [letter for letter in kept if letter not in UNTYPED]
        typed += kept
        stood += [i] * len(kept)
    return _keyed("".join(typed)), [*stood, len(text)]


def _keyed(text: str) -> str:
    """`text` with what is often left out or typed otherwise in one form, character by character."""
    return DOLLAR.sub("s", APOSTROPHE.sub("-", text))


def _is_unseen(character: str) -> bool:
    """Whether nobody sees a character, or types it."""
    return character in UNTYPED or unicodedata.category(character) == "Cf"


def _is_marked(letter: str) -> bool:
    return _is_of(letter, MARKED)


def _is_of(letter: str, script: str | tuple[str, ...]) -> bool:
    """Whether a letter, or none, is of a script or one of several."""
    return letter != "" and unicodedata.name(letter, "").startswith(script)


@lru_cache(maxsize=1024)
def _patterns(names: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Names as they stand in a sentence, one or several of each; and one of each alone."""
    typed = {text.strip() for name in names for text, _ in _readings(name)}
    longest_first = sorted(typed, key=lambda name: (-len(name), name))
    several = "|".join(_in_sentence(name) for name in longest_first)
    one = "|".join(_alone(name) for name in longest_first)
    return re.compile(several, re.IGNORECASE), re.compile(one, re.IGNORECASE)


def _alone(name: str) -> str:
    """A name as a pattern, with its article or without; of a plural each of its singulars too."""
    article, bare = _article(name)
    return rf"{article}{_words(bare, singular=True)}{_tags(bare, name)}"


def _article(name: str) -> tuple[str, str]:
    """The article that a name may begin with as a pattern, and the name without it. It may be
    missing, but nobody is meant by "who" or "1975" alone; of a title in one word, "The Beatles",
    only before that word's capital.
    """
    found = ARTICLE.match(name)
    rest = name[found.end() :] if found else ""
    if not found or rest.casefold() in GRAMMAR or rest.isdecimal():
        return "", name
    article = rf"(?<!\w){found.group().strip()}\s+"
    titled = found.group()[0].isupper() and rest[0].isupper() and re.fullmatch(r"\w+", rest)
    return rf"(?:{article}|(?=(?-i:[A-Z])))" if titled else rf"(?:{article})?", rest


def _words(name: str, *, singular: bool = False) -> str:
    """A name without its article as a pattern: one or several of what it is about, "cups of
    coffee", and of its last word, "men in suits"; with `singular` no plurals of either.
    """
    before, noun, after = headed(name)
    if not after or after.lstrip()[0].isupper():  # "Doctor Who"
        return _bent(name, singular)
    rest, *what = INNER_ARTICLE.split(after.strip(), maxsplit=1)
    about = f"{_bent(before + noun, singular)}{JOINED}"
    if not what:
        return about + _bent(rest, singular)
    return f"{about}{''.join(_parts(rest))}{JOINED}(?:an?{JOINED})?{_bent(what[0], singular)}"


def _bent(name: str, singular: bool) -> str:
    """A name as a pattern, whose last word may be one or several."""
    *first, last = _parts(name)
    lasts = [*_bent_last(name, last, singular), last]
    pattern = rf"{''.join(first)}(?:{'|'.join(lasts)})"
    letters = "".join(c for c in name if c.isalnum()).upper()
    if name != name.casefold() and (name.casefold() in GRAMMAR or len(name) == 1):
        return rf"(?-i:{pattern})(?!-\w)"  # "US" is no "us", and "X" no "x-ray"
    if not first or not _bare(name) or not letters.isupper():
        return pattern
    return rf"(?:{pattern}|(?-i:{letters}){'' if singular else 's?'})"  # "IT" is no "it"


def _bent_last(name: str, last: str, singular: bool) -> list[str]:
    """The `last` part of a name with other forms of its last word, as patterns."""
    part = JOINT.split(name)[-1].removesuffix(".")
    word = _last_word(part)
    forms = _singulars(name) | (set() if singular or not word else plurals(word))
    stem = _spelled(part.removesuffix(word))
    bent = [stem + _spelled(form) for form in sorted(forms, key=len, reverse=True)]
    return bent if singular or not _initials(part) else [f"{last}s", *bent]  # "U.F.O.s"


def _last_word(name: str) -> str:
    return re.split(r"\W", name)[-1]  # nothing after a dot


def _singulars(name: str) -> set[str]:
    """Of a name in lower case: "the Beatles" are no several of one."""
    return singulars(name) if name == name.lower() and _last_word(name) else set()


def _in_sentence(name: str) -> str:
    """A name, its plural or its singular as a pattern: whole words, but in scripts that put no
    space between words; with the article that it begins with, or without.
    """
    whole, (article, name) = name, _article(name)
    begins = article + _begins(name)
    if _unspaced(name[-1]):
        return rf"{begins}{''.join(_parts(name))}(?:e?s(?!\w))?"
    if unicodedata.name(name[-1], "").startswith("HANGUL"):
        return rf"{begins}{''.join(_parts(name))}(?=(?:{CALLED})?들?(?:{PARTICLES})?(?!\w))"
    return rf"{begins}{_words(name)}(?!\w){_tags(name, whole)}"


def _tags(*names: str) -> str:
    """Those of `names` that have several parts as more patterns, behind the sign of a tag:
    "#TaylorSwift", "#TheBeatles".
    """
    pieces = [JOINT.split(name)[::2] for name in dict.fromkeys(names)]
    run_on = ("".join(_spelled(p.removesuffix(".")) for p in some) for some in pieces if some[1:])
    return "".join(rf"|(?<!\w)[#@]{tag}(?!\w)" for tag in run_on)


def _begins(name: str) -> str:
    """Where a name may begin, as a pattern: a whole name also behind what its script writes on it,
    "of Mohamed Salah" in Arabic.
    """
    if _unspaced(name[0]):
        return ""
    before = next((letters for of, letters in PREFIXES.items() if _is_of(name[0], of)), "")
    whole = before and re.search(r"\s", name)
    return rf"(?:(?<!\w)|(?<=(?<!\w)[{before}]))" if whole else r"(?<!\w)"


def _parts(name: str) -> list[str]:
    """The parts of a name as patterns, each but the last with what may follow it: "J. K. Rowling"
    is "J.K. Rowling" and "JK Rowling", "Spider-Man" is "spider man" and "Spiderman".
    """
    pieces = JOINT.split(JUNIOR.sub(" ", name))
    names, joints = pieces[::2], pieces[1::2]
    bare = _bare(name)
    parts = [
        f"{_part(part)}{DOT if _is_shortened(part) else ''}{_joined(part, joint, following, bare)}"
        for part, joint, following in zip(names[:-1], joints, names[1:], strict=True)
    ]
    return [*parts, _last_part(names[-1], alone=not parts, bare=bare)]


def _part(part: str, titles: bool = True) -> str:
    """A part of a name as a pattern, without the dot behind it; of `titles` in either form."""
    letters = _initials(part)
    pattern = rf"{DOT}{JOINED}?".join(letters) or _spelled(part[:-1] if _is_dotted(part) else part)
    word = part.removesuffix(".").casefold()
    other = IN_FULL.get(word) or (word in SHORTENED and rf"{SHORTENED[word]}{DOT}")
    return rf"(?:{pattern}|{other})" if titles and other else pattern


def _last_part(part: str, alone: bool, bare: bool) -> str:
    """The last part of a name as a pattern, with the dot behind it that is its own: "a UFO." ends a
    sentence, "a U.F.O." need not; and "A.", `alone` and `bare`, is no article.
    """
    letters, pattern = _initials(part), _part(part, titles=not alone)
    if len(letters) > 1 and not _is_dotted(part):
        return rf"(?:{rf'[.]{JOINED}?'.join(letters)}\.|{pattern})"
    return f"{pattern}{(r'[.]' if alone and bare else DOT) if _is_dotted(part) else ''}"


def _joined(part: str, joint: str, following: str, bare: bool) -> str:
    """What may stand between two parts of a name, as a pattern."""
    comma = ",?" if JUNIOR.match(f" {following}") else ""
    if joint.strip(" -").casefold() in ("&", "and"):
        return f"{comma}(?:{AND})"
    unspaced = _runs_on(part[-1]) and _runs_on(following[0])
    initials = bool(_initials(part) and _initials(following))
    numbers = part[-1].isdigit(), following[0].isdigit()
    joined = joint in ("-", "\u00b7") and not all(numbers)  # "9/11" is no "911"
    apart = joint.isspace() and any(numbers) and not all(numbers)  # "50 Cent" is "50cent"
    # "St." and "a.", not the "will." of "will.i.am"
    shortened = _is_dotted(part) and bool(len(part) == 2 or _initials(part))
    runs_on = shortened or joined or initials or apart
    if unspaced or (runs_on and not bare):
        return f"{comma}{JOINED}?"
    return f"{comma}(?:{JOINED}|(?<=[.]))" if _is_shortened(part) else f"{comma}{JOINED}"


def _is_dotted(part: str) -> bool:
    return re.fullmatch(r".*[^\W\d_]\.", part) is not None


def _is_shortened(part: str) -> bool:
    """Whether a dot may stand behind a part, and may be missing."""
    return _is_dotted(part) or bool(_initials(part))


def _bare(name: str) -> bool:
    """Whether a name is nothing but initials, which without dots and hyphens are any word: "I. T.",
    "it".
    """
    return not re.search(r"\w\w", name)


def _initials(part: str) -> str:
    """The letters of a part that may have a dot behind each of them, or behind the last, or none:
    "K." and "K", "JK" and "J.K.", "Dr" and "Dr."; of other parts "".
    """
    letters = part.removesuffix(".")
    alone = len(letters) == 1 and letters not in ("a", letters.swapcase())
    capitals = 2 <= len(letters) <= 4 and letters.isalpha() and letters.isupper()
    return letters if alone or capitals or VOWELLESS.fullmatch(letters) else ""


def _spelled(part: str) -> str:
    """A part of a name as a pattern: its apostrophes, quotes, marks and signs may be missing, and
    hyphens stand in it; in scripts that put no space between words, blanks too.
    """
    sign, mark = SIGN.match(part), MARK.search(part)
    word = part[sign.end() if sign else 0 : mark.start() if mark else len(part)]
    cased = CASED.sub("", word) if CYRILLIC.fullmatch(word) else None
    spelled = re.sub(
        r"(?<=\w)(?=\w)(?!(?<=\d)\d)", _between, re.escape(word if cased is None else cased)
    )
    spelled += "" if cased is None else f"(?:{CASES}){'?' * (cased == word)}"
    spelled = NASAL.sub(NASAL.pattern, spelled)
    spelled = re.sub("^(.)'s$", r"\1(?:'s)?", spelled)  # "M&M's"
    spelled = f"{'[#@]?' if sign else ''}{spelled}{f'(?:{mark.group()})?' if mark else ''}"
    return spelled.replace("'", "'?").replace('"', "[\"']?")


def _between(letters: re.Match[str]) -> str:
    """What may stand between two letters of a word, as a pattern."""
    beside = letters.string[letters.start() - 1], letters.string[letters.start()]
    of_korean = len(letters.string) > 2 and all(map(_runs_on, beside))  # two are a word of others
    apart = NUMBERED.match(letters.string, letters.start()) is not None
    return f"{JOINED}?" if of_korean or apart or all(map(_unspaced, beside)) else "[-\u00b7]?"


def _unspaced(character: str) -> bool:
    return unicodedata.name(character, "").startswith(UNSPACED)


def _runs_on(character: str) -> bool:
    """Whether names in its script are written with blanks between their parts and without: Korean's
    too, which parts its words.
    """
    return _unspaced(character) or unicodedata.name(character, "").startswith("HANGUL")
