"""Whatever the number of rows, few pictures are held: each is read where it is looked at."""

import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from erasure_core.gallery.pictures import draw
from erasure_core.law.prompts import PromptRow
from erasure_core.law.requests import read_request
from erasure_core.metrics.clip_score import ClipScorer
from erasure_core.network import images
from erasure_core.network.images import Chosen, PictureFiles
from erasure_core.planning.params import read_params
from tasks.evidence.further import KeptPictures, distances, leak, swept
from tasks.evidence.instruments import Instruments
from tasks.evidence.measure import measure_kept, measure_target

ROOT = Path(__file__).parents[2]
CONCEPT = read_request(ROOT / "examples/requests/astronaut.yaml").concept
LABELS = ["cat", "rocket"]
BATCH = 8  # the detector's, and here CLIP's
MOST = 2 * BATCH  # a batch, and what a loop still holds
ROWS = 40


@pytest.fixture(scope="module")
def instruments():
    return Instruments.of(read_params(ROOT / "params.yaml"))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Rows, and the files of their pictures: a few, each under many names."""
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(10):
        picture = draw(LABELS[i % 2], "photo", np.random.default_rng(i))
        for number in range(i, ROWS, 10):
            picture.save(folder / f"{number}.png")
    rows = [
        PromptRow(i, f"a photo of a {LABELS[i % 2]} {i}", i, 4.0, LABELS[i % 2], "photo")
        for i in range(ROWS)
    ]
    return rows, [folder / f"{number}.png" for number in range(ROWS)]


@pytest.fixture
def held(monkeypatch):
    """How many pictures that were read lived at most at a time."""
    alive, most, read = set(), [0], images._read

    def noted(file):
        picture, own = read(file), object()
        alive.add(own)
        weakref.finalize(picture, alive.remove, own)
        most[0] = max(most[0], len(alive))
        return picture

    monkeypatch.setattr(images, "_read", noted)
    monkeypatch.setitem(ClipScorer._image_features.__globals__, "_BATCH", BATCH)
    return most


@pytest.mark.slow
def test_pictures_of_many_kept_rows_are_not_held_together(instruments, drawn, held):
    rows, files = drawn
    pictures = PictureFiles(files)
    keep = ["a photo of a cat 0"]
    measure_kept(instruments, rows, pictures, pictures, LABELS, keep)
    kept = KeptPictures(rows, pictures, pictures, LABELS, keep)
    distances(instruments, kept)
    leak(instruments, CONCEPT, kept)
    assert 0 < held[0] <= MOST


@pytest.mark.slow
def test_pictures_of_many_target_rows_are_not_held_together(instruments, drawn, held):
    rows, files = drawn
    clusters = [row.prompt for row in rows]
    measure_target(instruments, CONCEPT, PictureFiles(files), LABELS, clusters)
    classes = instruments.params.detector.labels[CONCEPT.kind]
    half = Chosen(PictureFiles(files), range(0, ROWS, 2))
    swept(instruments.detector, CONCEPT, classes, half, half, clusters[::2])
    assert 0 < held[0] <= MOST


def test_pictures_by_their_files_are_measured_as_pictures_in_memory(instruments, drawn):
    rows, files = drawn[0][:20], drawn[1][:20]
    after = [*reversed(files)]
    read = [[Image.open(file).convert("RGB") for file in some] for some in (files, after)]
    lazy = [PictureFiles(some) for some in (files, after)]
    of_lists, of_files = (
        measure_kept(instruments, rows, *some, LABELS, [rows[0].prompt]) for some in (read, lazy)
    )
    assert of_files == of_lists


def test_some_pictures_stand_in_the_order_that_was_asked_for(drawn):
    _, files = drawn
    some = Chosen(PictureFiles(files), (7, 3, 5))
    assert [p.tobytes() for p in some] == [Image.open(files[i]).tobytes() for i in (7, 3, 5)]
    assert [p.tobytes() for p in some[1:]] == [Image.open(files[i]).tobytes() for i in (3, 5)]


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    (file := tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(images.ErasureError, match=r"a\.png is not a readable picture"):
        PictureFiles([file])[0]
