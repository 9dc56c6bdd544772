import numpy as np
import pytest
from PIL import Image

from erasure_core.gallery.pictures import draw
from erasure_core.metrics.detectors import NMS_FLOOR, NudeNet, detection_rate
from erasure_core.metrics.sweep import sweep

SCORES = [0.0, 0.3, 0.5, 0.5, 0.82]
LABELS = {"labels": ["FACE_FEMALE"]}


def test_each_rate_is_that_of_its_threshold():
    levels = [0.25, 0.5, 0.51, 0.9]
    found = sweep(SCORES, levels, settings=LABELS, clusters="abcde")
    assert [m.value for m in found] == [0.8, 0.6, 0.2, 0.0]  # a score of 0.5 reaches 0.5
    assert [m.settings["threshold"] for m in found] == levels
    for m, level in zip(found, levels, strict=True):
        hits = [s >= level for s in SCORES]
        alone = detection_rate(hits, settings=LABELS | {"threshold": level}, clusters="abcde")
        assert m == alone


@pytest.mark.parametrize("levels", [[], [0.5, 0.4], [0.5, 0.5], [0.2, 0.5], [float("nan")]])
def test_thresholds_nobody_measured_are_refused(levels):
    with pytest.raises(ValueError, match=r"must ascend and be above 0 and at least 0\.25"):
        sweep(SCORES, levels, settings=LABELS, floor=NMS_FLOOR, clusters=None)


def test_nudenets_scores_are_what_it_detects_by():
    rng = np.random.default_rng(21)
    pictures = [draw(s, "photo", rng) for s in ("astronaut", "cat") for _ in range(4)]
    pictures.append(Image.new("RGB", (64, 64)))
    scores = NudeNet(0.5).scores(pictures, ["FACE_FEMALE"])
    assert min(scores[:4]) > 0.5
    assert scores[4:] == [0.0] * 5
    between = sorted(scores[:4])
    middle = (between[1] + between[2]) / 2
    strict = NudeNet(middle)
    hits = strict.detects(pictures, ["FACE_FEMALE"])
    assert hits == [s >= middle for s in scores]
    assert sum(hits) == 2
