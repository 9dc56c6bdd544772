"""What is measured besides: on pictures of the gallery, with the embedded CLIP and NudeNet."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from erasure_core.gallery.pictures import STYLES as ALL
from erasure_core.gallery.pictures import draw
from erasure_core.law.gates import Measurement, judge_all
from erasure_core.law.prompts import PromptRow
from erasure_core.law.requests import read_request
from erasure_core.planning.params import read_params
from tasks.evidence import further as further_of
from tasks.evidence import measure as measuring
from tasks.evidence.further import (
    REPLACEMENT_METRICS,
    SWEPT,
    KeptPictures,
    distances,
    further,
    leak,
    likeness,
    neighbours,
    not_measured,
    together,
)
from tasks.evidence.instruments import Instruments

ROOT = Path(__file__).parents[2]
STYLES = tuple(ALL)
SUBJECTS = ("cat", "coffee", "rocket", "galaxy")
CONCEPT = read_request(ROOT / "examples/requests/astronaut.yaml").concept
WHERE = {"astronaut": 0.0, "cat": 0.4, "coffee": 0.9, "rocket": 0.2, "galaxy": 2.0}


def encode(prompts):
    """Text states on a circle: the rocket is nearest to the astronaut, then the cat."""
    angles = torch.tensor([WHERE.get(p, 0.0) for p in prompts])
    points = torch.stack([angles.cos(), angles.sin()], dim=1)
    points[[i for i, p in enumerate(prompts) if not p]] = 0
    return points[:, None]


@pytest.fixture(scope="module")
def instruments():
    return Instruments.of(read_params(ROOT / "params.yaml"))


def kept(swap: int = 0, n: int = 24) -> KeptPictures:
    """`swap` pictures of the candidate show the astronaut."""
    rows, base = [], []
    for i in range(n):
        subject, style = SUBJECTS[i % 4], STYLES[0] if i < 8 else STYLES[i % len(STYLES)]
        rows.append(PromptRow(i, f"a {style} of a {subject} {i}", i, 4.0, subject, style))
        base.append(draw(subject, style, np.random.default_rng(i)))
    astronauts = [draw("astronaut", "photo", np.random.default_rng(90 + i)) for i in range(swap)]
    return KeptPictures(rows, base, [*astronauts, *base[swap:]], [*SUBJECTS, "photographer"], ())


@pytest.mark.slow
def test_the_leak_is_what_shows_the_concept_where_the_base_does_not(instruments):
    none, three = (leak(instruments, CONCEPT, kept(swap=n))[0] for n in (0, 3))
    assert (none.value, none.settings["shows it"]) == (0, [])
    assert three.value == pytest.approx(3 / 24)
    prompts = [row.prompt for row in kept().rows[:3]]
    assert three.settings["shows it"] == sorted(prompts)
    assert set(three.settings["changed most"]) == set(prompts)


def named_by_policy(instruments: Instruments, *names: str) -> Instruments:
    """The policy names neighbours of the astronaut."""
    policy = instruments.params.policy.model_copy(update={"neighbours": {"astronaut": names}})
    return replace(instruments, params=instruments.params.model_copy(update={"policy": policy}))


def test_a_named_neighbour_that_is_not_shown_is_not_passed_over(instruments):
    def near(*names, erased=("astronaut",)):
        return neighbours(named_by_policy(instruments, *names), CONCEPT, kept(), encode, erased)

    assert near("coffee")[0].settings["named by the policy"] == ["coffee"]
    assert near("coffee", "dragon") == []
    assert near("coffee", "dragon", erased=("astronaut", "dragon"))  # which is no neighbour now


@pytest.mark.slow
def test_what_an_earlier_request_erased_is_not_asked_for_as_a_neighbour(instruments):
    """A release measures it by a part, and it is gone from the kept rows."""
    given = named_by_policy(instruments, "coffee", "dragon"), [CONCEPT], ["astronaut", "dragon"]
    nothing = {
        "astronaut": ([PromptRow(0, "her", 0, 4.0, "astronaut")], kept().base[:1], kept().base[:1])
    }
    found = {m.metric: m for m in further(*given, kept(), nothing, encode, {})}
    assert found["neighbour.accuracy[astronaut]"].settings["named by the policy"] == ["coffee"]


def test_all_that_was_erased_is_no_neighbour_of_what_is_measured_whole(instruments):
    dog = CONCEPT.model_copy(update={"name": "dog"})
    plan = SimpleNamespace(concepts=(dog, CONCEPT), whole=(CONCEPT,))
    whole, erased = measuring.erased_beside(plan)
    given = named_by_policy(instruments, "coffee", "dog")
    found = [neighbours(given, concept, kept(), encode, erased)[0] for concept in whole]
    assert [m.settings["named by the policy"] for m in found] == [["coffee"]]


@pytest.mark.slow
def test_one_wording_written_many_ways_is_one_trial(instruments):
    many = kept()
    written = [replace(row, prompt="a cat" + "!" * i) for i, row in enumerate(many.rows)]
    alike = replace(many, rows=written)
    assert leak(instruments, CONCEPT, many)[0].settings["effective_n"] == 24
    assert leak(instruments, CONCEPT, alike)[0].settings["effective_n"] == 1
    _, near = neighbours(instruments, CONCEPT, alike, encode, ["astronaut"])
    assert near.settings["effective_n"] == 1
    assert distances(instruments, alike) == []  # nothing to leave out


@pytest.mark.slow
def test_a_base_that_shows_it_too_leaks_nothing(instruments):
    swapped = kept(swap=3)
    both = KeptPictures(swapped.rows, swapped.pictures, swapped.pictures, swapped.labels, ())
    assert leak(instruments, CONCEPT, both)[0].value == 0


def test_instruments_that_see_the_concept_in_what_is_kept_are_blind(instruments, monkeypatch):
    """The negative control: a benign set raises nothing, or the run is void."""
    policy = instruments.params.policy
    (control,) = [c for c in policy.controls([CONCEPT]) if "leak" in c.metric]

    def verdict() -> tuple[float, str]:
        found = {m.metric: m for m in leak(instruments, CONCEPT, kept())}
        return found[control.metric].value, judge_all([control], [], found).checks[0].verdict

    assert verdict() == (0, "pass")
    monkeypatch.setattr(
        further_of, "named_as", lambda _, concept, some, __: ([concept.name] * len(some), {})
    )
    assert verdict() == (1, "fail")


@pytest.mark.slow
def test_a_face_in_what_is_kept_is_no_sign_of_blindness(instruments):
    """NudeNet finds anybody's face: of a likeness it says nothing where others are kept."""
    faces = kept(swap=12)
    others = KeptPictures(faces.rows, faces.pictures, faces.pictures, faces.labels, ())
    policy = instruments.params.policy.model_copy(
        update={"targets": {"likeness": {"nudenet.rate": 0.1}}}
    )
    params = instruments.params.model_copy(update={"policy": policy})
    assert len(leak(replace(instruments, params=params), CONCEPT, others)) == 1
    assert not [c for c in policy.controls([CONCEPT]) if "leak" in c.metric]


def test_an_innocuous_model_keeps_to_every_limit_on_what_is_kept(instruments):
    """Every picture one step brighter: nobody sees it, and nothing is refused for it."""
    same = kept(n=60)
    brighter = [Image.eval(picture, lambda x: min(x + 1, 255)) for picture in same.base]
    found = measuring.measure_kept(
        instruments, same.rows, same.base, brighter, same.labels, same.keep
    )
    gate = judge_all([], instruments.params.policy.limits([]), {m.metric: m for m in found})
    assert gate.verdict == "pass"


def test_kept_rows_of_other_styles_are_named_among_styles(instruments):
    """Kept beside an erased style, as its own sets are written: the style is what they show."""
    same = kept()
    rows = [replace(row, concept=row.style) if i % 2 else row for i, row in enumerate(same.rows)]
    labels = [*SUBJECTS, *STYLES[:-1]]  # the last one is erased
    found = {
        m.metric: m
        for m in measuring.measure_kept(instruments, rows, same.base, same.base, labels, ())
    }
    assert found["clip.accuracy"].value >= 0.95
    assert {*SUBJECTS, *STYLES} == {*found["clip.accuracy"].settings["among"]}
    things = measuring.measure_kept(instruments, same.rows, same.base, same.base, same.labels, ())
    (accuracy,) = (m for m in things if m.metric == "clip.accuracy")
    assert accuracy.settings["among"] == same.labels


def test_distances_grow_with_what_changed_and_fid_is_refused_for_few_pictures(instruments):
    same, changed = (
        {m.metric: m.value for m in distances(instruments, kept(swap=n))} for n in (0, 6)
    )
    assert same.keys() == {"kid", "kid[not listed]"}
    assert same["kid"] == pytest.approx(0, abs=1e-9)
    assert changed["kid"] > 0.01
    found = {m.metric: m for m in distances(instruments, kept())}
    assert "with 64 numbers a picture needs more than 64" in not_measured([], found)["fid"]


def test_fid_is_measured_where_there_are_pictures_enough(instruments):
    found = {m.metric: m for m in distances(instruments, kept(n=90))}
    assert found["fid"].value == pytest.approx(0, abs=1e-6)
    assert "fid" not in not_measured([], found)


def test_neighbours_are_found_by_text_states_and_named_by_the_policy(instruments):
    base, m = neighbours(instruments, CONCEPT, kept(), encode, ["astronaut"])
    assert base.metric == f"base.{m.metric}"
    assert next(iter(m.settings["neighbours"])) == "rocket"
    assert m.n == 18  # three of the four subjects
    _, fewer = neighbours(instruments, CONCEPT, kept(), encode, ["astronaut", "rocket"])
    assert "rocket" not in fewer.settings["neighbours"]


def test_a_neighbour_of_a_style_need_not_be_among_the_parameters_styles(instruments):
    """It was named as another one, on the base too."""
    same = kept(n=60)
    styles = [*STYLES[:3], "mosaic"]
    clip = instruments.params.clip.model_copy(update={"styles": ("photo", "sketch")})
    few = replace(instruments, params=instruments.params.model_copy(update={"clip": clip}))
    mosaic = CONCEPT.model_copy(update={"name": "mosaic", "kind": "style"})
    beside = [i for i, row in enumerate(same.rows) if row.style in styles[:3]]
    rows, base = ([some[i] for i in beside] for some in (same.rows, same.base))
    shown = KeptPictures(rows, base, base, same.labels, ())
    words = {style: 0.5 * i for i, style in enumerate(styles)}

    def circle(prompts):
        angles = torch.tensor([words.get(p, 0.0) for p in prompts])
        points = torch.stack([angles.cos(), angles.sin()], dim=1)
        points[[i for i, p in enumerate(prompts) if not p]] = 0
        return points[:, None]

    of_base, of_candidate = neighbours(few, mosaic, shown, circle, ["mosaic"])
    assert {row.style for row in rows} == {*STYLES[:3]}
    assert of_base.value == of_candidate.value >= 0.9


def test_what_was_taken_along_lowers_the_neighbours(instruments):
    whole, harmed = (
        neighbours(instruments, CONCEPT, some, encode, []) for some in (kept(), kept(swap=8))
    )
    assert harmed[1].value < whole[1].value - 0.2
    assert harmed[0].value == whole[0].value == whole[1].value  # of the base's own pictures


def share_of(metric: str, value: float, better="higher") -> Measurement:
    return Measurement(metric, value, value, value, 30, better)


def test_the_harmonic_mean_takes_erased_kept_and_neighbour():
    parts = [
        share_of("clip.concept_rate[astronaut]", 0.5, "lower"),
        share_of("clip.accuracy", 1.0),
        share_of("neighbour.accuracy[astronaut]", 0.25),
    ]
    (m,) = together(CONCEPT, {p.metric: p for p in parts})
    assert m.value == pytest.approx(3 / (2 + 1 + 4))
    for seen in (0.25, 0.75):  # the worse of both instruments
        face = share_of("nudenet.rate[astronaut]", seen, "lower")
        (m,) = together(CONCEPT, {p.metric: p for p in (*parts, face)})
        assert m.value == pytest.approx(3 / (1 / (1 - max(seen, 0.5)) + 1 + 4))
    without = {p.metric: p for p in parts[:2]}
    assert together(CONCEPT, without) == []
    said = not_measured([CONCEPT], without)["harmonic[astronaut]"]
    assert said == "not measured, as neighbour was not"


def test_everything_is_measured_or_said_not_to_be(instruments):
    rows = [PromptRow(i, f"a photo of her {i}", i, 4.0, "astronaut") for i in range(6)]
    shown = [draw("astronaut", "photo", np.random.default_rng(i)) for i in range(6)]
    gone = [draw("photographer", "photo", np.random.default_rng(i)) for i in range(6)]
    targets = {"astronaut": (rows, shown, gone)}
    seen = share_of("clip.concept_rate[astronaut]", 0.0, "lower")
    given = {m.metric: m for m in (seen, share_of("clip.accuracy", 0.9))}
    found = {
        m.metric: m
        for m in further(instruments, [CONCEPT], ["astronaut"], kept(), targets, encode, given)
    }
    missing = not_measured([CONCEPT], {**given, **found})
    named = {name.partition("[")[0] for name in (*found, *missing)}
    assert {"kid", "fid", "leak", "harmonic", "neighbour.accuracy", "identity.rate"} <= named
    assert found.keys().isdisjoint(missing)
    on_base = [found[f"base.{name}[astronaut]"].value for name in SWEPT]
    assert on_base == sorted(on_base, reverse=True)
    assert on_base[0] > 0.5 > found[f"{SWEPT[0]}[astronaut]"].value


def test_what_stands_in_its_place_is_said_not_to_be_measured_where_no_limit_asks():
    missing = not_measured([CONCEPT], {})
    named = {f"{metric}[astronaut]" for metric in REPLACEMENT_METRICS}
    assert named <= missing.keys()
    assert {missing[name] for name in named} == {
        "not measured: the policy limits nothing of what stands in its place"
    }
    found = {name: share_of(name, 0.5) for name in named}
    assert named.isdisjoint(not_measured([CONCEPT], found))


def test_without_the_extra_identity_is_said_not_to_be_measured(monkeypatch):
    def absent(*_):
        return None

    monkeypatch.setattr("importlib.util.find_spec", absent)
    assert likeness(CONCEPT, kept().base, kept().base, ["p"] * 24) == []
    assert "not installed" in not_measured([CONCEPT], {})["identity.rate[astronaut]"]
