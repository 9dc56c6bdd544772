"""Fixtures for every test: a real pipeline at toy size, and the embedded teacher."""

import copy
import os
from pathlib import Path

import pytest
from hypothesis import settings

from tests import toy

settings.register_profile("shared machine", deadline=None)  # no test is about how long it takes
settings.load_profile("shared machine")

# one thread: toy networks are slower on two, and tests may share the machine
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
for name, value in {**QUIET, "OMP_NUM_THREADS": "1"}.items():
    os.environ.setdefault(name, value)

ROOT = Path(__file__).parents[1]
# Files with whole runs first: the small ones fill what is left of either process in the end.
ORDER = ("flows", "book", "tasks", "faults", "architecture", "contract", "core", "slow")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Folder by folder in `ORDER`; within one as they are."""
    items.sort(key=lambda item: ORDER.index(item.path.relative_to(ROOT / "tests").parts[0]))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable-Diffusion-shaped pipeline with random weights, saved as safetensors. Read-only by
    convention.
    """
    return toy.build_pipeline(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIP of toy size in the real format. Read-only by convention."""
    return toy.build_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def _loaded_tiny(tiny_folder: Path):
    from erasure_core.network.models import load_teacher

    return load_teacher(tiny_folder)


@pytest.fixture
def tiny_teacher(_loaded_tiny):
    """A fresh copy of the toy pipeline as a Teacher: what a test does to it, no other test sees."""
    return copy.deepcopy(_loaded_tiny)


@pytest.fixture
def astronaut():
    """The concept that the toy pipeline is asked to forget."""
    from erasure_core.law.concepts import Concept

    return Concept(
        name="astronaut",
        kind="likeness",
        prompts=("a photo of the astronaut", "astronaut"),
        replacement="a photographer",
        keep=("a photo of a cat", "a sketch of a rocket"),
    )


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new MLflow database, to be copied to `<state folder>/mlflow.db`: making one costs seconds
    of schema migrations.
    """
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file
