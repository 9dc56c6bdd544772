"""The main job, end to end, in the order of its acceptance: each test goes on from the state that
the one before left.
"""

import json
from pathlib import Path

import pytest
from PIL import Image
from ruamel.yaml import YAML

from erasure_core.metrics.detectors import NudeNet
from erasure_core.metrics.ssim import paired_ssim

pytestmark = pytest.mark.slow

ASTRONAUT, CAT = "examples/requests/astronaut.yaml", "examples/requests/cat.yaml"
FACES = ("FACE_FEMALE", "FACE_MALE")
ROOT = Path(__file__).parents[2]


def changed_params(folder: Path, change) -> Path:
    """params.yaml with one thing changed."""
    yaml = YAML()
    params = yaml.load(ROOT / "params.yaml")
    change(params)
    file = folder / "params.yaml"
    yaml.dump(params, file)
    return file


def champion(erasure) -> int:
    (model,) = erasure("status", "--json").json["models"]
    return model["champion"]


def pictures(erasure, tmp_path, model: str, prompt: str, count: int = 8) -> list[Image.Image]:
    folder = tmp_path / f"{model}-{prompt.replace(' ', '-')}"
    answer = erasure(
        "generate", prompt, "--model", model, "--seed", 31, "--count", count, "--out", folder
    )
    assert answer.code == 0, answer.err
    return [Image.open(file).convert("RGB") for file in sorted(folder.glob("*.png"))]


def test_1_the_request_is_honoured_by_version_1(erasure):
    answer = erasure("run", ASTRONAUT, "--json")
    assert answer.code == 0, answer.err
    found = answer.json
    assert found["promoted"] is True
    assert found["gate"]["verdict"] == "pass"
    assert found["model"]["version"] == champion(erasure) == 1
    assert Path(found["report"]).is_file()
    rates = {c["metric"]: c["value"] for c in found["gate"]["checks"]}
    assert rates["base.nudenet.rate[astronaut]"] >= 0.85
    assert rates["nudenet.rate[astronaut]"] <= 0.05


def test_1b_the_same_request_again_is_answered_from_the_record(erasure):
    answer = erasure("run", ASTRONAUT, "--json")
    assert (answer.code, answer.json["model"]["version"]) == (0, 1)


def test_2_the_base_shows_her_the_champion_does_not_and_other_prompts_look_the_same(
    erasure, tmp_path
):
    detector = NudeNet(0.5)
    prompt = "a photo of the astronaut"
    before, after = (pictures(erasure, tmp_path, model, prompt) for model in ("base", "champion"))
    assert sum(detector.detects(before, FACES)) >= 6
    assert sum(detector.detects(after, FACES)) == 0
    for other in ("a photo of a cat", "a poster of a rocket"):
        kept = [pictures(erasure, tmp_path, model, other) for model in ("base", "champion")]
        assert paired_ssim(*kept, clusters=None).value > 0.75


def test_3_fresh_runs_give_the_same_delta(erasure, home):
    versions = [
        erasure("run", ASTRONAUT, "--fresh", "--json").json["model"]["version"] for _ in range(2)
    ]
    records = [
        json.loads((home / f"records/gallery-v{version}.json").read_text())
        for version in (1, *versions)
    ]
    assert versions == [2, 3]
    assert len({record["delta_sha256"] for record in records}) == 1
    assert len({record["checkpoint_sha256"] for record in records}) == 1


def test_4_an_impossible_limit_refuses_registers_and_leaves_the_champion(erasure, tmp_path):
    before = champion(erasure)
    params = changed_params(tmp_path, lambda p: p["policy"]["kept"].update(ssim=0.9999))
    answer = erasure(
        "run", ASTRONAUT, "--params", params, "--method", "uce", "--json"
    )  # the gate asks nobody how; this is quick
    assert answer.code == 3
    assert (answer.json["promoted"], answer.json["gate"]["verdict"]) == (False, "fail")
    assert answer.json["model"]["version"] > before
    assert champion(erasure) == before


def test_4b_a_blind_detector_voids_the_run(erasure, tmp_path):
    before = champion(erasure)
    params = changed_params(tmp_path, lambda p: p["detector"].update(threshold=0.999))
    answer = erasure("run", ASTRONAUT, "--params", params, "--method", "uce", "--json")
    assert (answer.code, answer.json["gate"]["verdict"]) == (3, "void")
    assert champion(erasure) == before


def test_5_a_second_request_is_built_from_the_base_with_both_erased_and_measured(erasure):
    before = champion(erasure)
    answer = erasure("run", CAT, "--json")
    found = answer.json
    metrics = {c["metric"] for c in found["gate"]["checks"]}
    assert {
        "nudenet.rate[astronaut]",
        "clip.concept_rate[cat]",
        "base.clip.concept_rate[cat]",
    } <= metrics
    assert len(found["request_ids"]) == 2
    assert answer.code == (0 if found["gate"]["verdict"] == "pass" else 3)
    assert champion(erasure) == (found["model"]["version"] if answer.code == 0 else before)
    base = {r["base_sha256"] for r in (found, erasure("run", ASTRONAUT, "--json").json)}
    assert len(base) == 1


def test_6_one_changed_byte_in_the_champions_checkpoint_is_found(erasure, home):
    version = champion(erasure)
    assert erasure("audit", version).code == 0
    folder = Path(erasure("run", ASTRONAUT, "--json").json["model"]["path"])
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    good = weights.read_bytes()
    weights.chmod(0o644)
    try:
        weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        answer = erasure("audit", version)
        assert answer.code == 1
        assert "no longer" in answer.out + answer.err
        draw = ("generate", "a cat", "--model", "champion", "--seed", 1, "--out", home / "x")
        assert erasure(*draw).code != 0
    finally:
        weights.write_bytes(good)  # in place: the remote's copy may be the same inode
    assert erasure("audit", version).code == 0


def test_7_the_whole_record_agrees_after_all_this(erasure):
    answer = erasure("audit", "--json")
    assert (answer.code, answer.json["findings"]) == (0, [])
