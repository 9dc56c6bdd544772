"""Names of flow runs: concept, method and state folder, so that a person finds one again."""

from pathlib import Path

from prefect import runtime

from erasure_core.errors import ErasureError
from erasure_core.law.requests import read_request
from tasks.home import Home


def named_after_requests() -> str:
    """`erase astronaut, cat (uce) in /srv/erasure`."""
    return f"erase {_requests()}{_where()}"


def trial_name() -> str:
    """`try astronaut (uce) in /srv/erasure`."""
    return f"try {_requests()}{_where()}"


def _requests() -> str:
    given = runtime.flow_run.parameters
    names = []
    for file in map(str, given.get("requests", ())):
        try:
            names.append(read_request(Path(file)).concept.name)
        except ErasureError:
            names.append(file)  # an id; or the run itself says what is wrong with it
    return ", ".join(names)


def nightly_name() -> str:
    """`honour what is due (uce) in /srv/erasure`."""
    return f"honour what is due{_where()}"


def restore_name() -> str:
    """`restore 0b9f6c1e-... in /srv/erasure`."""
    return f"restore {runtime.flow_run.parameters.get('request_id')}{_where()}"


def _where() -> str:
    method = runtime.flow_run.parameters.get("method")
    return (f" ({method})" if method else "") + f" in {Home.from_env().root}"
