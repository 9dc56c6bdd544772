"""What a picture is to a distance between sets of pictures: a vector of a network's.

Paper      Heusel et al., NIPS 2017, arXiv:1706.08500 (Inception); Jayasumana et al., CVPR 2024,
           arXiv:2401.09603 (why CLIP in its place).
Reference  transformers: `CLIPModel` through `ClipScorer`, any other vision folder by `AutoModel`.
Departs    CLIP's vectors have length sqrt(d), not CLIP's own: the kernel of KID, (x.y / d + 1)^3,
           then sees their cosine. Numbers of different features cannot be compared; the name and
           the hash of the weights stand beside each number.
Cost       One forward pass of each picture.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from erasure_core.errors import BadInput
from erasure_core.law.lineage import sha256_file
from erasure_core.metrics.clip_score import ClipScorer, clip_files, preprocessing_file

_BATCH = 64


class Features(Protocol):
    """Anything that turns pictures into vectors."""

    @property
    def name(self) -> str:
        """What it is called beside a number: "clip", "inception_v3"."""
        ...

    @property
    def settings(self) -> Mapping[str, object]:
        """Whatever changes the vectors: name, sha256 of the weights, preprocessing, scale."""
        ...

    def of(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """One vector a picture, (n, d) float64, finite."""
        ...


class ClipFeatures:
    """The picture side of a CLIP that is loaded already."""

    name = "clip"

    def __init__(self, scorer: ClipScorer):
        self._scorer = scorer

    @property
    def settings(self) -> Mapping[str, object]:
        """What the CLIP is; its templates are left out, no sentence is read."""
        clip = {key: value for key, value in self._scorer.settings.items() if key != "templates"}
        return {"features": self.name, **clip, "scale": "length sqrt(d)"}

    def of(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """Vectors of length sqrt(d), (n, d) float64. ValueError if a picture is not RGB."""
        vectors = self._scorer.embed(pictures)
        return vectors * float(np.sqrt(vectors.shape[1]))


class VisionFeatures:
    """The pooled output of any network in a local transformers folder: a ResNet, DINO, or, where
    timm is installed, the Inception of its folders.
    """

    def __init__(self, folder: str | Path):
        """Load config.json, *.safetensors and how pictures are prepared (`preprocessing_file`).
        Never downloads, never unpickles.

        Raises:
            BadInput: If a file is missing, or weights that the configuration asks for.
        """
        from transformers import AutoImageProcessor, AutoModel

        folder = Path(folder)
        weights = sorted(folder.glob("*.safetensors"))
        prepared = preprocessing_file(folder)
        absent = [] if (folder / "config.json").is_file() else ["config.json"]
        absent += [] if prepared else ["preprocessor_config.json"]
        absent += [] if weights else ["*.safetensors"]
        if absent or prepared is None:
            raise BadInput(
                f"features folder {folder} holds no {', '.join(absent)}; give a transformers "
                f"folder of a vision model with safetensors weights"
            )
        self._model, report = AutoModel.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
        if missing := sorted(report["missing_keys"]):  # filled with random numbers, and a warning
            raise BadInput(
                f"{folder} is not a whole model: {len(missing)} of its weights are missing, "
                f"{missing[0]} among them; restore it or name another"
            )
        self._processor: Any = AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, backend="pil"
        )
        self.name: str = self._model.config.model_type
        self._settings: dict[str, object] = {
            "features": self.name,
            "folder": str(folder),
            "weights_sha256": {f.name: sha256_file(f) for f in weights},
            "preprocessing": type(self._processor).__name__,
            "preprocessing_sha256": sha256_file(prepared),
            "scale": "as the network gives them",
        }

    @property
    def settings(self) -> Mapping[str, object]:
        """What a number needs beside it."""
        return self._settings

    def of(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """Pooled outputs, (n, d) float64.

        Raises:
            ValueError: If there is no picture, one is not RGB, or the network answers NaN.
        """
        if not pictures:
            raise ValueError(f"{self.name} was given no pictures")
        batches = []
        with torch.no_grad():
            for first in range(0, len(pictures), _BATCH):
                some = list(pictures[first : first + _BATCH])
                for case, picture in enumerate(some, first):
                    if picture.mode != "RGB":
                        raise ValueError(f"picture {case} is {picture.mode}; {self.name} takes RGB")
                read = self._processor(images=some, return_tensors="pt")
                batches.append(self._model(**read).pooler_output.flatten(1))
        return checked(torch.cat(batches).double().numpy(), self.name)


def opened(folder: str | Path) -> Features:
    """The features of a local transformers folder: a CLIP's picture side, or `VisionFeatures`.

    Raises:
        BadInput: It is not there, not whole, or has no safetensors.
    """
    folder = Path(folder)
    files = feature_files(folder)
    try:
        kind = json.loads(files["config.json"].read_bytes()).get("model_type")
    except (ValueError, AttributeError) as fault:
        raise BadInput(
            f"features folder {folder}: config.json is not readable ({fault}); restore it or name "
            f"another"
        ) from None
    if kind == "clip":
        return ClipFeatures(ClipScorer(str(folder), None, ["{}"]))
    return VisionFeatures(folder)


def feature_files(folder: Path) -> dict[str, Path]:
    """The files of a features folder that decide the vectors. `BadInput` without a configuration or
    safetensors weights.
    """
    files = clip_files(folder) if folder.is_dir() else {}
    lacking = [] if "config.json" in files else ["config.json"]
    if not any(name.endswith(".safetensors") for name in files):
        lacking.append("*.safetensors")
    if lacking:
        raise BadInput(
            f"features folder {folder} holds no {', '.join(lacking)}; give a transformers folder "
            f"of a vision model or a CLIP with safetensors weights"
        )
    return files


def checked(vectors: np.ndarray, what: str) -> np.ndarray:
    """`vectors` as float64, (n, d).

    Raises:
        ValueError: If there are none, they are no table, or one is not finite.
    """
    table = np.asarray(vectors, dtype=np.float64)
    if table.ndim != 2 or table.size == 0:
        raise ValueError(
            f"{what}: one vector a picture and at least one picture are needed, got shape "
            f"{table.shape}"
        )
    if bad := int((~np.isfinite(table)).any(axis=1).sum()):
        raise ValueError(f"{what}: the vectors of {bad} of {len(table)} pictures are not finite")
    return table


def checked_pair(
    reference: np.ndarray, vectors: np.ndarray, what: str
) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 tables of one width. ValueError as for `checked`, or if the widths differ."""
    a = checked(reference, f"{what}, the reference")
    b = checked(vectors, what)
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"{what}: vectors of one network are compared; got {a.shape[1]} and {b.shape[1]} "
            f"numbers a picture"
        )
    return a, b
