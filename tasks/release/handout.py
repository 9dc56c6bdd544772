"""What a registered version hands out: its weights in other programs' forms, and pictures cleaned
by it.
"""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from erasure_core import export, purify
from erasure_core.errors import BadInput
from erasure_core.files import PICTURE_BYTES, read_bytes
from erasure_core.law.lineage import RunRecord
from erasure_core.metrics.ssim import WINDOW, paired_ssim
from erasure_core.network.diffusion import check_prompts, timesteps
from erasure_core.network.images import save_png
from erasure_core.network.weights import WeightDelta
from erasure_core.planning.params import Params
from erasure_core.planning.plan import checked_base
from erasure_core.text import whole_number
from tasks.home import Home
from tasks.progress import progress
from tasks.registry import track
from tasks.release.release import record_of
from tasks.release.resolve import base_of, open_model, resolve_model

SAFETENSORS = ".safetensors"


@dataclass(frozen=True, slots=True)
class Cleaned:
    """One purified picture."""

    source: Path
    file: Path
    fitted: bool  # cropped or resized to the model's size first
    ssim: (
        float | None
    )  # with the picture as it was fitted; None where the model draws smaller than SSIM's window


def version_of(which: str, params: Params, home: Home) -> RunRecord:
    """The record of a version, named by its number or an alias. `BadInput` if there is none."""
    name = params.registered_model
    if which in (track.CANDIDATE, track.CHAMPION):
        version = track.get_alias(home, name, which)
        if version is None:
            raise BadInput(
                f"{name} has no {which} yet (state folder {home.root}); run a request "
                f"first, or name a version"
            )
        return record_of(home, name, version)
    version = whole_number(which)
    if version is None:
        raise BadInput(
            f"model {which!r} is none of candidate, champion or a version's number; name "
            f"one of these"
        )
    return record_of(home, name, version)


def export_version(which: str, form: str, out: Path, params: Params, home: Home) -> Path:
    """Write a version in one of the forms of `erasure_core.export` below or, for a whole folder, as
    `out`; return what was written.

    Raises:
        BadInput: No such version or form, `out` is taken, or the form cannot hold this version.
        ContentChanged: The checkpoint or the base is no longer what was recorded.
    """
    record = version_of(which, params, home)
    checkpoint = resolve_model(str(record.model_version), params, home)
    base = base_of(record)
    whole = form == "diffusers"
    target = (
        out if whole else out / f"{record.model_name}-v{record.model_version}-{form}{SAFETENSORS}"
    )
    facts = export.Facts(
        record.request_ids, record.base_sha256, record.params["method"]["method"], record.run_key
    )
    made = not target.parent.exists()
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        return export.export(base, checkpoint / "delta.safetensors", facts, form, target)
    finally:
        if made and not any(target.parent.iterdir()):
            target.parent.rmdir()  # nothing was written


def purify_pictures(
    sources: Sequence[Path],
    which: str,
    out: Path,
    params: Params,
    home: Home,
    *,
    prompt: str,
    guidance: float,
    steps: int,
) -> list[Cleaned]:
    """Purify pictures with the change of weights of a version, or of a delta file of the
    parameters' base; write PNG files to `out`.

    Raises:
        BadInput: A file is no picture, two have the same name, no such model, or the prompt is too
            long; nothing is written.
    """
    pictures = [_opened(source) for source in sources]
    files = [out / f"{source.stem}.png" for source in sources]
    if twice := sorted(
        {f.name for f in files if files.count(f) > 1} | {f.name for f in files if f.exists()}
    ):
        raise BadInput(
            f"{out} would hold {', '.join(twice)} twice; give the pictures different "
            f"names, or an empty folder"
        )
    if which.endswith(SAFETENSORS):
        base, delta = checked_base(params.base)[0], WeightDelta.load(Path(which))
    else:
        record = version_of(which, params, home)
        base = base_of(record)
        delta = WeightDelta.load(
            resolve_model(str(record.model_version), params, home) / "delta.safetensors"
        )
    teacher = open_model(base)
    delta.check(teacher.unet)
    check_prompts(teacher.tokenizer, [prompt])
    timesteps(teacher, steps)  # refuses what cannot be walked, before a bar is drawn
    with progress("purify", len(pictures)) as advance:
        done = purify.purify(
            teacher,
            delta,
            pictures,
            prompt=prompt,
            guidance=guidance,
            steps=steps,
            on_batch=advance,
        )
    out.mkdir(parents=True, exist_ok=True)
    cleaned = []
    for source, file, before, after, fitted in zip(
        sources, files, pictures, done.pictures, done.fitted, strict=True
    ):
        save_png(after, file)
        same = (
            paired_ssim([purify.fit(before, teacher.size)[0]], [after]).value
            if teacher.size >= WINDOW
            else None
        )
        cleaned.append(Cleaned(source, file, fitted, same))
    return cleaned


def _opened(source: Path) -> Image.Image:
    content = io.BytesIO(read_bytes(source, PICTURE_BYTES))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(content, formats=("PNG", "JPEG")) as picture:
                picture.load()
                return picture.copy()
    except Exception as fault:  # the decoders meet bad bytes with nearly any exception of Python
        raise BadInput(
            f"{source} is not a whole PNG or JPEG picture ({fault}); name one that is"
        ) from None
