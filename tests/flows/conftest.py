"""One Prefect server for every test here: starting it takes 10 to 20 seconds, a flow on it about
one. And the toy world, with state folders in which whole runs were made once.
"""

import os

os.environ["PREFECT_API_URL"] = (
    ""  # a server named in the caller's environment must never hear of tests
)
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
from typer.testing import Result

from tests import toy
from tests.flows.command import erasure


@pytest.fixture(scope="session", autouse=True)
def prefect_server(tmp_path_factory):
    """The API URL of a server with an empty database, used by every flow of this folder."""
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with (
        temporary_settings({PREFECT_HOME: tmp_path_factory.mktemp("prefect")}),
        prefect_test_harness(server_startup_timeout=600),
    ):
        yield PREFECT_API_URL.value()


@pytest.fixture(scope="module", autouse=True)
def _environment():
    """What commands set in the environment ends with each file."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # of a test elsewhere
    mlflow.set_tracking_uri(None)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def base(tiny_folder, tmp_path_factory) -> Path:
    """The toy pipeline at 32x32."""
    return toy.larger(tiny_folder, tmp_path_factory.mktemp("base") / "pipeline")


@pytest.fixture(scope="session")
def write_inputs(base, tiny_clip) -> Callable[[Path], Path]:
    """Write requests, prompt sets and parameters into a folder."""
    return lambda folder: toy.write_inputs(folder, base, tiny_clip)


@pytest.fixture
def inputs(write_inputs, tmp_path) -> Path:
    """Inputs that a test may spoil."""
    return write_inputs(tmp_path / "inputs")


@pytest.fixture
def home(tmp_path, mlflow_template, inputs) -> Path:
    """A state folder whose book holds one request, the cat's, and that has a registry."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(mlflow_template, home / "mlflow.db")
    added = erasure(home, "request", "add", inputs / "cat.yaml", "--params", inputs / "void.yaml")
    assert added.exit_code == 0, added.stderr
    return home


@dataclass(frozen=True)
class World:
    """A state folder with the inputs of its runs and what they answered."""

    home: Path
    inputs: Path
    answers: tuple[Result, ...]

    @property
    def passing(self) -> tuple[str, Path]:
        """The parameters of the runs that pass."""
        return "--params", self.inputs / "passing.yaml"

    def copy(self, folder: Path) -> "World":
        """The same in a folder of its own, to be changed."""
        home = Path(shutil.copytree(self.home, folder / "home"))
        return World(home, self.inputs, self.answers)


@pytest.fixture(scope="session")
def ran(write_inputs, mlflow_template, tmp_path_factory) -> World:
    """After a run that is void, the same again, and one that passes; not to be changed."""
    folder = tmp_path_factory.mktemp("ran")
    home, inputs = folder / "home", write_inputs(folder / "inputs")
    home.mkdir()
    shutil.copy(mlflow_template, home / "mlflow.db")
    request = inputs / "astronaut.yaml"
    answers = [
        erasure(home, "run", request, "--params", inputs / f"{name}.yaml", "--json")
        for name in ("void", "void", "passing")
    ]
    return World(home, inputs, tuple(answers))


@pytest.fixture(scope="session")
def both(ran, tmp_path_factory) -> World:
    """After that, the cat was honoured with what is due. Another person asks for the cat too; a
    third asks for a rocket, for which there is no prompt set.
    """
    world = ran.copy(tmp_path_factory.mktemp("both"))
    own = Path(shutil.copytree(world.inputs, world.home.parent / "inputs"))
    others = {"twin": (toy.TWIN, "cat"), "rocket": (toy.ROCKET, "rocket")}
    for name, (request_id, concept) in others.items():
        text = toy.REQUEST.format(id=request_id, name=concept, kind="object")
        (own / f"{name}.yaml").write_text(text)
    for name in ("cat", "twin", "rocket"):
        added = erasure(world.home, "request", "add", own / f"{name}.yaml", *world.passing)
        assert added.exit_code == 0, added.stderr
    return World(world.home, own, (erasure(world.home, "run", *world.passing, "--json"),))


@pytest.fixture(scope="session")
def restored(both, tmp_path_factory) -> World:
    """After that, the other person withdrew, the cat was taken back, and then the astronaut: the
    base is released.
    """
    world = both.copy(tmp_path_factory.mktemp("restored"))
    why = ("--reason", "withdrawn by the data subject")
    withdrawn = erasure(world.home, "request", "withdraw", toy.TWIN, *why)
    assert withdrawn.exit_code == 0, withdrawn.stderr
    answers = [
        erasure(world.home, "restore", request_id, *why, *world.passing, "--json")
        for request_id in (toy.CAT, toy.ASTRONAUT)
    ]
    return World(world.home, world.inputs, tuple(answers))
