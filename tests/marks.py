"""Which cases of a test are for `make test-slow`."""

from typing import Any

import pytest


def slow(case: object) -> Any:
    """A case of `parametrize` that the fast tests leave out."""
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.slow)
