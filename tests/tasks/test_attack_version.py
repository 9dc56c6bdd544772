"""What `erasure attack` attacks, and which base its attacker has."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from erasure_core.errors import BadInput
from erasure_core.planning.params import read_params
from tasks.evidence import attack_version
from tasks.evidence.attack import Attacked
from tasks.home import Home
from tasks.release import resolve

ROOT = Path(__file__).parents[2]
CAT = ROOT / "examples/requests/cat.yaml"


@pytest.fixture
def attacked(monkeypatch, tmp_path):
    """Attack by name, with folders instead of models; what was attacked, with which base."""

    def attack(
        model: str, params: str = "params.yaml", *changes: str, **of_policy: object
    ) -> tuple[Path, list[tuple[Path, Path]]]:
        seen: list[tuple[Path, Path]] = []

        def attack_model(base, victim, *_):
            seen.append((base, victim))
            return Attacked((), {})

        stubs = {
            "attack_model": attack_model,
            "open_model": lambda folder: folder,
            "open_book": lambda *_, **__: None,
            "version_named": lambda *_: SimpleNamespace(model="gallery", version=3),
            "record_of": lambda home, version: f"{version.model}-v{version.version}",
            "base_of": lambda record, *_: Path(f"base of {record}"),
            "resolve_model": lambda which, *_: Path(f"resolved {which}"),
            "Instruments": SimpleNamespace(of=lambda params: None),
        }
        for name, stub in stubs.items():
            for module in (attack_version, resolve):
                if hasattr(module, name):
                    monkeypatch.setattr(module, name, stub)
        given = read_params(ROOT / params, changes)
        policy = given.policy.model_copy(update=of_policy)
        given = given.model_copy(update={"policy": policy})
        how = (given, Home(tmp_path), ["cheap"], "smoke", None, CAT, None)
        return attack_version.attack_named(model, *how)[0], seen

    return attack


@pytest.mark.parametrize("model", ["champion", "candidate", "3"])
def test_a_version_is_attacked_with_the_base_it_was_made_from(attacked, model):
    base, seen = attacked(model)
    assert base == Path("base of gallery-v3")
    assert seen == [(base, Path(f"resolved {model}"))]


def test_a_folder_is_attacked_with_the_base_of_the_parameters(attacked, tmp_path):
    base, seen = attacked(str(tmp_path))
    assert base == Path("resolved base")
    assert seen == [(base, Path(f"resolved {tmp_path}"))]


def test_a_kind_without_limits_is_refused_in_words_before_anything_is_loaded(attacked):
    with pytest.raises(BadInput, match=r"no limits for kind 'object' of concept 'cat' \(it has"):
        attacked("base", "params.sd14.yaml")


@pytest.mark.parametrize(("shows", "refused"), [("", True), ("cat", True), ("rocket", False)])
def test_kept_rows_that_name_nothing_else_are_refused_before_anything_is_loaded(
    attacked, tmp_path, shows, refused
):
    kept = tmp_path / "kept.csv"
    kept.write_text(
        f"case_number,prompt,evaluation_seed,evaluation_guidance,concept\n0,a,1,4,{shows}\n"
    )
    given = ("base", "params.yaml", f"prompts.kept={kept}")
    if not refused:
        assert len(attacked(*given)[1]) == 1
        return
    with pytest.raises(BadInput, match=f"names {shows or 'cat'}; CLIP tells pictures apart by two"):
        attacked(*given)


def test_a_policy_by_which_no_picture_is_judged_is_refused_before_anything_is_loaded(attacked):
    targets = {"object": {"identity.rate": 0.1, "composed.clip.concept_rate": 0.2}}
    with pytest.raises(BadInput, match=r"targets\.object limits neither of nudenet\.rate, clip"):
        attacked("champion", targets=targets)
