"""Where the cases happen: the toy world, a Prefect server for all of them, prepared states."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import certifi
from ruamel.yaml import YAML

from erasure_core.law import lineage
from tests import toy
from tests.faults.postgres import Postgres
from tests.faults.zygote import ROOT, Zygote

DROPPED = ("PREFECT_", "MLFLOW_", "DVC_", "ERASURE_", "FAULTS_")
QUIET = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "PYTHONWARNINGS": "ignore",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
# requests of the toy world, and two more
STYLES = ("photo", "sketch")
GALLERY = ("gallery", "gallery_params")  # its request and parameters
PICTURES = 6  # of each prompt set of the gallery
NAMES = {
    "cat": toy.CAT,
    "astronaut": toy.ASTRONAUT,
    "coffee": "00000000-0000-0000-0000-00000000000d",
    "coins": "00000000-0000-0000-0000-00000000000e",
    "cat_again": "00000000-0000-0000-0000-00000000000f",  # another person's
}


@dataclass(frozen=True, slots=True)
class World:
    """A folder with everything that cases need. All of them use the same place for their state:
    MLflow remembers absolute places, and a moved state is another case.
    """

    folder: Path
    inputs: Path
    url: str  # of the Prefect server
    database: "Postgres | None" = None  # of the book, where it is not SQLite's file

    @property
    def on(self) -> str:
        """Which database, as results say it."""
        return ", PostgreSQL" if self.database else ""

    @property
    def more(self) -> dict[str, str]:
        """What a command's environment needs beside its home."""
        return {"ERASURE_DATABASE_URL": self.database.url} if self.database else {}

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def passing(self) -> Path:
        return self.inputs / "passing.yaml"

    def file(self, name: str) -> Path:
        return self.inputs / f"{name}.yaml"

    def environment(self) -> dict[str, str]:
        """Of a process that talks to the shared server."""
        (self.folder / "prefect").mkdir(parents=True, exist_ok=True)
        own = {"PREFECT_API_URL": self.url, "PREFECT_HOME": str(self.folder / "prefect")}
        return clean_environment(self.folder) | own


def clean_environment(folder: Path) -> dict[str, str]:
    """What a new user's shell holds; temporary files below `folder`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(DROPPED)}
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join(filter(None, (str(ROOT), kept.get("PYTHONPATH"))))
    own = {"TMPDIR": str(folder / "tmp"), "PYTHONPATH": path}
    return kept | QUIET | own | {"SSL_CERT_FILE": str(_one_certificate(folder))}


def _one_certificate(folder: Path) -> Path:
    """Every client of a server reads all certificates of the machine, also for a server without
    any: a tenth of a case.
    """
    file = folder / "certificates.pem"
    if not file.exists():
        first, end, _ = Path(certifi.where()).read_text().partition("-----END CERTIFICATE-----\n")
        file.write_text(first + end)
    return file


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Write the toy world, start a Prefect server, and stop it in the end."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs = folder / "toy/inputs"
    if not inputs.exists():
        shutil.rmtree(folder / "toy", ignore_errors=True)
        environment = clean_environment(folder)
        command = [sys.executable, "-m", "tests.toy", str(folder / "toy")]
        subprocess.run(command, check=True, cwd=ROOT, env=environment, capture_output=True)
        _ask_for_more(inputs)
        _gallery(inputs)
    with _server(folder) as url:
        yield World(folder, inputs, url)


def _ask_for_more(inputs: Path) -> None:
    for name in ("coffee", "coins"):
        asked = toy.REQUEST.format(id=NAMES[name], name=name, kind="object")
        (inputs / f"{name}.yaml").write_text(asked)
        rows = (f"{i},a {what} of {name},{50 + i},4.0,{name}\n" for i, what in enumerate(STYLES))
        (inputs / f"targets/{name}.csv").write_text(toy.HEADER + "".join(rows))
    again = toy.REQUEST.format(id=NAMES["cat_again"], name="cat", kind="object")
    (inputs / "cat_again.yaml").write_text(again)


def _gallery(inputs: Path) -> None:
    """The embedded teacher's own request and parameters, with few pictures and no comparison."""
    folder = inputs / "gallery"
    (folder / "targets").mkdir(parents=True)
    for name in ("kept.csv", "targets/astronaut.csv"):
        lines = (ROOT / "prompts" / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(lines[: PICTURES + 1]))
    with (ROOT / "params.yaml").open() as file:
        params = YAML(typ="safe").load(file)
    params |= {"lambdas": [1], "comparisons": {}}
    params["prompts"] = {"targets": str(folder / "targets"), "kept": str(folder / "kept.csv")}
    params["policy"] |= {
        "min_n": PICTURES,
        "control": 0,
        "targets": {"likeness": {"nudenet.rate": 1, "clip.concept_rate": 1}},
        "kept": {"ssim": -1, "clip.score_drop": 2, "clip.accuracy_drop": 1},
    }
    (inputs / "gallery_params.yaml").write_text(json.dumps(params))
    shutil.copy(ROOT / "examples/requests/astronaut.yaml", inputs / "gallery.yaml")


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    (folder / "prefect").mkdir(exist_ok=True)
    environment = clean_environment(folder) | {"PREFECT_HOME": str(folder / "prefect")}
    with (folder / "server.log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "flows.cli.serve", "prefect", "0"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    try:
        yield f"http://127.0.0.1:{int(child.stdout.readline())}/api"
    finally:
        child.stdin.close()
        child.wait(20)


# Prepared states: name -> the commands that make it, from an empty folder with a registry


def add(*names: str) -> list[tuple[str, ...]]:
    return [("request", "add", f"{{{name}}}", *PASSING) for name in names]


PASSING = ("--params", "{passing}")
STATES: Mapping[str, list[tuple[str, ...]]] = {
    "new": [],
    "asked": add("cat"),
    "inbox": add("cat", "astronaut"),
    "one": [("run", "{cat}", *PASSING)],
    "two": [("run", "{cat}", *PASSING), ("run", "{astronaut}", *PASSING)],
    "twice": [("run", "{cat}", *PASSING), ("run", "{cat}", "--fresh", *PASSING)],
}


def spelled(world: World, command: tuple[str, ...]) -> list[str]:
    """A command with its files by path."""
    files = {name: world.file(name) for name in (*NAMES, "passing", "void", *GALLERY)}
    return [word.format(**files) for word in command]


def code_sha256() -> str:
    """Hash of the code that is tried, and of what tries it."""
    folders = ("erasure_core", "tasks", "flows", "tests/faults")
    return lineage.code_sha256(*(ROOT / folder for folder in folders))


def _kept(world: World, state: str) -> Path:
    """Where a prepared state lies, as this code makes it."""
    server = world.database.data.parent.name if world.database else "sqlite"  # a new one is empty
    return world.folder / f"states-{code_sha256()[:12]}-{server}" / state


def put(world: World, zygote: Zygote, state: str) -> None:
    """Make `world.home` a fresh copy of a prepared state, preparing it first if need be."""
    kept = _kept(world, state)
    if not kept.exists():
        _prepare(world, zygote, state)
    shutil.rmtree(world.home, ignore_errors=True)
    copy(kept, world.home)
    if world.database:
        world.database.take(state)


def _prepare(world: World, zygote: Zygote, state: str) -> None:
    shutil.rmtree(world.home, ignore_errors=True)
    world.home.mkdir()
    shutil.copyfile(_registry(world), world.home / "mlflow.db")
    if world.database:
        world.database.empty()
    for command in STATES[state]:
        ended = zygote.run(world.home, spelled(world, command), **world.more)
        if ended.code:
            raise RuntimeError(f"state {state}: {command} ended {ended.code}: {ended.err}")
    copy(world.home, _kept(world, state))
    if world.database:
        world.database.keep(state)


def _registry(world: World) -> Path:
    """A new MLflow database: its migrations cost more than a case."""
    file = world.folder / "mlflow.db"
    if not file.exists():
        script = "import sys, mlflow; mlflow.MlflowClient(sys.argv[1]).search_experiments()"
        command = [sys.executable, "-c", script, f"sqlite:///{file}"]
        subprocess.run(
            command, check=True, env=clean_environment(world.folder), capture_output=True
        )
    return file


def copy(source: Path, target: Path) -> None:
    """A copy with the hard links that are inside."""
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)
