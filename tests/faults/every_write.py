"""SIGKILL at every durable effect of a command, one by one; then the same command again."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults import checks
from tests.faults.results import Result
from tests.faults.world import PASSING, World, put, spelled
from tests.faults.zygote import Zygote
from tests.toy import CAT

KIND = "every write"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A command on a prepared state."""

    name: str
    state: str
    command: tuple[str, ...]
    code: int = 0
    damage: Callable[[Path], None] | None = None  # done to the state first
    cases: int | None = None  # so many, spread over its effects; None: all of them


def spoil(home: Path) -> None:
    """What a careless hand does to the places that only mirror the book."""
    import sqlite3

    with sqlite3.connect(home / "mlflow.db") as registry:
        registry.execute("delete from registered_model_aliases")
        registry.execute("delete from model_version_tags where key = 'gate.verdict'")
    folder = min(f for f in (home / "checkpoints").iterdir() if f.is_dir())
    shutil.rmtree(folder)
    remote = min(f for f in (home / "dvc-remote").rglob("*") if f.is_file())
    remote.chmod(0o644)
    remote.write_bytes(b"damaged")
    for served in (home / "mlartifacts").rglob("serve_model.py"):
        served.write_text(served.read_text() + "print('added')\n")


RESTORE = ("restore", CAT, "--reason", "asked again", *PASSING)
GALLERY = ("run", "{gallery}", "--params", "{gallery_params}", "--method", "uce")
SCENARIOS = (
    Scenario("request add", "new", ("request", "add", "{cat}", *PASSING)),
    Scenario("run", "new", ("run", "{cat}", *PASSING)),
    Scenario("rollback", "twice", ("rollback", "--to", "1", "--reason", "a test", *PASSING)),
    Scenario("reconcile", "one", ("reconcile",), damage=spoil),
    Scenario("run, refused", "new", ("run", "{cat}", "--params", "{void}"), code=3),
    Scenario("run (nightly)", "inbox", ("run", *PASSING)),
    Scenario("restore", "two", RESTORE),
    Scenario("restore, the last", "one", RESTORE),
    Scenario("run --fresh", "one", ("run", "{cat}", "--fresh", *PASSING)),
    Scenario("run, gallery, uce", "new", GALLERY, cases=12),
)


def undisturbed(
    world: World, zygote: Zygote, scenario: Scenario
) -> tuple[dict[str, Any], list[str]]:
    """What the command comes to if nothing disturbs it, and its effects, a line each.

    Raises:
        RuntimeError: It fails, or leaves something wrong, without any fault.
    """
    for _ in "ab":  # the first one also imports
        begin(world, zygote, scenario)
        ended = zygote.run(world.home, spelled(world, scenario.command), at=0, **world.more)
    found = zygote.facts(world.home, **world.more)
    wrong = [*checks.whole(found)]
    if ended.code != scenario.code or wrong:
        raise RuntimeError(f"{scenario.name} undisturbed: exit {ended.code}, {wrong}; {ended.err}")
    return found, zygote.effects()


def numbers(count: int) -> list[int]:
    """1 to `count`, spread: after any part of it, every stretch was tried."""
    step = 1
    while step * 2 < count:
        step *= 2
    order = dict.fromkeys(range(step, count + 1, step))
    while step > 1:
        step //= 2
        order |= dict.fromkeys(range(step, count + 1, step))
    return list(order)


def case(
    world: World, zygote: Zygote, scenario: Scenario, at: int, should: Mapping[str, Any]
) -> Result:
    """Killed at effect `at`, then again, then looked at."""
    begin(world, zygote, scenario)
    command = spelled(world, scenario.command)
    killed = zygote.run(world.home, command, at=at, **world.more)
    effects = zygote.effects()
    where = effects[at - 1] if len(effects) >= at else "never reached"
    faults = (
        [] if killed.code == -9 else [f"was not killed: exit {killed.code} {killed.err[-300:]}"]
    )
    faults += checks.left_alive(killed.session)
    faults += list(again(world, zygote, scenario, should))
    faults += list(checks.faults(zygote.facts(world.home, **world.more), should))
    return Result(scenario.name, KIND + world.on, str(at), tuple(faults), where, killed.seconds)


def begin(world: World, zygote: Zygote, scenario: Scenario) -> None:
    """A fresh copy of the state that the command finds."""
    put(world, zygote, scenario.state)
    if scenario.damage:
        scenario.damage(world.home)


def again(
    world: World, zygote: Zygote, scenario: Scenario, should: Mapping[str, Any]
) -> Iterator[str]:
    """The same command again: what is wrong with how it ends."""
    command = spelled(world, scenario.command)
    if "--fresh" in command and _was_decided(world, zygote, should):
        command = ["reconcile"]  # once more would rightly be one release more
    again = zygote.run(world.home, command, **world.more)
    yield from checks.left_alive(again.session)
    if again.code != (0 if command == ["reconcile"] else scenario.code):
        yield f"the same command again ended {again.code}: {again.err[-500:]}"


def _was_decided(world: World, zygote: Zygote, should: Mapping[str, Any]) -> bool:
    found = zygote.facts(world.home, **world.more)
    return len(found["versions"]) == len(should["versions"])
