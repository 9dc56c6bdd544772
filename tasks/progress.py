"""Progress of long steps: a bar in the terminal, and a progress artifact in Prefect's interface."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_ARTIFACT_STEPS = 10  # updates of the artifact per step of the flow: each is a request to the API


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a step of `total` units; the function given to the body takes how many more are done."""
    from prefect.artifacts import create_progress_artifact, update_progress_artifact
    from prefect.context import TaskRunContext

    artifact = (
        create_progress_artifact(progress=0.0, description=title) if TaskRunContext.get() else None
    )
    done = shown = 0
    columns = (
        TextColumn("{task.description:<34}", markup=False),  # a name may hold brackets
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task(title, total=total)

        def advance(n: int) -> None:
            nonlocal done, shown
            done += n
            bars.update(bar, completed=done)
            if artifact and (done == total or done * _ARTIFACT_STEPS // total > shown):
                shown = done * _ARTIFACT_STEPS // total
                update_progress_artifact(artifact, progress=100.0 * done / total)  # type: ignore[arg-type]

        yield advance


class Clock:
    """Seconds that each step of a run took, by the step's name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Time the body as `step`."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[step] = round(self.seconds.get(step, 0.0) + time.monotonic() - began, 2)
