"""A registered version is found by its content: here, at the remote, or built again."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from tasks.release.release import record_file

from erasure_core.errors import BadInput, ContentChanged, ErasureError
from erasure_core.law.lineage import check_frozen, freeze
from erasure_core.network import bases
from erasure_core.network.weights import WeightDelta
from erasure_core.planning.params import read_params
from tasks.home import Home
from tasks.registry import track
from tasks.release.checkpoint import build_checkpoint
from tasks.release.resolve import resolve_model
from tasks.versions.dvc_store import add_checkpoint, check_checkpoint
from tests.core.test_bases import publish
from tests.core.test_lineage import record
from tests.tasks.test_checkpoint import edit

PARAMS = read_params(Path(__file__).parents[2] / "params.yaml")
MODEL = PARAMS.registered_model


@pytest.fixture(scope="module")
def released(tiny_folder, mlflow_template, tmp_path_factory):
    """A state folder with one registered version, its base and its delta; not to be changed."""
    root = tmp_path_factory.mktemp("released")
    home, base = Home(root / "home"), Path(shutil.copytree(tiny_folder, root / "base"))
    (home.runs / "key/deltas").mkdir(parents=True)
    shutil.copy(mlflow_template, home.root / "mlflow.db")
    delta = edit(base, home.runs / "key/deltas/chosen.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("ERASURE_DVC_REMOTE", raising=False)
        folder = home.checkpoints / build_checkpoint(base, delta, home, keep=True)
        facts = track.Checkpoint(folder.name, "cd" * 32, ("1",), add_checkpoint(home, folder))
        for sha256 in (folder.name, f"../../elsewhere/{folder.name}"):
            version = track.register_version(
                home,
                MODEL,
                facts,
                run_id=track.start_run(home, "run", {}),
                tags={"checkpoint.sha256": sha256, track.VERDICT_TAG: "pass"},
                steps=3,
                guidance=4.0,
            )
            shutil.copytree(folder, root / "elsewhere" / folder.name, dirs_exist_ok=True)
            record(
                run_key="key",
                base_sha256=bases.root(base),
                params={"base": {"path": str(base), "revision": None, "sha256": None}},
                delta_sha256=WeightDelta.load(delta).sha256,
                checkpoint_sha256=folder.name,
                model_name=MODEL,
                model_version=version,
            ).to_json(record_file(home, MODEL, version))
        yield SimpleNamespace(home=home, base=base, delta=delta, folder=folder)


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


def test_what_can_neither_be_pulled_nor_built_says_both(released, tmp_path):
    shutil.rmtree(released.folder)
    shutil.rmtree(released.home.dvc_remote, ignore_errors=True)
    kept = shutil.move(released.delta, tmp_path / "delta")
    try:
        with pytest.raises(ErasureError, match=r"Remote: dvc pull .*From base and delta: no file"):
            resolve_model("1", PARAMS, released.home)
    finally:
        shutil.move(kept, released.delta)


def test_a_tag_that_leads_elsewhere_is_refused(released):
    with pytest.raises(BadInput, match=r"'\.\./\.\./elsewhere/[0-9a-f]{64}' is no content hash"):
        resolve_model("2", PARAMS, released.home)


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
