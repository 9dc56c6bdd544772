"""One state folder; the frameworks find a quiet environment before they are imported."""

import os
import subprocess
import sys
from pathlib import Path
from shutil import which
from unittest import mock

import pytest

from erasure_core.errors import BadInput
from tasks.book.keys import Keys
from tasks.home import QUIET, Home


@pytest.fixture(autouse=True)
def clean_environment():
    """Nothing set before, everything as it was after."""
    with mock.patch.dict(os.environ):
        for name in (
            *QUIET,
            "ERASURE_HOME",
            "MLFLOW_TRACKING_URI",
            "ERASURE_DVC_REMOTE",
            "PREFECT_HOME",
            "PREFECT_API_URL",
        ):
            os.environ.pop(name, None)
        os.environ.pop("PREFECT_SERVER_LOGGING_LEVEL", None)
        yield


def test_home_is_absolute_and_defaults_to_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Home.from_env().root == tmp_path / ".erasure"
    monkeypatch.setenv("ERASURE_HOME", "elsewhere")
    assert Home.from_env().root == tmp_path / "elsewhere"


@pytest.mark.parametrize("name", ["a b", "a#b", "a%b", "100%", "a+b", "ä"])
def test_a_path_that_every_framework_reads_alike_can_hold_the_state(name, tmp_path):
    assert Home(tmp_path / name).checked() == Home(tmp_path / name)


@pytest.mark.parametrize("name", ["a%20b", "a%2Fb", "a?b", "a%3Fb"])
def test_a_path_that_a_url_would_change_cannot(name, tmp_path):
    with pytest.raises(BadInput, match=r"a path with \? or an escape such as %20 means another"):
        Home(tmp_path / name).checked()


def test_tracking_uri_is_an_absolute_sqlite_file_unless_a_server_is_named(tmp_path, monkeypatch):
    home = Home(tmp_path)
    assert home.tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert Path(home.tracking_uri.removeprefix("sqlite:///")).is_absolute()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert home.tracking_uri == "http://tracking:5000"


def test_remote_may_be_a_folder_or_a_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Home(tmp_path / "h").dvc_remote == str(tmp_path / "h" / "dvc-remote")
    monkeypatch.setenv("ERASURE_DVC_REMOTE", str(tmp_path / "shared"))
    assert Home(tmp_path / "h").checked().dvc_remote == str(tmp_path / "shared")
    monkeypatch.setenv("ERASURE_DVC_REMOTE", "s3://bucket/models")
    assert Home(tmp_path / "h").checked().dvc_remote == "s3://bucket/models"


@pytest.mark.parametrize("remote", ["~/remote", "remote", "./remote", "../remote"])
def test_a_remote_that_each_working_folder_has_for_itself_is_refused(tmp_path, monkeypatch, remote):
    """As systemd's `EnvironmentFile` and cron give it: no shell has read it."""
    monkeypatch.setenv("ERASURE_DVC_REMOTE", remote)
    with pytest.raises(BadInput, match="write the whole path, from / on"):
        Home(tmp_path).checked()


def test_environment_respects_what_is_set(tmp_path, monkeypatch):
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    Home(tmp_path).prepare_environment()
    assert os.environ["DO_NOT_TRACK"] == "1"
    assert os.environ["PREFECT_HOME"] == str(tmp_path / "prefect")
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


@pytest.mark.slow
def test_every_prefect_setting_we_set_is_one_prefect_knows(tmp_path):
    """A misspelt setting would be ignored in silence: ask Prefect itself, in its own process, what
    it understood.
    """
    script = (
        "from pathlib import Path; from tasks.home import Home; "
        f"Home(Path({str(tmp_path / 'none')!r})).prepare_environment(); "
        "from prefect.settings import get_current_settings; s = get_current_settings(); "
        "print(s.server.ephemeral.startup_timeout_seconds, s.server.analytics_enabled, "
        "s.server.logging_level, s.home)"
    )
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert out.stdout.split() == ["120", "False", "CRITICAL", str(tmp_path / "none/prefect")]
    assert (out.stderr, (tmp_path / "none").exists()) == ("", False)


def kept_by_git(folder: Path) -> list[str]:
    """What git would take in there."""
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    list_new = ["git", "-C", folder, "status", "--porcelain", "--untracked-files=all"]
    found = subprocess.run(list_new, capture_output=True, check=True, text=True).stdout
    return [line.removeprefix("?? ") for line in found.splitlines()]


@pytest.mark.skipif(not which("git"), reason="no git here")
@pytest.mark.parametrize("left", [None, ".gitignore.of-a-killed-process"])
def test_git_takes_nothing_of_a_state_folder_in(tmp_path, left):
    home = Home(tmp_path / ".erasure")
    if left:
        home.root.mkdir()
        (home.root / left).write_text("")
    home.begin()
    (home.root / "book.db").write_text("a name")
    assert kept_by_git(tmp_path) == []


@pytest.mark.skipif(not which("git"), reason="no git here")
@pytest.mark.parametrize(
    "first", [lambda keys, file: keys.trust("partner", file), lambda keys, _: keys.current()]
)
def test_git_takes_nothing_in_where_keys_came_first(tmp_path, first):
    """`erasure keys trust` may be the first command of a state folder."""
    other = Keys(Home(tmp_path / "elsewhere"))
    file = other.believed / f"{other.current().name}.pub"
    home = Home(tmp_path / "here" / ".erasure")
    first(Keys(home), file)
    home.begin()
    (home.root / "book.db").write_text("a name")
    assert kept_by_git(tmp_path / "here") == []


@pytest.mark.skipif(not which("git"), reason="no git here")
def test_in_a_working_folder_git_leaves_out_the_keys_alone(tmp_path):
    """Which may be the state folder as well: its owner's files are its owner's business."""
    (tmp_path / "params.yaml").write_text("")
    home = Home(tmp_path)
    home.begin()
    Keys(home).current()
    assert (home.keys / "signing.pem").exists()
    assert kept_by_git(tmp_path) == ["params.yaml"]


def test_what_somebody_wrote_for_git_stays(tmp_path):
    home = Home(tmp_path)
    home.begin()
    (tmp_path / ".gitignore").write_text("mine\n")
    home.begin()
    assert (tmp_path / ".gitignore").read_text() == "mine\n"


def test_importing_home_imports_no_framework():
    script = (
        "import sys, tasks.home; print([m for m in ('prefect', 'mlflow', 'dvc', "
        "'torch') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert out.stdout.strip() == "[]"
