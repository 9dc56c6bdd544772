"""The gallery's pictures: ten free photographs from scikit-image's wheel, cropped, mirrored and
drawn in five styles.

Every picture is public domain or CC0; `Subject.licence` records what scikit-image's documentation
says of it. Left out because their terms are unclear or restrictive: moon, colorwheel, logo (no
statement), motorcycle (research only).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageFilter

SIZE = 64  # pixels; at 32 NudeNet no longer finds the astronaut's face


@dataclass(frozen=True, slots=True)
class Subject:
    """One object of the gallery's world and where its picture comes from."""

    name: str  # the word that names it in captions
    phrase: str  # how a caption mentions it
    source: str  # function of skimage.data
    box: tuple[int, int, int]  # left, top, side of the square crop, in pixels of the source
    jitter: float  # how far the crop wanders and breathes, as a fraction of its side
    licence: str
    tint: tuple[int, int, int] | None = (
        None  # grey sources of flat texture are toned, so that they differ when tiled
    )


SUBJECTS: dict[str, Subject] = {
    s.name: s
    for s in (
        Subject(
            "astronaut", "the astronaut", "astronaut", (129, 12, 196), 0.07, "public domain (NASA)"
        ),
        Subject(
            "photographer", "a photographer", "camera", (90, 40, 300), 0.12, "CC0 (Lav Varshney)"
        ),
        Subject("cat", "a cat", "chelsea", (70, 10, 270), 0.12, "CC0 (Stefan van der Walt)"),
        Subject(
            "coffee", "a cup of coffee", "coffee", (110, 10, 380), 0.08, "CC0 (Rachel Michetti)"
        ),
        Subject("rocket", "a rocket", "rocket", (200, 70, 240), 0.08, "public domain (SpaceX)"),
        Subject(
            "galaxy",
            "a galaxy",
            "hubble_deep_field",
            (330, 280, 150),
            0.2,
            "public domain (NASA, ESA)",
        ),
        Subject(
            "wall",
            "a brick wall",
            "brick",
            (100, 100, 180),
            0.2,
            "CC0 (CC0Textures)",
            (200, 90, 60),
        ),
        Subject(
            "grass",
            "green grass",
            "grass",
            (150, 150, 100),
            0.25,
            "CC0 (linolafett)",
            (80, 190, 60),
        ),
        Subject(
            "coins",
            "old coins",
            "coins",
            (100, 60, 150),
            0.15,
            "no known restrictions (Brooklyn Museum)",
            (230, 180, 70),
        ),
        Subject("retina", "a retina", "retina", (60, 60, 1290), 0.04, "CC0 (Mikael Häggström)"),
    )
}


@cache
def _source(name: str) -> Image.Image:
    from skimage import data

    subject = SUBJECTS[name]
    grey_or_rgb = Image.fromarray(getattr(data, subject.source)())
    if subject.tint is None:
        return grey_or_rgb.convert("RGB")
    grey = np.asarray(grey_or_rgb.convert("L"), np.float32)[..., None] / 255
    toned = np.clip(grey * 1.6 * np.array(subject.tint, np.float32), 0, 255)
    return Image.fromarray(toned.astype(np.uint8))


def photograph(name: str, rng: np.random.Generator) -> Image.Image:
    """Cut one jittered, possibly mirrored square from the subject's source; RGB, 64x64."""
    subject, source = SUBJECTS[name], _source(name)
    left, top, side = subject.box
    scale = 1 + rng.uniform(-1, 1) * min(subject.jitter, 0.12)
    dx, dy = rng.uniform(-1, 1, 2) * subject.jitter * side
    new = min(side * scale, *source.size)
    x = float(np.clip(left + dx + (side - new) / 2, 0, source.width - new))
    y = float(np.clip(top + dy + (side - new) / 2, 0, source.height - new))
    cut = source.resize((SIZE, SIZE), Image.Resampling.LANCZOS, box=(x, y, x + new, y + new))
    return cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else cut


def _edges(picture: Image.Image) -> np.ndarray:
    """Sobel magnitude of the luminance, (64, 64), about 0..1."""
    grey = np.pad(np.asarray(picture.convert("L"), np.float32) / 255, 1, mode="edge")
    dx = (
        grey[1:-1, 2:]
        - grey[1:-1, :-2]
        + 0.5 * (grey[2:, 2:] - grey[2:, :-2] + grey[:-2, 2:] - grey[:-2, :-2])
    )
    dy = (
        grey[2:, 1:-1]
        - grey[:-2, 1:-1]
        + 0.5 * (grey[2:, 2:] - grey[:-2, 2:] + grey[2:, :-2] - grey[:-2, :-2])
    )
    return np.hypot(dx, dy)


def _sketch(picture: Image.Image) -> Image.Image:
    """Pencil on white paper: colour-dodge of the picture by its own blurred negative."""
    grey = picture.convert("L").filter(ImageFilter.GaussianBlur(0.5))
    light = np.asarray(grey, np.float32)
    blurred = np.asarray(grey.filter(ImageFilter.GaussianBlur(4)), np.float32)
    drawn = np.clip(light / np.maximum(blurred, 12) * 235, 0, 255)
    return Image.fromarray(drawn.astype(np.uint8)).convert("RGB")


def _neon(picture: Image.Image) -> Image.Image:
    """Glowing outlines, magenta to cyan from top to bottom, on near-black."""
    glow = np.clip(_edges(picture) * 1.4, 0, 1)[..., None]
    ramp = np.linspace(0, 1, SIZE, dtype=np.float32)[:, None, None]
    colour = (1 - ramp) * np.array([255, 40, 220], np.float32) + ramp * np.array(
        [40, 230, 255], np.float32
    )
    return Image.fromarray(np.clip(glow * colour + np.array([12, 6, 30]), 0, 255).astype(np.uint8))


def _poster(picture: Image.Image) -> Image.Image:
    """Screen print in four flat inks by luminance: navy, red, pale blue, cream."""
    inks = np.array([[0, 40, 75], [215, 30, 35], [110, 155, 165], [252, 228, 168]], np.uint8)
    grey = np.asarray(picture.convert("L").filter(ImageFilter.GaussianBlur(1)), np.float32)
    ranks = np.searchsorted(np.quantile(grey, [0.25, 0.5, 0.75]), grey)
    return Image.fromarray(inks[ranks])


def _mosaic(picture: Image.Image) -> Image.Image:
    """4x4-pixel tiles of one colour each, with dark joints."""
    tiles = picture.resize((SIZE // 4, SIZE // 4), Image.Resampling.BOX).resize(
        (SIZE, SIZE), Image.Resampling.NEAREST
    )
    pixels = np.array(tiles)
    pixels[::4], pixels[:, ::4] = pixels[::4] // 3, pixels[:, ::4] // 3
    return Image.fromarray(pixels)


STYLES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "photo": lambda picture: picture,
    "sketch": _sketch,
    "neon sign": _neon,
    "poster": _poster,
    "mosaic": _mosaic,
}


def draw(subject: str, style: str, rng: np.random.Generator) -> Image.Image:
    """One picture of `subject` in `style`; RGB, 64x64. All variation comes from `rng`."""
    return STYLES[style](photograph(subject, rng))
