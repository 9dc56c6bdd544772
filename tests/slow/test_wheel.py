"""The project as it is installed: from its wheel, in an empty folder, it opens a book, serves, and
makes a working folder whose example can be run.
"""

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import ROOT, clean_environment

SCRIPT = """
import shutil, sys
from datetime import UTC, datetime
from pathlib import Path

import tasks
from erasure_core.law.lineage import manifest, root_sha256
from erasure_core.law.statement import Statement, sign
from tasks.home import Home
from tasks.registry.packaging import VersionFacts
from tasks.registry.versions import expected, mirror_aliases, mirror_version, seen
from tasks.book.door import open_book
from tasks.book.keys import Keys
from tasks.versions.dvc_store import add_checkpoint

home, pipeline = Home.from_env(), Path(sys.argv[1])
home.prepare_environment()
assert open_book(home).ask(lambda reader: reader.head()).event == "book.opened"
folder = home.checkpoints / root_sha256(manifest(pipeline))
shutil.copytree(pipeline, folder)
pointer = add_checkpoint(home, folder).path.read_text()
hashes = {f"{name}_sha256": "cd" * 32 for name in ("base", "policy", "delta", "record", "head")}
statement = Statement(
    model="gallery", version=1, verdict="pass", request_ids=("1",), restored_ids=(), head_seq=1,
    checkpoint_sha256=folder.name, issued=datetime.now(UTC), **hashes,
)
signed = sign(statement, Keys(home).current())
facts = VersionFacts("gallery", 1, {}, signed, pointer, 3, 4.0, "0" * 32, "")
mirror_version(home, facts)
mirror_aliases(home, "", "gallery", {"candidate": 1, "champion": 1}, {1: facts.key})

import mlflow

mlflow.set_tracking_uri(home.tracking_uri)
pictures = mlflow.pyfunc.load_model("models:/gallery@champion").predict(["a photo of a cat"] * 2)
assert seen(home, "gallery", 1) == expected(facts)
print(Path(tasks.__file__).parent, pictures.shape[0], pictures.dtype)
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """The interpreter of a new environment with the project's wheel in it; everything else comes
    from the environment of the tests, whose own (editable) project does not.
    """
    folder = tmp_path_factory.mktemp("wheel")
    source, wheels, venv = folder / "source", folder / "wheels", folder / "venv"
    tracked = subprocess.run(
        ["git", "ls-files", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, tracked.split("\0")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, source / name)
    shutil.copyfile(ROOT / "prompts/kept.csv", source / "prompts/targets/jane-doe.csv")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(source)]
    subprocess.run([*pip, *build], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (wheel,) = wheels.glob("*.whl")
    into = ["--python", str(venv / "bin" / "python"), "install", "--no-deps", "--no-index"]
    subprocess.run([*pip, *into, str(wheel)], check=True)
    (packages,) = venv.glob("lib/*/site-packages")
    (packages / "tests.pth").write_text(sysconfig.get_paths()["purelib"])
    return venv / "bin" / "python"


@pytest.fixture
def installed(python, tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run words with the wheel's interpreter in an empty folder."""
    environment = clean_environment(tmp_path / "state")
    environment.pop("PYTHONPATH", None)

    def run(*words: object, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        command = [str(python), *map(str, words)]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)

    return run


@pytest.mark.slow
def test_an_installed_wheel_registers_and_serves(installed, python, tiny_folder):
    done = installed("-c", SCRIPT, tiny_folder)
    assert done.returncode == 0, done.stderr
    place, count, kind = done.stdout.split()[-3:]
    assert Path(place).is_relative_to(python.parents[1])
    assert (count, kind) == ("2", "uint8")


@pytest.mark.slow
def test_a_source_archive_holds_what_a_wheel_is_made_of(python):
    source = python.parents[2] / "source"
    command = [sys.executable, "-P", "setup.py", "--quiet", "sdist"]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (archive,) = source.glob("dist/*.tar.gz")
    with tarfile.open(archive) as files:
        held = {name.partition("/")[2] for name in files.getnames()}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert held >= {"setup.py", "pyproject.toml", *settings["tool"]["erasure"]["workspace"]}
    assert "prompts/targets/jane-doe.csv" not in held


@pytest.mark.slow
def test_an_installed_wheel_makes_a_working_folder_whose_example_is_ready(installed, tmp_path):
    made = installed("-m", "flows.cli", "init", "work")
    assert made.returncode == 0, made.stderr
    assert not list(tmp_path.rglob("jane-doe.csv"))  # of a request in the checkout
    check = ("request", "check", "examples/requests/astronaut.yaml")
    checked = installed("-m", "flows.cli", *check, cwd=tmp_path / "work")
    assert (checked.returncode, checked.stdout) == (0, "ready\n"), checked.stderr
