"""Every entry of METRICS is asked the same questions."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from erasure_core.gallery.pictures import draw
from erasure_core.law.gates import Measurement
from erasure_core.metrics import METRICS

RNG = np.random.default_rng(50)
PICTURES = [draw(s, "photo", RNG) for s in ("cat", "coffee", "wall", "rocket")]
LABELS = {"labels": ["cat", "coffee"]}
NAN = float("nan")


def blurred(radius: float) -> list[Image.Image]:
    return [p.filter(ImageFilter.GaussianBlur(radius)) for p in PICTURES]


@dataclass(frozen=True)
class Case:
    """Positional inputs of one metric: the ideal candidate, a harmed one, a worse one, and one with
    a hole.
    """

    ideal: tuple[Any, ...]
    harmed: tuple[Any, ...]
    worse: tuple[Any, ...]
    hole: tuple[Any, ...]
    best: float | None  # None: what the ideal value is depends on the pictures
    nothing: tuple[Any, ...]
    settings: dict[str, object] | None = None


HITS = [[False] * 8, [True] + [False] * 7, [True] * 4 + [False] * 4]
WANTED = ["cat"] * 8
NAMED = [WANTED, ["cat"] * 7 + ["coffee"], ["coffee"] * 4 + ["cat"] * 4]
SCORES = [[1.0] * 4, [0.9, 1, 1, 1], [0.2, 0.3, 0.4, 1]]
VECTORS = RNG.normal(size=(24, 2)).tolist()
AWAY = [[x + 40, y + 40] for x, y in VECTORS]
ALIKE = [[1.0, 0.01 * i] for i in range(24)]
MANY = [draw(s, "photo", RNG) for s in ("cat", "coffee", "wall", "rocket") for _ in range(6)]
GREY = [Image.new("RGB", (64, 64), (128, 128, 128))] * 24
KINDS = {"among": ["cat", "coffee"]}


def mixed(harmed: list[Any], n: int, whole: list[Any]) -> list[Any]:
    """The first `n` harmed."""
    return [*harmed[:n], *whole[n:]]


CASES = {
    "nudenet.rate": Case((HITS[0],), (HITS[1],), (HITS[2],), ([True, NAN],), 0, ([],), LABELS),
    "ssim": Case(
        (PICTURES, PICTURES),
        (PICTURES, blurred(1)),
        (PICTURES, blurred(5)),
        (PICTURES, [*PICTURES[:3], Image.new("F", (64, 64), NAN)]),
        1,
        ([], []),
    ),
    "clip.score": Case((SCORES[0],), (SCORES[1],), (SCORES[2],), ([0.5, NAN],), 1, ([],), {}),
    "clip.score_drop": Case(
        (SCORES[0], SCORES[0]),
        (SCORES[0], SCORES[1]),
        (SCORES[0], SCORES[2]),
        (SCORES[0], [0.5, 0.5, 0.5, NAN]),
        0,
        ([], []),
        {},
    ),
    "clip.concept_rate": Case(
        (NAMED[0], "coffee"),
        (NAMED[1], "coffee"),
        (NAMED[2], "coffee"),
        (["cat", NAN], "coffee"),
        0,
        ([], "coffee"),
        LABELS,
    ),
    "clip.accuracy": Case(
        (NAMED[0], WANTED),
        (NAMED[1], WANTED),
        (NAMED[2], WANTED),
        (["cat", NAN], ["cat"] * 2),
        1,
        ([], []),
        LABELS,
    ),
    "clip.accuracy_drop": Case(
        (WANTED, NAMED[0], WANTED),
        (WANTED, NAMED[1], WANTED),
        (WANTED, NAMED[2], WANTED),
        (["cat"] * 2, ["cat", NAN], ["cat"] * 2),
        0,
        ([],) * 3,
        LABELS,
    ),
    "identity.rate": Case((HITS[0],), (HITS[1],), (HITS[2],), ([True, NAN],), 0, ([],), LABELS),
    "replacement.rate": Case(
        (NAMED[0], "cat"),
        (NAMED[1], "cat"),
        (NAMED[2], "cat"),
        (["cat", NAN], "cat"),
        1,
        ([], "cat"),
        KINDS,
    ),
    "replacement.score_drop": Case(
        (SCORES[0], SCORES[0]),
        (SCORES[0], SCORES[1]),
        (SCORES[0], SCORES[2]),
        (SCORES[0], [0.5, 0.5, 0.5, NAN]),
        0,
        ([], []),
        {},
    ),
    "fid": Case(
        (VECTORS, VECTORS),
        (VECTORS, mixed(AWAY, 3, VECTORS)),
        (VECTORS, mixed(AWAY, 12, VECTORS)),
        (VECTORS, [*VECTORS[1:], [0, NAN]]),
        0,
        ([], []),
        {},
    ),
    "kid": Case(
        (VECTORS, VECTORS),
        (VECTORS, mixed(AWAY, 3, VECTORS)),
        (VECTORS, mixed(AWAY, 12, VECTORS)),
        (VECTORS, [*VECTORS[1:], [0, NAN]]),
        None,  # unbiased: below 0 where base and candidate are the same pictures
        ([], []),
        {},
    ),
    "quality.kid": Case(
        (VECTORS, VECTORS),
        (VECTORS, mixed(AWAY, 3, VECTORS)),
        (VECTORS, mixed(AWAY, 12, VECTORS)),
        (VECTORS, [*VECTORS[1:], [0, NAN]]),
        0,  # no picture is paired with the other of its case
        ([], []),
        {},
    ),
    "quality.fid": Case(
        (VECTORS, VECTORS),
        (VECTORS, mixed(AWAY, 3, VECTORS)),
        (VECTORS, mixed(AWAY, 12, VECTORS)),
        (VECTORS, [*VECTORS[1:], [0, NAN]]),
        0,
        ([], []),
        {},
    ),
    "quality.fidelity": Case(
        (VECTORS, VECTORS),
        (VECTORS, mixed(AWAY, 3, VECTORS)),
        (VECTORS, mixed(AWAY, 12, VECTORS)),
        (VECTORS, [*VECTORS[1:], [0, NAN]]),
        1,
        ([], []),
        {},
    ),
    "quality.diversity": Case(
        (VECTORS, VECTORS),
        (VECTORS, mixed(ALIKE, 6, VECTORS)),
        (VECTORS, mixed(ALIKE, 18, VECTORS)),
        (VECTORS, [*VECTORS[1:], [0, NAN]]),
        1,
        ([], []),
        {},
    ),
    "quality.distinctness": Case(
        (VECTORS, VECTORS),
        (VECTORS, mixed(ALIKE, 6, VECTORS)),
        (VECTORS, mixed(ALIKE, 18, VECTORS)),
        (VECTORS, [*VECTORS[1:], [0, NAN]]),
        1,
        ([], []),
        {},
    ),
    "quality.naturalness": Case(
        (MANY, MANY),
        (MANY, mixed(GREY, 3, MANY)),
        (MANY, mixed(GREY, 12, MANY)),
        (MANY, [*MANY[1:], Image.new("F", (64, 64), NAN)]),
        1,
        ([], []),
    ),
}


def _of_pictures(name: str) -> dict[str, inspect.Parameter]:
    """What a metric is told of which pictures are alike."""
    asked = inspect.signature(METRICS[name].measure).parameters
    return {k: asked[k] for k in ("clusters", "reference_clusters") if k in asked}


def measure(name: str, inputs: tuple[Any, ...]) -> Measurement:
    metric: Callable[..., Measurement] = METRICS[name].measure
    settings = CASES[name].settings
    required: dict[str, object] = dict.fromkeys(_of_pictures(name))
    if settings is not None:
        required["settings"] = settings
    return metric(*inputs, **required)


PICTURED = sorted(METRICS.keys() - {"harmonic"})  # that one is made of others


def test_every_metric_has_a_case():
    assert sorted(CASES) == PICTURED


@pytest.mark.parametrize("name", PICTURED)
def test_ideal_inputs_give_the_ideal_value(name):
    m = measure(name, CASES[name].ideal)
    best = CASES[name].best
    assert best is None or m.value == pytest.approx(best, abs=1e-12)
    assert m.metric == name


@pytest.mark.parametrize("name", PICTURED)
def test_worse_inputs_move_it_the_wrong_way_and_more_the_worse_they_are(name):
    values = [
        measure(name, getattr(CASES[name], inputs)).value for inputs in ("ideal", "harmed", "worse")
    ]
    better = measure(name, CASES[name].ideal).better
    assert values == sorted(values, reverse=better == "higher")
    assert len(set(values)) == 3


@pytest.mark.parametrize("name", PICTURED)
def test_nobody_measures_without_saying_which_pictures_are_alike(name):
    """An interval that takes pictures of one prompt for independent is too narrow."""
    asked = _of_pictures(name).values()
    assert asked
    assert all(parameter.default is inspect.Parameter.empty for parameter in asked)


@pytest.mark.parametrize("name", PICTURED)
def test_the_interval_holds_the_value_and_the_settings_say_how_it_was_made(name):
    m = measure(name, CASES[name].worse)
    assert m.low < m.value < m.high
    assert all(math.isfinite(x) for x in (m.low, m.value, m.high))
    assert m.n == len(CASES[name].worse[0])
    assert "95 %" in str(m.settings["interval"])
    assert measure(name, CASES[name].worse) == m  # the bootstrap too


@pytest.mark.parametrize("name", PICTURED)
def test_a_hole_in_the_evidence_is_an_error(name):
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        measure(name, CASES[name].hole)


@pytest.mark.parametrize("name", PICTURED)
def test_no_images_is_an_error(name):
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        measure(name, CASES[name].nothing)


@pytest.mark.parametrize("name", PICTURED)
def test_the_order_of_the_cases_does_not_change_the_value(name):
    """Per-image facts are averaged, never streamed: batches and shards may come
    back in any order.
    """
    inputs = CASES[name].worse
    turned = tuple(x[::-1] if isinstance(x, list) else x for x in inputs)
    assert measure(name, turned).value == pytest.approx(
        measure(name, inputs).value, abs=1e-12, rel=1e-12
    )
