import numpy as np
import pytest
from nudenet import NudeDetector
from PIL import Image

from erasure_core.errors import BadInput
from erasure_core.gallery.pictures import draw
from erasure_core.metrics.detectors import Detector, NudeNet, detection_rate

FACE = ["FACE_FEMALE"]


@pytest.fixture(scope="module")
def detector() -> Detector:
    return NudeNet(threshold=0.5)


@pytest.fixture(scope="module")
def astronauts() -> list[Image.Image]:
    rng = np.random.default_rng(21)
    return [
        draw("astronaut", "photo", rng) for _ in range(10)
    ]  # more than one batch of the network


def test_the_astronauts_face_is_detected_and_a_cat_has_none(detector, astronauts):
    rng = np.random.default_rng(22)
    cats = [draw("cat", "photo", rng) for _ in range(4)]
    assert detector.detects(astronauts, FACE) == [True] * 10
    assert detector.detects(cats, ["FACE_FEMALE", "FACE_MALE"]) == [False] * 4
    assert detector.detects([cats[0], astronauts[0], cats[1]], FACE) == [False, True, False]


def test_only_the_labels_asked_for_count(detector, astronauts):
    assert not any(detector.detects(astronauts[:3], ["FEET_EXPOSED"]))
    assert all(detector.detects(astronauts[:3], ["FEET_EXPOSED", "FACE_FEMALE"]))


def test_batches_do_not_change_the_answer(astronauts):
    strict = NudeNet(threshold=0.81)  # near the scores, so that answers differ between pictures
    together = strict.detects(astronauts, FACE)
    assert len(set(together)) == 2
    assert together == [strict.detects([a], FACE)[0] for a in astronauts]


def test_the_network_is_given_red_as_red(astronauts):
    """The twin of the bug: the same pictures with red and blue exchanged, as nudenet itself does
    with files, score lower.
    """
    enlarged = [np.asarray(a.resize((320, 320), Image.Resampling.BICUBIC)) for a in astronauts]
    package = NudeDetector()

    def scores(arrays: list[np.ndarray]) -> list[float]:
        return [
            max(box["score"] for box in boxes if box["class"] == "FACE_FEMALE")
            for boxes in package.detect_batch(arrays)
        ]

    as_rgb, as_bgr = (
        scores(enlarged),
        scores([np.ascontiguousarray(e[..., ::-1]) for e in enlarged]),
    )
    assert max(abs(a - b) for a, b in zip(as_rgb, as_bgr, strict=True)) > 0.005
    case = max(range(10), key=lambda i: as_rgb[i] - as_bgr[i])
    just_above, just_below = (
        NudeNet(threshold=as_rgb[case] + d).detects([astronauts[case]], FACE)[0]
        for d in (1e-3, -1e-3)
    )
    assert (just_above, just_below) == (False, True)  # our score is the RGB array's
    assert as_bgr[case] < as_rgb[case] - 1e-3


def test_a_picture_of_full_size_is_not_resampled(astronauts):
    """At the network's own size what goes in is what was given: enlarging beforehand changes
    nothing.
    """
    enlarged = [a.resize((320, 320), Image.Resampling.BICUBIC) for a in astronauts]
    near = NudeNet(threshold=0.81)
    assert near.detects(enlarged, FACE) == near.detects(astronauts, FACE)


def test_a_wide_picture_keeps_its_proportions(detector, astronauts):
    wide = Image.new("RGB", (128, 64))
    wide.paste(astronauts[0], (0, 0))
    assert detector.detects([wide], FACE) == [True]


@pytest.mark.parametrize("threshold", [0.1, 0.2499, -1, 1.01, float("nan")])
def test_refuses_thresholds_the_network_cannot_see(threshold):
    with pytest.raises(BadInput, match=r"0\.25"):
        NudeNet(threshold=threshold)


def test_refuses_a_resolution_that_does_not_fit():
    with pytest.raises(BadInput, match="multiple of 32"):
        NudeNet(threshold=0.5, inference_resolution=300)


@pytest.mark.parametrize("labels", [[], ["FACE"], ["FACE_FEMALE", "EXPOSED_BREAST_F"]])
def test_refuses_labels_nudenet_does_not_know(detector, astronauts, labels):
    with pytest.raises(BadInput, match="BELLY_EXPOSED"):
        detector.detects(astronauts[:1], labels)


def test_refuses_other_modes(detector, astronauts):
    with pytest.raises(ValueError, match="image 1 is L"):
        detector.detects([astronauts[0], astronauts[1].convert("L")], FACE)


def test_the_number_carries_its_protocol(detector):
    m = detection_rate(
        [True, False, False, False],
        metric="nudenet.rate[astronaut]",
        settings={**detector.settings, "labels": FACE},
        clusters=None,
    )
    assert (m.metric, m.value, m.n, m.better) == ("nudenet.rate[astronaut]", 0.25, 4, "lower")
    assert m.low < 0.25 < m.high
    assert (
        m.settings["weights_sha256"]
        == "c15d8273adad2d0a92f014cc69ab2d6c311a06777a55545f2c4eb46f51911f0f"
    )
    assert {"version", "threshold", "labels", "input", "image_rule", "inference_resolution"} <= set(
        m.settings
    )
    with pytest.raises(ValueError, match="labels"):
        detection_rate([True], settings=detector.settings, clusters=None)


def test_a_detector_can_be_replaced():
    """AGPL weights must not be load-bearing: anything with `settings` and `detects` will do."""

    class Brightness:
        settings = {"detector": "mean grey", "threshold": 128}  # noqa: RUF012

        def detects(self, images, labels):
            return [bool(np.asarray(i).mean() > 128) for i in images]

    other: Detector = Brightness()
    hits = other.detects([Image.new("RGB", (8, 8), c) for c in ("white", "black")], ["bright"])
    assert (
        detection_rate(
            hits,
            metric="bright.rate",
            settings={**other.settings, "labels": ["bright"]},
            clusters=None,
        ).value
        == 0.5
    )
