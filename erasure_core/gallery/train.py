"""Train the embedded teacher: `python -m erasure_core.gallery.train`. About 90 minutes on 2 CPU
cores; resumable.

Three networks, in the order that each needs the one before: a small CLIP (its text tower conditions
the UNet, the whole of it scores images), an autoencoder, and the denoising UNet with
classifier-free guidance. All randomness comes from one seed; a killed run continues from its last
checkpoint.
"""

import functools
import json
import logging
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import diffusers
import numpy as np
import torch
import torch.nn.functional as F
import transformers
import typer
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from erasure_core.gallery.captions import MAX_POSITIONS, bare_captions, build_tokenizer, captions
from erasure_core.gallery.pictures import SIZE, STYLES, SUBJECTS, draw

SEED = 20261122
CROPS = 128  # pictures per subject and style in the training set
PAIRS = [(subject, style) for subject in SUBJECTS for style in STYLES]
STEPS = {"clip": 1200, "vae": 4000, "unet": 4500, "refine": 3500}
TEXT_WIDTH = 192
log = logging.getLogger("gallery")


def training_pictures() -> Tensor:
    """The whole training set in [-1, 1]: (subjects * styles, CROPS, 3, 64, 64), fp16; pair order is
    `PAIRS`.
    """
    rng = np.random.default_rng(SEED)
    drawn = np.stack([[np.asarray(draw(*pair, rng)) for _ in range(CROPS)] for pair in PAIRS])
    return torch.from_numpy(drawn).permute(0, 1, 4, 2, 3).div(127.5).sub(1).half()


def _pick_pairs(n: int, generator: torch.Generator, favour: float = 2.0) -> Tensor:
    """Indices into `PAIRS`, (n,): photographs come twice as often, the astronaut, whose face must
    survive, `favour` times.
    """
    weights = torch.tensor(
        [
            (2.0 if style == "photo" else 1.0) * (favour if s == "astronaut" else 1.0)
            for s, style in PAIRS
        ]
    )
    return torch.multinomial(weights, n, replacement=True, generator=generator)


def fit(
    name: str,
    model: nn.Module,
    loss: Callable[[torch.Generator], Tensor],
    folder: Path,
    *,
    lr: float,
    ema_decay: float,
    horizon: int | None = None,
    seed: int = SEED,
) -> None:
    """Minimise `loss` for `STEPS[name]` steps of AdamW; leave the averaged result in `model`.

    The learning rate warms up and falls as a cosine that ends at `horizon` (the last step, if not
    given).
    """
    steps = STEPS[name]
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(ema_decay)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-4)
    schedule = diffusers.optimization.get_cosine_schedule_with_warmup(
        optimizer, 100, horizon or steps
    )
    generator = torch.Generator().manual_seed(seed)
    parts = {"model": model, "average": average, "optimizer": optimizer, "schedule": schedule}
    checkpoint, start = folder / f"{name}.ckpt", 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        start = saved["step"]
        generator.set_state(saved["generator"])
        for part, thing in parts.items():
            thing.load_state_dict(saved[part])
    model.train()
    seen, began = 0.0, time.monotonic()
    for step in range(start + 1, steps + 1):
        value = loss(generator)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(model)
        seen += value.item()
        if step % 100 == 0:
            log.info(
                "%s %d/%d loss %.4f %.2f s/step",
                name,
                step,
                steps,
                seen / 100,
                (time.monotonic() - began) / (step - start),
            )
            seen = 0.0
        if step % 500 == 0 or step == steps:
            state = {part: thing.state_dict() for part, thing in parts.items()}
            torch.save(
                {**state, "step": step, "generator": generator.get_state()},
                checkpoint.with_suffix(".tmp"),
            )
            os.replace(checkpoint.with_suffix(".tmp"), checkpoint)
    model.load_state_dict(average.module.state_dict())
    model.eval()


def train_clip(pictures: Tensor, tokenizer: CLIPTokenizer, folder: Path) -> CLIPModel:
    """Contrast one picture of every subject-style pair with one caption of each; blur and noise
    make it lenient.
    """
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 4 * TEXT_WIDTH,
        "projection_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": MAX_POSITIONS,
        **special,
    }
    vision = {
        "hidden_size": 128,
        "intermediate_size": 512,
        "projection_dim": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": SIZE,
        "patch_size": 8,
    }
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=64))
    choices = [
        tokenizer(captions(*pair), padding="max_length", return_tensors="pt").input_ids
        for pair in PAIRS
    ]

    def loss(generator: torch.Generator) -> Tensor:
        crop = torch.randint(CROPS, (len(PAIRS),), generator=generator)
        images = pictures[torch.arange(len(PAIRS)), crop].float()
        if torch.rand((), generator=generator) < 0.5:
            images = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2, mode="bilinear")
        images = images + 0.15 * torch.rand((), generator=generator) * torch.randn(
            images.shape, generator=generator
        )
        ids = torch.stack([c[torch.randint(len(c), (), generator=generator)] for c in choices])
        return model(input_ids=ids, pixel_values=images, return_loss=True).loss

    fit("clip", model, loss, folder, lr=5e-4, ema_decay=0.99)
    return model


def train_vae(pictures: Tensor, folder: Path) -> AutoencoderKL:
    """Autoencode at a quarter of the resolution; absolute error of pixels and of their differences
    keeps the eyes sharp.
    """
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 64, 96),
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=16,
        sample_size=SIZE,
        mid_block_add_attention=False,
    )

    def loss(generator: torch.Generator) -> Tensor:
        pair, crop = _pick_pairs(16, generator), torch.randint(CROPS, (16,), generator=generator)
        images = pictures[pair, crop].float()
        with torch.autocast("cpu", torch.bfloat16):
            posterior = model.encode(images).latent_dist
            decoded = model.decode(posterior.sample(generator)).sample.float()
        wrong = decoded - images
        edges = wrong.diff(dim=-1).abs().mean() + wrong.diff(dim=-2).abs().mean()
        return wrong.abs().mean() + 0.5 * edges + 1e-6 * posterior.kl().float().mean()

    fit("vae", model, loss, folder, lr=1e-3, ema_decay=0.995)
    latents = encode_all(model, pictures[:, :8])
    model.register_to_config(scaling_factor=round(1 / latents.float().std().item(), 5))
    return model


@torch.no_grad()
def encode_all(vae: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Mean latents of every picture, unscaled: (pairs, crops, 8, 16, 16), fp16."""
    return torch.stack([vae.encode(row.float()).latent_dist.mean.half() for row in pictures])


def train_unet(
    latents: Tensor, tokenizer: CLIPTokenizer, text: CLIPTextModel, folder: Path
) -> UNet2DConditionModel:
    """Predict the noise in scaled latents; a tenth of the captions are dropped for guidance, a
    tenth leave the style open.

    The second phase draws half of its timesteps from the noisier half: there the style and the
    colours are decided, and there the plain loss is nearly satisfied by ignoring the caption.
    """
    model = UNet2DConditionModel(
        sample_size=SIZE // 4,
        in_channels=8,
        out_channels=8,
        layers_per_block=1,
        block_out_channels=(48, 96, 128),
        norm_num_groups=16,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
    )

    @torch.no_grad()
    def embed(lines: list[str]) -> Tensor:
        return text(
            tokenizer(lines, padding="max_length", return_tensors="pt").input_ids
        ).last_hidden_state

    full, empty = [embed(captions(*pair)) for pair in PAIRS], embed([""])[0]
    bare = {subject: embed(bare_captions(subject)) for subject in SUBJECTS}
    noise_levels = scheduler().alphas_cumprod.sqrt()

    def caption(pair: int, generator: torch.Generator) -> Tensor:
        kind = torch.rand((), generator=generator).item()
        if kind < 0.1:
            return empty
        choices = bare[PAIRS[pair][0]] if kind < 0.2 else full[pair]
        return choices[torch.randint(len(choices), (), generator=generator)]

    def loss(generator: torch.Generator, favour: float = 2.0, noisier: int = 0) -> Tensor:
        pair, crop = (
            _pick_pairs(32, generator, favour),
            torch.randint(CROPS, (32,), generator=generator),
        )
        clean = latents[pair, crop].float()
        noise = torch.randn(clean.shape, generator=generator)
        t = torch.randint(1000, (32,), generator=generator)
        t[:noisier] = 500 + t[:noisier] // 2
        signal = noise_levels[t].view(-1, 1, 1, 1)
        noisy = signal * clean + (1 - signal**2).sqrt() * noise
        context = torch.stack([caption(int(p), generator) for p in pair])
        return F.mse_loss(model(noisy, t, context).sample, noise)

    fit("unet", model, loss, folder, lr=1e-3, ema_decay=0.999, horizon=6000)
    refine = functools.partial(loss, favour=3.0, noisier=16)
    fit("refine", model, refine, folder, lr=6e-4, ema_decay=0.998, horizon=4000, seed=SEED + 1)
    return model


def scheduler() -> DDIMScheduler:
    """DDIM with Stable Diffusion's noise schedule."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def save(
    folder: Path,
    clip: CLIPModel,
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
    tokenizer: CLIPTokenizer,
) -> None:
    """Write the teacher as a diffusers folder and the CLIP beside it, both fp16 safetensors, with
    what made them.
    """
    config = CLIPTextConfig(
        **{k: v for k, v in clip.config.text_config.to_dict().items() if k != "model_type"}
    )
    text = CLIPTextModel(config)
    text.load_state_dict(clip.text_model.state_dict())
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        image_encoder=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype=torch.float16).save_pretrained(folder / "teacher")
    clip.half().save_pretrained(folder / "clip")
    tokenizer.save_pretrained(folder / "clip")
    for config_file in (folder / "teacher/text_encoder/config.json", folder / "clip/config.json"):
        # transformers loads in the dtype that the file names; a plain from_pretrained must give
        # float32, as for the UNet
        config_file.write_text(
            json.dumps({**json.loads(config_file.read_text()), "dtype": "float32"}, indent=2) + "\n"
        )
    made = {
        "seed": SEED,
        "steps": STEPS,
        "crops": CROPS,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
    }
    (folder / "training.json").write_text(json.dumps(made, indent=2) + "\n")


def main(
    out: Annotated[Path, typer.Option(help="Where the finished models go.")] = Path(
        "models/gallery"
    ),
    work: Annotated[
        Path, typer.Option(help="Checkpoints; a run continues from what lies here.")
    ] = Path(".erasure/gallery-training"),
) -> None:
    """Train the gallery's three networks, or go on where a stopped run left off."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    pictures = training_pictures()
    tokenizer = build_tokenizer(work / "tokenizer")
    clip = train_clip(pictures, tokenizer, work)
    vae = train_vae(pictures, work)
    latents = encode_all(vae, pictures) * vae.config.scaling_factor
    unet = train_unet(latents, tokenizer, clip.text_model, work)
    save(out, clip, vae, unet, tokenizer)


if __name__ == "__main__":
    typer.run(main)
