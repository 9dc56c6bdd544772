"""Names of flow runs: concept, method and state folder, so that a person finds one again."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect import runtime, tags

from erasure_core.errors import ErasureError
from erasure_core.law.requests import DeletionRequest, read_request
from erasure_core.planning.plan import Plan
from erasure_core.text import names_of
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
    return names_of(names)


def nightly_name() -> str:
    """`honour what is due (uce) in /srv/erasure`."""
    return f"honour what is due{_where()}"


def restore_name() -> str:
    """`restore 0b9f6c1e-... in /srv/erasure`."""
    return f"restore {runtime.flow_run.parameters.get('request_id')}{_where()}"


def request_name() -> str:
    """`request coffee (object) in /srv/erasure`."""
    given = runtime.flow_run.parameters
    return f"request {given.get('concept')} ({given.get('kind')}) in {Home.from_env().root}"


@contextmanager
def labelled(plan: Plan, back: DeletionRequest | None = None) -> Iterator[None]:
    """Let the flow run, and every run of the body, be found by concept, method and model: by the
    concept of the request that is taken back, if one is, else by those that are erased.
    """
    from prefect.client.orchestration import get_client
    from prefect.context import FlowRunContext

    names = [concept.name for concept in ([back.concept] if back else plan.concepts)]
    method, model = plan.params.method.method, plan.params.registered_model
    labels = [*(f"concept:{name}" for name in names), f"method:{method}", f"model:{model}"]
    context = FlowRunContext.get()
    if context is not None and context.flow_run is not None:
        run = context.flow_run
        doing = run.name.partition(" ")[0]
        name = f"{doing} {names_of(names)} ({method}) in {Home.from_env().root}"
        with get_client(sync_client=True) as client:
            client.update_flow_run(run.id, name=name, tags=[*run.tags, *labels])
    with tags(*labels):
        yield


def _where() -> str:
    method = runtime.flow_run.parameters.get("method")
    return (f" ({method})" if method else "") + f" in {Home.from_env().root}"
