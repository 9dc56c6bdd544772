"""Figures that the pages of docs/ tell of the code are the code's: a limit that is changed there is
changed on its page.
"""

from pathlib import Path

import pytest

from erasure_core import files, text
from erasure_core.export import MEASURED
from erasure_core.export.lora import ERROR
from erasure_core.law.prompts import GUIDANCE
from erasure_core.metrics import intervals
from erasure_core.network import training
from erasure_core.planning import sealed
from tasks.book import database, lease
from tasks.evidence import further
from tasks.pages import publish
from tasks.requests import steps

DOCS = Path(__file__).parents[2] / "docs"
WORDS = {3: "three", 10: "ten"}
MINUTE = {60: "a minute"}
FIGURES = [
    ("operations", f"heartbeat comes every {lease.BEAT:g} s"),
    ("operations", f"its heartbeat stood still for {lease.PATIENCE:g} s"),
    ("operations", f"is waited for, {MINUTE[int(database.PATIENCE)]} at most"),
    ("operations", f"last saved state (every {training.SAVE_EVERY} updates)"),
    (
        "prompt-files",
        f"At most {files.TABLE_BYTES // files.MIB} MiB and {files.TABLE_LINES:,} lines",
    ),
    ("prompt-files", "Number, {:g} to {:g}.".format(*GUIDANCE)),
    ("requests", f"`--by WHO` (at most {text.WHO} characters)"),
    ("requests", f"A reason has at most {text.WHY:,}."),
    ("requests", f"`--plan HASH` (at least {steps.SHORTEST} digits)"),
    ("metrics", f"is {sealed.ALIKE} or more"),
    ("metrics", f"{intervals.RESAMPLES} resamples of the prompts"),
    ("metrics", f"at another threshold: {', '.join(f'{x:g}' for x in further.THRESHOLDS)} |"),
    ("metrics", f"the {WORDS[further.NEIGHBOURS]} nearest of what the kept rows show"),
    ("tools", f"The {WORDS[publish.PAGES]} newest concepts of a release"),
    ("export", f"every weight's change is kept to {ERROR:g} of itself"),
    ("export", f"leaves out more than {MEASURED:g} of a weight's change"),
]


@pytest.mark.parametrize(("page", "sentence"), FIGURES, ids=lambda told: told[:40])
def test_a_figure_is_the_codes(page, sentence):
    assert sentence in " ".join((DOCS / f"{page}.md").read_text(encoding="utf-8").split())
