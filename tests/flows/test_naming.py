"""By which names and tags a person finds a flow run again."""

from types import SimpleNamespace

import pytest
from prefect import flow, runtime
from prefect.client.orchestration import get_client

from flows.naming import labelled
from tests.book.books import A, B, a_request

ASTRONAUT, CAT = a_request(A, "astronaut"), a_request(B, "cat")
PLAN = SimpleNamespace(  # what a name is made of
    concepts=[ASTRONAUT.concept],
    params=SimpleNamespace(method=SimpleNamespace(method="uce"), registered_model="gallery"),
)


@pytest.mark.parametrize(
    ("doing", "back", "concept"), [("erase", None, "astronaut"), ("restore", CAT, "cat")]
)
def test_a_run_is_found_by_what_it_erases_or_restores(doing, back, concept, tmp_path, monkeypatch):
    monkeypatch.setenv("ERASURE_HOME", str(tmp_path))

    @flow(flow_run_name=f"{doing} of an id")
    def run():
        with labelled(PLAN, back):
            return runtime.flow_run.id

    with get_client(sync_client=True) as client:
        shown = client.read_flow_run(run())
    assert shown.name == f"{doing} {concept} (uce) in {tmp_path}"
    assert [tag for tag in shown.tags if tag.startswith("concept:")] == [f"concept:{concept}"]
