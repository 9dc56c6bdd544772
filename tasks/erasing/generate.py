"""Make the paired pictures: the same prompts, seeds and sampler for the base and for each
candidate.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from erasure_core.law.prompts import PromptRow
from erasure_core.network.images import is_whole
from erasure_core.network.models import Teacher
from erasure_core.network.weights import WeightDelta
from erasure_core.planning.params import Sampling
from erasure_core.planning.plan import BASE, Plan, Stage
from tasks.erasing.draw import draw_rows
from tasks.erasing.snapshot import teacher_of
from tasks.home import Home
from tasks.progress import progress


@task(name="generate", task_run_name="generate {who}, {stage}", tags=["gpu"], cache_policy=NO_CACHE)
def generate(plan: Plan, who: str, home: Home, stage: Stage = "report") -> None:
    """Generate every prompt set of a stage with the base or with one candidate; sets that are
    already whole are kept.
    """
    teacher = teacher_of(plan, home)
    sets = [*plan.rows(stage)]
    if who == BASE and stage == "report":
        sets += plan.instead()
    todo = [
        (name, rows) for name, rows in sets if not plan.picture(who, name, rows[0]).parent.exists()
    ]
    edit = (
        nullcontext()
        if who == BASE
        else WeightDelta.load(plan.delta_file(who)).applied(teacher.unet)
    )
    with edit, progress(f"generate, {who}", sum(len(rows) for _, rows in todo) or 1) as advance:
        for name, rows in todo:
            generate_rows(
                teacher,
                rows,
                plan.params.sampling,
                plan.picture(who, name, rows[0]).parent,
                advance,
            )


def generate_rows(
    teacher: Teacher,
    rows: Sequence[PromptRow],
    sampling: Sampling,
    folder: Path,
    on_batch: Callable[[int], None] | None = None,
) -> None:
    """Write one picture per row to `folder` as `<case_number>.png`; the folder appears only when it
    is whole. Batches that are there whole, of work that was killed, are not drawn again.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    files = {row.case_number: partial / f"{row.case_number}.png" for row in rows}
    drawn = _whole_batches([*files.values()], teacher.size, sampling.batch_size)
    if on_batch:
        on_batch(drawn)
    draw_rows(teacher, rows[drawn:], sampling, lambda row: files[row.case_number], on_batch)
    partial.rename(folder)


def _whole_batches(files: Sequence[Path], size: int, batch: int) -> int:
    """How many pictures there are in whole batches: a row drawn beside others than before could
    differ in its last bits.
    """
    first = next((i for i, file in enumerate(files) if not is_whole(file, size)), len(files))
    return first if first == len(files) else first - first % batch
