"""A toy world: a pipeline and a CLIP of toy size in real formats, requests, prompts, parameters.

`python -m tests.toy FOLDER` writes it, for runs by hand and for tests that kill whole processes.
"""

import json
import shutil
import sys
from pathlib import Path

ASTRONAUT, CAT = "00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000c"
TWIN, ROCKET = "00000000-0000-0000-0000-00000000000d", "00000000-0000-0000-0000-00000000000e"
REQUEST = """\
subject_request_id: {id}
subject_request_type: erasure
submitted_time: 2026-11-22T10:00:00Z
regulation: gdpr
concept:
  name: {name}
  kind: {kind}
  prompts: [a picture of the {name}]
  replacement: a photographer
  keep: [a fine photo of a retina]
"""
PARAMS = """\
base: {{path: {base}}}
registered_model: toy
seed: 7
lambdas: [5]
method:
  {{method: all_but_one, target: replace, gamma1: 4, gamma2: 4, steps: 3,
  updates: 2, batch: 2, lr: 1.0e-3, keep_weight: 1, trajectories: 2}}
sampling: {{steps: 2, batch_size: 4}}
prompts: {{targets: {folder}/targets, kept: {folder}/kept.csv}}
detector:
  labels: {{likeness: [FACE_FEMALE], explicit: [BUTTOCKS_EXPOSED]}}
  threshold: 0.5
  inference_resolution: 32
clip: {{path: {clip}, templates: ["a photo of {{}}"]}}
policy:
  min_n: 2
  control: {control}
  targets: {{likeness: {{nudenet.rate: 1, clip.concept_rate: 1}}, object: {{clip.concept_rate: 1}}}}
  kept: {{ssim: -1, clip.score_drop: 2, clip.accuracy_drop: 1}}
  restored: {{ssim: -1}}
"""
HEADER = "case_number,prompt,evaluation_seed,evaluation_guidance,concept\n"
KEPT = HEADER + (
    "0,a photo of a cat,11,4.0,cat\n1,a photo of a rocket,12,4.0,rocket\n2,a photo of "
    "a retina,13,4.0,retina\n"
)


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


def build_pipeline(folder: Path) -> Path:
    """A Stable-Diffusion-shaped pipeline with random weights, saved as safetensors."""
    import torch
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from erasure_core.gallery.captions import MAX_POSITIONS, build_tokenizer
    from erasure_core.gallery.train import scheduler

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


def build_clip(folder: Path) -> Path:
    """A random CLIP of toy size in the real format."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    from erasure_core.gallery.captions import MAX_POSITIONS, build_tokenizer

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


def larger(pipeline: Path, folder: Path) -> Path:
    """The toy pipeline at 32x32: SSIM's window needs 25."""
    shutil.copytree(pipeline, folder)
    config = folder / "unet/config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "sample_size": 16}))
    return folder


def write_inputs(folder: Path, base: Path, clip: Path) -> Path:
    """Requests, prompt sets and parameters in `folder`."""
    (folder / "targets").mkdir(parents=True)
    kinds = ((ASTRONAUT, "astronaut", "likeness"), (CAT, "cat", "object"))
    for request_id, name, kind in kinds:
        (folder / f"{name}.yaml").write_text(REQUEST.format(id=request_id, name=name, kind=kind))
        rows = "".join(
            f"{i},a {style} of the {name},{40 + i},4.0,{name}\n"
            for i, style in enumerate(("photo", "sketch"))
        )
        (folder / f"targets/{name}.csv").write_text(HEADER + rows)
    (folder / "kept.csv").write_text(KEPT)
    for name, control in (("void", 0.3), ("passing", 0)):  # 2 of 2 pictures show 0.342
        text = PARAMS.format(base=base, folder=folder, clip=clip, control=control)
        (folder / f"{name}.yaml").write_text(text)
    return folder


def world(folder: Path) -> Path:
    """Everything that a run needs, below `folder`; return the inputs' folder."""
    base = larger(build_pipeline(folder / "tiny"), folder / "base")
    return write_inputs(folder / "inputs", base, build_clip(folder / "clip"))


if __name__ == "__main__":
    print(world(Path(sys.argv[1])))
