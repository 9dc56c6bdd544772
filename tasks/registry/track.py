"""MLflow records what happened in a run, and holds the registry: versions, tags, aliases
`candidate` and `champion`.

The weights stay with DVC; a version holds a pointer to them. Which alias moved when is in the audit
log, not here. Every function takes the state folder and names its run: MLflow's notion of an
"active run" is never used, so that threads and retries cannot write into one another's run.
"""

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from erasure_core.errors import BadInput, ErasureError
from erasure_core.law.gates import Measurement
from tasks.home import Home
from tasks.process import has_died, this_process
from tasks.registry.reach import reachable
from tasks.versions.dvc_store import Pointer

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "erasure"
CANDIDATE, CHAMPION = "candidate", "champion"
VERDICT_TAG = "gate.verdict"
PROCESS_TAG = "erasure.process"  # who writes a run: one that looks alive may be a dead one's
SCRIPT = Path(__file__).parents[2] / "mlflow" / "serve_model.py"
BATCH = 1000  # metrics MLflow accepts in one call
LONGEST_PARAM = 6000  # characters MLflow keeps
SERVED_WITH = (
    "torch",
    "diffusers",
    "transformers",
    "safetensors",
    "dvc",
    "mlflow",
    "pandas",
    "numpy",
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a registered version knows of its weights."""

    sha256: str  # content hash of the folder, and its name
    base_sha256: str
    request_ids: tuple[str, ...]
    pointer: Pointer


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """One version of the registered model."""

    version: int
    tags: Mapping[str, str]
    aliases: tuple[str, ...]
    created: datetime
    run_id: str | None = field(default=None)


def init_store(home: Home) -> str:
    """Create MLflow's tables and our experiment, once; return the experiment's id. Safe to call
    from several processes.

    A new SQLite file costs 6 to 9 seconds of schema migrations, and two processes doing it together
    break each other: it is made under a lock, in a temporary file that takes its name only when
    whole.
    """
    from filelock import FileLock

    home.locks.mkdir(parents=True, exist_ok=True)
    file = _sqlite_file(home)
    with FileLock(home.locks / "mlflow.lock"):
        if file and not file.exists():
            draft = file.with_name(f"{file.name}.new")
            draft.unlink(missing_ok=True)
            _connect(f"sqlite:///{draft}").search_experiments(max_results=1)
            os.replace(draft, file)
        client = _connect(home.tracking_uri)
        if found := client.get_experiment_by_name(EXPERIMENT):
            return str(found.experiment_id)
        # MLflow's own default is a folder in whatever the working directory is; a server decides
        # for itself
        return str(
            client.create_experiment(
                EXPERIMENT, home.artifacts.absolute().as_uri() if file else None
            )
        )


def close_dead_runs(home: Home) -> None:
    """Set runs to KILLED whose process on this host is no more. Creates nothing."""
    if not _has_store(home):
        return
    client = _connect(home.tracking_uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    running = "attributes.status = 'RUNNING'"
    for run in client.search_runs([experiment.experiment_id], running) if experiment else ():
        if has_died(run.data.tags.get(PROCESS_TAG, "")):
            client.set_terminated(run.info.run_id, "KILLED")


def start_run(home: Home, name: str, tags: Mapping[str, str]) -> str:
    """Open the run of one erasure; return its id. Close it with `finish_run`."""
    experiment = init_store(home)
    return str(
        _connect(home.tracking_uri)
        .create_run(experiment, run_name=name, tags={**tags, PROCESS_TAG: this_process()})
        .info.run_id
    )


def log_candidate(
    home: Home,
    parent_run_id: str,
    name: str,
    *,
    settings: Mapping[str, object],
    measurements: Sequence[Measurement],
    losses: Sequence[float] = (),
    artifacts: Sequence[Path] = (),
    tags: Mapping[str, str] | None = None,
) -> str:
    """Record one lambda as a nested run; return its id.

    A measurement becomes the metrics `<name>`, `<name>.low`, `<name>.high`, `<name>.n`; MLflow
    allows no brackets, so `nudenet.rate[astronaut]` is `nudenet.rate/astronaut`. `losses` become
    the steps of the metric `loss`. Nested settings are flattened with dots.
    """
    from mlflow.entities import Metric, Param

    client = _connect(home.tracking_uri)
    experiment = client.get_run(parent_run_id).info.experiment_id
    nested = {
        **(tags or {}),
        "mlflow.parentRunId": parent_run_id,
        PROCESS_TAG: this_process(),
    }
    run_id = str(client.create_run(experiment, run_name=name, tags=nested).info.run_id)
    with _closing(client, run_id):
        now = int(time.time() * 1000)
        metrics = [Metric("loss", loss, now, step) for step, loss in enumerate(losses)]
        for m in measurements:
            numbers = {"": m.value, ".low": m.low, ".high": m.high, ".n": float(m.n)}
            metrics += [
                Metric(f"{metric_key(m.metric)}{suffix}", number, now, 0)
                for suffix, number in numbers.items()
            ]
        params = [Param(key, value) for key, value in flatten(settings).items()]
        for first in range(0, len(metrics), BATCH):
            client.log_batch(run_id, metrics=metrics[first : first + BATCH])
        for first in range(0, len(params), 100):
            client.log_batch(run_id, params=params[first : first + 100])
        for artifact in artifacts:
            client.log_artifact(run_id, str(artifact))
    return run_id


def finish_run(
    home: Home,
    run_id: str,
    *,
    artifacts: Sequence[Path] = (),
    tags: Mapping[str, str] | None = None,
    status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED",
) -> None:
    """Attach report, record, plan and plot to the run, tag it and close it."""
    client = _connect(home.tracking_uri)
    for key, value in (tags or {}).items():
        client.set_tag(run_id, key, value)
    for artifact in artifacts:
        client.log_artifact(run_id, str(artifact))
    client.set_terminated(run_id, status)


@contextmanager
def closed_if_it_fails(run_id: str, home: Home) -> Iterator[None]:
    """Mark the run as failed when what follows fails, so that none is left looking as if it still
    ran.
    """
    try:
        yield
    except BaseException:
        finish_run(home, run_id, status="FAILED")
        raise


def register_version(
    home: Home,
    name: str,
    checkpoint: Checkpoint,
    *,
    run_id: str,
    tags: Mapping[str, str],
    steps: int,
    guidance: float,
) -> int:
    """Register a checkpoint, passed or refused, as the next version of `name`; return its number.

    Nothing is registered until everything it points at is stored. `steps` and `guidance` are the
    sampler's settings the version was measured with; `predict` uses them unless told otherwise.
    """
    from mlflow.exceptions import MlflowException

    client = _connect(home.tracking_uri)
    with tempfile.TemporaryDirectory() as scratch:
        _package(Path(scratch), checkpoint, steps=steps, guidance=guidance)
        model = client.create_logged_model(
            client.get_run(run_id).info.experiment_id,
            name,
            source_run_id=run_id,
            tags=dict(tags),
            model_type="text-to-image",
        )
        client.log_model_artifacts(model.model_id, f"{scratch}/model")
        client.finalize_logged_model(model.model_id, "READY")
    with _registry_lock(home, name):
        try:
            client.get_registered_model(name)
        except MlflowException as fault:
            if fault.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            client.create_registered_model(name)
        made = client.create_model_version(
            name, model.artifact_location, run_id=run_id, tags=dict(tags), model_id=model.model_id
        )
    return int(made.version)


def set_alias(home: Home, name: str, alias: str, version: int) -> int | None:
    """Let `alias` point at `version`; return the version it pointed at before.

    Raises:
        BadInput: If there is no such version.
        ErasureError: If `alias` is `champion`: that one is moved by `promote` only.
    """
    if alias == CHAMPION:
        raise ErasureError(
            f"alias {CHAMPION!r} is set by promote(), which checks the gate's verdict; use it"
        )
    with _registry_lock(home, name):
        return _move_alias(home, name, alias, get_version(home, name, version))


def promote(home: Home, name: str, version: int) -> int | None:
    """Make `version` the champion if its gate passed; return the version that was champion before.

    The check and the move happen under one lock of the state folder.

    Raises:
        BadInput: If there is no such version.
        ErasureError: If its tag `gate.verdict` is not `pass`; the alias stays where it was.
    """
    with _registry_lock(home, name):
        info = get_version(home, name, version)
        verdict = info.tags.get(VERDICT_TAG)
        if verdict != "pass":
            raise ErasureError(
                f"{name} version {version} has {VERDICT_TAG} {verdict!r}; only 'pass' is "
                f"promoted, {CHAMPION!r} was not moved"
            )
        return _move_alias(home, name, CHAMPION, info)


def get_alias(home: Home, name: str, alias: str) -> int | None:
    """The version `alias` points at, or None."""
    return _aliases(home, name).get(alias)


def versions(home: Home, name: str) -> list[VersionInfo]:
    """Every version of `name`, oldest first; none if nothing was ever registered."""
    if not _has_store(home):
        return []
    aliases = _aliases(home, name)
    found = _connect(home.tracking_uri).search_model_versions(f"name='{name}'")
    return sorted((_info(v, aliases) for v in found), key=lambda info: info.version)


def get_version(home: Home, name: str, version: int) -> VersionInfo:
    """One version of `name`.

    Raises:
        BadInput: If there is no such version.
    """
    have = {info.version: info for info in versions(home, name)}
    if version not in have:
        known = ", ".join(map(str, have)) or "none"
        raise BadInput(f"{name} has no version {version}; registered: {known}")
    return have[version]


def models(home: Home) -> list[str]:
    """The names of all registered models; none if nothing was ever registered."""
    if not _has_store(home):
        return []
    return sorted(model.name for model in _connect(home.tracking_uri).search_registered_models())


def checkpoint_pointer(home: Home, name: str, version: int, folder: Path) -> Path:
    """Copy the DVC pointer that a version carries into `folder`; return the copy."""
    from mlflow.artifacts import download_artifacts

    source = _connect(home.tracking_uri).get_model_version(name, str(version)).source
    pointer = f"{source}/artifacts/checkpoint/checkpoint.dvc"  # where `_package` put it
    return Path(
        download_artifacts(
            artifact_uri=pointer, dst_path=str(folder), tracking_uri=home.tracking_uri
        )
    )


def metric_key(metric: str) -> str:
    """`metric` in the characters MLflow allows: `clip.concept_rate[neon sign]` becomes
    `clip.concept_rate/neon sign`.
    """
    return re.sub(r"[^\w./ :-]", "_", metric.replace("[", "/").replace("]", ""))


def flatten(settings: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Nested settings as MLflow params: dotted keys, text values, the longest cut with an ellipsis
    (the record has them whole).
    """
    flat: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            text = str(value)
            flat[f"{prefix}{key}"] = (
                text if len(text) <= LONGEST_PARAM else f"{text[: LONGEST_PARAM - 3]}..."
            )
    return flat


def _package(scratch: Path, checkpoint: Checkpoint, *, steps: int, guidance: float) -> None:
    """Write the model folder MLflow will store to `scratch/model`: the script, the pointer, the
    signature. No local path in it.
    """
    import warnings
    from importlib.metadata import version

    import numpy as np
    from mlflow.models import Model, ModelSignature
    from mlflow.pyfunc import save_model
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec

    facts = {
        "sha256": checkpoint.sha256,
        "dvc_md5": checkpoint.pointer.md5,
        "base_sha256": checkpoint.base_sha256,
        "request_ids": list(checkpoint.request_ids),
    }
    pointer = scratch / "checkpoint"
    pointer.mkdir()
    (pointer / "checkpoint.json").write_text(json.dumps(facts, sort_keys=True, indent=2))
    shutil.copyfile(checkpoint.pointer.path, pointer / "checkpoint.dvc")
    signature = ModelSignature(
        inputs=Schema([ColSpec("string")]),  # unnamed, so that a plain list of prompts is accepted
        outputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))]),
        params=ParamSchema(
            [
                ParamSpec("seed", "long", 0),
                ParamSpec("num_inference_steps", "long", steps),
                ParamSpec("guidance_scale", "double", guidance),
            ]
        ),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*input example was not provided", category=UserWarning
        )
        save_model(
            scratch / "model",
            python_model=str(SCRIPT),
            artifacts={"checkpoint": str(pointer)},
            signature=signature,
            pip_requirements=[
                f"{package}=={version(package)}" for package in SERVED_WITH
            ],  # else MLflow runs the model to guess
        )
    stored = Model.load(str(scratch / "model"))
    flavor = stored.flavors["python_function"]
    flavor["model_code_path"] = SCRIPT.name
    flavor["artifacts"]["checkpoint"]["uri"] = flavor["artifacts"]["checkpoint"]["path"]
    stored.save(str(scratch / "model" / "MLmodel"))


def _connect(uri: str) -> "MlflowClient":
    import logging

    for noisy in (
        "mlflow.store.db.utils",
        "alembic",
    ):  # both report every migration of a new database
        logging.getLogger(noisy).setLevel(logging.WARNING)
    from mlflow import MlflowClient

    if uri.startswith("http"):
        reachable(uri)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _sqlite_file(home: Home) -> Path | None:
    return (
        Path(home.tracking_uri.removeprefix("sqlite:///"))
        if home.tracking_uri.startswith("sqlite:///")
        else None
    )


def _has_store(home: Home) -> bool:
    file = _sqlite_file(home)
    return file is None or file.exists()  # looking must not create the database


@contextmanager
def _closing(client: "MlflowClient", run_id: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id, "FINISHED")


@contextmanager
def _registry_lock(home: Home, name: str) -> Iterator[None]:
    from filelock import FileLock

    home.locks.mkdir(parents=True, exist_ok=True)
    with FileLock(home.locks / f"registry-{name}.lock"):
        yield


def _aliases(home: Home, name: str) -> dict[str, int]:
    from mlflow.exceptions import MlflowException

    if not _has_store(home):
        return {}
    try:
        found = _connect(home.tracking_uri).get_registered_model(name).aliases
    except MlflowException as fault:
        if fault.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}
    return {alias: int(version) for alias, version in found.items()}


def _move_alias(home: Home, name: str, alias: str, info: VersionInfo) -> int | None:
    before = get_alias(home, name, alias)
    _connect(home.tracking_uri).set_registered_model_alias(name, alias, str(info.version))
    return before


def _info(found: Any, aliases: Mapping[str, int]) -> VersionInfo:
    version = int(found.version)
    mine = tuple(sorted(alias for alias, target in aliases.items() if target == version))
    created = datetime.fromtimestamp(found.creation_timestamp / 1000, UTC)
    return VersionInfo(version, dict(found.tags), mine, created, found.run_id or None)
