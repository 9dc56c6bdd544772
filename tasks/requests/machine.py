"""What a run needs of the machine and of the services around it; each check takes seconds.

All but the last raise `BadInput`: nothing of a request is at fault, and nothing was changed.
"""

import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from erasure_core.errors import BadInput, ErasureError
from erasure_core.methods import METHODS, AnySettings
from erasure_core.network import bases, parts
from erasure_core.network.training import LoraTraining, Training
from tasks.reachable import check_reachable
from tasks.versions.dvc_store import check_plugin

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

FLOAT = 4  # bytes
NETWORKS = 2  # that a training holds, where its method does not say: the teacher and the student
# What is in memory of each weight that is trained beside its networks: its gradient and its
# optimiser's two moments.
OF_TRAINED = 3
# Text encoders, autoencoder and room to work in, as copies of the network: the fewest. Of a closed
# form measured at Stable Diffusion 1.4's size, 6.0 GB for 3.4 GB (tests/slow/test_full_size.py).
ROOM = 1
GB = 10**9


def check_writable(what: str, folder: Path) -> None:
    """Refuse a folder that is not there and cannot be made, or cannot be written."""
    there = _existing(folder)
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise BadInput(
            f"{what} {folder} cannot be written: {there} is no folder that this user may write "
            f"to; name another or change its permissions"
        )


def check_remote(remote: str) -> None:
    """Refuse a remote of DVC that is no writable folder, or a URL that no plug-in is there for."""
    if "://" in remote:
        check_plugin(remote)
    else:
        check_writable("the remote", Path(remote))


def check_disk(
    folder: Path, base: Path, methods: Sequence[AnySettings] = (), concepts: int = 1
) -> None:
    """Refuse to start with less free space than a run takes: the release and its copy, what each of
    `methods` changes, the state of a training, and trajectories that are shared. What lies beside
    the files that are loaded is in none of these.
    """
    network, files = parts.network(base), bases.loaded_files(base).items()
    sizes = {name: file.stat().st_size for name, file in files}
    stored = sum(size for name, size in sizes.items() if name.startswith("unet/"))
    changed = [_numbers(network, settings) for settings in methods]
    # a release has what was changed in float32, in whatever precision the base is
    wider = max(changed, default=0) * max(0.0, FLOAT - stored / _size(network))
    needed = 2 * (sum(sizes.values()) + int(wider)) + FLOAT * sum(changed)
    needed += FLOAT * OF_TRAINED * max((_trained(network, each) for each in methods), default=0)
    needed += max((_shared(network, each, concepts) for each in methods), default=0)
    free = shutil.disk_usage(_existing(folder)).free
    if free < needed:
        raise BadInput(
            f"{folder} has {free / GB:.1f} GB free, and a release of this base takes "
            f"{needed / GB:.1f} GB, with the changes of {len(methods)} "
            f"candidate{'' if len(methods) == 1 else 's'}; free some space or name another "
            f"ERASURE_HOME"
        )


def check_memory(base: Path, methods: Sequence[AnySettings], concepts: int = 1) -> None:
    """Refuse a network too large for this machine's memory, and for its GPU where it has one, by
    the most that a method needs. Trajectories that are shared are made in the machine's.
    """
    on_gpu, network = torch.cuda.is_available(), parts.network(base)
    room = FLOAT * (1 + ROOM) * _size(network)  # also where a GPU trains: it is loaded here
    needed = max(
        (
            (room if on_gpu else _needed(network, each, ROOM)) + _shared(network, each, concepts)
            for each in methods
        ),
        default=room,
    )
    have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if have < needed:
        raise BadInput(_too_large("this machine", have, needed))
    least = max((_needed(network, each, 0) for each in methods), default=0)
    if on_gpu and (have := torch.cuda.mem_get_info()[1]) < least:
        raise BadInput(_too_large("this GPU", have, least))


def _too_large(what: str, have: int, needed: int) -> str:
    return (
        f"{what} has {have / GB:.1f} GB of memory, and this base's networks, with the gradients "
        f"and moments of what is trained, take {needed / GB:.1f} GB at least; use a larger one, "
        f"train less (`group`, `variant` or `lora` of the method), or use a closed-form method"
    )


def _needed(network: nn.Module, settings: AnySettings, room: int) -> int:
    """Bytes that a method needs at least, with `room` copies of the network for all else."""
    held: float = 1
    if isinstance(settings, Training):
        held = getattr(METHODS[settings.method], "NETWORKS", NETWORKS)
        if settings.teacher != "fp32":  # a GPU holds its copy in half precision alone
            held += 0.5 if room else -0.5
    trained = OF_TRAINED * _trained(network, settings)
    return FLOAT * (int((held + room) * _size(network)) + trained)


def _shared(network: "UNet2DConditionModel", settings: AnySettings, concepts: int) -> int:
    """Bytes of the trajectories of so many concepts that a method makes once."""
    banked = getattr(METHODS[settings.method], "banked", lambda _: 0)
    latent = network.config.in_channels * network.config.sample_size**2
    return int(FLOAT * banked(settings) * latent * concepts)


def _trained(network: nn.Module, settings: AnySettings) -> int:
    """How many numbers a method trains; none where it is a closed form."""
    if not isinstance(settings, Training):
        return 0
    if isinstance(settings, LoraTraining) and settings.lora:
        return sum(settings.lora_rank * sum(shape) for shape in _shapes(network, settings))
    return _numbers(network, settings)


def _numbers(network: nn.Module, settings: AnySettings) -> int:
    """How many numbers the change is that a method makes of a network."""
    return sum(math.prod(shape) for shape in _shapes(network, settings))


def _size(network: nn.Module) -> int:
    """How many numbers a network is."""
    return sum(parameter.numel() for parameter in network.parameters())


def _shapes(network: nn.Module, settings: AnySettings) -> list[tuple[int, ...]]:
    """The shapes of the weights that a method may change."""
    names = METHODS[settings.method].declared(network, settings)
    return [tuple(p.shape) for name, p in network.named_parameters() if name in names]


def check_gpu_worker(deployment: str) -> None:
    """Refuse to hand work to a pool where no worker is alive. Which queues a worker reads is not
    known here.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import WorkerStatus
    from prefect.exceptions import ObjectNotFound
    from prefect.settings import PREFECT_API_URL

    server = PREFECT_API_URL.value()
    if not server:
        raise BadInput(
            f"ERASURE_GPU_DEPLOYMENT names {deployment}, and PREFECT_API_URL no server that has "
            f"it; set it, or unset ERASURE_GPU_DEPLOYMENT to erase here"
        )
    check_reachable("the Prefect server", server)
    with get_client(sync_client=True) as client:
        try:
            pool = client.read_deployment_by_name(deployment).work_pool_name
            workers = client.read_workers_for_work_pool(pool) if pool else []
        except ObjectNotFound:
            raise BadInput(
                f"the Prefect server has no deployment {deployment}; run `python -m "
                f"flows.bootstrap` or correct ERASURE_GPU_DEPLOYMENT"
            ) from None
    if not any(worker.status == WorkerStatus.ONLINE for worker in workers):
        raise BadInput(
            f"no worker of the pool {pool}, which {deployment} waits for, is online "
            f"({len(workers)} known); start one: prefect worker start --pool {pool}"
        )


def check_gpu(base: Path, settings: AnySettings) -> None:
    """Refuse a training that the GPU it would run on cannot hold, before hours of trajectories, by
    what is free now.

    Raises:
        ErasureError: It cannot; the request stays due.
    """
    if not (torch.cuda.is_available() and isinstance(settings, Training)):
        return
    free, _ = torch.cuda.mem_get_info()
    have = free + torch.cuda.memory_reserved()  # a teacher that is loaded already is in the latter
    if have < (needed := _needed(parts.network(base), settings, 0)):
        raise ErasureError(_too_large("what is free of this GPU", have, needed))


def _existing(folder: Path) -> Path:
    return next(there for there in (folder, *folder.absolute().parents) if there.exists())
