"""A metric of a concept's pictures that another package brings: measured, limited, controlled."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from erasure_core import plugins
from erasure_core.errors import BadInput
from erasure_core.law.gates import Measurement
from erasure_core.law.prompts import PromptRow
from erasure_core.metrics import Metric
from erasure_core.metrics.intervals import mean
from erasure_core.planning.plan import target_name
from erasure_core.planning.policy import Policy
from tasks.evidence import measure
from tasks.evidence.measure import measure_plugged
from tasks.requests.measurable import policy_faults
from tests.book.books import A, a_request

CAT = a_request(A).concept


def dark(better):
    """How dark pictures are; it calls its measurement by another metric's name."""

    def measure(images, *, clusters):
        values = [1 - np.asarray(image).mean() / 255 for image in images]
        return mean(values, metric="ssim", better="lower", settings={}, clusters=clusters)

    return Metric(measure, frozenset({"target"}), better, frozenset(), "")


@pytest.fixture
def install(monkeypatch):
    """Install a package that brings `dark`."""

    def install(better):
        point = SimpleNamespace(name="dark", load=lambda: dark(better), dist=None, value="a:dark")
        declared = {"erasure.metrics": (point,)}
        monkeypatch.setattr(plugins, "_declared", lambda group: declared.get(group, ()))

    return install


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_it_is_measured_under_its_own_name_and_by_its_own_declaration(install, better):
    install(better)
    black = [Image.new("RGB", (8, 8))] * 2
    (found,) = measure_plugged(CAT, black, ["a cat", "the cat"])
    assert (found.metric, found.value, found.better, found.n) == ("dark[cat]", 1, better, 2)
    assert measure_plugged(CAT, black, ["a cat", "a cat"]) == []  # one prompt has no interval


@pytest.mark.parametrize("given", [0.5, None, {"value": 0.5}])
def test_what_is_no_measurement_is_refused_by_its_name(given):
    lax = Metric(lambda images, *, clusters: given, frozenset({"target"}), "lower", frozenset(), "")
    with pytest.raises(BadInput, match="metric 'lax' of another package gave"):
        measure._by_plugin("lax", lax, [[]], ["a", "b"])


def test_it_answers_for_no_more_pictures_than_it_was_shown():
    many = Measurement("many", 0.0, 0.0, 0.0, 1000, "lower")
    theirs = Metric(lambda _, *, clusters: many, frozenset({"target"}), "lower", frozenset(), "")
    assert measure._by_plugin("many", theirs, [[]], ["a", "b"]).n == 2


def test_a_run_measures_it_of_prompts_of_the_concept_alone_and_of_composed_ones(
    install, monkeypatch
):
    install("lower")
    for ours in ("measure_target", "measure_beside"):
        monkeypatch.setattr(measure, ours, lambda *_: [])
    others = {"a cat": "", "a photo of a cat": "", "a cat and a dog": "dog", "a cup, a cat": "cup"}
    rows = [PromptRow(i, p, i, 4.0, "cat", also=others[p]) for i, p in enumerate(others)]
    drawn = [Image.new("RGB", (8, 8), shade) for shade in ("black", "black", "white", "white")]
    name, plan = target_name(CAT), SimpleNamespace(concepts=[CAT])
    found = measure._targets(None, plan, "report", {name: rows}, {name: drawn}, [])
    assert {m.metric: m.value for m in found} == {"dark[cat]": 1, "composed.dark[cat]": 0}


def test_what_is_erased_too_does_not_have_to_stand_beside_it(monkeypatch):
    """Where the cat goes, nobody is to draw it beside the astronaut."""
    monkeypatch.setattr(measure, "named_as", lambda _i, _c, some, _l: (["cat"] * len(some), {}))
    beside = ["cat", "the cat", "dog", ""]
    rows = [PromptRow(i, f"her {i}", i, 4.0, "her", also=a) for i, a in enumerate(beside)]
    her = CAT.model_copy(update={"name": "her"})
    given = None, her, rows, [None] * 4, ["cat", "dog"]
    assert [(m.value, m.n) for m in measure.measure_beside(*given, [her])] == [(2 / 3, 3)]
    assert [(m.value, m.n) for m in measure.measure_beside(*given, [her, CAT])] == [(0, 1)]


@pytest.mark.parametrize(("better", "control"), [("lower", [0.75]), ("higher", [])])
@pytest.mark.parametrize("begin", ["", "composed."])
def test_the_base_must_show_more_than_is_allowed_after_the_erasure(install, better, control, begin):
    """Of what should rise the base need show nothing; no limit is weak beside its own control."""
    install(better)
    targets = {"object": {"nudenet.rate": 0.1, f"{begin}dark": 0.75}}
    policy = Policy(min_n=2, control=0.5, targets=targets, kept={"ssim": 0.7})
    assert list(policy_faults(policy)) == []
    of_base = f"base.{begin}dark[cat]"
    assert [c.bound for c in policy.controls([CAT]) if c.metric == of_base] == control
    assert f"{begin}dark[cat]" in [limit.metric for limit in policy.limits([CAT])]


def test_without_the_package_it_is_no_metric():
    policy = Policy(
        min_n=2,
        control=0.5,
        targets={"object": {"nudenet.rate": 0.1, "dark": 0.25}},
        kept={"ssim": 0.7},
    )
    (fault,) = policy_faults(policy)
    assert fault.startswith("policy.targets.object limits dark, which nothing measures")
