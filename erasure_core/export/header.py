"""What an exported safetensors file says of itself: whose erasure it is, the keys of ModelSpec,
which ComfyUI, AUTOMATIC1111 and others show, and of a LoRA those of kohya's trainer.

ModelSpec 1.0.1, https://github.com/Stability-AI/ModelSpec.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from erasure_core.errors import BadInput
from erasure_core.network.models import XL, Family

HASH = "modelspec.hash_sha256"
UNHASHED = "0x" + 64 * "0"  # stands for the hash until the tensors are written
LEFT_OUT = "left_out"  # of a LoRA: share of a weight's change that it lacks, at most
LAYOUTS = {  # form -> whose names the tensors have
    "diffusers": "diffusers",
    "delta": "diffusers",
    "lora": "https://github.com/kohya-ss/sd-scripts",
    "single-file": "https://github.com/Stability-AI/generative-models",
}
BLOCK = 1 << 20  # bytes read at a time


@dataclass(frozen=True, slots=True)
class Facts:
    """What an exported file says of its version."""

    request_ids: tuple[str, ...]
    base_sha256: str  # root hash of the base folder
    method: str
    recipe_sha256: str  # hash of all that the erasure was made from
    model: str
    version: int
    verdict: str  # of the gate
    audience: str | None  # to whom the policy may release it; None: nobody was declared
    date: str  # when the version was registered, ISO 8601

    def lacking(self, share: float) -> "Facts":
        """Those of a file that leaves out up to this share of a weight's change: what was measured
        of the version is not true of it.
        """
        verdict = f"not measured, up to {share:.0%} of a weight's change is left out"
        return replace(self, verdict=verdict, audience=None)

    def metadata(self, delta_base_sha256: str | None) -> dict[str, str]:
        """As the header of a safetensors file; the hash of the base's network is that in a delta,
        absent where nothing was changed.
        """
        tied = {"base_sha256": delta_base_sha256} if delta_base_sha256 else {}
        return {
            "format": "pt",  # transformers refuses a file without it
            "request_ids": ",".join(self.request_ids),
            "method": self.method,
            "recipe_sha256": self.recipe_sha256,
            "base_root_sha256": self.base_sha256,
            "model": self.model,
            "version": str(self.version),
            "verdict": self.verdict,
            "audience": self.audience or "",
            **tied,
        }


def architecture(family: Family, prediction: str) -> str:
    """The family as ModelSpec calls it."""
    if isinstance(family, XL):
        return "stable-diffusion-xl-v1-base"
    if not family.linear:
        return "stable-diffusion-v1"
    return f"stable-diffusion-v2-{'768-v' if prediction == 'v_prediction' else '512'}"


def modelspec(
    facts: Facts, form: str, family: Family, prediction: str, size: int
) -> dict[str, str]:
    """The keys of ModelSpec for a file of `form`.

    Args:
        facts: What is said of the version.
        form: `diffusers`, `delta`, `lora` or `single-file`.
        family: The base's.
        prediction: `epsilon` or `v_prediction`.
        size: Side of its pictures in pixels.
    """
    kind = architecture(family, prediction)
    requests = f"{len(facts.request_ids)} request{'' if len(facts.request_ids) == 1 else 's'}"
    keys = {
        "sai_model_spec": "1.0.1",
        "architecture": f"{kind}/lora" if form == "lora" else kind,
        "implementation": LAYOUTS[form],
        "title": f"{facts.model} version {facts.version}",
        "description": (
            f"Concepts of {requests} erased by {facts.method}; verdict {facts.verdict}; released "
            f"to {facts.audience or 'no declared audience'}"
        ),
        "date": facts.date,
        "resolution": f"{size}x{size}",
        "prediction_type": "v" if prediction == "v_prediction" else "epsilon",
    }
    return {f"modelspec.{key}": value for key, value in keys.items()} | {HASH: UNHASHED}


def trainer(family: Family, prediction: str, rank: int) -> dict[str, str]:
    """The keys that kohya's trainer gives a LoRA of `rank`, by which AUTOMATIC1111 knows what it is
    for: any other file with a header it takes for Stable Diffusion 1.
    """
    if isinstance(family, XL):
        version = "sdxl_base_v1-0"
    else:
        velocity = "_v" if prediction == "v_prediction" else ""
        version = f"sd_v{2 if family.linear else 1}{velocity}"
    return {
        "ss_base_model_version": version,
        "ss_v2": str(version.startswith("sd_v2")),
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(rank),
    }


def seal(file: Path) -> None:
    """Put the hash of all that stands behind a file's header in the place that `UNHASHED` holds."""
    with file.open("r+b") as stream:
        length = _length(stream)
        header = stream.read(length)
        digest = hashlib.sha256()
        while block := stream.read(BLOCK):
            digest.update(block)
        if header.count(UNHASHED.encode()) != 1:
            raise BadInput(f"{file} has no one place for its hash; it was not written by an export")
        stream.seek(8)
        stream.write(header.replace(UNHASHED.encode(), b"0x" + digest.hexdigest().encode()))


def copy_with(source: Path, target: Path, metadata: Mapping[str, str]) -> None:
    """Copy a safetensors file, its tensors byte for byte, with more said in its header."""
    with source.open("rb") as old, target.open("wb") as new:
        header = json.loads(old.read(_length(old)))
        header["__metadata__"] = {**header.get("__metadata__", {}), **metadata}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # tensors stay aligned
        new.write(struct.pack("<Q", len(text)) + text)
        while block := old.read(BLOCK):
            new.write(block)
    seal(target)


def _length(stream: BinaryIO) -> int:
    (length,) = struct.unpack("<Q", stream.read(8))
    return int(length)
