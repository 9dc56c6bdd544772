"""Articles by sound, and plurals as they are written."""

import pytest

from erasure_core.law.english import indefinite, is_many, many, plurals


@pytest.mark.parametrize(
    ("article", "nouns"),
    [
        ("a", "cat unicorn uniform user usual utensil UK European ewe one once one-eyed house"),
        ("an", "apple Ox umbrella uninhabited unimportant unidentified onion \u00e9clair"),
        ("a", "ufo urinal Ugandan uranium unanimous Ouija Mr"),
        ("an", "Xbox NVIDIA LG NBA uncut urn Uber ugly"),
        ("a", "onesie Uyghur"),
        ("an", "hour honest honor honour heirloom 8 80 11 18th"),
        ("a", "7 118 1"),
    ],
)
def test_the_article_goes_by_the_sound(article, nouns):
    assert {noun: indefinite(noun) for noun in nouns.split()} == dict.fromkeys(
        nouns.split(), article
    )


@pytest.mark.parametrize(
    ("one", "several"),
    [
        ("butterfly", "butterflies"),
        ("toy", "toys"),
        ("Kennedy", "Kennedys"),
        ("wolf", "wolves"),
        ("bookshelf", "bookshelves"),
        ("knife", "knives"),
        ("giraffe", "giraffes"),
        ("roof", "roofs"),
        ("person", "people"),
        ("woman", "women"),
        ("Spider-Man", "Spider-Men"),
        ("human", "humans"),
        ("mouse", "mice"),
        ("sheep", "sheep"),
        ("people", "people"),
        ("box", "boxes"),
        ("glass", "glasses"),
        ("skis", "skis"),
        ("hot dog", "hot dogs"),
        ("loaf of bread", "loaves of bread"),
        ("man in a suit", "men in a suit"),
        ("woman in a dress", "women in a dress"),
        ("person wearing clothes", "people wearing clothes"),
        ("man sitting on a chair", "men sitting on a chair"),
        ("cat next to a car", "cats next to a car"),
        ("large walking stick", "large walking sticks"),
        ("oil painting", "oil paintings"),
        ("well dressed man", "well dressed men"),
        ("two people", "two people"),
        ("hero", "heroes"),
        ("superhero", "superheroes"),
        ("potato", "potatoes"),
        ("tomato", "tomatoes"),
        ("echo", "echoes"),
        ("torpedo", "torpedoes"),
        ("photo", "photos"),
        ("ox", "oxen"),
        ("fungus", "fungi"),
        ("octopus", "octopuses"),
        ("water", "water"),
        ("fake blood", "fake blood"),
        ("cup of water", "cups of water"),
        ("moose", "moose"),
        ("aircraft", "aircraft"),
        ("police", "police"),
        ("grandchild", "grandchildren"),
        ("Salesperson", "Salespeople"),
        ("schoolchildren", "schoolchildren"),
        ("taxi", "taxis"),
        ("taxis", "taxis"),
        ("realism", "realism"),
        ("prism", "prisms"),
    ],
)
def test_a_plural_is_written_as_people_write_it(one, several):
    assert many(one) == several


@pytest.mark.parametrize(
    ("phrase", "several"),
    [
        *(("cats", True), ("two people", True), ("Women", True), ("cups of coffee", True)),
        *(("cattle", True), ("armed police", True)),
        *(("grandchildren", True), ("microbikinis", True), ("nazis", True)),
        *(("bus", False), ("glass", False), ("man in jeans", False), ("tennis", False)),
    ],
)
def test_what_is_written_as_a_plural_is_known(phrase, several):
    assert is_many(phrase) is several


def test_other_spellings_of_a_plural_are_known():
    assert {"wolves", "wolfs"} <= plurals("Wolf")
    assert {"people", "persons"} <= plurals("person")
    assert "sheep" not in plurals("sheep")


@pytest.mark.parametrize(
    ("one", "several"),
    [
        *(("bus", "busses"), ("gas", "gasses"), ("quiz", "quizzes"), ("donkey", "donkies")),
        *(("antenna", "antennae"), ("aquarium", "aquaria"), ("oasis", "oases"), ("axis", "axes")),
        *(("matrix", "matrices"), ("index", "indices"), ("chateau", "chateaux")),
    ],
)
def test_plurals_of_other_languages_and_common_mistakes_are_known(one, several):
    assert several in plurals(one)
