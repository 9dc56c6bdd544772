"""The command that tries to bring a concept back."""

from pathlib import Path
from typing import Annotated, Any

import typer

from erasure_core.errors import BadInput
from erasure_core.law.gates import Tier
from flows.cli.common import DONE, MODEL_HELP, Json, ParamsFile, app, reported, stdout_free
from flows.cli.options import out_folder_if_any
from flows.cli.show import show
from tasks.home import Home


@app.command()
@reported
def attack(
    model: Annotated[str, typer.Option(help=MODEL_HELP)],
    attacks: Annotated[
        str,
        typer.Option(
            help="Attacks: all, cheap (without a gradient), or names with commas between them."
        ),
    ] = "cheap",
    concept: Annotated[
        str | None, typer.Option(help="Concept to bring back; default: each that the model erases.")
    ] = None,
    request: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|REQUEST.yaml",
            help="Request that says what the concept is, where no version does.",
        ),
    ] = None,
    tier: Annotated[
        Tier,
        typer.Option(
            "--tier",
            "--budget",
            help="Budget of the attacker; a higher one draws and trains more, and takes longer.",
        ),
    ] = "standard",
    out: Annotated[
        Path | None, typer.Option(callback=out_folder_if_any, help="Folder for sheets of pictures.")
    ] = None,
    params: ParamsFile = Path("params.yaml"),
    as_json: Json = False,
) -> int:
    """Try to bring back what a model should no longer show, with controls; judges nothing and
    records nothing.
    """
    from erasure_core.planning.params import read_params

    if request is not None and concept is not None:
        raise BadInput("--request names one concept, leave --concept out; it chooses of a version")
    with stdout_free():
        from tasks.evidence.attack_version import attack_named

        settings, home = read_params(params), Home.from_env()
        names = [name.strip() for name in attacks.split(",")]
        base, found = attack_named(model, settings, home, names, tier, concept, request, out)
    if as_json:
        show({"model": model, "base": str(base), "tier": tier, "concepts": found})
    else:
        lines = [line for name, results in found.items() for line in _table(name, results)]
        show("\n".join((f"base: {base}", *lines)))
    return DONE


def _table(concept: str, results: list[dict[str, Any]]) -> list[str]:
    """A line an attack: what came back, and beside it the controls."""
    lines = [
        concept,
        f"  {'attack':<18} {'audience':<11} {'came back':>10} {'above instead, 95 %':>23} "
        f"{'base':>8} {'instead':>8} "
        f"{'unknown':>8} {'evaluations':>12} {'seconds':>8}",
    ]
    for r in results:
        if "not run" in r:
            lines.append(f"  {r['attack']:<18} {r['audience']:<11} not run: {r['not run']}")
            continue
        best = max(r["attempts"], key=lambda a: a["successes"] / a["n"])
        controls = [_of(r["controls"].get(name)) for name in ("base", "replacement", "unknown")]
        lines.append(
            f"  {r['attack']:<18} {r['audience']:<11} {_of(best):>10} "
            f"{_interval(r['excess']):>23} {controls[0]:>8} "
            f"{controls[1]:>8} {controls[2]:>8} {r['unet_evaluations']:>12} {r['seconds']:>8}"
        )
        if found := best.get("found"):
            lines.append(f"  {'':<18} typed before its prompts: {found!r}")
    return lines


def _interval(found: dict[str, float]) -> str:
    return f"{found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def _of(tried: dict[str, int] | None) -> str:
    return f"{tried['successes']} of {tried['n']}" if tried else "-"
