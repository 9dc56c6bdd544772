"""SepME on the embedded teacher: a likeness, an object and a style erased together, and each taken
back alone.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from erasure_core.gallery.pictures import STYLES, SUBJECTS
from erasure_core.law.prompts import PromptRow, kept_rows, read_prompt_set
from erasure_core.law.requests import read_request
from erasure_core.methods import sepme
from erasure_core.metrics.clip_score import ClipScorer
from erasure_core.metrics.detectors import NudeNet
from erasure_core.metrics.ssim import paired_ssim
from erasure_core.network import diffusion, models
from erasure_core.network.images import to_pil
from erasure_core.network.work import Work
from erasure_core.planning.params import read_params

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CONCEPTS = [
    read_request(ROOT / f"examples/requests/{name}.yaml").concept
    for name in ("astronaut", "cat", "mosaic")
]
BY_NAME = {concept.name: concept for concept in CONCEPTS}
PARAMS = read_params(ROOT / "params.yaml")
FACES = ("FACE_FEMALE", "FACE_MALE")


@pytest.fixture(scope="module")
def teacher():
    return models.load_teacher(ROOT / "models/gallery/teacher")


@pytest.fixture(scope="module")
def settings():
    return PARAMS.with_method("sepme").method


@pytest.fixture(scope="module")
def prepared(teacher, settings):
    return sepme.prepare(teacher, CONCEPTS, settings, Work(PARAMS.seed))


@pytest.fixture(scope="module")
def increments(teacher, settings, prepared):
    return sepme.increments(teacher, CONCEPTS, settings, Work(PARAMS.seed), prepared=prepared)


@pytest.fixture(scope="module")
def targets() -> dict[str, list[PromptRow]]:
    return {
        concept.name: read_prompt_set(ROOT / f"prompts/targets/{concept.slug}.csv")
        for concept in CONCEPTS
    }


def pictures(teacher, rows: Sequence[PromptRow]) -> list[Image.Image]:
    prompts, seeds, guidance = zip(
        *((r.prompt, r.evaluation_seed, r.evaluation_guidance) for r in rows), strict=True
    )
    return to_pil(diffusion.sample(teacher, prompts, seeds, guidance, 15, 20))


@pytest.fixture(scope="module")
def base(teacher, targets) -> dict[str, list[Image.Image]]:
    return {name: pictures(teacher, rows) for name, rows in targets.items()}


def rate(name: str, shown: Sequence[Image.Image]) -> float:
    """Share of pictures that still show the concept: named among the subjects, or a style among the
    styles.
    """
    if BY_NAME[name].kind == "style":
        templates, labels = (
            [f"a {{}} of {subject.phrase}" for subject in SUBJECTS.values()],
            list(STYLES),
        )
    else:
        templates, labels = [f"a {style} of {{}}" for style in STYLES], list(SUBJECTS)
    named = ClipScorer(str(ROOT / "models/gallery/clip"), None, templates).name_concepts(
        shown, labels
    )
    return sum(label == name for label in named) / len(named)


def faces(shown: Sequence[Image.Image]) -> float:
    return sum(NudeNet(0.5).detects(shown, FACES)) / len(shown)


def test_three_kinds_are_erased_together_and_other_pictures_stay(
    teacher, increments, targets, base
):
    kept = kept_rows(read_prompt_set(ROOT / "prompts/kept.csv"), CONCEPTS)
    before = pictures(teacher, kept)
    with sepme.compose(teacher.unet, increments).applied(teacher.unet):
        shown, after = (
            {name: pictures(teacher, rows) for name, rows in targets.items()},
            pictures(teacher, kept),
        )
    for name in targets:
        assert rate(name, base[name]) >= 0.9
        assert rate(name, shown[name]) <= 0.05
    assert faces(base["astronaut"]) >= 0.85
    assert faces(shown["astronaut"]) <= 0.05
    assert paired_ssim(before, after, clusters=None).low >= 0.85


@pytest.mark.parametrize("restored", ["astronaut", "cat", "mosaic"])
def test_a_restored_concept_is_as_it_was_and_the_others_stay_gone(
    teacher, increments, targets, base, restored
):
    gone = [concept for concept in CONCEPTS if concept.name != restored]
    whole = [
        i
        for i, row in enumerate(targets[restored])
        if not any(concept.named_in(row.prompt) for concept in gone)
    ]
    release = sepme.compose(
        teacher.unet, {concept.name: increments[concept.name] for concept in gone}
    )
    with release.applied(teacher.unet):
        back = pictures(teacher, [targets[restored][i] for i in whole])
        for concept in gone:
            assert rate(concept.name, pictures(teacher, targets[concept.name])) <= 0.05
    assert rate(restored, back) >= 0.9
    assert paired_ssim([base[restored][i] for i in whole], back, clusters=None).low >= 0.85


def test_the_release_without_the_cat_is_byte_for_byte_the_one_that_never_erased_it(
    teacher, settings, prepared, increments
):
    two = [BY_NAME[name] for name in ("mosaic", "astronaut")]
    never = sepme.erase(
        teacher,
        two,
        settings.model_copy(update={"protect": BY_NAME["cat"].prompts}),
        Work(PARAMS.seed),
        prepared=prepared,
    )
    assert (
        never.sha256
        == sepme.compose(teacher.unet, {c.name: increments[c.name] for c in two}).sha256
    )
