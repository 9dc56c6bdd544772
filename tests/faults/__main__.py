"""`python -m tests.faults`: faults of every kind, laid for real; see docs/faults.md."""

import argparse
import queue
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from tests.faults import beside, every_write, moments
from tests.faults.every_write import SCENARIOS, Scenario
from tests.faults.postgres import Postgres, postgres
from tests.faults.results import Result, Results
from tests.faults.world import World, code_sha256, world
from tests.faults.zygote import Zygote

QUICK = 3  # cases of each command in a short run
PARTS = ("every-write", "moments", "beside")
DATABASES = ("sqlite", "postgres")
Case = TypeVar("Case")
Slot = tuple[World, Zygote]  # a place for one case at a time, and a zygote for it


def main() -> int:
    asked = _arguments()
    results = Results(asked.out, code_sha256())
    with ExitStack() as stack:
        folder = asked.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        shared = stack.enter_context(world(folder.absolute()))
        for name in asked.on:
            server = stack.enter_context(postgres()) if name == "postgres" else None
            slots = [_slot(shared, n, server, stack) for n in range(asked.jobs)]
            for part in asked.parts:
                {"every-write": _every_write, "moments": _moments, "beside": _beside}[part](
                    slots, asked, results
                )
    print("\n".join(results.table()))
    return 1 if results.failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the cases happen; default: a new one")
    parser.add_argument("--out", type=Path, help="file of results; what passed there is skipped")
    parser.add_argument("--only", nargs="*", help="these commands, as the table names them")
    parser.add_argument("--at", nargs="*", type=int, help="these effects or moments")
    parser.add_argument("--what", default="", help="effects that hold this, and the next of each")
    parser.add_argument("--kind", default="", help="faults whose kind begins with this")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--on", nargs="*", choices=DATABASES, default=DATABASES)
    parser.add_argument("--jobs", type=int, default=2, help="cases at a time")
    parser.add_argument("--cases", type=int, help="at most so many more of each command")
    parser.add_argument(
        "--quick", action="store_const", const=QUICK, dest="cases", help=f"--cases {QUICK}"
    )
    return parser.parse_args()


def _slot(shared: World, number: int, server: Postgres | None, stack: ExitStack) -> Slot:
    name = f"slot_{number}_{'postgres' if server else 'sqlite'}"
    database = replace(server, name=name) if server else None
    own = replace(shared, folder=shared.folder / name, database=database)
    zygote = Zygote(own.environment(), own.folder / "zygote")
    stack.callback(zygote.close)
    return own, zygote


def _every_write(slots: list[Slot], asked: argparse.Namespace, results: Results) -> None:
    for scenario in _wanted(asked):
        kind = every_write.KIND + slots[0][0].on
        should, effects = every_write.undisturbed(*slots[0], scenario)
        numbers = [
            n
            for n in every_write.numbers(len(effects))[: scenario.cases]
            if any(asked.what in effect for effect in effects[max(0, n - 2) : n])
        ]
        left = _left(asked, results, scenario, kind, numbers)
        print(f"{scenario.name}, {kind}: {len(effects)} effects, {len(left)} to try", flush=True)

        def one(slot: Slot, at: int) -> Result:
            return every_write.case(*slot, scenario, at, should)  # noqa: B023 - called at once

        _share(slots, left, one, results)


def _moments(slots: list[Slot], asked: argparse.Namespace, results: Results) -> None:
    for scenario in _wanted(asked):
        kind = moments.KIND + slots[0][0].on
        numbers = range(1, moments.TIMES.get(scenario.name, 0) + 1)
        left = _left(asked, results, scenario, kind, numbers)
        if not left:
            continue
        should, _ = every_write.undisturbed(*slots[0], scenario)
        seconds = moments.length(*slots[0], scenario)
        print(f"{scenario.name}, {kind}: {seconds:.0f} s, {len(left)} to try", flush=True)

        def one(slot: Slot, number: int) -> Result:
            return moments.case(*slot, scenario, number, seconds, should)  # noqa: B023 - at once

        _share(slots, left, one, results)


def _beside(slots: list[Slot], asked: argparse.Namespace, results: Results) -> None:
    here = slots[0][0]
    left = [
        (command, kind)
        for command, kind in beside.kinds(server=bool(here.database))
        if (not asked.only or command in asked.only)
        and kind.startswith(asked.kind)
        and not results.passed(command, kind + here.on, 1)
    ]
    _share(slots[:1], left, lambda slot, which: beside.case(*slot, *which), results)


def _wanted(asked: argparse.Namespace) -> list[Scenario]:
    return [s for s in SCENARIOS if not asked.only or s.name in asked.only]


def _left(
    asked: argparse.Namespace,
    results: Results,
    scenario: Scenario,
    kind: str,
    numbers: Iterable[int],
) -> list[int]:
    """Which cases are to be tried now."""
    if asked.at:
        return [n for n in numbers if n in asked.at]
    left = [n for n in numbers if not results.passed(scenario.name, kind, n)]
    return left[: asked.cases]


def _share(
    slots: list[Slot], left: Sequence[Case], one: Callable[[Slot, Case], Result], results: Results
) -> None:
    """Each slot takes the next case until none is left."""
    waiting: queue.SimpleQueue[Case] = queue.SimpleQueue()
    for case in left:
        waiting.put(case)
    broken: list[BaseException] = []

    def work(slot: Slot) -> None:
        try:
            while not broken:
                results.add(one(slot, waiting.get_nowait()))
        except queue.Empty:
            return
        except BaseException as fault:
            broken.append(fault)

    threads = [threading.Thread(target=work, args=[slot]) for slot in slots]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if broken:
        raise broken[0]


if __name__ == "__main__":
    sys.exit(main())
