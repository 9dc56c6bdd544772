"""A model in a few lines of Python: load, erase, draw, measure, save, and hand on to diffusers.

No state folder, no gate, no registry: what is erased here is tried, not released (docs/python.md).
"""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from PIL import Image
from pydantic import ValidationError

from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept, together
from erasure_core.methods import METHODS, completed, precision_of
from erasure_core.metrics.clip_score import ClipScorer
from erasure_core.metrics.ssim import pair_values
from erasure_core.network import one_file
from erasure_core.network.bases import as_loaded
from erasure_core.network.diffusion import sample
from erasure_core.network.hub import locate
from erasure_core.network.images import to_pil
from erasure_core.network.models import Teacher, halved, load_teacher
from erasure_core.network.weights import WeightDelta
from erasure_core.network.work import Work

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from pandas import DataFrame

BATCH = 20  # pictures drawn together


@dataclass(frozen=True, slots=True)
class Model:
    """A base, and what was changed of its UNet; nothing for the base itself."""

    folder: Path
    teacher: Teacher
    delta: WeightDelta | None = None

    @classmethod
    def load(cls, folder: Path | str, device: str = "cpu") -> Self:
        """A base in diffusers format: its folder, or a hub id with its commit, `owner/name@commit`.

        Raises:
            BadInput: It is not there, not whole, of a family that is not known, or a checkpoint in
                one file, with what makes it a folder.
        """
        named = Path(folder).expanduser()
        if named.is_file() and named.suffix.lower() in one_file.CHECKPOINTS:
            one_file.check(named)
            raise BadInput(
                f"{named} is a checkpoint in one file; make it a folder, once, and load that: "
                f"erasure_core.network.one_file.convert(file, configurations(file), folder), each "
                f"a Path (docs/python.md)"
            )
        found = locate(str(named))
        return cls(found, load_teacher(found, device=device))

    def erased(
        self, *concepts: Concept, method: str = "uce", seed: int = 0, **settings: Any
    ) -> "Model":
        """The base without `concepts`; `self` stays as it is.

        Args:
            concepts: What goes. What was erased before comes back, unless it is named again: an
                erasure is made from the base, all at once.
            method: See `erasure methods`.
            seed: Of its training; a closed form has none.
            settings: The method's; what is left out is as published for the concept's kind.

        Raises:
            BadInput: What is given is no `Concept`, there is no such method or setting, or the
                method refuses the concepts.
        """
        for concept in concepts:
            if not isinstance(concept, Concept):
                raise BadInput(
                    f"{concept!r} is no concept; give Concept(name=..., kind=..., prompts=[...], "
                    f"replacement=...)"
                )
        if method not in METHODS:
            raise BadInput(f"no method {method!r}; choose {', '.join(METHODS)}")
        try:
            chosen = METHODS[method].Settings.model_validate(settings)
        except ValidationError as fault:
            first = fault.errors(include_url=False)[0]
            raise BadInput(
                f"{method}: {'.'.join(map(str, first['loc']))}: {first['msg']}; its settings are "
                f"{', '.join(METHODS[method].Settings.model_fields)}"
            ) from None
        chosen = completed(chosen, [concept.kind for concept in concepts])
        with halved(self.teacher, precision_of(chosen)) as guide:
            delta = METHODS[method].erase(guide, together(concepts), chosen, Work(seed))
        return replace(self, delta=delta)

    def draw(
        self, prompts: Iterable[str], *, seed: int = 0, guidance: float = 7.5, steps: int = 30
    ) -> list[Image.Image]:
        """One RGB picture a prompt, from the seeds `seed`, `seed + 1`, ...: the same prompt and
        seed give the same composition in every model of one base.

        Raises:
            BadInput: `prompts` is one text, is empty, or holds what is no text.
        """
        prompts = _listed("prompts", prompts)
        seeds, w = range(seed, seed + len(prompts)), [guidance] * len(prompts)
        with self.delta.applied(self.teacher.unet) if self.delta else nullcontext():
            return to_pil(sample(self.teacher, prompts, seeds, w, steps, BATCH))

    def beside(
        self,
        other: "Model",
        prompts: Iterable[str],
        labels: Iterable[str],
        clip: ClipScorer,
        **how: Any,
    ) -> "DataFrame":
        """What this model and `other` draw of the same prompts and seeds, a row a prompt: what CLIP
        calls each picture among `labels`, its score to the prompt, and SSIM between the two.

        Args:
            other: Usually the base.
            prompts: What to draw.
            labels: What pictures may be named by.
            clip: The scorer.
            how: As for `draw`.

        Raises:
            BadInput: `prompts` or `labels` is one text, is empty, or holds what is no text.
        """
        from pandas import DataFrame

        prompts, labels = _listed("prompts", prompts), _listed("labels", labels)
        mine, theirs = self.draw(prompts, **how), other.draw(prompts, **how)
        return DataFrame(
            {
                "prompt": prompts,
                "named": clip.name_concepts(mine, labels),
                "named_by_other": clip.name_concepts(theirs, labels),
                "score": clip.scores(mine, prompts).tolist(),
                "score_of_other": clip.scores(theirs, prompts).tolist(),
                "ssim": list(pair_values(theirs, mine)),
            }
        )

    def save(self, file: Path | str) -> None:
        """Write what was changed, as safetensors that say to which base it belongs.

        Raises:
            BadInput: Nothing was changed.
        """
        if self.delta is None:
            raise BadInput(f"this is the base {self.folder}, nothing was changed; erase first")
        self.delta.save(Path(file).expanduser())

    def opened(self, file: Path | str) -> "Model":
        """This base with the change that `save` wrote.

        Raises:
            ErasureError: It is no delta, or another base's.
        """
        delta = WeightDelta.load(Path(file).expanduser())
        delta.check(self.teacher.unet)
        return replace(self, delta=delta)

    def pipeline(self) -> "DiffusionPipeline":
        """A diffusers pipeline of its own with the changed weights, in float32, without the parts
        that are never loaded here: the base's safety checker, and what feeds it.
        """
        import torch
        from diffusers import DiffusionPipeline

        how = {"dtype": torch.float32, "use_safetensors": True, "local_files_only": True}
        with as_loaded(self.folder) as view:
            pipeline = DiffusionPipeline.from_pretrained(view, **how)
        if self.delta:
            self.delta.apply(pipeline.unet)
        return pipeline


def _listed(name: str, given: Iterable[str]) -> list[str]:
    """Texts as a list: `BadInput` where there is none. A text is a sequence too, of its letters."""
    if isinstance(given, str):
        raise BadInput(f"{name} is the text {given!r}; give a list: [{given!r}]")
    if not isinstance(given, Iterable):
        raise BadInput(f"{name} is {given!r}; give a list of texts")
    texts = list(given)
    if not texts:
        raise BadInput(f"{name} is empty; give at least one text")
    for text in texts:
        if not isinstance(text, str):
            raise BadInput(f"{name} holds {text!r}, which is no text; give a list of texts")
    return texts
