"""One Prefect server for every test here: starting it takes 10 to 20 seconds, a flow on it about
one. And the toy world, with state folders in which whole runs were made once.
"""

import os

os.environ["PREFECT_API_URL"] = (
    ""  # a server named in the caller's environment must never hear of tests
)
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import mlflow
import pytest
from typer.testing import Result

from tests import toy
from tests.flows.command import erasure
from tests.once import made_once

HERE = "@folder@"


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


@pytest.fixture(scope="session")
def begin(mlflow_template) -> Callable[[Path], Path]:
    """Make `home` in a folder: a state folder that holds nothing but a registry."""

    def made(folder: Path) -> Path:
        home = folder / "home"
        home.mkdir(parents=True)
        shutil.copy(mlflow_template, home / "mlflow.db")
        return home

    return made


@pytest.fixture
def inputs(write_inputs, tmp_path) -> Path:
    """Inputs that a test may spoil."""
    return write_inputs(tmp_path / "inputs")


@pytest.fixture
def home(tmp_path, begin, inputs) -> Path:
    """A state folder whose book holds one request, the cat's, and that has a registry."""
    home = begin(tmp_path)
    added = erasure(home, "request", "add", inputs / "cat.yaml", "--params", inputs / "void.yaml")
    assert added.exit_code == 0, added.stderr
    return home


@dataclass(frozen=True)
class Answer:
    """What a command answered, as far as it can be kept in a file."""

    exit_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class World:
    """A state folder with the inputs of its runs and what they answered; not to be changed. It may
    be a copy: answers name the folder that they are read from.
    """

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def inputs(self) -> Path:
        return self.folder / "inputs"

    @property
    def answers(self) -> tuple[Answer, ...]:
        kept = (self.folder / "answers").read_text().replace(HERE, str(self.folder))
        return tuple(Answer(**each) for each in json.loads(kept))

    @property
    def passing(self) -> tuple[str, Path]:
        """The parameters of the runs that pass."""
        return "--params", self.inputs / "passing.yaml"

    def answered(self, *answers: Result) -> None:
        kept = [Answer(a.exit_code, a.stdout, a.stderr) for a in answers]
        text = json.dumps([asdict(each) for each in kept])
        (self.folder / "answers").write_text(text.replace(str(self.folder), HERE))

    def copy(self, folder: Path) -> "World":
        """The same in a folder of its own, to be changed."""
        for name in ("home", "inputs"):
            shutil.copytree(getattr(self, name), folder / name)
        shutil.copy(self.folder / "answers", folder / "answers")
        return World(folder)


@pytest.fixture(scope="session")
def ran(write_inputs, begin, tmp_path_factory) -> World:
    """After a run that is void, the same again, and one that passes."""

    def make(folder: Path) -> None:
        world = World(folder)
        begin(folder)
        write_inputs(world.inputs)
        request = world.inputs / "astronaut.yaml"
        world.answered(
            *(
                erasure(
                    world.home, "run", request, "--params", world.inputs / f"{name}.yaml", "--json"
                )
                for name in ("void", "void", "passing")
            )
        )

    return World(made_once(tmp_path_factory, "ran", make))


@pytest.fixture(scope="session")
def both(ran, tmp_path_factory) -> World:
    """After that, the cat was honoured with what is due. Another person asks for the cat too; a
    third asks for a rocket, for which there is no prompt set.
    """

    def make(folder: Path) -> None:
        world = ran.copy(folder)
        others = {"twin": (toy.TWIN, "cat"), "rocket": (toy.ROCKET, "rocket")}
        for name, (request_id, concept) in others.items():
            text = toy.REQUEST.format(id=request_id, name=concept, kind="object")
            (world.inputs / f"{name}.yaml").write_text(text)
        for name in ("cat", "twin", "rocket"):
            file = world.inputs / f"{name}.yaml"
            added = erasure(world.home, "request", "add", file, *world.passing)
            assert added.exit_code == 0, added.stderr
        world.answered(erasure(world.home, "run", *world.passing, "--json"))

    return World(made_once(tmp_path_factory, "both", make))


@pytest.fixture(scope="session")
def restored(both, tmp_path_factory) -> World:
    """After that, the other person withdrew, the cat was taken back, and then the astronaut: the
    base is released.
    """

    def make(folder: Path) -> None:
        world = both.copy(folder)
        why = ("--reason", "withdrawn by the data subject")
        withdrawn = erasure(world.home, "request", "withdraw", toy.TWIN, *why)
        assert withdrawn.exit_code == 0, withdrawn.stderr
        world.answered(
            *(
                erasure(world.home, "restore", request_id, *why, *world.passing, "--json")
                for request_id in (toy.CAT, toy.ASTRONAUT)
            )
        )

    return World(made_once(tmp_path_factory, "restored", make))
