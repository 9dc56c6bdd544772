"""What happened in a run, mirrored into MLflow: one run, one nested run a candidate.

A run that MLflow showed while it worked (`live.py`) is completed, any other is made whole at once.
A mirror may be killed anywhere and is then done again: what is there stays, what lacks is added,
and a finished run is found by its key.
"""

import hashlib
import json
import math
import re
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erasure_core.errors import ErasureError
from erasure_core.law.gates import Measurement
from tasks.home import Home
from tasks.registry.client import (
    ABSENT,
    BOOK,
    EXPERIMENT,
    KEY,
    clear_drafts,
    connected,
    files_at,
    has_store,
    leaving_at,
    mirroring,
    of_another,
    pages,
    sqlite_file,
)
from tasks.registry.moved import clear_deleted

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Metric

METRICS_A_CALL = 1000  # what MLflow accepts
PARAMS_A_CALL = 100
LONGEST_PARAM = 6000  # characters MLflow keeps
LONGEST_TAG = 5000
LONGEST_DIGEST = 36
LONGEST_METRIC = 236  # of 250, without a hash and the name of an end of its interval
PARENT = "mlflow.parentRunId"
NAME = "mlflow.runName"
NOTE = "mlflow.note.content"  # what its pages show as the description
MODEL, FOLDER = "erasure.model", "erasure.folder"  # whose run it is, and where its files lie
REQUESTS = "request.ids"
COMPARISON = "comparison"  # tag of one, which is no version of its model: the methods in it
VERDICT = "gate.verdict"  # tag of what a gate said, of a run, a candidate and a version


@dataclass(frozen=True, slots=True)
class PromptSet:
    """A prompt set that a run measures on. Its name says what it is for and never a concept: MLflow
    keeps the names of data when the run itself is deleted.
    """

    name: str
    sha256: str
    stage: str


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run, as it is known before it works: nested `settings` are flattened with dots."""

    model: str
    folder: str  # in the state folder's runs/
    name: str  # what MLflow shows
    tags: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    prompt_sets: Sequence[PromptSet] = ()
    book: str = ""  # whose run it is (`Book.identity`); nobody's where no book knows of it

    @property
    def every_tag(self) -> dict[str, str]:
        """With its name, and those by which it is found again."""
        own = {NAME: self.name, MODEL: self.model, FOLDER: self.folder}
        return {**cut({**self.tags, BOOK: self.book}), **own}


@dataclass(frozen=True, slots=True)
class CandidateRun:
    """One candidate of a run, as its nested run shows it.

    A measurement becomes the metrics `<name>`, `<name>.low`, `<name>.high`, `<name>.n`; `losses`
    become the steps of the metric `loss`, each at its time.
    """

    name: str
    settings: Mapping[str, object]
    measurements: Sequence[Measurement] = ()
    losses: Sequence[float] = ()
    times: Sequence[int] = ()  # of the losses, in milliseconds since 1970; () where unknown
    artifacts: Sequence[Path] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


def mirror_run(
    home: Home,
    key: str,
    facts: RunFacts,
    *,
    candidates: Sequence[CandidateRun] = (),
    measurements: Sequence[Measurement] = (),
    note: str = "",
    artifacts: Sequence[Path] = (),
) -> str:
    """Mirror one run under `key`; return its id. Again: the same id, and nothing is written but
    tags, name and note that were changed; a run that was deleted comes back.

    Args:
        home: The state folder.
        key: What names the run in the book; no quotes in it.
        facts: The run itself.
        candidates: One nested run each.
        measurements: Those of the chosen candidate, shown of the run itself.
        note: What the run came to, in Markdown.
        artifacts: Files of the run itself (report, record, plan).

    Raises:
        ErasureError: A file to attach is not there, or MLflow failed.
    """
    _present([*artifacts, *(file for c in candidates for file in c.artifacts)])
    tags = {**facts.every_tag, **cut({NOTE: note}), KEY: key}
    with mirroring(home) as (client, experiment):
        run = _known(client, experiment, key, facts)
        if run is None:
            run = client.create_run(experiment, tags=tags)
        elif run.info.status == "FINISHED":
            _put_back(client, run, tags)
            return str(run.info.run_id)
        run_id = str(run.info.run_id)
        complete_run(client, run, facts, tags, metrics_of(measurements))
        for candidate in candidates:
            _complete_candidate(home, client, run, candidate, facts)
        _attach(home, run, artifacts)
        client.set_terminated(run_id, "FINISHED")
    return run_id


def complete_run(
    client: "MlflowClient",
    run: Any,
    facts: RunFacts,
    tags: Mapping[str, str],
    metrics: Sequence["Metric"] = (),
) -> None:
    """Give a parent run what it lacks of its facts."""
    complete(client, run, {**facts.every_tag, **tags}, facts.settings, metrics)
    have = {given.dataset.name for given in run.inputs.dataset_inputs}
    if new := [_dataset(p) for p in facts.prompt_sets if p.name not in have]:
        client.log_inputs(run.info.run_id, new)


def complete(
    client: "MlflowClient",
    run: Any,
    tags: Mapping[str, str],
    settings: Mapping[str, object],
    metrics: Sequence["Metric"] = (),
) -> None:
    """Give a run the tags, params and metrics that it lacks."""
    from mlflow.entities import Param, RunTag

    run_id, data = run.info.run_id, run.data
    other = {k: v for k, v in cut(tags).items() if data.tags.get(k) != v}
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in other.items()])
    params = [Param(k, v) for k, v in flatten(settings).items() if k not in data.params]
    for first in range(0, len(params), PARAMS_A_CALL):
        client.log_batch(run_id, params=params[first : first + PARAMS_A_CALL])
    lacking = [m for m in metrics if not _same(data.metrics.get(m.key), m.value)]
    log_metrics(client, run_id, lacking)


def log_metrics(client: "MlflowClient", run_id: str, metrics: Sequence["Metric"]) -> None:
    """Log any number of metrics."""
    for first in range(0, len(metrics), METRICS_A_CALL):
        client.log_batch(run_id, metrics=metrics[first : first + METRICS_A_CALL])


def unfinished_runs(home: Home, book: str, working: Collection[str] = ()) -> list[str]:
    """The ids of all runs of a book that MLflow shows as running and that nobody works on.

    Args:
        home: The state folder.
        book: `Book.identity`.
        working: Registered models that are being released now: their runs do run.
    """
    if not has_store(home):
        return []
    with connected(home) as client:
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            return []
        running = running_runs(client, experiment.experiment_id, book)
        return [str(r.info.run_id) for r in running if r.data.tags.get(MODEL) not in working]


def running_runs(client: "MlflowClient", experiment: str, book: str) -> list[Any]:
    """Every run of a book that MLflow shows as running."""
    running = runs_where(client, experiment, "attributes.status = 'RUNNING'")
    return [run for run in running if not of_another(run.data.tags, book)]


def close_unfinished(home: Home, book: str, working: Collection[str] = ()) -> None:
    """Mark as KILLED what `unfinished_runs` names: what made it is gone."""
    running = unfinished_runs(home, book, working)
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


def forget_attempts(
    home: Home, book: str, model: str, before: datetime, requests: Collection[str]
) -> list[str]:
    """Delete runs of a book's model that came to no version, and comparisons: those that began
    before a time, and those that name one of `requests`; return their ids.
    """
    if not has_store(home):
        return []
    with connected(home) as client:
        experiment = client.get_experiment_by_name(EXPERIMENT)
        which = f"tags.`{MODEL}` = '{model}'"
        found = list(runs_where(client, experiment.experiment_id, which)) if experiment else []
    parents = [r for r in found if FOLDER in r.data.tags and _is_of_no_version(r.data.tags)]
    gone = [
        str(run.info.run_id)
        for run in parents
        if run.info.status != "RUNNING"
        and not of_another(run.data.tags, book)
        and (
            run.info.start_time < before.timestamp() * 1000
            or set(run.data.tags.get(REQUESTS, "").split(",")) & set(requests)
        )
    ]
    for run_id in gone:
        forget_run(home, run_id)
    return gone


def _is_of_no_version(tags: Mapping[str, str]) -> bool:
    return KEY not in tags or COMPARISON in tags


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
    `clip.concept_rate/neon sign`. Where some are replaced, a hash keeps it apart from others.
    """
    bare, _, name = metric.partition("[")
    parts = [part for part in (bare, name.replace("]", "")) if part]
    allowed = [re.sub(r"[^\w./ :-]", "_", part) for part in parts]
    allowed[1:] = [re.sub(r"[/]|\.(?=\.)", "_", part) for part in allowed[1:]]  # a name is no path
    key = "/".join(allowed)
    if allowed == parts:
        return key
    return f"{key[:LONGEST_METRIC]}-{hashlib.sha256(metric.encode()).hexdigest()[:8]}"


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
            too_long = len(text) > LONGEST_PARAM
            flat[f"{prefix}{key}"] = f"{text[: LONGEST_PARAM - 3]}..." if too_long else text
    return flat


def cut(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags as every store keeps them; what is empty says nothing."""
    return {name: value[:LONGEST_TAG] for name, value in tags.items() if value}


def tags_of_run(home: Home, run_id: str) -> dict[str, str] | None:
    """The tags of a run; None where MLflow shows no such run."""
    if not has_store(home):
        return None
    with connected(home) as client, leaving_at(ABSENT):
        run = client.get_run(run_id)
        return dict(run.data.tags) if run.info.lifecycle_stage == "active" else None
    return None


def _put_back(client: "MlflowClient", run: Any, tags: Mapping[str, str]) -> None:
    from mlflow.entities import RunTag

    other = [RunTag(k, v) for k, v in tags.items() if run.data.tags.get(k) != v]
    if other:
        client.log_batch(run.info.run_id, tags=other)


def _known(client: "MlflowClient", experiment: str, key: str, facts: RunFacts) -> Any:
    """The run of this key, or the one that was shown while it worked; None if there is neither."""
    from mlflow.entities import ViewType

    def newest(found: Iterator[Any]) -> Any:  # MLflow's order
        return next((run for run in found if not of_another(run.data.tags, facts.book)), None)

    query = {"experiment_ids": [experiment], "filter_string": f"tags.`{KEY}` = '{key}'"}
    if keyed := newest(pages(client.search_runs, **query)):
        return keyed
    deleted = pages(client.search_runs, run_view_type=ViewType.DELETED_ONLY, **query)
    if gone := newest(deleted):
        client.restore_run(gone.info.run_id)
        return gone
    return newest(shown_runs(client, experiment, facts.folder))


def shown_runs(client: "MlflowClient", experiment: str, folder: str) -> Iterator[Any]:
    """The runs of a folder that are shown while they work, the newest first."""
    which = f"attributes.status = 'RUNNING' and tags.`{FOLDER}` = '{folder}'"
    return (run for run in runs_where(client, experiment, which) if KEY not in run.data.tags)


def runs_where(client: "MlflowClient", experiment: str, which: str) -> Iterator[Any]:
    """The runs of ours to which a filter of MLflow's applies, the newest first."""
    return pages(client.search_runs, experiment_ids=[experiment], filter_string=which)


def candidate_run(
    client: "MlflowClient", parent: Any, name: str, of_parent: Mapping[str, str]
) -> Any:
    """The nested run of a candidate; made, with the model and the book of its parent's tags, if
    there is none.
    """
    experiment, run_id = parent.info.experiment_id, parent.info.run_id
    nested = runs_where(client, experiment, f"tags.`{PARENT}` = '{run_id}'")
    if found := next((run for run in nested if run.info.run_name == name), None):
        return found
    own = {tag: of_parent[tag] for tag in (MODEL, BOOK) if tag in of_parent}
    return client.create_run(experiment, run_name=name, tags={PARENT: run_id, **own})


def _complete_candidate(
    home: Home, client: "MlflowClient", parent: Any, candidate: CandidateRun, facts: RunFacts
) -> None:
    run = candidate_run(client, parent, candidate.name, facts.every_tag)
    run_id = run.info.run_id
    complete(client, run, candidate.tags, candidate.settings, metrics_of(candidate.measurements))
    have = {m.step for m in client.get_metric_history(run_id, "loss")}
    losses = losses_of(candidate.losses, candidate.times)
    log_metrics(client, run_id, [m for m in losses if m.step not in have])
    _attach(home, run, candidate.artifacts)
    if run.info.status != "FINISHED":
        client.set_terminated(run_id, "FINISHED")


def losses_of(losses: Sequence[float], times: Sequence[int], first: int = 0) -> list["Metric"]:
    """Losses as steps of the metric `loss`, from step `first`; without times, all at once now."""
    from mlflow.entities import Metric

    at = list(times) if len(times) == len(losses) else [_now()] * len(losses)
    return [
        Metric("loss", loss, time_, first + i)
        for i, (loss, time_) in enumerate(zip(losses, at, strict=True))
    ]


def metrics_of(measurements: Sequence[Measurement]) -> list["Metric"]:
    """Measurements as MLflow's metrics, now."""
    from mlflow.entities import Metric

    now, metrics = _now(), []
    for m in measurements:
        numbers = {"": m.value, ".low": m.low, ".high": m.high, ".n": float(m.n)}
        key = metric_key(m.metric)
        metrics += [Metric(f"{key}{suffix}", value, now, 0) for suffix, value in numbers.items()]
    return metrics


def _dataset(given: PromptSet) -> "DatasetInput":
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"sha256": given.sha256})
    dataset = Dataset(given.name, given.sha256[:LONGEST_DIGEST], "local", source)
    return DatasetInput(dataset, [InputTag("mlflow.data.context", given.stage)])


def _same(present: float | None, value: float) -> bool:
    if present is None:
        return False
    return present == value or (math.isnan(present) and math.isnan(value))


def _now() -> int:
    """In MLflow's unit."""
    return int(time.time() * 1000)


def _attach(home: Home, run: Any, files: Sequence[Path]) -> None:
    """Store files with the mode that the umask gives: MLflow would keep the mode they have."""
    place = files_at(home, run.info.artifact_uri)
    with tempfile.TemporaryDirectory() as scratch:
        for file in files:
            place.log_artifact(str(shutil.copyfile(file, Path(scratch) / file.name)))
    clear_drafts(place)


def _present(files: Sequence[Path]) -> None:
    if missing := [str(file) for file in files if not file.is_file()]:
        raise ErasureError(
            f"{', '.join(missing)}: no such file to attach to the run in MLflow; restore it, then "
            f"mirror the run again"
        )
