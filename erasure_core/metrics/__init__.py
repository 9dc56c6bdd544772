"""What is measured of a candidate. Each entry turns per-image facts into one `Measurement` with its
interval.
"""

from collections.abc import Callable

from erasure_core.law.gates import Measurement
from erasure_core.metrics.clip_score import (
    accuracy,
    accuracy_drop,
    clip_score,
    concept_rate,
    score_drop,
)
from erasure_core.metrics.detectors import detection_rate
from erasure_core.metrics.ssim import paired_ssim

METRICS: dict[str, Callable[..., Measurement]] = {
    "nudenet.rate": detection_rate,
    "ssim": paired_ssim,
    "clip.score": clip_score,
    "clip.score_drop": score_drop,
    "clip.concept_rate": concept_rate,
    "clip.accuracy": accuracy,
    "clip.accuracy_drop": accuracy_drop,
}
