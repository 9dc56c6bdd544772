import hashlib
import json
import math
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

import erasure_core
from erasure_core.errors import BadInput, ContentChanged, ErasureError
from erasure_core.law import lineage
from erasure_core.law.gates import Measurement, judge_all
from erasure_core.law.lineage import RunRecord


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    for name, content in {
        "unet/weights.safetensors": b"\x00\x01",
        "unet/a.json": b"{}",
        "index.json": b"[]",
        "Z.txt": b"",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_a_manifest_is_what_sha256sum_prints(model):
    found = lineage.manifest(model)
    assert list(found) == ["Z.txt", "index.json", "unet/a.json", "unet/weights.safetensors"]
    assert found["index.json"] == hashlib.sha256(b"[]").hexdigest()
    if shutil.which("bash") and shutil.which("sha256sum"):
        command = (
            r"cd $0; find -L . -type f -printf '%P\n' | LC_ALL=C sort | xargs -d "
            r"'\n' sha256sum | sha256sum | cut -d' ' -f1"
        )
        printed = subprocess.run(
            ["bash", "-c", command, str(model)], capture_output=True, text=True, check=True
        ).stdout.strip()
        assert lineage.root_sha256(found) == printed


def test_the_root_depends_on_names_and_contents_and_not_on_order():
    files = {"a": "1" * 64, "b": "2" * 64}
    root = lineage.root_sha256(files)
    assert root == lineage.root_sha256(dict(reversed(files.items())))
    assert root != lineage.root_sha256({"a": "2" * 64, "b": "1" * 64})
    assert root != lineage.root_sha256({"a": "1" * 64, "c": "2" * 64})


def test_a_folder_without_files_cannot_be_frozen(tmp_path):
    with pytest.raises(BadInput, match="no file"):
        lineage.freeze(lineage.files_in(tmp_path / "absent"), tmp_path / "snapshots")
    assert not (tmp_path / "snapshots").exists()


def test_a_frozen_folder_is_checked_file_by_file(model, tmp_path):
    root, manifest_file = lineage.freeze(lineage.files_in(model), tmp_path / "snapshots")
    assert manifest_file == tmp_path / "snapshots" / root / "manifest.json"
    assert lineage.freeze(lineage.files_in(model), tmp_path / "snapshots") == (root, manifest_file)
    lineage.check_frozen(model, manifest_file, lineage.files_in)

    weights = model / "unet" / "weights.safetensors"
    weights.write_bytes(b"\x00\x02")
    with pytest.raises(ContentChanged) as changed:
        lineage.check_frozen(model, manifest_file, lineage.files_in)
    assert (changed.value.what, changed.value.expected) == (
        str(weights),
        hashlib.sha256(b"\x00\x01").hexdigest(),
    )
    assert changed.value.found == hashlib.sha256(b"\x00\x02").hexdigest()
    weights.unlink()
    with pytest.raises(ContentChanged, match=r"weights\.safetensors changed.*found no such file"):
        lineage.check_frozen(model, manifest_file, lineage.files_in)
    weights.write_bytes(b"\x00\x01")
    (model / "unet" / "extra.bin").write_bytes(b"")
    with pytest.raises(ContentChanged, match=r"extra\.bin changed: expected sha256 no such file"):
        lineage.check_frozen(model, manifest_file, lineage.files_in)


def test_a_manifest_that_was_edited_or_lost_is_not_believed(model, tmp_path):
    _, manifest_file = lineage.freeze(lineage.files_in(model), tmp_path / "snapshots")
    recorded = json.loads(manifest_file.read_text())
    (model / "index.json").write_bytes(b"[1]")
    recorded["files"]["index.json"] = hashlib.sha256(
        b"[1]"
    ).hexdigest()  # as someone who hides the change would
    manifest_file.write_text(json.dumps(recorded))
    with pytest.raises(ContentChanged, match=r"manifest\.json changed"):
        lineage.check_frozen(model, manifest_file, lineage.files_in)
    for content in ("{", "[]", "{}"):
        manifest_file.write_text(content)
        with pytest.raises(ErasureError, match="not a readable manifest"):
            lineage.check_frozen(model, manifest_file, lineage.files_in)
    manifest_file.unlink()
    with pytest.raises(ErasureError, match="not a readable manifest"):
        lineage.check_frozen(model, manifest_file, lineage.files_in)


def test_json_hashes_do_not_depend_on_order_or_container():
    assert lineage.sha256_json({"a": 1, "b": (1, 2)}) == lineage.sha256_json({"b": [1, 2], "a": 1})
    assert lineage.sha256_json({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()
    assert lineage.sha256_json({"a": 1}) != lineage.sha256_json({"a": "1"})


def test_the_code_hash_follows_every_source_file(tmp_path):
    source, package = Path(erasure_core.__path__[0]), tmp_path / "erasure_core"
    shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__"))
    real = lineage.code_sha256(source)
    assert lineage.code_sha256(package) == real  # where it is installed does not matter
    with (package / "methods" / "all_but_one.py").open("a") as stream:
        stream.write("\n")
    assert lineage.code_sha256(package) != real


def test_the_code_hash_is_of_every_folder(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.py").write_text("1\n")
    both = lineage.code_sha256(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b/x.py").write_text("2\n")
    assert lineage.code_sha256(tmp_path / "a", tmp_path / "b") != both


def test_the_commit_says_when_the_files_are_not_its_own(tmp_path):
    assert lineage.git_commit(tmp_path) == "unknown"
    (tmp_path / "file").write_text("a")
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for arguments in (["init", "-q"], ["add", "file"], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    clean = lineage.git_commit(tmp_path)
    assert len(clean) == 40
    (tmp_path / "untracked").write_text("b")
    assert lineage.git_commit(tmp_path) == clean
    (tmp_path / "file").write_text("c")
    assert lineage.git_commit(tmp_path) == clean + "+dirty"


def record(**changes: object) -> RunRecord:
    measured = Measurement(
        "ssim", math.nan, 0.1, 0.2, 48, "higher", {"window": 25, "labels": ("a", "b")}
    )
    given = {
        "run_key": "k",
        "request_ids": ("1",),
        "requests_sha256": "0" * 64,
        "base_sha256": "1" * 64,
        "prompt_sha256": {"kept": "2" * 64},
        "params_sha256": "3" * 64,
        "params": {"seed": 7},
        "code_sha256": "4" * 64,
        "git_commit": "unknown",
        "lambdas": [
            {
                "preset": "default",
                "lambda": 5.0,
                "delta_sha256": "5" * 64,
                "measurements": [measured],
            }
        ],
        "chosen_lambda": 5.0,
        "delta_sha256": "5" * 64,
        "checkpoint_sha256": None,
        "gate": judge_all([], [], {"ssim": measured}),
        "promoted": False,
        "model_name": "gallery",
        "model_version": 3,
        "mlflow_run_id": None,
        "seconds": {"erase": 1.5},
        "created": datetime(2026, 11, 22, tzinfo=UTC),
    }
    return RunRecord.model_validate(given | changes)


def test_a_record_reads_back_as_itself_with_nan_as_null(tmp_path):
    record().to_json(tmp_path / "run" / "record.json")
    text = (tmp_path / "run" / "record.json").read_text()
    assert RunRecord.from_json(tmp_path / "run" / "record.json") == record()
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert found["lambdas"][0]["lambda"] == 5.0
    assert found["lambdas"][0]["measurements"][0]["value"] is None
    assert found["lambdas"][0]["measurements"][0]["settings"] == {
        "window": 25,
        "labels": ["a", "b"],
    }
    assert found["gate"]["verdict"] == "void"
    assert text == json.dumps(found, sort_keys=True, indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("content", [None, '{"run_key": "k"', '{"run_key": "k"}'])
def test_an_unreadable_record_is_named(tmp_path, content):
    path = tmp_path / "record.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ErasureError, match=r"record\.json: not a readable run record"):
        RunRecord.from_json(path)
