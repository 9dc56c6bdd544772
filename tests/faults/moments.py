"""SIGKILL at random moments of whole commands, each a process of its own with its own server.

Only the command itself is killed, as by a kernel that is out of memory: what it had started must
end by itself.
"""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tests.faults import checks, every_write
from tests.faults.every_write import Scenario
from tests.faults.results import Result
from tests.faults.world import World, clean_environment, spelled
from tests.faults.zygote import ROOT, Zygote

KIND = "random moment"
# which command is killed how often; together 50
TIMES = {"run": 20, "run (nightly)": 15, "restore": 15}
TO_END = 15.0  # seconds in which what a killed command had started must have ended


def started(world: World, command: Sequence[str], **more: str) -> subprocess.Popen[str]:
    """A command as a shell starts it."""
    home = {"ERASURE_HOME": str(world.home)}
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *command],
        cwd=ROOT,
        env=clean_environment(world.folder) | home | world.more | more,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def length(world: World, zygote: Zygote, scenario: Scenario) -> float:
    """How many seconds the command takes here and now."""
    every_write.begin(world, zygote, scenario)
    begun = time.monotonic()
    _, err = (process := started(world, spelled(world, scenario.command))).communicate()
    if process.returncode != scenario.code:
        raise RuntimeError(f"{scenario.name} ended {process.returncode}: {err}")
    return time.monotonic() - begun


def case(
    world: World,
    zygote: Zygote,
    scenario: Scenario,
    number: int,
    seconds: float,
    should: Mapping[str, Any],
) -> Result:
    """Killed at a moment that `number` draws; an earlier one where it had ended before."""
    draw = random.Random(f"{scenario.name} {number}")
    latest = seconds
    while True:
        moment = draw.uniform(0, latest)
        every_write.begin(world, zygote, scenario)
        process = started(world, spelled(world, scenario.command))
        try:
            process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            break
        latest = moment
    process.kill()
    process.communicate()
    faults = checks.left_alive(process.pid, TO_END)
    if process.returncode != -signal.SIGKILL:
        faults.append(f"was not killed: exit {process.returncode}")
    faults += every_write.again(world, zygote, scenario, should)
    faults += checks.faults(zygote.facts(world.home, **world.more), should)
    where = f"after {moment:.1f} s of {seconds:.0f}"
    return Result(scenario.name, KIND + world.on, str(number), tuple(faults), where, moment)
