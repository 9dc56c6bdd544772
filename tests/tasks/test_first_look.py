"""The first pair of pictures of a run."""

from PIL import Image
from rich.console import Console

from tasks.erasing.first_look import COLUMNS, in_blocks


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
