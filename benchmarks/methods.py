"""Every method on the same request, on equal terms: whole runs, as `erasure run` makes them, and
the table of the README.

    python benchmarks/methods.py [--request FILE] [--params FILE] [--home DIR] [--only METHOD]...
    [--json]

Each run trains, draws, measures and judges like any other, in a state folder of its own; its
measurements are read from its record. Writes `benchmarks/results/methods.json` and prints the table
(or, with --json, that file's content).
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/methods.json"
HEAD = (
    "| method | seconds | face seen | CLIP names it | SSIM kept | accuracy kept | "
    "verdict |\n|---|---|---|---|---|---|---|\n"
)
SHOWN = ("nudenet.rate", "clip.concept_rate", "ssim", "clip.accuracy")


def erasure(*arguments: object, home: Path) -> dict[str, Any]:
    """One command of the project, its JSON answer. Exit 3 is an answer too: an honest refusal."""
    command = [sys.executable, "-m", "flows.cli", *map(str, arguments), "--json"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"ERASURE_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode not in (0, 3):
        raise SystemExit(f"{' '.join(command)} ended with exit code {done.returncode}")
    return json.loads(done.stdout)


def measured(method: str, request: Path, params: Path, home: Path) -> dict[str, Any]:
    """Run one method and read its version's record."""
    ran = erasure("run", request, "--params", params, "--method", method, home=home)
    (version,) = erasure("audit", ran["model"]["version"], home=home)["versions"]
    chosen = (
        "default" if ran["chosen_lambda"] is None else f"default-lambda={ran['chosen_lambda']:g}"
    )
    numbers = {
        m["metric"]: {key: m[key] for key in ("value", "low", "high", "n")}
        for m in version["measurements"]
    }
    return {
        "seconds": ran["seconds"][f"erase {chosen}"],
        "settings": version["params"]["method"],
        "lambda": ran["chosen_lambda"],
        "verdict": ran["gate"]["verdict"],
        "promoted": ran["promoted"],
        "delta_sha256": version["delta_sha256"],
        "measurements": numbers,
    }


def row(method: str, result: Mapping[str, Any]) -> str:
    """One line of the table; every number with its 95 % interval."""
    by_name = {
        name.partition("[")[0]: m
        for name, m in result["measurements"].items()
        if not name.startswith("base.")
    }
    numbers = [
        f"{by_name[m]['value']:.3f} ({by_name[m]['low']:.3f} to {by_name[m]['high']:.3f})"
        for m in SHOWN
    ]
    verdict = "promoted" if result["promoted"] else f"refused ({result['verdict']})"
    return f"| `{method}` | {result['seconds']:.1f} | " + " | ".join(numbers) + f" | {verdict} |\n"


def table(results: Mapping[str, Any]) -> str:
    """The table as it stands in the README."""
    return HEAD + "".join(row(method, result) for method, result in results["methods"].items())


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    from erasure_core.methods import METHODS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--request", type=Path, default=ROOT / "examples/requests/astronaut.yaml")
    parser.add_argument("--params", type=Path, default=ROOT / "params.yaml")
    parser.add_argument("--home", type=Path, help="state folder; a new one if left out")
    parser.add_argument(
        "--only", action="append", choices=sorted(METHODS), help="replace just this method's row"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(argv)
    home = chosen.home or Path(tempfile.mkdtemp(prefix="erasure-methods-"))
    by_method = (
        json.loads(chosen.out.read_text())["methods"] if chosen.only and chosen.out.exists() else {}
    )
    for method in chosen.only or sorted(METHODS):
        by_method[method] = measured(method, chosen.request, chosen.params, home)
        print(row(method, by_method[method]), end="", file=sys.stderr)
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    results = {
        "request": chosen.request.name,
        "machine": machine,
        "methods": dict(sorted(by_method.items())),
    }
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2) if chosen.json else table(results))


if __name__ == "__main__":
    main()
