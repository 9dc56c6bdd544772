"""The registered model: loaded from MLflow, it believes its signed statement only, finds its
weights, checks them and answers with pictures.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from erasure_core.errors import ContentChanged, ErasureError
from erasure_core.law.lineage import manifest, root_sha256
from erasure_core.law.statement import Signer, Statement, sign
from erasure_core.network.diffusion import sample
from erasure_core.network.models import load_teacher
from tasks.book.keys import Keys
from tasks.home import Home
from tasks.registry.packaging import VersionFacts
from tasks.registry.versions import mirror_version, version_numbers
from tasks.versions.dvc_store import add_checkpoint

PROMPTS = ["a photo of a cat", "a sketch of a rocket", "a photo of a cat"]
SHA = "cd" * 32


@pytest.fixture(scope="module")
def served(tiny_folder, mlflow_template, tmp_path_factory):
    """A toy pipeline, versioned; environment as a user sets it. Yields (home, checkpoint folder,
    text of its DVC pointer).
    """
    import mlflow

    home = Home(tmp_path_factory.mktemp("home"))
    shutil.copy(mlflow_template, home.root / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("ERASURE_HOME", str(home.root))
        patch.setenv("ERASURE_DVC_REMOTE", str(tmp_path_factory.mktemp("remote")))
        folder = home.checkpoints / root_sha256(manifest(tiny_folder))
        shutil.copytree(tiny_folder, folder)
        pointer = add_checkpoint(home, folder)
        mlflow.set_tracking_uri(home.tracking_uri)
        yield home, folder, pointer.path.read_text()
        mlflow.set_tracking_uri(
            None
        )  # what is set by hand beats the environment, for every later test of this process


@pytest.fixture(scope="module")
def register(served):
    """Mirrors the next version, its statement signed; returns its number."""
    home, folder, own_pointer = served

    def register(
        verdict: str = "pass", signer: Signer | None = None, pointer: str | None = own_pointer
    ) -> int:
        version = len(version_numbers(home, "", "gallery")) + 1
        hashes = ("base", "policy", "delta", "record", "head")
        statement = Statement(
            model="gallery",
            version=version,
            verdict=verdict,
            request_ids=("request-1",),
            restored_ids=(),
            checkpoint_sha256=folder.name,
            head_seq=1,
            issued=datetime(2026, 11, 25, tzinfo=UTC),
            **{f"{name}_sha256": SHA for name in hashes},
        )
        facts = VersionFacts(
            model="gallery",
            version=version,
            tags={"gate.verdict": "pass"},  # whatever the statement says
            statement=sign(statement, signer or Keys(home).current()),
            pointer=pointer,
            steps=3,
            guidance=4.0,
            run_id="0" * 32,
            description="",
        )
        mirror_version(home, facts)
        return version

    return register


@pytest.fixture(scope="module")
def version(register) -> int:
    return register()


@pytest.mark.parametrize(("model", "ahead"), [("gallery", 1), ("other", 0)])
def test_the_statement_of_another_version_or_model_is_not_served(register, model, ahead):
    """Signed and whole as it is, it may be of a version that was replaced: of the base itself."""
    import mlflow

    version = register()
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/gallery/{version}"))
    assert load(version).predict(PROMPTS[:1]).shape[0] == 1
    (file,) = folder.rglob("statement.json")
    said = json.loads(file.read_text())["statement"]
    other = Statement.model_validate({**said, "model": model, "version": version + ahead})
    file.write_bytes(sign(other, Keys(Home.from_env()).current()))
    with pytest.raises(ErasureError, match=rf"gallery version {version} carries the statement of"):
        load(version)


@pytest.fixture
def no_checkpoint(served):
    """The checkpoint is gone from this machine for one test; only the remote has it."""
    _, folder, _ = served
    aside = folder.with_name("aside")
    folder.rename(aside)
    yield
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def load(version: int):
    import mlflow

    return mlflow.pyfunc.load_model(f"models:/gallery/{version}")


def stored(served, version: int, name: str) -> Path:
    """A file of a version in MLflow's store."""
    from mlflow import MlflowClient

    home, *_ = served
    place = MlflowClient(home.tracking_uri).get_model_version_download_uri("gallery", str(version))
    return Path(place.removeprefix("file://")) / "artifacts" / name


@pytest.fixture(scope="module")
def model(version):
    return load(version)


def test_prompts_become_the_pictures_the_sampler_makes(served, model):
    _, folder, _ = served
    pictures = model.predict(PROMPTS)
    expected = sample(load_teacher(folder), PROMPTS, [0, 1, 2], [4.0] * 3, 3, 1)
    assert pictures.dtype == np.uint8
    assert pictures.shape == (3, *expected.shape[2:], 3)
    np.testing.assert_allclose(
        pictures / 255, expected.permute(0, 2, 3, 1).numpy(), atol=0.5 / 255 + 1e-4
    )


def test_a_repeated_prompt_gives_another_picture(model):
    first, _, third = model.predict(PROMPTS)
    assert (first != third).any()


def test_a_list_and_a_table_give_the_same_pictures(model):
    table = pd.DataFrame({"prompt": PROMPTS})
    np.testing.assert_array_equal(model.predict(table), model.predict(PROMPTS))


@pytest.mark.parametrize(
    "params", [{"seed": 5}, {"num_inference_steps": 2}, {"guidance_scale": 9.0}]
)
def test_a_parameter_changes_the_picture(params, model):
    assert (model.predict(PROMPTS[:1], params=params) != model.predict(PROMPTS[:1])).any()


def test_a_seed_repeats_the_picture(model):
    np.testing.assert_array_equal(
        model.predict(PROMPTS[2:], params={"seed": 2}), model.predict(PROMPTS)[2:]
    )


@pytest.fixture(scope="module")
def answered(model):
    """What MLflow's own scoring server answers to a JSON body: status and content."""
    from fastapi.testclient import TestClient
    from mlflow.pyfunc.scoring_server import init

    client = TestClient(init(model), raise_server_exceptions=False)

    def answered(body: dict) -> tuple[int, dict]:
        answer = client.post("/invocations", json=body)
        return answer.status_code, answer.json()

    return answered


TABLE = {"columns": ["id", "prompt"], "data": [[i, p] for i, p in enumerate(PROMPTS)]}
RECORDS = [{"id": i, "prompt": p} for i, p in enumerate(PROMPTS)]


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": TABLE},
        {"dataframe_split": {"data": [[p] for p in PROMPTS]}},
        {"dataframe_records": RECORDS},
        {"instances": PROMPTS},
        {"instances": RECORDS},
        {"inputs": PROMPTS},
        {"inputs": {"prompt": PROMPTS}},
        {"inputs": {"id": [7, 8, 9], "prompt": PROMPTS}},
        {"inputs": {"caption": PROMPTS}},
        {"inputs": RECORDS},
    ],
)
def test_every_shape_of_input_draws_the_prompts(body, answered, model):
    status, content = answered(body)
    assert status == 200, content
    np.testing.assert_array_equal(content["predictions"], model.predict(PROMPTS))


ROOT = Path(__file__).parents[2]
SERVING = (ROOT / "docs/tools.md").read_text().partition("## A served version")[2]


@pytest.mark.slow
def test_the_documented_commands_serve_a_version(version, model, tmp_path):
    """MLflow's own command, and what the page posts to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (asked,) = re.findall(r"-m models:/gallery@champion (--env-manager .*) --port 5001", SERVING)
    (body,) = re.findall(r"-d '(.*)'", SERVING)
    command = ["mlflow", "models", "serve", "-m", f"models:/gallery/{version}", *asked.split()]
    activated = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {
        **os.environ,
        "PATH": activated,
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": Home.from_env().tracking_uri,
    }
    log = tmp_path / "log"
    with log.open("w") as out:
        server = subprocess.Popen(
            [*command, "--port", str(port)],
            env=environment,
            stdout=out,
            stderr=out,
            cwd=tmp_path,
            start_new_session=True,
        )
    try:
        answer = _posted(f"http://127.0.0.1:{port}/invocations", body, server)
        assert answer, log.read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()
    expected = model.predict(["a photo of a cat"], params={"seed": 7})
    np.testing.assert_array_equal(json.loads(answer)["predictions"], expected)


def _posted(url: str, body: str, server: subprocess.Popen) -> bytes:
    """The answer; nothing if the server ended."""
    request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"})
    for _ in range(240):
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.read()
        except urllib.error.HTTPError:
            raise
        except OSError:  # it is not up yet
            time.sleep(0.5)
        if server.poll() is not None:
            break
    return b""


def test_seed_and_guidance_of_a_row_are_its_own(model):
    table = pd.DataFrame({"prompt": PROMPTS[:2], "sd_seed": [5, 9], "guidance": [9.0, None]})
    first = model.predict(PROMPTS[:1], params={"seed": 5, "guidance_scale": 9.0})
    second = model.predict(PROMPTS[1:2], params={"seed": 9})
    np.testing.assert_array_equal(model.predict(table), np.concatenate([first, second]))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"inputs": {"prompt": ["a cat", " "]}}, "line 2: prompt is empty"),
        ({"inputs": {"prompt": ["\u200b"]}}, "line 1: prompt is empty"),
        ({"inputs": {"prompt": [None]}}, "line 1: prompt is empty"),
        ({"inputs": {"prompt": [12]}}, "prompt is '12', which is no text"),
        ({"inputs": [[1, 2], [3, 4]]}, "a list or an object where a text or number is read"),
        ({"inputs": {"id": [1], "words": ["a cat"]}}, "no column prompt (found id, words)"),
        ({"inputs": []}, "no row"),
        ({"dataframe_split": {"columns": ["prompt"], "data": []}}, "no row"),
        ({"inputs": {"prompt": ["a cat"], "seed": ["x"]}}, "evaluation_seed is 'x'"),
        ({"inputs": {"prompt": ["a cat"], "guidance": [1e30]}}, "evaluation_guidance is '1e+30'"),
        ({"inputs": {"prompt": ["a cat"], "seed": [1, 2]}}, "columns differ in length"),
        ({"inputs": ["a cat " * 40]}, "this base reads 16; shorten it"),
        ({"inputs": ["a cat"], "params": {"seed": -1}}, "seed is -1"),
        ({"inputs": ["a cat"], "params": {"num_inference_steps": 0}}, "a trajectory of 0 steps"),
        ({"inputs": ["a cat"], "params": {"guidance_scale": 1e30}}, "guidance_scale is 1e+30"),
    ],
)
def test_input_that_cannot_be_drawn_is_refused_in_one_line(body, expected, answered):
    status, content = answered(body)
    assert status == 400, content
    assert expected in content["message"]
    assert len(content["message"].splitlines()) == 1
    assert "stack_trace" not in content


def test_missing_weights_are_pulled_by_the_stored_pointer(served, version, no_checkpoint):
    home, folder, _ = served
    shutil.rmtree(home.dvc)
    folder.with_name(f"{folder.name}.dvc").unlink()
    assert load(version).predict(PROMPTS[:1]).shape[0] == 1
    assert folder.is_dir()


def test_weights_with_a_changed_byte_are_refused(served, version):
    _, folder, _ = served
    file: Path = next(folder.glob("unet/*.safetensors"))
    good = file.read_bytes()
    file.chmod(0o644)  # a link to the remote, read-only
    file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(ContentChanged, match=folder.name[:16]):
        load(version)
    file.write_bytes(good)


def test_an_edited_statement_is_refused(served, register):
    version = register("fail")
    file = stored(served, version, "statement.json")
    content = json.loads(file.read_text())
    content["statement"]["verdict"] = "pass"
    file.write_text(json.dumps(content))
    with pytest.raises(ErasureError, match=r"signature by own-.* is wrong"):
        load(version)


def test_a_version_without_its_statement_is_refused(served, register):
    version = register()
    stored(served, version, "statement.json").unlink()
    with pytest.raises(ErasureError, match="carries no signed statement"):
        load(version)


@pytest.mark.parametrize("verdict", ["fail", "inconclusive", "void"])
def test_a_version_that_did_not_pass_is_refused(verdict, register):
    version = register(verdict)
    with pytest.raises(ErasureError, match=f"version {version} has the verdict {verdict}"):
        load(version)


def test_a_statement_by_another_key_is_refused(register):
    stranger = Signer("own-x", Ed25519PrivateKey.from_private_bytes(b"\x02" * 32))
    version = register(signer=stranger)
    with pytest.raises(ErasureError, match=f"signed by {stranger.key[:16]}"):
        load(version)


def test_a_pointer_to_another_folder_is_refused(served, register, no_checkpoint):
    _, folder, pointer = served
    version = register(pointer=pointer.replace(folder.name, SHA))
    with pytest.raises(ErasureError, match=f"pointer names {SHA}, its statement {folder.name}"):
        load(version)


def test_without_weights_and_pointer_nothing_is_served(register, no_checkpoint):
    with pytest.raises(ErasureError, match="is not here and the version has no pointer"):
        load(register(pointer=None))
