"""Load a teacher, pinned and checked, from a diffusers folder or a hub id. Safetensors only; pickle
weights are refused.

The only importer of diffusers' pipelines. `FAMILIES` declares what is supported, at any width;
anything else is refused by name before weights are read. What differs between families is in
`Family` and its subclasses, and nowhere else.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from safetensors import SafetensorError, safe_open

from erasure_core.errors import BadInput
from erasure_core.network import bases
from erasure_core.network.bases import read_json
from erasure_core.network.weights import not_finite

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from torch import Tensor
    from transformers import CLIPTextModel, CLIPTokenizer


@dataclass(frozen=True)
class Family:
    """One row of what is supported, and its adapter: how it reads prompts and what its network is
    told besides.

    Another UNet family is one more subclass: its pipeline's class, its pairs of tokenizer and text
    encoder, `encode` and `added`. A transformer that reads text by joint attention (Stable
    Diffusion 3, Flux) would need three things more. In `layers`, groups of weights that only text
    passes through: its blocks have no `attn2`, but `add_k_proj` and `add_v_proj`. In
    `diffusion.predict_noise`, noise from the velocity v = eps - x_0 that it predicts at z = (1 - s)
    x_0 + s eps, which is eps = z + (1 - s) v. In `diffusion.denoise`, steps along s in place of
    DDIM's.
    """

    name: str
    linear: bool  # its transformers' projections are linear, not 1x1 convolutions
    predicts: tuple[str, ...]

    pipeline: ClassVar[str] = "StableDiffusionPipeline"
    readers: ClassVar[tuple[tuple[str, str], ...]] = (("tokenizer", "text_encoder"),)
    addition: ClassVar[str | None] = (
        None  # what its UNet takes beside time and text, as its configuration calls it
    )

    @property
    def parts(self) -> tuple[str, ...]:
        """Folders that hold weights."""
        return "unet", "vae", *(encoder for _, encoder in self.readers)

    @property
    def tokenizers(self) -> tuple[str, ...]:
        """Folders that hold tokenizers."""
        return tuple(tokenizer for tokenizer, _ in self.readers)

    def encode(
        self, teacher: "Teacher", prompts: Sequence[str], ids: Sequence["Tensor"]
    ) -> "tuple[Tensor, Tensor | None]":
        """What the network is told about `prompts`, whose tokens are `ids`, one (n, tokens) for
        each tokenizer.

        Returns:
            The states that cross-attention reads, (n, tokens, d_text), and, where the family has
            one, an embedding of each whole prompt, (n, d_pooled).
        """
        return teacher.text_encoder(ids[0]).last_hidden_state, None

    def added(self, teacher: "Teacher", pooled: "Tensor | None") -> "dict[str, Tensor]":
        """What the network takes beside noise, time and states; diffusers' `added_cond_kwargs`."""
        return {}


class XL(Family):
    """Two text encoders side by side, the second's embedding of the whole prompt, and the picture's
    size.
    """

    pipeline = "StableDiffusionXLPipeline"
    readers = (("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2"))
    addition = "text_time"

    def encode(
        self, teacher: "Teacher", prompts: Sequence[str], ids: Sequence["Tensor"]
    ) -> "tuple[Tensor, Tensor | None]":
        """Penultimate states of both encoders; where the base asks for it, the empty prompt is all
        zeros, as in its training.
        """
        import torch

        read = [
            encoder(i, output_hidden_states=True)
            for encoder, i in zip(teacher.text_encoders, ids, strict=True)
        ]
        states, pooled = (
            torch.cat([r.hidden_states[-2] for r in read], dim=-1),
            read[-1].text_embeds,
        )
        if teacher.zeros_for_empty:
            worded = torch.tensor([bool(prompt) for prompt in prompts], device=states.device)
            states, pooled = states * worded[:, None, None], pooled * worded[:, None]
        return states, pooled

    def added(self, teacher: "Teacher", pooled: "Tensor | None") -> "dict[str, Tensor]":
        """The embedding, and the ids of an uncropped picture of the base's own size: original size,
        crop, target size.
        """
        if pooled is None:
            raise ValueError(
                f"{self.name} needs the pooled embedding of each prompt; change a "
                f"context with dataclasses.replace"
            )
        ids = pooled.new_tensor([teacher.size, teacher.size, 0, 0, teacher.size, teacher.size])
        return {"text_embeds": pooled, "time_ids": ids.expand(len(pooled), -1)}


FAMILIES = (
    Family("Stable Diffusion 1.x", linear=False, predicts=("epsilon",)),
    Family("Stable Diffusion 2.x", linear=True, predicts=("epsilon", "v_prediction")),
    XL("Stable Diffusion XL", linear=True, predicts=("epsilon",)),
)
_JOINT = (
    "it reads text by joint attention, so that no cross-attention is there to be edited, "
    "and predicts a velocity between picture"
    " and noise, not noise; erasure_core.network.models.Family says what an adapter "
    "would have to offer"
)
WHY_NOT = {
    "StableDiffusion3": _JOINT,
    "Flux": _JOINT,
}  # by what the name of the pipeline's class begins with


def supported() -> str:
    """The families, for people."""
    return "; ".join(
        f"{f.name} ({f.pipeline} with prediction_type {' or '.join(f.predicts)})" for f in FAMILIES
    )


@dataclass(frozen=True, slots=True)
class Teacher:
    """The parts of a text-to-image model that erasure works on. All in eval mode, float32 unless
    asked otherwise.
    """

    family: Family
    tokenizers: "tuple[CLIPTokenizer, ...]"
    text_encoders: "tuple[CLIPTextModel, ...]"  # one for each tokenizer
    unet: "UNet2DConditionModel"
    vae: "AutoencoderKL"
    scheduler: "DDIMScheduler"  # its config is read; every trajectory has its own copy
    zeros_for_empty: bool = False  # the empty prompt's states are zeros, whatever the encoders say

    @property
    def tokenizer(self) -> "CLIPTokenizer":
        """The first tokenizer; `Context.ids` are its tokens."""
        return self.tokenizers[0]

    @property
    def text_encoder(self) -> "CLIPTextModel":
        """The first text encoder."""
        return self.text_encoders[0]

    @property
    def size(self) -> int:
        """Side of its pictures in pixels."""
        return int(
            self.unet.config.sample_size * 2 ** (len(self.vae.config.block_out_channels) - 1)
        )


def copied(teacher: Teacher) -> Teacher:
    """A teacher whose UNet is a copy, to be edited."""
    return replace(teacher, unet=copy.deepcopy(teacher.unet))


def locate(path_or_id: str, revision: str | None = None) -> Path:
    """The local folder of a base: the folder itself, or the pinned snapshot of a hub id.

    Raises:
        BadInput: If it is neither, the hub cannot be reached, or a hub id comes without a revision
            to pin it.
    """
    folder = Path(path_or_id)
    if folder.is_dir():
        return folder
    if not (path_or_id.count("/") == 1 and not path_or_id.startswith((".", "/", "~"))):
        raise BadInput(
            f"base {path_or_id!r} is neither an existing folder nor a hub id "
            f"(owner/name); give one of the two"
        )
    if revision is None:
        raise BadInput(
            f"hub id {path_or_id!r} needs base.revision (a commit hash), so that the "
            f"same bytes are used again"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        read = [f"{part}/*.{end}" for part in bases.SETTINGS for end in ("json", "txt")]
        patterns = [bases.INDEX, *read, *(f"{part}/*.safetensors" for part in bases.WEIGHTS)]
        variants = ["*.fp16.*", "*.non_ema.*"]
        return Path(
            snapshot_download(
                path_or_id, revision=revision, allow_patterns=patterns, ignore_patterns=variants
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as fault:
        raise BadInput(
            f"hub id {path_or_id!r} at {revision} could not be fetched "
            f"({type(fault).__name__}); give a local folder"
        ) from fault


def check_folder(folder: Path) -> Family:
    """Refuse a base before any work: unknown family, pickle weights, missing or truncated
    safetensors. Return its family.

    Raises:
        BadInput: Naming the file at fault and what is allowed.
    """
    family = _family(folder)
    named = bases.named_parts(read_json(folder / bases.INDEX))
    if absent := sorted({*family.parts, *family.tokenizers, "scheduler"} - named):
        raise BadInput(f"{folder}/{bases.INDEX} names no {', '.join(absent)}; restore the base")
    for file in bases.loaded_files(folder).values():
        if file.suffix == ".safetensors":
            _check_whole(file)
    return family


def _family(folder: Path) -> Family:
    """The row of `FAMILIES` that a folder belongs to, from its configurations alone."""
    if not (folder / "model_index.json").is_file():
        raise BadInput(
            f"{folder} has no model_index.json; a base is a diffusers folder of {supported()}"
        )
    pipeline = str(read_json(folder / "model_index.json").get("_class_name"))
    if pipeline not in {family.pipeline for family in FAMILIES}:
        why = next(
            (f": {reason}" for name, reason in WHY_NOT.items() if pipeline.startswith(name)), ""
        )
        raise BadInput(f"{folder} is a {pipeline}{why}; supported: {supported()}")
    unet, schedule = (
        read_json(folder / "unet/config.json"),
        read_json(folder / "scheduler/scheduler_config.json"),
    )
    linear, predicts = (
        bool(unet.get("use_linear_projection", False)),
        schedule.get("prediction_type", "epsilon"),
    )
    rows = [
        f
        for f in FAMILIES
        if (f.pipeline, f.linear) == (pipeline, linear) and predicts in f.predicts
    ]
    if not rows:
        raise BadInput(
            f"{folder} is a {pipeline} with {'linear' if linear else '1x1'} projections "
            f"that predicts {predicts}; supported: {supported()}"
        )
    family = rows[0]
    plain = {
        key: None
        for key in (
            "class_embed_type",
            "num_class_embeds",
            "time_cond_proj_dim",
            "encoder_hid_dim_type",
        )
    }
    vae = read_json(folder / "vae/config.json")
    _check_config(
        folder / "unet",
        unet,
        {
            **plain,
            "addition_embed_type": family.addition,
            "in_channels": vae.get("latent_channels", 4),
        },
    )
    _check_config(
        folder / "vae", vae, {"latents_mean": None, "latents_std": None, "shift_factor": None}
    )
    if "beta_schedule" not in schedule:
        raise BadInput(
            f"{folder}/scheduler is a {schedule.get('_class_name')} without a "
            f"beta_schedule, which DDIM cannot follow; give one that has it"
        )
    if (
        schedule.get("rescale_betas_zero_snr")
        and schedule.get("timestep_spacing", "leading") != "leading"
    ):
        raise BadInput(
            f"{folder}/scheduler starts its trajectories where no signal is left "
            f"(rescale_betas_zero_snr with timestep_spacing "
            f"{schedule['timestep_spacing']}); noise predicted there says nothing of the "
            f"picture; set timestep_spacing to leading"
        )
    return family


def _check_config(folder: Path, config: Mapping[str, Any], supported: Mapping[str, Any]) -> None:
    for key, value in supported.items():
        if config.get(key) != value:
            raise BadInput(
                f"{folder}/config.json has {key}={config.get(key)!r}, supported is "
                f"{value!r}; this is another kind of model"
            )


def _check_whole(file: Path) -> None:
    try:
        with safe_open(file, framework="pt") as opened:
            bad = not_finite((name, opened.get_tensor(name)) for name in opened.keys())  # noqa: SIM118 - safe_open is no mapping
    except (OSError, SafetensorError) as fault:
        raise BadInput(
            f"{file} is not a whole safetensors file ({fault}); restore the base"
        ) from fault
    if bad:
        raise BadInput(f"{file}: {bad!r} is NaN or infinite; restore the base")


def load_tokenizers(folder: Path) -> "tuple[CLIPTokenizer, ...]":
    """Every tokenizer of a base, without its weights."""
    from transformers import CLIPTokenizer

    with bases.as_loaded(folder) as view:
        return tuple(
            CLIPTokenizer.from_pretrained(view / name, local_files_only=True)
            for name in _family(folder).tokenizers
        )


def load_tokenizer(folder: Path) -> "CLIPTokenizer":
    """The first tokenizer of a base, without its weights."""
    return load_tokenizers(folder)[0]


def text_reader(folder: Path) -> "Callable[[Sequence[str]], Tensor]":
    """What reads prompts for a base, by its first text encoder alone: prompts -> text states,
    (n, tokens, d).
    """
    import torch
    from transformers import CLIPTextModel

    part = _family(folder).readers[0][1]
    tokenizer = load_tokenizer(folder)
    with bases.as_loaded(folder) as view:
        encoder = CLIPTextModel.from_pretrained(
            view / part, dtype=torch.float32, local_files_only=True, use_safetensors=True
        ).eval()

    @torch.no_grad()
    def read(prompts: Sequence[str]) -> "Tensor":
        ids = tokenizer(list(prompts), padding="max_length", truncation=True, return_tensors="pt")
        states: Tensor = encoder(ids.input_ids).last_hidden_state
        return states

    return read


def load_teacher(path: Path | str, *, revision: str | None = None, device: str = "cpu") -> Teacher:
    """Load a base in float32, ready to be erased from.

    Raises:
        BadInput: If the folder is not acceptable; see `check_folder`.
    """
    folder = locate(str(path), revision)
    family = check_folder(folder)
    import diffusers
    import torch
    from diffusers.utils import logging

    logging.disable_progress_bar()
    with bases.as_loaded(folder) as view:
        pipeline = getattr(diffusers, family.pipeline).from_pretrained(
            view, dtype=torch.float32, use_safetensors=True, local_files_only=True
        )
    scheduler = diffusers.DDIMScheduler.from_config(
        pipeline.scheduler.config, clip_sample=False
    )  # latents have no bounds
    pipeline.to(device)
    for part in family.parts:
        getattr(pipeline, part).eval().requires_grad_(False)
    tokenizers, encoders = zip(
        *((getattr(pipeline, t), getattr(pipeline, e)) for t, e in family.readers), strict=True
    )
    zeros = bool(pipeline.config.get("force_zeros_for_empty_prompt", False))
    return Teacher(family, tokenizers, encoders, pipeline.unet, pipeline.vae, scheduler, zeros)


def load_unet(folder: Path) -> "UNet2DConditionModel":
    """The UNet of a base alone, in float32, to be edited in place."""
    from diffusers import UNet2DConditionModel

    with bases.as_loaded(folder) as view:
        return UNet2DConditionModel.from_pretrained(
            view / "unet", use_safetensors=True, local_files_only=True
        ).float()
