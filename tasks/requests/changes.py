"""Whether what a command changes in the parameters is read by its run: no change is dropped."""

from collections.abc import Sequence

from erasure_core.errors import BadInput
from erasure_core.planning.params import Params, has_lambda


def check_read(changes: Sequence[str], params: Params, method: str | None) -> None:
    """Refuse `changes` (`key=value`) that a run by `method` would not read.

    Args:
        changes: What the command changes.
        params: The parameters with these changes.
        method: What the command or a request names; None: the parameters' method.

    Raises:
        BadInput: Lambdas for a method that has none, or settings of another method.
    """
    used = params.with_method(method).method
    for change in changes:
        key, _, value = change.partition("=")
        key = key.strip()
        if key == "lambdas" and not has_lambda(used):
            raise BadInput(
                f"{used.method} has no lambda; leave --lambdas or --set lambdas out, or name "
                f"another method"
            )
        owner, setting = _owner(key, params)
        if owner not in (None, used.method):
            own = "method" if used.method == params.method.method else f"methods.{used.method}"
            raise BadInput(
                f"--set {key}={value} changes {owner}, and this run erases by {used.method}; write "
                f"--set {own}{setting}={value}, or name the method with --method {owner}"
            )


def _owner(key: str, params: Params) -> tuple[str | None, str]:
    """The method whose settings a key is of, None where it is no method's, and the rest of it:
    "method.updates" -> ("all_but_one", ".updates").
    """
    section, *rest = key.split(".")
    if section == "method":
        return params.method.method, "".join(f".{name}" for name in rest)
    if section == "methods" and rest:
        return rest[0], "".join(f".{name}" for name in rest[1:])
    return None, ""
