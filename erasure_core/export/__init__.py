"""An erased model in the forms that other programs read: a diffusers folder, a delta, a LoRA, one
checkpoint file.

Every safetensors file says in its header whose erasure it is (`erasure_core/export/header.py`).
What was changed is float32: in half precision a small change would be rounded away. Nothing of the
base travels along but the files that are loaded, so that no second copy of the unchanged UNet does.
"""

import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Literal, get_args

from torch import nn

from erasure_core.errors import BadInput, ErasureError
from erasure_core.export import header
from erasure_core.export.header import LEFT_OUT, Facts
from erasure_core.export.lora import ERROR, kohya, left_out, lora
from erasure_core.export.single_file import single_file
from erasure_core.files import new_folder, pretty_json, remedy
from erasure_core.network import bases
from erasure_core.network.models import PARTS, check_folder, load_teacher
from erasure_core.network.weights import WeightDelta, write_tensors

Format = Literal["diffusers", "delta", "lora", "single-file"]
FOLDER: Format = "diffusers"
MEASURED = 2 * ERROR  # a LoRA that leaves out no more is the version that was measured
DTYPES = ("dtype", "torch_dtype")  # as transformers calls it, and called it

__all__ = ["FOLDER", "MEASURED", "Facts", "Format", "check_form", "check_target", "export"]


def check_form(form: str, *, rank: int | None = None, error: float | None = None) -> None:
    """Refuse a form that there is none of, or a bound that only a LoRA has: `BadInput`."""
    if form not in get_args(Format):
        raise BadInput(
            f"export format {form!r} is none of {', '.join(get_args(Format))}; choose one"
        )
    if form != "lora" and (rank is not None or error is not None):
        raise BadInput(
            f"rank and error bound a LoRA; {form} holds the change as it is: leave them out"
        )


def export(
    base: Path,
    delta_file: Path | None,
    facts: Facts,
    form: str,
    target: Path,
    *,
    rank: int | None = None,
    error: float | None = None,
) -> float | None:
    """Write what `delta_file` makes of `base` to `target`, whole or not at all.

    Args:
        base: The diffusers folder that the delta was made from.
        delta_file: A delta as `WeightDelta.save` leaves it; None where the version is the base.
        facts: What the files will say of themselves.
        form: `diffusers` (a folder), or a .safetensors file: `delta`, `lora`, or `single-file`, the
            original layout of Stable Diffusion checkpoints. docs/export.md says how each is loaded.
        target: The folder or file to write; its parent must exist.
        rank, error: For `lora`, see `erasure_core.export.lora.lora`.

    Returns:
        Of a LoRA the share of a weight's change that it lacks, at most, as its header says it;
        None of other forms, which hold the change whole.

    Raises:
        BadInput: An unknown form, a target that is taken, a base that is no base, a delta that a
            LoRA cannot hold, or none where the form holds a change.
        ContentChanged: If the delta was made from another base.
        ErasureError: If the disk is full.
    """
    check_form(form, rank=rank, error=error)
    check_target(target, form)
    check_folder(base)
    delta = None if delta_file is None else WeightDelta.load(delta_file)
    teacher = load_teacher(base)
    prediction = str(teacher.scheduler.config.prediction_type)

    def said(facts: Facts) -> dict[str, str]:
        return {
            **facts.metadata(delta.base_sha256 if delta else None),
            **header.modelspec(facts, form, teacher.family, prediction, teacher.size),
        }

    metadata = said(facts)
    with delta.applied(teacher.unet) if delta else nullcontext():
        if form == FOLDER:
            _write_folder(base, teacher.unet, metadata, target)
            return None
        if form == "single-file":
            tensors = single_file(teacher)
        elif delta is None:
            raise BadInput(
                f"this version is the base itself, without a change that a {form} could hold; "
                f"export it as diffusers"
            )
        elif form == "lora":
            factors = lora(teacher.unet, delta, rank=rank, error=error)
            tensors, left = kohya(factors, teacher), left_out(delta, factors)
            held = next(len(down) for down, _ in factors.values())
            metadata = said(facts.lacking(left) if left > MEASURED else facts)
            metadata |= header.trainer(teacher.family, prediction, held)
            metadata[LEFT_OUT] = f"{left:.2g}"
        else:
            tensors = dict(delta.tensors)
        write_tensors(target, tensors, metadata, header.seal)
    return float(metadata[LEFT_OUT]) if form == "lora" else None


def check_target(target: Path, form: str) -> None:
    """Refuse to write `form` to a place that is taken, or to a file of another kind: `BadInput`."""
    folder = form == FOLDER
    if not target.parent.is_dir():
        raise BadInput(
            f"{target.parent} is no folder; make it first, {target.name} will be written into it"
        )
    if not folder and target.suffix != ".safetensors":
        raise BadInput(
            f"{target} will be a safetensors file; name it "
            f"{target.with_suffix('.safetensors').name}"
        )
    if target.exists() and not (folder and target.is_dir() and not any(target.iterdir())):
        raise BadInput(f"{target} is already there; export to a new name, nothing is overwritten")


def _write_folder(base: Path, unet: nn.Module, metadata: Mapping[str, str], target: Path) -> None:
    partial = new_folder(target.parent, f".{target.name}-")
    try:
        bases.lay_out(
            bases.beside_unet_weights(base),
            partial,
            lambda source, copy: _copy(source, copy, metadata),
        )
        unet_file = partial / "unet" / bases.UNET_WEIGHTS
        write_tensors(unet_file, unet.state_dict(), metadata, header.seal)
        partial.rename(target)
    except OSError as fault:
        raise ErasureError(
            f"{target} could not be written ({fault}); {remedy(fault)} and export again"
        ) from fault
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _copy(source: Path, target: Path, metadata: Mapping[str, str]) -> None:
    """Copy a file as it is, but for a safetensors file's header and for the precision that a
    configuration asks for.
    """
    if source.suffix == ".safetensors":
        header.copy_with(source, target, metadata)
    elif source.name == bases.CONFIG and (settings := _in_float32(source)):
        target.write_text(pretty_json(settings), encoding="utf-8")
    else:
        shutil.copyfile(source, target)


def _in_float32(config: Path) -> Mapping[str, object] | None:
    """The settings in `config` with float32 for another precision, and for none where transformers
    reads them; None if that is what they say.

    transformers loads a text encoder in the precision of its configuration or else of its weights,
    diffusers a UNet in float32: a plain pipeline of both stops at the first prompt.
    """
    settings = bases.read_json(config)
    other = {key for key in DTYPES if settings.get(key) not in (None, "float32")}
    if _of_transformers(config.parent.name) and not any(settings.get(key) for key in DTYPES):
        other.add(DTYPES[0])
    return {**settings, **dict.fromkeys(other, "float32")} if other else None


def _of_transformers(part: str) -> bool:
    library, _ = PARTS.get(part, ("", ""))
    return library == "transformers"
