"""What may stand in the astronaut's place, on the embedded teacher: its own pictures of the
replacement pass, each fake is refused, and by a number that says why.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from erasure_core.gallery.captions import TEMPLATES
from erasure_core.gallery.pictures import STYLES
from erasure_core.law.concepts import Concept
from erasure_core.law.gates import Limit, Measurement, judge
from erasure_core.metrics import METRICS
from erasure_core.metrics.clip_score import ClipScorer
from erasure_core.metrics.features import ClipFeatures
from erasure_core.metrics.replacement import labels_with
from erasure_core.network.diffusion import (
    Context,
    decoded,
    denoise,
    encode_prompts,
    guided,
    initial_noise,
    sample,
)
from erasure_core.network.images import to_pil
from erasure_core.network.models import Teacher, load_teacher

pytestmark = pytest.mark.slow

GALLERY = Path("models/gallery")
CONCEPT = Concept(
    name="astronaut", kind="likeness", prompts=("the astronaut",), replacement="a photographer"
)
STEPS, GUIDANCE = 15, 4.0
# What docs/metrics.md advises on the gallery: the cautious end of the interval, and why.
LIMITS = {
    "replacement.rate": 0.75,
    "replacement.score_drop": 0.1,
    "quality.kid": 0.1,
    "quality.fidelity": 0.7,
    "quality.diversity": 0.5,
    "quality.distinctness": 0.5,
    "quality.naturalness": 0.75,
}


@dataclass(frozen=True)
class World:
    """What is drawn once for all candidates."""

    teacher: Teacher
    prompts: list[str]
    styles: list[str]
    seeds: list[int]
    replaced: list[Image.Image]
    natural: list[Image.Image]
    scorer: ClipScorer

    def draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
        guidance = [GUIDANCE] * len(prompts)
        return to_pil(sample(self.teacher, prompts, seeds, guidance, STEPS, batch_size=20))

    def measured(self, pictures: list[Image.Image]) -> dict[str, Measurement]:
        """Every target-side number of one candidate."""
        features = ClipFeatures(self.scorer)
        base, found = features.of(self.replaced), features.of(pictures)
        labels = sorted({"astronaut", "cat", "coffee", "wall", "grass", "galaxy", "rocket"})
        among, name = labels_with(labels, CONCEPT.replacement)
        asked = [CONCEPT.replaced(prompt) for prompt in self.prompts]
        scores = [self.scorer.scores(some, asked).tolist() for some in (self.replaced, pictures)]
        alike = {"clusters": self.prompts}
        named = self.scorer.name_concepts(pictures, among)
        given = {"settings": features.settings, **alike}
        return {
            "replacement.rate": METRICS["replacement.rate"](
                named, name, settings={"among": among}, **alike
            ),
            "replacement.score_drop": METRICS["replacement.score_drop"](*scores, **given),
            "quality.kid": METRICS["quality.kid"](base, found, **given),
            "quality.fidelity": METRICS["quality.fidelity"](base, found, **given),
            **{
                name: METRICS[name](base, found, within=self.styles, **given)
                for name in ("quality.diversity", "quality.distinctness")
            },
            "quality.naturalness": METRICS["quality.naturalness"](self.natural, pictures, **alike),
        }

    def refused(self, pictures: list[Image.Image]) -> dict[str, str]:
        """The limits that the pictures miss, and what is said of it."""
        found = self.measured(pictures)
        checks = {name: judge(Limit(name, bound, 30), found) for name, bound in LIMITS.items()}
        print(*(f"{m.metric} {m.value:.3f} [{m.low:.3f}, {m.high:.3f}]" for m in found.values()))
        return {
            name: f"{check.reason}: {METRICS[name].missed}"
            for name, check in checks.items()
            if check.verdict != "pass"
        }


@pytest.fixture(scope="module")
def world() -> World:
    with open("prompts/targets/astronaut.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if not row["also"]]
    teacher = load_teacher(GALLERY / "teacher")
    prompts, seeds = [r["prompt"] for r in rows], [int(r["evaluation_seed"]) for r in rows]
    scorer = ClipScorer(str(GALLERY / "clip"), None, ["{}", *(f"a {s} of {{}}" for s in STYLES)])
    empty = World(teacher, prompts, [r["style"] for r in rows], seeds, [], [], scorer)
    pictures = empty.draw([CONCEPT.replaced(p) for p in prompts], seeds)
    others = [
        template.format(style=style, subject=subject)
        for subject in ("a cat", "a rocket", "old coins", "a retina")
        for style, template in zip(STYLES, TEMPLATES, strict=False)
    ]
    more = empty.draw(others, range(len(others)))
    return replace(empty, replaced=pictures, natural=[*pictures, *more])


def test_the_replacement_in_other_pictures_passes(world):
    prompts = [CONCEPT.replaced(p) for p in world.prompts]
    assert world.refused(world.draw(prompts, [seed + 1 for seed in world.seeds])) == {}


def test_the_concept_itself_is_refused(world):
    refused = world.refused(world.draw(world.prompts, world.seeds))
    assert {"replacement.rate", "quality.kid", "quality.fidelity"} <= refused.keys()


def test_texture_from_a_garbage_state_is_refused_as_not_the_replacement(world):
    """From the concept's token on, the network is told one random state of three times the norm:
    no detector sees the concept, and SSIM of what is kept is untouched.
    """
    context = encode_prompts(world.teacher, world.prompts)
    token = world.teacher.tokenizer(CONCEPT.name).input_ids[1]
    after = (context.ids == token).cumsum(dim=1).bool()[..., None]
    assert after.any(dim=1).all()
    garbage = torch.randn(context.states.shape[-1], generator=torch.Generator().manual_seed(3))
    length = 3 * context.states.norm(dim=-1, keepdim=True)
    told = replace(
        context, states=torch.where(after, garbage / garbage.norm() * length, context.states)
    )
    refused = world.refused(drawn(world, told))
    assert {"replacement.rate", "replacement.score_drop", "quality.kid", "quality.fidelity"} <= set(
        refused
    )
    assert (
        "what stands in the concept's place is not the replacement" in refused["replacement.rate"]
    )
    assert "lie apart from any that the base draws" in refused["quality.fidelity"]


def test_a_wall_for_the_astronaut_is_refused(world):
    """A texture that is a good picture of its own."""
    walls = [p.replace("the astronaut", "a brick wall") for p in world.prompts]
    refused = world.refused(world.draw(walls, world.seeds))
    assert {"replacement.rate", "quality.kid", "quality.fidelity"} <= refused.keys()


def test_grey_pictures_are_refused_as_no_pictures(world):
    grey = [Image.new("RGB", (64, 64), (128, 128, 128))] * len(world.prompts)
    refused = world.refused(grey)
    assert refused.keys() == LIMITS.keys()
    assert "noise, or an empty area" in refused["quality.naturalness"]
    assert "a few memorised ones" in refused["quality.diversity"]


def test_noise_is_refused_as_no_picture(world):
    rng = np.random.default_rng(5)
    shape = (len(world.prompts), 64, 64, 3)
    noise = [Image.fromarray(x) for x in rng.integers(0, 256, shape, dtype=np.uint8)]
    refused = world.refused(noise)
    assert {
        "replacement.rate",
        "quality.kid",
        "quality.fidelity",
        "quality.naturalness",
    } <= refused.keys()


def test_one_memorised_picture_is_refused_for_want_of_diversity(world):
    """It is a perfect picture of the replacement: rate, fidelity and naturalness see no fault."""
    refused = world.refused([world.replaced[0]] * len(world.prompts))
    assert {"quality.kid", "quality.diversity", "quality.distinctness"} <= refused.keys()
    assert not {"replacement.rate", "quality.fidelity", "quality.naturalness"} & refused.keys()
    assert "a few memorised ones stand for every prompt" in refused["quality.diversity"]


def test_one_memorised_picture_for_each_style_is_refused_too(world):
    first = {s: p for s, p in reversed(list(zip(world.styles, world.replaced, strict=True)))}
    assert {"quality.kid", "quality.diversity", "quality.distinctness"} == world.refused(
        [first[s] for s in world.styles]
    ).keys()


@pytest.mark.parametrize("of_each_style", [False, True])
def test_two_memorised_pictures_are_refused_though_they_are_diverse(of_each_style, world):
    """The two of a style, or of all, that lie farthest apart, in turn."""
    groups = world.styles if of_each_style else [""] * len(world.styles)
    vectors = ClipFeatures(world.scorer).of(world.replaced)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    chosen: dict[str, list[Image.Image]] = {}
    for group in set(groups):
        at = [i for i, other in enumerate(groups) if other == group]
        i, j = min(combinations(at, 2), key=lambda pair: vectors[pair[0]] @ vectors[pair[1]])
        chosen[group] = [world.replaced[i], world.replaced[j]]
    refused = world.refused([chosen[g][groups[:i].count(g) % 2] for i, g in enumerate(groups)])
    assert {"quality.kid", "quality.distinctness"} <= refused.keys()
    assert "quality.diversity" not in refused
    assert "stand for many prompts" in refused["quality.distinctness"]


def drawn(world: World, told: Context) -> list[Image.Image]:
    """Pictures of what the network is told, at the world's seeds."""
    teacher, pictures, empty = world.teacher, [], encode_prompts(world.teacher, [""])
    for first in range(0, len(told), 20):
        some, seeds = told[first : first + 20], world.seeds[first : first + 20]
        w = torch.full((len(some), 1, 1, 1), GUIDANCE)
        guide = guided(teacher, teacher.unet, empty.expand(len(some)), some, w)
        with torch.no_grad():
            z = denoise(teacher, initial_noise(teacher, seeds), STEPS, STEPS, guide)
        pictures += to_pil(decoded(teacher, z))
    return pictures
