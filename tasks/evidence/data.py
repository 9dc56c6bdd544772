"""Is a prompt table well formed? The reader refuses what it cannot read; Great Expectations looks
once more, at the numbers that will be drawn with. This is the only file that imports it, inside the
function (seconds).
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task

from erasure_core.errors import BadInput
from erasure_core.law.lineage import sha256_file
from erasure_core.law.prompts import GUIDANCE, SEEDS, STRICT, PromptRow, Reading, read_prompt_file
from tasks.placement import IO

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite
    from great_expectations.core.batch_definition import BatchDefinition
    from great_expectations.expectations.expectation import Expectation
    from pandas import DataFrame

SHOWN = 5  # offending values named in a message


@task(name="validate prompt sets", **IO)
def validate_prompt_sets(paths: Sequence[Path], reading: Reading = STRICT) -> list[dict[str, Any]]:
    """Validate every table of prompts before anything is computed from it.

    Returns:
        One dict a table: path, sha256, rows, expectations (how many were evaluated), and what is
        to be said of the reading, a line each.

    Raises:
        BadInput: Names each faulty file, and in it each fault with its lines.
    """
    read, faults = {}, []
    for path in paths:
        try:
            read[path] = read_prompt_file(path, reading)
        except BadInput as fault:
            faults.append(str(fault))
    if faults:
        raise BadInput("; ".join(faults))
    evaluated = check_rows({str(path): file.rows for path, file in read.items()})
    return [
        {
            "path": str(path),
            "sha256": sha256_file(path),
            "rows": len(file.rows),
            "expectations": evaluated[str(path)],
            "said": file.said,
        }
        for path, file in read.items()
    ]


def check_rows(sets: dict[str, list[PromptRow]]) -> dict[str, int]:
    """How many expectations each set of rows was held against.

    Raises:
        BadInput: Names each set, column and expectation that fails, and the offending values.
    """
    held = {name: _held_against(tuple(rows)) for name, rows in sets.items()}
    faults = [f"{name}: {fault}" for name, (_, found) in held.items() for fault in found]
    if faults:
        raise BadInput("; ".join(faults))
    return {name: evaluated for name, (evaluated, _) in held.items()}


@lru_cache(maxsize=32)  # a run looks at the same rows before it starts and when it begins
def _held_against(rows: tuple[PromptRow, ...]) -> tuple[int, tuple[str, ...]]:
    """How many expectations were evaluated, and what each that fails has found."""
    import pandas as pd

    suite, batches = _suite()
    # numbers as Python's, which no seed overflows
    table = pd.DataFrame([asdict(row) for row in rows], dtype=object)
    found = batches.get_batch({"dataframe": table}).validate(suite)
    faults = tuple(_describe(r, table) for r in found.results if not r.success)
    return len(found.results), faults


@lru_cache(maxsize=1)
def _suite() -> "tuple[ExpectationSuite, BatchDefinition]":
    """The expectations, and the way to hand a table over; made once a process."""
    import great_expectations as gx
    from great_expectations.data_context.types import base as gx_base

    logging.getLogger(gx_base.__name__).setLevel(
        logging.WARNING
    )  # it sets INFO itself, and names a temporary folder
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = gx_base.ProgressBarsConfig(globally=False)
    batches = (
        context.data_sources.add_pandas("tables")
        .add_dataframe_asset("prompts")
        .add_batch_definition_whole_dataframe("all")
    )
    suite = gx.ExpectationSuite(name="prompts", expectations=_expectations())
    return context.suites.add(suite), batches


def _expectations() -> "list[Expectation]":
    from great_expectations import expectations

    gxe: Any = expectations  # its names are not exported in the typed sense

    return [
        gxe.ExpectTableRowCountToBeBetween(min_value=1, meta={"allowed": "1 or more rows"}),
        gxe.ExpectColumnValuesToMatchRegex(
            column="prompt", regex=r"^(?s:.*\S.*)$", meta={"allowed": "words"}
        ),
        gxe.ExpectColumnValuesToBeUnique(
            column="case_number", meta={"allowed": "each number once"}
        ),
        gxe.ExpectColumnValuesToBeBetween(  # strict: it compares with floats; 2**63 - 1 is none
            column="evaluation_seed",
            min_value=0,
            max_value=SEEDS,
            strict_max=True,
            meta={"allowed": f"0 to {SEEDS - 1}"},
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="evaluation_guidance",
            min_value=GUIDANCE[0],
            max_value=GUIDANCE[1],
            meta={"allowed": "{:g} to {:g}".format(*GUIDANCE)},
        ),
    ]


def _describe(result: Any, table: "DataFrame") -> str:
    """One failed expectation: column, expectation, what was found (and where), what is allowed."""
    configuration = result.expectation_config
    column = configuration.kwargs.get("column")
    allowed = configuration.meta["allowed"]
    if column is None:
        return f"{configuration.type}: found {result.result['observed_value']}, allowed {allowed}"
    rows = result.result["partial_unexpected_index_list"][:SHOWN]
    count = result.result["unexpected_count"]
    values = ", ".join(f"{_short(table[column][row])} in row {row + 1}" for row in rows)
    more = f" and {count - len(rows)} more" if count > len(rows) else ""
    return f"{column}: {configuration.type}: found {values}{more}, allowed {allowed}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
