"""`python -m tests.faults`: faults of every kind, laid for real; see docs/faults.md."""

import argparse
import queue
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from tests.faults import every_write
from tests.faults.results import Result, Results
from tests.faults.world import World, world
from tests.faults.zygote import Zygote

QUICK = 6  # cases of each command in a short run


def main() -> int:
    asked = _arguments()
    results = Results(asked.out)
    with world(asked.folder) as shared:
        if "every-write" in asked.parts:
            _every_write(shared, asked, results)
    print("\n".join(results.table()))
    return 1 if results.failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where the cases happen")
    parser.add_argument("--out", type=Path, help="file of results; what passed there is skipped")
    parser.add_argument("--only", help="commands whose name holds this")
    parser.add_argument("--at", type=int, nargs="*", help="these effects alone")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} cases of each command")
    parser.add_argument("--parts", nargs="*", default=["every-write"])
    asked = parser.parse_args()
    asked.folder = asked.folder.absolute()
    return asked


def _every_write(shared: World, asked: argparse.Namespace, results: Results) -> None:
    scenarios = [s for s in every_write.SCENARIOS if not asked.only or asked.only in s.name]
    with ExitStack() as stack:
        slots = [_slot(shared, n, stack) for n in range(asked.jobs)]
        for scenario in scenarios:
            should, count = every_write.undisturbed(*slots[0], scenario)
            kind = every_write.KIND + slots[0][0].on
            left = every_write.cases_of(scenario, count, results, kind, asked.at)
            left = left[:QUICK] if asked.quick else left
            print(f"{scenario.name}: {count} effects, {len(left)} cases to try", flush=True)

            def one(slot: tuple[World, Zygote], at: int) -> Result:
                return every_write.case(*slot, scenario, at, should)  # noqa: B023 - used at once

            _share(slots, left, one, results)


def _slot(shared: World, number: int, stack: ExitStack) -> tuple[World, Zygote]:
    """A place for one case at a time, and a zygote for it."""
    own = replace(shared, folder=shared.folder / f"slot-{number}")
    zygote = Zygote(own.environment(), own.folder / "zygote")
    stack.callback(zygote.close)
    return own, zygote


def _share(
    slots: list[tuple[World, Zygote]],
    left: list[int],
    one: Callable[[tuple[World, Zygote], int], Result],
    results: Results,
) -> None:
    """Each slot takes the next case until none is left."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for at in left:
        waiting.put(at)
    broken: list[BaseException] = []

    def work(slot: tuple[World, Zygote]) -> None:
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
