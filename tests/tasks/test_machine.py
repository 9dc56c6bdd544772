"""What a GPU cannot hold is known before anything is made on it."""

import pytest
import torch

from erasure_core.errors import BadInput, ErasureError
from erasure_core.methods import METHODS
from erasure_core.network.parts import unet_parameters
from tasks.requests import machine


@pytest.fixture
def gpu(monkeypatch) -> dict[str, int]:
    """A GPU with so many bytes free, and held by this process."""
    bytes_of = {"free": 0, "held": 0}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (bytes_of["free"], 2**40))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: bytes_of["held"])
    return bytes_of


def test_a_gpu_without_room_for_teacher_and_student_is_refused(gpu, tiny_folder):
    both = 2 * 4 * unet_parameters(tiny_folder)
    gpu["free"] = both // 2
    with pytest.raises(ErasureError, match="the teacher and a student of this base take") as fault:
        machine.check_gpu(tiny_folder, METHODS["esd"].Settings())
    assert not isinstance(fault.value, BadInput)  # which would have the request wait
    gpu["held"] = both - both // 2  # by the teacher, which is loaded
    machine.check_gpu(tiny_folder, METHODS["esd"].Settings())


def test_a_closed_form_has_no_student(gpu, tiny_folder):
    machine.check_gpu(tiny_folder, METHODS["uce"].Settings())


def test_a_machine_without_a_gpu_is_not_asked(gpu, tiny_folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    machine.check_gpu(tiny_folder, METHODS["esd"].Settings())
