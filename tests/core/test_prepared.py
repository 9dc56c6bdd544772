"""What is made once is read again under the same content, and made again under any other."""

import pytest
import torch

from erasure_core.network.prepared import by_content


@pytest.fixture
def make():
    """Counts how often it was asked; each time it makes something else."""

    def made() -> dict[str, torch.Tensor]:
        made.times += 1
        return {"x": torch.full((2,), float(made.times))}

    made.times = 0
    return made


def test_without_a_folder_it_is_made_each_time_and_nobody_asks_what_it_depends_on(make):
    assert [
        by_content(None, "pictures", lambda: pytest.fail("asked"), make)["x"][0].item()
        for _ in range(2)
    ] == [1, 2]


def test_in_a_folder_it_is_made_once_for_each_content_and_name(make, tmp_path):
    folder = tmp_path / "new" / "prepared"
    values = [
        by_content(folder, name, lambda c=content: c, make)["x"]
        for name in ("pictures", "gram")
        for content in ([1], [1], [2])
    ]
    assert [x[0].item() for x in values] == [1, 1, 2, 3, 3, 4]
    assert sorted(file.name.partition("-")[0] for file in folder.iterdir()) == [
        "gram",
        "gram",
        "pictures",
        "pictures",
    ]


def test_what_cannot_be_read_is_made_again(make, tmp_path):
    """As a machine that lost its power leaves it."""
    for left in (b"", b"half of"):
        for file in tmp_path.iterdir():
            file.write_bytes(left)
        by_content(tmp_path, "pictures", lambda: 1, make)
    assert by_content(tmp_path, "pictures", lambda: 1, make)["x"][0].item() == make.times == 2


def test_what_fails_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        by_content(tmp_path, "pictures", lambda: 1, lambda: {"x": torch.tensor(1 / 0)})
    assert list(tmp_path.iterdir()) == []
