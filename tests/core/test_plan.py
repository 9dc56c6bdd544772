"""The plan of a run: every bad input stops it before anything is written, and its key is all that
the result depends on.
"""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import pytest

from erasure_core.errors import BadInput, ErasureError
from erasure_core.law import lineage
from erasure_core.law.concepts import Concept
from erasure_core.law.prompts import PromptRow
from erasure_core.law.requests import DeletionRequest
from erasure_core.methods import rece, uce
from erasure_core.network import bases
from erasure_core.planning.params import Params
from erasure_core.planning.plan import Plan, checked_base, in_parts, in_place, make_plan

HEADER = "case_number,prompt,evaluation_seed,evaluation_guidance,concept\n"
KEPT = "0,a photo of a cat,11,4.0,cat\n1,a photo of a rocket,12,4.0,rocket\n"


def request(name: str, number: int, **concept: object) -> DeletionRequest:
    described = {
        "name": name,
        "kind": "object",
        "prompts": (f"a picture of a {name}",),
        "replacement": "a retina",
    } | concept
    return DeletionRequest.model_validate(
        {
            "subject_request_id": UUID(int=number),
            "subject_request_type": "erasure",
            "submitted_time": "2026-11-22T10:00:00Z",
            "regulation": "gdpr",
            "concept": Concept.model_validate(described),
        }
    )


ROCKET, CAT = request("rocket", 1), request("cat", 2)


@pytest.fixture
def settings(tiny_folder, tmp_path) -> dict:
    """What params.yaml holds, over prompt sets of its own."""
    for name in ("rocket", "cat"):
        target = tmp_path / f"targets/{name}.csv"
        target.parent.mkdir(exist_ok=True)
        target.write_text(HEADER + f"0,a sketch of a {name},21,4.0,{name}\n")
        choose = tmp_path / f"choose/targets/{name}.csv"
        choose.parent.mkdir(exist_ok=True, parents=True)
        choose.write_text(HEADER + f"0,a poster of a {name},31,4.0,{name}\n")
    (tmp_path / "kept.csv").write_text(HEADER + KEPT)
    (tmp_path / "choose/kept.csv").write_text(HEADER + "0,a poster of a galaxy,32,4.0,galaxy\n")
    return {
        "base": {"path": str(tiny_folder)},
        "registered_model": "toy",
        "seed": 7,
        "lambdas": [1, 5],
        "method": {"method": "all_but_one", "target": "replace"},
        "sampling": {"steps": 2, "batch_size": 2},
        "prompts": {
            "targets": tmp_path / "targets",
            "kept": tmp_path / "kept.csv",
            "choose": {
                "targets": tmp_path / "choose/targets",
                "kept": tmp_path / "choose/kept.csv",
            },
        },
        "detector": {"labels": {"likeness": ["FACE_FEMALE"]}, "threshold": 0.5},
        "clip": {"path": "not read here", "templates": ["{}"]},
        "policy": {
            "min_n": 1,
            "control": 0.5,
            "targets": {"object": {"clip.concept_rate": 0.1}},
            "kept": {"ssim": 0.5},
        },
    }


MADE_WITH = {"code": "0" * 64, "torch": "2.0"}


def plan(settings: dict, tmp_path: Path, *requests: DeletionRequest) -> Plan:
    params = Params.model_validate(settings)
    return make_plan(requests or (ROCKET,), params, tmp_path / "runs", MADE_WITH)


def test_a_plan_holds_its_inputs_by_value_or_hash_and_writes_nothing(
    settings, tiny_folder, tmp_path
):
    before = lineage.manifest(tmp_path)
    made = plan(settings, tmp_path, ROCKET, CAT)
    assert [c.name for c in made.concepts] == ["rocket", "cat"]
    assert made.base_sha256 == bases.root(tiny_folder)
    files = {
        "target-rocket": "targets/rocket.csv",
        "target-cat": "targets/cat.csv",
        "kept": "kept.csv",
    }
    files |= {f"choose-{name}": f"choose/{file}" for name, file in files.items()}
    assert made.prompt_sha256 == {
        name: lineage.sha256_file(tmp_path / file) for name, file in files.items()
    }
    assert [(c.name, c.settings.lambda_) for c in made.candidates()] == [
        ("default-lambda=1", 1),
        ("default-lambda=5", 5),
    ]
    assert made.folder == tmp_path / "runs" / made.run_key
    assert lineage.manifest(tmp_path) == before


def test_what_another_request_erases_stands_in_no_place(settings, tmp_path):
    cat = CAT.model_copy(
        update={"concept": CAT.concept.model_copy(update={"replacement": "a rocket"})}
    )
    assert plan(settings, tmp_path, cat).concepts[0].replacement == "a rocket"
    made = plan(settings, tmp_path, ROCKET, cat)
    assert {c.replacement for c in made.concepts} == {ROCKET.concept.replacement}
    assert made.requests[1].concept.replacement == "a rocket"


def test_the_base_is_one_folder_whoever_reads_the_plan(settings, tmp_path, monkeypatch):
    """A teacher is loaded once a folder, and what it computes is counted on that one."""
    shutil.copytree(settings["base"]["path"], tmp_path / "base", dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    settings["base"]["path"] = "base"
    made = plan(settings, tmp_path)
    made.write()
    assert Plan.read(made.folder).base_folder == made.base_folder == tmp_path / "base"


def kept_base(settings: dict, state: Path) -> Path:
    """Let the settings name a base that a state folder keeps, which was one file."""
    kept = state / "bases/0123"
    shutil.copytree(settings["base"]["path"], kept)
    settings["base"]["path"] = str(kept)
    return kept


@pytest.mark.parametrize("move", [shutil.move, shutil.copytree])
def test_a_plan_finds_the_kept_base_of_a_state_folder_that_was_moved_or_copied(
    move, settings, tmp_path
):
    kept_base(settings, tmp_path)
    made = plan(settings, tmp_path)
    made.write()
    other = tmp_path / "other"
    for name in ("runs", "bases"):
        move(tmp_path / name, other / name)
    again = Plan.read(other / "runs" / made.run_key)
    assert again.base_folder == other / "bases/0123"
    assert checked_base(again.params.base) == (again.base_folder, made.base_sha256)


def test_a_plan_can_be_shown_without_its_base(settings, tmp_path):
    weights(settings, tmp_path)
    made = plan(settings, tmp_path)
    made.write()
    shutil.rmtree(made.base_folder)
    with pytest.raises(BadInput, match="neither an existing folder"):
        Plan.read(made.folder)
    assert Plan.read(made.folder, with_base=False).sha256 == made.sha256


def weights(settings: dict, tmp_path: Path) -> Path:
    """Give the settings a base of their own, to be spoilt; return its UNet's weights."""
    copy = shutil.copytree(settings["base"]["path"], tmp_path / "base", dirs_exist_ok=True)
    settings["base"]["path"] = str(copy)
    return next((copy / "unet").glob("*.safetensors"))


def write(tmp_path: Path, rows: str, name: str = "kept.csv") -> None:
    (tmp_path / name).write_text(HEADER + rows)


LONG = "a photo of a retina " * 4
BAD = {
    "base absent": (
        lambda s, d: s["base"].update(path="./nowhere"),
        r"'\./nowhere' is neither an existing folder nor a hub id",
    ),
    "hub id without its commit": (
        lambda s, d: s["base"].update(path="owner/name"),
        "needs its commit",
    ),
    "base is not the pinned one": (
        lambda s, d: s["base"].update(sha256="0" * 64),
        "base.sha256 pins 0000",
    ),
    "base without weights": (lambda s, d: weights(s, d).unlink(), "holds no weights"),
    "pickle weights": (
        lambda s, d: (f := weights(s, d)).rename(f.with_suffix(".pt")),
        "holds only pickle weights",
    ),
    "truncated weights": (
        lambda s, d: (f := weights(s, d)).write_bytes(f.read_bytes()[:-9]),
        "is not a whole safetensors file",
    ),
    "no target set": (
        lambda s, d: (d / "targets/rocket.csv").unlink(),
        "no prompt set for concept 'rocket'",
    ),
    "duplicate case number": (
        lambda s, d: write(d, KEPT.replace("\n1,", "\n0,")),
        "case_number 0 is already on line 2",
    ),
    "missing column": (
        lambda s, d: (d / "kept.csv").write_text("case_number,prompt\n0,a cat\n"),
        "column evaluation_guidance missing",
    ),
    "seed that is no number": (
        lambda s, d: write(d, KEPT.replace("11", "eleven")),
        "evaluation_seed is 'eleven'",
    ),
    "measured prompt too long": (
        lambda s, d: write(d, f"{KEPT}2,{LONG},13,4.0,\n"),
        "has 22 tokens",
    ),
    "what stands in its place too long": (
        lambda s, d: (
            s["policy"]["targets"]["object"].update({"replacement.rate": 0.5}),
            write(d, f"0,{' of '.join(['rocket'] * 6)},21,4.0,rocket\n", "targets/rocket.csv"),
        ),
        "a retina of a retina of .* has 19 tokens",
    ),
    "measured prompt trained on": (
        lambda s, d: write(d, f"{KEPT}2,a PICTURE of  a retina,3,4,\n"),
        "also trained on .*rocket', replaced",
    ),
    "nothing would be erased": (
        lambda s, d: s["method"].update(target="residual", instructions=[]),
        "without one delta is 0",
    ),
    "kind without limits": (
        lambda s, d: s["policy"].update(targets={"style": {"clip.concept_rate": 0.1}}),
        ("no limits for kind 'object'"),
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_input_is_refused_before_anything_is_written(fault, settings, tmp_path):
    plan(settings, tmp_path)  # it was acceptable
    spoil, expected = BAD[fault]
    spoil(settings, tmp_path)
    before = lineage.manifest(tmp_path)
    with pytest.raises(BadInput, match=expected):
        plan(settings, tmp_path)
    assert lineage.manifest(tmp_path) == before


def test_features_of_ones_own_are_in_the_key_by_their_bytes_and_absent_ones_not_at_all(
    settings, tmp_path
):
    made = plan(settings, tmp_path)
    assert "features" not in made.params.model_dump(mode="json")
    keys = [made.sha256]
    for path in ("here", "there"):
        settings["features"] = {"path": path}
        keys.append(plan(settings, tmp_path).sha256)
    assert keys[0] != keys[1] == keys[2]
    where = plan(settings, tmp_path)
    where.folder.mkdir(parents=True)
    where.write()
    assert Plan.read(where.folder).params.features.path == "there"


@pytest.mark.parametrize("key", ["prompts", "keep"])
def test_a_trained_prompt_that_would_be_cut_is_refused(key, settings, tmp_path):
    with pytest.raises(
        BadInput, match="has 22 tokens with its two markers; this base reads 16; shorten it"
    ):
        plan(settings, tmp_path, request("rocket", 1, **{key: (LONG,)}))


def test_a_style_without_others_to_tell_it_from_is_refused(settings, tmp_path):
    settings["policy"]["targets"]["style"] = {"clip.concept_rate": 0.1}
    style = request("cat", 2, kind="style")
    with pytest.raises(
        BadInput, match=r"a style is named among others: list the base.s styles in clip\.styles"
    ):
        plan(settings, tmp_path, style)
    settings["clip"]["styles"] = ["cat", "sketch"]
    assert plan(settings, tmp_path, style).concepts[0].kind == "style"


@pytest.mark.parametrize("name", ["rocket", "ROCKET", "rock-et", "rockét"])
def test_two_requests_for_one_concept_are_refused_in_any_spelling(settings, tmp_path, name):
    advice = r"more than one request erases rocket.*`erasure request retry` of the newer"
    with pytest.raises(BadInput, match=advice):
        plan(settings, tmp_path, ROCKET, request(name, 3))


def test_two_requests_by_other_names_are_told_which_the_other_leaves(settings, tmp_path):
    more = request("rocket", 3, also=("Saturn V", "booster"))
    said = "one of them by Saturn V, booster too, which the other leaves"
    with pytest.raises(BadInput, match=said):
        plan(settings, tmp_path, ROCKET, more)


def test_two_kinds_of_one_name_are_refused_without_advice_against_a_person(settings, tmp_path):
    with pytest.raises(BadInput, match=r"as object and as style.*under a fuller name") as refused:
        plan(settings, tmp_path, ROCKET, request("Rocket", 3, kind="style"))
    assert "withdraw" not in str(refused.value)


def test_no_concept_of_a_plan_stands_in_the_place_of_another(settings, tmp_path):
    made = plan(settings, tmp_path, request("rocket", 1, replacement="a cat"), CAT)
    assert [c.replacement for c in made.concepts] == ["a retina", "a retina"]
    assert [r.concept.replacement for r in made.requests] == ["a cat", "a retina"]


def test_the_order_of_the_requests_changes_nothing(settings, tmp_path):
    made = plan(settings, tmp_path, ROCKET, CAT)
    assert re.fullmatch("[0-9a-f]{16}", made.run_key)
    # the whole plan: the order decides what training draws
    assert plan(settings, tmp_path, CAT, ROCKET) == made


def other_weights(settings: dict, _tmp_path: Path) -> None:
    file = next(Path(settings["base"]["path"]).glob("unet/*.safetensors"))
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


CHANGES = {
    "request": (lambda s, d: None, (request("rocket", 1, prompts=("the rocket",)),)),
    "further request": (lambda s, d: None, (ROCKET, CAT)),
    "seed": (lambda s, d: s.update(seed=8), ()),
    "limit": (lambda s, d: s["policy"]["kept"].update(ssim=0.6), ()),
    "base": (other_weights, ()),
    "kept set": (lambda s, d: write(d, KEPT.replace("11", "99")), ()),
    "target set": (
        lambda s, d: write(d, "0,a sketch of a rocket,22,4.0,rocket\n", "targets/rocket.csv"),
        (),
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_key_changes_with_each_input(what, settings, tmp_path):
    weights(settings, tmp_path)  # a copy, so that only its bytes can make the difference
    key = plan(settings, tmp_path).run_key
    change, requests = CHANGES[what]
    change(settings, tmp_path)
    assert plan(settings, tmp_path, *requests).run_key != key


@pytest.mark.parametrize("changed", [{"code": "1" * 64}, {"torch": "2.1"}])
def test_the_key_changes_with_code_and_libraries(changed, settings, tmp_path):
    params, runs = Params.model_validate(settings), tmp_path / "runs"
    other = make_plan((ROCKET,), params, runs, {**MADE_WITH, **changed})
    assert other.run_key != plan(settings, tmp_path).run_key


def test_the_key_is_short_for_the_plans_hash(settings, tmp_path):
    made = plan(settings, tmp_path)
    assert re.fullmatch("[0-9a-f]{64}", made.sha256)
    assert made.sha256.startswith(made.run_key)


def test_where_the_inputs_lie_changes_no_key(settings, tmp_path):
    key = plan(settings, tmp_path).run_key
    weights(settings, tmp_path)
    settings["clip"]["path"] = "elsewhere"
    settings["prompts"]["kept"] = shutil.copy(tmp_path / "kept.csv", tmp_path / "moved.csv")
    assert plan(settings, tmp_path).run_key == key


def test_a_plan_of_another_version_is_named(settings, tmp_path):
    made = plan(settings, tmp_path)
    made.write()
    made.file.write_text(made.file.read_text().replace('"made_with"', '"made_by"'))
    with pytest.raises(ErasureError, match=r"plan\.json is not a plan of this version"):
        Plan.read(made.folder)


def test_a_plan_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ErasureError, match=r"plan\.json does not exist"):
        Plan.read(tmp_path)


# --- what papers publish for one kind of concepts and not for another


def of_kind(settings: dict, tmp_path: Path, method: dict, *kinds: str) -> Plan:
    """A plan that erases the rocket and the cat as such kinds."""
    settings |= {"method": method, "lambdas": None}
    settings["clip"]["styles"] = ["rocket", "cat", "photo"]
    limits = {"clip.concept_rate": 0.1}
    settings["policy"]["targets"] = {"object": limits, "style": limits}
    requests = [
        r.model_copy(update={"concept": r.concept.model_copy(update={"kind": kind})})
        for r, kind in zip((ROCKET, CAT), kinds, strict=False)
    ]
    return plan(settings, tmp_path, *requests)


@pytest.mark.parametrize("kind", ["style", "object"])
@pytest.mark.parametrize("method", [uce, rece])
def test_what_is_not_set_is_as_published_for_the_kind(settings, tmp_path, method, kind):
    (candidate,) = of_kind(
        settings, tmp_path, {"method": method.Settings().method}, kind
    ).candidates()
    assert candidate.settings == method.PRESETS[kind]


def test_what_is_set_is_not_touched(settings, tmp_path):
    made = of_kind(settings, tmp_path, {"method": "rece", "epochs": 2, "lamb": 3}, "style")
    (candidate,) = made.candidates()
    assert candidate.settings == rece.PRESETS["style"].model_copy(update={"epochs": 2, "lamb": 3})


def test_a_plan_that_is_read_again_is_not_set_again(settings, tmp_path):
    made = of_kind(settings, tmp_path, {"method": "rece"}, "style")
    made.write()
    assert Plan.read(made.folder).candidates() == made.candidates()


def test_kinds_that_are_published_apart_need_one_setting(settings, tmp_path):
    with pytest.raises(
        BadInput, match="uce is published with target 'replacement' for style, 'nothing' for object"
    ):
        of_kind(settings, tmp_path, {"method": "uce"}, "style", "object")
    given = {"method": "uce", "target": "nothing"}
    assert of_kind(settings, tmp_path, given, "style", "object").params.method.target == "nothing"


def test_so_is_a_comparison(settings, tmp_path):
    settings["comparisons"] = {"published": {"method": {"method": "uce"}}}
    made = of_kind(settings, tmp_path, {"method": "rece"}, "object")
    assert made.candidate("published").settings == uce.PRESETS["object"]


def test_a_part_is_another_plan_of_fewer_rows(settings, tmp_path):
    made = plan(settings, tmp_path, ROCKET, CAT)
    of_part = in_parts(made, {"cat": (0, 2)})
    assert of_part.sha256 != made.sha256
    assert of_part.folder == made.folder.with_name(of_part.run_key)
    assert ([c.name for c in of_part.whole], [c.name for c in of_part.in_part]) == (
        ["rocket"],
        ["cat"],
    )
    assert in_parts(of_part, {}).sha256 == made.sha256
    of_part.write()
    assert Plan.read(of_part.folder) == of_part
    (of_part.folder / "prompts").mkdir()
    for name in made.prompt_sha256:
        table = HEADER + "".join(f"{n},a cat on a sofa {n},{n},4.0,cat\n" for n in range(5))
        of_part.prompt_file(name).write_text(table)
    rows = {name: len(table) for name, table in of_part.rows()}
    assert (rows["target-rocket"], rows["target-cat"]) == (5, 3)


def test_what_the_method_protects_is_sealed_off_from_what_is_measured(settings, tmp_path):
    settings |= {"lambdas": None}
    for prompt in ("a photo of a wall", "A photo of a cat."):
        settings["method"] = {"method": "sepme", "protect": [prompt]}
        if "wall" in prompt:
            assert plan(settings, tmp_path).params.protected == [prompt]
    with pytest.raises(BadInput, match=r"also trained on .the settings of the method"):
        plan(settings, tmp_path)


def test_the_direction_of_an_instruction_is_sealed_off_from_what_is_measured(settings, tmp_path):
    for prompt in ("a photo of a wall", "A sketch of a rocket."):
        settings["method"] = settings["method"] | {"instructions": [{"prompt": prompt}, {}]}
        if "wall" in prompt:
            assert plan(settings, tmp_path).params.protected == [prompt]
    with pytest.raises(BadInput, match=r"also trained on .the settings of the method"):
        plan(settings, tmp_path)


def test_what_a_comparison_protects_is_sealed_off_too(settings, tmp_path):
    method = {"method": "sepme", "protect": ["a photo of a cat"]}
    settings["comparisons"] = {"other": {"method": method}}
    with pytest.raises(BadInput, match=r"also trained on .the settings of the method"):
        plan(settings, tmp_path)


def test_what_should_stand_in_a_place_shows_nothing_else_that_goes():
    """A candidate without cats and mosaics is compared with photos of a dog, not with mosaics."""
    cat = Concept(name="cat", kind="object", prompts=("a cat",), replacement="a dog")
    mosaic = Concept(name="mosaic", kind="style", prompts=("a mosaic",), replacement="a photo")
    rows = [PromptRow(0, "a mosaic of a cat", 1, 4.0, "cat")]
    judged = SimpleNamespace(of_replacement=lambda kind: {"replacement.rate": 0.5})
    for among, expected in (([cat], "a mosaic of a dog"), ([mosaic, cat], "a photo of a dog")):
        assert [row.prompt for row in in_place(judged, cat, rows, among)] == [expected]
