"""Would the tests see it? Each fault of a gate or a metric, laid in a copy of the tree, fails the
test that is named beside it; without the fault that test passes.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
COPIED = ("erasure_core", "tasks", "flows", "tests", "prompts", "examples")
LINKED = ("models", "benchmarks", "docs")
FILES = ("pyproject.toml", "params.yaml", "params.sd14.yaml", "params.purify.yaml", "README.md")


class Fault(NamedTuple):
    """A fault and the test that sees it."""

    file: str
    sound: str  # stands there once
    faulty: str
    test: str


METRICS, GATES = "erasure_core/metrics", "erasure_core/law/gates.py"
FAULTS = {
    "gate: a limit on what should be low is flipped": Fault(
        GATES, "(end <= limit.bound,", "(end >= limit.bound,", "tests/core/test_gates.py"
    ),
    "gate: the value is judged, not the cautious end": Fault(
        GATES, "end = m.high if lower", "end = m.value if lower", "tests/core/test_gates.py"
    ),
    "gate: a part of the pictures is judged like all of them": Fault(
        GATES, "if lower is not limit.shown_before", "if lower", "tests/core/test_gates.py"
    ),
    "gate: min_n is ignored": Fault(
        GATES, "if m.n < limit.min_n:", "if m.n < 0:", "tests/core/test_gates.py"
    ),
    "gate: what was not measured passes": Fault(
        GATES,
        '            0,\n            limit.bound,\n            "inconclusive",',
        '            0,\n            limit.bound,\n            "pass",',
        "tests/core/test_gates.py",
    ),
    "gate: a blind control does not void": Fault(
        GATES, "if blind or not checks:", "if not checks:", "tests/core/test_gates.py"
    ),
    "policy: limits on attacks are dropped": Fault(
        "erasure_core/planning/policy.py",
        "return [*targets, *attacked, *kept, *back]",
        "return [*targets, *kept, *back]",
        "tests/core/test_params.py",
    ),
    "attack: the share is limited, not its excess over the control": Fault(
        "tasks/evidence/attack.py",
        "instead.hits,",
        "[False] * len(instead.hits),",
        "tests/tasks/test_attack_measurements.py",
    ),
    "interval: pictures of one prompt count as independent": Fault(
        f"{METRICS}/intervals.py",
        "return len(clusters) ** 2 / sum(size**2 for size in sizes)",
        "return float(len(clusters))",
        "tests/core/metrics/test_intervals.py",
    ),
    "interval: pictures of one seed count as independent": Fault(
        "erasure_core/planning/sealed.py",
        "return min(prompts, seeds, key=effective) if rows else []",
        "return prompts",
        "tests/core/test_sealed.py",
    ),
    "policy: what stays has no control": Fault(
        "erasure_core/planning/policy.py",
        "if metric.startswith(DROP) and bound < 1",
        "if False",
        "tests/core/test_params.py",
    ),
    "detector: red and blue are swapped": Fault(
        f"{METRICS}/detectors.py",
        "np.array(image)",
        "np.array(image)[..., ::-1]",
        "tests/core/metrics/test_detectors.py",
    ),
    "kid: a picture is paired with itself": Fault(
        f"{METRICS}/kid.py",
        "different = rows.sum() - own.sum()",
        "different = rows.sum()",
        "tests/core/metrics/test_kid.py",
    ),
    "fid: the covariances' root is left out": Fault(
        f"{METRICS}/fid.py", "- 2 * cross)", "- cross)", "tests/core/metrics/test_fid.py"
    ),
    "fid: too few pictures are accepted": Fault(
        f"{METRICS}/fid.py",
        "if min(n_reference, n) > d:",
        "if min(n_reference, n) > 0:",
        "tests/core/metrics/test_fid.py",
    ),
    "ssim: another window": Fault(
        f"{METRICS}/ssim.py", "n / (n - 1) *", "1.0 *", "tests/core/metrics/test_ssim.py"
    ),
    "metrics: one is dropped": Fault(
        f"{METRICS}/__init__.py",
        '    "fid": _metric(fid_to_base, ("kept",), "lower", ("features", "base"), _ELSEWHERE),\n',
        "",
        "tests/contract/test_metrics.py",
    ),
    "replacement: memorised pictures of each style are compared across styles": Fault(
        "tasks/evidence/measure.py",
        "alike = _comparable(rows)",
        "alike = None",
        "tests/tasks/test_measure_replacement.py",
    ),
    "leak: what the base shows too is held against the model": Fault(
        "tasks/evidence/further.py",
        "now and not was for",
        "now for",
        "tests/tasks/test_further.py",
    ),
    "sealed: a reported prompt is trained on": Fault(
        "erasure_core/planning/sealed.py",
        "found += [Sealed(p, f\"prompts of '{c.name}'\") for p in c.prompts]",
        "found += []",
        "tests/core/test_sealed.py",
    ),
}


@pytest.fixture
def tree(tmp_path) -> Path:
    """A copy of the tree, without what is only read."""
    for name in COPIED:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)
    for name in LINKED:
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def outcome_of(tree: Path, test: str) -> subprocess.CompletedProcess[str]:
    """The test file run in the copy, until the first failure."""
    options = ["-q", "-x", "-p", "no:cacheprovider", "-m", "slow or not slow"]
    command = [sys.executable, "-m", "pytest", *options, test]
    return subprocess.run(
        command,
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_fails_the_test_that_is_there_to_see_it(name, tree):
    fault = FAULTS[name]
    file = tree / fault.file
    text = file.read_text()
    assert text.count(fault.sound) == 1, f"{fault.file} has it {text.count(fault.sound)} times"
    file.write_text(text.replace(fault.sound, fault.faulty))
    done = outcome_of(tree, fault.test)
    assert done.returncode == 1, done.stdout[-2000:]  # 1: a test failed; 2: nothing could be run
    assert "SyntaxError" not in done.stdout


@pytest.mark.parametrize("test", sorted({fault.test for fault in FAULTS.values()}))
def test_without_a_fault_they_pass(test, tree):
    done = outcome_of(tree, test)
    assert done.returncode == 0, done.stdout[-2000:]
