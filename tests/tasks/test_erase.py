"""A candidate that is there is not trained again; one of which half is left is."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from erasure_core.network.weights import read_tensors, write_tensors
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


def test_a_delta_that_another_process_finished_meanwhile_stays(tmp_path, monkeypatch):
    """This one was paused: the other took over, and its version rests on that file."""
    file, theirs = tmp_path / "default.safetensors", {"weight": torch.ones(1)}

    def erase(*_: object) -> None:
        write_tensors(file, theirs, {})

    method = SimpleNamespace(steps=lambda *_: 1, erase=erase)
    settings = SimpleNamespace(method="slow", lambda_eff=None)
    plan = SimpleNamespace(
        candidate=lambda name: SimpleNamespace(settings=settings, lambda_eff=None, preset=name),
        delta_file=lambda name: file,
        params=SimpleNamespace(seed=1),
        base_folder=tmp_path,
        concepts=(),
    )
    nothing = lambda *_, **__: nullcontext()  # noqa: E731
    for name, stub in {
        "METHODS": {"slow": method},
        "teacher_of": lambda *_: None,
        "check_gpu": lambda *_: None,
        "precision_of": lambda _: "bf16",
        "progress": nothing,
        "training": nothing,
        "halved": nothing,
    }.items():
        monkeypatch.setattr(erasing, name, stub)
    erasing.erase.fn(plan, "default", Home(tmp_path))
    assert torch.equal(read_tensors(file)[0]["weight"], theirs["weight"])
    assert [entry.name for entry in tmp_path.iterdir()] == [file.name]
