"""Is a prompt table well formed? Great Expectations answers; this is the only file that imports it,
inside the function (seconds).
"""

import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task

from erasure_core.errors import BadInput
from erasure_core.files import read_table
from erasure_core.law.lineage import sha256_file
from erasure_core.law.prompts import COLUMNS
from erasure_core.text import WHOLE_NUMBER
from tasks.placement import IO

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation
    from pandas import DataFrame

PROMPT_CHARACTERS = (1, 300)
SEEDS = (0, 2**63)  # from, below: what torch.Generator.manual_seed takes, without negative numbers
GUIDANCE = (1, 30)
SHOWN = 5  # offending values named in a message


@task(name="validate prompt sets", **IO)
def validate_prompt_sets(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Validate every table of prompts before anything is computed from it.

    Returns:
        One dict a table: path, sha256, rows, expectations (how many were evaluated).

    Raises:
        BadInput: Names each faulty file, column, expectation and the offending values. Further
            columns are allowed.
    """
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
    results, faults = [], []
    for path in paths:
        text = _read(path)
        evaluated = 0
        for stage, (table, expectations) in enumerate(_stages(text)):
            suite = context.suites.add(
                gx.ExpectationSuite(name=f"{path}: {stage}", expectations=expectations)
            )
            found = batches.get_batch({"dataframe": table}).validate(suite)
            evaluated += len(found.results)
            if not found.success:  # the next stage would only repeat it less clearly
                faults += [
                    f"{path}: {_describe(result, text)}"
                    for result in found.results
                    if not result.success
                ]
                break
        else:
            results.append(
                {
                    "path": str(path),
                    "sha256": sha256_file(path),
                    "rows": len(text),
                    "expectations": evaluated,
                }
            )
    if faults:
        raise BadInput("; ".join(faults))
    return results


def _read(path: Path) -> "DataFrame":
    """The table as it is written: text, with nothing but an empty field as null."""
    import pandas as pd

    try:
        table = pd.read_csv(
            io.StringIO(read_table(path)), dtype=str, keep_default_na=False, na_values=[""]
        )
        if not isinstance(table.index, pd.RangeIndex):  # pandas takes surplus fields for an index
            raise ValueError(
                "more fields in a row than in the header; quote prompts that hold a comma"
            )
        return table
    except ValueError as error:  # also pandas' ParserError and EmptyDataError
        raise BadInput(
            f"{path}: not a CSV table ({' '.join(str(error).split())}); needed are the "
            f"columns {', '.join(COLUMNS)}"
        ) from None


def _stages(text: "DataFrame") -> "Iterator[tuple[DataFrame, list[Expectation]]]":
    """Tables and their expectations, each stage meaningful only once the one before holds."""
    from great_expectations import expectations

    gxe: Any = expectations  # its names are not exported in the typed sense

    columns: list[Expectation] = [
        gxe.ExpectColumnToExist(column=c, meta={"allowed": ", ".join(COLUMNS)}) for c in COLUMNS
    ]
    yield (
        text,
        [
            *columns,
            gxe.ExpectTableRowCountToBeBetween(min_value=1, meta={"allowed": "1 or more rows"}),
        ],
    )

    values: list[Expectation] = [
        gxe.ExpectColumnValuesToNotBeNull(column=c, meta={"allowed": "no empty field"})
        for c in COLUMNS
    ]
    for column, pattern, allowed in (
        ("case_number", WHOLE_NUMBER, "a whole number"),
        ("evaluation_seed", WHOLE_NUMBER, "a whole number"),
        ("evaluation_guidance", r"[0-9]+(?:\.[0-9]*)?", "a number such as 7.5"),
        ("prompt", r"(?s:.*\S.*)", "words"),
    ):
        values.append(
            gxe.ExpectColumnValuesToMatchRegex(
                column=column, regex=rf"^{pattern}$", meta={"allowed": allowed}
            )
        )
    yield text, values

    numbers = text.assign(  # whole numbers as Python's, which no seed overflows
        case_number=text["case_number"].map(int).astype(object),
        evaluation_seed=text["evaluation_seed"].map(int).astype(object),
        evaluation_guidance=text["evaluation_guidance"].astype(float),
    )
    bounds: list[Expectation] = [
        gxe.ExpectColumnValuesToBeUnique(
            column="case_number", meta={"allowed": "each number once"}
        ),
        gxe.ExpectColumnValueLengthsToBeBetween(
            column="prompt",
            min_value=PROMPT_CHARACTERS[0],
            max_value=PROMPT_CHARACTERS[1],
            meta={"allowed": "{} to {} characters".format(*PROMPT_CHARACTERS)},
        ),
    ]
    seed, guidance = (
        {"allowed": f"{SEEDS[0]} to {SEEDS[1] - 1}"},
        {"allowed": "{} to {}".format(*GUIDANCE)},
    )
    bounds += [  # strict, because Great Expectations compares with floats, and 2**63 - 1 is none
        gxe.ExpectColumnValuesToBeBetween(
            column="evaluation_seed",
            min_value=SEEDS[0],
            max_value=SEEDS[1],
            strict_max=True,
            meta=seed,
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="evaluation_guidance",
            min_value=GUIDANCE[0],
            max_value=GUIDANCE[1],
            meta=guidance,
        ),
    ]
    yield numbers, bounds


def _describe(result: Any, table: "DataFrame") -> str:
    """One failed expectation: column, expectation, what was found (and where), what is allowed."""
    configuration = result.expectation_config
    column = configuration.kwargs.get("column")
    allowed = configuration.meta["allowed"]
    if column is None:
        return f"{configuration.type}: found {result.result['observed_value']}, allowed {allowed}"
    if column not in table.columns:
        return (
            f"{column}: {configuration.type}: found columns "
            f"{', '.join(table.columns)}, needed are {allowed}"
        )
    rows = result.result["partial_unexpected_index_list"][:SHOWN]
    count = result.result["unexpected_count"]
    values = ", ".join(f"{_short(table[column][row])} in row {row + 1}" for row in rows)
    more = f" and {count - len(rows)} more" if count > len(rows) else ""
    return f"{column}: {configuration.type}: found {values}{more}, allowed {allowed}"


def _short(value: object) -> str:
    if not isinstance(value, str):
        return "nothing"  # an empty field is NaN in the table
    return repr(value) if len(value) <= 40 else f"{value[:40]!r}... ({len(value)} characters)"
