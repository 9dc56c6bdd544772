import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from erasure_core.errors import BadInput
from erasure_core.law.prompts import PromptRow, read_prompt_set
from tasks.evidence.data import check_rows, validate_prompt_sets

ROOT = Path(__file__).parents[2]
HEADER = "case_number,prompt,evaluation_seed,evaluation_guidance,concept\n"
validate = validate_prompt_sets.fn


def table(tmp_path, text: str, name: str = "set.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_the_committed_tables_are_well_formed():
    tables = (ROOT / "prompts").rglob("*.csv")
    paths = sorted(path for path in tables if path.name != "vocabulary.csv")
    results = validate(paths)
    assert [r["path"] for r in results] == [str(p) for p in paths]
    assert all(r["expectations"] == 5 for r in results)
    for path, result in zip(paths, results, strict=True):
        assert result["rows"] == len(read_prompt_set(path))
        assert result["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_edges_are_inside(tmp_path):
    text = HEADER + f"0,a,0,0,\n1,{'b' * 3000},{2**63 - 1},1000.0,cat\n" + '2,"None",5,4.,NA\n'
    assert validate([table(tmp_path, text)])[0]["rows"] == 3


@pytest.mark.parametrize(
    ("change", "column", "expectation", "offending"),
    [
        ({"case_number": 0}, "case_number", "to_be_unique", "0 in row 1, 0 in row 2"),
        ({"prompt": " "}, "prompt", "to_match_regex", "' ' in row 2"),
        (
            {"evaluation_seed": 2**63},
            "evaluation_seed",
            "to_be_between",
            f"{2**63} in row 2, allowed 0 to {2**63 - 1}",
        ),
        ({"evaluation_seed": -1}, "evaluation_seed", "to_be_between", "-1 in row 2"),
        (
            {"evaluation_guidance": 1000.1},
            "evaluation_guidance",
            "to_be_between",
            "1000.1 in row 2, allowed 0 to 1000",
        ),
        ({"evaluation_guidance": -0.1}, "evaluation_guidance", "to_be_between", "-0.1 in row 2"),
    ],
)
def test_rows_that_would_be_drawn_wrongly_are_named(change, column, expectation, offending):
    good = PromptRow(0, "a cat", 0, 4.0, "")
    with pytest.raises(BadInput) as caught:
        check_rows({"good": [good], "bad": [good, replace(good, **{"case_number": 1, **change})]})
    assert str(caught.value).startswith(f"bad: {column}: expect_column_values_{expectation}")
    assert offending in str(caught.value)


def test_every_file_at_fault_is_named_at_once(tmp_path):
    first = table(tmp_path, "case_number,prompt\n1,a\n", "first.csv")
    second = table(tmp_path, HEADER + "1,a,x,4,\n2,a,2,y,\n", "second.csv")
    with pytest.raises(BadInput) as caught:
        validate([ROOT / "prompts" / "kept.csv", first, second])
    for part in (
        "first.csv: line 1: column evaluation_seed, evaluation_guidance missing",
        "second.csv: line 2: evaluation_seed is 'x'",
        "line 3: evaluation_guidance is 'y'",
    ):
        assert part in str(caught.value)
    assert "kept.csv" not in str(caught.value)


def test_an_absent_table_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match=r"absent\.csv: No such file"):
        validate([tmp_path / "absent.csv"])
