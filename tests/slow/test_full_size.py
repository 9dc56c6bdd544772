"""Stable Diffusion 1.4's real shapes, random weights, two cores: memory has a bound."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slow.full_size import PARAMETERS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BOUNDS = {"uce": 7.0, "all_but_one": 16.0}  # GB at the highest, erasing and drawing one picture
CHANGED = {"uce": 32, "all_but_one": 80}  # tensors: keys and values; all of cross-attention


def call(*arguments: object) -> str:
    command = [sys.executable, "-m", "tests.slow.full_size", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("full")
    call("write", folder)
    return folder


@pytest.fixture(scope="module", params=BOUNDS)
def took(request, folder):
    return request.param, json.loads(call("erase", folder, request.param).splitlines()[-1])


def test_it_is_the_real_size(took):
    assert (took[1]["parameters"], took[1]["side"]) == (PARAMETERS, 512)


def test_the_change_is_whole(took):
    method, facts = took
    assert facts["changed"] == CHANGED[method]


def test_memory_stays_within_its_bound(took):
    method, facts = took
    assert facts["peak_gb"] < BOUNDS[method]
