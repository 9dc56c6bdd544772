"""What a run needs of the machine and of the services around it; each check takes seconds.

All but the last raise `BadInput`: nothing of a request is at fault, and nothing was changed.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from erasure_core.errors import BadInput, ErasureError
from erasure_core.methods import AnySettings
from erasure_core.network import bases
from erasure_core.network.parts import unet_parameters
from erasure_core.network.training import Training
from tasks.reachable import check_reachable
from tasks.versions.dvc_store import check_plugin

FLOAT = 4  # bytes
# How often a network's size is in memory at once. Closed forms: the teacher, its text encoders and
# autoencoder, and room to work in; measured at Stable Diffusion 1.4's size, 6.0 GB for 3.4 GB
# (tests/slow/test_full_size.py). A training has a copy besides, gradients and its optimiser's two
# moments.
COPIES_CLOSED_FORM, COPIES_TRAINED = 2, 6
COPIES_ON_GPU = 2  # the fewest of a training
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


def check_disk(folder: Path, base: Path) -> None:
    """Refuse to start with less free space than twice the base: the release, and its copy. What
    lies beside the files that are loaded is in neither.
    """
    needed = 2 * sum(file.stat().st_size for file in bases.loaded_files(base).values())
    free = shutil.disk_usage(_existing(folder)).free
    if free < needed:
        raise BadInput(
            f"{folder} has {free / GB:.1f} GB free, and a release of this base takes "
            f"{needed / GB:.1f} GB; free some space or name another ERASURE_HOME"
        )


def check_memory(base: Path, methods: Sequence[AnySettings]) -> None:
    """Refuse a network too large for this machine's memory, by the most that a method needs."""
    trained = any(isinstance(settings, Training) for settings in methods)
    copies = COPIES_TRAINED if trained else COPIES_CLOSED_FORM
    needed = FLOAT * copies * unet_parameters(base)
    have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if have < needed:
        raise BadInput(
            f"this machine has {have / GB:.1f} GB of memory, and {copies} copies of this base's "
            f"network take {needed / GB:.1f} GB; use a larger machine or a closed-form method"
        )


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
    """Refuse a training that the GPU it would run on cannot hold, before hours of trajectories: the
    teacher and the student at least, whatever share of the student is trained.

    Raises:
        ErasureError: It cannot; the request stays due.
    """
    if not (torch.cuda.is_available() and isinstance(settings, Training)):
        return
    free, _ = torch.cuda.mem_get_info()
    have = free + torch.cuda.memory_reserved()  # a teacher that is loaded already is in the latter
    needed = FLOAT * COPIES_ON_GPU * unet_parameters(base)
    if have < needed:
        raise ErasureError(
            f"this GPU has {have / GB:.1f} GB free, and the teacher and a student of this "
            f"base take {needed / GB:.1f}; free some, use a larger one, or a closed-form method"
        )


def _existing(folder: Path) -> Path:
    return next(there for there in (folder, *folder.absolute().parents) if there.exists())
