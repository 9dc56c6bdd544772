"""A registered version is found by its content: here, at the remote, or built again."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from erasure_core.errors import BadInput, ContentChanged, ErasureError
from erasure_core.law.lineage import check_frozen, freeze
from erasure_core.network import bases
from erasure_core.network.weights import WeightDelta
from erasure_core.planning.params import Base, read_params
from tasks.book.door import open_book
from tasks.book.lease import holding
from tasks.book.schema import aliases
from tasks.book.store import Book
from tasks.home import Home
from tasks.release.checkpoint import build_checkpoint
from tasks.release.record import record_of
from tasks.release.resolve import base_of, folder_of, resolve_model
from tasks.release.settle import Outcome, settle
from tasks.versions.dvc_store import add_checkpoint, check_checkpoint
from tests.core.test_bases import publish
from tests.core.test_lineage import record
from tests.tasks.test_checkpoint import edit

PARAMS = read_params(Path(__file__).parents[2] / "params.yaml")
MODEL = PARAMS.registered_model


def decided(book: Book, **facts: object) -> None:
    """Enter a version into the book as a run does, without one."""
    version = book.ask(lambda reader: reader.next_version(MODEL))
    made = record(model_name=MODEL, model_version=version, request_ids=(), folder="key", **facts)
    champion = book.ask(lambda reader: reader.alias(MODEL, "champion"))
    outcome = Outcome(made, "d" * 64, "e" * 64, {}, champion)
    with holding(book, MODEL, "releasing") as held:
        settle(book, held, outcome)


@pytest.fixture(scope="module")
def released(tiny_folder, mlflow_template, tmp_path_factory):
    """A state folder with one refused and one promoted version of the same weights."""
    root = tmp_path_factory.mktemp("released")
    home, base = Home(root / "home"), Path(shutil.copytree(tiny_folder, root / "base"))
    (home.runs / "key/deltas").mkdir(parents=True)
    shutil.copy(mlflow_template, home.root / "mlflow.db")
    delta = edit(base, home.runs / "key/deltas/chosen.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "ERASURE_DVC_REMOTE", "ERASURE_DATABASE_URL"):
            patch.delenv(name, raising=False)
        book = open_book(home)
        folder = home.checkpoints / build_checkpoint(base, delta, home, keep=True)
        add_checkpoint(home, folder)
        facts = {
            "base_sha256": bases.root(base),
            "params": {"base": {"path": str(base), "revision": None, "sha256": None}},
            "delta_sha256": WeightDelta.load(delta).sha256,
            "checkpoint_sha256": folder.name,
        }
        decided(book, **facts)
        decided(book, **facts, promoted=True, gate={"verdict": "pass", "checks": []})
        yield SimpleNamespace(home=home, base=base, delta=delta, folder=folder, book=book)


def resolved(released) -> Path:
    folder = resolve_model("1", PARAMS, released.home)
    check_checkpoint(folder)
    return folder


def test_a_checkpoint_that_is_here_is_used(released):
    assert resolved(released) == released.folder


def test_a_missing_checkpoint_is_pulled_without_its_base(released, tmp_path):
    shutil.rmtree(released.folder)
    shutil.move(released.base, tmp_path / "base")
    try:
        assert resolved(released) == released.folder
    finally:
        shutil.move(tmp_path / "base", released.base)


def test_a_checkpoint_that_the_remote_lost_is_built_again(released):
    shutil.rmtree(released.folder)
    shutil.rmtree(released.home.dvc_remote)
    assert resolved(released) == released.folder


def test_a_base_that_was_moved_is_found_where_the_parameters_of_today_name_it(released, tmp_path):
    made = record_of(released.home, released.book.ask(lambda reader: reader.version(MODEL, 1)))
    other = shutil.copytree(released.base, tmp_path / "other")
    (other / "model_index.json").write_text("{}")
    moved = str(shutil.move(released.base, tmp_path / "base"))
    try:
        for base in (None, Base(path="neither/nor"), Base(path=str(other))):
            with pytest.raises(BadInput, match=f"base '{released.base}' is neither"):
                base_of(made, released.home, base)
        assert base_of(made, released.home, Base(path=moved)) == Path(moved)
    finally:
        shutil.move(moved, released.base)


@pytest.mark.parametrize("there", [True, False], ids=["copied", "moved"])
def test_a_base_that_was_one_file_is_found_in_this_state_folder(released, tmp_path, there):
    """Not in the one that this is a copy of, although it may be there still."""
    made = record_of(released.home, released.book.ask(lambda reader: reader.version(MODEL, 1)))
    before, now = tmp_path / "before", tmp_path / "now"
    for home in (before, now):
        shutil.copytree(released.base, home / "bases/0123")
    params = {"base": {"path": str(before / "bases/0123"), "revision": None, "sha256": None}}
    if not there:
        shutil.rmtree(before)
    found = base_of(made.model_copy(update={"params": params}), Home(now))
    assert found == now / "bases/0123"


def test_what_can_neither_be_pulled_nor_built_says_both(released, tmp_path):
    shutil.rmtree(released.folder)
    shutil.rmtree(released.home.dvc_remote, ignore_errors=True)
    kept = shutil.move(released.delta, tmp_path / "delta")
    try:
        with pytest.raises(ErasureError, match=r"Remote: dvc pull .*From base and delta: no file"):
            resolve_model("1", PARAMS, released.home)
    finally:
        shutil.move(kept, released.delta)


@pytest.mark.parametrize("which", ["2", "champion", "candidate"])
def test_a_version_is_named_by_number_or_alias(which, released):
    assert resolve_model(which, PARAMS, released.home) == released.folder


def test_what_the_registry_calls_champion_is_not_asked(released, monkeypatch):
    """Whoever can write to MLflow does not decide what is used here."""
    monkeypatch.setattr("mlflow.MlflowClient.__init__", lambda *_: pytest.fail("MLflow was asked"))
    assert resolve_model("champion", PARAMS, released.home) == released.folder


def test_a_statement_that_was_edited_in_the_book_is_refused(released):
    version = released.book.ask(lambda reader: reader.version(MODEL, 1))
    forged = released.book.ask(lambda reader: reader.version(MODEL, 2)).statement
    with pytest.raises(ErasureError, match="version 1 says something else than the book"):
        folder_of(released.book, replace(version, statement=forged))


@pytest.mark.parametrize("alias", ["candidate", "champion"])
def test_an_alias_that_was_edited_in_the_book_is_not_believed(released, alias):
    def point(version: int) -> None:
        change = aliases.update().where(aliases.c.alias == alias).values(version=version)
        released.book.change(lambda tx: tx.connection.execute(change))

    point(1)
    try:
        with pytest.raises(ErasureError, match=f"the {alias} of {MODEL} is 1, the chain says 2"):
            resolve_model(alias, PARAMS, released.home)
    finally:
        point(2)


def test_a_version_that_is_not_there_is_named(released):
    with pytest.raises(BadInput, match=r"has no version 7; registered: 1 to 2"):
        resolve_model("7", PARAMS, released.home)


def test_a_model_without_versions_has_no_champion(tmp_path):
    with pytest.raises(BadInput, match="has no champion yet"):
        resolve_model("champion", PARAMS, Home(tmp_path))


# --- the frozen base
# ---------------------------------------------------------------------------------------------


@pytest.fixture
def frozen(tiny_folder, tmp_path) -> tuple[Path, Path]:
    base = Path(shutil.copytree(tiny_folder, tmp_path / "base"))
    return base, freeze(bases.loaded_files(base), tmp_path / "snapshots")[1]


def test_what_appears_beside_a_frozen_base_changes_nothing(frozen):
    base, manifest_file = frozen
    publish(base)
    check_frozen(base, manifest_file, bases.loaded_files)


@pytest.mark.parametrize("name", sorted(["model_index.json", "tokenizer/tokenizer.json"]))
def test_a_loaded_file_that_changes_is_named(frozen, name):
    base, manifest_file = frozen
    (base / name).write_text((base / name).read_text() + "\n")
    with pytest.raises(ContentChanged, match=name):
        check_frozen(base, manifest_file, bases.loaded_files)


def test_weights_that_go_missing_are_named(frozen):
    base, manifest_file = frozen
    (base / "vae" / bases.UNET_WEIGHTS).unlink()
    with pytest.raises(ContentChanged, match=r"vae/.* changed: .*found no such file"):
        check_frozen(base, manifest_file, bases.loaded_files)


def test_a_form_of_the_tokenizer_that_appears_is_named(frozen):
    base, manifest_file = frozen
    (base / "tokenizer/vocab.json").write_text("{}")
    with pytest.raises(ContentChanged, match=r"tokenizer/vocab\.json changed: expected"):
        check_frozen(base, manifest_file, bases.loaded_files)
