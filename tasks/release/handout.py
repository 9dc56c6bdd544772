"""What a registered version hands out: its weights in other programs' forms, and pictures cleaned
by it.
"""

import io
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from erasure_core import export, purify
from erasure_core.errors import BadInput
from erasure_core.files import PICTURE_BYTES, check_regular, new_folder, read_bytes
from erasure_core.law.fold import Version
from erasure_core.law.lineage import manifest, root_sha256, sha256_file
from erasure_core.metrics.ssim import WINDOW, pair_values
from erasure_core.network.checkpoints import DELTA
from erasure_core.network.diffusion import check_prompts, timesteps
from erasure_core.network.images import save_png
from erasure_core.network.weights import WeightDelta
from erasure_core.planning.params import Params
from erasure_core.planning.plan import BASE
from tasks.book.door import open_book
from tasks.book.store import Book
from tasks.home import Home
from tasks.progress import progress
from tasks.release.record import record_of
from tasks.release.resolve import (
    base_of,
    champion_of,
    folder_of,
    open_model,
    passed,
    resolve_model,
    version_named,
)

SAFETENSORS = ".safetensors"


@dataclass(frozen=True, slots=True)
class Cleaned:
    """One purified picture."""

    source: Path
    file: Path
    fitted: bool  # cropped or resized to the model's size first
    # with the picture as it was fitted; None where the model draws smaller than SSIM's window
    ssim: float | None


@dataclass(frozen=True, slots=True)
class Exported:
    """A version in one form."""

    path: Path
    audience: str | None  # to whom the version was released
    left_out: float | None  # of a LoRA: the share of a weight's change that it lacks, at most


def export_version(
    which: str,
    form: str,
    out: Path,
    params: Params,
    home: Home,
    *,
    rank: int | None = None,
    error: float | None = None,
    refused_anyway: bool = False,
) -> Exported:
    """Write a version in one of the forms of `erasure_core.export` below or, for a whole folder, as
    `out`, and enter it into the book. It gets its name when the book holds its hash.

    Raises:
        BadInput: No such version or form, `out` is taken, the form cannot hold this version, or it
            is not the champion and `refused_anyway` was not said.
        ContentChanged: The checkpoint or the base is no longer what was recorded.
    """
    export.check_form(form, rank=rank, error=error)
    book = open_book(home, make=False)
    version = version_named(book, which, params.registered_model)
    _check_served(book, version, refused_anyway)
    record = record_of(home, version)
    checkpoint = folder_of(book, version, params.base)
    base = base_of(record, home, params.base)
    name = f"{version.model}-v{version.version}-{form}{SAFETENSORS}"
    target = out if form == export.FOLDER else out / name
    delta = checkpoint / DELTA if version.delta else None
    facts = export.Facts(
        request_ids=record.request_ids,
        base_sha256=record.base_sha256,
        method=record.params["method"]["method"],
        recipe_sha256=record.run_key,
        model=version.model,
        version=version.version,
        verdict=version.verdict,
        audience=version.audience,
        date=version.created,
    )
    with _unfinished(target, form) as draft:
        share = export.export(base, delta, facts, form, draft, rank=rank, error=error)
        sha256 = content_sha256(draft)
        left = {"model": version.model, "version": version.version, "form": form, "sha256": sha256}
        book.change(lambda tx: tx.append("version.exported", refused_anyway=refused_anyway, **left))
        draft.rename(target)
    return Exported(target, version.audience, share)


@contextmanager
def _unfinished(target: Path, form: str) -> Iterator[Path]:
    """Where to write `target` first: in a folder beside it that says so by its name, and that is
    removed with what is left in it; what a kill leaves there, the next export of that name removes.
    """
    made = not target.parent.exists()
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = None
    try:
        export.check_target(target, form)
        folder = new_folder(target.parent, f".{target.name}-unfinished-")
        yield folder / target.name
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        if made and not any(target.parent.iterdir()):
            target.parent.rmdir()  # nothing was written


def content_sha256(path: Path) -> str:
    """The hash of a file, or the root hash of a folder.

    Raises:
        BadInput: It is a pipe, which would be waited for, or a device, which has no end; or the
            folder holds one, which no content hash would tell.
    """
    for part in (path, *path.rglob("*")):
        if not part.is_dir():
            check_regular(part)
    return root_sha256(manifest(path)) if path.is_dir() else sha256_file(path)


def _check_served(book: Book, version: Version, refused_anyway: bool) -> None:
    """Only the champion leaves without a word."""
    if refused_anyway:
        return
    if not passed(version):
        raise BadInput(
            f"{version.model} version {version.version} was refused ({version.verdict}); export "
            "the champion, or add --refused-anyway"
        )
    champion = champion_of(book, version.model)
    if champion is None or champion.version != version.version:
        raise BadInput(
            f"{version.model} version {version.version} was superseded, the champion is "
            f"{champion.version if champion else 'none'}; export the champion, or add "
            "--refused-anyway"
        )


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
    pictures, files = [_opened(source) for source in sources], _free_files(sources, out)
    base, delta = _change_of(which, params, home)
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
            pair_values([purify.fit(before, teacher.size)[0]], [after])[0]
            if teacher.size >= WINDOW
            else None
        )
        cleaned.append(Cleaned(source, file, fitted, same))
    return cleaned


def _free_files(sources: Sequence[Path], out: Path) -> list[Path]:
    """Where each picture goes. `BadInput` where one would take another's place."""
    files = [out / f"{source.stem}.png" for source in sources]
    if twice := sorted({f.name for f in files if files.count(f) > 1 or f.exists()}):
        raise BadInput(
            f"{out} would hold {', '.join(twice)} twice; give the pictures different "
            f"names, or an empty folder"
        )
    return files


def _change_of(which: str, params: Params, home: Home) -> tuple[Path, WeightDelta]:
    """The base and the change of a version, or of a delta's file of the parameters' base."""
    if which.endswith(SAFETENSORS):
        return resolve_model(BASE, params, home), WeightDelta.load(Path(which))
    book = open_book(home, make=False)
    version = version_named(book, which, params.registered_model)
    if version.delta is None:
        raise BadInput(
            f"{version.model} version {version.version} is the base itself and takes nothing out "
            "of pictures; name a version that erases something"
        )
    base = base_of(record_of(home, version), home, params.base)
    return base, WeightDelta.load(folder_of(book, version, params.base) / DELTA)


def _opened(source: Path) -> Image.Image:
    content = io.BytesIO(read_bytes(source, PICTURE_BYTES))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(content, formats=("PNG", "JPEG")) as picture:
                picture.load()
                return purify.as_seen(picture)
    except Exception as fault:  # the decoders meet bad bytes with nearly any exception of Python
        raise BadInput(
            f"{source} is not a whole PNG or JPEG picture ({fault}); name one that is"
        ) from None
