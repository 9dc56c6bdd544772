import pytest

from erasure_core.metrics.replacement import (
    bare,
    labels_with,
    replacement_rate,
    replacement_score_drop,
)

LABELS = ["astronaut", "cat", "photographer"]


@pytest.mark.parametrize(
    ("phrase", "name"),
    [
        ("a photographer", "photographer"),
        ("The Old Man", "old man"),
        ("an", "an"),
        ("theatre", "theatre"),
    ],
)
def test_a_phrase_without_its_article_names_it(phrase, name):
    assert bare(phrase) == name


def test_a_replacement_that_is_a_label_is_that_label():
    assert labels_with(LABELS, "a photographer") == (LABELS, "photographer")
    assert labels_with(["a photographer", "a cat"], "photographer")[1] == "a photographer"


def test_a_replacement_that_is_none_is_added_once():
    assert labels_with(LABELS, "a dog") == ([*LABELS, "dog"], "dog")


def test_the_rate_counts_the_replacement_and_more_is_better():
    named = ["photographer"] * 3 + ["astronaut", "cat"]
    m = replacement_rate(named, "photographer", settings={"among": LABELS}, clusters=None)
    assert (m.value, m.better, m.n) == (0.6, "higher", 5)
    assert m.settings["replacement"] == "photographer"


def test_a_replacement_that_no_picture_could_be_named_by_is_no_rate_of_0():
    with pytest.raises(ValueError, match="'dog' was not among the labels"):
        replacement_rate(["cat"], "dog", settings={"among": LABELS}, clusters=None)
    with pytest.raises(ValueError, match="no word"):
        labels_with(LABELS, " ")


def test_the_score_is_compared_with_the_bases_pictures_of_the_replacement():
    m = replacement_score_drop([0.8, 0.9], [0.7, 0.5], settings={}, clusters=None)
    assert m.value == pytest.approx(0.25)
    assert m.better == "lower"
