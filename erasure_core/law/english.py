"""Articles and plurals of English, as far as prompts need them."""

import re
import unicodedata

IRREGULAR = {
    "person": "people",
    "man": "men",
    "woman": "women",
    "child": "children",
    "mouse": "mice",
    "goose": "geese",
    "foot": "feet",
    "tooth": "teeth",
}
UNCHANGED = ("sheep", "deer", "fish")  # their compounds too: reindeer, jellyfish
NO_MEN = ("human", "german", "roman", "shaman", "talisman", "ottoman", "caiman")
WITH_VES = (  # their compounds too: werewolf, bookshelf, midwife
    *("wolf", "calf", "half", "knife", "leaf", "life", "loaf", "shelf", "thief", "wife", "elf"),
)
# What begins with a vowel's letter and not with its sound, and the reverse.
SAID_WITH_CONSONANT = re.compile(r"uni(?![nm]|dent)|us[eu]|ut[eio]|uk|eu|(ewe|one|once)(?!\w)")
SAID_WITH_VOWEL = re.compile(r"hour|honest|hono|heir|8|1[18](?!\d)")


def indefinite(noun: str) -> str:
    """The article that `noun` takes by its sound: "an" hour, "a" unicorn."""
    plain = unicodedata.normalize("NFKD", noun).casefold()
    if SAID_WITH_CONSONANT.match(plain):
        return "a"
    return "an" if plain.startswith((*"aeiou",)) or SAID_WITH_VOWEL.match(plain) else "a"


def many(phrase: str) -> str:
    """The plural of a phrase: of the last word before "of" where there is one."""
    head, of, rest = phrase.partition(" of ")
    before, blank, word = head.rpartition(" ")
    return f"{before}{blank}{_plural(word)}{of}{rest}"


def plurals(word: str) -> set[str]:
    """Every spelling of a word's plural that people use, right or not, in lower case."""
    lower = word.lower()
    forms = {f"{lower}s", f"{lower}es", _plural(lower)}
    if re.search(r"[^aeiou\W\d]y$", lower):
        forms.add(f"{lower[:-1]}ies")
    if stem := re.fullmatch(r"(\w+)fe?", lower):
        forms.add(f"{stem[1]}ves")
    return forms - {lower}


def unchanged(phrase: str) -> bool:
    """Whether one and several are written the same."""
    return phrase.casefold().endswith(UNCHANGED)


def _plural(word: str) -> str:
    """The plural as it is written; names in -y keep it, and a plural stays as it is."""
    folded = word.casefold()
    if folded in IRREGULAR:
        return word[0] + IRREGULAR[folded][1:]
    if folded in IRREGULAR.values() or unchanged(word):
        return word
    if folded.endswith("man") and folded not in NO_MEN:
        return f"{word[:-2]}en"
    if folded.endswith(WITH_VES):
        return f"{re.sub('fe?$', '', word)}ves"
    if re.search(r"[^aeiou\W\d]y$", word) and word == folded:
        return f"{word[:-1]}ies"
    if folded.endswith(("x", "z", "ch", "sh", "ss", "us")):
        return f"{word}es"
    return word if folded.endswith("s") else f"{word}s"
