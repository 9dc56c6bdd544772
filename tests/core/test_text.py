"""How text is written where room is short."""

import pytest

from erasure_core.text import names_of


@pytest.mark.parametrize(
    ("names", "more", "said"),
    [
        ([], 0, ""),
        (["cat"], 0, "cat"),
        (["cat", "church"], 0, "cat, church"),
        (["cat", "church"], 40, "cat, church and 40 more"),
        (["cat", "church", "petunia", "galaxy"], 0, "cat, church and 2 more"),
        (["cat", "church", "petunia"], 40, "cat, church and 41 more"),
        (["a" * 30, "cat"], 0, "aaaaaaaaaaa..., cat"),
    ],
)
def test_names_stand_in_a_line_as_far_as_there_is_room(names, more, said):
    assert names_of(names, more=more, most=25) == said


@pytest.mark.parametrize("names", [["ä" * 200] * 25, [f"cat {n}" for n in range(10_000)]])
def test_a_line_of_names_fits_beside_other_words_in_a_databases_250(names):
    line = names_of(names)
    shown = line.partition(" and ")[0].split(", ")
    assert len(line) <= 220
    assert shown == names[: len(shown)]
    assert line.endswith(f" and {len(names) - len(shown)} more")
