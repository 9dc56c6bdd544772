"""A process is known again by host, number and start."""

import subprocess
import sys

import pytest
from filelock import FileLock

from erasure_core import files
from tasks import process
from tasks.process import has_died, is_of_here, one_at_a_time, this_process


def mark_of_a_child() -> str:
    script = "from tasks.process import this_process; print(this_process())"
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_this_process_lives():
    assert not has_died(this_process())


def test_a_child_that_ended_has_died():
    assert has_died(mark_of_a_child())


def test_a_zombie_has_died():
    script = "from tasks.process import this_process; print(this_process(), flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as child:
        mark = child.stdout.readline().strip()
        child.stdout.read()  # to its end; nobody has waited for the process yet
        subprocess.run(["sleep", "1"], check=True)
        assert has_died(mark)


def test_a_machine_of_the_same_name_is_another_one(monkeypatch):
    """Its processes have numbers of their own: none of them is dead because it is not here."""
    theirs = mark_of_a_child()
    assert is_of_here(theirs)
    monkeypatch.setattr(files, "_machine_id", lambda: "another")
    files.here.cache_clear()
    try:
        assert not is_of_here(theirs)
        assert not has_died(theirs)
    finally:
        files.here.cache_clear()


def test_a_number_that_is_used_again_is_another_process():
    kind, host, pid, started = this_process().split(":")
    assert has_died(f"{kind}:{host}:{pid}:{float(started) - 1:.2f}")


@pytest.mark.parametrize("place", ["elsewhere", "{host}", "{host}/another container"])
def test_another_host_or_container_is_not_ours_to_judge(place):
    kind, host, pid, _ = this_process().split(":")
    place = place.format(host=host.partition("/")[0])
    assert not has_died(f"{kind}:{place}:{pid}:0.00")
    assert has_died(f"{kind}:{host}:{pid}:0.00")


def test_other_tags_name_no_process():
    assert not has_died("gpu")
    assert not has_died("process:")


def test_who_waits_for_a_lock_says_for_what(tmp_path, monkeypatch):
    def tell(line, **_):
        told.append(line)
        other.release()

    monkeypatch.setattr(process, "SILENT", 0.01)
    monkeypatch.setattr(process, "print", tell, raising=False)
    other, told = FileLock(tmp_path / "lock"), []
    other.acquire()
    for _ in range(2):  # it is free the second time
        with one_at_a_time(tmp_path / "lock", "mirroring"):
            assert told == [f"waiting for another process: mirroring ({tmp_path}/lock)"]
