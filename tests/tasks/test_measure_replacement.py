"""What stands in the concept's place: the replacement passes, and what only destroys is refused."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from erasure_core.gallery.pictures import STYLES, photograph
from erasure_core.law.gates import judge
from erasure_core.law.prompts import PromptRow
from erasure_core.law.requests import read_request
from erasure_core.planning.params import read_params
from erasure_core.planning.plan import in_place, instead_name, target_name
from tasks.evidence import measure
from tasks.evidence.further import QUALITY_FID, not_measured
from tasks.evidence.instruments import Instruments
from tasks.evidence.measure import REPLACEMENT_METRICS, measure_replacement
from tests.marks import slow

ROOT = Path(__file__).parents[2]
N = 40
CONCEPTS = {
    name: read_request(ROOT / f"examples/requests/{name}.yaml").concept
    for name in ("astronaut", "mosaic", "nudity-sd14")
}
LABELS = ("photographer", "cat", "rocket", "coffee", "wall", "galaxy", "grass", "coins", "retina")


@pytest.fixture(scope="module")
def instruments() -> Instruments:
    params = read_params(ROOT / "params.yaml")
    clip = params.clip.model_copy(update={"path": str(ROOT / params.clip.path)})
    return Instruments.of(params.model_copy(update={"clip": clip}))


def pictures(subject: str, seed: int, n: int = N) -> list[Image.Image]:
    """Real pictures of a subject, in every style."""
    rng, styles = np.random.default_rng(seed), list(STYLES.values())
    return [styles[i % len(styles)](photograph(subject, rng)) for i in range(n)]


def texture() -> list[Image.Image]:
    return pictures("wall", 3)


def noise() -> list[Image.Image]:
    rng = np.random.default_rng(4)
    return [Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)) for _ in range(N)]


CANDIDATES = {
    "pure texture": (texture, {"replacement.rate", "quality.fidelity"}),
    "grey": (
        lambda: [Image.new("RGB", (64, 64), (128, 128, 128))] * N,
        {"replacement.rate", "quality.fidelity", "quality.naturalness"},
    ),
    "noise": (noise, {"quality.fidelity", "quality.naturalness"}),
    "one picture for everything": (
        lambda: pictures("photographer", 5)[:1] * N,
        {"quality.diversity", "quality.distinctness"},
    ),
    "one picture for each style": (
        lambda: pictures("photographer", 5)[: len(STYLES)] * (N // len(STYLES)),
        {"quality.diversity", "quality.distinctness"},
    ),
    "two pictures for everything": (
        lambda: pictures("photographer", 5)[1:4:2] * (N // 2),  # a sketch and a poster
        {"quality.distinctness"},
    ),
    "two pictures for each style": (
        lambda: pictures("photographer", 5)[: 2 * len(STYLES)] * (N // len(STYLES) // 2),
        {"quality.distinctness"},
    ),
}


def verdicts(
    instruments: Instruments,
    candidate: list[Image.Image],
    styles: int = len(STYLES),
    named: str = "the astronaut",
) -> dict[str, str]:
    """Judged by the shipped limits; the prompts have so many styles, one after another."""
    concept = CONCEPTS["astronaut"]
    names = [f"style{i}" for i in range(styles)]
    rows = [
        PromptRow(
            case_number=i,
            prompt=f"a {names[i % styles]} of {named} {i}",
            evaluation_seed=i,
            evaluation_guidance=4.0,
            concept="astronaut",
            style=names[i % styles],
        )
        for i in range(N)
    ]
    base, asked = pictures("photographer", 1), [concept.replaced(row.prompt) for row in rows]
    found = measure_replacement(instruments, concept, rows, asked, base, candidate, LABELS)
    measured = [name for name in REPLACEMENT_METRICS if name != QUALITY_FID]  # of 40 pictures
    of_base, *of_candidate = [m.metric for m in found]
    assert of_base == "base.replacement.rate[astronaut]"
    assert of_candidate == [f"{name}[astronaut]" for name in measured]
    assert found[0].value >= 0.9
    limits = instruments.params.policy.limits([concept])
    by_name = {m.metric: m for m in found}
    return {
        limit.metric.partition("[")[0]: judge(limit, by_name).verdict
        for limit in limits
        if limit.metric in by_name
    }


@pytest.mark.slow
def test_styles_of_one_prompt_each_are_compared_with_one_another(instruments):
    judged = verdicts(instruments, pictures("photographer", 5)[:1] * N, styles=N)
    assert judged["quality.diversity"] == "fail"


@pytest.mark.parametrize("named", ["the astronaut", "somebody"])
def test_pictures_of_the_replacement_pass_every_limit(named, instruments):
    """Prompts that do not name the concept are one prompt where it is replaced, and cases of their
    own still.
    """
    judged = verdicts(instruments, pictures("photographer", 2), named=named)
    assert set(judged.values()) == {"pass"}
    assert {"replacement.rate", "quality.fidelity", "quality.diversity"} <= judged.keys()


@pytest.mark.slow
@pytest.mark.parametrize(("n", "measured"), [(64, False), (65, True)])
def test_fid_to_the_replacement_is_measured_or_said_why_not(n, measured, instruments):
    concept = CONCEPTS["astronaut"]
    rows = [PromptRow(i, f"an astronaut {i}", i, 4.0, "astronaut") for i in range(n)]
    base = pictures("photographer", 6, n)
    given = rows, [concept.replaced(row.prompt) for row in rows], base, base, LABELS
    found = {m.metric: m for m in measure_replacement(instruments, concept, *given)}
    missing = not_measured([concept], found)
    name = "quality.fid[astronaut]"
    assert (name in found, name in missing) == (measured, not measured)
    if measured:
        assert found[name].value == pytest.approx(0, abs=1e-6)
    else:
        assert "with 64 numbers a picture needs more than 64" in missing[name]


def in_style(style: str, seed: int) -> list[Image.Image]:
    """Real pictures of each of the kept subjects in turn."""
    rng = np.random.default_rng(seed)
    return [STYLES[style](photograph(LABELS[i % len(LABELS)], rng)) for i in range(N)]


def style_verdicts(instruments: Instruments, candidate: list[Image.Image]) -> dict[str, str]:
    """The erasure of the mosaic, which photos replace."""
    concept = CONCEPTS["mosaic"]
    rows = [
        PromptRow(i, f"a mosaic of {LABELS[i % len(LABELS)]} {i}", i, 4.0, "mosaic", "mosaic")
        for i in range(N)
    ]
    base, asked = in_style("photo", 1), [concept.replaced(row.prompt) for row in rows]
    found = measure_replacement(instruments, concept, rows, asked, base, candidate, LABELS)
    by_name = {m.metric: m for m in found}
    limits = instruments.params.policy.limits([concept])
    judged = {x.metric: judge(x, by_name).verdict for x in limits if x.metric in by_name}
    return {**judged, "rate": f"{by_name['replacement.rate[mosaic]'].value:.1f}"}


def test_pictures_of_the_replacement_are_scored_by_the_prompts_they_were_drawn_by(monkeypatch):
    """Of a prompt that names something else that is erased with it, that is replaced too."""
    astronaut, cat = (
        CONCEPTS["astronaut"],
        read_request(ROOT / "examples/requests/cat.yaml").concept,
    )
    prompts = ["the astronaut", "the astronaut strokes a cat"]
    rows = [PromptRow(i, prompt, i, 4.0, "astronaut") for i, prompt in enumerate(prompts)]
    policy = read_params(ROOT / "params.yaml").policy
    drawn = in_place(policy, astronaut, rows, [astronaut, cat])
    plan = SimpleNamespace(
        concepts=[astronaut],
        instead=lambda: [(instead_name(astronaut), drawn)],
        picture=lambda *_: Path("x.png"),
    )
    asked = []
    monkeypatch.setattr(
        measure, "measure_replacement", lambda _, c, r, p, *__: asked.append(p) or []
    )
    table, name = {target_name(astronaut): rows}, target_name(astronaut)
    measure._instead(None, plan, table, {name: [None] * 2}, LABELS)
    assert asked == [["a photographer", "a photographer strokes a rocket"]]


@pytest.mark.slow
def test_what_replaces_a_style_is_named_among_the_styles(instruments):
    judged = style_verdicts(instruments, in_style("photo", 2))
    assert float(judged.pop("rate")) >= 0.9
    assert len(judged) == 4
    assert set(judged.values()) == {"pass"}
    assert float(style_verdicts(instruments, in_style("poster", 2))["rate"]) <= 0.2


@pytest.mark.slow
@pytest.mark.parametrize("candidate", ["grey", "noise", "one picture for everything"])
def test_what_only_destroys_a_style_is_refused(candidate, instruments):
    assert "fail" in style_verdicts(instruments, CANDIDATES[candidate][0]()).values()


@pytest.mark.parametrize("file", ["params.yaml", "params.sd14.yaml", "params.purify.yaml"])
def test_every_kind_that_ships_has_limits_on_what_stands_in_its_place(file):
    policy = read_params(ROOT / file).policy
    wanted = {
        f"quality.{name}" for name in ("fidelity", "diversity", "distinctness", "naturalness")
    }
    assert all(wanted <= policy.of_replacement(kind) for kind in policy.targets)


FEW = ("grey", "two pictures for everything", "one picture for each style")


@pytest.mark.parametrize("candidate", [c if c in FEW else slow(c) for c in CANDIDATES])
def test_what_only_destroys_the_concept_is_refused(candidate, instruments):
    make, missed = CANDIDATES[candidate]
    judged = verdicts(instruments, make())
    assert missed <= {name for name, verdict in judged.items() if verdict == "fail"}
