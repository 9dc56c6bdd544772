"""A candidate that is there is not trained again; one of which half is left is."""

from types import SimpleNamespace

import pytest

from tasks.erasing import erase as erasing
from tasks.home import Home


class Trained(Exception):
    """Stands for minutes of work."""


@pytest.mark.parametrize("left", [b"", b"\x08" + bytes(7) + b"{}      half"])
def test_a_delta_that_cannot_be_read_is_made_anew(left, tmp_path, monkeypatch):
    """A machine lost its power: the request would wait for ever, as if it were at fault."""

    def teacher_of(*_: object) -> None:
        raise Trained

    file = tmp_path / "default.safetensors"
    file.write_bytes(left)
    monkeypatch.setattr(erasing, "teacher_of", teacher_of)
    plan = SimpleNamespace(candidate=lambda name: name, delta_file=lambda name: file)
    with pytest.raises(Trained):
        erasing.erase.fn(plan, "default", Home(tmp_path))
