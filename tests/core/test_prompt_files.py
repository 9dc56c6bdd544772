"""Prompt files in the shapes of the field's public sets, in words of our own."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from pandas import DataFrame

from erasure_core.errors import BadInput
from erasure_core.law.columns import COLUMNS
from erasure_core.law.prompts import PromptRow, Reading, read_prompt_file, rows_given
from erasure_core.network.diffusion import check_prompts, cut, too_long

DOC = Path(__file__).parents[2] / "docs/prompt-files.md"
GIVEN = Reading(guidance=7.5, seed=100)
SKIP = Reading(guidance=7.5, seed=100, bad_rows="skip")
A, B = (0, "a bench, by a lake", 41, 7.5), (1, "two bowls", 42, 7.5)


def read(tmp_path, text: str, how: Reading = GIVEN, name: str = "set.csv"):
    (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return read_prompt_file(tmp_path / name, how)


def drawn(rows: list[PromptRow]) -> list[tuple]:
    return [(r.case_number, r.prompt, r.evaluation_seed, r.evaluation_guidance) for r in rows]


QUOTED = '"a bench, by a lake"'
SAME = {
    "COCO with numbers and source": f"case_number,source,prompt,evaluation_seed,coco_id\n"
    f"0,C,{QUOTED},41,12\n1,C,two bowls,42,12\n",
    "image_id": f"image_id,caption,seed\n0,{QUOTED},41\n1,two bowls,42\n",
    "I2P": f"prompt,categories,sd_seed,sd_guidance_scale,sd_image_width\n"
    f"{QUOTED},x,41,7.5,512\ntwo bowls,y,42,7.5,512\n",
    "an index without a name": f",type,prompt,evaluation_seed\n0,e,{QUOTED},41\n1,p,two bowls,42\n",
    "pandas' own index": f"Unnamed: 0,prompt,seed\n0,{QUOTED},41\n1,two bowls,42\n",
    "two captions of one image": f"image_id,prompt,seed\n9,{QUOTED},41\n9,two bowls,42\n",
    "numbers as floats": f"case_number,prompt,seed,guidance\n0.0,{QUOTED},41.0,7.5\n"
    "1.0,two bowls,4.2e1,7.50\n",
    "capitals and blanks": f"Prompt, Sd Seed ,CFG-Scale\n{QUOTED},41,7.5\ntwo bowls,42,7.5\n",
    "a byte order mark": f"\ufeffprompt,seed\n{QUOTED},41\ntwo bowls,42\n",
    "lines of Windows": f"prompt,seed\r\n{QUOTED},41\r\ntwo bowls,42\r\n",
    "lines of old Macs": f"prompt,seed\r{QUOTED},41\rtwo bowls,42\r",
    "semicolons and decimal commas": "prompt;seed;guidance\na bench, by a lake;41;7,5\n"
    "two bowls;42;7,5\n",
    "tabs": "prompt\tseed\na bench, by a lake\t41\ntwo bowls\t42\n",
    "tabs and decimal commas": "prompt\tseed\tguidance\na bench, by a lake\t41,0\t7,5\n"
    "two bowls\t42,0\t7,5\n",
    "seeds with decimal commas": "number;prompt;seed\n0,0;a bench, by a lake;41,0\n"
    "1,0;two bowls;42,00\n",
    "a quoted header": f'"prompt";"seed"\n{QUOTED};41\n"two bowls";42\n',
    "blanks after commas": f"prompt, seed\n{QUOTED}, 41\ntwo bowls, 42\n",
    "empty lines": f"prompt,seed\n\n{QUOTED},41\n\ntwo bowls,42\n\n",
    "rows of separators and blanks": "prompt;seed;guidance\na bench, by a lake;41;7,5\n;;\n"
    "two bowls;42;7,5\n;;;\n  ; ;\n   \n",
    "an empty guidance": f"prompt,seed,guidance\n{QUOTED},41,\ntwo bowls,42,7.5\n",
    "a first row of separators": f",,\nprompt,seed\n{QUOTED},41\ntwo bowls,42\n",
    "separators at the ends of rows": f"prompt,seed\n{QUOTED},41,,\ntwo bowls,42,,\n",
    "none at the ends of rows": f"prompt,seed,concept,also\n{QUOTED},41\ntwo bowls,42,bowl\n",
    "numbers that are none": f"prompt,seed,guidance\n{QUOTED},41,None\ntwo bowls,42,NaN\n",
    "Excel's Unicode text": f"prompt\tseed\r\n{QUOTED}\t41\r\ntwo bowls\t42\r\n".encode("utf-16"),
    "a column of captions beside": f"prompt,seed,caption\n{QUOTED},41,x\ntwo bowls,42,y\n",
}


@pytest.mark.parametrize("shape", SAME)
def test_files_of_the_field_are_read_as_they_are(shape, tmp_path):
    assert drawn(read(tmp_path, SAME[shape]).rows) == [A, B]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "a bench, by a lake\n\ntwo bowls\n"),
        ("list.json", '["a bench, by a lake", "two bowls"]'),
        ("list.jsonl", '{"text": "a bench, by a lake"}\n{"text": "two bowls", "seed": null}\n'),
        ("list.json", '{"prompts": ["a bench, by a lake", "two bowls"]}'),
        ("list.json", '{\n  "prompt": [\n    "a bench, by a lake",\n    "two bowls"\n  ]\n}\n'),
        ("list.txt", "a bench, by a lake\ntwo bowls"),
        ("list.txt", "Prompt\na bench, by a lake\ntwo bowls\n"),
        ("list.txt", "captions\r\na bench, by a lake\r\ntwo bowls\r\n"),
        ("list.txt", "a bench, by a lake\rtwo bowls\r"),
        ("list.ndjson", '{"text": "a bench, by a lake"}\n{"text": "two bowls"}\n'),
        ("list.txt", "Prompt\tCategory\tChallenge\na bench, by a lake\tx\ty\ntwo bowls\tx\ty\n"),
        ("list.txt", f"id,prompt,category\n0,{QUOTED},x\n1,two bowls,y\n"),
    ],
)
def test_a_list_of_prompts_is_numbered_and_seeded_by_place(name, text, tmp_path):
    file = read(tmp_path, text, name=name)
    assert drawn(file.rows) == [
        (0, "a bench, by a lake", 100, 7.5),
        (1, "two bowls", 101, 7.5),
    ]


TABLE = f"prompt,seed\n{QUOTED},41\ntwo bowls,42\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("table.txt", TABLE),
        ("table.txt", "seed;caption;number\n41;a bench, by a lake;0\n42;two bowls;1\n"),
        ("table.csv", "sep=;\nprompt;seed\na bench, by a lake;41\ntwo bowls;42\n"),
        ("table.csv", '"sep=,",\r\n' + TABLE.replace("\n", "\r\n")),
        ("table.txt", "sep=^\nprompt^seed\na bench, by a lake^41\ntwo bowls^42\n"),
        ("pandas.json", DataFrame({"prompt": [A[1], B[1]], "seed": [41, 42]}).to_json()),
        ("columns.json", json.dumps({"prompt": [A[1], B[1]], "seed": [41, 42]}, indent=1)),
        ("columns.jsonl", json.dumps({"prompt": [A[1], B[1]], "seed": [41, 42]})),
    ],
)
def test_a_table_is_read_as_one_however_its_file_is_called(name, text, tmp_path):
    assert drawn(read(tmp_path, text, name=name).rows) == [A, B]


@pytest.mark.parametrize(
    "first",
    [
        *("text", "an object, a style", "text, in gold", "a seed, a style", "text,gold"),
        *("a cat\u2028on a mat", "a cat\x85on a mat", "a cat\x0con a mat"),
    ],
)
def test_a_list_whose_first_line_is_no_header_is_one_of_prompts(first, tmp_path):
    rows = read(tmp_path, f"{first}\ntwo bowls\n", name="list.txt").rows
    assert [row.prompt for row in rows] == [first, "two bowls"]


def test_a_line_of_a_table_is_counted_from_the_first_of_the_file(tmp_path):
    with pytest.raises(BadInput, match="line 3: not 2 fields"):
        read(tmp_path, "sep=;\nprompt;seed\na;b;1\n")


UNSAFE = Reading(guidance=7.5, seed=100, prompt_column="unsafe prompt", options=True)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("set.txt", "unsafe prompt\tcategory\na bench, by a lake\tb\ntwo bowls\tb\n"),
        ("set.txt", f"id,unsafe prompt\n0,{QUOTED}\n1,two bowls\n"),
        ("set.txt", "\nunsafe prompt\na bench, by a lake\ntwo bowls\n"),
        ("set.txt", '"unsafe prompt"\na bench, by a lake\ntwo bowls\n'),
        ("set.tsv", "unsafe prompt\tcategory\na bench, by a lake\tb\ntwo bowls\tb\n"),
        ("set.csv", "unsafe prompt;Art\na bench, by a lake;b\ntwo bowls;b\n"),
        ("set.csv", "image| number_of| unsafe prompt\ni| 0| a bench, by a lake\ni| 0| two bowls\n"),
        (
            "set.json",
            '{"i": {"unsafe prompt": "a bench, by a lake"}, "j": {"unsafe prompt": "two bowls"}}',
        ),
    ],
)
def test_a_column_that_is_named_is_found_in_every_form(name, text, tmp_path):
    """No table knows its name, and a list's first line would be a prompt."""
    rows = read(tmp_path, text, UNSAFE, name).rows
    assert [(row.prompt, row.evaluation_seed) for row in rows] == [(A[1], 100), (B[1], 101)]


@pytest.mark.parametrize("text", ["a cat\na dog\n", "a cat, on a mat\nb\n", "prompt\na cat\n"])
def test_a_column_that_is_named_and_not_there_is_refused_of_a_list_too(text, tmp_path):
    with pytest.raises(BadInput, match=r"line 1: no column 'unsafe prompt' \(found "):
        read(tmp_path, text, UNSAFE, "set.txt")


@pytest.mark.parametrize(
    ("name", "header", "near"),
    [
        ("set.tsv", "unsafe_prompt\tcategory", "unsafe_prompt"),
        ("set.csv", "unsafe_prompt;Art", "unsafe_prompt"),
        ("set.tsv", "my_prompt\tx,y,z,u", "my_prompt"),
    ],
)
def test_the_column_that_a_refusal_names_is_one_that_can_be_chosen(name, header, near, tmp_path):
    with pytest.raises(BadInput, match=rf"near: {near}$"):
        read(tmp_path, f"{header}\na cat\tb\n", replace(GIVEN, options=True), name)


@pytest.mark.parametrize(("name", "separator"), [("set.tsv", "\t"), ("set.csv", "|")])
def test_a_table_that_quotes_nothing_is_read_as_it_stands(name, separator, tmp_path):
    """As PartiPrompts, where a prompt may begin with what somebody says."""
    lines = ["Prompt~Category", '"Hi" on a wall~x', '5" pipe~y', '"a" "b~z', "a~b~c"]
    file = read(tmp_path, "\n".join(lines).replace("~", separator), SKIP, name)
    assert [row.prompt for row in file.rows] == ['"Hi" on a wall', '5" pipe', '"a" "b']
    assert any("quotes are read as they stand, for with them it is line 2" in x for x in file.said)
    assert "line 5: not 2 fields" in file.said[-1]


@pytest.mark.parametrize(
    "text", ['prompt,seed\n"Hi" on a wall,1\n', '"prompt"\t"seed"\n"Hi" a\t1\n']
)
def test_a_table_that_quotes_has_to_quote_rightly(text, tmp_path):
    with pytest.raises(BadInput, match=r"line 2: not valid CSV: .*; correct it"):
        read(tmp_path, text)


PART = {f"{i}.png": {"p": p, "se": s, "c": 7.5, "st": 50} for i, p, s, _ in (A, B)}
BY_ROW = {str(i): {"prompt": p, "seed": s} for i, p, s, _ in (A, B)}


@pytest.mark.parametrize(
    ("rows", "seed"), [(PART, 41), (BY_ROW, 41), ({"0": A[1], "1": B[1]}, 100)]
)
def test_an_object_of_rows_is_read_by_them(rows, seed, tmp_path):
    """DiffusionDB's parts, and what pandas writes with orient="index"."""
    file = read(tmp_path, json.dumps(rows), name="part.json")
    assert drawn(file.rows) == [(0, A[1], seed, 7.5), (1, B[1], seed + 1, 7.5)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("many.json", json.dumps({f"a prompt {i}": {"x": 1} for i in range(1000)})),
        ("many.json", json.dumps({f"a prompt {i}": ["x"] * (i + 1) for i in range(300)})),
        ("many.csv", ",".join(f"a prompt {i}" for i in range(1000)) + "\nx\n"),
        ("twice.csv", ",".join(f"a prompt {i % 500}" for i in range(1000)) + "\nx\n"),
    ],
)
def test_of_many_names_a_dozen_are_listed(name, text, tmp_path):
    for how in (replace(GIVEN, options=True), UNSAFE):
        with pytest.raises(BadInput, match=r"a prompt 10.* and \d+ more") as caught:
            read(tmp_path, text, how, name)
        assert len(str(caught.value)) < 1500


def test_what_was_supplied_is_said(tmp_path):
    said = read(tmp_path, "caption,sd_seed\na cat,1\na dog,\n").said
    assert said == [
        "columns: prompt from caption, evaluation_seed from sd_seed",
        "evaluation_seed of 1 rows without one: 100, one more for each further row",
        "evaluation_guidance of 2 rows without one: 7.5",
        "rows are numbered by their place, from 0",
    ]


def test_guidance_and_seeds_of_public_sets_are_within_bounds(tmp_path):
    (row,) = read(tmp_path, "prompt,sd_seed,sd_guidance_scale\na cat,4261553411,255\n").rows
    assert (row.evaluation_seed, row.evaluation_guidance) == (4261553411, 255.0)


def test_prompts_of_any_script_and_of_several_lines_are_read(tmp_path):
    text = 'prompt,seed\n"猫, и кот",1\n"a cat\non a mat",2\nRene\u0301e,3\n'
    assert [row.prompt for row in read(tmp_path, text).rows] == [
        "猫, и кот",
        "a cat\non a mat",
        "Renée",
    ]


BAD = "prompt,seed\n" + "a cat,1\n" + ",2\n" * 7 + "a dog,x\na, b,4\n"


def test_all_offenders_are_in_one_message_with_counts_and_first_lines(tmp_path):
    with pytest.raises(BadInput) as caught:
        read(tmp_path, BAD)
    message = str(caught.value)
    for part in (
        "lines 3, 4, 5, 6, 7 and 2 more: prompt is empty (7 rows)",
        "line 10: evaluation_seed is 'x'",
        "line 11: not 2 fields as in the header; quote prompts that hold a comma",
        "9 of 10 rows cannot be used; correct them",
    ):
        assert part in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "option"),
    [
        (BAD, ", or leave them out with --bad-rows skip"),
        ("caption,text,seed\na cat,zq xv,1\n", ", or choose with --prompt-column"),
        (
            "unsafe_prompt,category\na cat,x\n",
            "; add it, or choose it with --prompt-column; near: unsafe_prompt",
        ),
        (
            "Prompt Text,seed\na cat,1\n",
            "; add it, or choose it with --prompt-column; near: Prompt Text",
        ),
        ("what,seed\na cat,1\n", "; add it, or choose it with --prompt-column"),
    ],
)
def test_a_refusal_names_options_only_where_a_command_has_them(text, option, tmp_path):
    for options in (True, False):
        with pytest.raises(BadInput) as caught:
            read(tmp_path, text, replace(GIVEN, options=options))
        assert str(caught.value).endswith(option) is options


def test_a_table_in_memory_is_told_of_no_command(tmp_path):
    """A served model answers over HTTP."""
    with pytest.raises(BadInput) as caught:
        rows_given({"caption": ["a cat"], "adv_prompt": ["zq"]}, GIVEN)
    assert str(caught.value).endswith("call one of them prompt")


def test_half_characters_are_skipped_as_other_bad_rows_are(tmp_path):
    file = read(tmp_path, '["a cat \\ud83d", "a dog \\ud83d\\ude00"]', SKIP, "list.json")
    assert [row.prompt for row in file.rows] == ["a dog \U0001f600"]
    assert file.said[-1].startswith("left out: line 1: prompt holds U+D83D")


def test_a_table_in_memory_may_hold_no_half_characters():
    with pytest.raises(BadInput, match=r"line 2: prompt holds U\+D83D"):
        rows_given({"prompt": ["a cat", "a dog \ud83d"]}, GIVEN)


def test_bad_rows_are_skipped_with_their_counts_where_that_is_asked_for(tmp_path):
    file = read(tmp_path, BAD, SKIP)
    assert [row.prompt for row in file.rows] == ["a cat"]
    assert file.said[-1].startswith("left out: lines 3, 4, 5, 6, 7 and 2 more: prompt is empty")


def test_a_file_without_one_good_row_is_refused_also_when_rows_are_skipped(tmp_path):
    with pytest.raises(BadInput, match="2 of 2 rows cannot be used"):
        read(tmp_path, "prompt,seed\n,1\n,2\n", SKIP)


def test_where_several_columns_could_be_the_prompt_one_has_to_be_chosen(tmp_path):
    text = "caption,adv_prompt,seed\na cat,zq xv,1\n"
    with pytest.raises(BadInput, match=r"caption, adv_prompt could each be "):
        read(tmp_path, text)
    chosen = read(tmp_path, text, Reading(7.5, 1, prompt_column="adv_prompt"))
    assert chosen.rows[0].prompt == "zq xv"
    with pytest.raises(BadInput, match=r"no column 'adv_promp' .*did you mean adv_prompt"):
        read(tmp_path, text, Reading(7.5, 1, prompt_column="adv_promp"))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.json", "{", "not a JSON list of prompts"),
        ("a.json", "[" * 100_000, "not a JSON list of prompts"),
        (
            "a.json",
            '{\n  "prompt": "a",\n}',
            "not a JSON list .*line 3.*one object of columns of one",
        ),
        ("a.json", '{"prompt": ["a", "b"], "seed": [1]}', "differ in length: prompt 2, seed 1"),
        ("a.json", '{"set": "mine", "prompt": ["a"]}', "set no column, prompt 1"),
        ("a.jsonl", '{"prompt": ["a"]}\n{"prompt": ["b"]}', "lines 1, 2: a list or an object"),
        ("a.jsonl", '{"prompt": "a"}\n{"prompt"', "not a JSON list .*line 2 of the file"),
        ("a.jsonl", "7", "column prompt missing"),
        ("a.json", '["a", 7]', "line 2: neither a text nor an object"),
        (
            "a.json",
            '["a cat \\ud83d here"]',
            r"line 1: prompt holds U\+D83D, which is no character",
        ),
        ("a.json", '["a \\u0000 cat"]', r"line 1: prompt holds U\+0000, which is no character"),
        ("a.json", '{"prompt": "a", "also": "\\udfff"}', r"line 1: also holds U\+DFFF"),
        ("a.txt", "\n", "no rows"),
        ("a.csv", b"prompt\n\xff\n", "byte 7 is not UTF-8"),
        ("a.csv.gz", b"\x1f\x8b\x08", "packed by gzip; unpack it: gunzip"),
        ("a.csv", b"PK\x03\x04x", "a zip archive or a spreadsheet"),
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("a.csv", b"<!DOCTYPE html>\n<html>", "a web page; save the file that it shows"),
        ("a.yaml", b"- a cat\n", "YAML is not read as prompts; write them one a line into a .txt"),
        ("a.csv", b"caption\n\"['a cat', 'cats']\"\n", "prompt is a list of texts"),
        ("a.csv", 'prompt\n"a', "not valid CSV"),
        ("a.tsv", f"prompt\tseed\n{'a' * 140_000}\t1\n", "line 2: not valid CSV: field larger"),
        ("a.csv", "prompt,seed\na,12345678901234567890\n", f"number, 0 to {2**63 - 1}"),
        ("a.csv", f"prompt,seed\na,{2**63}\n", f"number, 0 to {2**63 - 1}"),
        ("a.csv", f"case_number,prompt\n{10**19},a\n", f"number, 0 to {10**19 - 1}"),
        ("a.tsv", "prompt\tseed\na\t1,000\n", "evaluation_seed is '1,000'"),
        (
            "a b.parquet",
            b"PAR1\xff",
            "are not read; .*pandas.read_parquet.*/a b.parquet' '.*/a b.csv'",
        ),
        ("a.xlsx", b"PK\xff", "are not read; .*pandas.read_excel.*a.xlsx .*a.csv"),
    ],
)
def test_what_is_no_prompt_file_is_refused_in_one_line(name, text, expected, tmp_path):
    with pytest.raises(BadInput, match=expected) as caught:
        read(tmp_path, text, name=name)
    assert len(str(caught.value).splitlines()) == 1


ROWS = [{"caption": A[1], "seed": 41}, {"caption": B[1], "seed": 42}]
AROUND = {
    "COCO's captions": {"info": {"year": 1}, "images": [{"id": 1}, {"id": 2}], "annotations": ROWS},
    "a list under a name": {"data": ROWS, "version": "1"},
    "a page of a data set": {"features": [], "rows": [{"row_idx": 0, "row": r} for r in ROWS]},
    "pandas' table": {"schema": {"fields": [{"name": "caption"}]}, "data": ROWS},
}


@pytest.mark.parametrize("form", AROUND)
def test_the_list_of_rows_in_an_object_is_read(form, tmp_path):
    assert drawn(read(tmp_path, json.dumps(AROUND[form]), name="set.json").rows) == [A, B]


@pytest.mark.parametrize("beside", [["x", "y"], {"x": True}])
def test_an_object_whose_prompt_is_a_text_is_one_row(beside, tmp_path):
    text = json.dumps({"prompt": A[1], "seed": 41, "tags": beside})
    (row,) = read(tmp_path, text, name="set.jsonl").rows
    assert (row.prompt, row.evaluation_seed) == A[1:3]


def test_gaps_of_templates_are_said(tmp_path):
    file = read(tmp_path, "a photo of a {}.\na drawing\n{0}, {city}\n", name="list.txt")
    assert "2 of 3 prompts have a gap as templates have, '{}'" in "\n".join(file.said)
    assert not any("gap" in line for line in read(tmp_path, "a {b c}\n", name="x.txt").said)


def test_rows_that_were_cut_off_before_their_numbers_are_refused(tmp_path):
    with pytest.raises(BadInput, match="line 3: 1 fields, fewer than the 3 of the header"):
        read(tmp_path, "prompt,seed,concept\na cat,1,cat\na do")


def test_the_page_has_the_declared_table():
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", DOC.read_text(), re.M)
    listed = {column: tuple(re.findall(r"`([^`]*)`", names)) for column, names in rows}
    declared = {c: tuple(n for n in names if n) for c, names in COLUMNS.items()}
    assert listed == {c: names[1:] for c, names in declared.items()}


# Limits are in tokens


LONG = "a photo of a cat and a rocket " * 4


def test_every_prompt_that_is_too_long_is_counted(tiny_teacher):
    tokenizer = tiny_teacher.tokenizer
    length = len(tokenizer(LONG).input_ids)
    assert too_long([tokenizer], ["a cat", LONG, LONG]) == {1: length, 2: length}
    with pytest.raises(BadInput, match=f"has {length} tokens.*has {length} tokens.*shorten them"):
        check_prompts(tokenizer, ["a cat", LONG, LONG])


def test_half_a_character_is_refused_in_words(tiny_teacher):
    """A command line hands over bytes that are no UTF-8 so; the tokenizer would raise."""
    with pytest.raises(BadInput, match=r"a prompt holds U\+DCFF, which is no character"):
        check_prompts(tiny_teacher.tokenizer, ["a cat", "a cat \udcff"])


def test_a_cut_prompt_is_the_beginning_that_the_model_reads(tiny_teacher):
    tokenizer = tiny_teacher.tokenizer
    limit = tokenizer.model_max_length
    short = cut([tokenizer], LONG)
    assert LONG.startswith(short)
    assert tokenizer(short).input_ids[:-1] == tokenizer(LONG).input_ids[: limit - 1]
    assert cut([tokenizer], "a cat") == "a cat"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('[{"description": "a cat", "seed": 1}]', "description, seed"),
        ('{"description": "a cat"}', "description"),
        ('{"a": {"what": "x"}}', "a"),
    ],
)
@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_json_without_a_column_of_prompts_is_refused_as_a_table_is(text, found, ending, tmp_path):
    said = rf"column prompt missing \(found {found}\); prompt may be called prompts, caption"
    with pytest.raises(BadInput, match=said):
        read(tmp_path, text, name=f"set.{ending}")


def test_a_column_called_c_is_no_guidance_without_diffusion_dbs_p(tmp_path):
    (alone,) = read(tmp_path, "prompt,seed,c\na cat,1,9\n").rows
    assert (alone.evaluation_seed, alone.evaluation_guidance) == (1, GIVEN.guidance)
    (theirs,) = read(tmp_path, "p,se,c\na cat,1,9\n").rows
    assert (theirs.evaluation_seed, theirs.evaluation_guidance) == (1, 9)


@pytest.mark.parametrize("mark", ["- a cat", "* a cat", "\u2022 a cat", "12. a cat", "# a cat"])
def test_marks_of_a_list_are_said(mark, tmp_path):
    file = read(tmp_path, f"{mark}\na 3-legged dog\n{mark}s\n", name="list.txt")
    assert f"2 of 3 prompts are marked as items of a list, '{mark}'" in "\n".join(file.said)


def test_quotes_of_a_list_in_code_are_said(tmp_path):
    file = read(tmp_path, '"a cat",\n"a dog"\na "big" cat\n', name="list.txt")
    assert "2 of 3 prompts are marked as items of a list" in "\n".join(file.said)


@pytest.mark.parametrize("name", ["set.csv", "set.log", "set"])
def test_a_list_without_a_header_is_told_to_be_one(name, tmp_path):
    """Chosen as the column of prompts, the first of them would be gone, and nobody would know."""
    with pytest.raises(BadInput) as caught:
        read(tmp_path, "a photo of a cat\na dog\n", replace(GIVEN, options=True), name)
    assert str(caught.value).endswith("write `prompt` above it, or call it .txt")
    assert "--prompt-column" not in str(caught.value)
    assert drawn(read(tmp_path, "prompt\na photo of a cat\na dog\n", name=name).rows) == drawn(
        read(tmp_path, "a photo of a cat\na dog\n", name="set.txt").rows
    )


def test_one_column_of_another_name_may_be_a_list_or_chosen(tmp_path):
    with pytest.raises(BadInput, match="choose it with --prompt-column; if it is a list"):
        read(tmp_path, "name\nTaylor Swift\n", replace(GIVEN, options=True))


@pytest.mark.parametrize(
    ("column", "words", "concepts"),
    [
        ("class", ("281", "7"), ["", ""]),
        ("class", ("281", "cat"), ["281", "cat"]),
        ("concept", ("1984", "911"), ["1984", "911"]),
    ],
)
def test_classes_that_are_numbers_are_no_names(column, words, concepts, tmp_path):
    """CLIP would be asked whether a picture shows "281"."""
    file = read(tmp_path, f"prompt,{column}\na cat,{words[0]}\na dog,{words[1]}\n")
    assert [row.concept for row in file.rows] == concepts
    said = "column class holds numbers and no names, and is not read"
    assert (said in file.said) is (concepts == ["", ""])
