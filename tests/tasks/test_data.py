import hashlib
from pathlib import Path

import pytest

from erasure_core.errors import BadInput
from erasure_core.law.prompts import read_prompt_set
from tasks.evidence.data import validate_prompt_sets

ROOT = Path(__file__).parents[2]
HEADER = "case_number,prompt,evaluation_seed,evaluation_guidance,concept\n"
validate = validate_prompt_sets.fn


def table(tmp_path, text: str, name: str = "set.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_the_committed_tables_are_well_formed():
    paths = sorted((ROOT / "prompts").rglob("*.csv"))
    results = validate(paths)
    assert [r["path"] for r in results] == [str(p) for p in paths]
    assert all(r["expectations"] >= 15 for r in results)
    for path, result in zip(paths, results, strict=True):
        assert result["rows"] == len(read_prompt_set(path))
        assert result["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_edges_are_inside(tmp_path):
    text = HEADER + f"0,a,0,1,\n1,{'b' * 300},{2**63 - 1},30.0,cat\n" + '2,"None",5,4.,NA\n'
    assert validate([table(tmp_path, text)])[0]["rows"] == 3


@pytest.mark.parametrize(
    ("rows", "column", "expectation", "offending"),
    [
        ("", "", "expect_table_row_count_to_be_between", "found 0, allowed 1 or more rows"),
        (
            "1,a,2,4,\n1,b,3,4,\n",
            "case_number",
            "expect_column_values_to_be_unique",
            "'1' in row 1, '1' in row 2",
        ),
        (
            "1,a,2,4,\n01,b,3,4,\n",
            "case_number",
            "expect_column_values_to_be_unique",
            "'01' in row 2",
        ),
        (",a,2,4,\n", "case_number", "expect_column_values_to_not_be_null", "nothing in row 1"),
        ("1,,2,4,\n", "prompt", "expect_column_values_to_not_be_null", "nothing in row 1"),
        ('1,"  ",2,4,\n', "prompt", "expect_column_values_to_match_regex", "'  ' in row 1"),
        (
            f"1,{'z' * 301},2,4,\n",
            "prompt",
            "expect_column_value_lengths_to_be_between",
            "(301 characters) in row 1, allowed 1 to 300",
        ),
        (
            "1,a,2,4,\n2,a,forty,4,\n",
            "evaluation_seed",
            "expect_column_values_to_match_regex",
            "'forty' in row 2",
        ),
        ("1,a,-1,4,\n", "evaluation_seed", "expect_column_values_to_match_regex", "'-1' in row 1"),
        (
            f"1,a,{2**63},4,\n",
            "evaluation_seed",
            "expect_column_values_to_be_between",
            f"'{2**63}' in row 1, allowed 0 to {2**63 - 1}",
        ),
        (
            "1,a,2,0.9,\n",
            "evaluation_guidance",
            "expect_column_values_to_be_between",
            "'0.9' in row 1, allowed 1 to 30",
        ),
        (
            "1,a,2,30.1,\n",
            "evaluation_guidance",
            "expect_column_values_to_be_between",
            "'30.1' in row 1",
        ),
        (
            "1,a,2,nan,\n",
            "evaluation_guidance",
            "expect_column_values_to_match_regex",
            "'nan' in row 1",
        ),
    ],
)
def test_a_fault_is_named_by_file_column_expectation_and_value(
    tmp_path, rows, column, expectation, offending
):
    path = table(tmp_path, HEADER + rows)
    with pytest.raises(BadInput) as caught:
        validate([ROOT / "prompts" / "kept.csv", path])
    assert str(caught.value).startswith(f"{path}: {column}")
    assert expectation in str(caught.value)
    assert offending in str(caught.value)
    assert "kept.csv" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["set.csv"]


def test_every_file_and_every_column_at_fault_is_named_at_once(tmp_path):
    first = table(tmp_path, "case_number,prompt\n1,a\n", "first.csv")
    second = table(tmp_path, HEADER + "1,a,x,y,\n", "second.csv")
    with pytest.raises(BadInput) as caught:
        validate([first, second])
    for part in (
        "first.csv: evaluation_seed: expect_column_to_exist",
        "found columns case_number, prompt",
        "first.csv: evaluation_guidance",
    ):
        assert part in str(caught.value)
    for part in ("second.csv: evaluation_seed", "second.csv: evaluation_guidance"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", HEADER + "1,a,2,4,cat,surplus\n", HEADER + "1,a,2,4,\n2,a, b,3,4,cat\n"]
)
def test_what_is_no_table_is_refused(tmp_path, text):
    with pytest.raises(
        BadInput, match=r"set\.csv: not a CSV table .*needed are the columns case_number, prompt"
    ):
        validate([table(tmp_path, text)])


def test_an_absent_table_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match=r"absent\.csv: No such file"):
        validate([tmp_path / "absent.csv"])
