"""MLflow, for real, on SQLite: what is recorded, what is registered, who becomes champion."""

import json
import math
import platform
import shutil
import threading
from pathlib import Path

import pytest
from tasks.registry.track import Checkpoint

from erasure_core.errors import BadInput, ErasureError
from erasure_core.law.gates import Measurement
from tasks.home import Home
from tasks.registry import track
from tasks.versions.dvc_store import Pointer

SHA = "ab" * 32


@pytest.fixture
def home(mlflow_template, tmp_path, monkeypatch) -> Home:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    shutil.copy(mlflow_template, tmp_path / "home" / "mlflow.db")
    return Home(tmp_path / "home")


@pytest.fixture
def client(home):
    from mlflow import MlflowClient

    return MlflowClient(home.tracking_uri)


@pytest.fixture
def register(home, tmp_path):
    """Register a version with the verdict given; its weights do not exist."""
    pointer = tmp_path / "checkpoint.dvc"
    pointer.write_text(f"outs:\n- md5: {'0' * 32}.dir\n  path: {SHA}\n")
    run_id = track.start_run(home, "run", {})

    def register(verdict: str) -> int:
        checkpoint = Checkpoint(SHA, "cd" * 32, ("request-1",), Pointer(pointer, "0" * 32 + ".dir"))
        return track.register_version(
            home,
            "gallery",
            checkpoint,
            run_id=run_id,
            tags={"gate.verdict": verdict},
            steps=12,
            guidance=4.0,
        )

    return register


def test_a_run_keeps_its_candidates_with_numbers_intervals_losses_and_files(home, client, tmp_path):
    (tmp_path / "grid.png").write_bytes(b"png")
    (tmp_path / "report.html").write_text("report")
    rate = Measurement("nudenet.rate[neon sign]", 0.25, 0.125, 0.5, 40, "lower")
    losses = [1.0 / (step + 1) for step in range(2500)]  # more than MLflow takes in one call

    parent = track.start_run(home, "requests 1", {"request.ids": "1"})
    child = track.log_candidate(
        home,
        parent,
        "lambda=5",
        settings={"lambda": 5.0, "method": {"group": "full", "prompts": "x" * 7000}},
        measurements=[rate],
        losses=losses,
        artifacts=[tmp_path / "grid.png"],
        tags={"delta.sha256": SHA},
    )
    track.finish_run(home, parent, artifacts=[tmp_path / "report.html"], tags={"promoted": "true"})

    (found,) = client.search_runs(
        [client.get_run(parent).info.experiment_id], f"tags.mlflow.parentRunId = '{parent}'"
    )
    assert found.info.run_id == child
    assert found.info.status == "FINISHED"
    numbers = {k: v for k, v in found.data.metrics.items() if k != "loss"}
    key = "nudenet.rate/neon sign"
    assert numbers == {key: 0.25, f"{key}.low": 0.125, f"{key}.high": 0.5, f"{key}.n": 40}
    assert [(m.step, m.value) for m in client.get_metric_history(child, "loss")] == list(
        enumerate(losses)
    )
    assert found.data.params["lambda"] == "5.0"
    assert found.data.params["method.group"] == "full"
    assert found.data.params["method.prompts"].endswith("...")
    assert found.data.tags["delta.sha256"] == SHA
    assert [f.path for f in client.list_artifacts(child)] == ["grid.png"]
    assert [f.path for f in client.list_artifacts(parent)] == ["report.html"]
    assert home.artifacts.is_dir()
    assert not (tmp_path / "mlruns").exists()  # MLflow's default: the working directory
    assert client.get_run(parent).data.tags["promoted"] == "true"
    assert client.get_run(parent).info.status == "FINISHED"


def test_a_number_that_is_not_one_is_recorded_as_such(home, client):
    parent = track.start_run(home, "run", {})
    child = track.log_candidate(
        home,
        parent,
        "x",
        settings={},
        measurements=[Measurement("ssim", math.nan, 0.0, 1.0, 3, "higher")],
    )
    assert math.isnan(client.get_run(child).data.metrics["ssim"])


def test_a_candidate_that_cannot_be_recorded_is_closed_as_failed(home, client, tmp_path):
    parent = track.start_run(home, "run", {})
    with pytest.raises(OSError, match=r"missing\.png"):
        track.log_candidate(
            home, parent, "x", settings={}, measurements=[], artifacts=[tmp_path / "missing.png"]
        )
    (child,) = client.search_runs(
        [client.get_run(parent).info.experiment_id], f"tags.mlflow.parentRunId = '{parent}'"
    )
    assert child.info.status == "FAILED"


def test_versions_count_up_and_carry_tags_aliases_and_a_pointer_without_local_paths(
    home, register, monkeypatch
):
    assert track.versions(home, "gallery") == []
    assert register("fail") == 1
    assert register("pass") == 2
    assert track.set_alias(home, "gallery", "candidate", 1) is None
    assert track.set_alias(home, "gallery", "candidate", 2) == 1
    first, second = track.versions(home, "gallery")
    assert (first.version, first.tags, first.aliases) == (1, {"gate.verdict": "fail"}, ())
    assert (second.version, second.tags, second.aliases) == (
        2,
        {"gate.verdict": "pass"},
        ("candidate",),
    )
    assert first.created <= second.created
    assert track.get_version(home, "gallery", 2) == second
    with pytest.raises(BadInput, match="no version 3; registered: 1, 2"):
        track.get_version(home, "gallery", 3)
    with pytest.raises(BadInput, match="no version 3"):
        track.set_alias(home, "gallery", "candidate", 3)

    import mlflow

    monkeypatch.setenv(
        "MLFLOW_TRACKING_URI", home.tracking_uri
    )  # "models:/" addresses are resolved by the global setting only
    stored = Path(mlflow.artifacts.download_artifacts("models:/gallery/2"))
    facts = json.loads((stored / "artifacts/checkpoint/checkpoint.json").read_text())
    assert facts == {
        "sha256": SHA,
        "dvc_md5": "0" * 32 + ".dir",
        "base_sha256": "cd" * 32,
        "request_ids": ["request-1"],
    }
    text = [
        f.read_text()
        for f in stored.rglob("*")
        if f.is_file() and f.name != "registered_model_meta"
    ]
    assert not [
        t
        for t in text
        if str(home.root.parent) in t or str(track.SCRIPT.parent) in t or "/tmp/" in t
    ]
    assert sum(f.stat().st_size for f in stored.rglob("*")) < 1e5  # no weights


def test_only_a_passed_version_becomes_champion(home, register):
    passed, refused = register("pass"), register("fail")
    assert track.get_alias(home, "gallery", "champion") is None
    assert track.promote(home, "gallery", passed) is None
    with pytest.raises(ErasureError, match="'fail'"):
        track.promote(home, "gallery", refused)
    assert track.get_alias(home, "gallery", "champion") == passed
    with pytest.raises(ErasureError, match="promote"):
        track.set_alias(home, "gallery", "champion", refused)
    with pytest.raises(BadInput, match="no version 9"):
        track.promote(home, "gallery", 9)
    later = register("pass")
    assert track.promote(home, "gallery", later) == passed
    assert track.get_alias(home, "gallery", "champion") == later


def test_check_and_move_are_one_step(home, register, monkeypatch):
    """A second promotion waits while the first one is between its check and its move."""
    first, second = register("pass"), register("pass")
    entered, proceed, order = threading.Event(), threading.Event(), []
    move = track._move_alias

    def slow_move(home, name, alias, info):
        if info.version == first:
            entered.set()
            proceed.wait(20)
        order.append(info.version)
        return move(home, name, alias, info)

    monkeypatch.setattr(track, "_move_alias", slow_move)
    threads = [
        threading.Thread(target=track.promote, args=(home, "gallery", v)) for v in (first, second)
    ]
    threads[0].start()
    assert entered.wait(20)
    threads[1].start()
    threads[1].join(0.5)
    assert order == []
    proceed.set()
    for thread in threads:
        thread.join(20)
    assert order == [first, second]
    assert track.get_alias(home, "gallery", "champion") == second


def test_asking_an_empty_state_folder_creates_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home = Home(tmp_path / "nothing")
    assert track.versions(home, "gallery") == []
    assert track.get_alias(home, "gallery", "champion") is None
    assert not home.root.exists()


def test_a_store_left_half_made_by_a_killed_process_does_not_count(
    mlflow_template, tmp_path, monkeypatch
):
    """The database has its name only when it is whole; MLflow itself refuses half a schema for
    ever.
    """
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home = Home(tmp_path)
    (tmp_path / "mlflow.db.new").write_bytes(mlflow_template.read_bytes()[:4096])
    track.init_store(home)
    assert track.start_run(home, "run", {})
    assert not (tmp_path / "mlflow.db.new").exists()


def test_flatten_names_nested_settings_with_dots():
    assert track.flatten({"a": 1, "b": {"c": (1, 2), "d": {"e": None}}}) == {
        "a": "1",
        "b.c": "(1, 2)",
        "b.d.e": "None",
    }


@pytest.mark.parametrize(
    ("writer", "status"),
    [("process:{host}:1:0.00", "KILLED"), ("process:elsewhere:1:0.00", "RUNNING")],
)
def test_only_a_dead_process_of_this_host_has_its_run_closed(home, monkeypatch, writer, status):
    monkeypatch.setattr(track, "this_process", lambda: writer.format(host=platform.node()))
    run = track.start_run(home, "left", {})
    track.close_dead_runs(home)
    assert track._connect(home.tracking_uri).get_run(run).info.status == status


def test_the_run_of_a_living_process_stays_open(home):
    run = track.start_run(home, "mine", {})
    track.close_dead_runs(home)
    assert track._connect(home.tracking_uri).get_run(run).info.status == "RUNNING"
