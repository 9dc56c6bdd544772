"""What other packages bring: found by their entry points, loaded once somebody asks."""

import hashlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, TypeVar

from erasure_core.errors import BadInput

T = TypeVar("T")
GROUPS = ("erasure.methods", "erasure.metrics", "erasure.attacks", "erasure.detectors")
# What an installation adds; all of it names a folder of the machine, or when it was made
UNHASHED = re.compile(
    r"__pycache__|\.dist-info|\.egg-info|__editable__|\.pth$|^\.\..*/(bin|Scripts)/[^/]+$"
)

# What lies beside a project's code and is in no wheel of it
BESIDE_CODE = ("conftest", "docs", "examples", "noxfile", "setup", "test", "tests")


@cache
def _declared(group: str) -> tuple[EntryPoint, ...]:
    """What installed packages declare: asked often, and an answer reads the list of every one."""
    return tuple(entry_points(group=group))


def hashes() -> dict[str, str]:
    """ "plugin <distribution>" -> sha256 over the bytes of its files, for every installed package
    that brings something: what it does decides results as this package's own code does.
    """
    points = [point for group in GROUPS for point in _declared(group)]
    brought = {point.dist.name: point.dist for point in points if point.dist}
    named: dict[str, set[str]] = {name: set() for name in brought}
    for point in points:
        if point.dist:
            named[point.dist.name].add(point.module.partition(".")[0])
    for name, dist in brought.items():  # what its modules import of its own
        named[name].update((dist.read_text("top_level.txt") or "").split())
    return {f"plugin {name}": _sha256(brought[name], named[name]) for name in sorted(brought)}


def _sha256(dist: Distribution, packages: Iterable[str]) -> str:
    files = {str(f): Path(str(f.locate())) for f in dist.files or ()}
    for package in packages:  # an editable installation lists none of its code
        files |= dict(_files_of(package))
    for folder in _put_on_path(dist):
        files |= dict(_files_in(folder))
    whole = hashlib.sha256()
    for name in sorted(files):
        if files[name].is_file() and not UNHASHED.search(name):
            content = hashlib.sha256(files[name].read_bytes()).hexdigest()
            whole.update(f"{content}  {name}\n".encode())
    return whole.hexdigest()


def _put_on_path(dist: Distribution) -> Iterator[Path]:
    """The folders that an editable installation puts on Python's path. hatch, poetry and flit say
    no more of the packages that they bring.
    """
    for listed in dist.files or ():
        file = Path(str(listed.locate()))
        if file.suffix == ".pth" and file.is_file():
            yield from filter(Path.is_dir, map(Path, filter(None, file.read_text().splitlines())))


def _files_in(folder: Path) -> Iterator[tuple[str, Path]]:
    """Relative name -> file of every package and module in a folder that may be a whole
    project's.
    """
    for module in iter_modules([str(folder)]):
        if module.name not in BESIDE_CODE:
            package = folder / module.name
            found = package.rglob("*") if module.ispkg else folder.glob(f"{module.name}.*")
            yield from ((file.relative_to(folder).as_posix(), file) for file in found)


def _files_of(package: str) -> Iterator[tuple[str, Path]]:
    """Relative name -> file of a package or a module, without importing it."""
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for file in Path(folder).rglob("*"):
            yield f"{package}/{file.relative_to(folder).as_posix()}", file
    if spec and spec.origin and not spec.submodule_search_locations:
        yield Path(spec.origin).name, Path(spec.origin)


def names(group: str) -> list[str]:
    """What is declared under an entry point group, without loading it."""
    return sorted(point.name for point in _declared(group))


def takes(function: Any, given: int, *named: str) -> bool:
    """Whether a plug-in's function can be called with so many arguments by their place and these by
    name: a run would find out after all its work. One that does not tell is believed.
    """
    try:
        inspect.signature(function).bind(*[None] * given, **dict.fromkeys(named))
    except TypeError:
        return False
    except ValueError:
        return True
    return True


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
    for point in _declared(group) if points is None else points:
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
