"""MLflow is a mirror: whatever a mirroring was killed at, doing it again ends where an undisturbed
one does.
"""

import hashlib
import json
import math
import os
import shutil
import sqlite3
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import _validate_metric_name

from erasure_core.errors import ErasureError
from erasure_core.law.gates import Measurement
from tasks.home import Home
from tasks.registry import client as mlflow_client
from tasks.registry import packaging, runs, versions
from tasks.registry.packaging import VersionFacts, digests
from tasks.registry.runs import (
    CandidateRun,
    PromptSet,
    RunFacts,
    flatten,
    mirror_run,
    tags_of_run,
    unfinished_runs,
)
from tasks.registry.versions import (
    expected,
    mirror_aliases,
    mirror_version,
    seen,
    version_numbers,
)

KEY = mlflow_client.KEY
BOOK, OTHERS = "0123456789abcdef", "fedcba9876543210"
FACTS = RunFacts(
    model="gallery",
    folder="abcd",
    name="erase",
    tags={"run.key": "ab"},
    settings={"seed": 7},
    prompt_sets=[PromptSet("target 12345678", "12" * 32, "report")],
    book=BOOK,
)


@pytest.fixture
def fresh(mlflow_template, tmp_path_factory, monkeypatch):
    """Makes state folders with an empty MLflow."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def fresh() -> Home:
        home = Home(tmp_path_factory.mktemp("home"))
        shutil.copy(mlflow_template, home.root / "mlflow.db")
        return home

    return fresh


@pytest.fixture
def home(fresh) -> Home:
    return fresh()


@pytest.fixture
def client(home):
    from mlflow import MlflowClient

    return MlflowClient(home.tracking_uri)


@pytest.fixture
def candidate(tmp_path) -> CandidateRun:
    grid = tmp_path / "grid.png"
    grid.write_bytes(b"png")
    return CandidateRun(
        "lambda=5",
        settings={"lambda": 5.0, "method": {"group": "full", "prompts": "x" * 7000}},
        measurements=[Measurement("nudenet.rate[neon sign]", 0.25, 0.125, 0.5, 40, "lower")],
        losses=[1.0 / (step + 1) for step in range(2500)],  # more than MLflow takes in one call
        artifacts=[grid],
        tags={"delta.sha256": "ab" * 32},
    )


@pytest.fixture
def brief(candidate) -> CandidateRun:
    """One that costs little to log again and again."""
    return replace(candidate, losses=[0.5, 0.25])


@pytest.fixture
def run_of(tmp_path):
    """Mirrors one run with the given candidates and a report."""
    report = tmp_path / "report.html"
    report.write_text("report")

    def run_of(home: Home, *candidates: CandidateRun, key: str = "run-1") -> str:
        return mirror_run(home, key, FACTS, candidates=candidates, artifacts=[report])

    return run_of


@pytest.fixture
def run(run_of, brief):
    """Mirrors a brief run with two candidates."""

    def run(home: Home, key: str = "run-1") -> str:
        return run_of(home, brief, replace(brief, name="lambda=6"), key=key)

    return run


@pytest.fixture
def facts():
    """Facts of a version; its run need not exist."""

    def facts(version: int = 1, verdict: str = "pass", pointer: str | None = "outs: []\n"):
        return VersionFacts(
            model="gallery",
            version=version,
            tags={"gate.verdict": verdict, "candidate": "lambda=5"},
            statement=f'{{"statement": {version}}}\n'.encode(),
            pointer=pointer,
            steps=12,
            guidance=4.0,
            run_id="0" * 32,
            description="erases the astronaut",
            book=BOOK,
        )

    return facts


@pytest.fixture
def point(facts):
    """Lets the aliases of a book point at versions of `facts`."""

    def point(home: Home, wanted: dict[str, int | None], book: str = BOOK) -> None:
        keys = {number: facts(number).key for number in wanted.values() if number}
        mirror_aliases(home, book, "gallery", wanted, keys)

    return point


class Killed(BaseException):
    """The process ends here."""


class Dying:
    """MLflow's client, in a process that is killed once `last` calls of it have taken effect."""

    def __init__(self, client, calls: list[str], last: float):
        self.client, self.calls, self.last = client, calls, last

    def __getattr__(self, name):
        method = getattr(self.client, name)

        def call(*args, **kwargs):
            if len(self.calls) >= self.last:
                raise Killed
            answer = method(*args, **kwargs)
            self.calls.append(name)
            if len(self.calls) == self.last:
                raise Killed
            return answer

        return call


@contextmanager
def dying(last: float):
    """Everything in the block is killed at a call to MLflow; yields the names of its calls."""
    connect, files_at, calls = mlflow_client.connect, mlflow_client.files_at, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow_client, "connect", lambda uri: Dying(connect(uri), calls, last))
        for module in (runs, versions):
            patch.setattr(module, "files_at", lambda *at: Dying(files_at(*at), calls, last))
        yield calls


def after_every_kill(mirror, fresh, state):
    """Mirror undisturbed; then, for each of its calls, be killed there and mirror again. Yields
    the call, the state then, and the state of the undisturbed one.
    """
    undisturbed = fresh()
    with dying(math.inf) as calls:
        mirror(undisturbed)
    assert len(calls) > 3
    for last in range(len(calls) + 1):
        home = fresh()
        with dying(last), pytest.raises(Killed):
            mirror(home)
        mirror(home)
        yield (["nothing", *calls][last], last), state(home), state(undisturbed)


def run_state(home: Home):
    """Every run that is shown, without what no two runs share, and whether any seems to run."""
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    client = MlflowClient(home.tracking_uri)
    experiment = client.get_experiment_by_name("erasure").experiment_id
    runs = client.search_runs([experiment])
    shown = [
        (
            run.info.run_name,
            run.info.status,
            {k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.")},
            run.data.params,
            run.data.metrics,
            len(client.get_metric_history(run.info.run_id, "loss")),
            [file.path for file in client.list_artifacts(run.info.run_id)],
            "mlflow.parentRunId" in run.data.tags,
        )
        for run in runs
    ]
    every = client.search_runs([experiment], run_view_type=ViewType.ALL)
    return sorted(shown, key=str), [r.info.run_id for r in every if r.info.status == "RUNNING"]


def version_state(home: Home, book: str = BOOK):
    """Every version as it is seen, the aliases, and every LoggedModel there is."""
    from mlflow import MlflowClient

    client = MlflowClient(home.tracking_uri)
    experiment = client.get_experiment_by_name("erasure").experiment_id
    numbers = version_numbers(home, book, "gallery")
    models = client.search_logged_models([experiment])
    return (
        {number: seen(home, "gallery", number) for number in numbers},
        versions.aliases(home, "gallery"),
        sorted((model.tags[KEY], model.status) for model in models),
    )


@pytest.mark.slow
def test_a_run_killed_at_any_call_ends_like_an_undisturbed_one(run, fresh):
    for call, state, undisturbed in after_every_kill(run, fresh, run_state):
        assert state == undisturbed, f"killed after {call}"
    assert undisturbed[1] == []
    assert len(undisturbed[0]) == 3


@pytest.mark.slow
def test_a_repeat_that_is_killed_too_changes_nothing(run, fresh):
    """A kill while a half-made run is being cleared away, at each call of that."""
    undisturbed = fresh()
    run(undisturbed)
    for last in range(1, 9):
        half = fresh()
        for killed_at in (6, last):
            with dying(killed_at), pytest.raises(Killed):
                run(half)
        run(half)
        assert run_state(half) == run_state(undisturbed), f"killed at call {last} of the repeat"


@pytest.mark.slow  # as of a run, which is tried each time
def test_a_version_killed_at_any_call_ends_like_an_undisturbed_one(facts, fresh, point):
    def mirror(home):
        mirror_version(home, facts(1))
        mirror_version(home, facts(2))
        point(home, {"candidate": 2, "champion": 1})

    for call, state, undisturbed in after_every_kill(mirror, fresh, version_state):
        assert state == undisturbed, f"killed after {call}"
    assert list(undisturbed[0]) == [1, 2]


def test_a_finished_run_is_found_again_and_not_written(run, home, client):
    first = run(home)
    with dying(math.inf) as calls:
        assert run(home) == first
    assert {name.split("_")[0] for name in calls} <= {"get", "search", "list"}


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("erasure.model", FACTS.model),
        ("mlflow.runName", FACTS.name),
        ("mlflow.note.content", "*x*"),
    ],
)
def test_a_finished_run_gets_back_what_was_changed(tag, value, home, client):
    run_id = mirror_run(home, "run-1", FACTS, note="*x*")
    client.set_tag(run_id, tag, "other")
    assert mirror_run(home, "run-1", FACTS, note="*x*") == run_id
    assert tags_of_run(home, run_id)[tag] == value
    assert client.get_run(run_id).info.run_name == FACTS.name


def test_a_run_that_was_deleted_comes_back(run, home, client):
    run_id = run(home)
    client.delete_run(run_id)
    assert tags_of_run(home, run_id) is None
    assert run(home) == run_id
    assert tags_of_run(home, run_id)["erasure.key"] == "run-1"


def test_a_run_that_never_was_has_no_tags(run, home):
    assert tags_of_run(home, "0" * 32) is None
    run(home)
    assert tags_of_run(home, "0" * 32) is None


def test_two_keys_are_two_runs(run, home):
    assert run(home, "run-1") != run(home, "run-2")


def test_a_candidate_keeps_its_numbers_and_intervals(run_of, home, client, candidate):
    found = nested(client, run_of(home, candidate))["lambda=5"]
    numbers = {k: v for k, v in found.data.metrics.items() if k != "loss"}
    key = "nudenet.rate/neon sign"
    assert numbers == {key: 0.25, f"{key}.low": 0.125, f"{key}.high": 0.5, f"{key}.n": 40}


def test_a_candidate_keeps_every_loss(run_of, home, client, candidate):
    found = nested(client, run_of(home, candidate))["lambda=5"]
    history = client.get_metric_history(found.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == list(enumerate(candidate.losses))


def test_a_candidate_keeps_its_settings_flat_and_cut(run, home, client):
    params = nested(client, run(home))["lambda=5"].data.params
    assert (params["lambda"], params["method.group"]) == ("5.0", "full")
    assert params["method.prompts"].endswith("...")


def test_a_number_that_is_not_one_is_recorded_as_such(home, client, candidate):
    odd = replace(candidate, measurements=[Measurement("ssim", math.nan, 0.0, 1.0, 3, "higher")])
    run_id = mirror_run(home, "k", FACTS, candidates=[odd])
    assert math.isnan(nested(client, run_id)["lambda=5"].data.metrics["ssim"])


def nested(client, run_id: str) -> dict:
    experiment = client.get_run(run_id).info.experiment_id
    children = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{run_id}'")
    return {child.info.run_name: child for child in children}


HANDS = {
    "deleted": lambda client, i: client.delete_experiment(i),
    "renamed": lambda client, i: client.rename_experiment(i, "erased"),
    "renamed and deleted": lambda client, i: [
        client.rename_experiment(i, "erased"),
        client.delete_experiment(i),
    ],
}


def test_an_experiment_that_was_renamed_is_said_to_be(home, client, facts):
    mirror_version(home, facts())
    HANDS["renamed"](client, client.get_experiment_by_name("erasure").experiment_id)
    with pytest.raises(ErasureError, match="no experiment 'erasure'; it was renamed, or lost"):
        seen(home, "gallery", 1)


@pytest.mark.parametrize("hand", HANDS)
def test_an_experiment_that_a_hand_deleted_or_renamed_is_put_back(home, client, facts, hand):
    """Nothing could be mirrored any more, or all of it would be made a second time."""
    run_id = mirror_run(home, "gallery/1", FACTS)
    mirror_version(home, facts())
    own = client.get_experiment_by_name("erasure").experiment_id
    HANDS[hand](client, own)
    mirror_version(home, facts())
    assert mirror_run(home, "gallery/1", FACTS) == run_id
    assert client.get_experiment_by_name("erasure").experiment_id == own
    assert tags_of_run(home, run_id) is not None
    assert seen(home, "gallery", 1) == expected(facts())


def test_what_mlflows_database_cannot_do_is_raised_and_not_printed(home, client, capfd):
    """As on a full disk; MLflow's own log adds a traceback, which nobody is shown here."""
    with sqlite3.connect(home.root / "mlflow.db") as database:
        database.execute("DROP TABLE experiments")
    with pytest.raises(MlflowException, match="no such table"):
        mlflow_client.connect(home.tracking_uri).get_experiment_by_name("erasure")
    assert "Traceback" not in capfd.readouterr().err


def test_a_missing_file_opens_no_run(home, tmp_path):
    with pytest.raises(ErasureError, match=r"missing\.html: no such file"):
        mirror_run(home, "k", FACTS, artifacts=[tmp_path / "missing.html"])
    assert unfinished_runs(home, BOOK) == []


def test_a_run_that_was_killed_is_listed_as_unfinished(run, home):
    assert unfinished_runs(home, BOOK) == []
    with dying(14), pytest.raises(Killed):
        run(home)
    assert len(unfinished_runs(home, BOOK)) == 2


def test_a_draft_of_mlflows_own_that_a_kill_left_goes_when_the_run_is_mirrored_again(
    run, home, client
):
    with dying(11), pytest.raises(Killed):
        run(home)
    experiment = client.get_experiment_by_name("erasure").experiment_id
    (parent,) = client.search_runs([experiment], "tags.erasure.key = 'run-1'")
    draft = Path(parent.info.artifact_uri.removeprefix("file://")) / ".artifact.uploading.x1y2"
    draft.parent.mkdir(parents=True, exist_ok=True)
    draft.write_bytes(b"half")
    run(home)
    assert [file.name for file in draft.parent.iterdir()] == ["report.html"]


def test_so_does_one_of_a_versions_files(home, facts):
    mirror_version(home, facts())
    (script,) = home.artifacts.rglob("serve_model.py")
    script.unlink()
    draft = script.with_name(".artifact.uploading.x1y2")
    draft.write_bytes(b"half")
    mirror_version(home, facts())
    assert (script.exists(), draft.exists()) == (True, False)


def test_stored_files_have_the_mode_of_the_umask(run, home, facts, candidate):
    candidate.artifacts[0].chmod(0o600)
    before = os.umask(0o027)
    try:
        run(home)
        mirror_version(home, facts())
    finally:
        os.umask(before)
    modes = {f.stat().st_mode & 0o777 for f in home.artifacts.rglob("*") if f.is_file()}
    assert modes == {0o640}


def test_a_mirrored_version_is_seen_as_expected(home, facts):
    mirror_version(home, facts())
    assert seen(home, "gallery", 1) == expected(facts())


def test_a_version_without_a_pointer_is_seen_as_expected(home, facts):
    mirror_version(home, facts(pointer=None))
    assert seen(home, "gallery", 1) == expected(facts(pointer=None))
    assert "artifacts/checkpoint.dvc" not in digests(facts(pointer=None))


def test_the_stored_script_is_the_installed_one(home, facts):
    mirror_version(home, facts())
    script = hashlib.sha256(packaging.SCRIPT.read_bytes()).hexdigest()
    assert seen(home, "gallery", 1).files["serve_model.py"] == script


def stored(home: Home, name: str):
    (file,) = home.artifacts.rglob(name)
    return file


@pytest.mark.parametrize(
    "name", ["serve_model.py", "statement.json", "checkpoint.dvc", "MLmodel", "requirements.txt"]
)
def test_an_edited_stored_file_is_seen_and_put_back(name, home, facts):
    mirror_version(home, facts())
    stored(home, name).write_text("edited")
    assert seen(home, "gallery", 1) != expected(facts())
    mirror_version(home, facts())
    assert seen(home, "gallery", 1) == expected(facts())


def test_an_added_stored_file_is_seen(home, facts):
    mirror_version(home, facts())
    stored(home, "MLmodel").with_name("code.py").write_text("import os")
    assert "code.py" in seen(home, "gallery", 1).files


@pytest.mark.parametrize(
    "edit",
    [
        lambda client: client.set_model_version_tag("gallery", "1", "gate.verdict", "fail"),
        lambda client: client.delete_model_version_tag("gallery", "1", "candidate"),
        lambda client: client.set_model_version_tag("gallery", "1", "approved", "yes"),
        lambda client: client.update_model_version("gallery", "1", "erases nothing"),
    ],
    ids=["changed tag", "deleted tag", "added tag", "description"],
)
def test_an_edited_tag_is_seen_and_put_back(edit, home, client, facts):
    mirror_version(home, facts())
    edit(client)
    assert seen(home, "gallery", 1) != expected(facts())
    mirror_version(home, facts())
    assert seen(home, "gallery", 1) == expected(facts())


def test_a_version_that_is_right_is_not_written(home, facts):
    mirror_version(home, facts())
    with dying(math.inf) as calls:
        mirror_version(home, facts())
    assert {name.split("_")[0] for name in calls} <= {"get", "search", "list"}


def test_another_version_under_the_number_is_refused(home, facts):
    mirror_version(home, facts())
    other = replace(facts(), statement=b"other")
    with pytest.raises(ErasureError, match="version 1 is of this book, which does not know it"):
        mirror_version(home, other)
    assert seen(home, "gallery", 1) == expected(facts())


def test_a_version_made_by_hand_is_not_taken_over(home, client, facts):
    client.create_registered_model("gallery")
    client.create_model_version("gallery", "file:///nowhere")
    with pytest.raises(ErasureError, match=rf"the book's is {facts().key}.*another version"):
        mirror_version(home, facts())


def test_a_version_before_its_predecessor_is_refused(home, facts):
    mirror_version(home, facts(1))
    with pytest.raises(ErasureError, match="before version 2, which is not there"):
        mirror_version(home, facts(3))
    assert version_numbers(home, BOOK, "gallery") == [1]


def test_numbers_that_the_book_left_out_are_left_out(home, client, facts):
    """A version that 0.1 registered and never recorded."""
    mirror_version(home, replace(facts(version=3), before=0))
    mirror_version(home, replace(facts(version=5), before=3))
    assert version_numbers(home, BOOK, "gallery") == [3, 5]


@pytest.mark.slow
def test_after_every_kill_a_left_out_number_stays_out(facts, fresh):
    third = replace(facts(version=3), before=0)
    for call, state, undisturbed in after_every_kill(
        lambda home: mirror_version(home, third),
        fresh,
        lambda h: version_numbers(h, BOOK, "gallery"),
    ):
        assert state == undisturbed == [3], call


def test_a_number_burnt_by_a_deletion_is_refused(home, client, facts):
    mirror_version(home, facts(1))
    mirror_version(home, facts(2))
    client.delete_model_version("gallery", "2")
    with pytest.raises(ErasureError, match=r"version 2 as 3.*delete the registered model"):
        mirror_version(home, facts(2))
    assert version_numbers(home, BOOK, "gallery") == [1]


def test_after_deleting_the_model_every_version_is_mirrored_anew(home, client, facts):
    """What the refusals above tell the reader to do."""
    mirror_version(home, facts(1))
    mirror_version(home, facts(2))
    client.delete_registered_model("gallery")
    for version in (1, 2):
        mirror_version(home, facts(version))
    assert [seen(home, "gallery", v) == expected(facts(v)) for v in (1, 2)] == [True, True]


def test_a_version_whose_files_were_deleted_in_mlflow_is_said(home, client, facts):
    mirror_version(home, facts())
    experiment = client.get_experiment_by_name("erasure").experiment_id
    (model,) = client.search_logged_models([experiment])
    client.delete_logged_model(model.model_id)
    assert not seen(home, "gallery", 1).ready
    with pytest.raises(ErasureError, match=r"loads .* its files are in"):
        mirror_version(home, facts())


def test_aliases_are_moved_and_removed(home, facts, point):
    mirror_version(home, facts(1))
    mirror_version(home, facts(2))
    for wanted in (
        {"candidate": 1, "champion": 1},
        {"candidate": 2, "champion": 1},
        {"candidate": 2, "champion": None},
    ):
        point(home, wanted)
        assert versions.aliases(home, "gallery") == wanted


def test_an_alias_of_somebody_else_stays(home, client, facts, point):
    mirror_version(home, facts())
    client.set_registered_model_alias("gallery", "mine", "1")
    point(home, {"candidate": None, "champion": None})
    assert client.get_model_version_by_alias("gallery", "mine").aliases == ["mine"]


def test_an_alias_to_no_version_is_refused(home, facts, point):
    mirror_version(home, facts())
    with pytest.raises(ErasureError, match="MLflow at sqlite"):
        point(home, {"candidate": 7, "champion": None})


@pytest.mark.parametrize(
    ("key", "said"),
    [(None, "it is another version"), ("ab" * 32, "give the copy a MLFLOW_TRACKING_URI")],
    ids=["by hand", "of a copy"],
)
def test_no_alias_moves_to_another_version_of_the_same_number(
    key, said, home, client, facts, point
):
    mirror_version(home, facts(1))
    point(home, {"candidate": 1, "champion": 1})
    tags = {"erasure.book": BOOK, KEY: key} if key else {}
    client.create_model_version("gallery", "file:///nowhere", tags=tags)
    with pytest.raises(ErasureError, match=said):
        point(home, {"candidate": 2, "champion": 2})
    assert versions.aliases(home, "gallery") == {"candidate": 1, "champion": 1}


@pytest.mark.parametrize("version", [1, 2, 3])
def test_the_versions_of_another_book_stay_as_they_are(version, home, facts, point):
    """Whether its number, the one before, or none of both is taken."""
    for number in (1, 2):
        mirror_version(home, replace(facts(number), book=OTHERS))
    point(home, {"candidate": 2, "champion": 1}, OTHERS)
    before = version_state(home, OTHERS)
    with pytest.raises(ErasureError, match=r"belongs to another book.*another registered_model"):
        mirror_version(home, replace(facts(version), statement=b"ours"))
    for alias in (1, None):
        with pytest.raises(ErasureError, match="belongs to another book"):
            point(home, {"candidate": 2, "champion": alias})
    assert version_numbers(home, BOOK, "gallery") == []
    assert version_state(home, OTHERS) == before


@pytest.mark.parametrize("version", [1, 2])
def test_a_version_of_ours_stays_ours_whatever_a_hand_wrote_there(version, home, client, facts):
    for number in (1, 2):
        mirror_version(home, facts(number))
    client.set_model_version_tag("gallery", str(version), "erasure.book", OTHERS)
    mirror_version(home, facts(version))
    assert seen(home, "gallery", version) == expected(facts(version))


def test_a_run_of_another_book_is_not_taken_for_ours(run, home, client):
    theirs = mirror_run(home, "run-1", replace(FACTS, book=OTHERS))
    assert run(home) != theirs
    assert tags_of_run(home, theirs)["erasure.book"] == OTHERS
    client.delete_run(theirs)
    assert run(home) != theirs
    assert tags_of_run(home, theirs) is None


def test_a_run_from_before_books_were_named_is_ours(run, home, client):
    run_id = run(home)
    client.delete_tag(run_id, "erasure.book")
    assert run(home) == run_id
    assert tags_of_run(home, run_id)["erasure.book"] == BOOK


def test_both_aliases_have_to_be_named(home, point):
    with pytest.raises(ErasureError, match="name exactly candidate, champion"):
        point(home, {"candidate": 1})


def test_versions_are_counted_over_pages(home, facts, monkeypatch):
    monkeypatch.setattr(versions, "PAGE", 2)
    for version in range(1, 6):
        mirror_version(home, facts(version))
    assert version_numbers(home, BOOK, "gallery") == [1, 2, 3, 4, 5]


def test_looking_into_an_empty_state_folder_creates_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home = Home(tmp_path / "nothing")
    assert seen(home, "gallery", 1) is None
    assert versions.aliases(home, "gallery") == {"candidate": None, "champion": None}
    assert (version_numbers(home, BOOK, "gallery"), unfinished_runs(home, BOOK)) == ([], [])
    assert not home.root.exists()


def test_looking_before_anything_was_mirrored_finds_nothing(home):
    assert seen(home, "gallery", 1) is None
    assert versions.aliases(home, "gallery") == {"candidate": None, "champion": None}
    assert (version_numbers(home, BOOK, "gallery"), unfinished_runs(home, BOOK)) == ([], [])


@pytest.mark.slow
def test_a_store_left_half_made_by_a_killed_process_does_not_count(
    mlflow_template, tmp_path, monkeypatch, facts
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow.db.new").write_bytes(mlflow_template.read_bytes()[:4096])
    mirror_version(Home(tmp_path), facts())
    assert version_numbers(Home(tmp_path), BOOK, "gallery") == [1]
    assert not (tmp_path / "mlflow.db.new").exists()


def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ErasureError, match=r"MLflow at http://\*\*\*@127\.0\.0\.1:9") as refused:
        versions.aliases(Home(tmp_path), "gallery")
    assert "secret" not in str(refused.value)


def test_the_description_of_the_model_is_mlflows_own(facts, tmp_path):
    """Our MLmodel against the one that MLflow writes for the same signature."""
    import numpy as np
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    (tmp_path / "MLmodel").write_bytes(packaging.package(facts())["MLmodel"])
    params = {"seed": ("long", 0), "num_inference_steps": ("long", 12)}
    specs = [ParamSpec(name, kind, default) for name, (kind, default) in params.items()]
    assert Model.load(str(tmp_path / "MLmodel")).signature == ModelSignature(
        outputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))]),
        params=ParamSchema([*specs, ParamSpec("guidance_scale", "double", 4.0)]),
    )


def test_what_is_stored_names_no_local_path(home, facts):
    text = b"".join(packaging.package(facts()).values()).decode()
    assert str(packaging.SCRIPT.parent) not in text
    assert "/tmp" not in text


def test_the_model_description_is_json(facts):
    assert json.loads(packaging.package(facts())["MLmodel"])["flavors"]


@pytest.mark.parametrize(
    ("one", "other"),
    [("राम", "रोम"), ("a cat's", "a cat,s"), ("a/b", "a_b"), ("y" * 199 + "!", "y" * 199 + "?")],
)
def test_metrics_of_two_names_are_two(one, other):
    keys = {runs.metric_key(f"choose.composed.clip.concept_rate[{name}]") for name in (one, other)}
    assert len(keys) == 2
    for key in keys:
        _validate_metric_name(f"{key}.high")


@pytest.mark.parametrize("name", ["neon sign", "J.K. Rowling", "猫", "sci-fi: two"])
def test_the_metric_of_a_name_that_mlflow_takes_bears_it(name):
    assert runs.metric_key(f"clip.concept_rate[{name}]") == f"clip.concept_rate/{name}"


def test_flatten_names_nested_settings_with_dots():
    assert flatten({"a": 1, "b": {"c": (1, 2), "d": {"e": None}}}) == {
        "a": "1",
        "b.c": "(1, 2)",
        "b.d.e": "None",
    }
