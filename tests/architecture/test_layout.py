"""Folder names that would hide a library, and the ones that must not."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARIES = (
    "mlflow",
    "prefect",
    "dvc",
    "great_expectations",
    "torch",
    "diffusers",
    "transformers",
    "nudenet",
)


def test_the_mlflow_folder_is_not_a_package():
    assert (ROOT / "mlflow").is_dir()
    assert list((ROOT / "mlflow").rglob("__init__.py")) == []


def test_no_module_of_ours_hides_a_library():
    hiding = [
        folder / f"{name}.py"
        for folder in (ROOT, ROOT / "flows", ROOT / "tasks", ROOT / "mlflow")
        for name in LIBRARIES
    ]
    assert [file for file in hiding if file.exists()] == []
    assert [ROOT / name for name in LIBRARIES if (ROOT / name / "__init__.py").exists()] == []


def test_importing_mlflow_from_the_checkout_finds_the_library():
    # from this folder, as `python -m` sees it
    script = "import importlib.util as u; print(u.find_spec('mlflow').origin)"
    origin = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert "site-packages" in origin


@pytest.mark.parametrize(
    ("target", "developers"), [("erase", False), ("test", True), ("check", True)]
)
def test_only_developers_get_the_developers_tools(target, developers, tmp_path):
    for name in ("constraints.txt", "pyproject.toml"):
        (tmp_path / name).touch()
    make = ["make", "--dry-run", "--file", ROOT / "Makefile", target]
    told = subprocess.run(make, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "torch==" in told
    assert ("[dev]" in told) is developers


OLDER = """import sys
sys.version_info, sys.version = (3, 9, 7), "3.9.7 (older)"
exec(sys.argv[2])
"""


def test_another_build_of_torch_can_be_asked_for(tmp_path):
    for name in ("constraints.txt", "pyproject.toml"):
        (tmp_path / name).touch()
    make = ["make", "--dry-run", "--file", ROOT / "Makefile", "erase", "TORCH=torch==2.13.0+cpu"]
    told = subprocess.run(make, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "constraints.txt torch==2.13.0+cpu\n" in told


def test_an_older_python_is_named_before_anything_is_made(tmp_path):
    for name in ("constraints.txt", "pyproject.toml"):
        (tmp_path / name).touch()
    (tmp_path / "older").write_text(f"#!{sys.executable}\n" + OLDER)
    (tmp_path / "older").chmod(0o755)
    make = ["make", "--file", ROOT / "Makefile", "erase", "PYTHON=./older"]
    told = subprocess.run(make, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode
    assert "./older is Python 3.9.7; 3.11 or newer is needed" in told.stderr
    assert not (tmp_path / ".venv").exists()


def test_no_child_takes_modules_from_the_working_folder():
    """`python -m` and `python -c` put the working folder, which is the user's, first."""
    for folder in ("erasure_core", "tasks", "flows"):
        for file in (ROOT / folder).rglob("*.py"):
            text = file.read_text()
            safe = text.count('sys.executable, "-P", ')
            assert text.count("sys.executable") == safe, f"{file} starts Python without -P"


def test_only_one_room_touches_each_framework():
    """The same rule as the import contracts, for imports inside functions and for scripts outside
    the packages too.
    """

    def room(folder: str) -> set[str]:
        return {f.relative_to(ROOT).as_posix() for f in (ROOT / folder).rglob("*.py")}

    owners = {
        "mlflow": room("tasks/registry"),
        "sqlalchemy": room("tasks/book"),
        "alembic": room("tasks/book"),
        "sqlite3": {"tasks/registry/moved.py"},
        "dvc": {"tasks/versions/dvc_store.py"},
        "great_expectations": {"tasks/evidence/data.py"},
    }
    for name, allowed in owners.items():
        sources = [
            file
            for folder in ("erasure_core", "tasks", "flows", "mlflow")
            for file in (ROOT / folder).rglob("*.py")
        ]
        lines = {file: [line.split() for line in file.read_text().splitlines()] for file in sources}
        importing = {
            file.relative_to(ROOT).as_posix()
            for file in sources
            for words in lines[file]
            if len(words) > 1
            and words[0] in ("import", "from")
            and words[1].split(".")[0].rstrip(",") == name
        }
        assert importing <= allowed, f"{name} is imported in {importing - allowed}"
