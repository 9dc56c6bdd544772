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
    "ox": "oxen",
    "louse": "lice",
    "die": "dice",
    "cactus": "cacti",
    "fungus": "fungi",
    "oasis": "oases",
}
# Whose compounds are irregular too: grandchild, salesperson.
COMPOUNDED = {one: IRREGULAR[one] for one in ("child", "person", "tooth")}
UNCHANGED = (  # their compounds too: reindeer, jellyfish
    *("sheep", "deer", "fish", "moose", "bison", "salmon", "trout", "swine"),
    *("aircraft", "spacecraft", "hovercraft"),
)
MANY = ("cattle", "police")  # several without an ending
NO_MEN = ("human", "german", "roman", "shaman", "talisman", "ottoman", "caiman")
WITH_VES = (  # their compounds too: werewolf, bookshelf, midwife
    *("wolf", "calf", "half", "knife", "leaf", "life", "loaf", "shelf", "thief", "wife", "elf"),
)
WITH_OES = (  # their compounds too: superhero
    *("hero", "potato", "tomato", "echo", "torpedo", "tornado", "volcano", "mosquito", "buffalo"),
)
# Plurals of nothing: what their words without the ending say is another thing.
NO_SEVERAL = (
    *("arms", "briefs", "customs", "dice", "glasses", "goods", "jeans", "means", "news"),
    *("overalls", "pants", "shorts", "spirits", "tights", "woods"),
)
ONE_IN_S = frozenset(  # besides those in -ss, -us and -is
    (
        *("alias", "atlas", "biceps", "canvas", "christmas", "cosmos", "cyclops", "lens"),
        *("pancreas", "rhinoceros", "thermos", "triceps", "triceratops"),
    )
)
# What ends in -is as one mostly does, and is several.
SEVERAL_IN_IS = tuple(
    f"{one}s"
    for one in (
        *("alibi", "bikini", "emoji", "israeli", "jacuzzi", "kiwi", "martini", "nazi", "pakistani"),
        *("rabbi", "safari", "samurai", "sari", "ski", "taxi", "tsunami", "yeti", "yogi"),
        "zucchini",
    )
)
# Nouns that are not counted and take no "a", of what pictures show: by the classes of
# masteringarticles.com/uncountable-noun-classification; without those that are counted as often
# ("a fire", "a beer", "a glass").
UNCOUNTED = frozenset(
    (
        *("air", "fog", "gas", "mist", "oxygen", "smog", "smoke", "steam", "vapor", "vapour"),
        *("ash", "bacon", "barley", "beef", "bread", "broccoli", "butter", "celery", "confetti"),
        *("corn", "couscous", "dirt", "dust", "flour", "food", "garlic", "grass", "gravel"),
        *("honey", "jam", "lettuce", "meat", "mud", "mustard", "pasta", "popcorn", "pork"),
        *("rice", "salt", "sand", "seaweed", "soil", "spaghetti", "spinach", "sugar", "sushi"),
        *("tofu", "wheat", "yogurt", "chocolate", "cheese"),
        *("gold", "silver", "copper", "bronze"),
        *("bamboo", "clay", "coal", "concrete", "cotton", "denim", "fur", "ivory", "lace"),
        *("leather", "metal", "plastic", "satin", "silk", "steel", "velvet", "wood", "wool"),
        *("amber", "jade", "porcelain", "skin", "hair", "moss", "ivy", "foliage"),
        *("cannabis", "cocaine", "gunpowder", "heroin", "marijuana", "tobacco"),
        *("alcohol", "blood", "champagne", "coffee", "gasoline", "gore", "ice", "ink", "juice"),
        *("ketchup", "lava", "milk", "oil", "petrol", "saliva", "slime", "sweat", "tea"),
        *("tequila", "urine", "vodka", "vomit", "water", "whiskey", "whisky", "wine"),
        *("ammunition", "armor", "armour", "art", "baggage", "cash", "clothing", "equipment"),
        *("footwear", "furniture", "garbage", "graffiti", "jewellery", "jewelry", "litter"),
        *("lingerie", "luggage", "machinery", "makeup", "money", "mail", "nudity", "pornography"),
        *("rubbish", "swimwear", "traffic", "trash", "underwear", "violence", "weaponry"),
        *("frost", "hail", "lightning", "moonlight", "rain", "scenery", "sleet", "snow"),
        *("starlight", "sunlight", "sunshine", "thunder", "vegetation", "weather", "wildlife"),
        *("archery", "badminton", "boxing", "chess", "golf", "hockey", "poker", "rugby"),
        *("soccer", "tennis"),
        *("advice", "asparagus", "evidence", "homework", "information", "macaroni", "music"),
        *("poetry", "research", "software", "toast"),
        *("cannibalism", "pollution", "propaganda", "racism", "self-harm", "slavery", "smoking"),
        *("terrorism", "torture", "vandalism", "warfare"),
    )
)
FOREIGN = (  # how other plurals are written besides, also wrongly: "busses", "donkies"
    (r"(?<=[aeiou])([sz])$", r"\1\1es"),
    (r"ey$", "ies"),
    (r"(?<=\w{3}a)$", "e"),
    (r"(?<=\w{4})um$", "a"),
    (r"(?<=\w[sx])is$", "es"),
    (r"(?<=\w{3})[ei]x$", "ices"),
    (r"eau$", "eaux"),
)
COUNTED_ISMS = ("mechanism", "organism", "prism")
ARTICLES = ("a", "an", "the")
# Words that stay where they are, with the bare noun: "this cat" becomes "this dog".
DETERMINERS = (
    *("this", "that", "these", "those", "my", "your", "his", "her", "its", "our", "their", "whose"),
    *("no", "each", "every", "any", "another", "one", "some", "which", "what", "either", "neither"),
)
SUBJECTS = ("i", "he", "she", "we", "they", "you", "it", "who")  # a verb follows
# Words of the grammar, which name nothing: "it", "who", "us".
GRAMMAR = frozenset(
    (
        *("a", "an", "and", "as", "at", "be", "beside", "by", "for", "from", "in", "into", "is"),
        *("like", "near", "of", "on", "or", "over", "the", "to", "under", "with", "without"),
        *("about", "above", "across", "after", "against", "along", "among", "around", "before"),
        *("behind", "below", "beneath", "between", "beyond", "during", "except", "inside", "off"),
        *("onto", "out", "outside", "past", "per", "through", "toward", "towards", "up", "upon"),
        *("versus", "vs", "via", "within", "but", "if", "not", "nor", "so", "than", "then"),
        *("when", "where", "while", "am", "are", "been", "being", "was", "were", "has", "have"),
        *("had", "do", "does", "did", "can", "could", "may", "must", "shall", "should", "will"),
        *("would", "me", "him", "us", "them", "it's", "that's", "here's", "there's", "he's"),
        *("she's", "let's", "what's", "who's", *SUBJECTS, *DETERMINERS),
    )
)
# What follows the noun that a phrase is about: "man in a suit", "woman sitting on a chair".
AFTER_HEAD = re.compile(
    r" (?:of|in|on|at|with|without|by|from|for|to|near|under|over|behind|beside|between|as|"
    r"who|whose|that|which|wearing|holding|carrying|next to|dressed(?= in| as)|made(?= of| from)|"
    r"(?:sitting|standing|lying|walking|running|riding|playing|eating|drinking|reading|looking|"
    r"sleeping|dancing|smiling)(?= (?:an?|the|his|her|their|in|on|at|with|by|near|under)\b|$))"
    r"(?!\w)",
    re.IGNORECASE,
)
# What begins with a vowel's letter and not with its sound, and the reverse.
SAID_WITH_CONSONANT = re.compile(
    r"uni(?![nm]|dent)|unanim|us[eu]|ut[eio]|ur[aeiou]|ubiq|ufo|ugand|uk|eu|u-|ouija|"
    r"uygh|(ewe|ones?|onesie|once)(?!\w)"
)
SAID_WITH_VOWEL = re.compile(  # "Xbox", "NVIDIA", but not "Mr", which is said in full
    r"hour|honest|hono|heir|8|1[18](?!\d)|[fhlmnrsx](?=-|\d)|(?:[ln]|x)(?=[bcdfgkmpqtvwxz])"
)
# Capitals that are said letter by letter, "TV", "UFO"; not "NASA".
INITIALS = re.compile(r"(?:[A-Z]{1,3}|[B-DF-HJ-NP-TV-Z]+)(?![^\W\d_])")
SAID_AS_VOWEL = "AEFHILMNORSX"  # a letter alone


def indefinite(noun: str) -> str:
    """The article that `noun` takes by its sound: "an" hour, "a" unicorn, "a" UFO."""
    if INITIALS.match(noun):
        return "an" if noun[0] in SAID_AS_VOWEL else "a"
    plain = unicodedata.normalize("NFKD", noun).casefold()
    if SAID_WITH_CONSONANT.match(plain):
        return "a"
    return "an" if plain.startswith((*"aeiou",)) or SAID_WITH_VOWEL.match(plain) else "a"


def headed(phrase: str) -> tuple[str, str, str]:
    """What stands before the noun that a phrase is about, the noun, and what follows it: "old ",
    "man", " in a suit".
    """
    after = AFTER_HEAD.search(phrase)
    end = after.start() if after else len(phrase)
    before, blank, noun = phrase[:end].rpartition(" ")
    return f"{before}{blank}", noun, phrase[end:]


def many(phrase: str) -> str:
    """The plural of a phrase: of the noun that it is about, "men in a suit"; what is not counted
    has none, "water".
    """
    if is_uncounted(phrase):
        return phrase
    before, noun, after = headed(phrase)
    return f"{before}{_plural(noun)}{after}"


def is_many(phrase: str) -> bool:
    """Whether what a phrase is about is written as a plural: "cats", "people"; not "bus" and not
    "lens".
    """
    noun = headed(phrase.casefold())[1]
    in_is = noun.endswith("is") and not noun.endswith(SEVERAL_IN_IS)
    one = in_is or noun.endswith(("ss", "us")) or noun in ONE_IN_S
    return (noun.endswith("s") and not one) or _is_irregular(noun)


def _is_irregular(noun: str) -> bool:
    """Whether a noun in lower case is several without an -s: "people", "grandchildren"."""
    several = (*IRREGULAR.values(), *MANY)
    return noun in several or noun.endswith(tuple(COMPOUNDED.values()))


def is_uncounted(phrase: str) -> bool:
    """Whether what a phrase is about takes no "a": "snow", "fake blood", "Cubism"; not "blood
    moon".
    """
    noun = headed(phrase.casefold())[1]
    return noun in UNCOUNTED or (noun.endswith("ism") and not noun.endswith(COUNTED_ISMS))


def plurals(word: str) -> set[str]:
    """Every spelling of a word's plural that people use, right or not, in lower case."""
    lower = word.lower()
    forms = {f"{lower}s", f"{lower}es", _plural(lower)}
    if re.search(r"[^aeiou\W\d]y$", lower):
        forms.add(f"{lower[:-1]}ies")
    if re.search(r"\w{3}us$", lower):  # "octopi"; but "bi" is no bus
        forms.add(f"{lower[:-2]}i")
    if stem := re.fullmatch(r"(\w+)fe?", lower):
        forms.add(f"{stem[1]}ves")
    forms |= {re.sub(*rule, lower) for rule in FOREIGN}
    return forms - {lower}


def singulars(phrase: str) -> set[str]:
    """What the last word of a phrase is the right plural of, in lower case: "cat" of "cats"; none
    of what is no plural, "bus", or is called something else as one, "glasses".
    """
    last = phrase.lower().split()[-1]
    if phrase.lower() in NO_SEVERAL or not (is_many(last) or last.endswith("men")):
        return set()
    stems = {last[:-1], last[:-2], *(last[:-3] + end for end in ("y", "f", "fe")), *IRREGULAR}
    stems |= {last.removesuffix(several) + one for one, several in COMPOUNDED.items()}
    found = {stem for stem in (*stems, f"{last[:-2]}an") if stem and _plural(stem) == last}
    return found & set(WITH_VES) or found  # "leaf", and not "leave"


def unchanged(phrase: str) -> bool:
    """Whether one and several of what a phrase is about are written the same."""
    return headed(phrase.casefold())[1].endswith(UNCHANGED)


def _plural(word: str) -> str:
    """The plural as it is written; names in -y keep it, and a plural stays as it is."""
    folded = word.casefold()
    if folded in IRREGULAR:
        return word[0] + IRREGULAR[folded][1:]
    if one := next(filter(folded.endswith, COMPOUNDED), None):
        return f"{word[: -len(one)]}{COMPOUNDED[one]}"
    if _is_irregular(folded) or unchanged(word):
        return word
    if folded.endswith("man") and folded not in NO_MEN:
        return f"{word[:-2]}en"
    if folded.endswith(WITH_VES):
        return f"{re.sub('fe?$', '', word)}ves"
    if re.search(r"[^aeiou\W\d]y$", word) and word == folded:
        return f"{word[:-1]}ies"
    if folded.endswith(("x", "z", "ch", "sh", "ss", "us", *WITH_OES)) or folded in ONE_IN_S:
        return f"{word}es"
    return word if folded.endswith("s") else f"{word}s"
