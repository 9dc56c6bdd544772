"""CLIP: does the picture fit its prompt, and which of the known concepts does it show?

Paper      Radford et al., CLIP, ICML 2021, arXiv:2103.00020 (zero-shot by prompt ensembles, sec.
           3.1.4); Hessel et al., CLIPScore, EMNLP 2021, arXiv:2104.08718.
Reference  transformers `CLIPModel`; any folder in its format, the gallery's small one included.
Departs    The score is the bare cosine (All-but-One reports .2765 for Stable Diffusion on COCO),
           not CLIPScore's 2.5 max(cos, 0) and not the x100 logits of RECE's script. The caption is
           used as it is: no "A photo depicts" before it.
Cost       One forward pass of each image and each caption; text beyond the tokenizer's limit is cut
           off, as in CLIP.
"""

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from erasure_core.errors import BadInput
from erasure_core.law.english import ARTICLES
from erasure_core.law.gates import Measurement
from erasure_core.law.lineage import sha256_file
from erasure_core.metrics.intervals import Better, finite, mean, net_loss, share
from erasure_core.network.hub import pinned
from erasure_core.network.models import check_tokenizer

_BATCH = 64
_PUBLISHED = 224  # pixels a side from which a CLIP is a published one, with means of its own
PAIRED = "base - candidate, same case"


def bare(phrase: str) -> str:
    """`phrase` in lower case without its article: "a photographer" is named "photographer"."""
    words = phrase.casefold().split()
    return " ".join(words[1:] if len(words) > 1 and words[0] in ARTICLES else words)


def once(labels: Iterable[str]) -> list[str]:
    """`labels` sorted, the first of those that are one name but for case and article: CLIP reads
    them alike, and would give all pictures to one of them.
    """
    return sorted({bare(label): label for label in sorted(labels, reverse=True)}.values())


class ClipScorer:
    """One CLIP, used for every model that is compared."""

    def __init__(self, path: str, revision: str | None, templates: Sequence[str]):
        """Load a CLIP from a local folder, or from the local hub cache by id and revision. Never
        downloads, never unpickles.

        Args:
            path: Folder with config.json, model.safetensors and the tokenizer, or a hub id that is
                in the cache.
            revision: Hub revision; None for a folder.
            templates: Sentences with one "{}" each, averaged to name a concept.

        Raises:
            BadInput: If there is no such model with safetensors weights, a published one does not
                say how its pictures are prepared, or a template has no "{}".
        """
        from transformers import AutoTokenizer, CLIPModel

        wrong = [t for t in templates if t.count("{}") != 1]
        if wrong or not templates:
            raise BadInput(
                f'CLIP templates need one "{{}}" each; got {wrong or "none"}; e.g. "a '
                f'photo of {{}}"'
            )
        folder = clip_folder(path, revision)
        self._model, report = CLIPModel.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
        if absent := sorted(report["missing_keys"]):  # filled with random numbers, and a warning
            raise BadInput(
                f"{folder} is not a whole CLIP: {len(absent)} of its weights are missing, "
                f"{absent[0]} among them; give the folder of a CLIPModel"
            )
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        check_tokenizer(folder, self._tokenizer)
        config: Any = self._model.config
        self._max_tokens = min(
            self._tokenizer.model_max_length, config.text_config.max_position_embeddings
        )
        self._side: int = config.vision_config.image_size
        self._templates = tuple(templates)
        self._processor = _processor(folder, self._side)
        self._settings: dict[str, object] = {
            "clip": path,
            "revision": revision,
            "weights_sha256": {
                f.name: sha256_file(f) for f in sorted(folder.glob("*.safetensors"))
            },
            "preprocessing": "x/127.5-1" if self._processor is None else "CLIPImageProcessor",
            "templates": list(self._templates),
        }

    @property
    def settings(self) -> Mapping[str, object]:
        """What a number needs beside it, except the labels that were asked for."""
        return self._settings

    def scores(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """Cosine of each RGB image with its own prompt, in -1..1; shape (n,).

        Raises:
            ValueError: If the lists differ in length, an image is not RGB, or CLIP answers NaN.
        """
        if len(images) != len(prompts):
            raise ValueError(
                f"each image is scored with its own prompt; got {len(images)} images and "
                f"{len(prompts)} prompts"
            )
        return (self._image_features(images) * self._text_features(prompts)).sum(dim=1).numpy()

    def embed(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Each RGB image as a vector of length 1, (n, d) float64.

        Raises:
            ValueError: If there is no image, one is not RGB, or CLIP answers NaN.
        """
        return self._image_features(images).double().numpy()

    def name_concepts(
        self, images: Sequence[Image.Image], labels: Sequence[str], templates: Sequence[str] = ()
    ) -> list[str]:
        """The label whose averaged template sentences lie nearest to each image; `templates` in
        place of the scorer's own.

        Raises:
            ValueError: If fewer than two distinct labels are offered (any image would be "named"
                so), or an image is not RGB.
        """
        if len(set(labels)) < 2 or len(set(labels)) < len(labels):
            raise ValueError(f"naming needs at least two labels, each once; got {list(labels)}")
        templates = templates or self._templates
        sentences = self._text_features([t.format(label) for label in labels for t in templates])
        centres = sentences.view(len(labels), len(templates), -1).mean(dim=1)
        nearest = (
            self._image_features(images) @ torch.nn.functional.normalize(centres, dim=1).T
        ).argmax(dim=1)
        return [labels[i] for i in nearest.tolist()]

    def _image_features(self, images: Sequence[Image.Image]) -> Tensor:
        """Unit vectors, (n, d)."""
        starts = range(0, len(images), _BATCH)
        with torch.no_grad():
            return _unit(
                [
                    self._model.get_image_features(
                        pixel_values=self._pixels(images[first : first + _BATCH], first)
                    ).pooler_output
                    for first in starts
                ],
                "images",
            )

    def _text_features(self, lines: Sequence[str]) -> Tensor:
        """Unit vectors, (n, d)."""
        tokens = self._tokenizer(
            list(lines),
            padding="max_length",
            truncation=True,
            max_length=self._max_tokens,
            return_tensors="pt",
        )
        with torch.no_grad():
            batches = tokens.input_ids.split(_BATCH)
            return _unit(
                [self._model.get_text_features(input_ids=ids).pooler_output for ids in batches],
                "prompts",
            )

    def _pixels(self, images: Sequence[Image.Image], first: int) -> Tensor:
        """Model input, (n, 3, side, side), of the images from number `first` on."""
        images = list(images)
        for case, image in enumerate(images, first):
            if image.mode != "RGB":
                raise ValueError(f"image {case} is {image.mode}; CLIP takes RGB")
        if self._processor is not None:
            pixels: Tensor = self._processor(images=images, return_tensors="pt").pixel_values
            return pixels
        square = (self._side, self._side)
        fitted = [
            i if i.size == square else i.resize(square, Image.Resampling.BICUBIC) for i in images
        ]
        return (
            torch.from_numpy(np.stack([np.asarray(i) for i in fitted])).permute(0, 3, 1, 2).float()
            / 127.5
            - 1
        )


def clip_score(
    scores: Sequence[float],
    *,
    settings: Mapping[str, object],
    metric: str = "clip.score",
    better: Better = "higher",
    clusters: Sequence[Hashable] | None,
) -> Measurement:
    """Mean cosine of images with their prompts, bootstrap interval. Raises ValueError on NaN or no
    image.
    """
    return mean(
        scores,
        metric=metric,
        better=better,
        settings=settings,
        clusters=clusters,
        within=(-1, 1),
    )


def score_drop(
    base_scores: Sequence[float],
    scores: Sequence[float],
    *,
    settings: Mapping[str, object],
    metric: str = "clip.score_drop",
    clusters: Sequence[Hashable] | None,
) -> Measurement:
    """Mean of (base - candidate) over the same cases, bootstrap interval of the differences; 0 is
    ideal.

    Raises:
        ValueError: If the lists differ in length, are empty, or hold NaN.
    """
    before = finite(base_scores, f"{metric} of the base")
    after = finite(scores, f"{metric} of the candidate")
    if len(before) != len(after):
        raise ValueError(
            f"{metric}: cases come in pairs; got {len(before)} of the base and "
            f"{len(after)} of the candidate"
        )
    return mean(
        (before - after).tolist(),
        metric=metric,
        better="lower",
        settings={**settings, "difference": PAIRED},
        clusters=clusters,
        within=(-2, 2),
    )


def concept_rate(
    named: Sequence[str],
    concept: str,
    *,
    settings: Mapping[str, object],
    metric: str = "clip.concept_rate",
    better: Better = "lower",
    clusters: Sequence[Hashable] | None,
) -> Measurement:
    """Share of images that `name_concepts` called `concept`, Wilson interval; the settings should
    hold the labels offered.

    Raises:
        ValueError: If there are no images, or one has no name.
    """
    return share(
        _matches(named, [concept] * len(named), metric),
        metric=metric,
        better=better,
        settings=settings,
        clusters=clusters,
    )


def accuracy(
    named: Sequence[str],
    expected: Sequence[str],
    *,
    settings: Mapping[str, object],
    metric: str = "clip.accuracy",
    clusters: Sequence[Hashable] | None,
) -> Measurement:
    """Share of images named as what their prompt names, Wilson interval.

    Raises:
        ValueError: If the lists differ in length, are empty, or an image has no name or nothing
            that is expected.
    """
    return share(
        _matches(named, expected, metric),
        metric=metric,
        better="higher",
        settings=settings,
        clusters=clusters,
    )


def accuracy_drop(
    base_named: Sequence[str],
    named: Sequence[str],
    expected: Sequence[str],
    *,
    settings: Mapping[str, object],
    metric: str = "clip.accuracy_drop",
    clusters: Sequence[Hashable] | None,
) -> Measurement:
    """How much smaller the share of cases named rightly is than on the base: losses less gains,
    with their interval (`net_loss`); 0 is ideal. 0 of 30 still allows 0.114.

    Raises:
        ValueError: If the lists differ in length, are empty, an image has no name or a case nothing
            that is expected.
    """
    return net_loss(
        _matches(base_named, expected, metric),
        _matches(named, expected, metric),
        metric=metric,
        settings={**settings, "difference": PAIRED},
        clusters=clusters,
    )


def _matches(named: Sequence[str], expected: Sequence[str], metric: str) -> list[bool]:
    if len(named) != len(expected):
        raise ValueError(f"{metric}: {len(named)} images were named, {len(expected)} were expected")
    if not all(expected):
        raise ValueError(
            f"{metric}: nobody says what image {list(map(bool, expected)).index(False)} shows; "
            f"measure those whose prompts have a concept"
        )
    for case, name in enumerate(named):
        if not isinstance(name, str) or not name:
            raise ValueError(f"{metric}: image {case} has no name ({name!r})")
    return [bare(name) == bare(right) for name, right in zip(named, expected, strict=True)]


def _unit(batches: Sequence[Tensor], what: str) -> Tensor:
    if not batches:
        raise ValueError(f"CLIP was given no {what}")
    features = torch.nn.functional.normalize(torch.cat(list(batches)), dim=1)
    if not bool(features.isfinite().all()):
        raise ValueError(
            f"CLIP gives NaN for {int((~features.isfinite()).any(dim=1).sum())} of "
            f"{len(features)} {what}; its weights are broken"
        )
    return features


def clip_files(folder: Path) -> dict[str, Path]:
    """The files of a CLIP that are read: weights, configuration, tokenizer."""
    read = (".safetensors", ".json", ".txt")
    files = (f for f in folder.iterdir() if f.suffix in read and not f.name.startswith("."))
    return {f.name: f for f in files if f.is_file()}


def clip_folder(path: str, revision: str | None) -> Path:
    """Where a CLIP lies on this machine. `BadInput` if it is not here."""
    if revision is None:
        path, revision = pinned(path)
    folder = Path(path)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
        )

        try:
            folder = Path(snapshot_download(path, revision=revision, local_files_only=True))
        except (HFValidationError, LocalEntryNotFoundError, HfHubHTTPError) as error:
            is_id = path.count("/") == 1 and not path.startswith((".", "/"))
            fetch = f"hf download {path}{f' --revision {revision}' if revision else ''}"
            raise BadInput(
                f"CLIP {path!r} is neither a folder nor in the local hub cache; give a folder"
                + (f", or fetch it first: {fetch}" if is_id else "")
            ) from error
    if not any(folder.glob("*.safetensors")):
        raise BadInput(
            f"CLIP folder {folder} holds no *.safetensors; pickled weights are not read: "
            f"convert them first"
        )
    return folder


def preprocessing_file(folder: Path) -> Path | None:
    """The file of a model's folder that says how its pictures are prepared: its own, or that of the
    whole processor, which is all that newer versions of transformers write. None without either.
    """
    own, whole = (folder / name for name in ("preprocessor_config.json", "processor_config.json"))
    if own.is_file():
        return own
    return (
        whole if whole.is_file() and "image_processor" in json.loads(whole.read_bytes()) else None
    )


def _processor(folder: Path, side: int) -> Any:
    """What the model's own folder says of its input; None where it says nothing and x/127.5-1
    holds.

    Raises:
        BadInput: If it says nothing, and is a published model by the `side` of its pictures.
    """
    if preprocessing_file(folder) is None:
        if side >= _PUBLISHED:
            raise BadInput(
                f"CLIP folder {folder} does not say how its pictures are prepared; put its "
                f"preprocessor_config.json, or processor_config.json, beside its weights"
            )
        return None
    from transformers import CLIPImageProcessorPil

    return CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
