"""Load a teacher, pinned and checked, from a diffusers folder or a hub id. Safetensors only; pickle
weights are refused.

The only importer of diffusers' pipelines. `FAMILIES` declares what is supported, at any width;
anything else is refused by name before weights are read. What differs between families is in
`Family` and its subclasses, and nowhere else.
"""

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from safetensors import SafetensorError, safe_open

from erasure_core.errors import BadInput
from erasure_core.network import bases
from erasure_core.network.bases import read_json
from erasure_core.network.hub import locate
from erasure_core.network.weights import not_finite

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from torch import Tensor
    from transformers import CLIPTextModel, CLIPTokenizer, PreTrainedTokenizerBase

T = TypeVar("T")
PARTS = {  # part with weights -> the library and class that it is loaded by
    "unet": ("diffusers", "UNet2DConditionModel"),
    "vae": ("diffusers", "AutoencoderKL"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "text_encoder_2": ("transformers", "CLIPTextModelWithProjection"),
}
CLASSES = {  # part -> what a `model_index.json` may call its class
    "unet": re.compile("UNet2DConditionModel"),
    "vae": re.compile("AutoencoderKL"),
    "text_encoder": re.compile("CLIPTextModel|CLIPTextModelWithProjection"),
    "tokenizer": re.compile("CLIPTokenizer|CLIPTokenizerFast"),
}
DISTILLED = {  # what a schedule is published with whose network was distilled to a few steps
    "LCMScheduler": "by latent consistency",
    "TCDScheduler": "by trajectory consistency",
    "FlashFlowMatchEulerDiscreteScheduler": "by flash diffusion",
}
PREDICTIONS = ("epsilon", VELOCITY := "v_prediction")  # what networks of any family here predict
FEW_STEPS = ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler")  # if they are trailing
# What a network of these families is not told, and how their latents are not scaled.
TOLD_BESIDES = (
    "class_embed_type",
    "num_class_embeds",
    "time_cond_proj_dim",
    "encoder_hid_dim_type",
)
SCALED_OTHERWISE = ("latents_mean", "latents_std", "shift_factor")
HUB_ID = re.compile(r"[\w.-]+/([\w.-]+)")
SIDE = 64  # of latents, what diffusers takes where its versions before 0.9 wrote less by mistake


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

    pipeline: ClassVar[str] = "StableDiffusionPipeline"
    readers: ClassVar[tuple[tuple[str, str], ...]] = (("tokenizer", "text_encoder"),)
    # what its UNet takes beside time and text, as its configuration calls it
    addition: ClassVar[str | None] = None

    @property
    def parts(self) -> tuple[str, ...]:
        """Folders that hold weights."""
        return "unet", "vae", *(encoder for _, encoder in self.readers)

    @property
    def tokenizers(self) -> tuple[str, ...]:
        """Folders that hold tokenizers."""
        return tuple(tokenizer for tokenizer, _ in self.readers)

    def zeros_for_empty(self, index: Mapping[str, Any]) -> bool:
        """Whether an absent prompt is told as zeros, by the base's `model_index.json`."""
        return False

    def encode(self, teacher: "Teacher", ids: Sequence["Tensor"]) -> "tuple[Tensor, Tensor | None]":
        """What the text encoders make of prompts, whose tokens are `ids`, one (n, tokens) for each
        tokenizer.

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

    def zeros_for_empty(self, index: Mapping[str, Any]) -> bool:
        """As its pipeline reads it: unless the index says otherwise."""
        return bool(index.get("force_zeros_for_empty_prompt", True))

    def encode(self, teacher: "Teacher", ids: Sequence["Tensor"]) -> "tuple[Tensor, Tensor | None]":
        """Penultimate states of both encoders, and the second's embedding."""
        import torch

        read = [
            encoder(i, output_hidden_states=True)
            for encoder, i in zip(teacher.text_encoders, ids, strict=True)
        ]
        return torch.cat([r.hidden_states[-2] for r in read], dim=-1), read[-1].text_embeds

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
    Family("Stable Diffusion 1.x", linear=False),
    Family("Stable Diffusion 2.x", linear=True),
    XL("Stable Diffusion XL", linear=True),
)
JOINT_ATTENTION = (
    "it reads text by joint attention, so that no cross-attention is there to be edited, "
    "and predicts a velocity between picture and noise, not noise; "
    "erasure_core.network.models.Family says what an adapter would have to offer"
)
# By what the name of the pipeline's class begins with.
WHY_NOT = {"StableDiffusion3": JOINT_ATTENTION, "Flux": JOINT_ATTENTION}


def supported() -> str:
    """The families, for people."""
    families = "; ".join(f"{f.name} ({f.pipeline})" for f in FAMILIES)
    return f"{families}; each with prediction_type {' or '.join(PREDICTIONS)}"


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
    zeros_for_empty: bool = False  # an absent prompt is told as zeros, whatever the encoders say
    half: "UNet2DConditionModel | None" = None  # `unet` in half precision, see `halved`

    @property
    def tokenizer(self) -> "CLIPTokenizer":
        """The first tokenizer; `Context.ids` are its tokens."""
        return self.tokenizers[0]

    @property
    def text_encoder(self) -> "CLIPTextModel":
        """The first text encoder."""
        return self.text_encoders[0]

    @property
    def device(self) -> "torch.device":
        """Where it computes."""
        return self.text_encoder.device

    @property
    def guide(self) -> "UNet2DConditionModel":
        """The network that is asked what the base predicts; never edited."""
        return self.unet if self.half is None else self.half

    @property
    def size(self) -> int:
        """Side of its pictures in pixels."""
        return int(
            self.unet.config.sample_size * 2 ** (len(self.vae.config.block_out_channels) - 1)
        )


def copied(teacher: Teacher) -> Teacher:
    """A teacher whose UNet is a copy, to be edited."""
    return replace(teacher, unet=copy.deepcopy(teacher.unet))


@contextmanager
def halved(teacher: Teacher, precision: str) -> "Iterator[Teacher]":
    """The teacher, asked in `precision` what it predicts: fp32 is itself. Else its network waits in
    the machine's memory meanwhile, from where weights are taken, and a copy in half precision is in
    its place on the device.
    """
    import torch

    if precision == "fp32":
        yield teacher
        return
    device, dtype = teacher.device, {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    teacher.unet.to("cpu")
    try:
        half = copy.deepcopy(teacher.unet)
        torch.nn.Module.to(half, device, dtype)  # diffusers' own warns of modules, also of none
        yield replace(teacher, half=half)
    finally:
        teacher.unet.to(device)


def check_folder(folder: Path) -> Family:
    """Refuse a base before any work: unknown family, pickle weights, missing or truncated
    safetensors. Return its family.

    Raises:
        BadInput: Naming the file at fault and what is allowed.
    """
    family = family_of(folder)
    for part in family.parts:
        if how := read_json(folder / part / bases.CONFIG).get("quantization_config"):
            method = how.get("quant_method") if isinstance(how, dict) else how
            raise BadInput(f"{folder / part}: {bases.quantised(str(method))}")
    named = bases.named_parts(read_json(folder / bases.INDEX))
    if absent := sorted({*family.parts, *family.tokenizers, "scheduler"} - named):
        raise BadInput(f"{folder}/{bases.INDEX} names no {', '.join(absent)}; restore the base")
    _check_widths(folder, family)
    for file in bases.loaded_files(folder).values():
        if file.suffix == ".safetensors":
            _check_whole(file)
    return family


def family_of(folder: Path) -> Family:
    """The row of `FAMILIES` that a folder belongs to, from its configurations alone.

    Raises:
        BadInput: It belongs to none, or one of its configurations is of another kind of model.
    """
    index = _index(folder)
    unet = read_json(folder / "unet/config.json")
    schedule = read_json(folder / "scheduler/scheduler_config.json")
    family = _row(folder, index, unet, schedule)
    _check_classes(folder, family, index)
    _check_configs(folder, family, unet)
    _check_schedule(folder, schedule)
    return family


def _index(folder: Path) -> Mapping[str, Any]:
    """What says which pipeline a folder is of."""
    if not (folder / bases.INDEX).is_file():
        raise BadInput(
            f"{folder} has no {bases.INDEX}{_instead(folder)}; a base is a diffusers folder of "
            f"{supported()}"
        )
    return read_json(folder / bases.INDEX)


def _row(
    folder: Path, index: Mapping[str, Any], unet: Mapping[str, Any], schedule: Mapping[str, Any]
) -> Family:
    """The row of `FAMILIES` with this pipeline and these projections."""
    pipeline = str(index.get("_class_name"))
    if pipeline not in {family.pipeline for family in FAMILIES}:
        reasons = (f": {why}" for name, why in WHY_NOT.items() if pipeline.startswith(name))
        raise BadInput(f"{folder} is a {pipeline}{next(reasons, '')}; supported: {supported()}")
    linear = bool(unet.get("use_linear_projection", False))
    predicts = schedule.get("prediction_type", "epsilon")
    rows = [f for f in FAMILIES if (f.pipeline, f.linear) == (pipeline, linear)]
    if not rows or predicts not in PREDICTIONS:
        raise BadInput(
            f"{folder} is a {pipeline} with {'linear' if linear else '1x1'} projections "
            f"that predicts {predicts}; supported: {supported()}"
        )
    return rows[0]


def _check_configs(folder: Path, family: Family, unet: Mapping[str, Any]) -> None:
    """Refuse a network that is told more than its family's, latents that nobody here scales so,
    and pictures that are not square.
    """
    vae = read_json(folder / "vae/config.json")
    told = {"addition_embed_type": family.addition, "in_channels": vae.get("latent_channels", 4)}
    _check_config(folder / "unet", unet, {**dict.fromkeys(TOLD_BESIDES), **told})
    _check_config(folder / "vae", vae, dict.fromkeys(SCALED_OTHERWISE))
    if type(side := unet.get("sample_size")) is not int or side < 1:
        raise BadInput(
            f"{folder}/unet/config.json has sample_size={side!r}, and pictures here are square: "
            f"set it to the side of the latents that the network was trained on, an eighth of the "
            f"picture's (64 of 512 pixels, 96 of 768, 128 of 1024)"
        )


def _instead(folder: Path) -> str:
    """What a folder without an index is, where that can be told, for people."""
    if (folder.parent / bases.INDEX).is_file():
        return f", it is a part of the base {folder.parent}"
    if snapshots := sorted(folder.glob(f"snapshots/*/{bases.INDEX}")):
        return f", it is a cache of the hub; the base in it is {snapshots[0].parent}"
    if loras := sorted(folder.glob("*lora*.safetensors")):
        return f", what it holds is a LoRA ({loras[0].name}): fuse it into its base, and save that"
    if files := [file for end in (".safetensors", ".ckpt") for file in folder.glob(f"*{end}")]:
        return f", it holds a checkpoint in one file: name that ({min(files)})"
    return ""


def _check_classes(folder: Path, family: Family, index: Mapping[str, Any]) -> None:
    """Refuse a base that says that it was distilled, or that a part of it is of another class than
    it is loaded by: what that lacks of this one would look like damage.
    """
    known = HUB_ID.fullmatch(str(index.get("_name_or_path", "")))
    if known and (called := bases.called_distilled(known[1])):
        raise BadInput(
            f"{folder} was made from {known[0]}, which calls itself {called} (_name_or_path of "
            f"{bases.INDEX}): {bases.distilled('to a few steps')}; if it was not, take that out"
        )
    for part in (*family.parts, *family.tokenizers):
        kind = index.get(part)
        if not (isinstance(kind, list) and any(kind)):
            continue
        named, known_as = str(kind[-1]), CLASSES[part.removesuffix("_2")]
        if not known_as.fullmatch(named):
            raise BadInput(
                f"{folder} has a {named} as its {part}, supported is "
                f"{known_as.pattern.replace('|', ' or ')}; this is another kind of model"
            )


def _check_schedule(folder: Path, schedule: Mapping[str, Any]) -> None:
    """Refuse a schedule that DDIM cannot follow, or that says that the network was distilled."""
    where, kind = folder / "scheduler", str(schedule.get("_class_name"))
    spacing = schedule.get("timestep_spacing", "leading")
    if kind in DISTILLED:
        raise BadInput(f"{where} is a {kind}: {bases.distilled(DISTILLED[kind])}")
    velocity = schedule.get("prediction_type") == VELOCITY  # which trailing steps were made for
    if kind in FEW_STEPS and spacing == "trailing" and not velocity:
        raise BadInput(
            f"{where} is a {kind} with timestep_spacing trailing, as turbo and lightning models "
            f"are published: {bases.distilled('to a few steps')}; if it was not, set "
            f"timestep_spacing to leading"
        )
    if "beta_schedule" not in schedule:
        raise BadInput(
            f"{where} is a {kind} without a beta_schedule, which DDIM cannot follow; another "
            f"schedule would not say how its network was trained: erase from a model that was "
            f"trained with one"
        )
    if schedule.get("rescale_betas_zero_snr") and spacing != "leading":
        raise BadInput(
            f"{where} starts its trajectories where no signal is left (rescale_betas_zero_snr with "
            f"timestep_spacing {spacing}); noise predicted there says nothing of the picture; set "
            f"timestep_spacing to leading"
        )


def _check_widths(folder: Path, family: Family) -> None:
    """Refuse text encoders whose states are not what the network reads."""
    unet = read_json(folder / "unet/config.json")
    texts = [read_json(folder / encoder / "config.json") for _, encoder in family.readers]
    wide, asked = sum(int(t.get("hidden_size", 0)) for t in texts), unet.get("cross_attention_dim")
    if asked != wide:
        raise BadInput(
            f"{folder}/unet reads text states of width {asked}, and its text encoders give {wide}; "
            f"they belong to different models"
        )


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


def loaded(what: str, load: Callable[[], T]) -> T:
    """What `load` returns. Whatever a library raises while it loads is a fault of the file.

    Raises:
        BadInput: It did not load.
    """
    try:
        return load()
    except BadInput:
        raise
    except Exception as fault:
        reason = " ".join(str(fault).split())[:200]
        raise BadInput(
            f"{what} does not load ({type(fault).__name__}: {reason}); restore it or name another"
        ) from fault


def load_part(folder: Path, part: str) -> Any:
    """A part of a base with every weight that its configuration asks for, in float32.

    Args:
        folder: The base.
        part: One of `PARTS`.

    Raises:
        BadInput: It does not load, or lacks a tensor: diffusers and transformers would fill it
            with random numbers.
    """
    import torch

    library, name = PARTS[part]
    kind = getattr(import_module(library), name)
    how = {"dtype": torch.float32, "use_safetensors": True, "local_files_only": True}
    with bases.as_loaded(folder) as view:
        model, report = loaded(
            str(folder / part),
            lambda: kind.from_pretrained(view / part, output_loading_info=True, **how),
        )
    check_tensors(folder / part, set(report["missing_keys"]))
    if part == "unet":
        check_unread(folder / part, set(report["unexpected_keys"]))
        if _written_too_small(model.config):
            model.register_to_config(sample_size=SIDE)
    return model


def _written_too_small(config: Mapping[str, Any]) -> bool:
    """Whether a network's side is one that diffusers' own pipelines correct, in the first folders
    that were published: their networks were trained on `SIDE`.
    """
    version = re.match(r"0\.(\d+)", str(config.get("_diffusers_version", "")))
    return bool(version and int(version[1]) < 9 and config["sample_size"] < SIDE)


def check_tensors(part: Path, wrong: set[str]) -> None:
    """Refuse a part by the names of tensors that it lacks or has in another shape: `BadInput`."""
    if wrong:
        raise BadInput(
            f"{part} lacks {len(wrong)} tensors that its config.json asks for, or has them in "
            f"another shape, {min(wrong)} among them; restore the base"
        )


def check_unread(part: Path, names: set[str]) -> None:
    """Refuse a part that holds tensors which nobody would load: without them it is another model.
    `BadInput`.
    """
    if names:
        raise BadInput(
            f"{part} holds {len(names)} tensors that its config.json has no place for, "
            f"{min(names)} among them, as a LoRA or fused projections leave them; without them it "
            f"draws something else: fuse the LoRA into its weights (fuse_lora), take fused "
            f"projections apart (unfuse_qkv_projections), and save it again"
        )


def load_scheduler(folder: Path) -> "DDIMScheduler":
    """The schedule of a base for DDIM; latents have no bounds, and are neither clipped nor
    thresholded.

    Raises:
        BadInput: DDIM cannot follow it.
    """
    from diffusers import DDIMScheduler

    def load() -> "DDIMScheduler":
        said = DDIMScheduler.load_config(folder / "scheduler")
        found: DDIMScheduler = DDIMScheduler.from_config(
            said, clip_sample=False, thresholding=False
        )
        if len(found.alphas_cumprod) != found.config.num_train_timesteps:
            raise BadInput(
                f"{folder}/scheduler has {len(found.alphas_cumprod)} trained_betas for "
                f"{found.config.num_train_timesteps} timesteps; restore the base"
            )
        return found

    return loaded(f"the scheduler of {folder}", load)


def load_tokenizers(folder: Path) -> "tuple[CLIPTokenizer, ...]":
    """Every tokenizer of a base, without its weights.

    Raises:
        BadInput: One does not load, knows no words, or makes tokens that its text encoder does not
            read.
    """
    from transformers import CLIPTokenizer

    def load(view: Path, name: str) -> "CLIPTokenizer":
        return loaded(
            f"the {name} of {folder}",
            lambda: CLIPTokenizer.from_pretrained(view / name, local_files_only=True),
        )

    family = family_of(folder)
    with bases.as_loaded(folder) as view:
        tokenizers = tuple(load(view, name) for name in family.tokenizers)
    for tokenizer, (name, encoder) in zip(tokenizers, family.readers, strict=True):
        check_tokenizer(folder, tokenizer)
        _check_tokens(folder / name, tokenizer, read_json(folder / encoder / "config.json"))
    return tokenizers


def check_tokenizer(folder: Path, tokenizer: "PreTrainedTokenizerBase") -> None:
    """Refuse a tokenizer without its vocabulary: transformers loads an empty one without a word.

    Raises:
        BadInput: It reads two letters as one and the same.
    """
    if tokenizer("a").input_ids == tokenizer("b").input_ids:
        raise BadInput(
            f"{folder} holds a tokenizer without a vocabulary ({len(tokenizer)} tokens); restore "
            f"its tokenizer.json, or its vocab.json and merges.txt"
        )


def _check_tokens(
    folder: Path, tokenizer: "PreTrainedTokenizerBase", encoder: Mapping[str, Any]
) -> None:
    """Refuse tokens beyond what the text encoder that reads them has a place or a row for."""
    positions = int(encoder.get("max_position_embeddings", 77))
    rows = int(encoder.get("vocab_size", 49408))
    if tokenizer.model_max_length > positions:
        raise BadInput(
            f"{folder} makes up to {tokenizer.model_max_length} tokens, and its text encoder reads "
            f"{positions}; set model_max_length to {positions} in its tokenizer_config.json"
        )
    if len(tokenizer) > rows:
        raise BadInput(
            f"{folder} has {len(tokenizer)} tokens, and its text encoder rows for {rows}; they "
            f"belong to different models"
        )


def load_tokenizer(folder: Path) -> "CLIPTokenizer":
    """The first tokenizer of a base, without its weights."""
    return load_tokenizers(folder)[0]


def text_reader(folder: Path) -> "Callable[[Sequence[str]], Tensor]":
    """What reads prompts for a base, by its first text encoder alone: prompts -> text states,
    (n, tokens, d).
    """
    import torch

    tokenizer = load_tokenizer(folder)
    encoder = load_part(folder, family_of(folder).readers[0][1]).eval()

    @torch.no_grad()
    def read(prompts: Sequence[str]) -> "Tensor":
        ids = tokenizer(list(prompts), padding="max_length", truncation=True, return_tensors="pt")
        states: Tensor = encoder(ids.input_ids).last_hidden_state
        return states

    return read


def load_teacher(path: Path | str, *, device: str = "cpu") -> Teacher:
    """Load a base in float32, ready to be erased from.

    Raises:
        BadInput: If the folder is not acceptable; see `check_folder`, `load_part` and
            `load_tokenizers`.
    """
    folder = locate(str(path), None)
    family = check_folder(folder)
    from diffusers.utils import logging

    logging.disable_progress_bar()
    parts = {name: load_part(folder, name) for name in family.parts}
    scheduler = load_scheduler(folder)
    for part in parts.values():
        part.to(device).eval().requires_grad_(False)
    return Teacher(
        family,
        tokenizers=load_tokenizers(folder),
        text_encoders=tuple(parts[encoder] for _, encoder in family.readers),
        unet=parts["unet"],
        vae=parts["vae"],
        scheduler=scheduler,
        zeros_for_empty=family.zeros_for_empty(read_json(folder / bases.INDEX)),
    )


def open_teacher(path: Path | str) -> Teacher:
    """`load_teacher` on the GPU, where there is one."""
    import torch

    return load_teacher(path, device="cuda" if torch.cuda.is_available() else "cpu")


def load_unet(folder: Path) -> "UNet2DConditionModel":
    """The UNet of a base alone, in float32, to be edited in place."""
    unet: UNet2DConditionModel = load_part(folder, "unet")
    return unet
