"""What a prompt says when something else stands where it names a concept.

English, as the encoders of these models read it: articles, plurals, "a cup of coffee". Which words
are adjectives and which are verbs is guessed from short lists, as prompts need it.
"""

import re
import unicodedata
from collections.abc import Sequence

from erasure_core.law.english import (
    ARTICLES,
    DETERMINERS,
    GRAMMAR,
    SUBJECTS,
    UNCOUNTED,
    headed,
    indefinite,
    is_many,
    is_uncounted,
    many,
    plurals,
)
from erasure_core.law.naming import COUNTED, COUNTS, mentions

# Words that say how much of a thing there is: "a cup of coffee" is coffee, and becomes tea whole.
CONTAINERS = (
    *("bag", "bottle", "bowl", "box", "can", "cup", "glass", "jar", "loaf", "mug", "pair"),
    *("piece", "plate", "pot", "slice"),
)
HOLDING = "|".join(CONTAINERS)
SEVERAL = "|".join(sorted((form for word in CONTAINERS for form in plurals(word)), reverse=True))
ARTICLED = r"(?:(?<!\w)(?:an?|the)\s+)?(?<!\w)"  # where a noun begins that may have an article
# Words after which a name does not go on with the noun before it.
FUNCTION_WORDS = GRAMMAR | frozenset(
    (
        *COUNTS,
        # Of prompts in other languages, whose words are no adjectives of ours: "une photo de ...".
        *("avec", "con", "de", "del", "della", "des", "di", "du", "ein", "eine", "einer", "el"),
        *("en", "et", "im", "la", "las", "le", "les", "los", "mit", "par", "por", "un", "una"),
        *("und", "une", "vom", "von"),
    )
)
# Verbs whose object a name behind them is; those in -ing and -s are known by their ends.
VERBS = frozenset(
    (
        *("breathe", "chase", "chased", "create", "depict", "draw", "drew", "drink", "eat", "find"),
        *("found", "generate", "give", "hear", "held", "hold", "hug", "hugged", "imagine", "kiss"),
        *("kissed", "love", "loved", "made", "make", "meet", "met", "need", "paint", "painted"),
        *("ride", "rode", "saw", "see", "show", "showed", "smell", "want", "watch", "watched"),
    )
)
# Those in -ing that are more often an adjective: "a big sleeping cat".
ADJECTIVES_IN_ING = frozenset(
    (
        *("amazing", "barking", "blushing", "burning", "charming", "crying", "dancing", "dying"),
        *("falling", "floating", "flying", "glowing", "grinning", "growling", "howling", "jumping"),
        *("laughing", "living", "lying", "meowing", "purring", "roaring", "running", "screaming"),
        *("shining", "singing", "sitting", "sleeping", "smiling", "standing", "striking"),
        *("stunning", "swimming", "walking", "yawning", "young-looking"),
    )
)
COLOURS = frozenset(
    (
        *("black", "blue", "brown", "gold", "golden", "gray", "green", "grey", "orange", "pink"),
        *("purple", "red", "silver", "white", "yellow"),
    )
)
# What a picture is called, and what else it can be.
PICTURES = (
    *("artwork", "art", "drawing", "etching", "illustration", "image", "painting", "photo"),
    *("photograph", "picture", "portrait", "poster", "print", "sketch", "work"),
)
MEDIA = (
    *(*PICTURES, "animation", "anime", "cartoon", "cgi", "claymation", "clipart", "collage"),
    *("comic", "engraving", "film", "footage", "fresco", "graffiti", "hdr", "lithograph", "manga"),
    *("mosaic", "mural", "origami", "polaroid", "render", "rendering", "scan", "screenshot"),
    *("sculpture", "tapestry", "ukiyo-e", "vhs", "video", "watercolor", "watercolour", "woodcut"),
)
MOVEMENTS = (  # and what ends in -ism
    *("bauhaus", "baroque", "rococo", "renaissance", "gothic", "cyberpunk", "noir", "steampunk"),
    *("synthwave", "ukiyo-e", "vaporwave"),
)
CALLED = frozenset(form for word in MEDIA for form in (word, *plurals(word)))
MEDIUM = (
    rf"(?:work\s+of\s+art|(?:(?:acrylic|charcoal|ink|oil|pencil|self|watercolou?r)[-\s]+)?"
    rf"(?:{'|'.join(MEDIA)}|design))"
)
PARTICLES = (  # of names, without a capital
    *("al", "bin", "da", "de", "del", "della", "den", "der", "di", "du", "la", "le", "of", "ten"),
    *("ter", "the", "van", "von", "y"),
)
MAKERS = ("artist", "painter", "photographer", "illustrator", "person", "somebody")
# What is somebody's, or of a movement: "by Vincent van Gogh", "in the style of Cubism".
BY = (
    r"(?:(?:as\s+)?(?:created|designed|directed|done|drawn|illustrated|inspired|made|painted|"
    r"photographed|rendered|sketched)\s+)?(?:by(?:\s+the)?(?:\s+famous|\s+great)?"
    r"(?:\s+(?:artist|illustrator|painter|photographer))?|"
    r"(?:in\s+)?(?:(?:a|the)\s+(?:\w+\s+)?)?(?:manner|style)\s+of)\s+"
)
# "the works of ..."; not "a painting of ..."
OF = r"(?:(?<=art\s)|(?<=design\s)|(?<=designs\s)|(?<=work\s)|(?<=works\s))of\s+"
MADE = re.compile(rf"(?<!\w){MEDIUM}(?P<several>s?),?\s+(?:{BY}|{OF})$", re.IGNORECASE)
SHOWN_BY = re.compile(  # "a painting of a cat by ..."
    rf"(?<!\w){MEDIUM}(?P<several>s?)(?P<shown>\s+(?:of|showing|with)\s[^,;.:]*?),?\s+{BY}$",
    re.IGNORECASE,
)
CALLED_MAKER = re.compile(  # "the artist ..."
    r"(?<!\w)(?:(?:an?|the)\s+)?(?:(?:famous|great)\s+)?"
    r"(?:artist|illustrator|painter|photographer)\s+$",
    re.IGNORECASE,
)
BESIDE_MAKERS = re.compile(rf"(?<!\w){BY}[^;.:]*?(?:,|(?<!\w)and|&)\s+$", re.IGNORECASE)
MADE_BY = re.compile(rf"[,;]?\s*(?<!\w){BY}$", re.IGNORECASE)
BY_FIRST = re.compile(rf"(?<!\w){BY}(?P<first>(?:[\w.'\u2019-]+\s+){{1,3}})$", re.IGNORECASE)
# What a person is called before the name, and is not any more once the name is gone: "former
# president", "movie star", "King of Pop".
TITLES = (
    *("mr", "mrs", "ms", "miss", "mx", "dr", "prof", "st", "sir", "dame", "lord", "lady"),
    *("professor", "doctor", "saint", "king", "queen", "prince", "princess", "emperor"),
    *("empress", "duke", "duchess", "pope", "rabbi", "imam", "president", "president-elect"),
    *("pres", "minister", "senator", "governor", "mayor", "chairman", "chairwoman"),
    *("chancellor", "dictator", "secretary", "judge", "justice", "captain", "colonel"),
    *("general", "actor", "actress", "artist", "athlete", "author", "billionaire", "boxer"),
    *("businessman", "businesswoman", "celebrity", "ceo", "champion", "chef", "coach"),
    *("comedian", "composer", "dancer", "director", "footballer", "founder", "golfer", "host"),
    *("influencer", "journalist", "leader", "legend", "model", "musician", "painter"),
    *("philosopher", "physicist", "player", "poet", "politician", "producer", "rapper"),
    *("scientist", "singer", "star", "wrestler", "writer", "ex", "former", "late"),
)
ROLE = (
    r"(?:(?:(?:\w+ball|ex|film|first|movie|pop|prime|rock|then|tv|u\.?[ks]\.?|vice)[-\s]+){0,2}"
    rf"(?:{'|'.join(TITLES)}|\d+(?:st|nd|rd|th))(?:\.|(?!\w)))"
)
ROLES = re.compile(rf"(?<!\w)(?:{ROLE}(?:,|\s+and|\s*[&/])?\s*)*{ROLE}\s+$", re.IGNORECASE)
OFFICE = re.compile(rf"(?<!\w){ROLE}\s+of(?:\s+the)?(?:\s+(?-i:[A-Z])[\w.-]+)+\s+$", re.IGNORECASE)
SURNAME = re.compile(r"\s+(?P<last>[A-Z][\w-]+)(?!\s+[A-Z])(?![\w-])")
# First names as they are typed without a capital, of people who are often named by their last.
FORENAMES = frozenset(
    (
        *("adolf", "albert", "alfred", "alphonse", "andrew", "andy", "angela", "anna", "anthony"),
        *("barack", "ben", "bernie", "boris", "brad", "britney", "caspar", "charles", "chris"),
        *("claude", "daniel", "david", "diego", "donald", "edgar", "edvard", "edward", "elizabeth"),
        *(
            "elon",
            "emma",
            "eric",
            "francis",
            "francisco",
            "frida",
            "friedrich",
            "george",
            "georgia",
        ),
        *("greg", "gregory", "gustav", "gustave", "hans", "harry", "henri", "henry", "hillary"),
        *(
            "jackson",
            "jacob",
            "james",
            "jan",
            "jean",
            "jeff",
            "jennifer",
            "joe",
            "johannes",
            "john",
        ),
        *("joseph", "julia", "karl", "kate", "keith", "kim", "leonardo", "louis", "lucian", "marc"),
        *("margaret", "maria", "marilyn", "mary", "matthew", "michael", "nicolas", "pablo", "paul"),
        *("peter", "pierre", "piet", "rene", "richard", "robert", "roy", "salvador", "sandro"),
        *("sarah", "scarlett", "steve", "steven", "taylor", "theresa", "thomas", "tim", "tom"),
        *("tyler", "vincent", "vladimir", "wassily", "william", "winston", "yayoi"),
    )
)
# What has a capital as the first word or in a title, and is no name.
ADJECTIVAL = ("able", "ful", "ing", "ish", "istic", "less", "ous", "some")
APART = ("angry", "big", "cute", "happy", "new", "old", "real", "sad", "young")
# An adjective before another one: "a young, nude woman"; but "a bed, nude woman".
APART_BY_COMMA = re.compile(
    rf"(?<!\w)({'|'.join(APART)}|pretty|sexy|\w+(?:ful|ish|less|ous)),\s+$", re.IGNORECASE
)
SOMEBODY = ("body", "figure", "human", "individual", "model", "people", "person", "somebody")
PEOPLE = (
    *("adult", "body", "boy", "child", "couple", "female", "figure", "girl", "guy", "human"),
    *("individual", "lady", "male", "man", "model", "person", "woman"),
)
SOME_PEOPLE = "|".join(sorted({f for w in PEOPLE for f in (w, *plurals(w))}, reverse=True))
COMPOUND = re.compile(r"\w[-\u2010\u2011]$|_$")  # "a robot-", before "cat"
HOW_FAR = (  # adverbs of "nude"
    *("almost", "artistically", "barely", "completely", "entirely", "fully", "half", "mostly"),
    *("nearly", "partially", "partly", "practically", "semi", "tastefully", "totally", "very"),
)
# What goes with explicit content: "half-", "fully ".
HALF = re.compile(rf"(?:\w+[-\u2010\u2011]|\b(?:{'|'.join(HOW_FAR)})\s+)$", re.IGNORECASE)
APOSTROPHE = "['\u2018\u2019\u02bc]"  # typed, and printed
QUOTED = re.compile(r"(?<!\w)['\u2018]")  # an apostrophe that opens a quotation
IN_A = re.compile(r"(?<!\w)in\s+(?:(?:an?|the)\s+)?$", re.IGNORECASE)
IS = re.compile(r"(?<!\w)(?:is|are|was|were|being|been)$", re.IGNORECASE)
STYLED = re.compile(r"\s+styles?$", re.IGNORECASE)
# What is several behind a thing's name: "cat ears" is no "a cat" and ears.
PARTS = (
    *("antlers", "claws", "clothes", "ears", "eyes", "feathers", "feet", "fins", "footprints"),
    *("hands", "hooves", "horns", "legs", "paws", "pawprints", "scales", "stripes", "teeth"),
    *("tusks", "whiskers", "wings", "kittens", "lovers", "owners", "players", "puppies"),
    *("arches", "bells", "candles", "doors", "pews", "pillars", "roofs", "spires", "steeples"),
    *("walls", "windows", "engines", "headlights", "propellers", "sails", "strings", "tires"),
    *("tyres", "wheels", "beans", "branches", "leaves", "petals", "seeds", "boots", "costumes"),
    *("gloves", "helmets", "shoes", "toys"),
)
# And what is not counted: "cat food" is no "a cat" and food.
BARE_COMPOUND = re.compile(
    rf"\s+(?:{'|'.join((*PARTS, *sorted(UNCOUNTED)))}|{SEVERAL})(?!\w)", re.IGNORECASE
)
ADJECTIVES = 4  # at most, between an article and the name; "and" is counted


def replaced(names: Sequence[str], replacement: str, prompt: str, kind: str = "object") -> str:
    """`prompt` with `replacement` wherever it has one of `names`; the bare replacement if it has
    none.

    The article before a name goes, as the replacement brings its own; other determiners stay ("this
    cat", "this dog"), and so does one before adjectives ("an old cat", "an old dog"). Where the
    replacement has none, a style keeps the prompt's: "a sketch of a cat" becomes "a photo of a
    cat"; and "a picture by somebody" becomes what is no maker's. Words that the replacement begins
    with are not said twice ("a cup of coffee", "a cup of tea"; "a coffee cup"), and what a thing is
    held in goes with it ("a cup of coffee", "a rocket").

    Args:
        names: What the concept is called.
        replacement: What should appear instead, with its article.
        prompt: What is rewritten.
        kind: The concept's. With a likeness go titles, roles and first names ("actor ..."), with a
            maker of a style first names; explicit content is also an adjective of people ("a nude
            woman", "a clothed woman").
    """
    parts, position = [], 0
    for mention in mentions(names, prompt):
        if mention.begin < position:  # "Elvis Presley" is gone with "Elvis"
            continue
        before, said = prompt[position : mention.begin], prompt[mention.begin : mention.end]
        if kind == "style" and IN_A.search(before):  # "in Pixar style" becomes "in photo style"
            said = STYLED.sub("", said)
        after = prompt[mention.begin + len(said) :]
        taken, phrase, several = _with_what_follows(replacement, after, kind, names[0])
        plural, after = mention.plural or several, after[len(taken) :]
        if kind in ("likeness", "style"):
            before = _without_forenames(before, STYLED.sub("", said), kind)
        put = _put(before, phrase, plural, kind, after)
        owned, ending = _owner(prompt[: mention.begin], f"{said}{taken}", put, after)
        parts.append(f"{put}{ending}")
        position = mention.begin + len(said) + len(taken) + len(owned)
    return "".join(parts) + prompt[position:] if parts else replacement


def _with_what_follows(replacement: str, after: str, kind: str, name: str) -> tuple[str, str, bool]:
    """The beginning of `after` that goes with a name, what stands in the place of both, and whether
    that is several.
    """
    if kind == "explicit" and (person := _person_after(replacement, after)):
        return person
    if kind == "style" and not _is_maker(_split(replacement)[1]):
        return _work_after(replacement, after, name)
    alone = kind == "likeness" and is_name(name) and " " not in name
    if alone and (surname := SURNAME.match(after)) and _is_forename(surname["last"]):
        return surname.group(), replacement, False
    if again := _said_again(replacement, after):
        return again
    held = _container_after(replacement, after)
    return held, replacement, re.search(rf"(?:{SEVERAL})$", held, re.IGNORECASE) is not None


def _said_again(replacement: str, after: str) -> tuple[str, str, bool] | None:
    """Of what is replaced by what it is one of, "Nike" by "a plain shoe": " shoe", which goes with
    the name, and whether that is several.
    """
    _, noun, rest = headed(_split(replacement)[1])
    forms = sorted({noun, *plurals(noun)}, key=len, reverse=True)
    found = re.match(rf"\s+({'|'.join(map(re.escape, forms))})(?!\w)", after, re.IGNORECASE)
    if rest or not found:
        return None
    return found.group(), replacement, found[1].casefold() != noun.casefold()


def _without_forenames(before: str, said: str, kind: str) -> str:
    """`before` without the names and titles at its end, which go with a person's or a maker's name:
    "Vincent ", "vincent ", "Chairman "; "Photo ", which only begins a sentence, stays.
    """
    first = re.search(r"(?<![\w-])[^\W\d_]+\s+$", before)
    if first and first.group().rstrip() in FORENAMES and not is_medium(said):
        return before[: first.start()]
    made = BY_FIRST.search(before) if kind == "style" and not is_medium(said) else None
    if made and FUNCTION_WORDS.isdisjoint(made["first"].casefold().split()):
        return before[: made.start("first")]
    # "Claude Monet", "Low Poly": a capital before it is more likely no first name.
    whole = len([word for word in said.split() if word.casefold() not in PARTICLES]) > 1
    if not is_name(said) or (whole and kind == "style"):
        return before
    kept = OFFICE.sub("", before)
    for word in reversed([*re.finditer(r"[\w.'\u2019-]+", kept)]):
        title = kind == "likeness" and word.group().casefold() in TITLES  # goes with its role
        begins = whole and not word.start()
        if title or begins or not _is_forename(word.group()) or not kept[word.end() :].isspace():
            break
        kept = kept[: word.start()]
    return kept


def _is_forename(word: str) -> bool:
    """Whether a word is written as a name, and is no word that has a capital for another reason."""
    folded = word.casefold()
    ends = len(word) > len("Sen.") and word.endswith(".")  # a sentence
    return word == "US" or (
        word[0].isupper()
        and not (
            ends
            or _determines(word)
            or is_medium(word)
            or folded in (FUNCTION_WORDS | VERBS | COLOURS)
            or folded in APART
            or folded.endswith(ADJECTIVAL)
        )
    )


def _owner(before: str, said: str, put: str, after: str) -> tuple[str, str]:
    """The "'s" or "'" at the beginning of `after` by which `said` owns what follows, and how `put`
    ends in its place: "the cats' tails", "men's tails".
    """
    found = re.match(rf"({APOSTROPHE})(s?)(?!\w)", after, re.IGNORECASE)
    closes = found and not found[2] and (QUOTED.search(before) or said[-1:].casefold() != "s")
    if not found or closes:
        return "", ""
    several = put.endswith("s") and is_many(put)
    return found.group(), f"{found[1]}{'' if several else 's'}"


def _person_after(replacement: str, after: str) -> tuple[str, str, bool] | None:
    """Of an adjective of people, "nude": whom it is said of, and what they are instead. "A person
    wearing clothes" leaves a woman a woman, "a landscape" none.
    """
    pattern = rf"\s+(?P<noun>(?:[\w-]+\s+){{0,2}}?(?:{SOME_PEOPLE}))(?!\w)"
    found = re.match(pattern, after, re.IGNORECASE)
    if not found or not FUNCTION_WORDS.isdisjoint(found["noun"].casefold().split()):
        return None
    article, instead = _split(replacement)
    before, head, rest = headed(instead)
    if head.casefold() not in SOMEBODY:
        return found.group(), replacement, is_many(found["noun"])
    noun = f"{before}{found['noun']}{rest}"
    return found.group(), f"{article and indefinite(noun)} {noun}".strip(), is_many(found["noun"])


def _work_after(replacement: str, after: str, name: str) -> tuple[str, str, bool]:
    """Of a maker's name: "'s famous painting", and what stands in the place of both."""
    owned = rf"{APOSTROPHE}s?(?!\w)"
    owner = rf"(?:{owned})?" if _is_maker(name) or is_movement(name) else owned
    like = r"(?:[-\s]+(?:styled?|inspired))?\s+(?P<like>(?:\w+\s+){0,2}?)"
    found = re.match(rf"{owner}{like}{MEDIUM}(?P<several>s?)(?!\w)", after, re.IGNORECASE)
    article, noun = _split(replacement)
    if found and FUNCTION_WORDS.isdisjoint(found["like"].casefold().split()):
        noun = f"{found['like']}{noun}"
        phrase = f"{article and indefinite(noun)} {noun}".strip()
        return found.group(), phrase, bool(found["several"])
    if STYLED.search(f" {noun}") and (
        styled := re.match(rf"(?:{owned})?\s+styles?(?!\w)", after, re.IGNORECASE)
    ):
        return styled.group(), replacement, False
    if possessive := re.match(owned, after):
        of_it = re.match(
            r"\s+(?!(?:[\w-]+\s+)?styles?\b)\w", after[possessive.end() :], re.IGNORECASE
        )
        return possessive.group(), f"{replacement} of" if of_it else replacement, False
    return "", replacement, False


def _put(before: str, phrase: str, plural: bool, kind: str, after: str) -> str:
    """The words before a name and what stands in its place."""
    _, noun = _split(phrase)
    style = kind == "style"
    if kind == "explicit":
        before = APART_BY_COMMA.sub(r"\1 ", HALF.sub("", before))
    if COMPOUND.search(before) or before[-1:].isalpha():  # of scripts without spaces
        return f"{before}{many(noun) if plural else noun}"
    if held := "" if style else _held(before, phrase):  # "a cup of coffee, sketch" is of coffee
        return held
    kept, counted = _without_repeated(before, noun)
    plural = plural or counted
    if plural and is_uncounted(noun):
        kept = COUNTED.sub("", kept)
    if kind == "likeness":
        kept = ROLES.sub("", kept)
    if style and not _is_maker(noun):
        kept = CALLED_MAKER.sub("", kept)
    if style and not _is_maker(noun) and (made := _not_made(kept, phrase, plural, after)):
        return made
    if not style and not plural and BARE_COMPOUND.match(after):
        return f"{kept}{noun}"
    if plural:
        return _put_several(kept, noun)
    return _put_style(kept, phrase, after) if style else _put_one(kept, phrase)


def _put_several(kept: str, noun: str) -> str:
    return f"{_without_last(kept) if _last(kept) in ARTICLES else kept}{many(noun)}"


def _put_style(kept: str, phrase: str, after: str) -> str:
    article, noun = _split(phrase)
    if not _is_maker(noun) and BESIDE_MAKERS.search(kept):
        return f"{kept}{noun}"
    if (last := _last(kept)) in ARTICLES:
        if not article and _takes_article(noun):
            phrase = f"{'the' if last == 'the' else indefinite(noun)} {noun}"
        return f"{_without_last(kept)}{phrase}"
    noun = _of_some(last, noun)
    determined, begins = _adjectives(kept)
    if determined or re.match(r"\s+styles?\b", after, re.IGNORECASE):
        return f"{kept if article or _takes_article(noun) else _uncounted(kept)}{noun}"
    return _beside_adjectives(kept, begins, phrase, noun)


def _put_one(kept: str, phrase: str) -> str:
    article, noun = _split(phrase)
    if (last := _last(kept)) in ARTICLES:
        return f"{_without_last(kept)}{phrase}"
    noun = _of_some(last, noun)
    determined, begins = _adjectives(kept)
    if determined:
        return f"{kept if article else _uncounted(kept)}{noun}"
    return _beside_adjectives(kept, begins, phrase, noun)


def _last(text: str) -> str:
    words = text.split()
    return words[-1].casefold() if words else ""


def _without_last(text: str) -> str:
    """`text` up to its last word."""
    return text[: text.rstrip().rfind(text.split()[-1])]


def _of_some(last: str, noun: str) -> str:
    """After "some", a noun that is not counted: "some tea", not "some cup of tea"."""
    return noun.rpartition(" of ")[2] if last == "some" and _is_container(noun) else noun


def _beside_adjectives(kept: str, begins: int, phrase: str, noun: str) -> str:
    """`phrase` after `kept`, whose adjectives begin there: its article stands before these."""
    article, like = _split(phrase)[0], kept[begins:]
    if not article or not like:
        return f"{kept}{phrase}"
    return f"{kept[:begins]}{'the' if article == 'the' else indefinite(like)} {like}{noun}"


def _not_made(kept: str, phrase: str, plural: bool, after: str) -> str:
    """The words before a maker's name and what is no maker in its place, where they say that it
    made something, "a painting of a cat by ..."; nothing where they do not. Where another maker
    follows, "by ... and Alphonse Mucha", the bare noun stands in the list.
    """
    if MADE_BY.search(kept) and _goes_on_with_maker(after):
        return f"{kept}{_split(phrase)[1]}"
    if made := MADE.search(kept) or SHOWN_BY.search(kept):
        several, shown = plural or bool(made["several"]), made.groupdict().get("shown", "")
        return f"{_put(kept[: made.start()], phrase, several, 'style', after)}{shown}"
    if not (by := MADE_BY.search(kept)):
        return ""
    before = kept[: by.start()]
    if IS.search(before):
        return f"{before} {phrase}"
    return f"{_apart(before)}{_split(phrase)[1]}" if before else phrase


def _goes_on_with_maker(after: str) -> bool:
    """Whether a list of names goes on: " and Alphonse Mucha", " and alphonse mucha"."""
    found = re.match(r"\s*(?:\band|&|,)\s+(?P<next>[\w.'\u2019-]+)\s+[\w'\u2019-]+", after)
    return found is not None and (
        found["next"] in FORENAMES or is_name(" ".join(found.group().split()[-2:]))
    )


def _apart(text: str) -> str:
    """`text` with what parts a picture's style from it: "a cat, "."""
    if not text or text[-1] in "([":
        return text
    return f"{text}, " if text[-1].isalnum() else f"{text} "


def _split(phrase: str) -> tuple[str, str]:
    """Article and the rest; the article is empty where there is none."""
    first, _, rest = phrase.partition(" ")
    return (first, rest) if rest and first.casefold() in ARTICLES else ("", phrase)


def _without_shared(before: str, noun: str) -> str | None:
    """`before` without the words at its end with which `noun` begins; None where there are none."""
    shared = noun.split()
    for n in range(len(shared) - 1, 0, -1):
        words = r"\s+".join(map(re.escape, shared[:n]))
        if found := re.search(rf"{ARTICLED}{words}\s+$", before, re.IGNORECASE):
            return before[: found.start()]
    return None


def _without_repeated(before: str, noun: str) -> tuple[str, bool]:
    """`before` without what `noun` says itself, or "a cup of", at its end; and whether that was
    several.
    """
    if found := re.search(rf"{ARTICLED}(?:{SEVERAL})\s+of\s+$", before, re.IGNORECASE):
        return before[: found.start()], True
    kept = _without_shared(before, noun)
    if kept is not None:
        return kept, False
    return re.sub(rf"{ARTICLED}(?:{HOLDING})\s+of\s+$", "", before, flags=re.IGNORECASE), False


def _uncounted(before: str) -> str:
    """`before` without the "a" or "one" of a noun that its end goes on with, "a large "."""
    found = re.fullmatch(
        r"(.*(?<!\w))(?:an?|one)\s+((?:[\w-]+\s+)*)", before, re.IGNORECASE | re.DOTALL
    )
    if not found or not FUNCTION_WORDS.isdisjoint(found[2].casefold().split()):
        return before
    return f"{found[1]}{found[2]}"


def _held(before: str, phrase: str) -> str:
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
    article, noun = _split(phrase)
    if _is_container(noun):
        return f"{before}{noun.partition(' of ')[2]}"
    several = found["container"].casefold() not in CONTAINERS
    kept = before[: found.start()]
    return f"{kept if article else _uncounted(kept)}{many(noun) if several else noun}"


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
    named = is_name(noun) and not is_movement(noun)
    return named or noun.split()[-1].casefold() in MAKERS


def _takes_article(noun: str) -> bool:
    """Whether a noun that has none may have one: "photo"; not "art", "realism", "baroque"."""
    return not is_uncounted(noun) and (is_medium(noun) or not is_movement(noun))


def is_medium(phrase: str) -> bool:
    """Whether a phrase's last word is what a picture is called: "oil painting", "sketches"."""
    return phrase.casefold().split()[-1] in CALLED


def is_movement(style: str) -> bool:
    """Whether a style is a movement or a period of art, which nobody painted: Cubism, Pop Art."""
    words = style.casefold().split()
    return (len(words) > 1 and "art" in words) or any(
        word in MOVEMENTS or word.endswith("ism") for word in words
    )


def is_name(phrase: str) -> bool:
    """Whether a phrase is written as a maker's name: with capitals, or in a script that has none,
    and no medium, "VHS footage".
    """
    words = [word for word in phrase.split() if word not in PARTICLES]
    if not words or is_medium(words[-1]):
        return False
    return all(word[0].isupper() or word.upper() == word.lower() for word in words)


def _adjectives(kept: str) -> tuple[bool, int]:
    """Whether what follows `kept` goes on with a noun that has its article or another determiner
    already, "an old ...", "this ..."; and where the adjectives of one that has none begin. Where
    that cannot be told, "cute and fluffy ...", the noun stands as if it had one.
    """
    words = [*re.finditer(r"\S+", kept)]
    first, begins, bare = max(0, len(words) - ADJECTIVES - 1), len(kept), True
    for i in reversed(range(first, len(words))):
        word = words[i].group()
        folded, former = word.casefold(), words[i - 1].group() if i else ""
        if _determines(word):
            return True, begins
        if folded in SUBJECTS:
            return False, len(kept)
        inner = i < len(words) - 1
        if inner and folded in ("and", "or"):  # "an orange and white ..."
            if bare and former and former.casefold() not in COLOURS:
                return True, begins
            bare = bare and bool(former)
            continue
        if inner and folded.endswith(","):  # "a big, red ..."
            word, bare = word[:-1], False
        if _ends_noun(word, former):
            break
        bare = bare and folded not in PICTURES
        begins = words[i].start() if bare else begins
    else:
        return first > 0, begins
    return False, begins


def _determines(word: str) -> bool:
    """Whether `word` is the article, count or owner of the noun behind it: "a", "1", "Anna's"."""
    folded = word.casefold()
    if folded in ARTICLES or folded in DETERMINERS or folded in COUNTS or folded.isdecimal():
        return True
    owner = re.search(rf"\w{APOSTROPHE}s?$", folded) is not None
    return owner and re.sub(APOSTROPHE, "'", folded) not in FUNCTION_WORDS


def _ends_noun(word: str, former: str) -> bool:
    """Whether a noun's own words begin behind `word`, which `former` is before: a verb or a
    preposition, but "a sleeping ...", "a curious ...", "a Christmas ...".
    """
    folded = re.sub(APOSTROPHE, "'", word.casefold())
    if folded in FUNCTION_WORDS or not folded[-1:].isalnum() or not _is_latin(word):
        return True
    if _determines(former) or folded in ADJECTIVES_IN_ING:
        return False
    if folded.endswith("s"):
        return word == folded and not folded.endswith(("ous", "ss")) and folded != "sports"
    return folded in VERBS or folded.endswith("ing")


def _is_latin(word: str) -> bool:
    return all(unicodedata.name(c, "").startswith("LATIN") for c in word if c.isalpha())
