"""The pictures of a run: a set appears when it is whole, and goes on where it was killed."""

import pytest

from erasure_core.law.prompts import PromptRow
from erasure_core.planning.params import Sampling
from tasks.erasing import draw
from tasks.erasing.generate import generate_rows

ROWS = [PromptRow(i, f"a cat {i}", i, 4.0, "cat") for i in range(5)]
SAMPLING = Sampling(steps=2, batch_size=2)


class Killed(Exception):
    """Stands for the signal."""


@pytest.mark.parametrize(("saved", "again"), [(0, 5), (3, 3), (4, 1), (5, 0)])
def test_a_set_goes_on_after_the_batches_that_were_drawn_whole(
    saved, again, tiny_teacher, tmp_path, monkeypatch
):
    straight, folder = tmp_path / "straight", tmp_path / "images"
    generate_rows(tiny_teacher, ROWS, SAMPLING, straight)
    save, files = draw.save_png, []

    def killed(picture, file):
        if len(files) == saved:
            raise Killed
        files.append(file)
        save(picture, file)

    with monkeypatch.context() as patch:
        patch.setattr(draw, "save_png", killed)
        if saved < len(ROWS):
            with pytest.raises(Killed):
                generate_rows(tiny_teacher, ROWS, SAMPLING, folder)
        else:  # killed before the folder was renamed
            generate_rows(tiny_teacher, ROWS, SAMPLING, folder)
            folder.rename(tmp_path / "images.partial")
    assert not folder.exists()
    files.clear()
    monkeypatch.setattr(draw, "save_png", lambda *given: (files.append(given), save(*given)))
    counted = []
    generate_rows(tiny_teacher, ROWS, SAMPLING, folder, counted.append)
    assert (len(files), sum(counted)) == (again, len(ROWS))
    drawn = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert drawn == {file.name: file.read_bytes() for file in straight.iterdir()}


def test_a_picture_that_is_cut_off_is_drawn_again(tiny_teacher, tmp_path):
    straight, folder = tmp_path / "straight", tmp_path / "images"
    generate_rows(tiny_teacher, ROWS, SAMPLING, straight)
    (partial := tmp_path / "images.partial").mkdir()
    for file in straight.iterdir():
        (partial / file.name).write_bytes(file.read_bytes())
    (partial / "2.png").write_bytes((straight / "2.png").read_bytes()[:40])
    generate_rows(tiny_teacher, ROWS, SAMPLING, folder)
    assert (folder / "2.png").read_bytes() == (straight / "2.png").read_bytes()
