"""A run's files that were cut or edited are refused in words, by whatever reads them later."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from erasure_core.errors import ErasureError
from tasks.pages.shown import losses_of
from tasks.release.recording import measured

CANDIDATE = SimpleNamespace(name="lambda=5", preset="default", lambda_=5.0)


@pytest.mark.parametrize(
    "content", ['{"losses": [{"erase": 0.5', "{}", "[]", '{"losses": [1]}', '{"losses": 1}']
)
def test_losses_that_were_cut_or_edited_are_refused_with_their_file(tmp_path, content):
    file = tmp_path / "lambda=5.losses.json"
    file.write_text(content)
    with pytest.raises(ErasureError, match=r"lambda=5\.losses\.json does not hold the losses"):
        losses_of(SimpleNamespace(losses_file=lambda _: file), CANDIDATE)


def test_a_plan_with_other_candidates_than_the_record_is_refused():
    plan = SimpleNamespace(file=Path("run/plan.json"), candidates=lambda: [CANDIDATE])
    record = SimpleNamespace(lambdas=[SimpleNamespace(preset="default", lambda_=6.0)])
    with pytest.raises(
        ErasureError, match=r"plan\.json has no candidate of .* default and lambda 6"
    ):
        measured(record, plan)
