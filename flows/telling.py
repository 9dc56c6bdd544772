"""How a run of a deployment tells what is wrong: in one line, where a person looks for it."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import runtime

from erasure_core.errors import ErasureError
from erasure_core.redact import redacted
from erasure_core.text import escaped

Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")


def one_line(work: Callable[Arguments, Value]) -> Callable[Arguments, Value]:
    """Let a flow's own refusals end a deployment's run in a failed state with one line, in its log
    too, where Prefect would show a traceback. The command line gets them as they are.
    """

    @functools.wraps(work)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Any:
        try:
            return work(*args, **kwargs)
        except ErasureError as fault:
            if runtime.deployment.id is None:
                raise
            return _failed(escaped(redacted(" ".join(str(fault).split()))))

    return run


def _failed(line: str) -> Any:
    from prefect.logging import get_run_logger
    from prefect.states import Failed

    get_run_logger().error(line)
    return Failed(message=line)
