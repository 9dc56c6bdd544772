"""What the base draws for a name before anything is erased, and what the instruments see in it: a
few pictures, no evidence. And from the time they took, how long a run will take.
"""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from erasure_core.attacks.wordings import renamed
from erasure_core.law.concepts import Concept
from erasure_core.law.prompts import kept_rows, read_prompt_set
from erasure_core.metrics.replacement import labels_with
from erasure_core.network.diffusion import sample
from erasure_core.network.hub import locate
from erasure_core.network.images import to_pil
from erasure_core.planning.params import Params
from erasure_core.planning.plan import choosing_set
from erasure_core.planning.reading import kept_guidance
from tasks.evidence.instruments import Instruments, asked_among, named_as, seen_by_detector
from tasks.evidence.measure import labels_of
from tasks.progress import progress
from tasks.release.resolve import open_model
from tasks.requests.new import Draft

PICTURES = 5  # of each name
SEED = 600_000
ERASING = Path(__file__).with_name("durations.json")  # method -> s, tuned (docs/compare.md)


@dataclass(frozen=True, slots=True)
class Seen:
    """Pictures of one name, by every instrument that its kind is judged by."""

    phrase: str  # a prompt of them
    pictures: Sequence[Image.Image]
    named: Counter[str]  # by CLIP
    detector: str  # its name
    detected: int | None  # pictures in which the detector sees a concept of this kind
    as_replacement: int | None = None  # named so where the replacement is among the names

    def as_concept(self, concept: Concept) -> int:
        """How many are named as the concept."""
        return self.named[concept.name]

    def said(self) -> str:
        """In one line."""
        n = len(self.pictures)
        names = ", ".join(f"{name} {count} of {n}" for name, count in self.named.most_common())
        seen = ""
        if self.detected is not None:
            seen = f"; {self.detector} sees one in {self.detected} of {n}"
        instead = "" if self.as_replacement is None else f"; as itself {self.as_replacement} of {n}"
        return f"CLIP names {names}{instead}{seen}"


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen, and what it means for a run."""

    seen: tuple[Seen, ...]  # of the name, of each other name, of the replacement
    seconds_a_picture: float
    warnings: tuple[str, ...]


def look(draft: Draft, params: Params) -> Look:
    """Draw and name a few pictures of the name, of its other names and of the replacement."""
    concept = draft.concept
    teacher = open_model(locate(params.base.path, params.base.revision))
    instruments = Instruments.of(params)
    rows = read_prompt_set(params.prompts.kept, params.reading)
    guidance, kept = kept_guidance(params), kept_rows(rows, [concept])
    labels = labels_of(kept, [concept])
    prompts = _prompts(draft)
    by_name = [prompts, *([renamed(concept, p, a) for p in prompts] for a in concept.also)]
    by_name.append([concept.replaced(p) for p in prompts])
    began, seen = time.monotonic(), []
    sampling = params.sampling
    with progress("look", sum(map(len, by_name))) as advance:
        for some in by_name:
            n = len(some)
            seeds, w = range(SEED, SEED + n), [guidance] * n
            drawn = sample(teacher, some, seeds, w, sampling.steps, sampling.batch_size, advance)
            seen.append((some[0], to_pil(drawn)))
    seconds = (time.monotonic() - began) / sum(map(len, by_name))
    judged = [_judged(instruments, concept, phrase, pictures, labels) for phrase, pictures in seen]
    if params.policy.of_replacement(concept.kind):
        judged[-1] = _with_replacement(instruments, concept, judged[-1], labels)
    return Look(tuple(judged), seconds, tuple(_warnings(draft, params, judged)))


def sheet(seen: Sequence[Seen]) -> Image.Image:
    """One row of pictures for each name, the replacement's last."""
    wide, high = seen[0].pictures[0].size
    whole = Image.new("RGB", (wide * max(len(s.pictures) for s in seen), high * len(seen)))
    for y, one in enumerate(seen):
        for x, picture in enumerate(one.pictures):
            whole.paste(picture, (x * wide, y * high))
    return whole


def durations(draft: Draft, params: Params, seconds_a_picture: float) -> dict[str, str]:
    """Method -> how long a run takes by it: its pictures at the rate just measured, and the erasing
    as it was measured on the gallery, where it was.
    """
    measured, said = json.loads(ERASING.read_bytes()), {}
    for name in dict.fromkeys([params.method.method, *sorted(params.methods)]):
        n = _pictures(draft, params.with_method(name))
        minutes = n * seconds_a_picture / 60
        erasing = f"{measured[name]:.3g} s" if name in measured else "an unmeasured time"
        said[name] = f"{n} pictures, {minutes:.1f} min + {erasing} erasing"
    return said


def _pictures(draft: Draft, params: Params) -> int:
    """How many a run draws to choose and to report."""
    total, lambdas = 0, len(params.lambdas or (1,))
    choosing = choosing_set(params)
    for path, rows in draft.sets.items():
        where = params.prompts if path.parent == params.prompts.targets else choosing
        if where is None:
            continue
        kept = kept_rows(read_prompt_set(where.kept, params.reading), [draft.concept])
        models = 2 if where is params.prompts else 1 + lambdas
        total += (len(rows) + len(kept)) * models
        if where is params.prompts and params.policy.of_replacement(draft.concept.kind):
            total += sum(not row.also for row in rows)
    return total


def _prompts(draft: Draft) -> list[str]:
    """Prompts for a few pictures, from the set that is trained on, spread over the styles."""
    return list(dict.fromkeys(before for before, _ in draft.pairs(PICTURES)))


def _with_replacement(
    instruments: Instruments, concept: Concept, seen: Seen, labels: Sequence[str]
) -> Seen:
    """The same with how many are named as the replacement, as the gate asks."""
    known, templates = asked_among(instruments.params, concept, labels)
    among, label = labels_with(known, concept.replacement)
    named = instruments.scorer.name_concepts(seen.pictures, among, templates)
    return replace(seen, as_replacement=named.count(label))


def _judged(
    instruments: Instruments,
    concept: Concept,
    phrase: str,
    pictures: Sequence[Image.Image],
    labels: Sequence[str],
) -> Seen:
    named = Counter(named_as(instruments, concept, pictures, labels)[0])
    detected = None
    if concept.kind in instruments.params.detector.labels:
        detected = sum(seen_by_detector(instruments, concept, pictures))
    return Seen(phrase, pictures, named, instruments.params.detector.name, detected)


def _warnings(draft: Draft, params: Params, seen: Sequence[Seen]) -> list[str]:
    concept, said = draft.concept, []
    first, *others, instead = seen
    asked = params.policy.asked_of(concept.kind)
    n = len(first.pictures)
    if "clip.concept_rate" in asked and first.as_concept(concept) < params.policy.control * n:
        said.append(
            f"the base hardly draws {concept.name!r}: CLIP names it in {first.as_concept(concept)} "
            f"of {n} pictures; a run whose base does not show it is void"
        )
    if "nudenet.rate" in asked and (first.detected or 0) < params.policy.control * n:
        said.append(
            f"{first.detector} sees a {concept.kind} in {first.detected} of {n} pictures of "
            f"{concept.name!r}; a run whose base does not show it is void"
        )
    for other, name in zip(others, concept.also, strict=True):
        if not other.as_concept(concept):
            said.append(f"the base draws no {concept.name} for {name!r}: nothing goes with it")
    style = concept.kind == "style"
    knows = ", ".join(draft.neighbours if style else [word.phrase for word in draft.known[-3:]])
    if (still := instead.as_concept(concept)) * 2 >= len(instead.pictures):
        said.append(
            f"the base draws {concept.name!r} for {concept.replacement!r} too ({still} of "
            f"{len(instead.pictures)} pictures): what takes its place would still be it, and the "
            f"gate would refuse; give an --instead that the base knows, such as {knows}"
        )
    elif instead.as_replacement is not None and instead.as_replacement * 2 < n:
        said.append(
            f"CLIP names {instead.as_replacement} of {n} pictures of {concept.replacement!r} so: "
            f"the gate asks that for what takes the concept's place; an --instead that the base "
            f"knows passes more surely, such as {knows}"
        )
    bound = params.policy.targets.get(concept.kind, {}).get("nudenet.rate", 1)
    if (instead.detected or 0) > bound * n:
        said.append(
            f"{instead.detector} sees a {concept.kind} in {instead.detected} of {n} pictures of "
            f"{concept.replacement!r}, which takes its place, and the policy allows {bound:g} of "
            f"them: the gate would refuse; give an --instead in which it sees none, or limit "
            f"clip.concept_rate in place of nudenet.rate"
        )
    return said
