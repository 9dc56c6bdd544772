import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from erasure_core.attacks import ATTACKS, AUDIENCES
from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept
from erasure_core.law.gates import Limit, judge_all
from erasure_core.law.requests import read_request
from erasure_core.methods import METHODS
from erasure_core.metrics.clip_score import accuracy, accuracy_drop
from erasure_core.planning.params import Params, read_params
from erasure_core.planning.policy import REQUIRED, Again, Policy

ROOT = Path(__file__).parents[2]
PARAMS = ROOT / "params.yaml"
CAT = Concept(name="cat", kind="object", prompts=("a cat",), replacement="a dog")
HER = Concept(
    name="astronaut", kind="likeness", prompts=("the astronaut",), replacement="a photographer"
)


def changed(tmp_path, old: str, new: str) -> Path:
    text = PARAMS.read_text()
    assert text.count(old) == 1
    path = tmp_path / "params.yaml"
    path.write_text(text.replace(old, new))
    return path


def test_the_committed_parameters_are_read_and_name_their_command():
    params = read_params(PARAMS)
    assert params.lambdas == tuple(sorted(params.lambdas))
    assert params.method.method == "all_but_one"
    for name in ("params.yaml", "params.purify.yaml", "params.sd14.yaml"):
        assert (ROOT / name).read_text().startswith("# erasure run examples/requests/")
        assert read_params(ROOT / name).sampling.steps > 0


def test_what_the_parameters_name_can_be_run_one_after_another():
    """A request belongs to one model."""
    files = [ROOT / name for name in ("params.yaml", "params.purify.yaml", "params.sd14.yaml")]
    named = [read_request(ROOT / file.read_text().split(maxsplit=4)[3]) for file in files]
    assert len({read_params(file).registered_model for file in files}) == len(files)
    assert len({request.subject_request_id for request in named}) == len(files)
    assert named[0].concept == named[1].concept


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("policy.min_n=true", "policy.min_n: found True; Input should be a number"),
        ("lambdas=[5, true]", "lambdas.1: found True"),
        ("seed=true", "seed: found True"),
        ("sampling.steps='50'", "sampling.steps: found '50'"),
        ("method.updates='50'", "method.updates: found '50'"),
        ("policy.kept={ssim: '0.5'}", "policy.kept.ssim: found '0.5'"),
    ],
)
def test_what_is_no_number_is_none(change, said):
    with pytest.raises(BadInput) as fault:
        read_params(PARAMS, [change])
    assert said in str(fault.value)


def test_a_metrics_limit_is_set_by_its_name_which_holds_dots():
    changes = (
        "policy.targets.object.composed.clip.concept_rate=0.3",
        "policy.targets.object.clip.score_drop=0.1",
        "policy.kept.clip.score_drop=0.2",
        "policy.attacks.object.token search=0.4",
    )
    before, after = read_params(PARAMS).policy, read_params(PARAMS, changes).policy
    told = {"composed.clip.concept_rate": 0.3, "clip.score_drop": 0.1}
    assert after.targets["object"] == {**before.targets["object"], **told}
    assert after.kept == {**before.kept, "clip.score_drop": 0.2}
    assert after.attacks["object"] == {**before.attacks["object"], "token search": 0.4}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("updates=100", "did you mean method.updates?"),
        ("guidance=7", "did you mean method.guidance or sampling.guidance?"),
        ("threshold=0.6", "did you mean detector.threshold?"),
        ("method=uce", "add `--method NAME`"),
        ("base=models/gallery", "base: found 'models/gallery'; write its keys below it"),
    ],
)
def test_a_key_of_a_section_is_told_with_its_section(change, said):
    with pytest.raises(BadInput) as fault:
        read_params(PARAMS, [change])
    assert said in str(fault.value)


def test_the_parameters_of_purification_differ_only_in_what_they_train():
    ours, purifying = (
        read_params(file).model_dump() for file in (PARAMS, ROOT / "params.purify.yaml")
    )
    differ = {key for key in ours if ours[key] != purifying[key]}
    assert differ == {"registered_model", "lambdas", "method", "methods", "comparisons"}
    assert (purifying["lambdas"], purifying["method"]["keep_null"]) == ((0,), True)


def test_the_sd14_parameters_are_the_papers():
    params = read_params(ROOT / "params.sd14.yaml")
    method = params.method
    assert (method.target, method.updates, method.lr, method.adam_eps, method.steps) == (
        "residual",
        200,
        1e-5,
        1e-8,
        35,
    )
    assert (method.gamma1, method.gamma2, method.keep_weight, method.instructions[0].warmup) == (
        7.5,
        7.5,
        0,
        5,
    )
    assert 5 in params.lambdas


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "seed: 7",
            "seed: 7\nsede: 8",
            "sede: unknown key; allowed: lambdas, method, base, registered_model, seed",
        ),
        ("updates: 200", "update: 200", "method.update: unknown key"),
        ("seed: 7", "seed: 7\napproval: three", "approval: found 'three'; Input should be 'none'"),
        ("seed: 7", "seed: 7\nretention: {personal: -1}", "retention.personal: found -1"),
        *(
            (
                "seed: 7",
                f"seed: 7\nretention: {{{what}: 36501}}",
                f"retention.{what}: found 36501; Input should be less than or equal to 36500",
            )
            for what in ("personal", "refused", "superseded")
        ),
        (
            "again: {parts: 4, days: 7}",
            "again: {parts: 4, days: 36501}",
            "policy.again.days: found 36501; Input should be less than or equal to 36500",
        ),
        ("seed: 7", "seed: 7\nretention: {pictures: 1}", "retention.pictures: unknown key"),
        ("control: 0.5", "control: 1.0", "policy.control: found 1.0; Input should be less than 1"),
        ("control: 0.5", "control: -0.5", "policy.control: found -0.5; Input should be greater"),
        (
            "control: 0.5",
            "kontrol: 0.5",
            (
                "policy.kontrol: unknown key; allowed: audience, tier, attacks, min_n, control, "
                "targets, kept, again, neighbours, restored (did you mean control?)"
            ),
        ),
        (
            "lambdas: [1, 5]",
            "lambdas: [1, -5]",
            "lambdas.1: found -5; Input should be greater than or equal to 0",
        ),
        ("lambdas: [1, 5]", "lambdas: [1, .nan]", "lambdas.1: found nan; Input should be a"),
        ("lambdas: [1, 5]", "lambdas: [.inf]", "lambdas.0: found inf"),
        ("lambdas: [1, 5]", "lambdas: []", "lambdas: found []"),
        ("lambdas: [1, 5]", "lambdas: [5, 5.0]", "lambdas: found [5, 5.0]; each lambda once"),
        (
            "updates: 200",
            "lambda: 5",
            "`lambdas` sets the lambda of each candidate; remove it from `method`",
        ),
        ("registered_model: gallery", "registered_model: a/b", "registered_model: found 'a/b'"),
        ("threshold: 0.5", "threshold: .nan", "detector.threshold: found nan"),
        ("kept:         #", "oops:         #", "policy.oops: unknown key"),
        ("ssim: 0.85", "ssim: .inf", "policy.kept.ssim: found inf"),
        ("    style:\n      clip", "    person:\n      clip", "policy.targets.person"),
        (
            '"a picture of {}"',
            '"a picture of"',
            "clip.templates.1: found 'a picture of'; a template holds {} once",
        ),
        (
            '"a picture of {}"',
            '"{0} of {}"',
            "clip.templates.1: found '{0} of {}'; a template holds",
        ),
        ('"a picture of {}"', '"a {} {"', "clip.templates.1: found 'a {} {'; "),
        (
            "lambdas: [1, 5]",
            "lambdas: [5, 5.0000001]",
            "lambdas: found [5, 5.0000001]; each lambda once, and apart in the six digits",
        ),
        (
            "likeness: [FACE_FEMALE, FACE_MALE]",
            "style: [FACE_MALE]",
            "limits nudenet.rate for likeness, for which detector.labels has no",
        ),
        ("  sha256: null ", "  sha256: abc ", "base.sha256: found 'abc'"),
    ],
)
def test_a_faulty_parameter_is_refused_by_name(tmp_path, old, new, expected):
    path = changed(tmp_path, old, new)
    with pytest.raises(BadInput) as caught:
        read_params(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert expected in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["params.yaml"]


def test_no_shell_reads_parameters_and_a_tilde_is_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    path = tmp_path / "params.yaml"
    text = PARAMS.read_text().replace("models/gallery", "~/gallery").replace("prompts/", "~/sets/")
    path.write_text(text)
    params = read_params(path)
    assert params.base.path.startswith("/home/ann/gallery")
    assert params.clip.path.startswith("/home/ann/gallery")
    assert params.prompts.kept == Path("/home/ann/sets/kept.csv")


def test_nobody_approves_unless_the_parameters_ask_for_it(tmp_path):
    assert read_params(changed(tmp_path, "seed: 7", "seed: 7\napproval: two")).approval == "two"
    unsaid = Params.model_validate(read_params(PARAMS).model_dump(exclude={"approval"}))
    assert unsaid.approval == "none"


def test_what_is_kept_has_a_default_each(tmp_path):
    params = read_params(changed(tmp_path, "seed: 7", "seed: 7\nretention: {refused: 0}"))
    assert params.retention.model_dump() == {"personal": 90, "refused": 0, "superseded": 365}


def test_the_hash_follows_values_and_not_comments(tmp_path):
    original = read_params(PARAMS).sha256
    assert read_params(changed(tmp_path, "seed: 7", "seed: 7  # lucky")).sha256 == original
    assert read_params(changed(tmp_path, "seed: 7", "seed: 8")).sha256 != original
    assert read_params(changed(tmp_path, "updates: 200", "updates: 201")).sha256 != original
    assert (
        read_params(changed(tmp_path, "  revision: null  # a folder has none\n", "")).sha256
        == original
    )  # the default, spelled out or not


def test_limits_and_controls_cover_every_concept_by_its_kind():
    policy = read_params(PARAMS).policy.model_copy(
        update={
            "min_n": 30,
            "control": 0.4,
            "targets": {
                "likeness": {"nudenet.rate": 0.1, "clip.concept_rate": 0.2},
                "object": {"clip.concept_rate": 0.3},
            },
            "attacks": {"likeness": {"ridge": 0.2}, "object": {"ridge": 0.3}},
            "kept": {"ssim": 0.75},
        }
    )
    assert policy.limits([HER, CAT]) == [
        Limit("nudenet.rate[astronaut]", 0.1, 30),
        Limit("clip.concept_rate[astronaut]", 0.2, 30),
        Limit("clip.concept_rate[cat]", 0.3, 30),
        Limit("attack.excess.ridge[astronaut]", 0.2, 1),
        Limit("attack.excess.ridge[cat]", 0.3, 1),
        Limit("ssim", 0.75, 30),
    ]
    assert policy.controls([HER, CAT]) == [
        Limit("base.nudenet.rate[astronaut]", 0.4, 30),
        Limit("base.clip.concept_rate[astronaut]", 0.4, 30),
        Limit("base.clip.concept_rate[cat]", 0.4, 30),
        Limit("base.attack.excess.ridge[astronaut]", 0.2, 1),
        Limit("base.attack.excess.ridge[cat]", 0.3, 1),
        Limit("base.leak[astronaut]", 0.6, 1),
        Limit("base.leak[cat]", 0.6, 1),
    ]


def test_a_limit_of_one_asks_the_base_for_nothing():
    """It limits nothing, and as a control no number of pictures could meet it."""
    policy = read_params(PARAMS).policy.model_copy(
        update={
            "again": Again(parts=4, days=7),
            "targets": {"likeness": {"clip.concept_rate": 1, "composed.clip.concept_rate": 1}},
            "attacks": {"likeness": {"wordings": 1, "ridge": 0.2}},
        }
    )
    alone = "base.clip.concept_rate[astronaut]"
    assert [control.metric for control in policy.controls([HER])] == [
        alone,
        "base.attack.excess.ridge[astronaut]",
        "base.leak[astronaut]",
        "base.clip.accuracy",
    ]
    assert [control.metric for control in policy.of_parts([HER])[0]] == [alone]


@pytest.mark.parametrize("right", [0, 27, 54])
def test_what_the_base_never_kept_cannot_be_lost(right):
    """Instruments that name none of its kept pictures rightly see no loss, whatever is drawn."""
    policy = read_params(PARAMS).policy
    wanted, named = ["cat"] * 54, ["cat"] * right + ["dog"] * (54 - right)
    same = {"settings": {}, "clusters": range(54)}
    on_base = accuracy(named, wanted, metric="base.clip.accuracy", **same)
    found = {m.metric: m for m in (on_base, accuracy_drop(named, named, wanted, **same))}
    controls = [c for c in policy.controls([]) if c.metric in found]
    gate = judge_all(controls, [x for x in policy.limits([]) if x.metric in found], found)
    assert gate.verdict == ("pass" if right == 54 else "void")


def test_a_part_of_what_is_kept_has_its_own_control():
    """A limit of 1 limits nothing."""
    kept = {"ssim": 0.9, "clip.accuracy_drop[not listed]": 0.2, "clip.accuracy_drop": 1}
    policy = read_params(PARAMS).policy.model_copy(update={"kept": kept})
    assert policy.controls([]) == [Limit("base.clip.accuracy[not listed]", 0.5, 30)]


def test_of_a_part_only_what_shows_the_concept_is_judged():
    policy = Policy.model_validate(
        {
            "audience": "words",
            "min_n": 30,
            "control": 0.4,
            "again": {"parts": 4, "days": 7},
            "targets": {
                "likeness": {"nudenet.rate": 0.1, "replacement.rate": 0.5},
                "object": {"clip.concept_rate": 0.3, "composed.clip.concept_rate": 0.2},
            },
            "attacks": {"likeness": {"wordings": 0.2}, "object": {"wordings": 0.3}},
            "kept": {"ssim": 0.75},
        }
    )
    controls, limits = policy.of_parts([HER, CAT])
    assert limits == [
        Limit("nudenet.rate[astronaut]", 0.1, 7, shown_before=True),
        Limit("clip.concept_rate[cat]", 0.3, 7, shown_before=True),
        Limit("composed.clip.concept_rate[cat]", 0.2, 7, shown_before=True),
    ]
    assert [(c.metric, c.bound) for c in controls] == [
        ("base.nudenet.rate[astronaut]", 0.4),
        ("base.clip.concept_rate[cat]", 0.4),
        ("base.composed.clip.concept_rate[cat]", 0.2),
    ]


@pytest.mark.parametrize(
    ("limited", "sees", "in_part"),
    [
        ({"nudenet.rate"}, True, True),
        ({"nudenet.rate@0.6"}, True, False),
        ({"identity.rate"}, False, False),
        ({"identity.rate", "clip.concept_rate"}, True, True),
        ({"composed.clip.concept_rate", "leak", "replacement.rate"}, False, False),
    ],
)
def test_which_limits_see_a_concept_and_which_see_a_part_of_it(limited, sees, in_part):
    policy = read_params(PARAMS).policy.model_copy(
        update={"targets": {"likeness": dict.fromkeys(limited, 0.5)}}
    )
    assert (policy.sees("likeness"), policy.seen_in_part("likeness")) == (sees, in_part)
    assert bool(policy.of_parts([HER])[1]) >= in_part  # what is measured in part is looked at
    assert ("nudenet.rate" in policy.asked_of("likeness")) == any("nudenet" in m for m in limited)


def test_a_kind_without_limits_cannot_slip_through():
    policy = read_params(ROOT / "params.sd14.yaml").policy
    with pytest.raises(BadInput, match=r"no limits for kind 'object' \(it has explicit\)"):
        policy.asked_of("object")
    for judged in (policy.limits, policy.controls):
        with pytest.raises(
            BadInput, match=r"no limits for kind 'object' of concept 'cat' \(it has explicit\)"
        ):
            judged([CAT])


def test_parameters_are_frozen(tmp_path):
    shutil.copy(PARAMS, tmp_path)
    params = read_params(tmp_path / "params.yaml")
    with pytest.raises(ValueError, match="frozen"):
        params.seed = 8
    assert isinstance(params, Params)


def test_another_method_is_chosen_by_name():
    params = read_params(ROOT / "params.yaml")
    chosen = params.with_method(None)
    assert (chosen.method, chosen.comparisons, chosen.methods) == (
        params.method,
        params.comparisons,
        {},
    )
    assert chosen.sha256 == params.with_method("all_but_one").sha256
    assert {"uce", "all_but_one"} < params.methods.keys() | {params.method.method} == METHODS.keys()
    uce = params.with_method("uce")
    assert (uce.method.method, uce.lambdas) == ("uce", None)
    assert uce.protecting(["a cat"]) == uce  # it cannot promise that
    sepme = params.with_method("sepme").protecting(["a cat", "a cat", "a rocket"])
    assert sepme.method.protect == ("a cat", "a rocket")
    with pytest.raises(
        BadInput,
        match=r"hold no method 'erase_all' \(it is not a method\); choose ablating, all_but_one",
    ):
        params.with_method("erase_all")


def test_a_comparison_with_another_method_is_made():
    params = read_params(ROOT / "params.yaml").with_method("uce")
    assert {p.method.method for p in params.presets().values()} == {"uce", "all_but_one"}


def test_a_faulty_setting_of_another_method_is_named_where_it_stands(tmp_path):
    with pytest.raises(
        BadInput, match=r"methods\.sdd\.dekay: unknown key; allowed: .* \(did you mean decay\?\)"
    ):
        read_params(changed(tmp_path, "decay: 0.97", "dekay: 0.97"))
    with pytest.raises(
        BadInput, match=r"methods\.usd: found .* does not match any of the expected tags"
    ):
        read_params(changed(tmp_path, "  sdd:", "  usd:"))


def test_what_an_erasure_lets_rise_is_asked_of_the_candidate_alone():
    """A picture is named as one thing: the base names most composed ones as the concept."""
    limits = {"clip.concept_rate": 0.1, "composed.clip.accuracy": 0.3}
    policy = read_params(PARAMS).policy.without()
    policy = policy.model_copy(update={"targets": {"object": limits}})
    on_base = [c.metric for c in policy.controls([CAT])]
    assert on_base == ["base.clip.concept_rate[cat]", "base.leak[cat]", "base.clip.accuracy"]
    assert Limit("composed.clip.accuracy[cat]", 0.3, 30) in policy.limits([CAT])


# To whom a model is released


def declared(**policy: object) -> Policy:
    plain = read_params(PARAMS).policy.model_dump()
    return Policy.model_validate(
        {**plain, "targets": {"object": {"clip.concept_rate": 0.1}}, **policy}
    )


def test_an_audience_asks_for_every_attack_that_it_can_make():
    with pytest.raises(ValidationError, match="must withstand wordings, ridge, concept vector"):
        declared(audience="embeddings", attacks={"object": {"preimage": 0.2}})
    enough = dict.fromkeys(REQUIRED["embeddings"]["smoke"], 0.2)
    policy = declared(audience="embeddings", attacks={"object": enough})
    assert policy.attacks_on("object") == enough


@pytest.mark.parametrize("tier", ["smoke", "standard", "full"])
def test_who_can_do_more_must_be_withstood_in_more(tier):
    words, embeddings, weights = (set(REQUIRED[a][tier]) for a in AUDIENCES)
    assert words < embeddings < weights
    assert all(name in ATTACKS for name in embeddings | weights)
    assert any(ATTACKS[name].AUDIENCE == "weights" for name in weights)


def test_a_higher_tier_asks_for_no_less():
    for tiers in REQUIRED.values():
        assert set(tiers["smoke"]) <= set(tiers["standard"]) <= set(tiers["full"])


def test_an_attack_that_nobody_knows_is_refused():
    with pytest.raises(ValidationError, match="attacks limits prayer, which nobody can try"):
        declared(audience="words", attacks={"object": {"prayer": 0.2, "wordings": 0.2}})


def test_limits_on_attacks_without_an_audience_are_refused():
    with pytest.raises(ValidationError, match="no audience is declared; declare one"):
        declared(audience=None, attacks={"object": {"wordings": 0.2}})


def test_nobody_is_declared_and_nothing_attacked_by_default():
    policy = declared(audience=None, attacks={})
    assert not any("attack" in limit.metric for limit in policy.limits([CAT]))
