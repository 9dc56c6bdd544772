"""What memory, a GPU and a disk cannot hold is known before anything is made."""

import math
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from erasure_core.errors import BadInput, ErasureError
from erasure_core.methods import METHODS
from erasure_core.network import bases, layers, parts
from erasure_core.network.bases import loaded_files
from tasks.requests import machine


@pytest.fixture
def gpu(monkeypatch) -> dict[str, int]:
    """A GPU with so many bytes free, and held by this process."""
    bytes_of = {"free": 0, "held": 0}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (bytes_of["free"], 2**40))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: bytes_of["held"])
    return bytes_of


def shapes(base: Path, group: str) -> list[tuple[int, ...]]:
    return [tuple(p.shape) for p in layers.select(parts.network(base), group).values()]


def numbers(base: Path, group: str = "full") -> int:
    return sum(map(math.prod, shapes(base, group)))


def test_a_gpu_without_room_for_teacher_and_student_is_refused(gpu, tiny_folder):
    least = 4 * (2 * numbers(tiny_folder) + 3 * numbers(tiny_folder, "xattn"))
    gpu["free"] = least // 2
    with pytest.raises(ErasureError, match=r"free of this GPU has .* take .* at least") as fault:
        machine.check_gpu(tiny_folder, METHODS["esd"].Settings())
    assert not isinstance(fault.value, BadInput)  # which would have the request wait
    gpu["held"] = least - least // 2  # by the teacher, which is loaded
    machine.check_gpu(tiny_folder, METHODS["esd"].Settings())


TRAINED = {  # method and settings -> networks held, and numbers trained
    "all of it": ("all_but_one", {}, 2, lambda base: numbers(base)),
    "keys and values": ("ablating", {}, 2, lambda base: numbers(base, "kv")),
    "beside a copy in half precision": (
        "ablating",
        {"teacher": "bf16"},
        2.5,
        lambda base: numbers(base, "kv"),
    ),
    "a moving average beside": ("sdd", {}, 3, lambda base: numbers(base, "xattn")),
    "a low rank": (
        "esd",
        {"variant": "strict", "lora": True, "lora_rank": 2},
        2,
        lambda base: (
            2 * sum(sum(p.shape) for p in layers.select(parts.network(base), "kv").values())
        ),
    ),
    "nothing": ("uce", {}, 1, lambda base: 0),
}


@pytest.fixture
def memory(monkeypatch) -> dict[str, int]:
    """This machine's memory in bytes."""
    real, said = os.sysconf, {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": 0}
    monkeypatch.setattr(os, "sysconf", lambda key: said.get(key) or real(key))
    return said


@pytest.mark.parametrize("what", TRAINED)
def test_memory_counts_the_networks_and_what_is_trained_of_one(what, memory, tiny_folder):
    method, given, networks, trained = TRAINED[what]
    settings = METHODS[method].Settings(**given)
    held = int((networks + machine.ROOM) * numbers(tiny_folder))
    least = 4 * (held + 3 * trained(tiny_folder))
    memory["SC_PHYS_PAGES"] = least
    machine.check_memory(tiny_folder, [METHODS["uce"].Settings(), settings])
    memory["SC_PHYS_PAGES"] = least - 1
    with pytest.raises(BadInput, match=r"this machine has .* GB at least; use a larger one"):
        machine.check_memory(tiny_folder, [settings])


SHARED = {  # method and settings -> latents kept of each concept
    "fresh": ("all_but_one", {"keep_weight": 1}, 0),
    "erased": ("all_but_one", {"trajectories": 4, "steps": 5}, 3 * 4 * 5),
    "and kept": ("all_but_one", {"trajectories": 4, "steps": 5, "keep_weight": 1}, 2 * 3 * 4 * 5),
    "points": ("esd", {"walker": "teacher", "trajectories": 4, "steps": 5}, 4 * 5),
}


@pytest.mark.parametrize("what", SHARED)
def test_shared_trajectories_take_memory_and_disk_by_the_number_of_concepts(
    what, memory, tiny_folder, tmp_path, monkeypatch
):
    method, given, latents = SHARED[what]
    settings, unet = METHODS[method].Settings(**given), parts.network(tiny_folder)
    each = 4 * latents * unet.config.in_channels * unet.config.sample_size**2
    monkeypatch.setattr(parts, "network", lambda _: unet)  # asked for forty times
    enough = 2**40
    for place, check in (
        (lambda size: memory.update(SC_PHYS_PAGES=size), machine.check_memory),
        (lambda size: free(monkeypatch, size), lambda *a: machine.check_disk(tmp_path, *a)),
    ):

        def least(concepts: int, place=place, check=check) -> int:
            low, high = 0, enough
            while low < high:
                place(middle := (low + high) // 2)
                try:
                    check(tiny_folder, [settings], concepts)
                    high = middle
                except BadInput:
                    low = middle + 1
            return low

        assert least(3) - least(1) == 2 * each


def test_where_a_gpu_trains_its_memory_counts_and_the_machine_only_loads(
    gpu, memory, tiny_folder, monkeypatch
):
    full = METHODS["all_but_one"].Settings()
    memory["SC_PHYS_PAGES"] = 4 * 2 * numbers(tiny_folder)
    machine.check_memory(tiny_folder, [full])
    total = 4 * 5 * numbers(tiny_folder)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (0, total - 1))
    with pytest.raises(BadInput, match="this GPU has"):
        machine.check_memory(tiny_folder, [full])
    half = METHODS["all_but_one"].Settings(teacher="fp16")
    machine.check_memory(tiny_folder, [half])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (0, total))
    machine.check_memory(tiny_folder, [full])


def free(monkeypatch, size: int) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, size))


@pytest.mark.parametrize("candidates", [1, 3])
def test_the_disk_holds_the_changes_of_each_candidate_and_a_training(
    candidates, tiny_folder, tmp_path, monkeypatch
):
    release = sum(file.stat().st_size for file in loaded_files(tiny_folder).values())
    kv, swept = numbers(tiny_folder, "kv"), [METHODS["ablating"].Settings()] * candidates
    needed = 2 * release + 4 * (candidates + 3) * kv
    free(monkeypatch, needed)
    machine.check_disk(tmp_path, tiny_folder, swept)
    free(monkeypatch, needed - 1)
    with pytest.raises(BadInput, match=f"with the changes of {candidates} candidate"):
        machine.check_disk(tmp_path, tiny_folder, swept)
    free(monkeypatch, 2 * release)
    machine.check_disk(tmp_path, tiny_folder)


def test_what_is_changed_of_a_base_in_half_precision_takes_twice_as_much(
    tiny_folder, tmp_path, monkeypatch
):
    half = shutil.copytree(tiny_folder, tmp_path / "half")
    file = half / "unet" / bases.UNET_WEIGHTS
    save_file({name: t.half() for name, t in load_file(file).items()}, file)
    closed = METHODS["uce"].Settings()
    release = sum(file.stat().st_size for file in loaded_files(half).values())
    free(monkeypatch, 2 * release + 4 * numbers(half, "kv"))  # and not the wider release
    with pytest.raises(BadInput, match="GB free"):
        machine.check_disk(tmp_path, half, [closed])
    free(monkeypatch, 2 * release + (4 + 2 * 2) * numbers(half, "kv"))
    machine.check_disk(tmp_path, half, [closed])


def test_a_closed_form_has_no_student(gpu, tiny_folder):
    machine.check_gpu(tiny_folder, METHODS["uce"].Settings())


def test_a_machine_without_a_gpu_is_not_asked(gpu, tiny_folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    machine.check_gpu(tiny_folder, METHODS["esd"].Settings())
