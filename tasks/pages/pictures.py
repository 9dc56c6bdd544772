"""Pictures as pages show them: in pairs, pixelated where nobody is to see them unasked, and inside
the page itself.
"""

import base64
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

_LARGEST = 256  # pixels; larger pictures are embedded reduced, so that the page can be mailed
_BLOCKS = 8  # of a side of a pixelated picture


@dataclass(frozen=True, slots=True)
class ImageRow:
    """The base's and the candidate's picture of one prompt, from the same seed."""

    set_label: str  # "target-<slug>", "restored-<slug>" or "kept"
    prompt: str
    base_png: Path
    candidate_png: Path
    explicit: bool = False  # nobody is to see it unasked


def image_grid(rows: Sequence[ImageRow]) -> "Image.Image":
    """One contact sheet: each prompt's base and candidate picture side by side, prompt below, four
    pairs a line. Explicit ones are pixelated.

    Raises:
        ValueError: If there are no rows.
    """
    from PIL import Image, ImageDraw, ImageFont

    if not rows:
        raise ValueError("a contact sheet needs at least one pair of pictures")
    columns, gap, side, caption = min(4, len(rows)), 12, 128, 30
    width, height = 2 * side + 2, side + caption
    lines = math.ceil(len(rows) / columns)
    sheet = Image.new("RGB", (gap + columns * (width + gap), gap + lines * (height + gap)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for i, row in enumerate(rows):
        x, y = gap + i % columns * (width + gap), gap + i // columns * (height + gap)
        for offset, png in ((0, row.base_png), (side + 2, row.candidate_png)):
            with Image.open(png) as picture:
                small = _fitted_in(picture.convert("RGB"), side, row.explicit)
            sheet.paste(small, (x + offset, y))
        label = f"{row.set_label}: base | candidate" + ", pixelated" * row.explicit
        draw.text((x, y + side + 2), label, fill="#7b8794", font=font)
        draw.text(
            (x, y + side + 15),
            _fitted(row.prompt, font.getlength, width),
            fill="#1f2933",
            font=font,
        )
    return sheet


def _fitted_in(picture: "Image.Image", side: int, pixelated: bool) -> "Image.Image":
    """The picture in a square of `side` pixels."""
    from PIL.Image import Resampling

    if pixelated:
        picture = picture.resize((_BLOCKS, _BLOCKS), Resampling.BOX)
    how = Resampling.NEAREST if picture.width <= side else Resampling.LANCZOS
    return picture.resize((side, side), how)


def embedded(png: Path) -> str:
    """A picture file as a data URI."""
    from PIL import Image

    with Image.open(png) as picture:
        if max(picture.size) <= _LARGEST and picture.format == "PNG":
            return data_uri(png.read_bytes())
        small = picture.convert("RGB")
    small.thumbnail((_LARGEST, _LARGEST))
    buffer = io.BytesIO()
    small.save(buffer, format="PNG", optimize=True)
    return data_uri(buffer.getvalue())


def data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _fitted(text: str, length: Callable[[str], float], width: int) -> str:
    """`text` on one line, cut so that it is at most `width` pixels long."""
    text = " ".join(text.split())
    if length(text) <= width:
        return text
    while text and length(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."
