"""The registered model: loaded by its alias, it finds its weights, checks them and answers with
pictures.
"""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from erasure_core.errors import ContentChanged
from erasure_core.law.lineage import manifest, root_sha256
from erasure_core.network.diffusion import sample
from erasure_core.network.models import load_teacher
from tasks.home import Home
from tasks.registry import track
from tasks.versions.dvc_store import add_checkpoint

PROMPTS = ["a photo of a cat", "a sketch of a rocket", "a photo of a cat"]


@pytest.fixture(scope="module")
def champion(tiny_folder, mlflow_template, tmp_path_factory):
    """A toy pipeline, versioned, registered and promoted; environment as a user sets it. Yields
    (home, checkpoint folder).
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
        checkpoint = track.Checkpoint(
            folder.name, "cd" * 32, ("request-1",), add_checkpoint(home, folder)
        )
        run_id = track.start_run(home, "run", {})
        version = track.register_version(
            home,
            "gallery",
            checkpoint,
            run_id=run_id,
            tags={track.VERDICT_TAG: "pass"},
            steps=3,
            guidance=4.0,
        )
        track.promote(home, "gallery", version)
        mlflow.set_tracking_uri(home.tracking_uri)
        yield home, folder
        mlflow.set_tracking_uri(
            None
        )  # what is set by hand beats the environment, for every later test of this process


def load():
    import mlflow

    return mlflow.pyfunc.load_model("models:/gallery@champion")


@pytest.fixture(scope="module")
def model(champion):
    return load()


def test_prompts_become_the_pictures_the_sampler_makes(champion, model):
    _, folder = champion

    pictures = model.predict(PROMPTS)

    expected = sample(load_teacher(folder), PROMPTS, [0, 1, 2], [4.0] * 3, 3, 1)
    assert pictures.dtype == np.uint8
    assert pictures.shape == (3, *expected.shape[2:], 3)
    np.testing.assert_allclose(
        pictures / 255, expected.permute(0, 2, 3, 1).numpy(), atol=0.5 / 255 + 1e-4
    )
    assert (pictures[0] != pictures[2]).any()  # the same prompt, the next seed
    np.testing.assert_array_equal(model.predict(pd.DataFrame({"prompt": PROMPTS})), pictures)


def test_parameters_change_the_picture_and_a_seed_repeats_it(model):
    usual = model.predict(PROMPTS[:1])
    assert (model.predict(PROMPTS[:1], params={"seed": 5}) != usual).any()
    assert (model.predict(PROMPTS[:1], params={"num_inference_steps": 2}) != usual).any()
    assert (model.predict(PROMPTS[:1], params={"guidance_scale": 9.0}) != usual).any()
    np.testing.assert_array_equal(
        model.predict(PROMPTS[2:], params={"seed": 2}), model.predict(PROMPTS)[2:]
    )


def test_missing_weights_are_pulled_by_what_the_registry_says(champion):
    home, folder = champion
    shutil.rmtree(home.dvc)
    shutil.rmtree(home.checkpoints)
    assert load().predict(PROMPTS[:1]).shape[0] == 1
    assert folder.is_dir()


def test_weights_that_are_not_the_registered_ones_are_refused(champion):
    _, folder = champion
    file: Path = next(folder.glob("unet/*.safetensors"))
    good = file.read_bytes()
    file.chmod(0o644)  # a link to the remote, read-only
    file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(ContentChanged, match=folder.name[:16]):
        load()
    file.write_bytes(good)
