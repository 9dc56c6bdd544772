"""What enters the core from outside: one table a kind, of what is refused and of what is not."""

import json
import shutil
from datetime import UTC, datetime, timedelta

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from erasure_core.errors import BadInput, ErasureError
from erasure_core.files import temporary_name
from erasure_core.law.concepts import NAME_LENGTH, RECORDED, Concept
from erasure_core.law.prompts import read_prompt_set
from erasure_core.law.requests import DeletionRequest, known_methods
from erasure_core.methods import METHODS
from erasure_core.network.models import check_folder
from erasure_core.network.weights import WeightDelta, tensors_sha256
from erasure_core.planning.plan import restored_name
from erasure_core.text import escaped, markdown, visible, whole_number

NOW = datetime.now(UTC)
REQUEST = {
    "subject_request_id": "00000000-0000-0000-0000-000000000001",
    "subject_request_type": "erasure",
    "submitted_time": "2024-11-22T10:00:00Z",
    "regulation": "gdpr",
    "concept": {
        "name": "cat",
        "kind": "object",
        "prompts": ["a cat"],
        "replacement": "a cup of coffee",
    },
}


def request(**changes: object) -> DeletionRequest:
    return DeletionRequest.model_validate({**REQUEST, **changes})


def concept(**changes: object) -> Concept:
    return Concept.model_validate({**REQUEST["concept"], **changes})


# Text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Renée Åström, 日本語, a\u0301, 🐈", "Renée Åström, 日本語, a\u0301, 🐈"),
        ("\x1b[31mred", "\\u001b[31mred"),
        ("\x9b2J\x7f\0", "\\u009b2J\\u007f\\u0000"),
        ("a\r\nb\tc\u2028d", "a\\u000d\\u000ab\\u0009c\\u2028d"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("\udc80", "\\udc80"),
        ("\U000e0041", "\\udb40\\udc41"),
        ("علی\u200cرض\u0627", "علی\u200cرض\u0627"),
        ("a\u200cb\u200d", "a\\u200cb\\u200d"),
    ],
)
def test_only_what_steers_a_terminal_is_escaped(text, expected):
    assert escaped(text) == expected


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("Tom & Jerry, 50 %", "Tom & Jerry, 50 %"),
        ("a|b", r"a\|b"),
        ("<img src=x>", r"\<img src=x\>"),
        ("[x](y) *z* _w_ `v` ~u~", r"\[x\](y) \*z\* \_w\_ \`v\` \~u\~"),
        ("&lt;", r"\&lt;"),
        ("\\", r"\\"),
        ("a\nb", r"a\\u000ab"),
    ],
)
def test_nothing_is_markup_in_markdown(text, written):
    assert markdown(text) == written


@pytest.mark.parametrize("text", ["\x1b\x9b\x7f\u202e\u2028é🐈", "\U000e0041"])
def test_json_that_was_escaped_reads_the_same(text):
    assert json.loads(escaped(json.dumps(text, ensure_ascii=False))) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[(text, True) for text in ("cat", "猫", "?", "7", "🐈", " \u200bcat", "e\u0301")],
        *[(text, False) for text in ("", " \t\n\u00a0\u3000", "\u200b\u200d\u2060\ufeff")],
        *[(text, False) for text in ("\0\x1b\x7f", "\u202e", "\ufe0f\u0301", "\u2800", "\u3164")],
        *[(text, False) for text in ("\U000e0041", "\ue000", "\ud800")],
    ],
)
def test_text_of_invisible_characters_alone_is_not_visible(text, expected):
    assert visible(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[("0", 0), ("007", 7), ("9" * 19, 10**19 - 1)],
        *[(text, None) for text in ("", "-1", "+1", "1.0", "1_0", " 1", "1\n", "\u0661", "\u00b2")],
        *[(text, None) for text in ("9" * 20, "9" * 5000)],
    ],
)
def test_a_whole_number_is_ascii_digits_of_bounded_length(text, expected):
    assert whole_number(text) == expected


# Requests


@pytest.mark.parametrize(
    "time",
    [
        *["1700000000", "1.7e9", "+1700000000", " 1700000000", 1700000000, 1.7e9, True],
        *["2024-11-22", "2024-11-22T10:00:00", "1969-12-31T23:59:59Z", "2999-01-01T00:00:00Z"],
        *["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00", "0000-01-01T00:00:00Z"],
        datetime.max.replace(tzinfo=UTC),
        datetime.min.replace(tzinfo=UTC),
        NOW + timedelta(days=1, hours=1),
    ],
)
def test_a_time_at_which_nobody_asked_is_refused(time):
    with pytest.raises(ValidationError, match="submitted_time"):
        request(submitted_time=time)


@pytest.mark.parametrize(
    "time",
    [
        *["1970-01-01T00:00:00Z", "2024-11-22t10:00:00.5+02:00", "2024-11-22 10:00:00Z"],
        NOW + timedelta(hours=23),
    ],
)
def test_a_time_within_reason_is_taken(time):
    written = request(submitted_time=time).model_dump(mode="json")["submitted_time"]
    assert written.endswith("Z")
    assert datetime.fromisoformat(written) == request(submitted_time=time).submitted_time


def test_what_was_recorded_before_the_limits_is_still_read():
    old = {**REQUEST, "submitted_time": "2999-01-01T00:00:00Z", "method": "erase_all"}
    assert DeletionRequest.model_validate(old, context=RECORDED).submitted_time.year == 2999


def test_a_request_may_name_every_method():
    assert known_methods() == sorted(METHODS)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("method", value) for value in ("erase_all", "", "__init__", "UCE")],
        *[("regulation", value) for value in ("", " ", "\u200b", "a\nb", "\x1b[2J", "x" * 201)],
    ],
)
def test_what_no_request_means_is_refused(key, value):
    with pytest.raises(ValidationError, match=key):
        request(**{key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("name", value) for value in ("x" * (NAME_LENGTH + 1), "x" * 100_000, "\x1b[31m", "")],
        *[("replacement", value) for value in ("\u200b", "\ufeff\u2060", "\u3164", "x" * 2001)],
        *[("prompts", [value]) for value in ("\u200b", "\x01", "\u2800", " ", "x" * 2001)],
        *[("keep", [value]) for value in ("\u200b", "\x01", "\u2800", "")],
    ],
)
def test_what_no_concept_means_is_refused(key, value):
    with pytest.raises(ValidationError, match=key):
        concept(**{key: value})


@pytest.mark.parametrize("name", ["x" * NAME_LENGTH, "x" * (NAME_LENGTH - 2) + "½", "a ㏙" * 40])
def test_the_longest_name_makes_files_beside_their_drafts(name, tmp_path, monkeypatch):
    monkeypatch.setattr("os.getpid", lambda: 4_194_303)  # the greatest of Linux
    longest = restored_name(concept(name=name), "choose")
    temporary_name(tmp_path, f".{longest}.csv.").touch()


def test_long_names_that_differ_at_their_end_alone_have_two_files():
    one, other = (concept(name="x" * (NAME_LENGTH - 2) + last) for last in "½¼")
    assert one.slug != other.slug


# Tables

HEADER = "case_number,prompt,evaluation_seed,evaluation_guidance"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{HEADER},prompt\n0,a,1,4,b\n", "column prompt is there more than once"),
        (f"{HEADER},x,x\n0,a,1,4,b,c\n", "column x is there more than once"),
        (f"{HEADER}\n0,\u200b,1,4\n", "prompt is empty"),
        (f"{HEADER}\n0,\ufe0f\u2800,1,4\n", "prompt is empty"),
        (f"{HEADER}\n{'9' * 5000},a,1,4\n", "case_number is '9999"),
        (f"{HEADER}\n0,a,{'9' * 5000},4\n", "evaluation_seed is '9999"),
        (f"{HEADER}\n0,a\0b,1,4\n", "NUL"),
    ],
)
def test_a_table_that_says_two_things_or_nothing_is_refused(text, expected, tmp_path):
    (tmp_path / "set.csv").write_text(text)
    with pytest.raises(BadInput, match=expected) as caught:
        read_prompt_set(tmp_path / "set.csv")
    assert len(str(caught.value)) < 1000


def test_columns_without_a_name_may_repeat(tmp_path):
    (tmp_path / "set.csv").write_text(f"{HEADER},,\n0,a,1,4,,\n")
    assert len(read_prompt_set(tmp_path / "set.csv")) == 1


# Weights


@pytest.fixture
def network() -> torch.nn.Module:
    return torch.nn.BatchNorm1d(3)


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        ({"nowhere": torch.zeros(3)}, "'nowhere' of shape (3,), where the base has nothing"),
        ({"weight": torch.zeros(1)}, "'weight' of shape (1,), where the base has (3,)"),
        ({"weight": torch.zeros(3, 1)}, "of shape (3, 1)"),
        ({"running_mean": torch.zeros(3)}, "'running_mean'"),  # a buffer would be left as it is
    ],
)
@pytest.mark.parametrize("way", ["check", "apply", "applied"])
def test_a_delta_that_does_not_fit_is_refused_and_adds_nothing(way, tensors, expected, network):
    before = tensors_sha256(network.state_dict())
    delta = WeightDelta(before, {"bias": torch.ones(3), **tensors})
    with pytest.raises(BadInput) as caught:  # noqa: PT012 - one way is a context
        if way == "applied":
            with delta.applied(network):
                pass
        else:
            getattr(delta, way)(network)
    assert expected in str(caught.value)
    assert tensors_sha256(network.state_dict()) == before


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_delta_file_that_is_not_finite_is_refused(value, tmp_path):
    file, tensors = tmp_path / "d.safetensors", {"a": torch.ones(2), "b": torch.tensor([1, value])}
    save_file(tensors, file, metadata={"base_sha256": "b"})
    with pytest.raises(BadInput, match="'b' is NaN or infinite"):
        WeightDelta.load(file)


def test_a_delta_file_without_tensors_is_refused(tmp_path):
    save_file({}, tmp_path / "d.safetensors", metadata={"base_sha256": "b"})
    with pytest.raises(BadInput, match="changes no weight"):
        WeightDelta.load(tmp_path / "d.safetensors")


def test_an_erasure_that_is_not_finite_is_not_kept(tmp_path):
    delta = WeightDelta("b", {"a": torch.tensor([torch.nan])})
    with pytest.raises(ErasureError, match="made 'a' NaN or infinite"):
        delta.save(tmp_path / "d.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_base_that_is_not_finite_is_refused(value, part, tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "base")
    (file,) = (folder / part).glob("*.safetensors")
    tensors = load_file(file)
    name = min(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name].view(-1)[-1] = value
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(BadInput, match=f"{part}/.*'{name}' is NaN or infinite; restore"):
        check_folder(folder)
