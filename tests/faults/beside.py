"""Several commands at once, one that is paused, and services that fail under a command."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from tests.faults import checks, every_write
from tests.faults.every_write import Scenario
from tests.faults.moments import TO_END, started
from tests.faults.results import Result
from tests.faults.world import NAMES, PASSING, World, clean_environment, put, spelled
from tests.faults.zygote import LARGEST_FILE, Zygote
from tests.toy import ASTRONAUT, CAT

OUTAGE = 30  # seconds that the database is away
LONG = 900  # seconds after which a command that should end is given up
SHARES = (1, 2, 3, 4, 5)  # eighths of what a run leaves that a full disk has room for
RUN = Scenario("run", "new", ("run", "{cat}", *PASSING))

Trial = Callable[[World, Zygote], Iterator[str]]


def ended(name: str, process: subprocess.Popen[str], code: int = 0) -> Iterator[str]:
    """What is wrong with how a process ended."""
    try:
        _, err = process.communicate(timeout=LONG)
    except subprocess.TimeoutExpired:
        process.kill()
        yield f"{name} did not end within {LONG} s"
        return
    if process.returncode != code:
        yield f"{name} ended {process.returncode}, not {code}: {err[-500:]}"
    if "Traceback" in err:
        yield f"{name} shows a traceback: {err[-500:]}"
    yield from checks.left_alive(process.pid, TO_END)


def until(sign: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait for a sign of a process that must not end before it."""
    while not sign():
        if process.poll() is not None:
            raise RuntimeError(f"ended {process.returncode} too early: {process.communicate()}")
        time.sleep(0.1)


def working(world: World) -> bool:
    """Whether a run has begun to make pictures: it holds the lease then."""
    return bool(list(world.home.glob("runs/*/images/base/kept*")))


def at_rest(world: World, zygote: Zygote, honoured: Mapping[str, str]) -> Iterator[str]:
    """What is wrong in the end, and with these requests' states."""
    found = zygote.facts(world.home, **world.more)
    yield from checks.whole(found)
    states = {request: state for request, (state, _) in found["requests"].items()}
    if states != honoured:
        yield f"requests are {states}, should be {dict(honoured)}"


def at_once(number: int) -> Trial:
    """So many runs of different requests."""

    def trial(world: World, zygote: Zygote) -> Iterator[str]:
        put(world, zygote, "new")
        names = list(NAMES)[:number]
        runs = [started(world, spelled(world, ("run", f"{{{n}}}", *PASSING))) for n in names]
        for name, run in zip(names, runs, strict=True):
            yield from ended(f"run {name}", run)
        yield from at_rest(world, zygote, {NAMES[n]: "honoured" for n in names})

    return trial


def beside_restore(world: World, zygote: Zygote) -> Iterator[str]:
    put(world, zygote, "one")
    run = started(world, spelled(world, ("run", "{astronaut}", *PASSING)))
    restore = started(world, spelled(world, every_write.RESTORE))
    yield from ended("run", run)
    yield from ended("restore", restore)
    yield from at_rest(world, zygote, {ASTRONAUT: "honoured", CAT: "restored"})


def added_beside(world: World, zygote: Zygote) -> Iterator[str]:
    put(world, zygote, "asked")
    nightly = started(world, spelled(world, ("run", *PASSING)))
    until(lambda: working(world), nightly)
    add = started(world, spelled(world, ("request", "add", "{astronaut}", *PASSING)))
    yield from ended("request add", add)
    if nightly.poll() is not None:
        yield "request add waited for the nightly"
    yield from ended("nightly", nightly)
    yield from at_rest(world, zygote, {CAT: "honoured", ASTRONAUT: "received"})
    yield from again(world, zygote, ("run", *PASSING))
    yield from at_rest(world, zygote, {CAT: "honoured", ASTRONAUT: "honoured"})


def asked_beside_restore(world: World, zygote: Zygote) -> Iterator[str]:
    """Somebody asks for the concept that is being brought back."""
    put(world, zygote, "two")
    runs = [*world.home.glob("runs/*")]
    restore = started(world, spelled(world, every_write.RESTORE))
    until(lambda: len([*world.home.glob("runs/*")]) > len(runs), restore)
    asked = started(world, spelled(world, ("request", "add", "{cat_again}", *PASSING)))
    yield from ended("request add", asked)
    yield from ended("restore", restore, code=1)
    should = {CAT: "honoured", ASTRONAUT: "honoured", NAMES["cat_again"]: "honoured"}
    yield from at_rest(world, zygote, should)


def paused(world: World, zygote: Zygote) -> Iterator[str]:
    put(world, zygote, "new")
    first = started(world, spelled(world, ("run", "{cat}", *PASSING)))
    until(lambda: working(world), first)
    first.send_signal(signal.SIGSTOP)
    yield from ended("the second", started(world, spelled(world, ("run", "{astronaut}", *PASSING))))
    first.send_signal(signal.SIGCONT)
    yield from ended("the one that was paused", first, code=1)
    yield from at_rest(world, zygote, {ASTRONAUT: "honoured", CAT: "ready"})
    yield from again(world, zygote, ("run", "{cat}", *PASSING))
    yield from at_rest(world, zygote, {ASTRONAUT: "honoured", CAT: "honoured"})


def without_database(world: World, zygote: Zygote) -> Iterator[str]:
    assert world.database
    should, _ = every_write.undisturbed(world, zygote, RUN)
    put(world, zygote, "new")
    run = started(world, spelled(world, RUN.command))
    until(lambda: working(world), run)
    world.database.stop()
    time.sleep(OUTAGE)
    world.database.start()
    yield from ended("run", run)
    yield from checks.faults(zygote.facts(world.home, **world.more), should)


def full_disk(world: World, zygote: Zygote) -> Iterator[str]:
    should, _ = every_write.undisturbed(world, zygote, RUN)
    files = {f.stat().st_ino: f.stat().st_blocks * 512 for f in world.home.rglob("*")}
    needs = sum(files.values())
    registry = (world.folder / "mlflow.db").stat().st_size
    place = replace(world, folder=world.folder / "full")
    for share in SHARES:
        with small_disk(place.folder, registry + (needs - registry) * share // 8) as more_room:
            shutil.copyfile(world.folder / "mlflow.db", _made(place.home) / "mlflow.db")
            run = zygote.run(place.home, spelled(world, RUN.command), **world.more)
            where = f"with {share}/8 of the room"
            if run.code == 0:
                yield f"{where} a run ended 0: nothing was full"
            if "Traceback" in run.err:
                yield f"{where} a traceback: {run.err[-800:]}"
            more_room()
            yield from (f"{where}: {f}" for f in again(place, zygote, RUN.command))
            found = zygote.facts(place.home, **place.more)
            yield from (f"{where}: {fault}" for fault in checks.faults(found, should))


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Callable[[], None]]:
    """A file system of `size` bytes at `folder`; what it gives makes it large. Needs root."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    subprocess.run(["mount", *options], check=True)
    try:
        yield lambda: subprocess.run(
            ["mount", "-o", f"remount,size={2**30}", str(folder)], check=True
        )
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def small_files(world: World, zygote: Zygote) -> Iterator[str]:
    """No file may grow beyond a size: a full disk as any user can have it."""
    should, _ = every_write.undisturbed(world, zygote, RUN)
    for largest in (2**10, 2**14, 2**17, 2**18):
        put(world, zygote, "new")
        limit = {LARGEST_FILE: str(largest)}
        run = zygote.run(world.home, spelled(world, RUN.command), **world.more, **limit)
        where = f"with files of at most {largest} bytes"
        if run.code == 0:
            yield f"{where} a run ended 0: nothing was too large"
        if "Traceback" in run.err:
            yield f"{where} a traceback: {run.err[-800:]}"
        yield from (f"{where}: {f}" for f in again(world, zygote, RUN.command))
        found = zygote.facts(world.home, **world.more)
        yield from (f"{where}: {fault}" for fault in checks.faults(found, should))


def without_registry(world: World, zygote: Zygote) -> Iterator[str]:
    """MLflow is down from the start: nothing begins."""
    should, _ = every_write.undisturbed(world, zygote, RUN)
    put(world, zygote, "new")
    closed = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}"}
    run = zygote.run(world.home, spelled(world, RUN.command), **world.more, **closed)
    if run.code not in (1, 2) or "Traceback" in run.err:
        yield f"run ended {run.code}: {run.err[-500:]}"
    if found := list(world.home.glob("runs/*")):
        yield f"something was begun: {found}"
    yield from again(world, zygote, RUN.command)
    yield from checks.faults(zygote.facts(world.home, **world.more), should)


def registry_dies(world: World, zygote: Zygote) -> Iterator[str]:
    """MLflow dies under a run, which is released all the same; `reconcile` tells MLflow later."""
    put(world, zygote, "new")
    port = free_port()
    more = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
    with registry(world, port):
        run = started(world, spelled(world, RUN.command), **more)
        until(lambda: working(world), run)
    yield from ended("run", run)
    behind = zygote.run(world.home, ["status"], **world.more, **more)
    if "behind: toy/1/mlflow version" not in behind.out:
        yield f"status does not say what is behind: {behind.out} {behind.err[-300:]}"
    with registry(world, port):
        yield from again(world, zygote, ("reconcile",), **more)
        found = zygote.facts(world.home, **world.more, **more)
        yield from checks.whole(found)
        if {i: s for i, (s, _) in found["requests"].items()} != {CAT: "honoured"}:
            yield f"requests are {found['requests']}"


@contextmanager
def registry(world: World, port: int) -> Iterator[None]:
    """An MLflow server on `port`; dead, with all its workers, in the end."""
    place = _made(world.folder / "registry")
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{place}/mlflow.db"]
    command += ["--artifacts-destination", str(place / "artifacts")]
    if not (place / "mlflow.db").exists():
        shutil.copyfile(world.folder / "mlflow.db", place / "mlflow.db")
    with (place / "log").open("ab") as log:
        environment = clean_environment(world.folder)
        server = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        while not _answers(port):
            if server.poll() is not None:
                raise RuntimeError(f"MLflow's server ended; see {place}/log")
            time.sleep(0.3)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def free_port() -> int:
    """A loopback port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def again(world: World, zygote: Zygote, command: tuple[str, ...], **more: str) -> Iterator[str]:
    """A command that must succeed now."""
    done = zygote.run(world.home, spelled(world, command), **world.more, **more)
    if done.code:
        yield f"{' '.join(command)} ended {done.code}: {done.err[-500:]}"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


DATABASE, DISK = f"database away for {OUTAGE} s", "disk full"
TRIALS: Mapping[tuple[str, str], Trial] = {
    ("run", "two at once"): at_once(2),
    ("run", "four at once"): at_once(4),
    ("run and restore", "at once"): beside_restore,
    ("request add", "beside a nightly"): added_beside,
    ("request add", "of the same concept beside a restore"): asked_beside_restore,
    ("run", "paused, its lease taken over"): paused,
    ("run", DATABASE): without_database,
    ("run", DISK): full_disk,
    ("run", "files limited"): small_files,
    ("run", "MLflow down"): without_registry,
    ("run", "MLflow dies"): registry_dies,
}


def kinds(*, server: bool) -> list[tuple[str, str]]:
    """Which can be tried with this database by this user."""
    without = {DISK} if server else {DATABASE}
    if os.getuid():  # mounting is root's
        without |= {DISK}
    return [(command, kind) for command, kind in TRIALS if kind not in without]


def case(world: World, zygote: Zygote, command: str, kind: str) -> Result:
    """One of `TRIALS`."""
    begun = time.monotonic()
    faults = tuple(TRIALS[command, kind](world, zygote))
    return Result(command, kind + world.on, "1", faults, kind, time.monotonic() - begun)
