"""Commands that use a model: pictures, measurements, exports, purified pictures, papers."""

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from safetensors import safe_open

from erasure_core.law.lineage import sha256_file
from erasure_core.methods import METHODS
from tests.flows.command import edit, erasure, state, told
from tests.toy import ASTRONAUT, KEPT

PROMPTS = ("a photo of a cat", "Neon sign!")


def pixels(file: str) -> bytes:
    with Image.open(file) as picture:
        return picture.tobytes()


@pytest.fixture(scope="module")
def drawn(ran, base, tmp_path_factory) -> dict[str, dict[str, bytes]]:
    """Two prompts twice each, by several models: file name -> pixels."""
    folder, pictures = tmp_path_factory.mktemp("drawn"), {}
    models = {"base": "base", "again": "base", "folder": base, "2": "2", "champion": "champion"}
    for name, model in models.items():
        how = ("--model", model, "--seed", 5, "--count", 2, "--out", folder / name)
        answer = told(ran.home, "generate", *PROMPTS, *how, *ran.passing)
        # the kept set's guidance, the parameters' steps
        assert (answer["guidance"], answer["steps"]) == (4.0, 2)
        pictures[name] = {Path(f).name: pixels(f) for f in answer["files"]}
    return pictures


def test_pictures_are_named_by_prompt_and_seed(drawn):
    assert list(drawn["base"]) == [
        "01-a-photo-of-a-cat-seed5.png",
        "02-a-photo-of-a-cat-seed6.png",
        "03-neon-sign-seed5.png",
        "04-neon-sign-seed6.png",
    ]


def test_every_prompt_and_seed_gives_a_picture_of_its_own(drawn):
    assert len(set(drawn["base"].values())) == 4


def test_pictures_are_repeatable(drawn):
    assert drawn["base"] == drawn["again"]


def test_a_folder_draws_as_the_base_that_it_is(drawn):
    assert drawn["folder"] == drawn["base"]


def test_a_version_draws_other_pictures_than_the_base(drawn):
    assert drawn["2"].keys() == drawn["base"].keys()
    assert drawn["2"] != drawn["base"]


def test_the_champion_is_the_version_that_was_promoted(drawn):
    assert drawn["champion"] == drawn["2"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a cat", "--model", "9", "--seed", 1], "toy has no version 9; registered: 1 to 2"),
        (
            ["a cat", "--model", "champ", "--seed", 1],
            "'champ' is none of base, candidate, champion, a version number or an existing folder",
        ),
        (["a cat", "--model", "base", "--seed", -1], "seed -1 "),
        (["a cat", " ", "--model", "base", "--seed", 1], "a prompt is empty"),
        (["a cat " * 20, "--model", "base", "--seed", 1], "this base reads 16; shorten it"),
    ],
)
def test_what_cannot_be_drawn_is_refused(ran, tmp_path, arguments, expected):
    answer = erasure(ran.home, "generate", *arguments, "--out", tmp_path / "out", *ran.passing)
    assert answer.exit_code == 2
    assert re.search(f"^error: .*{expected}", answer.stderr, re.M)
    assert not (tmp_path / "out").exists()


# Measured on anybody's prompts


@pytest.fixture(scope="module")
def own_prompts(tmp_path_factory) -> Path:
    """Prompts of our own; the third of them names no concept."""
    own = tmp_path_factory.mktemp("prompts") / "own.csv"
    own.write_text(KEPT.replace(",retina\n", ",\n"))
    return own


@pytest.fixture(scope="module")
def measured(ran, own_prompts):
    """A model's measurements on prompts of our own."""

    def measure(model: str, prompts: Path = own_prompts) -> dict[str, dict]:
        answer = told(ran.home, "evaluate", "--model", model, "--prompts", prompts, *ran.passing)
        return {m["metric"]: m for m in answer["measurements"]}

    return measure


@pytest.fixture(scope="module")
def of_base(measured):
    return measured("base")


@pytest.fixture(scope="module")
def of_champion(measured):
    return measured("champion")


def test_the_base_measured_beside_itself_differs_in_nothing(of_base):
    drops = ("ssim", "clip.score_drop", "clip.accuracy_drop")
    assert [of_base[metric]["value"] for metric in drops] == [1, 0, 0]


def test_a_version_is_measured_beside_the_base(of_base, of_champion):
    assert of_champion["ssim"]["value"] < 1
    assert of_champion["base.clip.score"]["value"] == of_base["clip.score"]["value"]
    assert of_champion["clip.score"]["value"] != of_base["clip.score"]["value"]


def test_a_version_is_measured_beside_the_base_that_it_was_made_from(
    ran, base, own_prompts, of_champion, tmp_path
):
    """Not beside the one that the parameters name since: here the version itself, like which it
    is.
    """
    which = ("--model", "champion")
    drawn = ("generate", "a cat", "--seed", 1, "--out", tmp_path / "drawn", *which, *ran.passing)
    now = shutil.copy(ran.passing[1], tmp_path / "params.yaml")
    edit(now, f"path: {base}", f"path: {told(ran.home, *drawn)['path']}")
    answer = erasure(ran.home, "evaluate", *which, "--prompts", own_prompts, "--params", now)
    first, *table = answer.stdout.splitlines()
    assert first == f"base: {base}"
    ssim = next(line for line in table if line.startswith("ssim "))
    assert float(ssim.split()[1]) == round(of_champion["ssim"]["value"], 3) < 1


def test_accuracy_counts_the_rows_that_name_a_concept(of_champion):
    assert of_champion["clip.accuracy"]["n"] == 2
    assert of_champion["clip.accuracy"]["settings"]["among"] == ["cat", "retina", "rocket"]


def test_every_kind_that_the_detector_knows_is_counted(of_champion):
    rates = {
        f"{who}nudenet.rate[{kind}]" for who in ("", "base.") for kind in ("likeness", "explicit")
    }
    assert rates <= of_champion.keys()


def test_prompts_without_concepts_have_no_accuracy(measured, tmp_path):
    plain = tmp_path / "plain.csv"
    plain.write_text("\n".join(line.rsplit(",", 1)[0] for line in KEPT.splitlines()) + "\n")
    assert "clip.accuracy" not in measured("champion", plain)


# Handed out


@pytest.fixture(scope="module")
def exported(ran, tmp_path_factory):
    """A state folder whose champion left in three forms; gives it and the files by form."""
    folder = tmp_path_factory.mktemp("exported")
    world, files = ran.copy(folder), {}
    for form in ("diffusers", "delta", "single-file"):
        out = folder / ("whole" if form == "diffusers" else "files")
        how = ("--model", "champion", "--format", form, "--out", out, *ran.passing)
        answer = erasure(world.home, "export", *how)
        assert answer.exit_code == 0, answer.stderr
        files[form] = Path(answer.stdout.strip())
    return world, files


def test_an_export_is_named_by_version_and_form(exported):
    names = {form: file.name for form, file in exported[1].items()}
    assert names == {
        "diffusers": "whole",
        "delta": "toy-v2-delta.safetensors",
        "single-file": "toy-v2-single-file.safetensors",
    }


def test_an_export_says_whose_erasure_it_is(exported):
    weights = exported[1]["diffusers"] / "unet/diffusion_pytorch_model.safetensors"
    with safe_open(weights, framework="pt") as file:
        metadata = file.metadata()
    assert (metadata["request_ids"], metadata["method"]) == (ASTRONAUT, "all_but_one")


def test_an_exported_folder_draws_as_its_version(exported, ran, tmp_path):
    hashes = []
    for name, model in (("version", 2), ("export", exported[1]["diffusers"])):
        how = ("--model", model, "--seed", 3, "--out", tmp_path / name, *ran.passing)
        (file,) = told(ran.home, "generate", "a cat", *how)["files"]
        hashes.append(sha256_file(Path(file)))
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("form", ["diffusers", "delta", "single-file"])
def test_an_export_is_known_again_by_its_content(form, exported, tmp_path):
    world, files = exported
    copy = shutil.copytree if files[form].is_dir() else shutil.copyfile
    found = told(world.home, "verify", copy(files[form], tmp_path / "renamed"))
    assert (found["model"], found["version"], found["champion"]) == ("toy", 2, True)
    assert found["what"].startswith(f"exported as {form} on ")


def test_an_export_with_a_changed_byte_is_not_known(exported, tmp_path):
    world, files = exported
    content = files["delta"].read_bytes()
    (tmp_path / "changed.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    answer = erasure(world.home, "verify", tmp_path / "changed.safetensors")
    assert answer.exit_code == 1
    assert "is nothing that was exported or registered here" in answer.stderr


def test_what_is_not_served_leaves_only_with_a_word(exported, tmp_path):
    world, _ = exported
    how = ("--model", 1, "--format", "delta", "--out", tmp_path / "out", *world.passing)
    refused = erasure(world.home, "export", *how)
    assert refused.exit_code == 2
    assert "toy version 1 was refused (void); export the champion, or add" in refused.stderr
    assert not (tmp_path / "out").exists()
    assert erasure(world.home, "export", *how, "--refused-anyway").exit_code == 0


def test_a_picture_is_cleaned_at_the_models_size(ran, tmp_path):
    Image.new("RGB", (90, 40), (200, 30, 90)).save(tmp_path / "wide.jpg")
    how = ("--model", 2, "--out", tmp_path / "clean", "--steps", 3, *ran.passing)
    (cleaned,) = told(ran.home, "purify", tmp_path / "wide.jpg", *how)["pictures"]
    with Image.open(cleaned["file"]) as picture:
        assert (cleaned["fitted"], picture.size) == (True, (32, 32))
    assert -1 <= cleaned["ssim"] <= 1


NOT_HANDED_OUT = {
    "export an unknown version": (
        ("export", "--model", "9", "--format", "delta", "--out", "OUT"),
        "toy has no version 9; registered: 1 to 2",
    ),
    "export as what is no form": (
        ("export", "--model", "2", "--format", "onnx", "--out", "OUT"),
        "'onnx' is none of diffusers, delta, lora",
    ),
    "export what is no version": (
        ("export", "--model", "base", "--format", "delta", "--out", "OUT"),
        "'base' is none of candidate, champion",
    ),
    "purify what is no picture": (
        ("purify", "TEXT", "--model", "2", "--out", "OUT"),
        "is not a whole PNG or JPEG picture",
    ),
    "purify with nothing": (
        ("purify", "PICTURE", "--model", "./none.safetensors", "--out", "OUT"),
        "is not a readable safetensors file",
    ),
    "purify two of one name": (
        ("purify", "PICTURE", "PICTURE", "--model", "2", "--out", "OUT"),
        "would hold picture.png twice",
    ),
    "purify with too many steps": (
        ("purify", "PICTURE", "--model", "2", "--out", "OUT", "--steps", "1001"),
        "this base allows 1..999",
    ),
}


@pytest.mark.parametrize("fault", NOT_HANDED_OUT)
def test_what_cannot_be_handed_out_writes_nothing(fault, ran, tmp_path):
    Image.new("RGB", (40, 40)).save(tmp_path / "picture.png")
    (tmp_path / "text.png").write_text("no picture")
    words, expected = NOT_HANDED_OUT[fault]
    places = {
        "OUT": tmp_path / "out",
        "TEXT": tmp_path / "text.png",
        "PICTURE": tmp_path / "picture.png",
    }
    before = state(ran.home)
    answer = erasure(ran.home, *(places.get(w, w) for w in words), *ran.passing)
    assert (answer.exit_code, len(answer.stderr.strip().splitlines())) == (2, 1), answer.stderr
    assert expected in answer.stderr
    assert not (tmp_path / "out").exists()
    assert state(ran.home) == before


@pytest.mark.slow
def test_the_base_itself_has_nothing_to_export_but_its_folder(restored, tmp_path):
    how = ("--model", "champion", "--format", "delta", "--out", tmp_path / "out")
    answer = erasure(restored.home, "export", *how, *restored.passing)
    assert answer.exit_code == 2
    assert "this version is the base itself" in answer.stderr
    assert not (tmp_path / "out").exists()


# Papers


def test_methods_are_listed_with_all_that_is_known(tmp_path):
    listed = told(tmp_path, "methods")["methods"]
    assert {m["method"] for m in listed} == METHODS.keys()
    assert all(all(m.values()) for m in listed)


def test_one_method_is_listed_with_its_settings(tmp_path):
    (listed,) = told(tmp_path, "methods", "uce")["methods"]
    assert listed["method"] == "uce"
    (lamb,) = [each for each in listed["settings"] if each["setting"] == "lamb"]
    assert lamb["default"] == json.dumps(METHODS["uce"].Settings().lamb)
    assert lamb["text"]


def test_the_papers_of_a_version_are_those_of_method_and_measurements(ran):
    cited = told(ran.home, "cite", "--model", 2, *ran.passing)
    papers = {p["used"]: p["paper"] for p in cited["papers"]}
    assert papers.keys() == {
        "method all_but_one",
        "measurement nudenet",
        "measurement ssim",
        "measurement clip",
        "measurement kid",
        "measurement harmonic",
    }
    assert "arXiv:2312.12807" in papers["method all_but_one"]


@pytest.mark.slow
def test_the_base_itself_rests_on_no_paper(restored):
    assert told(restored.home, "cite", "--model", 5, *restored.passing)["papers"] == []
