"""Every benchmark runs the way its own text says: as a script and as a module."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import (
    again,
    book,
    closed_form,
    deflate,
    implicit,
    pictures,
    purify,
    releases,
    sequential,
)
from erasure_core.law.prompts import read_prompt_set
from erasure_core.planning.params import read_params

ROOT = Path(__file__).parents[2]
PARAMS = read_params(ROOT / "params.yaml")
SCRIPTS = sorted(
    file.stem for file in (ROOT / "benchmarks").glob("*.py") if "__main__" in file.read_text()
)


RESULTS = ROOT / "benchmarks/results"
METHODS = (ROOT / "docs/methods.md").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()


def rows(file: Path) -> list[dict]:
    return json.loads(file.read_text())["rows"]


@pytest.mark.parametrize("benchmark", [deflate, implicit, purify])
def test_the_tables_of_the_docs_are_those_that_were_measured(benchmark):
    measured = rows(RESULTS / f"{benchmark.__name__.rpartition('.')[2]}.json")
    assert benchmark.HEAD + "".join(map(benchmark.row, measured)) in METHODS


def test_so_is_what_the_erased_words_miss_by():
    first, *_, last = (row["miss_of_the_words"] for row in rows(RESULTS / "deflate.json"))
    assert f"words themselves miss by {first:.2f} after plain UCE" in METHODS
    assert f"by {last:.2f}. These are distances" in " ".join(METHODS.split())


def test_so_is_the_table_of_growth():
    (file,) = (f for f in RESULTS.glob("closed_form-*.json") if "gallery" not in f.name)
    assert "\n".join(closed_form.growth_table(rows(file))) in METHODS


def test_so_are_the_tables_of_the_books_growth():
    measured = rows(book.RESULTS)
    assert [row["requests"] for row in measured] == list(book.SIZES)
    assert "\n".join(book.tables(measured)) in OPERATIONS


@pytest.mark.parametrize(
    ("said", "metric"),
    [
        ("face seen", "nudenet.rate[astronaut]"),
        ("CLIP names it", "clip.concept_rate[astronaut]"),
        ("SSIM kept", "ssim"),
        ("accuracy kept", "clip.accuracy"),
    ],
)
def test_so_is_the_table_of_shared_trajectories(said, metric):
    measured = json.loads((RESULTS / "all_but_one-cpu.json").read_text())[
        "gallery, paper settings"
    ]["quality"]
    literal = measured["literal"][metric]
    few, many = (statistics.mean(measured["banks"][n]["values"][metric]) for n in ("12", "48"))
    assert (
        f"| {said} | {min(literal):.3f} to {max(literal):.3f} | {few:.3f} | {many:.3f} |" in METHODS
    )


def test_there_are_some():
    assert {"all_but_one", "closed_form", "pictures"} <= set(SCRIPTS)


EACH = """
import os, runpy, sys
for file in sys.argv[1:]:
    sys.path[0], sys.argv = os.path.dirname(file), [file, "--help"]
    try:
        runpy.run_path(file, run_name="__main__")
    except SystemExit as ended:
        assert not ended.code, file
    else:
        raise SystemExit(f"{file} went on after its help")
"""


@pytest.mark.slow
def test_each_runs_as_a_script():
    """In one process, because most of the time goes into what they all import."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    files = [str(ROOT / f"benchmarks/{name}.py") for name in SCRIPTS]
    script = [sys.executable, "-c", EACH, *files]
    done = subprocess.run(script, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_so_is_the_table_of_requests_one_after_another():
    measured = rows(sequential.RESULTS)
    assert sequential.table(measured) in (ROOT / "docs/compare.md").read_text()
    steps = [(row["method"], row["way"], row["requests"]) for row in measured]
    assert steps == [
        (method, way, n)
        for method in ("uce", "rece", "speed")
        for way in sequential.WAYS
        for n in range(1, len(sequential.ORDER) + 1)
    ]


def test_the_table_of_what_a_part_sees_is_the_simulated_one():
    measured = rows(again.RESULTS)
    assert again.table(measured) in (ROOT / "docs/again.md").read_text()
    assert json.loads(again.RESULTS.read_bytes())["parts"] == PARAMS.policy.again.parts


@pytest.mark.parametrize("benchmark", [pictures, releases])
def test_so_are_the_tables_of_what_a_release_costs(benchmark):
    assert benchmark.table(json.loads(benchmark.RESULTS.read_bytes())) in OPERATIONS


def test_a_part_sees_a_return_and_hardly_ever_cries_wolf(monkeypatch):
    monkeypatch.setattr(again, "DRAWS", 200)
    targets = read_prompt_set(ROOT / "prompts/targets/astronaut.csv", PARAMS.reading)
    by_share = {row["shown"]: row["by a part"] for row in again.simulated(PARAMS, targets)}
    assert by_share[0.0] == 0
    assert by_share[0.1] < 0.1
    assert by_share[0.5] > 0.95


def test_the_first_request_is_the_same_both_ways():
    first = [row for row in rows(sequential.RESULTS) if row["requests"] == 1]
    for method in ("uce", "rece", "speed"):
        one, other = (row["back"] for row in first if row["method"] == method)
        assert one == pytest.approx(other, abs=1e-6)


def test_how_much_is_back_is_measured_along_the_line():
    import torch

    target, start = torch.zeros(2, 3).double(), torch.ones(2, 3).double()
    aside = torch.tensor([[1.0, -1, 0], [0, 1, -1]]).double()
    for share in (0, 0.25, 1, 1.5):
        assert sequential._share(share * start + aside, target, start) == pytest.approx(share)


@pytest.mark.parametrize(
    ("seen", "releases"),
    [([0.5] * 4, 4), ([1.0, 0, 0, 0], 4), ([1.0] * 4, 1), ([0.0] * 4, None), ([0.9, 0.9], 1)],
)
def test_a_leak_is_seen_by_one_part_after_the_other(seen, releases):
    """Half of it each time: 0.5 ^ 4 is left. By one part of four alone: all four releases."""
    assert again._until(0.9, seen) == releases
