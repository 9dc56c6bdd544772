"""The command line as a user meets it, on a toy pipeline: what it answers, what it refuses, and
what it leaves behind.
"""

import contextlib
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import pytest
from PIL import Image
from safetensors import safe_open
from typer.testing import CliRunner

from erasure_core.errors import ErasureError
from erasure_core.files import pretty_json
from erasure_core.law.lineage import sha256_file
from erasure_core.law.requests import Ledger
from erasure_core.methods import METHODS
from flows.cli import app
from tasks.home import Home
from tasks.registry import track

ROOT = Path(__file__).parents[2]
ASTRONAUT, CAT = "00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000c"
KEYS = {
    "request_id",
    "request_ids",
    "base_sha256",
    "model",
    "chosen_lambda",
    "gate",
    "promoted",
    "mlflow_run_id",
    "report",
    "seconds",
}
REQUEST = """\
subject_request_id: {id}
subject_request_type: erasure
submitted_time: 2026-11-22T10:00:00Z
regulation: gdpr
concept:
  name: {name}
  kind: {kind}
  prompts: [a picture of the {name}]
  replacement: a photographer
  keep: [a fine photo of a retina]
"""
PARAMS = """\
base: {{path: {base}}}
registered_model: toy
seed: 7
lambdas: [5]
method:
  {{method: all_but_one, target: replace, gamma1: 4, gamma2: 4, steps: 3,
  updates: 2, batch: 2, lr: 1.0e-3, keep_weight: 1, trajectories: 2}}
sampling: {{steps: 2, batch_size: 4}}
prompts: {{targets: {folder}/targets, kept: {folder}/kept.csv}}
detector: {{labels: {{likeness: [FACE_FEMALE], explicit: [BUTTOCKS_EXPOSED]}}, threshold: 0.5}}
clip: {{path: {clip}, templates: ["a photo of {{}}"]}}
policy:
  min_n: 2
  control: {control}
  targets: {{likeness: {{nudenet.rate: 1, clip.concept_rate: 1}}, object: {{clip.concept_rate: 1}}}}
  kept: {{ssim: -1, clip.score_drop: 2, clip.accuracy_drop: 1}}
  restored: {{ssim: -1}}
"""
HEADER = "case_number,prompt,evaluation_seed,evaluation_guidance,concept\n"
KEPT = HEADER + (
    "0,a photo of a cat,11,4.0,cat\n1,a photo of a rocket,12,4.0,rocket\n2,a photo of "
    "a retina,13,4.0,retina\n"
)


def erasure(home: Path, *arguments: object):
    """One call of the command in this process."""
    return CliRunner().invoke(
        app, list(map(str, arguments)), env={"ERASURE_HOME": str(home), "MLFLOW_TRACKING_URI": None}
    )


def state(home: Path, *but: str) -> dict[str, str]:
    """Every file of the state folder by content, except lock files and Prefect's own."""
    files = [f for f in home.rglob("*") if f.is_file() and not f.name.endswith(".lock")]
    kept = {f.relative_to(home).as_posix(): f for f in files}
    return {
        name: sha256_file(f)
        for name, f in kept.items()
        if name.split("/")[0] not in {"prefect", "locks", *but}
    }


@pytest.fixture(scope="module", autouse=True)
def _environment():
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def base(tiny_folder, tmp_path_factory) -> Path:
    """The toy pipeline at 32x32: SSIM's window needs 25."""
    folder = shutil.copytree(tiny_folder, tmp_path_factory.mktemp("base") / "pipeline")
    config = folder / "unet/config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "sample_size": 16}))
    return folder


@pytest.fixture(scope="module")
def write_inputs(base, tiny_clip):
    """Write requests, prompt sets and parameters into a folder."""

    def write(folder: Path) -> Path:
        (folder / "targets").mkdir(parents=True)
        for request_id, name, kind in (
            (ASTRONAUT, "astronaut", "likeness"),
            (CAT, "cat", "object"),
        ):
            (folder / f"{name}.yaml").write_text(
                REQUEST.format(id=request_id, name=name, kind=kind)
            )
            rows = "".join(
                f"{i},a {style} of the {name},{40 + i},4.0,{name}\n"
                for i, style in enumerate(("photo", "sketch"))
            )
            (folder / f"targets/{name}.csv").write_text(HEADER + rows)
        (folder / "kept.csv").write_text(KEPT)
        for name, control in (("void", 0.9), ("passing", 0)):
            (folder / f"{name}.yaml").write_text(
                PARAMS.format(base=base, folder=folder, clip=tiny_clip, control=control)
            )
        return folder

    return write


@pytest.fixture
def inputs(write_inputs, tmp_path) -> Path:
    return write_inputs(tmp_path / "inputs")


@pytest.fixture
def home(tmp_path, mlflow_template, inputs) -> Path:
    """A state folder that knows one request and has a registry."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(mlflow_template, home / "mlflow.db")
    assert erasure(home, "request", "add", inputs / "cat.yaml").exit_code == 0
    return home


# Refusals: one line, exit 2, nothing changed


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def own_base(inputs: Path) -> Path:
    """Give the parameters a base of their own, to be spoilt; return its UNet's weights."""
    file = inputs / "passing.yaml"
    base = Path(re.search(r"base: \{path: (.*)\}", file.read_text())[1])
    edit(file, str(base), str(shutil.copytree(base, inputs / "base")))
    return next((inputs / "base/unet").glob("*.safetensors"))


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


BAD = {
    "unknown key": (
        lambda d: edit(d / "astronaut.yaml", "regulation: gdpr", "regulation: gdpr\nurgency: 1"),
        "urgency: unknown key; allowed",
    ),
    "empty prompt list": (
        lambda d: edit(d / "astronaut.yaml", "[a picture of the astronaut]", "[]"),
        r"concept\.prompts: found \[\]",
    ),
    "too long a prompt": (
        lambda d: edit(
            d / "astronaut.yaml",
            "[a picture of the astronaut]",
            "[" + "a photo of the astronaut " * 4 + "]",
        ),
        "has 22 tokens with its two markers; this base reads 16; shorten it",
    ),
    "duplicate case number": (
        lambda d: edit(d / "kept.csv", "\n1,", "\n0,"),
        "case_number 0 is already on line 2; number each row once",
    ),
    "missing column": (
        lambda d: edit(d / "kept.csv", "evaluation_seed", "seed"),
        "column evaluation_seed missing",
    ),
    "seed that is no number": (
        lambda d: edit(d / "kept.csv", "rocket,12,", "rocket,twelve,"),
        "evaluation_seed is 'twelve'; allowed is",
    ),
    "seed too large": (
        lambda d: edit(d / "kept.csv", "rocket,12,", f"rocket,{2**63},"),
        f"evaluation_seed: .*found '{2**63}' in row 2",
    ),
    "id with other content": (
        lambda d: (d / "astronaut.yaml").write_text(
            REQUEST.format(id=CAT, name="cat", kind="style")
        ),
        (
            rf"request {CAT} is already known with other content .*concept\.kind differs; "
            rf"give a changed request a new"
        ),
    ),
    "unknown kind": (
        lambda d: edit(d / "astronaut.yaml", "kind: likeness", "kind: person"),
        "concept.kind: found 'person'.*'likeness'",
    ),
    "base without weights": (
        lambda d: own_base(d).unlink(),
        "base/unet holds no weights; put plain safetensors there",
    ),
    "pickle weights": (
        lambda d: (file := own_base(d)).rename(file.with_suffix(".bin")),
        r"base/unet holds only pickle weights \(diffusion_pytorch_model\.bin\)",
    ),
    "truncated weights": (
        lambda d: truncate(own_base(d)),
        r"unet/.*\.safetensors is not a whole safetensors file .*; restore the base",
    ),
    "negative lambda": (
        lambda d: edit(d / "passing.yaml", "lambdas: [5]", "lambdas: [-1]"),
        r"lambdas\.0: found -1; .*greater than or equal to 0",
    ),
    "lambda that is no number": (
        lambda d: edit(d / "passing.yaml", "lambdas: [5]", "lambdas: [.nan]"),
        r"lambdas\.0: found nan",
    ),
    "no prompt set": (
        lambda d: (d / "targets/astronaut.csv").unlink(),
        "no prompt set for concept 'astronaut' .*write one",
    ),
    "no such request": (
        lambda d: (d / "astronaut.yaml").unlink(),
        r"astronaut\.yaml: No such file or directory; name a file",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_input_is_one_line_and_changes_nothing(fault, inputs, home):
    spoil, expected = BAD[fault]
    spoil(inputs)
    before = state(home)
    assert {f"requests/{CAT}.json", "audit.jsonl", "mlflow.db"} <= before.keys()

    answer = erasure(
        home, "run", inputs / "astronaut.yaml", "--params", inputs / "passing.yaml", "--json"
    )

    assert answer.exit_code == 2
    assert answer.stdout == ""
    first, line = answer.stderr.splitlines()
    assert first.startswith("honouring ")
    assert re.match(f"error: .*{expected}", line)
    assert state(home) == before


@pytest.mark.parametrize("fault", ["base without weights", "missing column"])
def test_a_fault_of_the_operator_refuses_no_pending_request(fault, inputs, home):
    spoil, expected = BAD[fault]
    spoil(inputs)
    before = state(home)
    answer = erasure(home, "run", "--params", inputs / "passing.yaml")
    assert answer.exit_code == 2
    assert re.search(f"^error: .*{expected}", answer.stderr, re.M)
    assert state(home) == before


def test_a_fault_of_a_pending_request_refuses_it_with_the_reason(inputs, home):
    (inputs / "targets/cat.csv").unlink()
    answer = erasure(home, "run", "--params", inputs / "passing.yaml")
    assert answer.exit_code == 3
    assert answer.stdout.startswith(f"{CAT}  cat: refused (")
    assert "no prompt set for concept 'cat'" in answer.stdout


def in_a_terminal(home: Path, *arguments: object, server: str = "") -> subprocess.Popen:
    """The command as a process group of its own, on a Prefect server or with an embedded one."""
    dropped = ("PREFECT_", "MLFLOW_", "ERASURE_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    environment |= {"PREFECT_API_URL": server, "ERASURE_HOME": str(home)}
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a background shell hands down "ignore"
    )


def test_prefect_adds_nothing_to_the_line(prefect_server, inputs, home):
    """The flow fails inside a task; Prefect logs that twice with tracebacks, not on the user's
    terminal.
    """
    (inputs / "targets/astronaut.csv").unlink()
    command = ("run", inputs / "astronaut.yaml", "--params", inputs / "passing.yaml")
    out, err = in_a_terminal(home, *command, server=prefect_server).communicate()
    assert out == ""
    first, line = err.splitlines()
    assert first.startswith("honouring ")
    assert line.startswith("error: ")


def test_ctrl_c_in_training_is_one_line_and_the_request_stays_pending(inputs, home):
    """As a terminal sends it: to the whole group, the embedded server included."""
    edit(inputs / "passing.yaml", "updates: 2,", "updates: 1000000,")
    before = state(home)
    process = in_a_terminal(home, "run", "--params", inputs / "passing.yaml", "--json")
    try:
        while not list(home.glob("runs/*/images/base/kept")):  # what comes next is training
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.2)
        time.sleep(3)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert out == ""
    assert [line for line in err.splitlines() if "error" in line.lower()] == [
        "error: interrupted; what was finished is kept, the same command goes on from there"
    ]
    assert "Traceback" not in err
    assert state(home, "runs", "snapshots", "prepared") == before
    assert [
        p for p in (home / "runs").rglob("*") if "partial" in p.name or p.parent.name == "deltas"
    ] == []
    assert [r.state for r in Ledger(home / "requests").all()] == ["pending"]


def test_a_full_disk_is_one_line_with_the_path_and_nothing_is_registered(inputs, home, monkeypatch):
    replace = os.replace

    def full(source, target):
        if str(target).endswith(".safetensors"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    before = state(home)
    answer = erasure(
        home, "run", inputs / "cat.yaml", "--params", inputs / "passing.yaml", "--json"
    )
    assert answer.exit_code == 1
    assert answer.stdout == ""
    assert re.search(
        (
            r"^error: No space left on device: \S+/trajectories-[0-9a-f]+\.safetensors; free some "
            r"space and run again$"
        ),
        answer.stderr,
        re.M,
    )
    assert "Traceback" not in answer.stderr
    assert state(home, "runs", "snapshots", "prepared") == before
    assert list((home / "runs").rglob("*.partial")) == []


def test_what_nobody_expected_is_one_line_too_and_debug_shows_where(tmp_path, monkeypatch):
    def broken(home):
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr("tasks.book.status.status", broken)
    answer = erasure(tmp_path, "status")
    assert answer.exit_code == 1
    assert answer.stderr == (
        "error: RuntimeError: first second; run again with `erasure --debug ...` for "
        "the traceback\n"
    )
    shown = erasure(tmp_path, "--debug", "status")
    assert shown.exit_code == 1
    assert "in broken" in shown.stderr
    assert "Traceback" in shown.stderr


def test_help_imports_nothing_heavy():
    heavy = {"torch", "prefect", "mlflow", "pandas", "great_expectations", "diffusers", "numpy"}
    script = f"import flows.cli, sys; print(sorted({heavy} & set(sys.modules)))"
    assert (
        subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )


# An empty state folder, and the inbox


def test_an_empty_state_folder_has_a_status_and_nothing_pending(inputs, tmp_path):
    home = tmp_path / "none"
    found = erasure(home, "status", "--json")
    assert found.exit_code == 0
    assert json.loads(found.stdout)["requests"] == {
        "pending": [],
        "honoured": [],
        "refused": [],
        "restored": [],
    }
    assert json.loads(found.stdout)["models"] == []
    idle = erasure(home, "run", "--params", inputs / "passing.yaml")
    assert (idle.exit_code, idle.stdout) == (0, "nothing pending\n")
    answer = json.loads(erasure(home, "run", "--params", inputs / "passing.yaml", "--json").stdout)
    assert answer.keys() == KEYS
    assert (answer["request_ids"], answer["promoted"]) == ([], False)
    assert erasure(home, "audit", 1).exit_code == 2
    assert erasure(home, "audit", ASTRONAUT).exit_code == 2
    assert state(home) == {}


def test_a_request_is_added_once(inputs, home):
    before = state(home)
    again = erasure(home, "request", "add", inputs / "cat.yaml")
    assert (again.exit_code, again.stdout) == (0, f"{CAT}  cat: pending\n")
    assert state(home) == before
    assert erasure(home, "request", "add", inputs / "astronaut.yaml").exit_code == 0
    assert (
        erasure(home, "request", "list").stdout
        == f"{ASTRONAUT}  astronaut: pending\n{CAT}  cat: pending\n"
    )


# Whole runs


@pytest.fixture(scope="module")
def ran(write_inputs, mlflow_template, tmp_path_factory):
    """A state folder after: a run that is void, the same again, one that passes. Gives it, the
    inputs and the answers.
    """
    home, inputs = (
        tmp_path_factory.mktemp("home"),
        write_inputs(tmp_path_factory.mktemp("run") / "inputs"),
    )
    shutil.copy(mlflow_template, home / "mlflow.db")
    request = inputs / "astronaut.yaml"
    answers = [
        erasure(home, "run", request, "--params", inputs / f"{name}.yaml", "--json")
        for name in ("void", "void", "passing")
    ]
    return home, inputs, answers


def test_the_answer_of_a_run_is_one_json_object_with_every_key(ran):
    _, _, (void, again, passing) = ran
    assert (void.exit_code, again.exit_code, passing.exit_code) == (3, 3, 0), (
        void.stderr + passing.stderr
    )
    found = json.loads(void.stdout)
    assert found.keys() == KEYS
    assert (found["request_id"], found["request_ids"]) == (ASTRONAUT, [ASTRONAUT])
    assert found["model"].keys() == {"name", "version", "sha256", "path"}
    assert (found["model"]["name"], found["model"]["version"], found["chosen_lambda"]) == (
        "toy",
        1,
        5,
    )
    assert Path(found["model"]["path"]).name == found["model"]["sha256"]
    assert (found["gate"]["verdict"], found["promoted"]) == ("void", False)
    metrics = {check["metric"]: check for check in found["gate"]["checks"]}
    assert metrics.keys() == {
        "base.nudenet.rate[astronaut]",
        "base.clip.concept_rate[astronaut]",
        "nudenet.rate[astronaut]",
        "clip.concept_rate[astronaut]",
        "ssim",
        "clip.score_drop",
        "clip.accuracy_drop",
    }
    blind = metrics["base.nudenet.rate[astronaut]"]
    assert blind.keys() == {"metric", "value", "low", "high", "n", "limit", "verdict"}
    # noise has no face
    assert (blind["value"], blind["n"], blind["limit"], blind["verdict"]) == (
        0,
        2,
        0.9,
        "fail",
    )
    assert metrics["ssim"]["n"] == 3
    assert {"accept", "erase and generate", "measure", "register"} <= found["seconds"].keys()
    assert Path(found["report"]).is_file()
    assert json.loads(passing.stdout)["gate"]["verdict"] == "pass"
    assert json.loads(passing.stdout)["model"]["version"] == 2


def test_the_same_run_again_is_answered_from_the_record(ran):
    _, _, (void, again, _) = ran
    assert json.loads(again.stdout) == json.loads(void.stdout)


def test_a_person_reads_the_verdict_the_failed_checks_the_report_and_the_next_command(
    ran, monkeypatch
):
    home, inputs, (void, _, _) = ran
    monkeypatch.setattr(
        "flows.cli.runs.prefect_server", lambda: pytest.fail("what is on record needs no server")
    )
    answer = erasure(home, "run", inputs / "astronaut.yaml", "--params", inputs / "void.yaml")
    assert answer.exit_code == 3
    first, *rest = answer.stdout.splitlines()
    assert (
        first == "toy version 1 (all_but_one, lambda 5): void, refused, the champion is unchanged"
    )
    assert "  answered from the record of the same run; --fresh does it again" in rest
    assert any(line.startswith("  fail: base.nudenet.rate[astronaut] = 0.000") for line in rest)
    assert f"  report  {json.loads(void.stdout)['report']}" in rest
    assert rest[-1] == "  next    erasure audit 1"


def test_status_names_the_champion_and_who_is_honoured(ran):
    home, _, _ = ran
    found = json.loads(erasure(home, "status", "--json").stdout)
    (model,) = found["models"]
    assert (model["name"], model["champion"], model["candidate"]) == ("toy", 2, 2)
    assert [(v["version"], v["verdict"], v["aliases"]) for v in model["versions"]] == [
        (1, "void", []),
        (2, "pass", ["candidate", "champion"]),
    ]
    (request,) = found["requests"]["honoured"]
    assert (request["subject_request_id"], request["concept"], request["version"]) == (
        ASTRONAUT,
        "astronaut",
        2,
    )
    shown = erasure(home, "status").stdout
    assert "toy: champion 2, candidate 2" in shown
    assert f"honoured: 1\n  {ASTRONAUT}  astronaut by version 2" in shown


def test_audit_answers_both_ways(ran, base):
    home, inputs, (_, _, passing) = ran
    answer = erasure(home, "audit", 2, "--json")
    assert answer.exit_code == 0, answer.stderr
    found = json.loads(answer.stdout)
    (version,) = found["versions"]
    released = json.loads(passing.stdout)
    assert version["base_sha256"] == released["base_sha256"]
    assert version["prompt_sha256"] == {
        "kept": sha256_file(inputs / "kept.csv"),
        "target-astronaut": sha256_file(inputs / "targets/astronaut.csv"),
    }
    assert version["params"]["lambdas"] == [5]
    assert version["checkpoint"] == {
        "path": released["model"]["path"],
        "sha256": released["model"]["sha256"],
        "state": "matches",
    }
    measured = {m["metric"]: m for m in version["measurements"]}
    assert (
        measured["ssim"]["limit"],
        measured["ssim"]["verdict"],
        measured["ssim"]["settings"]["window"],
    ) == (-1, "pass", 25)
    assert measured["clip.score"]["limit"] is None
    assert [(m["alias"], m["before"], m["version"]) for m in version["alias_history"]] == [
        ("candidate", 1, 2),
        ("champion", None, 2),
    ]
    assert [r["subject_request_id"] for r in version["requests"]] == [ASTRONAUT]
    assert (found["intact"], found["findings"]) == (True, [])

    other_way = json.loads(erasure(home, "audit", ASTRONAUT, "--json").stdout)
    assert other_way["honoured_by"] == [{"model": "toy", "version": 2}]
    assert [(v["version"], v["promoted"]) for v in other_way["versions"]] == [(1, False), (2, True)]
    assert [step["state"] for step in other_way["request"]["history"]] == [
        "pending",
        "refused",
        "honoured",
    ]

    shown = erasure(home, "audit", ASTRONAUT).stdout
    assert "honoured by toy version 2" in shown
    assert "audit log, records, registry and checkpoints agree" in shown


@pytest.fixture
def restored(ran):
    """Gives the state folder to be tampered with; afterwards it is as it was."""
    home, _, _ = ran
    copies = {
        f: f.read_bytes()
        for f in home.rglob("*")
        if f.is_file() and f.name in ("audit.jsonl", "mlflow.db", "toy-v2.json")
    }
    yield home
    for file, content in copies.items():
        file.write_bytes(content)


def test_one_changed_byte_of_a_checkpoint_is_found_and_the_model_not_used(ran, tmp_path):
    home, inputs, (_, _, passing) = ran
    weights = next(Path(json.loads(passing.stdout)["model"]["path"]).glob("unet/*.safetensors"))
    good = weights.read_bytes()
    weights.chmod(0o644)  # a link to the remote, read-only
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    try:
        for what in ("2", ASTRONAUT):
            answer = erasure(home, "audit", what, "--json")
            assert answer.exit_code == 1
            found = json.loads(answer.stdout)
            assert (found["intact"], found["versions"][-1]["checkpoint"]["state"]) == (
                False,
                "changed",
            )
            assert "the checkpoint is no longer what was registered" in answer.stderr
        out = tmp_path / "out"
        for model in ("2", "champion"):
            refused = erasure(
                home,
                "generate",
                "a cat",
                "--model",
                model,
                "--seed",
                1,
                "--out",
                out,
                "--params",
                inputs / "passing.yaml",
            )
            assert refused.exit_code == 1
            assert re.match(r"error: checkpoint .* changed: expected sha256", refused.stderr)
        assert not out.exists()
    finally:
        weights.write_bytes(good)
    assert erasure(home, "audit", 2).exit_code == 0


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        (
            "records/toy-v2.json",
            '"promoted": true',
            '"promoted": false',
            "toy-v2.json changed: the audit log says sha256",
        ),
        (
            "audit.jsonl",
            '"event":"version.promoted"',
            '"event":"version.promoteD"',
            r"audit\.jsonl: line \d+ is broken",
        ),
    ],
)
def test_a_rewritten_record_or_log_is_found(restored, file, old, new, expected):
    edit(restored / file, old, new)
    answer = erasure(restored, "audit", 2)
    assert answer.exit_code == 1
    assert re.search(f"^error: .*{expected}", answer.stderr, re.M)


def test_an_alias_moved_behind_the_logs_back_is_found(restored):
    track.set_alias(Home(restored), "toy", "candidate", 1)
    answer = erasure(restored, "audit", 2)
    assert answer.exit_code == 1
    assert (
        "error: toy: candidate points at 1, the last move that was logged was to 2" in answer.stderr
    )


def test_a_checkpoint_that_is_not_here_is_pulled_to_be_used_but_never_vouched_for(ran, tmp_path):
    home, inputs, (_, _, passing) = ran
    folder = Path(json.loads(passing.stdout)["model"]["path"])
    shutil.rmtree(folder)
    folder.with_name(f"{folder.name}.dvc").unlink()
    answer = erasure(home, "audit", 2)
    assert answer.exit_code == 1
    assert "is not here, so nothing can be said of it" in answer.stderr
    assert not folder.exists()  # an audit changes nothing
    used = erasure(
        home,
        "generate",
        "a cat",
        "--model",
        "champion",
        "--seed",
        1,
        "--out",
        tmp_path,
        "--params",
        inputs / "passing.yaml",
    )
    assert used.exit_code == 0, used.stderr
    assert erasure(home, "audit", 2).exit_code == 0


def test_pictures_are_named_counted_and_repeatable(ran, base, tmp_path):
    home, inputs, _ = ran

    def drawn(model: object, out: str) -> dict[str, bytes]:
        answer = erasure(
            home,
            "generate",
            "a photo of a cat",
            "Neon sign!",
            "--model",
            model,
            "--seed",
            5,
            "--count",
            2,
            "--out",
            tmp_path / out,
            "--params",
            inputs / "passing.yaml",
            "--json",
        )
        assert answer.exit_code == 0, answer.stderr
        found = json.loads(answer.stdout)
        # the kept set's guidance, the parameters' steps
        assert (found["guidance"], found["steps"]) == (
            4.0,
            2,
        )
        return {Path(file).name: Image.open(file).tobytes() for file in found["files"]}

    of_base, again, of_folder, of_version = (
        drawn("base", "a"),
        drawn("base", "b"),
        drawn(base, "c"),
        drawn("2", "d"),
    )
    assert list(of_base) == [
        "01-a-photo-of-a-cat-seed5.png",
        "02-a-photo-of-a-cat-seed6.png",
        "03-neon-sign-seed5.png",
        "04-neon-sign-seed6.png",
    ]
    assert of_base == again == of_folder
    assert len(set(of_base.values())) == 4
    assert of_version.keys() == of_base.keys()
    assert of_version != of_base
    assert drawn("champion", "e") == of_version


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a cat", "--model", "9", "--seed", 1], "toy has no version 9; registered: 1, 2"),
        (
            ["a cat", "--model", "champ", "--seed", 1],
            "'champ' is none of base, candidate, champion, a version number or an existing folder",
        ),
        (["a cat", "--model", "base", "--seed", -1], "seed -1 "),
        (["a cat", " ", "--model", "base", "--seed", 1], "a prompt is empty"),
        (["a cat " * 20, "--model", "base", "--seed", 1], "this base reads 16; shorten it"),
    ],
)
def test_what_cannot_be_drawn_is_refused(ran, tmp_path, arguments, expected):
    home, inputs, _ = ran
    answer = erasure(
        home, "generate", *arguments, "--out", tmp_path / "out", "--params", inputs / "passing.yaml"
    )
    assert answer.exit_code == 2
    assert re.search(f"^error: .*{expected}", answer.stderr, re.M)
    assert not (tmp_path / "out").exists()


def test_anybodys_prompts_are_measured_beside_the_base(ran, tmp_path):
    home, inputs, _ = ran
    own = tmp_path / "own.csv"
    own.write_text(KEPT.replace(",retina\n", ",\n"))

    def measured(model: str, prompts: Path) -> dict[str, dict]:
        answer = erasure(
            home,
            "evaluate",
            "--model",
            model,
            "--prompts",
            prompts,
            "--params",
            inputs / "passing.yaml",
            "--json",
        )
        assert answer.exit_code == 0, answer.stderr
        return {m["metric"]: m for m in json.loads(answer.stdout)["measurements"]}

    same = measured("base", own)
    assert (
        same["ssim"]["value"],
        same["clip.score_drop"]["value"],
        same["clip.accuracy_drop"]["value"],
    ) == (1, 0, 0)
    other = measured("champion", own)
    assert other["ssim"]["value"] < 1
    assert (
        other["base.clip.score"]["value"]
        == same["clip.score"]["value"]
        != other["clip.score"]["value"]
    )
    assert other["clip.accuracy"]["n"] == 2  # the third row names no concept
    assert other["clip.accuracy"]["settings"]["among"] == ["cat", "retina", "rocket"]
    assert {
        f"{who}nudenet.rate[{kind}]" for who in ("", "base.") for kind in ("likeness", "explicit")
    } <= other.keys()

    own.write_text("\n".join(line.rsplit(",", 1)[0] for line in KEPT.splitlines()) + "\n")
    assert "clip.accuracy" not in measured("champion", own)


def test_what_is_pending_is_honoured_together_with_what_was_and_once(ran, tmp_path):
    home, inputs = shutil.copytree(ran[0], tmp_path / "home"), ran[1]
    (home / ".dvc/config.local").unlink()
    assert erasure(home, "request", "add", inputs / "cat.yaml").exit_code == 0
    answer = erasure(home, "run", "--params", inputs / "passing.yaml", "--json")
    assert answer.exit_code == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert found.keys() == KEYS
    assert (found["request_id"], set(found["request_ids"])) == (CAT, {ASTRONAUT, CAT})
    assert "clip.concept_rate[cat]" in {check["metric"] for check in found["gate"]["checks"]}
    assert {(r.state, r.version) for r in Ledger(home / "requests").all()} == {
        ("honoured", found["model"]["version"])
    }
    before = state(home)
    assert erasure(home, "run", "--params", inputs / "passing.yaml").stdout == "nothing pending\n"
    assert state(home) == before
    assert pretty_json(found) == answer.stdout


# Crashes halfway


def test_a_crash_before_the_requests_are_settled_is_finished_by_the_next_run(
    inputs, home, monkeypatch
):
    with monkeypatch.context() as crash:
        crash.setattr(
            Ledger,
            "settle",
            lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EIO, "input/output error")),
        )
        assert (
            erasure(home, "run", inputs / "cat.yaml", "--params", inputs / "passing.yaml").exit_code
            == 1
        )
    assert Ledger(home / "requests").get(UUID(CAT)).state == "pending"
    trained = {name: sha for name, sha in state(home).items() if name.endswith(".safetensors")}
    answer = erasure(
        home, "run", inputs / "cat.yaml", "--params", inputs / "passing.yaml", "--json"
    )
    assert (answer.exit_code, json.loads(answer.stdout)["model"]["version"]) == (0, 1), (
        answer.stderr
    )
    assert Ledger(home / "requests").get(UUID(CAT)).state == "honoured"
    assert {
        name: sha for name, sha in state(home).items() if name.endswith(".safetensors")
    } == trained
    audited = json.loads(erasure(home, "audit", 1, "--json").stdout)
    assert (audited["intact"], [m["alias"] for m in audited["versions"][0]["alias_history"]]) == (
        True,
        ["candidate", "champion"],
    )


def test_a_failure_after_the_tracking_began_leaves_no_run_that_looks_alive(
    inputs, home, monkeypatch
):
    def broken(*_: object) -> None:
        raise ErasureError("no space for a checkpoint")

    monkeypatch.setattr("flows.erase.make_checkpoint", broken)
    answer = erasure(home, "run", inputs / "cat.yaml", "--params", inputs / "passing.yaml")
    assert (answer.exit_code, answer.stderr.strip().splitlines()[-1]) == (
        1,
        "error: no space for a checkpoint",
    )
    client = track._connect(Home(home).tracking_uri)
    experiment = client.get_experiment_by_name(track.EXPERIMENT)
    parents = [
        r
        for r in client.search_runs([experiment.experiment_id])
        if "mlflow.parentRunId" not in r.data.tags
    ]
    assert [r.info.status for r in parents] == ["FAILED"]


# Taking a request back, choosing a method, citing


def test_a_restored_request_is_out_of_the_next_version_and_its_pictures_are_measured(inputs, home):
    passing = ("--params", inputs / "passing.yaml")
    only = erasure(home, "run", inputs / "cat.yaml", *passing)
    assert only.exit_code == 0
    refused = erasure(home, "restore", CAT, "--reason", "withdrawn", *passing)
    assert (refused.exit_code, "is the only one that is honoured" in refused.stderr) == (2, True)
    assert erasure(home, "run", inputs / "astronaut.yaml", *passing).exit_code == 0

    answer = erasure(
        home, "restore", CAT, "--reason", "withdrawn by the data subject", *passing, "--json"
    )
    assert answer.exit_code == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert (found["request_id"], found["request_ids"], found["model"]["version"]) == (
        CAT,
        [ASTRONAUT],
        3,
    )
    assert "restored.ssim[cat]" in {check["metric"] for check in found["gate"]["checks"]}
    record = Ledger(home / "requests").get(UUID(CAT))
    assert (record.state, record.version, record.reason) == (
        "restored",
        3,
        "withdrawn by the data subject",
    )
    audited = json.loads(erasure(home, "audit", CAT, "--json").stdout)
    assert (audited["intact"], audited["request"]["state"]) == (True, "restored")
    assert [
        v["restored_ids"]
        for v in json.loads(erasure(home, "audit", 3, "--json").stdout)["versions"]
    ] == [[CAT]]
    again = erasure(home, "run", inputs / "cat.yaml", *passing)
    assert (again.exit_code, "give a new request a new subject_request_id" in again.stderr) == (
        2,
        True,
    )


UNFIT = {
    "restore what is no id": (
        ("restore", "cat", "--reason", "r"),
        "'cat' is not a subject_request_id",
    ),
    "restore an unknown request": (
        ("restore", ASTRONAUT, "--reason", "r"),
        "is not among the 1 of",
    ),
    "restore what is pending": (
        ("restore", CAT, "--reason", "r"),
        "is pending; only an honoured request can be restored",
    ),
    "restore for no reason": (("restore", CAT, "--reason", " "), "--reason is empty"),
    "cite what was never made": (("cite", "--model", "9"), "no record of toy version 9"),
    "a method that is none": (
        ("run", "CAT.yaml", "--method", "erase_all"),
        "hold no method 'erase_all' (it is not a method)",
    ),
}


def test_a_version_is_exported_and_cleans_pictures(ran, base, tmp_path):
    home, inputs, _ = ran
    passing = ("--params", inputs / "passing.yaml")
    for form, name in (
        ("diffusers", "whole"),
        ("delta", "toy-v2-delta.safetensors"),
        ("single-file", "toy-v2-single-file.safetensors"),
    ):
        out = tmp_path / ("whole" if form == "diffusers" else "files")
        answer = erasure(
            home, "export", "--model", "champion", "--format", form, "--out", out, *passing
        )
        assert answer.exit_code == 0, answer.stderr
        assert Path(answer.stdout.strip()).name == name
    weights = tmp_path / "whole/unet/diffusion_pytorch_model.safetensors"
    with safe_open(weights, framework="pt") as file:
        said = file.metadata()
    assert (said["request_ids"], said["method"]) == (ASTRONAUT, "all_but_one")
    drawn = [
        erasure(
            home, "generate", "a cat", "--model", m, "--seed", 3, "--out", tmp_path / n, *passing
        )
        for m, n in ((2, "a"), (out.parent / "whole", "b"))
    ]
    assert [d.exit_code for d in drawn] == [0, 0]
    assert [sha256_file(f) for f in (tmp_path / "a").iterdir()] == [
        sha256_file(f) for f in (tmp_path / "b").iterdir()
    ]

    Image.new("RGB", (90, 40), (200, 30, 90)).save(tmp_path / "wide.jpg")
    answer = erasure(
        home,
        "purify",
        tmp_path / "wide.jpg",
        "--model",
        2,
        "--out",
        tmp_path / "clean",
        "--steps",
        3,
        *passing,
        "--json",
    )
    assert answer.exit_code == 0, answer.stderr
    (cleaned,) = json.loads(answer.stdout)["pictures"]
    assert (cleaned["fitted"], Image.open(cleaned["file"]).size) == (True, (32, 32))
    assert -1 <= cleaned["ssim"] <= 1


NOT_HANDED_OUT = {
    "export an unknown version": (
        ("export", "--model", "9", "--format", "delta", "--out", "OUT"),
        "no record of toy version 9",
    ),
    "export as what is no form": (
        ("export", "--model", "2", "--format", "onnx", "--out", "OUT"),
        "'onnx' is none of diffusers, delta, lora",
    ),
    "export what is no version": (
        ("export", "--model", "base", "--format", "delta", "--out", "OUT"),
        "'base' is none of candidate, champion",
    ),
    "purify what is no picture": (
        ("purify", "TEXT", "--model", "2", "--out", "OUT"),
        "is not a whole PNG or JPEG picture",
    ),
    "purify with nothing": (
        ("purify", "PICTURE", "--model", "./none.safetensors", "--out", "OUT"),
        "is not a readable safetensors file",
    ),
    "purify two of one name": (
        ("purify", "PICTURE", "PICTURE", "--model", "2", "--out", "OUT"),
        "would hold picture.png twice",
    ),
    "purify with too many steps": (
        ("purify", "PICTURE", "--model", "2", "--out", "OUT", "--steps", "1001"),
        "this base allows 1..999",
    ),
}


@pytest.mark.parametrize("fault", NOT_HANDED_OUT)
def test_what_cannot_be_handed_out_writes_nothing(fault, ran, tmp_path):
    home, inputs, _ = ran
    Image.new("RGB", (40, 40)).save(tmp_path / "picture.png")
    (tmp_path / "text.png").write_text("no picture")
    words, expected = NOT_HANDED_OUT[fault]
    places = {
        "OUT": tmp_path / "out",
        "TEXT": tmp_path / "text.png",
        "PICTURE": tmp_path / "picture.png",
    }
    answer = erasure(home, *(places.get(w, w) for w in words), "--params", inputs / "passing.yaml")
    assert (answer.exit_code, len(answer.stderr.strip().splitlines())) == (2, 1), answer.stderr
    assert expected in answer.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fault", UNFIT)
def test_what_cannot_be_done_is_one_line_and_changes_nothing(fault, inputs, home):
    arguments, expected = UNFIT[fault]
    before = state(home)
    given = [inputs / "cat.yaml" if a == "CAT.yaml" else a for a in arguments]
    answer = erasure(home, *given, "--params", inputs / "passing.yaml")
    assert answer.exit_code == 2
    *first, line = answer.stderr.splitlines()
    assert expected in line
    assert len(first) == (arguments[0] in {"run", "restore"})  # what a long command says at once
    assert state(home) == before


def test_methods_and_the_papers_of_a_version_are_listed(ran):
    home, inputs, _ = ran
    listed = json.loads(erasure(home, "methods", "--json").stdout)["methods"]
    assert {m["method"] for m in listed} == METHODS.keys()
    assert all(all(m.values()) for m in listed)
    cited = json.loads(
        erasure(home, "cite", "--model", 2, "--params", inputs / "passing.yaml", "--json").stdout
    )
    papers = {p["used"]: p["paper"] for p in cited["papers"]}
    assert papers.keys() == {
        "method all_but_one",
        "measurement nudenet",
        "measurement ssim",
        "measurement clip",
    }
    assert "arXiv:2312.12807" in papers["method all_but_one"]
