"""Stable Diffusion 1.4 at its real size with random weights: written once, then erased from in a
process of its own, which says what it took.

`python -m tests.slow.full_size write FOLDER`, `python -m tests.slow.full_size erase FOLDER METHOD`.
"""

import json
import resource
import sys
import time
from pathlib import Path

from tests.core.families import BETAS, CROSS_DOWN, CROSS_UP

UNET = {  # unet/config.json as published
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 2,
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": (CROSS_DOWN,) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + (CROSS_UP,) * 3,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
VAE = {  # vae/config.json
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
}
TEXT = {  # text_encoder/config.json
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
    "vocab_size": 49408,
}
PARAMETERS = 859_520_964  # of the published UNet
SETTINGS = {
    "uce": {},
    "all_but_one": {
        "target": "replace",
        "group": "xattn",
        "updates": 2,
        "batch": 1,
        "steps": 3,
        "trajectories": 1,
    },
}


def write(folder: Path) -> None:
    """Save the pipeline below `folder`."""
    import torch
    from diffusers import (
        AutoencoderKL,
        PNDMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    from erasure_core.gallery.captions import build_tokenizer

    torch.manual_seed(0)
    build_tokenizer(folder / "vocabulary")
    none = dict.fromkeys(("safety_checker", "feature_extractor", "image_encoder"))
    StableDiffusionPipeline(
        vae=AutoencoderKL(**VAE),
        text_encoder=CLIPTextModel(CLIPTextConfig(**TEXT)),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "vocabulary", model_max_length=77),
        unet=UNet2DConditionModel(**UNET),
        scheduler=PNDMScheduler.from_config(BETAS),
        requires_safety_checker=False,
        **none,
    ).save_pretrained(folder / "base")


def erase(folder: Path, method: str) -> dict[str, float]:
    """Erase one concept and draw one picture with it; what that took."""
    from erasure_core.law.concepts import Concept
    from erasure_core.methods import METHODS
    from erasure_core.network import diffusion, models
    from erasure_core.network.work import Work

    concept = Concept(
        name="astronaut",
        kind="likeness",
        prompts=("a photo of the astronaut",),
        replacement="a photographer",
        keep=("a photo of a cat",),
    )
    teacher = models.load_teacher(folder / "base")
    began = time.monotonic()
    settings = METHODS[method].Settings.model_validate(SETTINGS[method])
    delta = METHODS[method].erase(teacher, [concept], settings, Work(7))
    erased = time.monotonic()
    delta.save(folder / f"{method}.safetensors")
    with delta.applied(teacher.unet):
        picture = diffusion.sample(teacher, ["a photo of a cat"], [1], [4.0], 2, 1)
    return {
        "parameters": sum(p.numel() for p in teacher.unet.parameters()),
        "changed": len(delta.names),
        "side": picture.shape[-1],
        "erase_seconds": erased - began,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]))
    else:
        print(json.dumps(erase(Path(sys.argv[2]), sys.argv[3])))
