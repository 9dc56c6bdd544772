"""What other packages bring: found by their entry points, loaded once somebody asks."""

from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from erasure_core.errors import BadInput

T = TypeVar("T")


def with_plugins(
    own: dict[str, T],
    group: str,
    what: str,
    fits: Callable[[Any], bool],
    form: str,
    points: Iterable[EntryPoint] | None = None,
) -> dict[str, T]:
    """`own` and what installed packages declare under an entry point group, by name.

    Args:
        own: What this package brings.
        group: Name of the entry point group.
        what: What one of them is, for messages: "metric".
        fits: Whether what was loaded can be used.
        form: What it must be, for messages.
        points: Entry points to add; None: the installed ones of the group.

    Raises:
        BadInput: If a plug-in cannot be loaded, does not fit, or takes a name that is taken; the
            message says which, and of which package.
    """
    found = dict(own)
    for point in entry_points(group=group) if points is None else points:
        package = point.dist.name if point.dist else "an unknown package"
        whose = f"{what} {point.name!r} ({point.value}, entry point {group} of {package})"
        if point.name in found:
            raise BadInput(f"{whose}: this name is taken; rename it or uninstall the package")
        try:
            loaded = point.load()
        except Exception as fault:  # whatever a foreign module raises
            raise BadInput(
                f"{whose} cannot be loaded: {type(fault).__name__}: {fault}; repair or uninstall "
                f"the package"
            ) from fault
        if not fits(loaded):
            raise BadInput(f"{whose} is a {type(loaded).__name__}; it must be {form}")
        found[point.name] = loaded
    return found
