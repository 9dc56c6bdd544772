"""Articles by sound, and plurals as they are written."""

import pytest

from erasure_core.law.english import indefinite, many, plurals


@pytest.mark.parametrize(
    ("article", "nouns"),
    [
        ("a", "cat unicorn uniform user usual utensil UK European ewe one once one-eyed house"),
        ("an", "apple Ox umbrella uninhabited unimportant unidentified onion \u00e9clair"),
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
    ],
)
def test_a_plural_is_written_as_people_write_it(one, several):
    assert many(one) == several


def test_other_spellings_of_a_plural_are_known():
    assert {"wolves", "wolfs"} <= plurals("Wolf")
    assert {"people", "persons"} <= plurals("person")
    assert "sheep" not in plurals("sheep")
