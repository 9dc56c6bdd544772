"""The columns of a comparison: what each audience can do, and what of it was not tried."""

from pathlib import Path
from types import SimpleNamespace

from erasure_core.attacks import CHEAP
from erasure_core.law.gates import Measurement
from erasure_core.planning.params import read_params
from erasure_core.planning.policy import REQUIRED
from tasks.comparing.compare import attacks_of
from tasks.comparing.table import UNTRIED, _attack, _attacks

ROOT = Path(__file__).parents[2]
AUDIENCE = {
    "wordings": "words",
    "ridge": "embeddings",
    "concept vector": "embeddings",
    "latent inversion": "embeddings",
    "relearning": "weights",
}
NONE = {"wordings": 0.0, "concept vector": 0.0}
CONTROLS = {"latent inversion": 0.75}  # attack -> what the base shows when told the replacement


def cell(seed: int, **came_to: "float | str") -> SimpleNamespace:
    """A cell of one seed: attack -> the share that it brought back, or why it was not run."""
    shares = {name: x for name, x in came_to.items() if not isinstance(x, str)}
    found = {
        f"attack.{excess}{name}[cat]": Measurement(
            f"attack.{name}[cat]", value, 0, value, 20, "lower"
        )
        for name, x in shares.items()
        for excess, value in (("", x), ("excess.", max(0.0, x - CONTROLS.get(name, 0))))
    }
    ran = {"controls": {"base": {"successes": 9, "n": 20}}, "unet_evaluations": 1, "seconds": 1}
    facts = [
        {"attack": name, "audience": AUDIENCE[name], **(ran if name in shares else {"not run": x})}
        for name, x in came_to.items()
    ]
    return SimpleNamespace(concept="cat", seed=seed, attacks=facts, found=lambda: found)


def attacked(*cells: SimpleNamespace) -> dict:
    return _attacks(cells, "smoke")


def test_who_can_do_more_can_do_what_others_can():
    found = attacked(cell(1, wordings=0.9, ridge=0.2, relearning=0.1))
    assert {who: (one["attack"], one["value"]) for who, one in found.items()} == {
        "words": ("wordings", 0.9),
        "embeddings": ("wordings", 0.9),
        "weights": ("wordings", 0.9),
    }


def test_what_the_control_shows_as_well_does_not_rank():
    found = attacked(cell(1, **NONE, **{"latent inversion": 0.9, "ridge": 0.25}))["embeddings"]
    assert (found["attack"], found["value"]) == ("ridge", 0.25)
    found = attacked(cell(1, **NONE, **{"latent inversion": 1.0, "ridge": 0.2}))["embeddings"]
    assert (found["value"], found["share"]) == (0.25, 1.0)
    assert _attack(found) == "0.25 (to 0.25), latent inversion, 1.00 with what its control shows"


def test_a_policy_is_judged_by_the_attacks_that_it_limits():
    policy = read_params(ROOT / "params.yaml").policy
    assert attacks_of("smoke", policy) == CHEAP
    for_weights = {name: 0.2 for name in REQUIRED["weights"]["smoke"]}
    policy = policy.model_copy(update={"audience": "weights", "attacks": {"likeness": for_weights}})
    assert set(attacks_of("smoke", policy)) == {*CHEAP, "relearning"}


def test_what_was_not_run_in_any_seed_is_kept_beside_what_was():
    vector = {"concept vector": 0.0}
    found = attacked(
        cell(1, wordings=0.5, ridge=0.2, **vector),
        cell(2, wordings=0.4, ridge="no such matrix", **vector),
    )
    assert _attack(found["words"]) == "0.50 (to 0.50), wordings [0.40, 0.50]"
    assert found["embeddings"]["not run"] == {"ridge": "no such matrix"}
    assert _attack(found["embeddings"]).endswith("[0.40, 0.50]; not run: ridge")


def test_an_audience_against_which_nothing_was_run_says_so():
    found = attacked(cell(1, wordings="every wording was trained on"))
    assert _attack(found["words"]) == "not run: wordings"
    assert found["words"]["not run"] == {"wordings": "every wording was trained on"}


def test_an_audience_of_whose_attacks_none_was_made_shows_no_figure_of_its_own():
    found = attacked(cell(1, ridge=0.05, **NONE))
    assert _attack(found["embeddings"]) == "0.05 (to 0.05), ridge"
    assert _attack(found["weights"]) == "not run: relearning (beside it 0.05 (to 0.05), ridge)"
    assert found["weights"]["not run"] == {"relearning": UNTRIED}


def test_what_an_audience_must_withstand_and_nobody_tried_is_said():
    found = attacked(cell(1, wordings=0.5, ridge=0.2))
    assert _attack(found["words"]) == "0.50 (to 0.50), wordings"
    assert _attack(found["embeddings"]) == "0.50 (to 0.50), wordings; not run: concept vector"
