"""Load a teacher, pinned and checked, from a diffusers folder or a hub id. Safetensors only; pickle weights are refused.

The only importer of diffusers' pipelines. Supported: the Stable Diffusion 1.x layout (one CLIP text encoder, UNet with
cross-attention, epsilon prediction), at any width. Anything else is refused by name before weights are read.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from erasure_core.errors import BadInput

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

SUPPORTED = "StableDiffusionPipeline with prediction_type epsilon"
PICKLED = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
PARTS = ("unet", "vae", "text_encoder")


@dataclass(frozen=True, slots=True)
class Teacher:
    """The parts of a text-to-image model that erasure works on. All in eval mode, float32 unless asked otherwise."""

    tokenizer: "CLIPTokenizer"
    text_encoder: "CLIPTextModel"
    unet: "UNet2DConditionModel"
    vae: "AutoencoderKL"
    scheduler: "DDIMScheduler"  # its config is read; every walk makes its own copy

    @property
    def size(self) -> int:
        """Side of its pictures in pixels."""
        return int(self.unet.config.sample_size * 2 ** (len(self.vae.config.block_out_channels) - 1))


def locate(path_or_id: str, revision: str | None = None) -> Path:
    """The local folder of a base: the folder itself, or the pinned snapshot of a hub id.

    Raises:
        BadInput: If it is neither, the hub cannot be reached, or a hub id comes without a revision to pin it.
    """
    folder = Path(path_or_id)
    if folder.is_dir():
        return folder
    if not (path_or_id.count("/") == 1 and not path_or_id.startswith((".", "/", "~"))):
        raise BadInput(f"base {path_or_id!r} is neither an existing folder nor a hub id (owner/name); give one of the two")
    if revision is None:
        raise BadInput(f"hub id {path_or_id!r} needs base.revision (a commit hash), so that the same bytes are used again")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        wanted = ["*.json", "*.txt", "*.model", "*.safetensors"]
        return Path(snapshot_download(path_or_id, revision=revision, allow_patterns=wanted))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as fault:
        raise BadInput(f"hub id {path_or_id!r} at {revision} could not be fetched ({type(fault).__name__}); give a local folder") from fault


def check_folder(folder: Path) -> None:
    """Refuse a base before any work: wrong family, pickle weights, missing or truncated safetensors.

    Raises:
        BadInput: Naming the file at fault and what is allowed.
    """
    index = folder / "model_index.json"
    if not index.is_file():
        raise BadInput(f"{folder} has no model_index.json; a base is a diffusers folder ({SUPPORTED})")
    try:
        family = json.loads(index.read_text()).get("_class_name")
    except json.JSONDecodeError as fault:
        raise BadInput(f"{index} is not JSON ({fault}); restore the base") from fault
    if family != "StableDiffusionPipeline":
        raise BadInput(f"{folder} is a {family}; supported: {SUPPORTED}")
    for part in PARTS:
        pickled = sorted(f.name for f in (folder / part).glob("*") if f.suffix in PICKLED)
        weights = sorted((folder / part).glob("*.safetensors"))
        if not weights:
            found = f"only pickle weights ({', '.join(pickled)})" if pickled else "no weights"
            raise BadInput(f"{folder / part} holds {found}; convert them to safetensors first, pickle is never loaded")
        for file in weights:
            try:
                with safe_open(file, framework="pt") as opened:
                    opened.keys()
            except (OSError, SafetensorError) as fault:
                raise BadInput(f"{file} is not a whole safetensors file ({fault}); restore the base") from fault


def load_tokenizer(folder: Path) -> "CLIPTokenizer":
    """The tokenizer of a base, without its weights."""
    from transformers import CLIPTokenizer

    tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    return tokenizer


def load_teacher(path: Path | str, *, revision: str | None = None, device: str = "cpu") -> Teacher:
    """Load a base in float32, ready to be erased from.

    Raises:
        BadInput: If the folder is not acceptable; see `check_folder`.
    """
    folder = locate(str(path), revision)
    check_folder(folder)
    import torch
    from diffusers import DDIMScheduler, StableDiffusionPipeline
    from diffusers.utils import logging

    logging.disable_progress_bar()
    pipeline = StableDiffusionPipeline.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, safety_checker=None, requires_safety_checker=False
    )
    scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    if scheduler.config.prediction_type != "epsilon":
        raise BadInput(f"{folder} predicts {scheduler.config.prediction_type}; supported: {SUPPORTED}")
    pipeline.to(device)
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        part.eval().requires_grad_(False)
    return Teacher(pipeline.tokenizer, pipeline.text_encoder, pipeline.unet, pipeline.vae, scheduler)
