"""Freeze what a run starts from, and hand out the teacher only while it is still
what was frozen.
"""

import shutil
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task

from erasure_core.errors import ContentChanged
from erasure_core.law.lineage import check_frozen, freeze, sha256_file
from erasure_core.network.bases import loaded_files
from erasure_core.planning.plan import Plan, prompt_paths
from tasks.home import Home
from tasks.placement import IO

if TYPE_CHECKING:
    from erasure_core.network.models import Teacher


@task(name="snapshot teacher", **IO)
def snapshot(plan: Plan, home: Home) -> None:
    """Record the teacher's files by hash, copy the prompt sets into the run's folder, keep the
    plan.

    Raises:
        ContentChanged: The base or a prompt set is no longer what was planned with.
    """
    root, _ = freeze(loaded_files(plan.base_folder), home.snapshots)
    if root != plan.base_sha256:
        raise ContentChanged(str(plan.base_folder), plan.base_sha256, root)
    for name, source in prompt_paths(plan.params, plan.concepts, plan.restored_concepts).items():
        copy = plan.prompt_file(name)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)
        if (found := sha256_file(copy)) != plan.prompt_sha256[name]:
            raise ContentChanged(str(source), plan.prompt_sha256[name], found)
    plan.write()


def manifest_file(plan: Plan, home: Home) -> Path:
    """The manifest that `snapshot` wrote for the plan's base."""
    return home.snapshots / plan.base_sha256 / "manifest.json"


def checked_folder(plan: Plan, home: Home) -> Path:
    """The folder of the plan's base, its files checked against the snapshot.

    Raises:
        ContentChanged: Naming the first file that is no longer as it was frozen.
    """
    check_frozen(plan.base_folder, manifest_file(plan, home), loaded_files)
    return plan.base_folder


def teacher_of(plan: Plan, home: Home) -> "Teacher":
    """The plan's teacher, from `checked_folder`; loaded once per process."""
    checked_folder(plan, home)
    return _load(plan.base_folder, plan.base_sha256)


@lru_cache(maxsize=1)
def _load(folder: Path, _root_sha256: str) -> "Teacher":
    from erasure_core.network.models import open_teacher

    return open_teacher(folder)
