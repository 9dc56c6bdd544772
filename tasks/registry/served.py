"""The registered model: prompts in, pictures out. The stored script calls this class and no more.

It trusts no tag and no path: what a version is, its signed statement says, and the keys of the
state folder decide whether that is believed. The weights are looked up by the statement's hash in
`ERASURE_HOME/checkpoints/`, pulled from the DVC remote when missing, and hashed again.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from erasure_core.errors import ErasureError
from erasure_core.law.statement import Statement, opened
from tasks.book.keys import Keys
from tasks.home import Home
from tasks.registry.packaging import POINTER, STATEMENT
from tasks.versions.dvc_store import check_checkpoint, pointed_at, pull_checkpoint

BATCH_SIZE = 8  # pictures do not depend on it


class ErasedModel(PythonModel):  # type: ignore[misc] # MLflow has no types
    """Inputs: one column of prompts. Output: uint8 RGB pictures, shape (n, height, width, 3)."""

    def load_context(self, context: PythonModelContext) -> None:
        """Find, check and load the weights.

        Raises:
            ErasureError: The statement is not to be believed, its verdict is not `pass`, or the
                checkpoint it names is neither on disk nor on the remote.
            ContentChanged: The checkpoint is not the one of the statement.
        """
        import torch

        from erasure_core.network.models import load_teacher

        home = Home.from_env()
        home.prepare_environment()
        artifacts = {name: Path(path) for name, path in context.artifacts.items()}
        statement = released(artifacts.get(STATEMENT), home)
        folder = checkpoint_of(statement, artifacts.get(POINTER), home)
        self.teacher = load_teacher(folder, device="cuda" if torch.cuda.is_available() else "cpu")

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> np.ndarray:
        """Picture i is drawn from seed `seed + i`, so that a repeated prompt gives different
        pictures.

        Args:
            context: Not used.
            model_input: One column of prompts; a list of strings is turned into it by MLflow.
            params: `seed`, `num_inference_steps`, `guidance_scale`; the defaults are those the
                version was measured with.
        """
        from erasure_core.network.diffusion import sample

        prompts, chosen = model_input.iloc[:, 0].tolist(), params or {}
        pictures = sample(
            self.teacher,
            prompts,
            seeds=[chosen["seed"] + i for i in range(len(prompts))],
            guidance=[chosen["guidance_scale"]] * len(prompts),
            steps=chosen["num_inference_steps"],
            batch_size=BATCH_SIZE,
        )
        return (pictures * 255).round().byte().permute(0, 2, 3, 1).numpy()


def released(envelope: Path | None, home: Home) -> Statement:
    """The statement in `envelope`, if it is believed and says `pass`."""
    if envelope is None or not envelope.is_file():
        raise ErasureError(
            "the version carries no signed statement; `erasure reconcile` puts it back"
        )
    statement = opened(envelope.read_bytes(), Keys(home).trusted())
    if statement.verdict != "pass":
        raise ErasureError(
            f"{statement.model} version {statement.version} has the verdict {statement.verdict}; "
            f"only 'pass' is served, load another version"
        )
    return statement


def checkpoint_of(statement: Statement, pointer: Path | None, home: Home) -> Path:
    """The checkpoint folder of a statement, pulled if it is absent, its bytes checked."""
    folder = home.checkpoints / statement.checkpoint_sha256
    if folder.is_dir():
        check_checkpoint(folder)
        return folder
    if pointer is None:
        raise ErasureError(f"{folder} is not here and the version has no pointer; restore it")
    if (name := pointed_at(pointer)) != folder.name:
        raise ErasureError(
            f"the version's DVC pointer names {name}, its statement {folder.name}; "
            f"`erasure reconcile` puts the pointer back"
        )
    return pull_checkpoint(home, pointer)
