"""Two processes never work on the same run."""

from types import SimpleNamespace

import pytest

from erasure_core.errors import ErasureError
from tasks.home import Home
from tasks.release.release import one_at_a_time


def test_a_run_is_held_by_one_process_at_a_time_and_free_afterwards(tmp_path):
    home = Home(tmp_path)
    plan, other = (SimpleNamespace(run_key=key, folder=tmp_path / key) for key in ("a", "b"))
    refused = pytest.raises(ErasureError, match="another process already works on this run")
    with one_at_a_time(plan, home), one_at_a_time(other, home), refused, one_at_a_time(plan, home):
        pytest.fail("two at once")
    with one_at_a_time(plan, home):
        pass
