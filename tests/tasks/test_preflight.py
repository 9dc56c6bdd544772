"""Every kind of fault that can be known before a run is found, and laid at the right door."""

import json
import re
import shutil
import socket
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from PIL import Image
from prefect.settings import PREFECT_API_URL, temporary_settings
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from erasure_core.errors import BadInput
from erasure_core.files import pretty_json
from erasure_core.law.concepts import RECORDED, Concept
from erasure_core.law.lineage import manifest
from erasure_core.law.prompts import read_prompt_set
from erasure_core.law.requests import DeletionRequest
from erasure_core.metrics import Metric
from erasure_core.metrics.clip_score import ClipScorer
from erasure_core.metrics.intervals import mean
from erasure_core.planning.params import Params
from flows.cli import app
from tasks.book.door import open_book
from tasks.book.store import Book
from tasks.evidence import measure
from tasks.evidence.instruments import Instruments
from tasks.home import Home
from tasks.requests import machine
from tasks.requests.intake import add
from tasks.requests.made_with import made_with
from tasks.requests.plan import Inputs, plan_restore, plan_trial, take_up
from tasks.requests.preflight import OPERATOR, Fault, preflight, preflight_base
from tasks.requests.steps import hold, refuse, withdraw
from tests.book.books import MODEL, released

HEADER = "case_number,prompt,evaluation_seed,evaluation_guidance,concept\n"
KEPT = ("0,a photo of a retina,11,4.0,retina\n", "1,a photo of a galaxy,12,4.0,galaxy\n")
LONG = "a photo of a retina " * 4
FOUR_CATS = "a sketch of a cat of a cat of a cat of a cat"  # fits, and four brick walls do not
ROCKET, CAT = str(UUID(int=1)), str(UUID(int=2))


class Setup:
    """What a run would be given, in order until a test spoils it."""

    def __init__(self, folder: Path, base: Path, clip: Path):
        self.folder, self.restored, self.honoured = folder, [], frozenset[str]()
        self.home = Home(folder / "home")
        self.requests = {name: described(name, UUID(id_)) for name, id_ in NAMES.items()}
        for name in NAMES:
            self.write(f"targets/{name}.csv", rows(name, 40))
        self.write("kept.csv", KEPT)
        method = {"method": "all_but_one", "target": "replace", "steps": 3, "updates": 2}
        self.settings = {
            "base": {"path": str(base)},
            "registered_model": "toy",
            "seed": 7,
            "lambdas": [5],
            "method": {**method, "lr": 1e-3},
            "sampling": {"steps": 2, "batch_size": 2},
            "prompts": {"targets": folder / "targets", "kept": folder / "kept.csv"},
            "detector": {"labels": {"likeness": ["FACE_FEMALE"]}, "threshold": 0.5},
            "clip": {"path": str(clip), "templates": ["a photo of {}"]},
            "policy": {
                "min_n": 2,
                "control": 0.3,
                "targets": {"object": {"clip.concept_rate": 0.1}},
                "kept": {"ssim": 0.5, "clip.accuracy_drop": 0.9},
            },
        }

    def write(self, name: str, lines: "tuple[str, ...] | list[str]") -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(HEADER + "".join(lines))

    def replace(self, name: str, old: str, new: str) -> None:
        file = self.folder / name
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))

    def own(self, key: str) -> Path:
        """A copy of the base or of CLIP, to be spoilt."""
        copy = shutil.copytree(self.settings[key]["path"], self.folder / key)
        self.settings[key]["path"] = str(copy)
        return copy

    def ask(self, request: str, **other: object) -> None:
        """That request, otherwise described."""
        self.requests[request] = described(request, UUID(NAMES[request]), **other)

    def faults(self, gpu_needed: bool = True) -> list[Fault]:
        params = Params.model_validate(self.settings)
        return preflight(
            params,
            list(self.requests.values()),
            self.home,
            gpu_needed=gpu_needed,
            restored=self.restored,
            honoured=self.honoured,
        )


NAMES = {"rocket": ROCKET, "cat": CAT}


def rows(name: str, n: int) -> list[str]:
    return [
        f"{i},a sketch of a {name}{f' {i}' if i else ''},{20 + i},4.0,{name}\n" for i in range(n)
    ]


def described(
    called: str, id_: UUID, method: str | None = None, **other: object
) -> DeletionRequest:
    concept = {
        "name": called,
        "kind": "object",
        "prompts": (f"a picture of a {called}",),
        "replacement": "a brick wall",
    }
    return DeletionRequest.model_validate(
        {
            "subject_request_id": id_,
            "subject_request_type": "erasure",
            "submitted_time": f"2026-11-2{id_.int}T10:00:00Z",
            "regulation": "gdpr",
            "concept": Concept.model_validate({**concept, **other}),
            "method": method,
        },
        context=RECORDED,  # as the book gives it: a method may be gone since
    )


@pytest.fixture
def setup(tiny_folder, tiny_clip, tmp_path, monkeypatch) -> Setup:
    for name in ("ERASURE_DVC_REMOTE", "MLFLOW_TRACKING_URI", "ERASURE_GPU_DEPLOYMENT"):
        monkeypatch.delenv(name, raising=False)
    return Setup(tmp_path, tiny_folder, tiny_clip)


def test_good_setup_has_no_fault_and_nothing_is_written(setup):
    before = manifest(setup.folder)
    assert setup.faults() == []
    assert manifest(setup.folder) == before
    assert not setup.home.root.exists()


def without(file: Path, tensor: str) -> None:
    tensors = load_file(file)
    del tensors[tensor]
    save_file(tensors, file)


def cropped(file: Path, tensor: str) -> None:
    tensors = load_file(file)
    tensors[tensor] = tensors[tensor][:-1].clone()
    save_file(tensors, file)


def weights(folder: Path) -> Path:
    return next(folder.glob("*.safetensors"))


def only_a_text_encoder(setup: Setup) -> None:
    setup.settings["clip"]["path"] = f"{setup.settings['base']['path']}/text_encoder"


OPERATORS = {
    "base absent": (
        lambda s: s.settings["base"].update(path="./nowhere"),
        r"'\./nowhere' is neither an existing folder nor a hub id",
    ),
    "base not the pinned one": (
        lambda s: s.settings["base"].update(sha256="0" * 64),
        "base.sha256 pins 0000",
    ),
    "weights truncated": (
        lambda s: (f := weights(s.own("base") / "unet")).write_bytes(f.read_bytes()[:-9]),
        "is not a whole safetensors file",
    ),
    "tensor of the network missing": (
        lambda s: without(weights(s.own("base") / "unet"), "conv_out.bias"),
        r"unet lacks 1 tensors .* conv_out\.bias among them",
    ),
    "tensor of the network of another shape": (
        lambda s: cropped(weights(s.own("base") / "unet"), "conv_in.bias"),
        r"unet lacks 1 tensors .* conv_in\.bias among them",
    ),
    "tensor of the decoder missing": (
        lambda s: without(weights(s.own("base") / "vae"), "decoder.conv_out.bias"),
        r"vae lacks 1 tensors .* decoder\.conv_out\.bias among them",
    ),
    "tensor of the text encoder missing": (
        lambda s: without(
            (f := weights(s.own("base") / "text_encoder")), max(load_file(f), key=len)
        ),
        "text_encoder lacks 1 tensors",
    ),
    "tokenizer broken": (
        lambda s: (s.own("base") / "tokenizer/tokenizer.json").write_text("{}"),
        "the tokenizer of .* does not load",
    ),
    "CLIP absent": (
        lambda s: s.settings["clip"].update(path="./nowhere"),
        r"CLIP '\./nowhere' is neither a folder nor in the local hub cache",
    ),
    "features absent": (
        lambda s: s.settings.update(features={"path": "./nowhere"}),
        r"features folder nowhere holds no config\.json, \*\.safetensors; give a transformers",
    ),
    "features that see no picture": (
        lambda s: s.settings.update(
            features={"path": f"{s.settings['base']['path']}/text_encoder"}
        ),
        r"features .*text_encoder",
    ),
    "CLIP that is another model": (only_a_text_encoder, "is not a whole CLIP: .* are missing"),
    "tokenizer absent": (
        lambda s: (s.own("base") / "tokenizer/tokenizer.json").unlink(),
        r"base holds a tokenizer without a vocabulary \(\d+ tokens\)",
    ),
    "CLIP without its tokenizer": (
        lambda s: (s.own("clip") / "tokenizer.json").unlink(),
        r"clip holds a tokenizer without a vocabulary \(\d+ tokens\)",
    ),
    "detector label unknown": (
        lambda s: s.settings["detector"]["labels"].update(likeness=["FACE_CAT"]),
        r"detector labels \['FACE_CAT'\]; NudeNet knows",
    ),
    "detector threshold too low": (
        lambda s: s.settings["detector"].update(threshold=0.1),
        "NudeNet itself drops scores below 0.25",
    ),
    "target metric unknown": (
        lambda s: s.settings["policy"]["targets"]["object"].update({"clip.rate": 0.1}),
        r"policy\.targets\.object limits clip\.rate, which nothing measures; known there are",
    ),
    "kept metric unknown": (
        lambda s: s.settings["policy"]["kept"].update({"nudenet.rate": 0.1}),
        r"policy\.kept limits nudenet\.rate, which nothing measures",
    ),
    "restored metric unknown": (
        lambda s: s.settings["policy"].update(restored={"lpips": 0.1}),
        r"policy\.restored limits lpips, which nothing measures",
    ),
    "only what is besides": (
        lambda s: s.settings["policy"]["targets"].update(object={"leak": 0.7}),
        r"targets\.object limits leak, none of which sees the concept in every picture of it "
        r"alone: the unedited base could meet .* one of nudenet\.rate, clip\.concept_rate as well",
    ),
    "only its neighbours": (
        lambda s: s.settings["policy"]["targets"].update(object={"neighbour.accuracy": 0.3}),
        "limits neighbour.accuracy, none of which sees",
    ),
    "a face of what has none": (
        lambda s: s.settings["policy"]["targets"]["object"].update({"identity.rate": 0.1}),
        r"targets\.object limits identity\.rate, which tells whose face it is",
    ),
    "only what stands in its place": (
        lambda s: s.settings["policy"]["targets"].update(object={"replacement.rate": 0.5}),
        "limits replacement.rate, none of which sees",
    ),
    "limit that nothing can show": (
        lambda s: s.settings["policy"]["targets"].update(style={"clip.concept_rate": 0}),
        r"targets\.style limits clip\.concept_rate to 0, which no number of pictures can show",
    ),
    "restored limit that nothing can show": (
        lambda s: s.settings["policy"].update(restored={"clip.concept_rate": 1}),
        r"policy\.restored limits clip\.concept_rate to 1, .* lower it below 1",
    ),
    "part of the kept prompts that is not there": (
        lambda s: s.settings["policy"]["kept"].update({"ssim[listed]": 0.5}),
        r"policy\.kept limits ssim\[listed\], and 0 of 2 kept prompts are listed",
    ),
    "FID of two pictures": (
        lambda s: s.settings["policy"]["kept"].update({"fid": 5}),
        r"policy\.kept limits fid, not measured: FID with 12 numbers a picture needs more than 12",
    ),
    "kept prompts absent": (lambda s: (s.folder / "kept.csv").unlink(), "No such file"),
    "kept prompts malformed": (
        lambda s: s.replace("kept.csv", ",11,", f",{2**63},"),
        rf"evaluation_seed is '{2**63}'; allowed is a whole number, 0 to {2**63 - 1}",
    ),
    "kept prompt too long": (
        lambda s: s.write("kept.csv", [*KEPT, f"2,{LONG},1,4.0,retina\n"]),
        "has 22 tokens",
    ),
    "too few kept prompts": (
        lambda s: s.settings["policy"].update(min_n=3),
        r"2 of 2 kept prompts show or name none of rocket, cat, and policy\.min_n asks for 3",
    ),
    "kept prompts without a label": (
        lambda s: s.replace("kept.csv", "4.0,galaxy", "4.0,"),
        r"does not say what case 1 shows \(1 such\)",
    ),
    "sampling beyond the schedule": (
        lambda s: s.settings["sampling"].update(steps=1000),
        r"sampling\.steps: a \w+ of 1000 steps; this base .* 1\.\.999",
    ),
    "an adversary that the base has no place for": (
        lambda s: s.settings["method"].update(robust={"earliest": 1000}),
        r"robust\.earliest=1000 must be below this base's 1000 timesteps",
    ),
    "training beyond the schedule": (
        lambda s: s.settings["method"].update(steps=1000),
        r"method\.steps of the preset default: a \w+ of 1000 steps",
    ),
    "settings that erase nothing": (
        lambda s: s.settings["method"].update(target="residual", instructions=[]),
        "without one delta is 0",
    ),
}
ENVIRONMENT = {
    "remote below a file": ("ERASURE_DVC_REMOTE", "{folder}/kept.csv/x", "the remote .* cannot be"),
    "remote without its plug-in": (
        "ERASURE_DVC_REMOTE",
        "s3://user:secret@bucket/x",
        r"a remote s3://\.\.\. lacks its plug-in: .* 'dvc-s3'",
    ),
    "remote of no known kind": (
        "ERASURE_DVC_REMOTE",
        "pigeon://x",
        r"pigeon://\.\.\. is none that",
    ),
    "MLflow down": (
        "MLFLOW_TRACKING_URI",
        "http://user:secret@127.0.0.1:1/",
        r"MLflow at http://127\.0\.0\.1:1 does not answer \(.*refused",
    ),
    "MLflow's database down": (
        "MLFLOW_TRACKING_URI",
        "postgresql+psycopg://user:secret@127.0.0.1:1/mlflow",
        r"MLflow at postgresql\+psycopg://127\.0\.0\.1:1 does not answer \(.*refused",
    ),
    "GPU work without a server": (
        "ERASURE_GPU_DEPLOYMENT",
        "erase-and-generate/erase-on-gpu",
        "PREFECT_API_URL no server that has it",
    ),
}
SEPME = {"method": "sepme", "updates": 1}


def protecting(*prompts: str) -> Callable[[Setup], object]:
    """Erase by SepME, which holds `prompts` exactly as they are."""
    return lambda s: s.settings.update(method={**SEPME, "protect": prompts}, lambdas=None)


PROTECTED = {
    "kept": (OPERATOR, "A photo of a retina!", "'a photo of a retina' is also trained on .the set"),
    "target": (CAT, "a sketch of a cat", "'a sketch of a cat' is also trained on .the set"),
    "long": (OPERATOR, LONG, "has 22 tokens"),
}


NEIGHBOURS = {
    "of nothing kept": ({"cat": ("retina", "dog")}, "names dog for 'cat', .* galaxy, retina.; add"),
    "in capitals": ({"rocket": ("Galaxy",)}, "names Galaxy for 'rocket'"),
}


REQUESTS = {
    "prompt set absent": (
        lambda s: (s.folder / "targets/cat.csv").unlink(),
        "no prompt set for concept 'cat'",
    ),
    "prompt set malformed": (
        lambda s: s.replace("targets/cat.csv", "39,a", "38,a"),
        "case_number 38 is already on line 40",
    ),
    "guidance out of range": (
        lambda s: s.replace("targets/cat.csv", ",4.0,", ",1001,"),
        "evaluation_guidance is '1001'; allowed is a number such as 7.5, 0 to 1000",
    ),
    "fewer rows than min_n": (
        lambda s: s.write("targets/cat.csv", rows("cat", 1)),
        r"'cat' has 1 rows, and policy\.min_n asks for 2",
    ),
    "too few rows for the limit": (
        lambda s: s.write("targets/cat.csv", rows("cat", 30)),
        "30 pictures can never show at most 0.1: 0 of 30 still allows 0.114; 35 can",
    ),
    "many rows of few prompts": (
        lambda s: s.write(
            "targets/cat.csv",
            [f"{i},a sketch of a cat {i % 12},{70 + i},4.0,cat\n" for i in range(60)],
        ),
        r"0 of 12 still allows 0\.243; .*\(60 pictures of 12 prompts count as 12\)",
    ),
    "copies of one row": (
        lambda s: s.write(
            "targets/cat.csv", [f"{i},a sketch of a cat,7,4.0,cat\n" for i in range(60)]
        ),
        r"cases 0 and 1 have the same prompt and seed, so the same picture \(59 such copies\)",
    ),
    "trained prompt with a full stop": (
        lambda s: s.ask("cat", prompts=("a sketch of a cat.",)),
        "is also trained on .prompts of 'cat'., read as 'a sketch of a cat.'",
    ),
    "rows without their label": (
        lambda s: s.replace("targets/cat.csv", "4.0,cat", "4.0,"),
        "the column `concept` of the prompt set of 'cat' holds nothing; write cat there",
    ),
    "label in capitals": (
        lambda s: s.replace("targets/cat.csv", "4.0,cat", "4.0,Cat"),
        "prompt set of 'cat' holds Cat; write cat there",
    ),
    "measured prompt trained on": (
        lambda s: s.ask("cat", prompts=("a sketch of a cat",)),
        "measured prompt 'a sketch of a cat' is also trained on",
    ),
    "kept prompt trained on": (
        lambda s: s.ask("cat", keep=("a photo of a retina",)),
        "'a photo of a retina' is also trained on .keep of 'cat'",
    ),
    "prompt of an older request trained on": (
        lambda s: s.ask("cat", keep=("a sketch of a rocket",)),
        "'a sketch of a rocket' is also trained on .keep of 'cat'",
    ),
    "prompt too long": (lambda s: s.ask("cat", prompts=(LONG,)), "has 22 tokens"),
    "what stands in its place too long": (
        lambda s: (
            s.settings["policy"]["targets"]["object"].update({"replacement.rate": 0.5}),
            s.replace("targets/cat.csv", "a sketch of a cat,", f"{FOUR_CATS},"),
        ),
        "a sketch of a brick wall of .* has 20 tokens",
    ),
    "kind without limits": (
        lambda s: s.ask("cat", kind="likeness"),
        "no limits for kind 'likeness' of concept 'cat'",
    ),
    "style without others": (
        lambda s: (
            s.ask("cat", kind="style"),
            s.settings["policy"]["targets"].update(style={"clip.concept_rate": 0.1}),
        ),
        "a style is named among others",
    ),
    "method that is not one": (
        lambda s: s.ask("cat", method="prayer"),
        "no method 'prayer' .it is not a method",
    ),
    "prompt that its method cannot use": (
        lambda s: (
            s.settings.update(method={"method": "forget_me_not", "lr": 1e-3, "updates": 1}),
            s.settings.pop("lambdas"),
            s.ask("cat", prompts=("a kitten",)),
        ),
        "turns attention away from the word 'cat', which prompt 'a kitten' does not hold",
    ),
    "word in every kept prompt": (
        lambda s: (s.ask("cat", name="photo"), s.write("targets/photo.csv", rows("photo", 40))),
        "0 of 2 kept prompts show or name none of photo",
    ),
    "another name that nobody trains on": (
        lambda s: s.ask("cat", also=("moggy",)),
        "`also` of 'cat' holds moggy, and none of the 1 prompts in `prompts` of the request has",
    ),
    "concept of an older request": (
        lambda s: s.ask("cat", name="rocket"),
        "more than one request erases rocket",
    ),
}


@pytest.mark.parametrize("kind", OPERATORS)
def test_fault_of_the_operator_is_his_alone(kind, setup):
    spoil, expected = OPERATORS[kind]
    spoil(setup)
    (fault,) = setup.faults()
    assert fault.who == OPERATOR
    assert re.search(expected, fault.what)


def test_what_nobody_judges_in_a_concepts_place_may_be_long(setup):
    setup.replace("targets/cat.csv", "a sketch of a cat,", f"{FOUR_CATS},")
    assert setup.faults() == []


@pytest.mark.parametrize("kind", PROTECTED)
def test_what_the_method_protects_is_trained_on(kind, setup):
    who, prompt, expected = PROTECTED[kind]
    protecting("a photo of a wall")(setup)
    assert setup.faults() == []
    protecting(prompt)(setup)
    (fault,) = setup.faults()
    assert fault.who == who
    assert re.search(expected, fault.what)


def test_what_is_protected_for_a_restored_concept_may_stand_beside_its_prompt_set(setup):
    setup.restored = [setup.requests.pop("cat")]
    protecting("a photo of a wall")(setup)
    assert setup.faults() == []


@pytest.mark.parametrize("kind", NEIGHBOURS)
def test_a_neighbour_that_no_kept_row_shows_stops_its_concept_alone(kind, setup):
    named, expected = NEIGHBOURS[kind]
    setup.settings["policy"]["neighbours"] = {"cat": ("retina",), "tiger": ("lion",)}
    assert setup.faults() == []
    setup.settings["policy"]["neighbours"] = named
    (fault,) = setup.faults()
    assert fault.who == NAMES[next(iter(named))]
    assert re.search(expected, fault.what)


def test_neighbours_that_are_too_few_for_their_limit_stop_their_concept_alone(setup):
    setup.requests.pop("rocket")
    limits = setup.settings["policy"]["targets"]["object"]
    limits["neighbour.accuracy"] = 0.3  # of 2 pictures that are right at least 0.34 may be
    assert setup.faults() == []
    limits["neighbour.accuracy"] = 0.4
    (fault,) = setup.faults()
    assert fault.who == CAT
    assert "2 kept prompts show a neighbour of 'cat' (galaxy, retina): 2 pictures" in fault.what


def test_attacks_that_are_too_few_for_their_limit_are_the_requests_fault(setup):
    setup.settings["policy"] |= {"audience": "words", "attacks": {"object": {"wordings": 0.15}}}
    assert setup.faults() == []
    setup.settings["policy"]["attacks"] = {"object": {"wordings": 0.08}}
    assert [fault.who for fault in setup.faults()] == [ROCKET, CAT]


def test_base_spoilt_since_the_last_look_is_seen(setup):
    base = setup.own("base")
    assert setup.faults() == []
    without(weights(base / "vae"), "decoder.conv_out.bias")
    (fault,) = setup.faults()
    assert "vae lacks 1 tensors" in fault.what


@pytest.mark.parametrize("kind", ENVIRONMENT)
def test_fault_of_the_surroundings_is_the_operators(kind, setup, monkeypatch):
    name, value, expected = ENVIRONMENT[kind]
    monkeypatch.setenv(name, value.format(folder=setup.folder))
    with temporary_settings({PREFECT_API_URL: None}):  # other tests have a server
        (fault,) = setup.faults()
    assert fault.who == OPERATOR
    assert re.search(expected, fault.what)
    assert "secret" not in fault.what


@pytest.mark.parametrize("kind", REQUESTS)
def test_fault_of_one_request_is_its_own(kind, setup):
    spoil, expected = REQUESTS[kind]
    spoil(setup)
    (fault,) = setup.faults()
    assert fault.who == CAT
    assert re.search(expected, fault.what)


def test_state_folder_below_a_file_is_refused(setup, monkeypatch):
    monkeypatch.setenv("ERASURE_DVC_REMOTE", str(setup.folder))
    setup.home = Home(setup.folder / "kept.csv" / "home")
    (fault,) = setup.faults()
    assert fault.who == OPERATOR
    assert re.search("the state folder .* cannot be written: .*kept.csv is no folder", fault.what)


def test_every_fault_is_told_not_only_the_first(setup):
    setup.settings["clip"]["path"] = "./nowhere"
    setup.settings["sampling"]["steps"] = 1000
    (setup.folder / "targets/rocket.csv").unlink()
    (setup.folder / "targets/cat.csv").unlink()
    assert [fault.who for fault in setup.faults()] == [OPERATOR, OPERATOR, ROCKET, CAT]


def test_newer_of_two_requests_that_clash_waits(setup):
    setup.ask("rocket", keep=("a sketch of a cat",))
    (fault,) = setup.faults()
    assert fault.who == CAT


@pytest.mark.parametrize("honoured", [{}, {CAT}])
def test_nobody_is_told_to_draw_what_another_request_erases(honoured, setup):
    """What takes the cat's place is no rocket, so that the rocket's rows are not trained on."""
    setup.write("targets/rocket.csv", rows("rocket", 41))
    setup.ask("cat", prompts=("a sketch of a cat 40",), replacement="a rocket")
    setup.honoured = frozenset(honoured)
    assert setup.faults() == []


def test_parked_request_binds_no_other(setup):
    setup.ask("rocket", keep=("a sketch of a cat",), prompts=(LONG,))
    (fault,) = setup.faults()
    assert fault.who == ROCKET


CLASHES = {
    "in each other's place": (
        lambda s: (s.ask("rocket", replacement="a cat"), s.ask("cat", replacement="a rocket")),
        "leads back to what is erased: .*; give one of them a replacement that is not erased",
    ),
    "what then stands in its place is measured": (
        lambda s: (
            s.ask("rocket", replacement="a cat", prompts=("a fine sketch of a rocket",)),
            s.ask("cat", replacement="a galaxy"),
            s.write("kept.csv", [*KEPT, "2,a fine sketch of a galaxy,13,4.0,galaxy\n"]),
        ),
        "'a fine sketch of a galaxy' is also trained on .prompts of 'rocket', replaced",
    ),
    "one name of two kinds": (
        lambda s: (
            s.settings["policy"]["targets"].update(style={"clip.concept_rate": 0.1}),
            s.settings["clip"].update(styles=["cat", "sketch"]),
            s.ask("rocket", name="cat", kind="style"),
        ),
        "cat is to be erased as object and as style, .*; ask for the one that waits under a fuller",
    ),
    "a wording that is measured": (
        lambda s: s.ask("rocket", keep=("a sketch of a cat",)),
        "'a sketch of a cat' is also trained on .keep of 'rocket'",
    ),
    "a row that is trained on": (
        lambda s: s.ask("cat", keep=("a sketch of a rocket",)),
        "'a sketch of a rocket' is also trained on .keep of 'cat'",
    ),
    "a method that cannot erase it": (
        lambda s: (
            s.settings.update(methods={"forget_me_not": {"lr": 1e-3, "updates": 1}}, lambdas=None),
            s.settings.update(method={"method": "uce"}),
            s.ask("rocket", method="forget_me_not"),
            s.ask("cat", prompts=("a kitten",)),
        ),
        "turns attention away from the word 'cat', which prompt 'a kitten' does not hold",
    ),
}


@pytest.mark.parametrize("kind", CLASHES)
def test_what_is_honoured_binds_an_older_request_that_came_late(kind, setup):
    clash, expected = CLASHES[kind]
    clash(setup)
    setup.honoured = frozenset({CAT})
    (fault,) = setup.faults()
    assert fault.who == ROCKET
    assert re.search(expected, fault.what)


BOTH = ("2,a photo of a rocket,13,4.0,rocket\n", "3,a photo of a cat,14,4.0,cat\n")
SHORT = {
    "kept prompts": (
        lambda s: s.write("kept.csv", [KEPT[0], *BOTH]),
        "1 of 3 kept prompts show or name none of .*, and policy.min_n asks for 2",
    ),
    "a part of them": (
        lambda s: (
            s.settings["policy"]["kept"].update({"ssim[not listed]": 0.5}),
            s.write("kept.csv", [*KEPT, *BOTH]),
            [s.ask(name, keep=("a drawing of a retina",)) for name in NAMES],
        ),
        r"limits ssim\[not listed\], and 1 of 2 kept prompts are not listed",
    ),
    "neighbours": (
        lambda s: (
            s.settings["policy"]["targets"]["object"].update({"neighbour.accuracy": 0.4}),
            s.write("kept.csv", [*KEPT, *BOTH]),
        ),
        "2 kept prompts show a neighbour of '(cat|rocket)'",
    ),
}


@pytest.mark.parametrize("honoured", [(), (CAT,)])
@pytest.mark.parametrize("kind", SHORT)
def test_who_leaves_too_little_beside_the_others_waits_alone(kind, honoured, setup):
    shorten, expected = SHORT[kind]
    shorten(setup)
    setup.honoured = frozenset(honoured)
    faults = setup.faults()
    assert {fault.who for fault in faults} == {ROCKET if honoured else CAT}, faults
    assert all(re.search(expected, fault.what) for fault in faults)
    del setup.requests["rocket" if honoured else "cat"]
    assert setup.faults() == []


def test_method_of_an_older_request_need_not_be_known(setup):
    setup.ask("rocket", method="prayer")
    setup.ask("cat", method="all_but_one")
    assert setup.faults() == []


def test_labels_that_tell_nothing_apart_are_the_operators(setup):
    del setup.requests["rocket"]
    setup.settings["policy"]["kept"] = {"ssim": 0.5}
    setup.write(
        "kept.csv",
        [row.replace("4.0,galaxy", "4.0,").replace("4.0,retina", "4.0,") for row in KEPT],
    )
    (fault,) = setup.faults()
    assert fault.who == OPERATOR
    assert "names cat; CLIP tells pictures apart by two names or more" in fault.what


def test_restored_concept_needs_its_prompt_set(setup):
    setup.restored = [setup.requests.pop("cat")]
    (setup.folder / "targets/cat.csv").unlink()
    (fault,) = setup.faults()
    assert fault.who == OPERATOR
    assert "no prompt set for concept 'cat'" in fault.what


def test_restored_concept_needs_a_kind_that_is_measured(setup):
    setup.restored = [setup.requests.pop("cat")]
    setup.settings["policy"]["restored"] = {"ssim": 0.5, "nudenet.rate": 0.5}
    (fault,) = setup.faults()
    assert fault.who == OPERATOR
    assert "for the kind object of the restored 'cat'" in fault.what


def test_concept_that_takes_every_row_of_a_restored_one_waits(setup):
    setup.restored = [setup.requests.pop("cat")]
    lines = [line.replace("a sketch", "a rocket beside a sketch") for line in rows("cat", 40)]
    setup.write("targets/cat.csv", lines)
    (fault,) = setup.faults()
    assert fault.who == ROCKET
    assert "every row of the prompt set of the restored 'cat' shows or names rocket" in fault.what
    setup.write("targets/cat.csv", [*lines, "99,a cat on a mat,99,4.0,cat\n"])
    assert setup.faults() == []


def test_gpu_worker_is_not_asked_for_where_none_is_needed(setup, monkeypatch):
    monkeypatch.setenv("ERASURE_GPU_DEPLOYMENT", "erase-and-generate/erase-on-gpu")
    assert setup.faults(gpu_needed=False) == []


def test_reachable_service_is_no_fault(setup, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert setup.faults() == []


def test_disk_with_less_than_twice_the_base_is_refused(setup, monkeypatch):
    base = setup.own("base")
    size = sum(file.stat().st_size for file in base.rglob("*") if file.is_file())
    for beside in (
        "v1-5-pruned.ckpt",
        ".git/lfs/1",
        "unet/diffusion_pytorch_model.fp16.safetensors",
    ):
        (base / beside).parent.mkdir(parents=True, exist_ok=True)
        (base / beside).write_bytes(bytes(size))  # in no release
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 2 * size))
    assert preflight_base(Params.model_validate(setup.settings), setup.home) == []
    (fault,) = setup.faults()  # the candidate's change takes some too
    assert "with the changes of 1 candidate;" in fault.what
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 2 * size - 1))
    (fault,) = preflight_base(Params.model_validate(setup.settings), setup.home)
    assert "GB free, and a release of this base takes" in fault.what


def test_limit_on_composed_prompts_needs_some(setup):
    setup.settings["policy"]["targets"]["object"]["composed.clip.concept_rate"] = 0.3
    faults = {fault.what for fault in setup.faults()}
    expected = "none of which name something beside it, and the policy limits composed"
    assert len(faults) == 2
    assert all(expected in what for what in faults)


def test_metrics_that_a_policy_can_limit_are_those_measured(setup):
    setup.settings["policy"]["targets"]["likeness"] = dict.fromkeys(measure.WORD_METRICS, 0.5)
    params = Params.model_validate(setup.settings)
    scorer = ClipScorer(params.clip.path, None, params.clip.templates)
    instruments = Instruments(Blind(), scorer, params)
    concept = described("cat", UUID(CAT), kind="likeness").concept
    pictures, labels = [Image.new("RGB", (32, 32))] * 2, ["retina", "galaxy"]
    once = read_prompt_set(setup.folder / "kept.csv")
    again = [
        replace(r, prompt=f"fine {r.prompt}", evaluation_seed=77 + i) for i, r in enumerate(once)
    ]
    kept = [*once, *again]  # two of each
    gone = measure.measure_target(instruments, concept, pictures, labels, "ab")
    keep = ["a fine photo of a retina"]
    stays = measure.measure_kept(instruments, kept, pictures * 2, pictures * 2, labels, keep)
    one = measure.measure_kept(instruments, once, pictures, pictures, labels, keep)
    back = measure.measure_restored(instruments, concept, pictures, pictures, labels, "ab")
    assert [m.metric for m in gone] == [f"{name}[cat]" for name in measure.WORD_METRICS]
    stay = {m.metric for m in stays if not m.metric.startswith("base.")}
    of_base = {m.metric for m in stays} - stay
    assert stay == {*measure.kept_metrics()}
    assert of_base < {f"base.{name}" for name in stay}  # what the base's own pictures have
    parts = {m.metric for m in one if m.metric.endswith("]")} - of_base
    shares = {"clip.accuracy", "clip.accuracy_drop"}  # which need no second prompt
    assert parts == {f"{name}[{part}]" for name in shares for part in ("listed", "not listed")}
    assert [m.metric for m in back] == [f"restored.{m}[cat]" for m in measure.RESTORED_METRICS]


def test_features_of_ones_own_decide_a_result_by_their_bytes(setup):
    def known() -> dict[str, str]:
        return made_with(Params.model_validate(setup.settings))

    assert "features" not in known()
    setup.settings["features"] = {"path": setup.settings["clip"]["path"]}
    assert setup.faults() == []
    before = known()["features"]
    own = setup.own("features")
    assert known()["features"] == before
    with (own / "config.json").open("a") as file:
        file.write(" ")
    assert known()["features"] != before


def test_distances_are_measured_by_the_features_that_the_parameters_name(setup):
    setup.settings["features"] = {"path": setup.settings["clip"]["path"]}
    own = str(setup.own("features"))
    of_own = Instruments.of(Params.model_validate(setup.settings)).features
    assert of_own.settings["clip"] == own
    del setup.settings["features"]
    of_clip = Instruments.of(Params.model_validate(setup.settings)).features
    assert of_clip.settings["clip"] != own


def test_a_plug_in_answers_for_no_other_metric(setup, monkeypatch):
    def flattering(images, *, clusters):
        return mean([1.0] * len(images), metric="ssim", better="higher", settings={}, clusters=None)

    plugin = Metric(flattering, frozenset({"kept"}), "lower", frozenset(), "")
    monkeypatch.setattr(measure, "plugged", lambda side: {"flat": plugin})
    params = Params.model_validate(setup.settings)
    scorer = ClipScorer(params.clip.path, None, params.clip.templates)
    kept = read_prompt_set(setup.folder / "kept.csv")
    drawn = [
        [Image.effect_noise((32, 32), spread).convert("RGB") for _ in kept] for spread in (40, 90)
    ]
    found = measure.measure_kept(
        Instruments(Blind(), scorer, params), kept, *drawn, ["retina", "galaxy"], []
    )
    by_name = {m.metric: m for m in found}
    assert len(by_name) == len(found)
    assert by_name["ssim"].value < 0.9
    assert (by_name["flat"].value, by_name["flat"].better) == (1, "lower")


class Blind:
    """A detector that sees nothing."""

    def __init__(self) -> None:
        self.settings = {"detector": "none"}

    def detects(self, images, labels):
        return [False] * len(images)


def run(setup: Setup, *arguments: object):
    """`erasure request check` on the setup's own files."""
    params = setup.folder / "params.yaml"
    params.write_text(
        pretty_json(
            {**setup.settings, "prompts": {k: str(v) for k, v in setup.settings["prompts"].items()}}
        )
    )
    files = []
    for name, request in setup.requests.items():
        files.append(setup.folder / f"{name}.yaml")
        files[-1].write_text(pretty_json(request.model_dump(mode="json", exclude_none=True)))
    return CliRunner().invoke(
        app,
        ["request", "check", *map(str, files), "--params", str(params), *map(str, arguments)],
        env={"ERASURE_HOME": str(setup.home.root)},
    )


def test_command_says_ready(setup):
    answer = run(setup)
    first, *notes = answer.stdout.splitlines()
    assert (answer.exit_code, first) == (0, "ready")
    assert all(note.startswith("note: ") for note in notes)


def test_command_prints_each_fault_and_exits_2(setup):
    (setup.folder / "targets/cat.csv").unlink()
    answer = run(setup)
    assert answer.exit_code == 2
    assert answer.stdout.startswith(f"{CAT}: {setup.folder}/targets/cat.csv: no prompt set")


def test_command_answers_in_json(setup):
    (setup.folder / "targets/cat.csv").unlink()
    answer = run(setup, "--json")
    assert answer.exit_code == 2
    found = json.loads(answer.stdout)
    assert (found["ready"], [fault["who"] for fault in found["faults"]]) == (False, [CAT])


# What the book says of a request that is asked for


TWIN = UUID(int=3)


def held(setup: Setup, book: Book) -> None:
    hold(book, UUID(CAT), "a court asks")


def restored(setup: Setup, book: Book) -> None:
    released(book, [UUID(CAT)])
    released(book, [], restoring=UUID(CAT))


BARRED = {
    "held": (held, rf"request {CAT} is on hold; `erasure request retry` ends that"),
    "withdrawn": (lambda _, book: withdraw(book, UUID(CAT), "by mistake"), "was withdrawn; to"),
    "refused": (lambda _, book: refuse(book, UUID(CAT), "gdpr-17-3-a", None), "was refused; to"),
    "restored": (restored, "was restored; to erase its concept again"),
    "another model's": (
        lambda s, _: s.settings.update(registered_model="other"),
        "belongs to toy, the parameters name other",
    ),
    "of other content": (
        lambda s, _: s.ask("cat", kind="style"),
        r"already known with other content: concept\.kind differs",
    ),
    "honoured by another recipe": (
        lambda s, book: (released(book, [UUID(CAT)]), s.ask("cat", replacement="a stone wall")),
        "is honoured by version 1 with another recipe",
    ),
}


@pytest.fixture
def asked(setup, monkeypatch) -> tuple[Setup, Book]:
    """A setup whose only request is in the book, and its book."""
    monkeypatch.delenv("ERASURE_DATABASE_URL", raising=False)
    del setup.requests["rocket"]
    book = open_book(setup.home)
    add(book, [setup.requests["cat"]], MODEL)
    return setup, book


@pytest.mark.parametrize("why", BARRED)
def test_what_a_run_refuses_is_not_ready(why, asked):
    bar, expected = BARRED[why]
    setup, book = asked
    assert run(setup).exit_code == 0
    bar(setup, book)
    answer = run(setup)
    assert answer.exit_code == 2, answer.output
    (fault, *notes) = answer.stdout.splitlines()
    assert fault.startswith(f"{CAT}: ")
    assert re.search(expected, fault)
    still_due = why in ("held", "another model's", "of other content")
    assert bool(re.search(r"; due \d{4}-\d\d-\d\d, .*(left|LATE)", fault)) == still_due
    assert all(note.startswith("note: ") for note in notes)


@pytest.mark.parametrize("honoured", [False, True])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_a_second_person_for_a_concept_is_ready(first, known, honoured, asked):
    setup, book = asked
    if honoured:
        released(book, [UUID(CAT)])
    cat, twin = setup.requests["cat"], described("cat", TWIN)
    if known:
        add(book, [twin], MODEL)
    setup.requests = {"cat": cat, "twin": twin} if first else {"twin": twin}
    answer = run(setup)
    assert (answer.exit_code, answer.stdout.splitlines()[0]) == (0, "ready")


def test_a_trial_for_a_second_person_erases_the_concept_once(asked):
    setup, book = asked
    run(setup)  # writes the parameters
    inputs = Inputs.read(setup.folder / "params.yaml")
    twin = described("cat", TWIN)
    (plan,) = {plan_trial(book, inputs, a).plan.sha256 for a in ([twin], [setup.requests["cat"]])}
    released(book, [UUID(CAT)])
    again = plan_trial(book, inputs, [twin]).plan
    assert (again.sha256, [str(r.subject_request_id) for r in again.requests]) == (plan, [CAT])


# An older request that clashes with what is honoured was filed late: nothing could be released


def test_an_older_request_that_clashes_with_an_honoured_one_stops_no_other(asked):
    setup, book = asked
    CLASHES["one name of two kinds"][0](setup)
    released(book, [UUID(CAT)])
    late, other = setup.requests["rocket"], described("rocket", TWIN)
    add(book, [late, other], MODEL)
    run(setup)  # writes the parameters
    inputs = Inputs.read(setup.folder / "params.yaml")
    assert [entry.row.id for entry in take_up(book, inputs, None)] == [str(TWIN)]
    entry = book.ask(lambda reader: reader.request(late.subject_request_id))
    assert entry.row.state == "waiting"
    assert "cat is to be erased as object and as style" in entry.reason


# What a restore would stumble over


def one_row(setup: Setup, monkeypatch) -> None:
    setup.write("targets/cat.csv", rows("cat", 1))


def no_worker(setup: Setup, monkeypatch) -> None:
    def refuse(deployment: str) -> None:
        raise BadInput(f"no worker for {deployment}")

    monkeypatch.setenv("ERASURE_GPU_DEPLOYMENT", "step/on-gpus")
    monkeypatch.setattr(machine, "check_gpu_worker", refuse)


def no_remote(setup: Setup, monkeypatch) -> None:
    monkeypatch.setenv("ERASURE_DVC_REMOTE", str(setup.folder / "kept.csv"))


UNRESTORABLE = {
    "too few rows": (one_row, "the restored 'cat' has 1 rows, and policy.min_n asks for 2"),
    "no worker": (no_worker, "no worker for step/on-gpus"),
    "no remote": (no_remote, "the remote .*kept.csv cannot be written"),
}
NOTHING_LEFT = {
    "too few rows": "was made from the base bbbbbbbbbbbbbbbb, and this restore would be from",
    "no worker": "was made from the base bbbbbbbbbbbbbbbb, and this restore would be from",
    "no remote": "the remote .*kept.csv cannot be written",
}


@pytest.mark.parametrize("others", [True, False])
@pytest.mark.parametrize("why", UNRESTORABLE)
def test_a_restore_that_cannot_be_finished_is_refused_before(why, others, setup, monkeypatch):
    """The base itself needs no training, and nothing is measured."""
    spoil, expected = UNRESTORABLE[why]
    expected = expected if others else NOTHING_LEFT[why]
    setup.settings["policy"]["restored"] = {"ssim": 0.5}
    book = open_book(setup.home)
    honoured = ["rocket", "cat"] if others else ["cat"]
    add(book, [setup.requests[name] for name in honoured], MODEL)
    released(book, [UUID(NAMES[name]) for name in honoured])
    run(setup)  # writes the parameters
    inputs = Inputs.read(setup.folder / "params.yaml", None, "all_but_one")
    spoil(setup, monkeypatch)
    with pytest.raises(BadInput, match=expected):
        plan_restore(book, inputs, UUID(CAT))
