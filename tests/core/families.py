"""Every supported row as a pipeline on disk: the published configurations with their real blocks
and depths, narrow, random weights.

What is narrowed: widths of UNet, autoencoder and text encoders, the text encoders' depth, the
latents' side. What is kept: block types, layers per block, transformers per block, heads per block,
the kind of projection, pads, activations, schedules.
"""

import json
from pathlib import Path
from typing import Any

import torch

SIDE = 4  # of the latents; pictures have 8 times as many pixels
BETAS = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "trained_betas": None,
    "clip_sample": False,
}
CROSS_DOWN, CROSS_UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
UNET_SD = {
    "layers_per_block": 2,
    "down_block_types": (CROSS_DOWN,) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + (CROSS_UP,) * 3,
    "sample_size": SIDE,
    "norm_num_groups": 4,
}
ROWS: dict[str, dict[str, Any]] = {
    "sd-1.4": {
        "scheduler": ("PNDMScheduler", {}),
        "scaling": 0.18215,
        "pads": ("<|endoftext|>",),
        "unet": {
            **UNET_SD,
            "block_out_channels": (16, 32, 64, 64),
            "attention_head_dim": 8,
            "cross_attention_dim": 24,
        },
        "text": ({"hidden_size": 24, "hidden_act": "quick_gelu"},),
    },
    "sd-2.1": {
        "scheduler": ("DDIMScheduler", {"prediction_type": "v_prediction"}),
        "scaling": 0.18215,
        "pads": ("!",),
        "unet": {
            **UNET_SD,
            "block_out_channels": (20, 40, 80, 80),
            "attention_head_dim": (5, 10, 20, 20),
            "cross_attention_dim": 32,
            "use_linear_projection": True,
            "upcast_attention": True,
        },
        "text": ({"hidden_size": 32, "hidden_act": "gelu"},),
    },
    "sd-2.1-base": {
        "scheduler": ("PNDMScheduler", {"prediction_type": "epsilon"}),
        "scaling": 0.18215,
        "pads": ("!",),
        "unet": {
            **UNET_SD,
            "block_out_channels": (20, 40, 80, 80),
            "attention_head_dim": (5, 10, 20, 20),
            "cross_attention_dim": 32,
            "use_linear_projection": True,
        },
        "text": ({"hidden_size": 32, "hidden_act": "gelu"},),
    },
    "sdxl": {
        "scheduler": (
            "EulerDiscreteScheduler",
            {
                "prediction_type": "epsilon",
                "timestep_spacing": "leading",
                "use_karras_sigmas": False,
            },
        ),
        "scaling": 0.13025,
        "pads": ("<|endoftext|>", "!"),
        "unet": {
            "layers_per_block": 2,
            "transformer_layers_per_block": (1, 2, 10),
            "block_out_channels": (20, 40, 80),
            "norm_num_groups": 4,
            "down_block_types": ("DownBlock2D", CROSS_DOWN, CROSS_DOWN),
            "up_block_types": (CROSS_UP, CROSS_UP, "UpBlock2D"),
            "attention_head_dim": (5, 10, 20),
            "use_linear_projection": True,
            "cross_attention_dim": 24 + 40,
            "sample_size": SIDE,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 40 + 6 * 8,
        },
        "text": (
            {"hidden_size": 24, "hidden_act": "quick_gelu"},
            {"hidden_size": 40, "hidden_act": "gelu", "projection_dim": 40},
        ),
    },
}


def build(row: str, folder: Path) -> Path:
    """Save the row's pipeline below `folder`; return where."""
    import diffusers
    from transformers import (
        CLIPTextConfig,
        CLIPTextModel,
        CLIPTextModelWithProjection,
        CLIPTokenizer,
    )

    from erasure_core.gallery.captions import build_tokenizer

    chosen, saved = ROWS[row], folder / row
    plain = build_tokenizer(folder / "vocabulary")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts: dict[str, Any] = {}
        for i, (pad, text) in enumerate(zip(chosen["pads"], chosen["text"], strict=True)):
            tokenizer = CLIPTokenizer.from_pretrained(
                folder / "vocabulary", pad_token=pad, model_max_length=77
            )
            config = CLIPTextConfig(
                **text,
                vocab_size=len(plain),
                intermediate_size=4 * text["hidden_size"],
                num_hidden_layers=3,
                num_attention_heads=4,
                # as published: "the highest id"
                max_position_embeddings=77,
                bos_token_id=plain.bos_token_id,
                eos_token_id=2,
            )
            ending = "" if i == 0 else "_2"
            encoder = (CLIPTextModel if i == 0 else CLIPTextModelWithProjection)(config)
            parts |= {f"tokenizer{ending}": tokenizer, f"text_encoder{ending}": encoder}
        parts["vae"] = diffusers.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 16, 16, 16),
            layers_per_block=2,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=8 * SIDE,
            scaling_factor=chosen["scaling"],
        )
        parts["unet"] = diffusers.UNet2DConditionModel(**chosen["unet"])
        for part in parts.values():  # fresh weights are too small to tell prompts apart
            for parameter in part.parameters() if isinstance(part, torch.nn.Module) else ():
                parameter.data += 0.02 * torch.randn_like(parameter)
    name, schedule = chosen["scheduler"]
    parts["scheduler"] = getattr(diffusers, name).from_config({**BETAS, **schedule})
    if row == "sdxl":
        pipeline = diffusers.StableDiffusionXLPipeline(**parts, add_watermarker=False)
    else:
        none = {
            "safety_checker": None,
            "feature_extractor": None,
            "image_encoder": None,
            "requires_safety_checker": False,
        }
        pipeline = diffusers.StableDiffusionPipeline(**parts, **none)
    pipeline.save_pretrained(saved)
    published = {"_class_name": name, **BETAS, **schedule}  # no key that today's library would add
    (saved / "scheduler/scheduler_config.json").write_text(json.dumps(published))
    return saved


def plain_pipeline(folder: Path) -> Any:
    """The folder in diffusers' own hands, sampling by DDIM."""
    import diffusers

    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, use_safetensors=True)
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def plain_picture(
    pipeline: Any, prompt: str, seed: int, guidance: float, steps: int
) -> torch.Tensor:
    """What it draws: (3, h, w) in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    drawn = pipeline(
        prompt,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=generator,
        output_type="pt",
    ).images
    return drawn[0]
