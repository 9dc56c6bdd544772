"""Three concepts are erased separably, one is taken back: its pictures return, the others stay
gone, and nobody could tell.
"""

import json
from pathlib import Path

import pytest

from erasure_core.law.lineage import sha256_file
from erasure_core.law.requests import read_request

from .conftest import ROOT, clean_environment
from .test_acceptance import changed_params

pytestmark = pytest.mark.slow

ASTRONAUT, CAT, MOSAIC = (
    f"examples/requests/{name}.yaml" for name in ("astronaut", "cat", "mosaic")
)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Not the state of the other slow tests."""
    return tmp_path_factory.mktemp("separable")


@pytest.fixture(scope="module")
def environment(home) -> dict[str, str]:
    return clean_environment(home)


def drawn(erasure, folder: Path, version: int, prompt: str, **more: str) -> list[str]:
    """Hashes of four pictures."""
    answer = erasure(
        "generate", prompt, "--model", version, "--seed", 5, "--count", 4, "--out", folder, **more
    )
    assert answer.code == 0, answer.err
    return [sha256_file(file) for file in sorted(folder.glob("*.png"))]


def test_three_are_erased_and_one_restored_as_if_it_had_never_been_erased(erasure, home, tmp_path):
    three = erasure("run", ASTRONAUT, CAT, MOSAIC, "--method", "sepme", "--json")
    assert three.code == 0, three.out + three.err
    cat = read_request(ROOT / CAT)
    back = erasure(
        "restore", cat.subject_request_id, "--reason", "withdrawn by the data subject", "--json"
    )
    assert back.code == 0, back.out + back.err
    measured = {check["metric"]: check for check in back.json["gate"]["checks"]}
    assert measured["restored.ssim[cat]"]["verdict"] == "pass"
    assert measured["restored.ssim[cat]"]["value"] > 0.98
    assert (
        measured["nudenet.rate[astronaut]"]["verdict"]
        == measured["clip.concept_rate[mosaic]"]["verdict"]
        == "pass"
    )
    assert erasure("audit", back.json["model"]["version"]).code == 0

    def protect_the_cat(params) -> None:
        params["methods"]["sepme"]["protect"] = sorted(cat.concept.prompts)

    elsewhere = {"ERASURE_HOME": str(tmp_path / "never")}
    never = erasure(
        "run",
        ASTRONAUT,
        MOSAIC,
        "--method",
        "sepme",
        "--params",
        changed_params(tmp_path, protect_the_cat),
        "--json",
        **elsewhere,
    )
    assert never.code == 0, never.out + never.err
    deltas = [
        json.loads((state / "records" / record).read_text())["delta_sha256"]
        for state, record in ((home, "gallery-v2.json"), (tmp_path / "never", "gallery-v1.json"))
    ]
    assert deltas[0] == deltas[1]  # the same change of weights, bit for bit

    version = {"three": three.json["model"]["version"], "back": back.json["model"]["version"]}
    seen = {
        name: drawn(erasure, tmp_path / name, number, "a photo of a cat")
        for name, number in version.items()
    }
    untouched = drawn(
        erasure,
        tmp_path / "untouched",
        never.json["model"]["version"],
        "a photo of a cat",
        **elsewhere,
    )
    assert seen["back"] == untouched
    assert not set(seen["three"]) & set(seen["back"])
