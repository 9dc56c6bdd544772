"""`prefect.yaml` names flows that exist, and pools and queues that the bootstrap makes."""

import importlib

import pytest
from prefect import Flow
from ruamel.yaml import YAML

from flows.bootstrap import DEPLOYMENTS, POOLS, QUEUE

DECLARED = YAML(typ="safe").load(DEPLOYMENTS.read_text())["deployments"]


def flow_of(deployment: dict) -> Flow:
    module, name = deployment["entrypoint"].split(":")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("deployment", DECLARED, ids=lambda deployment: deployment["name"])
def test_a_deployment_is_a_flow_on_a_pool_that_bootstrap_makes(deployment):
    assert isinstance(flow_of(deployment), Flow)
    assert deployment["work_pool"]["name"] in POOLS
    assert deployment["work_pool"].get("work_queue_name", QUEUE) == QUEUE


def test_the_names_in_the_documentation_are_the_deployed_ones():
    names = {f"{flow_of(deployment).name}/{deployment['name']}" for deployment in DECLARED}
    text = (DEPLOYMENTS.parents[1] / "docs" / "operations.md").read_text()
    assert {name for name in names if name not in text} == set()


def test_only_the_gpu_flow_needs_the_gpu_pool():
    assert [d["entrypoint"] for d in DECLARED if d["work_pool"]["name"] == "gpu"] == [
        "flows.gpu:erase_and_generate"
    ]
