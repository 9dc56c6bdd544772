"""Fixtures for every test: a real pipeline at toy size, and the embedded teacher."""

import copy
import os
from pathlib import Path

import pytest

# one thread: toy networks are slower on two, and tests may share the machine
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
for name, value in {**QUIET, "OMP_NUM_THREADS": "1"}.items():
    os.environ.setdefault(name, value)

ROOT = Path(__file__).parents[1]


def tiny_unet_config() -> dict:
    """A UNet of two levels with cross-attention; 16x16 latents of 4 channels."""
    return {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "layers_per_block": 1,
        "block_out_channels": (8, 16),
        "norm_num_groups": 4,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 32,
        "attention_head_dim": 2,
    }


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable-Diffusion-shaped pipeline with random weights, saved as safetensors. Read-only by
    convention.
    """
    import torch
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from erasure_core.gallery.captions import MAX_POSITIONS, build_tokenizer
    from erasure_core.gallery.train import scheduler

    folder = tmp_path_factory.mktemp("tiny")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = build_tokenizer(folder / "vocabulary")
        config = CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=MAX_POSITIONS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        text = CLIPTextModel(config)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 8),
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=16,
            mid_block_add_attention=False,
        )
        unet = UNet2DConditionModel(**tiny_unet_config())
        StableDiffusionPipeline(
            vae=vae,
            text_encoder=text,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler(),
            safety_checker=None,
            feature_extractor=None,
            image_encoder=None,
            requires_safety_checker=False,
        ).save_pretrained(folder / "pipeline")
    return folder / "pipeline"


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIP of toy size in the real format. Read-only by convention."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    from erasure_core.gallery.captions import MAX_POSITIONS, build_tokenizer

    folder = tmp_path_factory.mktemp("clip")
    tokenizer = build_tokenizer(folder)
    special = {
        f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")
    }
    small = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "projection_dim": 12,
    }
    text = {
        **small,
        **special,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": MAX_POSITIONS,
    }
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = CLIPModel(
            CLIPConfig(
                text_config=text,
                vision_config={**small, "image_size": 64, "patch_size": 16},
                projection_dim=12,
            )
        )
        for parameter in model.parameters():
            parameter.data += 0.3 * torch.randn_like(
                parameter
            )  # fresh weights are too small to tell pictures apart
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def _loaded_tiny(tiny_folder: Path):
    from erasure_core.network.models import load_teacher

    return load_teacher(tiny_folder)


@pytest.fixture
def tiny_teacher(_loaded_tiny):
    """A fresh copy of the toy pipeline as a Teacher: what a test does to it, no other test sees."""
    return copy.deepcopy(_loaded_tiny)


@pytest.fixture
def astronaut():
    """The concept that the toy pipeline is asked to forget."""
    from erasure_core.law.concepts import Concept

    return Concept(
        name="astronaut",
        kind="likeness",
        prompts=("a photo of the astronaut", "astronaut"),
        replacement="a photographer",
        keep=("a photo of a cat", "a sketch of a rocket"),
    )


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new MLflow database, to be copied to `<state folder>/mlflow.db`: making one costs seconds
    of schema migrations.
    """
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file
