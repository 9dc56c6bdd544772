"""What a version's record holds the hash of, and what its advice knows."""

from pathlib import Path
from types import SimpleNamespace

from erasure_core.law.lineage import manifest, root_sha256, sha256_file
from erasure_core.law.requests import read_request
from erasure_core.planning.params import read_params
from tasks.release import recording
from tasks.release.recording import hashes

ROOT = Path(__file__).parents[2]


def test_what_was_drawn_under_attack_is_hashed(tmp_path):
    sheet = tmp_path / "attacks/default/cat/plain.png"
    sheet.parent.mkdir(parents=True)
    (tmp_path / "attacks/default-2/cat").mkdir(parents=True)  # attacked without pictures
    names = ("attacks/default.json", "d", "plan.json")
    for file in (sheet, *(tmp_path / name for name in names)):
        file.write_bytes(file.name.encode())
    assert hashes(tmp_path, tmp_path / "d") == {
        "attacks/default": root_sha256(manifest(tmp_path / "attacks/default")),
        **{name: sha256_file(tmp_path / name) for name in names},
    }


def test_advice_knows_whose_recipe_can_still_be_changed(monkeypatch):
    """What is honoured keeps its own."""
    params = read_params(ROOT / "params.yaml")
    astronaut, cat = (
        read_request(ROOT / f"examples/requests/{name}.yaml") for name in ("astronaut", "cat")
    )
    plan = SimpleNamespace(
        requests=(astronaut, cat),
        restored=(),
        concepts=[astronaut.concept, cat.concept],
        params=params,
        choices=("uce",),
    )
    evidence, decision = SimpleNamespace(report={"x": {}}), SimpleNamespace(chosen="x", gate=None)
    told = []
    monkeypatch.setattr(recording, "advise", lambda gate, found, tried: told.append(tried))
    for new in ([str(cat.subject_request_id)], []):
        given = plan, evidence, decision, new, None, {}
        assert recording._advice(*given, trial=False) == []
    assert [(t.requests, t.honoured) for t in told] == [
        (("cat",), {"astronaut"}),
        (("astronaut", "cat"), {"astronaut", "cat"}),
    ]
