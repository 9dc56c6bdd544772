"""One Prefect server for every test here: starting it takes 10 to 20 seconds, a flow on it about
one.
"""

import os

os.environ["PREFECT_API_URL"] = (
    ""  # a server named in the caller's environment must never hear of tests
)
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")

import pytest


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
