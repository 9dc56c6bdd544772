"""The registered model: prompts in, pictures out. The stored script calls this class and no more.

It trusts no tag and no path: what a version is, its signed statement says, and the keys of the
state folder decide whether that is believed. The weights are looked up by the statement's hash in
`ERASURE_HOME/checkpoints/`, pulled from the DVC remote when missing, and hashed again.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import INVALID_PARAMETER_VALUE, MlflowException
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from mlflow.store.artifact.models_artifact_repo import REGISTERED_MODEL_META_FILE_NAME
from mlflow.utils.yaml_utils import read_yaml

from erasure_core.errors import BadInput, ErasureError
from erasure_core.law.prompts import GUIDANCE, SEEDS, Reading, rows_given
from erasure_core.law.statement import Statement, opened
from tasks.book.keys import Keys
from tasks.home import Home
from tasks.registry.packaging import POINTER, STATEMENT
from tasks.versions.dvc_store import check_checkpoint, pointed_at, pull_checkpoint

BATCH_SIZE = 8  # pictures do not depend on it


class ErasedModel(PythonModel):  # type: ignore[misc] # MLflow has no types
    """Inputs: prompts, alone or as a column. Output: uint8 RGB pictures, (n, height, width, 3)."""

    def load_context(self, context: PythonModelContext) -> None:
        """Find, check and load the weights.

        Raises:
            ErasureError: The statement is not to be believed or of another version than the one
                that is loaded, its verdict is not `pass`, or the checkpoint it names is neither on
                disk nor on the remote.
            ContentChanged: The checkpoint is not the one of the statement.
        """
        from erasure_core.network.models import open_teacher

        home = Home.from_env()
        home.prepare_environment()
        artifacts = {name: Path(path) for name, path in context.artifacts.items()}
        statement = released(artifacts.get(STATEMENT), home)
        check_named(statement, artifacts[STATEMENT].parents[1])
        folder = checkpoint_of(statement, artifacts.get(POINTER), home)
        self.teacher = open_teacher(folder)

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,  # or what else `columns_of` takes; MLflow warns of other hints
        params: dict[str, Any] | None = None,
    ) -> np.ndarray:
        """A row's own seed and guidance count where the table has them, under any name that a
        prompt file may use; else row i is drawn from seed `seed + i`, so that a repeated prompt
        gives different pictures.

        Args:
            context: Not used.
            model_input: A table, a dictionary of columns, or a list of prompts. Of several columns
                the one called `prompt` (or as in a prompt file) is drawn.
            params: `seed`, `num_inference_steps`, `guidance_scale`; the defaults are those the
                version was measured with.

        Raises:
            Refused: Any input that no picture can be drawn from; MLflow's server answers 400.
        """
        from erasure_core.network.diffusion import sample
        from erasure_core.network.images import not_finite

        chosen = params or {}
        try:
            rows = rows_given(
                columns_of(model_input),
                Reading(guidance=_guidance(chosen["guidance_scale"]), seed=_seed(chosen["seed"])),
            )
            pictures = sample(
                self.teacher,
                [row.prompt for row in rows],
                [row.evaluation_seed for row in rows],
                [row.evaluation_guidance for row in rows],
                steps=chosen["num_inference_steps"],
                batch_size=BATCH_SIZE,
            )
        except BadInput as fault:
            raise Refused(str(fault)) from None
        if not_finite(pictures):
            raise Refused("the model gives no finite picture for this input; lower the guidance")
        return (pictures * 255).round().byte().permute(0, 2, 3, 1).numpy()


class Refused(MlflowException):  # type: ignore[misc] # MLflow has no types
    """Input that no picture can be drawn from: status 400 and one line. MLflow's server would put
    the whole input and a line break before it.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()), error_code=INVALID_PARAMETER_VALUE)

    def __setattr__(self, name: str, value: object) -> None:
        if name != "message" or "message" not in self.__dict__:
            super().__setattr__(name, value)


def columns_of(given: object) -> dict[str, list[object]]:
    """What MLflow hands over of its input shapes, as columns. `BadInput` for any other."""
    if isinstance(given, pd.DataFrame):
        names = [str(name) for name in given.columns]
        if len(set(names)) < len(names):
            raise BadInput(f"a column is there more than once ({', '.join(names)}); keep one")
        return {name: _listed(given.iloc[:, at].tolist()) for at, name in enumerate(names)}
    if isinstance(given, dict):
        columns = {str(name): _listed(values) for name, values in given.items()}
        if len({len(values) for values in columns.values()}) > 1:
            raise BadInput("columns differ in length; give each row a value of each")
        return columns
    if isinstance(given, (list, tuple, str, np.ndarray, pd.Series)):
        values = _listed(given)
        if values and all(isinstance(value, dict) for value in values):
            return columns_of(pd.DataFrame(values))
        return {"prompt": values}
    raise BadInput(f"found {type(given).__name__}, read are prompts, a table or columns")


def _listed(values: object) -> list[object]:
    """Several values as a list, a single one as a list of it; a column (n, 1) counts as (n,)."""
    array = np.asarray(values, dtype=object)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    return [_alone(value) for value in (array if array.ndim else [values])]


def _alone(value: object) -> object:
    """A value as Python has it; MLflow gives each text of a record as an array of it."""
    return value.item() if isinstance(value, (np.generic, np.ndarray)) and not value.ndim else value


def _seed(seed: int) -> int:
    if not 0 <= seed < SEEDS:
        raise BadInput(f"seed is {seed}; allowed is 0 to {SEEDS - 1}")
    return seed


def _guidance(guidance: float) -> float:
    low, high = GUIDANCE
    if not low <= guidance <= high:
        raise BadInput(f"guidance_scale is {guidance}; allowed is {low:g} to {high:g}")
    return guidance


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


def check_named(statement: Statement, stored: Path) -> None:
    """Refuse the statement of another version or model than the one that is asked for, which MLflow
    writes down beside its files whenever a version is loaded by the model's name.
    """
    if not (stored / REGISTERED_MODEL_META_FILE_NAME).exists():
        return  # loaded by its place: nobody said which version that is
    meta = read_yaml(str(stored), REGISTERED_MODEL_META_FILE_NAME)
    name, version = meta["model_name"], meta["model_version"]
    if (name, str(version)) != (statement.model, str(statement.version)):
        raise ErasureError(
            f"{name} version {version} carries the statement of {statement.model} version "
            f"{statement.version}; `erasure reconcile` puts its own back"
        )


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
    return pull_checkpoint(home, pointer, folder.name)
