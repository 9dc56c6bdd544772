"""One state folder; the frameworks find a quiet environment before they are imported."""

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from erasure_core.errors import BadInput
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
    monkeypatch.setenv("ERASURE_DVC_REMOTE", "shared")
    assert Home(tmp_path / "h").dvc_remote == str(tmp_path / "shared")
    monkeypatch.setenv("ERASURE_DVC_REMOTE", "s3://bucket/models")
    assert Home(tmp_path / "h").dvc_remote == "s3://bucket/models"


def test_environment_respects_what_is_set(tmp_path, monkeypatch):
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    Home(tmp_path).prepare_environment()
    assert os.environ["DO_NOT_TRACK"] == "1"
    assert os.environ["PREFECT_HOME"] == str(tmp_path / "prefect")
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


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


def test_importing_home_imports_no_framework():
    script = (
        "import sys, tasks.home; print([m for m in ('prefect', 'mlflow', 'dvc', "
        "'torch') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert out.stdout.strip() == "[]"
