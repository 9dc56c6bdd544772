"""Commands that use a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.common import DONE, MODEL_HELP, By, Json, ParamsFile, app, reported, stdout_free
from flows.cli.options import (
    LARGEST,
    BadRows,
    PromptColumn,
    TooLong,
    finite,
    guidance_option,
    out_folder,
    out_folder_if_any,
    rows_and_length,
)
from flows.cli.show import hint, show
from tasks.home import Home

if TYPE_CHECKING:
    from erasure_core.law.gates import Measurement


@app.command()
@reported
def generate(
    prompts: Annotated[
        list[str], typer.Argument(metavar="PROMPT...", help="Prompts to draw, each in quotes.")
    ],
    model: Annotated[str, typer.Option(help=MODEL_HELP)],
    seed: Annotated[
        int,
        typer.Option(
            help="Seed of each prompt's first picture; its next picture has the next seed."
        ),
    ],
    out: Annotated[Path, typer.Option(callback=out_folder, help="Folder for the PNG files.")],
    count: Annotated[int, typer.Option(min=1, help="Pictures of each prompt.")] = 1,
    guidance: Annotated[
        float | None,
        guidance_option(
            "Guidance scale; a higher one shows the prompt more strongly. Default: that of the "
            "kept prompt set, with which runs are measured."
        ),
    ] = None,
    params: ParamsFile = Path("params.yaml"),
    as_json: Json = False,
) -> int:
    """Draw pictures with the base, a registered version or any folder; the same seed gives
    comparable pictures.
    """
    from erasure_core.planning.params import read_params
    from erasure_core.planning.reading import kept_guidance

    with stdout_free():
        from tasks.erasing.draw import draw
        from tasks.release.resolve import resolve_model

        settings = read_params(params)
        scale = kept_guidance(settings) if guidance is None else guidance
        folder = resolve_model(model, settings, Home.from_env())
        files = draw(
            folder,
            prompts,
            seed=seed,
            count=count,
            guidance=scale,
            sampling=settings.sampling,
            out=out,
        )
    if as_json:
        show(
            {
                "model": model,
                "path": str(folder),
                "guidance": scale,
                "steps": settings.sampling.steps,
                "files": list(map(str, files)),
            }
        )
    else:
        show("\n".join(map(str, files)))
    return DONE


@app.command()
@reported
def export(
    model: Annotated[
        str, typer.Option(help="Version to hand out: candidate, champion or a version's number.")
    ],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="Form to write: diffusers, delta, lora or single-file (docs/export.md).",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            callback=out_folder,
            help="The folder to make (diffusers), or the folder for the one file.",
        ),
    ],
    rank: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=(
                "Rank of a LoRA's factors; a higher one leaves out less and makes a larger file. "
                "Default: the least within --error."
            ),
        ),
    ] = None,
    error: Annotated[
        float | None,
        typer.Option(
            callback=finite,
            help=(
                "Share of each weight's change that a LoRA may leave out; a higher one allows a "
                "lower rank. Default: 0.001, with --rank whatever that leaves out."
            ),
        ),
    ] = None,
    refused_anyway: Annotated[
        bool,
        typer.Option("--refused-anyway", help="Hand out a version that is not the champion, too."),
    ] = False,
    params: ParamsFile = Path("params.yaml"),
    by: By = None,
    as_json: Json = False,
) -> int:
    """Hand a version out in a form that other programs read; every file says whose
    erasure it is.
    """
    from erasure_core.planning.params import read_params

    with stdout_free():
        from erasure_core.export import MEASURED
        from tasks.book.actor import acting_as
        from tasks.release.handout import export_version

        home, settings = Home.from_env(), read_params(params)
        with acting_as(by):
            written = export_version(
                model,
                form,
                out,
                settings,
                home,
                rank=rank,
                error=error,
                refused_anyway=refused_anyway,
            )
    if (audience := written.audience) != "weights":
        hint(
            f"these weights were released to {audience or 'no declared audience'}: what somebody "
            f"who has the file can do was not part of the evidence (docs/attacks.md)"
        )
    if (left := written.left_out or 0) > MEASURED:
        hint(
            f"this LoRA leaves out up to {left:.0%} of the change of a weight, and may leave as "
            f"much of the concept: the version's verdict is not its own; fuse it into the base and "
            f"measure that folder (`erasure evaluate --model FOLDER`, `erasure attack`)"
        )
    lacks = {} if written.left_out is None else {"left_out": written.left_out}
    show(
        {"model": model, "format": form, "path": str(written.path), **lacks}
        if as_json
        else str(written.path)
    )
    return DONE


@app.command()
@reported
def purify(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Pictures to clean, PNG or JPEG.")
    ],
    model: Annotated[
        str,
        typer.Option(
            help=(
                "Model that takes the concept out, made with lambda 0: candidate, champion, a "
                "version's number, or a delta's .safetensors file."
            )
        ),
    ],
    out: Annotated[Path, typer.Option(callback=out_folder, help="Folder for the PNG files.")],
    prompt: Annotated[
        str,
        typer.Option(
            help="What the erased model is told: nothing, or a prompt that evokes the concept."
        ),
    ] = "",
    guidance: Annotated[
        float,
        guidance_option(
            "Guidance scale of the erased model; a higher one follows the prompt more strongly, 1 "
            "is the prompt alone."
        ),
    ] = 1.0,
    steps: Annotated[
        int, typer.Option(min=1, help="DDIM steps, each way; more are more exact, and take longer.")
    ] = 35,
    params: ParamsFile = Path("params.yaml"),
    as_json: Json = False,
) -> int:
    """Take the concept out of pictures: unmade with the base, made again with the erased model."""
    from dataclasses import asdict

    from erasure_core.planning.params import read_params

    with stdout_free():
        from tasks.release.handout import purify_pictures

        found = purify_pictures(
            images,
            model,
            out,
            read_params(params),
            Home.from_env(),
            prompt=prompt,
            guidance=guidance,
            steps=steps,
        )
    if as_json:
        show(
            {
                "model": model,
                "prompt": prompt,
                "guidance": guidance,
                "steps": steps,
                "pictures": [asdict(c) for c in found],
            }
        )
    else:
        for c in found:
            same = "" if c.ssim is None else f"  SSIM {c.ssim:.3f} with the original"
            show(f"{c.file}{same}" + (", which was cropped or resized first" if c.fitted else ""))
    return DONE


@app.command()
@reported
def evaluate(
    model: Annotated[str, typer.Option(help=MODEL_HELP)],
    prompts: Annotated[
        Path,
        typer.Option(
            help="Prompt file, with the columns that the field uses (docs/prompt-files.md)."
        ),
    ],
    guidance: Annotated[
        float | None,
        guidance_option(
            "Guidance of the rows that have none; a higher one shows the prompt more strongly. "
            "Default: `sampling.guidance` of the parameters, or else that of the kept prompt set."
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=LARGEST,
            help=(
                "Seed of the first row where rows have none, one more for each next. Default: "
                "`sampling.seed` of the parameters, or else `seed`."
            ),
        ),
    ] = None,
    bad_rows: BadRows = "refuse",
    too_long: TooLong = "refuse",
    prompt_column: PromptColumn = None,
    out: Annotated[
        Path | None,
        typer.Option(
            callback=out_folder_if_any,
            help=(
                "Folder that keeps the pictures. Without it they are removed when all is "
                "measured. Either way the same command goes on where it was stopped."
            ),
        ),
    ] = None,
    params: ParamsFile = Path("params.yaml"),
    as_json: Json = False,
) -> int:
    """Measure a model beside what it was before, on anybody's prompts; judges nothing and records
    nothing.
    """
    from dataclasses import asdict

    from erasure_core.law.lineage import sha256_file
    from erasure_core.planning.params import read_params
    from erasure_core.planning.reading import reading_of_own

    rows_how, long_how = rows_and_length(bad_rows, too_long)
    with stdout_free():
        from tasks.evidence.evaluate import evaluate as measured
        from tasks.release.resolve import resolve_model, unedited

        settings, home = read_params(params), Home.from_env()
        folder, base = (of(model, settings, home) for of in (resolve_model, unedited))
        reading = reading_of_own(
            settings, guidance=guidance, seed=seed, bad_rows=rows_how, prompt_column=prompt_column
        )
        evaluation = measured(
            folder,
            base,
            prompts,
            settings,
            home=home,
            out=out,
            reading=reading,
            long=long_how,
        )
    found = evaluation.measurements
    for line in evaluation.said:
        hint(f"{prompts}: {line}")
    if as_json:
        facts = {
            "model": model,
            "path": str(folder),
            "base_path": str(base),
            "prompts": str(prompts),
            "prompts_sha256": sha256_file(prompts),
            "said": evaluation.said,
        }
        show({**facts, "measurements": [asdict(m) for m in found]})
    else:
        show("\n".join((f"base: {base}", *_table(found))))
    return DONE


def _table(measurements: "list[Measurement]") -> list[str]:
    """A line a measurement."""
    return [
        f"{m.metric:<28} {m.value:7.3f}  ({m.low:.3f} to {m.high:.3f}, {m.n} pictures)"
        for m in measurements
    ]
