"""The registered model: prompts in, pictures out. MLflow stores this file with each version and
runs it by path.

The version carries no weights, only what is needed to find and check them: `checkpoint.json`
(content hash, base hash, requests) and `checkpoint.dvc` (DVC's pointer). The weights are looked up
in `ERASURE_HOME/checkpoints/<sha256>/` and, when missing, pulled from the DVC remote
(`ERASURE_DVC_REMOTE`). A checkpoint whose bytes are not the registered ones is refused.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from tasks.home import Home
from tasks.versions.dvc_store import check_checkpoint, checkpoint_folder, pull_checkpoint

BATCH_SIZE = 8  # pictures do not depend on it


class ErasedModel(PythonModel):
    """Inputs: one column of prompts. Output: uint8 RGB pictures, shape (n, height, width, 3)."""

    def load_context(self, context: PythonModelContext) -> None:
        """Find, check and load the weights.

        Raises:
            ContentChanged: If the checkpoint on disk is not the registered one.
            ErasureError: If it is neither on disk nor on the remote.
        """
        import torch

        from erasure_core.network.models import load_teacher

        home = Home.from_env()
        home.prepare_environment()
        pointer = Path(context.artifacts["checkpoint"])
        registered = json.loads((pointer / "checkpoint.json").read_text())
        folder = checkpoint_folder(home, registered["sha256"])
        if folder.is_dir():
            check_checkpoint(folder)
        else:
            pull_checkpoint(home, pointer / "checkpoint.dvc")
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


set_model(ErasedModel())
