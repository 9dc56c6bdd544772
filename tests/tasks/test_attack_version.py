"""What `erasure attack` attacks, and which base its attacker has."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from erasure_core.errors import BadInput
from erasure_core.law.requests import read_request
from erasure_core.planning.params import read_params
from flows.cli.attack import _table
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
            "check_edit": lambda *_: None,
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


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            torch.nn.Linear(3, 2, bias=False),
            r"1 weights .*, first weight: \(2, 3\) there, \(4, 3\) in the base",
        ),
        (torch.nn.Linear(3, 4), r"1 weights .*, first bias: \(4,\) there, none in the"),
        (torch.nn.Linear(3, 4, bias=False), None),
    ],
)
def test_a_model_of_another_network_is_no_edit_of_the_base(other, said):
    """The first attack that compares weights ended in a traceback."""
    base = SimpleNamespace(unet=torch.nn.Linear(3, 4, bias=False))
    victim = SimpleNamespace(unet=other)
    if said is None:
        attack_version.check_edit("m", victim, base)
        return
    with pytest.raises(BadInput, match=f"m is no edit of the base: {said}"):
        attack_version.check_edit("m", victim, base)


@pytest.mark.parametrize("name", ["Astronaut", "the astronaut", "cosmonaut", None])
def test_a_concept_is_named_as_people_spell_it(name, monkeypatch):
    concepts = {
        file: read_request(ROOT / f"examples/requests/{file}.yaml").concept
        for file in ("astronaut", "cat")
    }
    astronaut = concepts["astronaut"].model_copy(update={"also": ("cosmonaut",)})
    erased = [astronaut, concepts["cat"]]
    entries = [SimpleNamespace(known=SimpleNamespace(concept=concept)) for concept in erased]
    book = SimpleNamespace(ask=lambda _: entries)
    monkeypatch.setattr(attack_version, "open_book", lambda *_, **__: book)
    monkeypatch.setattr(attack_version, "version_named", lambda *_: SimpleNamespace(requests=()))
    params = SimpleNamespace(registered_model="gallery")
    found = attack_version._concepts("champion", params, Home(Path()), name, None)
    assert found == (erased if name is None else [astronaut])
    with pytest.raises(BadInput, match="champion erases astronaut, cat, not 'dog'"):
        attack_version._concepts("champion", params, Home(Path()), "dog", None)


def test_the_text_that_a_search_found_is_shown():
    """Whoever doubts what came back types it."""
    shared = {"value": 0.1, "low": 0.0, "high": 0.3}
    result = {
        **{"attack": "token search", "audience": "words", "share": shared, "excess": shared},
        "attempts": [
            {"successes": 0, "n": 20, "found": "ch pthe"},
            {"successes": 2, "n": 20, "found": "grasw +"},
        ],
        "controls": {"base": {"successes": 20, "n": 20}},
        **{"unet_evaluations": 9, "seconds": 1.0},
    }
    *_, row, found = _table("astronaut", [result])
    assert "2 of 20" in row
    assert found.split() == ["typed", "before", "its", "prompts:", "'grasw", "+'"]
    of_words = {**result, "attempts": [{"successes": 0, "n": 20}]}
    assert "typed" not in "".join(_table("astronaut", [of_words]))
