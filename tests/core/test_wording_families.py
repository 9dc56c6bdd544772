"""The families of wordings: the shipped requests and sets are made of them, and they are apart."""

from pathlib import Path

import pytest

from erasure_core.gallery import prompts as gallery
from erasure_core.gallery.captions import TEMPLATES
from erasure_core.law.concepts import Concept
from erasure_core.law.english import many, singulars
from erasure_core.law.requests import read_request
from erasure_core.network.models import load_tokenizer, text_reader
from erasure_core.planning import families
from erasure_core.planning.families import Word, filled, mentioned, numbered, sets_of
from erasure_core.planning.sealed import Directions, check_stages

ROOT = Path(__file__).parents[2]
TEACHER = ROOT / "models/gallery/teacher"
SUBJECTS = list(gallery.WORDS.values())
STYLES = [word.name for word in gallery.STYLE_WORDS]


def example(name: str) -> Concept:
    return read_request(ROOT / f"examples/requests/{name}.yaml").concept


def made(name: str, *also: Word, styles=STYLES, **how) -> families.Sets:
    word = gallery.WORDS.get(name) or Word(name, name, "style")
    return sets_of(word, also, [w for w in SUBJECTS if w != word], styles, **how)


@pytest.mark.parametrize("name", ["astronaut", "cat", "mosaic"])
def test_an_example_is_trained_on_what_the_generator_gives(name):
    assert example(name).prompts == made(name).prompts


def test_an_example_keeps_what_the_generator_gives():
    assert example("astronaut").keep == made("astronaut").keep


@pytest.mark.parametrize("styles", [STYLES[:n] for n in (2, 3, 4, 5)], ids=len)
def test_two_of_three_pairs_are_kept_and_no_subject_and_no_style_wholly(styles):
    left = made("coffee", styles=styles)
    pairs = {
        (w.name, s)
        for w in SUBJECTS
        for s in styles
        if any(w.phrase in p and s in p for p in left.keep)
    }
    assert 0.6 < len(pairs) / (9 * len(styles)) < 0.7
    for subject in {w.name for w in SUBJECTS} - {"coffee"}:
        assert 0 < sum(pair[0] == subject for pair in pairs) <= len(styles) - (len(styles) > 2)
    assert all(sum(pair[1] == style for pair in pairs) < 9 for style in styles)


def test_the_families_share_no_template():
    kinds = (families.TRAINED, families.CHOOSING, families.REPORTED, families.COMPOSED)
    templates = [template for family in kinds for template in family]
    assert len(templates) == len(set(templates))


def test_the_gallery_knows_every_sentence_that_is_trained_on():
    assert set(families.TRAINED) <= set(TEMPLATES)


@pytest.mark.parametrize("name", [*gallery.WORDS, *STYLES])
def test_what_it_writes_is_sealed(name):
    sets = made(name)
    others = {w.phrase: w for w in SUBJECTS}
    replacement = "poster" if name == "photo" else "photo"
    if name in gallery.WORDS:
        replacement = next(p for p, w in others.items() if w.name != name)
    concept = Concept(
        name=name,
        kind="style" if name in STYLES else "object",
        prompts=sets.prompts,
        keep=sets.keep,
        replacement=replacement,
    )
    choose = numbered(sets.choose, "choose", 4.0)
    report = numbered(sets.report, "report", 4.0, {row.evaluation_seed for row in choose})
    directions = Directions(text_reader(TEACHER))
    rows = {"choose": choose, "report": report}
    check_stages(rows, [concept], [load_tokenizer(TEACHER)], directions)


@pytest.mark.parametrize("name", ["coffee", "astronaut", "sketch"])
def test_it_writes_as_many_prompts_as_are_asked_for(name):
    alone = {row.prompt for row in made(name, wanted=80).report if not row.also}
    assert len(alone) >= 80


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("teapot", "a teapot"),
        ("hot dog", "a hot dog"),
        ("umbrella", "an umbrella"),
        ("unicorn", "a unicorn"),
        ("hourglass", "an hourglass"),
        ("moon", "the moon"),
        ("rice", "rice"),
        ("sunglasses", "sunglasses"),
        *((mass, mass) for mass in ("snow", "blood", "smoke", "money", "jewelry")),
        *((mass, mass) for mass in ("graffiti", "alcohol", "fake blood", "money in a bag")),
        ("snowman", "a snowman"),
        ("blood moon", "a blood moon"),
        ("people", "people"),
        ("glass", "a glass"),
        ("cactus", "a cactus"),
        *((one, f"a {one}") for one in ("lens", "canvas", "rhinoceros", "contact lens")),
        *((one, f"a {one}") for one in ("T-shirt", "TV", "UFO", "Christmas tree", "Barbie doll")),
        *((one, f"an {one}") for one in ("AK-47", "iPhone", "x-ray", "X-ray", "SUV", "F-16")),
        *((one, f"a {one}") for one in ("u-boat", "NASA rocket", "PlayStation")),
        ("the Eiffel Tower", "the Eiffel Tower"),
        ("Eiffel Tower", "Eiffel Tower"),
        ("Spider-Man", "Spider-Man"),
        ("Ada Lovelace", "Ada Lovelace"),
        ("\u674e\u5c0f\u9f99", "\u674e\u5c0f\u9f99"),
    ],
)
def test_a_thing_is_mentioned_with_the_article_that_it_takes(name, right):
    assert mentioned(name) == right


def test_one_lens_in_a_prompt_is_no_several():
    assert (many("lens"), many("lenses"), singulars("canvas")) == ("lenses", "lenses", set())


@pytest.mark.parametrize(
    ("template", "style", "right"),
    [
        ("a {style} showing {subject}", "sketch", "a sketch showing a cat"),
        ("a {style} of {subject}", "Vincent van Gogh", "a picture by Vincent van Gogh of a cat"),
        ("{subject} in {style} style", "Vincent van Gogh", "a cat in Vincent van Gogh style"),
        ("{subject} in {style} style", "neon sign", "a cat in neon sign style"),
        ("a {style} showing {subject}", "oil painting", "an oil painting showing a cat"),
        ("{subject} as a {style}", "etching", "a cat as an etching"),
        ("{subject} in {style} style", "anime style", "a cat in anime style"),
        ("a {style} of {subject}", "Cubism", "a picture in the style of Cubism of a cat"),
        ("{subject} in {style} style", "Pop Art", "a cat in Pop Art style"),
        ("{style} of {subject}", "Gothic", "picture in the style of Gothic of a cat"),
        ("a {style} image of {subject}", "Van Gogh", "a Van Gogh image of a cat"),
        ("the {style} image of {subject}", "Van Gogh", "the Van Gogh image of a cat"),
        ("a {style} image of {subject}", "Impressionism", "an Impressionism image of a cat"),
        ("a {style} image of {subject}", "mosaic", "a mosaic image of a cat"),
        ("a {style} of {subject}", "3D render", "a 3D render of a cat"),
        ("a {style} of {subject}", "cyberpunk", "a picture in the style of cyberpunk of a cat"),
        ("a {style} of {subject}", "Film Noir", "a picture in the style of Film Noir of a cat"),
        ("{subject} as a {style}", "art deco", "a cat as a picture in the style of art deco"),
        (
            "the {style} shows {subject}",
            "pop art",
            "the picture in the style of pop art shows a cat",
        ),
        ("a {style} with {subject}", "low poly", "a picture in low poly style with a cat"),
        (
            "one {style} of {subject}",
            "black and white",
            "one picture in black and white style of a cat",
        ),
        ("a {style} of {subject}", "anime style", "a picture in anime style of a cat"),
        ("a {style} image of {subject}", "low poly", "a low poly image of a cat"),
        ("{subject} in {style} style", "art nouveau", "a cat in art nouveau style"),
        ("the {style} image of {subject}", "the Simpsons", "the Simpsons image of a cat"),
        ("a {style} image of {subject}", "The Simpsons", "a Simpsons image of a cat"),
        ("a {style} of {subject}", "neon sign", "a neon sign of a cat"),
        ("{style} of {subject}", "sketches", "sketches of a cat"),
        ("{style} of {subject}", "VHS footage", "VHS footage of a cat"),
        ("a {style} of {subject}", "Polaroid", "a Polaroid of a cat"),
        ("a {style} of {subject}", "Japanese Print", "a Japanese Print of a cat"),
        ("a {style} of {subject}", "Studio Ghibli", "a picture by Studio Ghibli of a cat"),
        ("{style} of {subject}", "\u9f50\u767d\u77f3", "picture by \u9f50\u767d\u77f3 of a cat"),
    ],
)
def test_a_style_is_a_medium_or_somebodys(template, style, right):
    assert filled(template, style, "a cat") == right


@pytest.mark.parametrize(("style", "alone"), [("low poly", 1), ("sketch", 2)])
def test_a_style_that_is_no_thing_is_not_trained_on_as_one(style, alone):
    trained = made(style, styles=[*STYLES, style]).prompts
    assert [p for p in trained if p in (style, f"a {style}")] == [style, f"a {style}"][:alone]


def test_a_prompt_that_does_not_fit_gives_its_place_to_the_next():
    word = Word("x", "x", "object")
    short = families.rows(word, ["photo"], families.REPORTED, 3, lambda p: len(p) < 15)
    assert [row.prompt for row in short] == ["x as a photo", "one photo of x", "the photo of x"]


def test_seeds_are_fixed_distinct_and_none_that_is_taken():
    wanted = [families.Row(f"prompt {i}", "x") for i in range(50)]
    first = [row.evaluation_seed for row in numbered(wanted, "name", 4.0)]
    again = [row.evaluation_seed for row in numbered(wanted, "name", 4.0, set(first[:10]))]
    assert len(set(first)) == len(set(again)) == 50
    assert again[:40] == first[10:]


def test_other_names_are_trained_on_and_reported_under_the_first():
    sets = made("coffee", Word("joe", "a cup of joe", "object"))
    assert {"joe", "a cup of joe", "a fine photo of a cup of joe"} <= set(sets.prompts)
    by_other_name = [row for row in sets.report if "joe" in row.prompt]
    assert {row.concept for row in by_other_name} == {"coffee"}
    assert {row.style for row in by_other_name} == set(STYLES)


def test_the_everyday_words_are_80_with_their_articles():
    words = {word.name: word for word in families.read_vocabulary(families.EVERYDAY)}
    assert len(words) == 80
    assert words["apple"].phrase == "an apple"
    assert [name for name, word in words.items() if word.kind == "likeness"] == ["person"]
