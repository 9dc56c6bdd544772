"""Where the time of the main job goes, step by step: a table of the releases of a state folder.

    python -m benchmarks.main_job .erasure

Nothing is run: every release keeps in its record the seconds that each of its steps took. Run the
main job in a new state folder, on a machine that does nothing else, once before a change and once
after it, and compare.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from erasure_core.errors import BadInput
from erasure_core.law.lineage import RunRecord, steps_of


def records(home: Path) -> list[RunRecord]:
    """Those of a state folder, oldest first. `BadInput` if it has none."""
    found = [RunRecord.from_json(file) for file in home.glob("records/*.json")]
    if not found:
        raise BadInput(f"no record in {home / 'records'}; name a state folder that has releases")
    return sorted(found, key=lambda record: record.created)


def table(found: Sequence[RunRecord]) -> str:
    """A line a step, the longest first, a column a release, in seconds. What erasing each candidate
    took is held by "erase and generate", is not added to the total again and stands below it.
    """
    known = {step for record in found for step in record.seconds}
    steps = sorted(sorted(known), key=lambda step: -sum(r.seconds.get(step, 0) for r in found))
    whole = {step for record in found for step in steps_of(record.seconds)}

    def line(step: str) -> list[str]:
        return [step, *("" if (s := r.seconds.get(step)) is None else f"{s:.1f}" for r in found)]

    head = ["step", *(f"{r.model_name} {r.model_version}, {_method(r)}" for r in found)]
    lines = [
        head,
        ["---"] * len(head),
        *(line(step) for step in steps if step in whole),
        ["total", *(f"{sum(steps_of(r.seconds).values()):.1f}" for r in found)],
        *(line(step) for step in steps if step not in whole),
    ]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _method(record: RunRecord) -> str:
    return str(record.params.get("method", {}).get("method", "the base"))


def main(home: Annotated[Path, typer.Argument(help="A state folder.")] = Path(".erasure")) -> None:
    """Print the table."""
    print(table(records(home)))


if __name__ == "__main__":
    typer.run(main)
