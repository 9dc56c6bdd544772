"""Folders as they are published: their configurations key by key, in the blocks and depths of the
real networks, narrow, with random weights (`families.build`).

What a published configuration says that the library of today would not write is laid over what it
writes: parts that are named and absent, classes that are gone, precisions, pickles.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from tests.core.families import build

CHECKER = ["stable_diffusion", "StableDiffusionSafetyChecker"]
OLD_FEATURES = ["transformers", "CLIPFeatureExtractor"]  # no class of transformers 5
FEATURES = {
    "crop_size": 224,
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "size": 224,
}
HALF = {"torch_dtype": "float16", "transformers_version": "4.21.0.dev0"}
# name -> the row of `families` whose network it has, keys of its model_index.json, of each part's
# configuration, and the folders beside
PUBLISHED: dict[str, dict[str, Any]] = {
    "sd-1.4": {
        "row": "sd-1.4",
        "index": {
            "_diffusers_version": "0.2.2",
            "safety_checker": CHECKER,
            "feature_extractor": OLD_FEATURES,
        },
        "text_encoder": {"torch_dtype": "float32", "transformers_version": "4.22.0.dev0"},
        "folders": ("safety_checker", "feature_extractor"),
    },
    "sd-1.5": {
        "row": "sd-1.4",
        "index": {
            "_diffusers_version": "0.6.0",
            "safety_checker": CHECKER,
            "feature_extractor": ["transformers", "CLIPImageProcessor"],
        },
        "text_encoder": {"torch_dtype": "float32", "transformers_version": "4.22.0.dev0"},
        "folders": ("safety_checker", "feature_extractor"),
    },
    "sd-1.5 fine-tune": {
        "row": "sd-1.4",
        "index": {
            "_diffusers_version": "0.18.0.dev0",
            "safety_checker": CHECKER,
            "feature_extractor": ["transformers", "CLIPImageProcessor"],
            "requires_safety_checker": True,
        },
        "text_encoder": HALF,
        "folders": ("safety_checker", "feature_extractor"),
    },
    "dreambooth": {
        "row": "sd-1.4",
        "index": {
            "_diffusers_version": "0.12.0",
            "safety_checker": [None, None],
            "feature_extractor": OLD_FEATURES,  # named, and no folder of it
            "requires_safety_checker": None,
        },
        "text_encoder": HALF,
        "folders": (),
    },
    "sd-2.1": {
        "row": "sd-2.1",
        "index": {
            "_diffusers_version": "0.10.0.dev0",
            "safety_checker": [None, None],
            "feature_extractor": OLD_FEATURES,
            "requires_safety_checker": False,
        },
        "text_encoder": {"torch_dtype": "float32", "transformers_version": "4.25.0.dev0"},
        "folders": ("feature_extractor",),
    },
    "sdxl": {
        "row": "sdxl",
        "index": {"_diffusers_version": "0.19.0.dev0"},
        "text_encoder": {"torch_dtype": "float16", "transformers_version": "4.32.0.dev0"},
        "text_encoder_2": {"torch_dtype": "float16", "transformers_version": "4.32.0.dev0"},
        "folders": (),
    },
}
TURBO_SCHEDULER = {  # of sdxl-turbo, which has sdxl's network
    "_class_name": "EulerAncestralDiscreteScheduler",
    "_diffusers_version": "0.24.0.dev0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "interpolation_type": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "trailing",
    "trained_betas": None,
}


def lay_over(file: Path, keys: dict[str, Any]) -> None:
    """Set keys of a JSON file; None takes a key out."""
    settings = {**json.loads(file.read_text()), **keys}
    left = {key: value for key, value in settings.items() if value is not None}
    file.write_text(json.dumps(left))


def publish(name: str, folder: Path) -> Path:
    """The published folder `name` below `folder`; return where."""
    says = PUBLISHED[name]
    base = build(says["row"], folder)
    lay_over(base / "model_index.json", says["index"])
    for part in ("text_encoder", "text_encoder_2"):
        if part in says:
            lay_over(base / part / "config.json", {"dtype": None, **says[part]})
    if "safety_checker" in says["folders"]:  # its weights in pickle alone
        (base / "safety_checker").mkdir()
        (base / "safety_checker/config.json").write_text('{"architectures": ["X"]}')
        (base / "safety_checker/pytorch_model.bin").write_bytes(b"pickle")
    if "feature_extractor" in says["folders"]:
        (base / "feature_extractor").mkdir()
        (base / "feature_extractor/preprocessor_config.json").write_text(json.dumps(FEATURES))
    return base


def turbo(folder: Path) -> Path:
    """SDXL-turbo: XL's network, distilled to one step, under XL's pipeline class."""
    base = build("sdxl", folder)
    shutil.rmtree(base / "scheduler")
    (base / "scheduler").mkdir()
    (base / "scheduler/scheduler_config.json").write_text(json.dumps(TURBO_SCHEDULER))
    scheduler = ["diffusers", "EulerAncestralDiscreteScheduler"]
    lay_over(base / "model_index.json", {"scheduler": scheduler})
    return base
