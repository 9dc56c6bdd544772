"""Draw what was exported in plain diffusers: a script for a process that cannot import this
project. `python -I -S plain_diffusers.py SITE_PACKAGES BASE PROMPT SEED GUIDANCE STEPS
FORM=EXPORTED=PICTURE...`.
"""

import sys

_, site_packages, base, prompt, seed, guidance, steps, *asked = sys.argv
sys.path.append(site_packages)  # without its .pth files, by which a checkout is installed

import torch  # noqa: E402
from diffusers import DDIMScheduler, StableDiffusionPipeline  # noqa: E402
from diffusers.loaders import lora_conversion_utils  # noqa: E402
from diffusers.utils import convert_unet_state_dict_to_peft  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

for ours in ("erasure_core", "tasks", "flows"):
    try:
        __import__(ours)
    except ImportError:
        continue
    sys.exit(f"{ours} can be imported here, so that this shows nothing")


def fused(pipeline: StableDiffusionPipeline, lora: str) -> StableDiffusionPipeline:
    """A LoRA added to the network by hand, as diffusers reads its keys: `load_lora_weights` needs
    peft.
    """
    read, alphas = lora_conversion_utils._convert_non_diffusers_lora_to_diffusers(load_file(lora))
    factors = convert_unet_state_dict_to_peft(read)
    scales = set(alphas.values())
    for name in [n for n in factors if n.endswith(".lora_A.weight")]:
        down, up = factors[name], factors[name.replace("lora_A", "lora_B")]
        layer = name.removeprefix("unet.").removesuffix(".lora_A.weight")
        (alpha,) = scales
        weight = pipeline.unet.get_submodule(layer).weight
        weight.data += alpha / len(down) * up @ down
    return pipeline


def loaded(form: str, exported: str) -> StableDiffusionPipeline:
    """The pipeline of an export in one form."""
    if form == "single-file":
        without = {"safety_checker": None, "feature_extractor": None}
        return StableDiffusionPipeline.from_single_file(
            exported, config=base, **without, local_files_only=True
        )
    folder = base if form == "lora" else exported
    pipeline = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    return fused(pipeline, exported) if form == "lora" else pipeline


for each in asked:
    form, exported, picture = each.split("=")
    pipeline = loaded(form, exported)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline(
        prompt,
        num_inference_steps=int(steps),
        guidance_scale=float(guidance),
        generator=torch.Generator().manual_seed(int(seed)),
    ).images[0].save(picture)
