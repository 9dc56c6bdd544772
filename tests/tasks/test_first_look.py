"""The first pair of pictures of a run."""

import io

import pytest
from PIL import Image
from rich.console import Console

from tasks.erasing.first_look import COLUMNS, in_blocks, shows_blocks


def _shown(*pictures: Image.Image) -> list[str]:
    console = Console(force_terminal=True, color_system="truecolor", width=200)
    with console.capture() as captured:
        console.print(in_blocks(*pictures))
    return captured.get().rstrip("\n").split("\n")


def test_a_picture_of_the_terminal_has_two_pixels_in_a_character():
    picture = Image.new("RGB", (COLUMNS, COLUMNS), (255, 0, 0))
    picture.paste((0, 0, 255), (0, 1, COLUMNS, 2))  # the second row, behind the first

    lines = _shown(picture)

    assert lines[0].count("▀") == COLUMNS
    assert "38;2;255;0;0" in lines[0]
    assert "48;2;0;0;255" in lines[0]
    assert "0;0;255" not in lines[1]


def test_before_and_after_stand_side_by_side():
    pictures = [Image.new("RGB", (8, 8), colour) for colour in ("white", "black")]

    assert _shown(*pictures)[0].count("▀") == 2 * COLUMNS


@pytest.mark.parametrize(
    ("how", "encoding", "shown"),
    [
        ({}, "utf-8", True),
        ({"no_color": True}, "utf-8", False),
        ({"width": 40}, "utf-8", False),
        ({"color_system": None}, "utf-8", False),
        ({}, "latin-1", False),
    ],
)
def test_pictures_are_shown_where_they_can_be_seen(how, encoding, shown):
    """Who set NO_COLOR, or has a narrow window, would see rows of one sign."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    given = {"color_system": "truecolor", "width": 80, "no_color": False, **how}
    assert shows_blocks(Console(file=file, force_terminal=True, **given)) is shown
