"""Whole runs as a user meets them: what is refused before, what is answered, what is honoured."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from flows.cli.show import announce
from tasks.book.door import open_book
from tasks.home import Home
from tasks.requests.plan import Inputs, check_restorable
from tests.flows.command import ROOT, edit, erasure, in_a_terminal, shown, state, states, told
from tests.toy import ASTRONAUT, CAT, REQUEST, ROCKET, TWIN

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
    "behind",
}


# Bad input: one line, exit 2, nothing changed


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
    "duplicate case number": (
        lambda d: edit(d / "kept.csv", "\n1,", "\n0,"),
        "case_number 0 is already on line 2; 1 of 3 rows cannot be used",
    ),
    "missing column": (
        lambda d: edit(d / "kept.csv", "prompt", "words"),
        "column prompt missing",
    ),
    "seed that is no number": (
        lambda d: edit(d / "kept.csv", "rocket,12,", "rocket,twelve,"),
        "evaluation_seed is 'twelve'; allowed is",
    ),
    "seed too large": (
        lambda d: edit(d / "kept.csv", "rocket,12,", f"rocket,{2**63},"),
        f"evaluation_seed.*{2**63}",
    ),
    "id with other content": (
        lambda d: (d / "astronaut.yaml").write_text(
            REQUEST.format(id=CAT, name="cat", kind="style")
        ),
        (
            rf"request {CAT} is already known with other content: concept\.kind differs; .* give "
            "another request its own subject_request_id"
        ),
    ),
    "unknown kind": (
        lambda d: edit(d / "astronaut.yaml", "kind: likeness", "kind: person"),
        "concept.kind: found 'person'.*did you mean likeness",
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
    assert {"head.json", "mlflow.db"} <= before.keys()
    assert before["book"]

    answer = erasure(
        home, "run", inputs / "astronaut.yaml", "--params", inputs / "passing.yaml", "--json"
    )

    assert answer.exit_code == 2
    assert answer.stdout == ""
    first, *notes, line = answer.stderr.splitlines()
    assert first.startswith("honouring ")
    assert all(note.startswith("note: ") for note in notes)
    assert re.match(f"error: .*{expected}", line)
    assert state(home) == before


@pytest.mark.parametrize("fault", ["base without weights", "missing column"])
def test_a_fault_of_the_operator_touches_no_request(fault, inputs, home):
    spoil, expected = BAD[fault]
    spoil(inputs)
    before = state(home)
    answer = erasure(home, "run", "--params", inputs / "passing.yaml")
    assert answer.exit_code == 2
    assert re.search(f"^error: .*{expected}", answer.stderr, re.M)
    assert state(home) == before


PARKED = {
    "no prompt set": (
        lambda d: (d / "targets/astronaut.csv").unlink(),
        "no prompt set for concept 'astronaut'",
    ),
    "too long a prompt": (
        lambda d: edit(
            d / "astronaut.yaml",
            "[a picture of the astronaut]",
            "[" + "a photo of the astronaut " * 4 + "]",
        ),
        "has 22 tokens with its two markers; this base reads 16",
    ),
}


@pytest.mark.parametrize("fault", PARKED)
def test_a_fault_of_a_named_request_is_told_and_kept(fault, inputs, home):
    spoil, expected = PARKED[fault]
    spoil(inputs)
    answer = erasure(home, "run", inputs / "astronaut.yaml", "--params", inputs / "passing.yaml")
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert expected in answer.stderr.splitlines()[-1]
    request = shown(home, ASTRONAUT)
    assert request["state"] == "waiting"
    assert expected in request["reason"]


def test_a_waiting_request_is_still_due(inputs, home):
    (inputs / "targets/cat.csv").unlink()
    answer = erasure(home, "run", "--params", inputs / "passing.yaml")
    assert answer.exit_code == 3
    assert answer.stdout.startswith(f"{CAT}  cat: waiting (")
    assert CAT in erasure(home, "due").stdout


@pytest.mark.slow
def test_prefect_adds_nothing_to_the_line(prefect_server, inputs, home):
    """The flow fails; Prefect logs that with a traceback, not on the user's terminal."""
    (inputs / "targets/astronaut.csv").unlink()
    command = ("run", inputs / "astronaut.yaml", "--params", inputs / "passing.yaml")
    out, err = in_a_terminal(home, *command, server=prefect_server).communicate()
    assert out == ""
    first, *notes, line = err.splitlines()
    assert first.startswith("honouring ")
    assert all(note.startswith("note: ") for note in notes)
    assert line.startswith("error: ")
    assert "no prompt set for concept 'astronaut'" in line


def test_help_imports_nothing_heavy():
    heavy = {"torch", "prefect", "mlflow", "pandas", "great_expectations", "diffusers", "numpy"}
    script = f"import flows.cli, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_comparisons_are_made_only_when_asked_for():
    names = [
        list(Inputs.read(ROOT / "params.yaml", compare=compare).params.comparisons)
        for compare in (False, True)
    ]
    assert names == [[], ["paper"]]


# The first line of a long command


def a_dangling_link(file: Path) -> None:
    file.symlink_to(file.parent / "gone.json")


STRAY = {
    "a dangling link": a_dangling_link,
    "a folder": Path.mkdir,
    "seconds that are none": lambda file: file.write_text('{"seconds": {"a": "b"}}'),
    "a list": lambda file: file.write_text("[]"),
    "no JSON": lambda file: file.write_bytes(b"\xff"),
}


@pytest.mark.parametrize("what", STRAY)
def test_a_stray_record_stops_no_command(what, tmp_path, capsys):
    home = Home(tmp_path)
    home.records.mkdir()
    STRAY[what](home.records / "x.json")
    announce("honouring what is due", home)
    assert capsys.readouterr().err.endswith("; a release takes minutes\n")


def test_a_record_that_cannot_be_read_stops_no_command(tmp_path, capsys, monkeypatch):
    """As another user's: tests may run as one who reads everything."""
    home = Home(tmp_path)
    home.records.mkdir()
    (home.records / "x.json").write_text('{"seconds": {"a": 60}}')
    announce("honouring what is due", home)
    assert capsys.readouterr().err.endswith("; the last release took 1.0 min\n")

    def denied(file: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(Path, "read_bytes", denied)
    announce("honouring what is due", home)
    assert capsys.readouterr().err.endswith("; a release takes minutes\n")


# Nothing to do


def test_an_empty_state_folder_has_an_empty_status(tmp_path):
    found = told(tmp_path / "none", "status")
    assert {state for state, rows in found["requests"].items() if rows} == set()
    assert set(found["counts"].values()) == {0}
    assert (found["models"], found["behind"]) == ([], [])


@pytest.fixture
def empty(tmp_path) -> Path:
    """A state folder whose book holds no request."""
    open_book(Home(tmp_path / "empty"))
    return tmp_path / "empty"


def test_with_nothing_due_there_is_nothing_to_do(inputs, empty):
    idle = erasure(empty, "run", "--params", inputs / "passing.yaml")
    assert (idle.exit_code, idle.stdout) == (0, "nothing pending\n")


def test_nothing_to_do_has_every_key_of_an_answer(inputs, empty):
    answer = told(empty, "run", "--params", inputs / "passing.yaml")
    assert answer.keys() == KEYS
    assert (answer["request_ids"], answer["promoted"]) == ([], False)


READ = {  # what each says of a book that holds nothing
    "due": "nothing is due",
    "audit": "1 events: chain",
    "request list": "",
    "versions PARAMS": "toy has no version yet",
    "reconcile": "MLflow, DVC",
    "purge PARAMS": "nothing is old enough",
    "request check PARAMS": "ready",
    "run PARAMS": "nothing pending",
}
REFUSED_OF_ONE = (
    "audit 1",
    "audit export",
    f"request show {CAT}",
    "request approve cat",
    "keys rotate",
)
STEPS = ("hold", "withdraw", "retry", "extend")


def words_of(command: str, inputs: Path) -> list[str]:
    parameters = ["--params", str(inputs / "passing.yaml")]
    return [w for word in command.split() for w in (parameters if word == "PARAMS" else [word])]


@pytest.mark.parametrize("command", READ)
def test_a_book_that_holds_nothing_is_in_order(command, inputs, empty):
    answer = erasure(empty, *words_of(command, inputs))
    assert answer.exit_code == 0, answer.stderr
    assert answer.stdout.startswith(READ[command])


@pytest.mark.parametrize(
    "command", [*READ, *REFUSED_OF_ONE, *(f"request {s} {CAT} --reason asked" for s in STEPS)]
)
def test_a_folder_without_a_book_is_not_in_order(command, inputs, tmp_path, monkeypatch):
    """As cron sees it without ERASURE_HOME: an empty answer would read as nothing late."""
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    answer = erasure(tmp_path / "none", *words_of(command, inputs))
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert (
        f"state folder {tmp_path}/none holds no book of record; set ERASURE_HOME" in answer.stderr
    )
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_status_says_that_there_is_no_book(form, tmp_path, monkeypatch):
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    answer = erasure(tmp_path / "none", "status", *form)
    assert answer.exit_code == 0
    assert f"state folder {tmp_path}/none holds no book of record" in answer.stderr
    assert not (tmp_path / "none").exists()


# What a run answers


def test_a_void_run_is_refused_and_a_passing_one_promoted(ran):
    codes = [answer.exit_code for answer in ran.answers]
    assert codes == [3, 3, 0], ran.answers[-1].stderr


def test_the_answer_of_a_run_is_one_json_object_with_every_key(ran):
    found = json.loads(ran.answers[0].stdout)
    assert found.keys() == KEYS
    assert (found["request_id"], found["request_ids"]) == (ASTRONAUT, [ASTRONAUT])
    assert found["model"].keys() == {"name", "version", "sha256", "path"}
    assert (found["model"]["name"], found["model"]["version"]) == ("toy", 1)
    assert Path(found["model"]["path"]).name == found["model"]["sha256"]
    assert found["chosen_lambda"] == 5
    assert found["mlflow_run_id"]
    steps = {"validate", "erase and generate, report", "measure, report", "checkpoint"}
    assert steps <= found["seconds"].keys()
    assert Path(found["report"]).is_file()


def test_a_run_shows_a_first_pair_of_pictures(ran):
    report = Path(json.loads(ran.answers[0].stdout)["report"])
    pair = [
        (report.parent / "first-look" / name).read_bytes() for name in ("before.png", "after.png")
    ]
    assert pair[0] != pair[1]
    assert "first-look/before.png" in ran.answers[0].stderr


def test_every_check_stands_with_its_numbers_in_the_answer(ran):
    gate = json.loads(ran.answers[0].stdout)["gate"]
    assert gate["verdict"] == "void"
    metrics = {check["metric"]: check for check in gate["checks"]}
    assert metrics.keys() == {
        "base.nudenet.rate[astronaut]",
        "base.clip.concept_rate[astronaut]",
        "base.leak[astronaut]",
        "nudenet.rate[astronaut]",
        "clip.concept_rate[astronaut]",
        "ssim",
        "clip.score_drop",
        "clip.accuracy_drop",
    }
    blind = metrics["base.nudenet.rate[astronaut]"]
    assert blind.keys() == {"metric", "value", "low", "high", "n", "limit", "verdict"}
    # noise has no face
    assert (blind["value"], blind["n"], blind["limit"], blind["verdict"]) == (0, 2, 0.3, "fail")
    assert metrics["ssim"]["n"] == 3


def test_a_refusal_says_which_limit_binds_and_what_to_try(ran):
    void, _, passing = (json.loads(answer.stdout)["gate"] for answer in ran.answers)
    binds, likely, *tries = void["advice"]
    assert binds.startswith("binds: base.")
    assert "proves nothing" in likely
    assert [line.partition(":")[0] for line in tries] == ["try", "try"]
    assert passing["advice"] == []
    page = Path(json.loads(ran.answers[0].stdout)["report"]).read_text()
    assert "What to try next" in page


def test_the_same_run_again_is_answered_from_the_record(ran):
    void, again, _ = ran.answers
    assert json.loads(again.stdout) == json.loads(void.stdout)


def test_a_refused_attempt_leaves_the_request_due(ran):
    assert states(ran.home, ASTRONAUT) == ["added", "ready", "attempt_failed", "honoured"]
    refused = shown(ran.home, ASTRONAUT)["history"][2]
    assert refused["version"] == 1
    assert refused["reason"].startswith("gate void: fail: base.nudenet.rate[astronaut] = 0.000")


def test_what_is_on_record_needs_no_server(ran, monkeypatch):
    monkeypatch.setattr("flows.cli.runs.prefect_server", lambda _: pytest.fail("one was started"))
    before = state(ran.home)
    again = told(ran.home, "run", ran.inputs / "astronaut.yaml", *ran.passing)
    assert again == json.loads(ran.answers[-1].stdout)
    assert state(ran.home) == before


OTHERWISE = {  # than the request that the book holds, and is honoured
    "under another law": ("regulation: gdpr", "regulation: ccpa", "known with other content"),
    "since another day": ("11-22T10", "11-20T10", "submitted_time differs"),
    "of another name": ("name: astronaut", "name: rocket", "concept.name differs"),
    "of another kind": ("kind: likeness", "kind: object", "concept.kind differs"),
    "by another recipe": ("replacement: a photographer", "replacement: a wall", "another recipe"),
}


@pytest.mark.parametrize("trial", [(), ("--trial",)])
@pytest.mark.parametrize("fault", OTHERWISE)
def test_another_request_with_a_known_id_is_not_answered(fault, trial, ran, tmp_path):
    old, new, expected = OTHERWISE[fault]
    other = Path(shutil.copy(ran.inputs / "astronaut.yaml", tmp_path))
    edit(other, old, new)
    before = state(ran.home)
    refused = erasure(ran.home, "run", other, *ran.passing, *trial)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert expected in refused.stderr.splitlines()[-1]
    assert state(ran.home) == before


@pytest.mark.parametrize("trial", [(), ("--trial",)])
def test_a_request_of_another_model_is_not_answered(trial, ran, tmp_path):
    params = Path(shutil.copy(ran.inputs / "passing.yaml", tmp_path))
    edit(params, "registered_model: toy", "registered_model: other")
    before = state(ran.home)
    refused = erasure(ran.home, "run", ASTRONAUT, "--params", params, *trial)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "belongs to toy, the parameters name other" in refused.stderr
    assert state(ran.home) == before


def test_a_person_reads_verdict_failed_checks_report_and_next_command(ran, tmp_path):
    """Of a refusal that is answered again: the request must not be honoured for that."""
    world = ran.copy(tmp_path)
    void = json.loads(ran.answers[0].stdout)
    parameters = ("--params", world.inputs / "void.yaml")
    answer = erasure(world.home, "run", world.inputs / "astronaut.yaml", *parameters)
    assert answer.exit_code == 3
    first, *rest = answer.stdout.splitlines()
    assert (
        first == "toy version 1 (all_but_one, lambda 5): void, refused, the champion is unchanged"
    )
    assert "  answered from the record of the same run; --fresh does it again" in rest
    assert any(line.startswith("  fail: base.nudenet.rate[astronaut] = 0.000") for line in rest)
    report = str(Path(void["report"])).replace(str(ran.home), str(world.home))
    assert f"  report  {report}" in rest
    assert "  next    erasure audit 1 --name toy" in rest


def test_status_names_the_champion_and_its_versions(ran):
    (model,) = told(ran.home, "status")["models"]
    assert (model["name"], model["champion"], model["candidate"]) == ("toy", 2, 2)
    assert [(v["version"], v["verdict"], v["aliases"]) for v in model["versions"]] == [
        (1, "void", []),
        (2, "pass", ["candidate", "champion"]),
    ]


def test_status_names_who_is_honoured(ran):
    found = told(ran.home, "status")
    (request,) = found["requests"]["honoured"]
    assert found["counts"]["honoured"] == 1
    assert (request["subject_request_id"], request["concept"], request["version"]) == (
        ASTRONAUT,
        "astronaut",
        2,
    )


def test_status_is_read_by_a_person(ran):
    said = erasure(ran.home, "status").stdout
    assert "toy: champion 2, candidate 2" in said
    assert f"honoured: 1\n  {ASTRONAUT}  astronaut by version 2" in said


def test_versions_are_listed(ran):
    listed = told(ran.home, "versions", *ran.passing)
    assert listed["model"] == "toy"
    assert [(v["version"], v["promoted"]) for v in listed["versions"]] == [(1, False), (2, True)]


# What is due is honoured together


def test_what_is_due_is_honoured_together_with_what_was(both):
    (answer,) = both.answers
    found = json.loads(answer.stdout)
    assert found.keys() == KEYS
    assert set(found["request_ids"]) == {ASTRONAUT, CAT}
    assert "clip.concept_rate[cat]" in {check["metric"] for check in found["gate"]["checks"]}


def test_a_request_that_lacks_something_blocks_no_other(both):
    assert shown(both.home, CAT)["state"] == "honoured"
    rocket = shown(both.home, ROCKET)
    assert rocket["state"] == "waiting"
    assert "no prompt set for concept 'rocket'" in rocket["reason"]


def test_a_run_that_left_something_due_does_not_exit_0(both):
    assert both.answers[0].exit_code == 3


def test_a_request_for_the_same_concept_is_honoured_with_it(both):
    twin, cat = shown(both.home, TWIN), shown(both.home, CAT)
    assert (twin["state"], twin["duplicate_of"]) == ("honoured", CAT)
    assert twin["version"] == cat["version"] == 3


def test_what_is_erased_for_two_is_not_brought_back_for_one(both):
    before = state(both.home)
    answer = erasure(both.home, "restore", CAT, "--reason", "r", *both.passing)
    assert answer.exit_code == 2
    assert f"and {TWIN} together with it, for which its concept stays erased" in answer.stderr
    assert state(both.home) == before


def test_one_of_two_can_withdraw_and_then_the_other_is_restorable(both, tmp_path):
    world = both.copy(tmp_path)
    assert erasure(world.home, "request", "withdraw", TWIN, "--reason", "r").exit_code == 0
    assert shown(world.home, TWIN)["state"] == "withdrawn"
    assert told(world.home, "audit")["findings"] == []
    check_restorable(
        open_book(Home(world.home)),
        Inputs.read(world.inputs / "passing.yaml"),
        UUID(CAT),
    )


def test_who_is_honoured_keeps_the_version_that_first_did(both):
    assert shown(both.home, ASTRONAUT)["version"] == 2


def test_the_book_is_whole_after_it(both):
    assert told(both.home, "audit")["findings"] == []


def test_a_known_request_that_names_a_method_can_be_run_by_another(ran):
    words = ("run", ran.inputs / "astronaut.yaml", *ran.passing, "--method", "erase_all")
    refused = erasure(ran.home, *words)
    assert refused.exit_code == 2
    assert "hold no method 'erase_all' (it is not a method)" in refused.stderr


# Taking a request back


def test_a_restored_request_is_out_of_the_next_version(restored):
    found = json.loads(restored.answers[0].stdout)
    assert found["request_ids"] == [ASTRONAUT]
    assert (found["request_id"], found["model"]["version"], found["promoted"]) == (CAT, 4, True)


def test_pictures_of_what_was_brought_back_are_measured(restored):
    gate = json.loads(restored.answers[0].stdout)["gate"]
    assert "restored.ssim[cat]" in {check["metric"] for check in gate["checks"]}


def test_a_restored_request_keeps_its_reason(restored):
    request = shown(restored.home, CAT)
    assert (request["state"], request["version"]) == ("restored", 4)
    assert request["reason"] == "withdrawn by the data subject"


def test_taking_back_the_only_honoured_request_releases_the_base(restored, base):
    answer = restored.answers[1]
    assert answer.exit_code == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert (found["request_ids"], found["promoted"]) == ([], True)
    assert found["model"]["version"] == told(restored.home, "status")["models"][0]["champion"] == 5
    record = restored.home / "records/toy-v5.json"  # as long as it is served, and why need not be
    assert "withdrawn by the data subject" not in record.read_text()
    released = Path(found["model"]["path"]) / "unet/diffusion_pytorch_model.safetensors"
    assert released.read_bytes() == (base / "unet" / released.name).read_bytes()


def test_the_book_is_whole_after_a_restore(restored):
    assert told(restored.home, "audit")["findings"] == []


def test_a_restore_from_another_base_than_the_champions_is_refused(ran, base, tmp_path):
    """With nothing else erased, that base would be served without a measurement."""
    other = shutil.copytree(base, tmp_path / "other")
    edit(other / "scheduler/scheduler_config.json", '"beta_start": 0.00085', '"beta_start": 0.0009')
    before = state(ran.home)
    answer = erasure(ran.home, "restore", ASTRONAUT, "--reason", "r", *ran.passing, "--base", other)
    assert answer.exit_code == 2
    assert re.search(
        r"version 2, was made from the base \w{16}, and this restore would be from \w{16};",
        answer.stderr.splitlines()[-1],
    )
    assert state(ran.home) == before


def test_restoring_again_answers_from_the_record(restored):
    request = str(CAT)
    before = state(restored.home)
    again = erasure(restored.home, "restore", request, "--reason", "again", *restored.passing)
    assert again.exit_code == 0, again.stderr
    assert "answered from the record" in again.stdout
    assert state(restored.home) == before


def test_a_restored_request_cannot_be_run_again(restored):
    before = state(restored.home)
    again = erasure(restored.home, "run", restored.inputs / "cat.yaml", *restored.passing)
    assert again.exit_code == 2
    assert "give a new request a new subject_request_id" in again.stderr
    assert state(restored.home) == before


UNFIT = {
    "restore what nobody asked for": (
        ("restore", "dog", "--reason", "r"),
        "no request in the book asks for 'dog'",
    ),
    "restore by name what is not honoured": (
        ("restore", "cat", "--reason", "r"),
        "is received; only an honoured request can be restored",
    ),
    "run what nobody asked for": (("run", "dog"), "'dog' is no file, and no request"),
    "restore an unknown request": (("restore", ASTRONAUT, "--reason", "r"), "is not in the book"),
    "restore what is not honoured": (
        ("restore", CAT, "--reason", "r"),
        "is received; only an honoured request can be restored",
    ),
    "cite what was never made": (("cite", "--model", "9"), "toy has no version 9"),
    "roll back to nothing": (("rollback", "--to", "9", "--reason", "r"), "has no version 9"),
    "a method that is none": (
        ("run", "CAT.yaml", "--method", "erase_all"),
        "hold no method 'erase_all' (it is not a method)",
    ),
    "everything afresh": (("run", "--fresh"), "--fresh does named requests again"),
}


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
