"""From a name to a request and sets with which a run can start, on the embedded teacher."""

import csv
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from erasure_core.errors import BadInput
from erasure_core.law.prompts import read_prompt_set, written
from erasure_core.law.requests import DeletionRequest, read_request
from erasure_core.metrics.intervals import effective, enough
from erasure_core.network.models import load_tokenizers
from erasure_core.planning.params import Params, read_params
from flows.cli.new import _facts, _lines
from tasks.home import Home
from tasks.requests import look, new
from tasks.requests.intake import add
from tasks.requests.named import REQUESTS
from tasks.requests.new import Draft, NewRequest, spelled_out
from tasks.requests.preflight import preflight
from tasks.requests.steps import withdraw
from tests.book.books import quick_book
from tests.marks import slow

ROOT = Path(__file__).parents[2]
TEACHER = ROOT / "models/gallery/teacher"
OWN = "case_number,prompt,evaluation_seed,evaluation_guidance\n"


@pytest.fixture
def params(tmp_path, monkeypatch) -> Params:
    """The shipped parameters, with prompt sets that a test may add to, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "prompts", tmp_path / "prompts")
    for folder in ("targets", "choose/targets"):  # what somebody wrote in this checkout
        for file in (tmp_path / "prompts" / folder).glob("*.csv"):
            if file.stem not in ("astronaut", "cat", "mosaic"):
                file.unlink()
    given = read_params(ROOT / "params.yaml").model_dump(mode="json", by_alias=True)
    text = json.dumps(given).replace('"prompts/', f'"{tmp_path}/prompts/')
    return Params.model_validate_json(text.replace('"models/', f'"{ROOT}/models/'))


def draft(case: NewRequest, params: Params, out: Path = REQUESTS) -> Draft:
    """What is written where the book holds no request."""
    return new.draft(case, params, quick_book(out / "home"), out)


def asked(name: str, kind="object", instead="a rocket", also=(), law="gdpr", prompts=None):
    return NewRequest(name, kind, instead, tuple(also), law, prompts)


CASES = {
    "a thing that the vocabulary has": asked("coffee"),
    "the same by another name": asked("coffee", also=["cup of joe"]),
    "a thing that it has not": asked("teapot"),
    "a style": asked("sketch", "style", "photo"),
    "something explicit, whose composed prompts no limit judges": asked("nudity", "explicit"),
    "a person with an accent": asked("Zo\u00eb", "likeness", "a photographer"),
    "a person with an apostrophe": asked("O'Neil", "likeness", "a photographer"),
    "a person with a title and an initial": asked("Dr. E. Ho", "likeness", "a photographer"),
    "a person in another script": asked("\u674e", "likeness", "a photographer"),
}
QUICK = ("a thing that it has not", "a person with an apostrophe", "a person in another script")


@pytest.mark.parametrize("name", [n if n in QUICK else slow(n) for n in CASES])
def test_what_it_writes_can_be_worked_on(name, params, tmp_path):
    case = CASES[name]
    made = draft(case, params, tmp_path / "requests")
    made.write()
    request = read_request(made.file)
    assert preflight(params, [request], Home(tmp_path / "home"), gpu_needed=False) == []
    assert request.concept.name == case.name
    assert request.concept.also == case.also


@pytest.mark.parametrize("name", ["coffee", "teapot"])
def test_its_report_can_meet_the_limits_without_a_hit(name, params):
    made = draft(asked(name), params)
    rows = made.sets[params.prompts.targets / f"{name}.csv"]
    alone, beside = ([r.prompt for r in rows if bool(r.also) == b] for b in (False, True))
    bounds = params.policy.targets["object"]
    assert effective(alone) >= enough(bounds["clip.concept_rate"])
    assert effective(beside) >= enough(bounds["composed.clip.concept_rate"])
    assert min(len(alone), len(beside)) >= params.policy.min_n


def test_a_stricter_limit_gets_more_prompts(params):
    bounds = {"object": {"clip.concept_rate": 0.05, "composed.clip.concept_rate": 0.2}}
    strict = params.model_copy(
        update={"policy": params.policy.model_copy(update={"targets": bounds})}
    )
    rows = draft(asked("coffee"), strict).sets[params.prompts.targets / "coffee.csv"]
    assert effective([r.prompt for r in rows if not r.also]) > enough(0.05) == 73


def test_no_seed_is_in_two_sets(params):
    made = draft(asked("coffee"), params)
    tables = [*made.sets.values()]
    tables += [read_prompt_set(f) for f in params.prompts.targets.glob("*.csv")]
    tables += [read_prompt_set(f) for f in params.prompts.choose.targets.glob("*.csv")]
    tables += [read_prompt_set(f) for f in (params.prompts.kept, params.prompts.choose.kept)]
    seeds = Counter(row.evaluation_seed for table in tables for row in table)
    mine = {row.evaluation_seed for table in made.sets.values() for row in table}
    assert all(seeds[seed] == 1 for seed in mine)


def test_a_stray_file_among_the_sets_does_not_stop_a_request(params):
    """What macOS and Excel put beside a file, and the half of a set without its guidance."""
    folder, made = params.prompts.targets, draft(asked("coffee"), params)
    half = [row.evaluation_seed for row in made.sets[folder / "coffee.csv"]][:2]
    (folder / "._coffee.csv").write_bytes(b"\x00\x05\x16\x07")
    (folder / "~$coffee.csv").write_bytes(b"\x05Ola \xff")
    (folder / "tea.csv").write_text(f"prompt,seed\ntea,{half[0]}\ntea,{half[1]}\ntea,x\n")
    again = draft(asked("coffee"), params)
    seeds = {row.evaluation_seed for rows in again.sets.values() for row in rows}
    assert seeds.isdisjoint(half)


def test_a_vocabularys_phrase_is_replaced_whole(params):
    pairs = dict(draft(asked("coffee", instead="a cup of tea"), params).pairs(40))
    assert pairs["a photo with a cup of coffee"] == "a photo with a cup of tea"
    assert not [after for after in pairs.values() if "cup of a" in after or "coffee" in after]


def test_a_style_is_replaced_with_its_article(params):
    pairs = dict(draft(asked("sketch", "style", "photo"), params).pairs(40))
    assert pairs["a sketch showing a photographer"] == "a photo showing a photographer"


def test_its_neighbours_are_the_nearest_by_text_states(params):
    made = draft(asked("astronomer", "likeness", "a cat"), params)
    assert len(made.neighbours) == 3
    assert set(made.neighbours) <= {w.name for w in made.known}
    assert "photographer" in {w.name for w in made.known}


def test_a_second_time_the_recipe_changes_and_the_clock_does_not(params, tmp_path):
    first = draft(asked("coffee"), params, tmp_path)
    first.write()
    again = draft(asked("coffee", instead="a cat"), params, tmp_path)
    assert again.request.asked == first.request.asked
    assert again.request.concept.replacement == "a cat"


def test_a_second_time_what_was_written_into_the_file_by_hand_stays(params, tmp_path):
    """Its time in its own time zone, and what the concept is attacked with."""
    made = draft(asked("coffee"), params, tmp_path)
    made.write()
    by_hand = {"described": ("what a barista pours",), "translated": ("Kaffee",)}
    text = re.sub(r"(submitted_time:).*", r"\1 2026-11-01T09:30:00.25+09:00", made.file.read_text())
    added = "".join(f"  {key}:\n    - {word}\n" for key, (word,) in by_hand.items())
    made.file.write_text(text + added)
    before = read_request(made.file)
    draft(asked("coffee", instead="a cat"), params, tmp_path).write()
    again = read_request(made.file)
    assert again.submitted_time.isoformat() == "2026-11-01T09:30:00.250000+09:00"
    assert again.asked == before.asked
    assert again.concept.model_dump(include=by_hand.keys()) == by_hand
    with pytest.raises(BadInput, match="--also: described holds 'what a barista pours'"):
        draft(asked("coffee", also=["barista"]), params, tmp_path)


@pytest.mark.parametrize("time", ["2026-11-01T09:30:00+09:00", "2026-11-01T09:30:00.25Z"])
def test_a_request_is_written_as_it_is(time, tmp_path):
    given = DeletionRequest(
        subject_request_id="5d3a9b1e-7b0e-4c41-9a3f-0d4a1c5e2f66",
        subject_request_type="erasure",
        submitted_time=time,
        regulation='own "policy": §1',
        method="uce",
        concept={
            "name": "O'Neil: Zo\u00eb",
            "also": ["Z"],
            "kind": "likeness",
            "replacement": "a photographer",
            "prompts": ["O'Neil: Zo\u00eb, # 1"],
            "described": ["who takes the photo"],
            "translated": ["\u674e"],
            "keep": ["a cat: asleep"],
        },
    )
    file = tmp_path / "request.yaml"
    file.write_text(new._as_yaml(given, file), encoding="utf-8")
    assert read_request(file) == given


def test_in_place_of_a_request_that_was_withdrawn_a_new_one_is_written(params, tmp_path):
    book = quick_book(tmp_path / "home")
    first = new.draft(asked("coffee"), params, book, tmp_path)
    first.write()
    add(book, [first.request], params.registered_model)
    withdraw(book, first.request.subject_request_id, "a mistake")
    again = new.draft(asked("coffee"), params, book, tmp_path)
    assert again.request.subject_request_id != first.request.subject_request_id
    assert "was withdrawn: this is a new one" in again.ended


def test_another_request_in_its_place_is_not_written_over(params, tmp_path):
    draft(asked("coffee"), params, tmp_path).write()
    with pytest.raises(BadInput, match="holds another request"):
        draft(asked("coffee", law="ccpa"), params, tmp_path)


def test_another_spelling_of_name_and_law_is_the_same_request(params, tmp_path):
    first = draft(asked("Zo\u00eb", "likeness", "a photographer"), params, tmp_path)
    first.write()
    again = draft(asked("zoe", "likeness", "a cat", law="The GDPR"), params, tmp_path)
    assert (again.file, again.request.asked) == (first.file, first.request.asked)
    assert again.sets.keys() == first.sets.keys()
    assert again.concept.replacement == "a cat"
    with pytest.raises(BadInput, match="holds another request"):
        draft(asked("zoe", "style", "photo"), params, tmp_path)


def test_sets_that_somebody_wrote_are_not_written_over(params, tmp_path):
    with pytest.raises(BadInput, match=r"cat\.csv: there already"):
        draft(asked("cat"), params, tmp_path)


def test_sets_of_an_example_are_told_to_be_its(params, tmp_path, monkeypatch):
    monkeypatch.setattr(new, "EXAMPLES", ROOT / "examples/requests")
    with pytest.raises(
        BadInput, match=r"cat\.yaml is a request that is measured on them: `erasure"
    ):
        draft(asked("cat"), params, tmp_path)


def test_a_file_is_no_name(params, tmp_path):
    (tmp_path / "names.csv").write_text("name\nZo\u00eb\n")
    with pytest.raises(BadInput, match=r"names\.csv is a file, and a request is for one concept"):
        draft(asked(str(tmp_path / "names.csv")), params, tmp_path)


@pytest.mark.parametrize(("name", "kept"), [("Cats", True), ("cats", False)])
def test_a_plural_with_a_capital_is_told_to_keep_the_singular(name, kept, params, tmp_path):
    made = draft(asked(name), params, tmp_path)
    assert any("a cat" in prompt for prompt in made.concept.keep) is kept
    said = "'Cats' with a capital is a name of its own, and 'cat' is kept; write 'cats'"
    assert any(warning.startswith(said) for warning in made.spelled) is kept


@pytest.mark.parametrize(
    ("name", "several"), [("cats and rockets", True), ("rocket cat", True), ("black cat", False)]
)
def test_a_name_of_several_things_is_told_to_be_one_name(name, several, params):
    concept = new._concept(asked(name, instead="a church"), (name,), ())
    said = list(new._several(concept, new._known(params)))
    assert [line.partition(" is one name")[0] for line in said] == [repr(name)] * several
    assert "'cat' and 'rocket' are kept" in "".join(said) or not several


def test_a_list_of_other_names_is_told_to_be_one_name(params):
    concept = new._concept(asked("coffee", also=["latte, espresso", "java"]), ("coffee",), ())
    (said,) = new._several(concept, new._known(params))
    assert said.startswith("--also 'latte, espresso' is one name")


@pytest.mark.parametrize(
    ("instead", "meant"),
    [
        *(("rocket", "a rocket"), ("old man in a suit", "an old man in a suit")),
        *((well, None) for well in ("a rocket", "water", "two dogs", "this dog", "Mickey Mouse")),
    ],
)
def test_a_replacement_without_its_article_is_warned_of(instead, meant):
    concept = new._concept(asked("coffee", instead=instead), ("coffee",), ())
    said = [f"{instead!r} has no article, and 'a photo of {instead}' is trained; write {meant!r}"]
    assert list(new._without_article(concept)) == (said if meant else [])


def test_nothing_is_written_before_it_is_asked_for(params, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    draft(asked("coffee"), params, tmp_path / "requests")
    assert sorted(tmp_path.rglob("*")) == before


def test_ones_own_prompts_are_the_report_and_are_labelled(params, tmp_path):
    own = tmp_path / "own.csv"
    own.write_text(OWN + "".join(f"{i},coffee number {i},{i + 9},4.0\n" for i in range(40)))
    without = {"object": {"clip.concept_rate": 0.1}}
    policy = params.policy.model_copy(update={"targets": without})
    alone = params.model_copy(update={"policy": policy})
    made = draft(asked("coffee", prompts=own), alone)
    rows = made.sets[params.prompts.targets / "coffee.csv"]
    assert [row.prompt for row in rows] == [f"coffee number {i}" for i in range(40)]
    assert {row.concept for row in rows} == {"coffee"}


def own_file(folder: Path, prompts: Iterable[str]) -> Path:
    """A report set of somebody's own."""
    rows = [f'{i},"{prompt}",{i + 9},4.0\n' for i, prompt in enumerate(prompts)]
    (own := folder / "own.csv").write_text(OWN + "".join(rows))
    return own


def without_guidance(*files: Path) -> None:
    """Take the column of guidance out of each file, as most public sets come."""
    for file in files:
        with file.open(newline="") as text:
            rows = list(csv.DictReader(text))
        with file.open("w", newline="") as text:
            left = [name for name in rows[0] if name != "evaluation_guidance"]
            writer = csv.DictWriter(text, left, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)


@pytest.mark.slow
def test_sets_without_guidance_are_read_with_the_parameters(params, tmp_path):
    own = tmp_path / "own.csv"
    own.write_text(OWN + "".join(f"{i},coffee number {i},{i + 9},4.0\n" for i in range(40)))
    without_guidance(own, *(tmp_path / "prompts").rglob("kept.csv"))
    given = {
        "sampling": params.sampling.model_copy(update={"guidance": 3.5}),
        "policy": params.policy.model_copy(
            update={"targets": {"object": {"clip.concept_rate": 0.1}}}
        ),
    }
    given_guidance = params.model_copy(update=given)
    made = draft(asked("coffee", prompts=own), given_guidance)
    assert {row.evaluation_guidance for rows in made.sets.values() for row in rows} == {3.5}
    assert look.durations(made, given_guidance, 60)
    made.write()
    assert draft(asked("coffee", prompts=own), given_guidance).sets == made.sets


def test_too_few_prompts_of_ones_own_are_refused(params, tmp_path):
    own = tmp_path / "own.csv"
    own.write_text(OWN + "".join(f"{i},coffee number {i},{i + 9},4.0\n" for i in range(30)))
    with pytest.raises(BadInput, match=r"limit on clip.concept_rate: 30 pictures can never show"):
        draft(asked("coffee", prompts=own), params)


@pytest.mark.slow
@pytest.mark.parametrize("header", ["case_number,prompt,evaluation_seed", "prompt"])
def test_prompts_of_the_field_get_the_composed_ones_that_the_policy_limits(
    header, params, tmp_path
):
    """No public file says what else its prompts name."""
    own = tmp_path / "own.csv"
    cells = {"case_number": "{0}", "prompt": "coffee number {0}", "evaluation_seed": "{0}"}
    row = ",".join(cells[name] for name in header.split(","))
    own.write_text("\n".join([header, *(row.format(i) for i in range(40))]))
    made = draft(asked("coffee", prompts=own), params, tmp_path / "requests")
    rows = made.sets[params.prompts.targets / "coffee.csv"]
    without = draft(asked("coffee"), params).sets[params.prompts.targets / "coffee.csv"]
    composed = [row for row in without if row.also]
    assert [row.prompt for row in rows[:40]] == [f"coffee number {i}" for i in range(40)]
    assert [(r.prompt, r.also) for r in rows[40:]] == [(r.prompt, r.also) for r in composed]
    assert len({row.case_number for row in rows}) == len(rows)
    assert len({row.evaluation_seed for row in rows}) == len(rows)
    assert made.supplied == len(composed) > 30
    made.write()
    request = read_request(made.file)
    assert preflight(params, [request], Home(tmp_path / "home"), gpu_needed=False) == []


@pytest.mark.slow
def test_prompts_of_ones_own_get_rows_by_the_other_names_that_they_lack(params, tmp_path):
    own = own_file(tmp_path, [f"coffee number {i}" for i in range(40)])
    made = draft(asked("coffee", also=["cup of joe"], prompts=own), params, tmp_path / "requests")
    rows = made.sets[params.prompts.targets / "coffee.csv"][40:]
    called = [row for row in rows if not row.also]
    assert called
    assert all("cup of joe" in row.prompt for row in called)
    assert made.supplied == len(rows) > len(called)


@pytest.mark.slow
def test_wordings_give_way_to_prompts_of_ones_own(params, tmp_path):
    """A file of the field holds "a photo of X", which is also how X is trained on and chosen by."""
    theirs = ["a photo of a teapot", "a teapot, photo", "a sketch of a teapot"]
    theirs += ["teapot", "a teapot", "photo of a teapot", "A PHOTO WITH A TEAPOT!"]
    kept = draft(asked("teapot"), params).concept.keep[:1]  # names none: it is left out
    own = own_file(tmp_path, [*theirs, *kept, *(f"teapot number {i}" for i in range(40))])
    made = draft(asked("teapot", prompts=own), params, tmp_path / "requests")
    report = made.sets[params.prompts.targets / "teapot.csv"]
    assert [row.prompt for row in report][: len(theirs)] == theirs
    chosen = made.sets[params.prompts.choose.targets / "teapot.csv"]
    assert "a poster of a teapot" in {row.prompt for row in chosen}
    assert "photo" in {row.style for row in chosen}
    made.write()
    request = read_request(made.file)
    assert preflight(params, [request], Home(tmp_path / "home"), gpu_needed=False) == []


@pytest.mark.slow
def test_prompts_of_ones_own_that_leave_no_wording_to_choose_by_are_refused(params, tmp_path):
    chosen = draft(asked("teapot"), params).sets[params.prompts.choose.targets / "teapot.csv"]
    theirs = dict.fromkeys(row.prompt for row in chosen)
    own = own_file(tmp_path, [*theirs, *(f"teapot number {i}" for i in range(40))])
    with pytest.raises(BadInput, match=r"own\.csv: .* leaves none to choose by"):
        draft(asked("teapot", prompts=own), params)


def test_prompts_of_ones_own_that_name_something_beside_it_are_left_as_they_are(params, tmp_path):
    given = draft(asked("coffee"), params).sets[params.prompts.targets / "coffee.csv"]
    own = tmp_path / "own.csv"
    own.write_text(written(given))
    made = draft(asked("coffee", prompts=own), params)
    assert (made.supplied, made.sets[params.prompts.targets / "coffee.csv"]) == (0, given)


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (asked("Ren\u00e9e \u00c5str\u00f6m", "likeness"), "in 13 pieces, and a prompt has places"),
        (asked("coffee", instead="a glockenspiel on a table"), "give a shorter replacement"),
        (asked("cof\u202efee"), "NAME: it holds control or format characters"),
        (asked("coffee", instead="a cup of coffee"), "--instead: the replacement"),
        (asked("coffee", instead="a \x1b cup"), "--instead: it holds U+001B"),
        (asked("coffee", also=["\u200b"]), "--also: nothing in it can be seen"),
        (asked("coffee", also=["\u202e"]), "--also: it holds control"),
        (asked("coffee", law="a\nb"), "--law: it holds control"),
        (asked("coffee", instead=""), "--instead: it is empty; write words"),
    ],
    ids=[
        *("too long", "too long a replacement", "bidi", "itself", "escape", "invisible"),
        *("bidi other name", "law", "empty"),
    ],
)
def test_what_cannot_be_is_refused_in_words(case, said, params):
    with pytest.raises(BadInput) as fault:
        draft(case, params)
    assert said in str(fault.value)


def test_what_the_tokenizer_does_not_know_is_said():
    tokenizers = load_tokenizers(TEACHER)
    assert spelled_out(tokenizers, ["a cup of tea", "a rocket"]) == (
        "the base's tokenizer does not know 'tea' and reads 3 pieces",
    )


# What was seen


def seen(names: dict[str, int], detected=None, as_replacement=None) -> look.Seen:
    black = Image.new("RGB", (8, 8))
    return look.Seen("x", [black] * 5, Counter(names), "nudenet", detected, as_replacement)


def test_what_is_seen_is_said_of_the_detector_that_saw_it(params):
    case = asked("Zo\u00eb", "likeness", "a photographer")
    first = replace(seen({"Zo\u00eb": 5}, 1), detector="redness")
    instead = replace(seen({}, 4, 5), detector="redness")
    said = warned(params, case, first, instead)
    assert [line.split(" in ")[0] for line in said] == ["redness sees a likeness"] * 2
    assert instead.said().endswith("; redness sees one in 4 of 5")


def warned(params, case, *some) -> list[str]:
    return look._warnings(draft(case, params), params, some)


def test_a_replacement_that_is_drawn_as_the_concept_is_warned_of(params):
    case = asked("coffee", instead="a cup of tea")
    (warning,) = warned(params, case, seen({"coffee": 5}), seen({"coffee": 5}, None, 0))
    assert "for 'a cup of tea' too (5 of 5 pictures)" in warning


def test_a_replacement_that_is_drawn_as_itself_is_not(params):
    assert warned(params, asked("coffee"), seen({"coffee": 5}), seen({"rocket": 5}, None, 5)) == []


def test_a_name_that_the_base_does_not_draw_is_warned_of(params):
    case = asked("teapot")
    (warning,) = warned(params, case, seen({"cat": 5}), seen({"rocket": 5}, None, 5))
    assert "hardly draws 'teapot'" in warning


def test_a_likeness_without_a_face_is_warned_of(params):
    case = asked("Zo\u00eb", "likeness", "a photographer")
    (warning,) = warned(params, case, seen({"Zo\u00eb": 5}, 1), seen({"cat": 5}, 0, 5))
    assert "nudenet sees a likeness in 1 of 5" in warning


def test_a_face_where_the_concept_stood_is_warned_of(params):
    case = asked("Zo\u00eb", "likeness", "a photographer")
    face = seen({"cat": 5}, 4, 5)
    (warning,) = warned(params, case, seen({"Zo\u00eb": 5}, 5), face)
    assert "nudenet sees a likeness in 4 of 5 pictures of 'a photographer'" in warning
    assert "the policy allows 0.1 of them" in warning


def test_a_run_draws_as_many_pictures_as_it_says(params):
    """uce chooses among nothing: base and candidate on the report set and the kept one, and the
    base once more for what stands instead.
    """
    made = draft(asked("coffee"), params)
    rows = made.sets[params.prompts.targets / "coffee.csv"]
    kept = [r for r in read_prompt_set(params.prompts.kept) if r.concept != "coffee"]
    expected = 2 * (len(rows) + len(kept)) + sum(not r.also for r in rows)
    assert look.durations(made, params, 60)["uce"].startswith(f"{expected} pictures, {expected}.0")


def test_erasing_that_was_not_measured_is_said_to_take_its_time(params):
    times = look.durations(draft(asked("coffee"), params), params, 1)
    assert times["esd"].endswith("+ an unmeasured time erasing")
    assert times["uce"].endswith("+ 0.716 s erasing")


@pytest.mark.slow
def test_what_replaces_a_style_is_named_among_the_styles(params):
    case = asked("sketch", "style", "photo")
    instead = look.look(draft(case, params), params).seen[-1]
    assert instead.as_replacement == instead.named["photo"] >= 4


def test_a_style_is_advised_to_become_another_style(params):
    case = asked("sketch", "style", "fresco")
    (warning,) = warned(params, case, seen({"sketch": 5}), seen({"photo": 5}, None, 0))
    assert warning.endswith("such as mosaic, photo, poster")


def test_it_looks_with_the_base_and_says_everything(params, tmp_path):
    few = params.model_copy(update={"sampling": params.sampling.model_copy(update={"steps": 4})})
    made = draft(asked("coffee", also=["cup of joe"]), few, tmp_path)
    found = look.look(made, few)
    assert [len(one.pictures) for one in found.seen] == [5, 5, 5]
    assert look.sheet(found.seen).size == (5 * 64, 3 * 64)
    times = look.durations(made, few, found.seconds_a_picture)
    facts = _facts(made, found, times, tmp_path / "coffee.png", Path("params.yaml"))
    lines = _lines(facts)
    assert facts["days_left"] in range(25, 35)
    known = SimpleNamespace(row=SimpleNamespace(due="9999-01-22T23:59:59.000Z"))
    given = made, found, times, tmp_path / "coffee.png", Path("params.yaml"), "my models/sd15"
    extended = _facts(*given, known)
    assert extended["due"] == "9999-01-22"
    assert [line.endswith(" --base 'my models/sd15'") for line in extended["next"]] == [True] * 2
    assert sum("  ->  " in line for line in lines) == 4
    assert lines[-2:] == [
        f"next      erasure request check {made.file}",
        f"next      erasure run {made.file}",
    ]


def test_the_request_that_the_docs_show_can_be_worked_on(params, tmp_path):
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/requests.md").read_text(), re.DOTALL)
    (tmp_path / "request.yaml").write_text(text)
    request = read_request(tmp_path / "request.yaml")
    assert preflight(params, [request], Home(tmp_path / "home"), gpu_needed=False) == []
