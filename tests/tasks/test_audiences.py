"""The columns of a comparison: what each audience can do, and what of it was not tried."""

from types import SimpleNamespace

from erasure_core.law.gates import Measurement
from tasks.comparing.table import _attack, _attacks

AUDIENCE = {"wordings": "words", "ridge": "embeddings", "relearning": "weights"}


def cell(seed: int, **came_to: "float | str") -> SimpleNamespace:
    """A cell of one seed: attack -> the share that it brought back, or why it was not run."""
    shares = {name: x for name, x in came_to.items() if not isinstance(x, str)}
    found = {
        f"attack.{name}[cat]": Measurement(f"attack.{name}[cat]", x, 0, x, 20, "lower")
        for name, x in shares.items()
    }
    ran = {"controls": {"base": {"successes": 9, "n": 20}}, "unet_evaluations": 1, "seconds": 1}
    facts = [
        {"attack": name, "audience": AUDIENCE[name], **(ran if name in shares else {"not run": x})}
        for name, x in came_to.items()
    ]
    return SimpleNamespace(concept="cat", seed=seed, attacks=facts, found=lambda: found)


def test_who_can_do_more_can_do_what_others_can():
    found = _attacks([cell(1, wordings=0.9, ridge=0.2, relearning=0.1)])
    assert {who: (one["attack"], one["value"]) for who, one in found.items()} == {
        "words": ("wordings", 0.9),
        "embeddings": ("wordings", 0.9),
        "weights": ("wordings", 0.9),
    }


def test_what_was_not_run_in_any_seed_is_kept_beside_what_was():
    cells = [cell(1, wordings=0.5, ridge=0.2), cell(2, wordings=0.4, ridge="no such matrix")]
    found = _attacks(cells)
    assert _attack(found["words"]) == "0.50 (to 0.50), wordings [0.40, 0.50]"
    assert found["embeddings"]["not run"] == {"ridge": "no such matrix"}
    assert _attack(found["embeddings"]).endswith("[0.40, 0.50]; not run: ridge")


def test_an_audience_against_which_nothing_was_run_says_so():
    found = _attacks([cell(1, wordings="every wording was trained on")])
    assert _attack(found["words"]) == "not run"
    assert found["words"]["not run"] == {"wordings": "every wording was trained on"}
