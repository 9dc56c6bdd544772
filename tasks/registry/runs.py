"""What happened in a run, mirrored into MLflow: one run, one nested run a candidate.

A mirror may be killed anywhere and is then made again: a run that was not finished is deleted with
its nested runs, and a finished one is found by its key.
"""

import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erasure_core.errors import ErasureError
from erasure_core.law.gates import Measurement
from tasks.home import Home
from tasks.registry.client import (
    EXPERIMENT,
    KEY,
    connected,
    files_at,
    has_store,
    mirroring,
    pages,
    sqlite_file,
)
from tasks.registry.moved import clear_deleted

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

METRICS_A_CALL = 1000  # what MLflow accepts
PARAMS_A_CALL = 100
LONGEST_PARAM = 6000  # characters MLflow keeps
PARENT = "mlflow.parentRunId"


@dataclass(frozen=True, slots=True)
class CandidateRun:
    """One candidate of a run, as its nested run shows it.

    A measurement becomes the metrics `<name>`, `<name>.low`, `<name>.high`, `<name>.n`; `losses`
    become the steps of the metric `loss`; nested `settings` are flattened with dots.
    """

    name: str
    settings: Mapping[str, object]
    measurements: Sequence[Measurement]
    losses: Sequence[float] = ()
    artifacts: Sequence[Path] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


def mirror_run(
    home: Home,
    key: str,
    *,
    name: str,
    tags: Mapping[str, str],
    candidates: Sequence[CandidateRun],
    artifacts: Sequence[Path],
) -> str:
    """Mirror one run under `key`; return its id. Again: the same id, and nothing is written.

    Args:
        home: The state folder.
        key: What names the run in the book; no quotes in it.
        name: What MLflow shows.
        tags: Of the run itself; the nested runs have their own.
        candidates: One nested run each.
        artifacts: Files of the run itself (report, record, plan).

    Raises:
        ErasureError: A file to attach is not there, or MLflow failed.
    """
    _present([*artifacts, *(file for c in candidates for file in c.artifacts)])
    with mirroring(home) as (client, experiment):
        for run in _keyed(client, experiment, key):
            if run.info.status == "FINISHED":
                return str(run.info.run_id)
            _discard(home, client, experiment, run)
        parent = client.create_run(experiment, run_name=name, tags={**tags, KEY: key})
        run_id = str(parent.info.run_id)
        for candidate in candidates:
            _log(home, client, experiment, run_id, candidate)
        _attach(home, parent, artifacts)
        client.set_terminated(run_id, "FINISHED")
    return run_id


def unfinished_runs(home: Home) -> list[str]:
    """The ids of all runs of ours that MLflow shows as running."""
    if not has_store(home):
        return []
    with connected(home) as client:
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            return []
        running = _runs(client, experiment.experiment_id, "attributes.status = 'RUNNING'")
        return [str(run.info.run_id) for run in running]


def close_unfinished(home: Home) -> None:
    """Mark as KILLED every run of ours that MLflow shows as running: what made it is gone."""
    running = unfinished_runs(home)
    if running:
        with connected(home) as client:
            for run_id in running:
                client.set_terminated(run_id, "KILLED")


def forget_run(home: Home, run_id: str) -> None:
    """Delete a run and its nested runs: pictures, reports, names. A server's database keeps the
    names of deleted runs until `mlflow gc` is run there; our own file is cleared here.
    """
    if not has_store(home):
        return
    with connected(home) as client:
        experiment = client.get_experiment_by_name(EXPERIMENT)
        runs = _with_nested(client, experiment.experiment_id, run_id) if experiment else []
        for run in runs:
            files_at(home, run.info.artifact_uri).delete_artifacts()
            if run.info.lifecycle_stage == "active":
                client.delete_run(run.info.run_id)
    if runs and (file := sqlite_file(home)):
        clear_deleted(file, [run.info.run_id for run in runs])


def _with_nested(client: "MlflowClient", experiment: str, run_id: str) -> list[Any]:
    """A run and its nested ones, as far as they are there, also half deleted."""
    from mlflow.entities import ViewType

    def search(which: str) -> Iterator[Any]:
        query = {"experiment_ids": [experiment], "filter_string": which}
        return pages(client.search_runs, run_view_type=ViewType.ALL, **query)

    nested = search(f"tags.{PARENT} = '{run_id}'")
    own = search(f"attributes.run_id = '{run_id}'")
    return [*own, *nested]


def metric_key(metric: str) -> str:
    """`metric` in the characters MLflow allows: `clip.concept_rate[neon sign]` becomes
    `clip.concept_rate/neon sign`.
    """
    metric, _, name = metric.partition("[")
    parts = [metric, re.sub(r"[/]|\.(?=\.)", "_", name.replace("]", ""))]  # a name is no path
    return "/".join(re.sub(r"[^\w./ :-]", "_", part) for part in parts if part)


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
            cut = len(text) > LONGEST_PARAM
            flat[f"{prefix}{key}"] = f"{text[: LONGEST_PARAM - 3]}..." if cut else text
    return flat


def _keyed(client: "MlflowClient", experiment: str, key: str) -> list[Any]:
    return list(_runs(client, experiment, f"tags.`{KEY}` = '{key}'"))


def _runs(client: "MlflowClient", experiment: str, which: str) -> Iterator[Any]:
    return pages(client.search_runs, experiment_ids=[experiment], filter_string=which)


def _discard(home: Home, client: "MlflowClient", experiment: str, run: Any) -> None:
    """Close and delete a run that was not finished, its nested runs first: while it is there they
    can be found again.
    """
    nested = _runs(client, experiment, f"tags.{PARENT} = '{run.info.run_id}'")
    for half in [*nested, run]:
        files_at(home, half.info.artifact_uri).delete_artifacts()
        client.set_terminated(half.info.run_id, "KILLED")
        client.delete_run(half.info.run_id)


def _log(
    home: Home, client: "MlflowClient", experiment: str, parent: str, candidate: CandidateRun
) -> None:
    from mlflow.entities import Param

    tags = {**candidate.tags, PARENT: parent}
    run = client.create_run(experiment, run_name=candidate.name, tags=tags)
    run_id = run.info.run_id
    metrics = _metrics(candidate)
    params = [Param(key, value) for key, value in flatten(candidate.settings).items()]
    for first in range(0, len(metrics), METRICS_A_CALL):
        client.log_batch(run_id, metrics=metrics[first : first + METRICS_A_CALL])
    for first in range(0, len(params), PARAMS_A_CALL):
        client.log_batch(run_id, params=params[first : first + PARAMS_A_CALL])
    _attach(home, run, candidate.artifacts)
    client.set_terminated(run_id, "FINISHED")


def _metrics(candidate: CandidateRun) -> list["Metric"]:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    metrics = [Metric("loss", loss, now, step) for step, loss in enumerate(candidate.losses)]
    for m in candidate.measurements:
        numbers = {"": m.value, ".low": m.low, ".high": m.high, ".n": float(m.n)}
        key = metric_key(m.metric)
        metrics += [Metric(f"{key}{suffix}", value, now, 0) for suffix, value in numbers.items()]
    return metrics


def _attach(home: Home, run: Any, files: Sequence[Path]) -> None:
    """Store files with the mode that the umask gives: MLflow would keep the mode they have."""
    with tempfile.TemporaryDirectory() as scratch:
        for file in files:
            copy = shutil.copyfile(file, Path(scratch) / file.name)
            files_at(home, run.info.artifact_uri).log_artifact(str(copy))


def _present(files: Sequence[Path]) -> None:
    if missing := [str(file) for file in files if not file.is_file()]:
        raise ErasureError(
            f"{', '.join(missing)}: no such file to attach to the run in MLflow; restore it, then "
            f"mirror the run again"
        )
