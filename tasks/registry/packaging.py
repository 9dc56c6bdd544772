"""The files that MLflow stores with a version: every byte follows from the facts, so that what is
stored can be compared with what should be.

No weights, no local path, no time and no random id are in them. MLflow's own writer puts all of
these into `MLmodel`, together with the versions of whatever is installed; the record has those.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from erasure_core.files import pretty_json

SCRIPT = Path(__file__).with_name("serve_model.py")
STATEMENT, POINTER = "statement", "checkpoint"  # the names of the artifacts
PYTHON = "3.11"  # the oldest that the package runs on
# Nothing that pip would look up: `mlflow models serve` installs what stands here, and would fetch
# from PyPI what somebody else calls so.
REQUIREMENTS = (
    b"# erasure, by its own wheel: what PyPI has under this name is another project's.\n"
    b"# Serve where it is installed: mlflow models serve --env-manager local\n"
)


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """One version, as the book knows it."""

    model: str
    version: int
    tags: Mapping[str, str]
    statement: bytes  # the signed envelope
    pointer: str | None  # text of the DVC pointer; a refused candidate may have none
    steps: int  # the sampler's settings it was measured with
    guidance: float
    run_id: str
    description: str
    first_statement: bytes | None = None  # where it was signed again since
    before: int | None = None  # the version before it; `version - 1` where no number was left out
    book: str = ""  # whose version it is (`Book.identity`)

    @property
    def previous(self) -> int:
        """The number of the version before it; 0 if it is the first."""
        return self.version - 1 if self.before is None else self.before

    @property
    def key(self) -> str:
        """What tells this version from any other: the sha256 of its first statement."""
        return key_of(self.first_statement or self.statement)


def key_of(first_statement: bytes) -> str:
    """The key of the version that was mirrored with this statement at first."""
    return hashlib.sha256(first_statement).hexdigest()


def package(facts: VersionFacts) -> dict[str, bytes]:
    """Every file to store, by relative path."""
    artifacts = {f"artifacts/{STATEMENT}.json": facts.statement}
    if facts.pointer is not None:
        artifacts[f"artifacts/{POINTER}.dvc"] = facts.pointer.encode()
    environment = {"python": PYTHON, "dependencies": ["-r requirements.txt"]}
    return {
        **artifacts,
        "MLmodel": pretty_json(_mlmodel(facts, list(artifacts))).encode(),  # JSON is YAML
        "python_env.yaml": pretty_json(environment).encode(),
        "requirements.txt": REQUIREMENTS,
        SCRIPT.name: SCRIPT.read_bytes(),
    }


def digests(facts: VersionFacts) -> dict[str, str]:
    """The sha256 that each stored file should have, by relative path."""
    return {path: hashlib.sha256(content).hexdigest() for path, content in package(facts).items()}


def _mlmodel(facts: VersionFacts, artifacts: list[str]) -> dict[str, object]:
    """MLflow's description of the model, in the form its version 3 reads."""
    return {
        "flavors": {
            "python_function": {
                "artifacts": {Path(p).stem: {"path": p, "uri": p} for p in artifacts},
                "env": {"virtualenv": "python_env.yaml"},
                "loader_module": "mlflow.pyfunc.loaders.code_model",
                "model_code_path": SCRIPT.name,
                "streamable": False,
            }
        },
        "signature": _signature(facts),
    }


def _signature(facts: VersionFacts) -> dict[str, str]:
    """Uint8 pictures out. Inputs are not declared: MLflow would take the first column of a table
    for an unnamed one, and refuse a list where columns have names; the model reads all of them.
    """
    tensor = {"dtype": "uint8", "shape": [-1, -1, -1, 3]}
    params = {
        "seed": ("long", 0),
        "num_inference_steps": ("long", facts.steps),
        "guidance_scale": ("double", facts.guidance),
    }
    described = [
        {"name": name, "default": default, "shape": None, "type": kind}
        for name, (kind, default) in params.items()
    ]
    return {
        "outputs": json.dumps([{"type": "tensor", "tensor-spec": tensor}]),
        "params": json.dumps(described),
    }
