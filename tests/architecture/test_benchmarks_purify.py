"""The benchmark of purification compares what it says it compares."""

import pytest
from PIL import Image, ImageFilter

from benchmarks import purify as benchmark
from erasure_core.gallery.pictures import SUBJECTS
from erasure_core.metrics.detectors import NudeNet

LABELS = ("FACE_FEMALE", "FACE_MALE")


@pytest.fixture(scope="module")
def before():
    return benchmark.photographs(2)


def test_every_subject_is_photographed_anew_and_always_the_same(before):
    assert before.keys() == SUBJECTS.keys()
    assert {len(group) for group in before.values()} == {2}
    again = benchmark.photographs(2)
    assert all(
        a.tobytes() == b.tobytes()
        for name in before
        for a, b in zip(before[name], again[name], strict=True)
    )


@pytest.mark.slow
def test_faces_are_counted_and_likeness_measured_for_each_set(before):
    blurred = {
        name: [picture.filter(ImageFilter.GaussianBlur(6)) for picture in group]
        for name, group in before.items()
    }
    rows = {
        r["subject"]: r for r in benchmark.compared(before, before, blurred, NudeNet(0.5), LABELS)
    }
    assert rows["astronaut"]["faces"] == [1.0, 1.0, 0.0]
    assert rows["wall"]["faces"] == [0.0, 0.0, 0.0]
    for row in rows.values():
        assert row["n"] == 2
        assert row["ssim"][0] == pytest.approx(1)
        assert row["ssim"][1] < 0.9
    line = benchmark.row(rows["astronaut"])
    assert line.startswith("| astronaut | 1.00 | 1.00 | 0.00 | 1.00 | 0.")
    assert line.count("|") == benchmark.HEAD.splitlines()[0].count("|")


def test_the_sheet_has_a_row_for_each_set_and_a_column_for_each_subject(before):
    white = {name: [Image.new("RGB", (64, 64), "white")] for name in before}
    page = benchmark.sheet(before, white)
    assert page.size == (2 * 64 * len(SUBJECTS), 2 * 64 * 2)
    assert page.getpixel((5, 2 * 64 + 5)) == (255, 255, 255)
    assert page.getpixel((5, 5)) == before["astronaut"][0].getpixel((2, 2))
