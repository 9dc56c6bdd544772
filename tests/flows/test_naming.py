"""By which names and tags a person finds a flow run again."""

from types import SimpleNamespace

import pytest
from prefect import flow, runtime
from prefect.client.orchestration import get_client

from flows import naming
from flows.naming import labelled
from tests.book.books import A, B, a_request

ASTRONAUT, CAT = a_request(A, "astronaut"), a_request(B, "cat")
PLAN = SimpleNamespace(  # what a name is made of
    concepts=[ASTRONAUT.concept],
    params=SimpleNamespace(method=SimpleNamespace(method="uce"), registered_model="gallery"),
)


MANY = [a_request(A, f"{n} " + "y" * 190).concept for n in range(30)]


@pytest.fixture
def named(tmp_path, monkeypatch):
    """The flow run that a plan gives name and tags to."""
    monkeypatch.setenv("ERASURE_HOME", str(tmp_path))

    def named(doing: str, plan=PLAN, back=None):
        @flow(flow_run_name=f"{doing} of an id")
        def run():
            with labelled(plan, back):
                return runtime.flow_run.id

        with get_client(sync_client=True) as client:
            return client.read_flow_run(run())

    return named


@pytest.mark.parametrize(
    ("doing", "back", "concept"), [("erase", None, "astronaut"), ("restore", CAT, "cat")]
)
def test_a_run_is_found_by_what_it_erases_or_restores(doing, back, concept, named, tmp_path):
    shown = named(doing, back=back)
    assert shown.name == f"{doing} {concept} (uce) in {tmp_path}"
    assert [tag for tag in shown.tags if tag.startswith("concept:")] == [f"concept:{concept}"]


def test_the_name_of_a_run_of_many_concepts_fits_into_a_databases_index(named, tmp_path):
    shown = named("erase", SimpleNamespace(concepts=MANY, params=PLAN.params))
    assert shown.name == f"erase {MANY[0].name} and 29 more (uce) in {tmp_path}"
    assert len([tag for tag in shown.tags if tag.startswith("concept:")]) == 30


def test_so_does_that_of_a_run_of_many_requests(monkeypatch):
    asked = SimpleNamespace(parameters={"requests": [c.name for c in MANY]})
    monkeypatch.setattr(naming.runtime, "flow_run", asked)
    assert naming.trial_name().startswith(f"try {MANY[0].name} and 29 more in ")
