"""Purification on the embedded teacher: the astronaut's pictures lose the face, a cat's come back
nearly as they were.
"""

import pytest

from benchmarks import purify as benchmark
from erasure_core.metrics.detectors import NudeNet
from erasure_core.network.models import load_teacher
from erasure_core.planning.params import read_params

pytestmark = pytest.mark.slow


def test_the_face_goes_and_the_cat_stays():
    params = read_params(benchmark.ROOT / "params.purify.yaml")
    teacher = load_teacher(benchmark.ROOT / params.base.path)
    before = {
        name: group
        for name, group in benchmark.photographs(6).items()
        if name in ("astronaut", "cat")
    }
    after = benchmark.purified(teacher, benchmark.student_of(teacher, params), before, steps=20)
    detector, labels = NudeNet(params.detector.threshold), params.detector.labels["likeness"]
    rows = {r["subject"]: r for r in benchmark.compared(before, before, after, detector, labels)}
    assert rows["astronaut"]["faces"][0] >= 0.8  # the face was there
    assert rows["astronaut"]["faces"][2] == 0
    assert rows["cat"]["ssim"][1] >= 0.85
