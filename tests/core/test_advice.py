"""What a refusal advises: the limit that binds, the likely cause, two things to try."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from erasure_core.errors import BadInput
from erasure_core.law.gates import Gate, Limit, Measurement, judge_all
from erasure_core.law.requests import read_request
from erasure_core.methods import METHODS
from erasure_core.metrics.intervals import excess, share
from erasure_core.planning import advice
from erasure_core.planning.advice import Tried, advise
from erasure_core.planning.params import read_params
from flows.cli.printed import RepeatedCommand

CAT = "00000000-0000-0000-0000-00000000000c"
EXAMPLE = Path(__file__).parents[2] / "examples/requests/astronaut.yaml"
SHIPPED = EXAMPLE.parents[2] / "params.yaml"
HELD = tuple(sorted(METHODS))


def tried(
    method: str, wordings: int = 32, keep: int = 30, name: str = "cat", methods=HELD, lambdas=()
) -> Tried:
    policy = read_params(SHIPPED).policy
    return Tried({name: wordings}, keep, method, methods, (name,), policy, lambdas)


ENOUGH = tried("all_but_one", lambdas=(1, 5))


def measured(metric: str, low: float, value: float, high: float, better="lower") -> Measurement:
    return Measurement(metric, value, low, high, 40, better)


def told(asked: Tried, *found: Measurement, limits: dict[str, float]) -> advice.Advice:
    given = {m.metric: m for m in found}
    all_limits = [Limit(name, bound, 20) for name, bound in limits.items()]
    controls = [limit for limit in all_limits if limit.metric.startswith("base.")]
    gate = judge_all(controls, [x for x in all_limits if x not in controls], given)
    answer = advise(gate, given, asked)
    assert answer is not None
    return answer


SHOWN = measured("clip.concept_rate[cat]", 0.2, 0.3, 0.4)


def test_the_examples_have_as_many_wordings_as_is_said():
    concept = read_request(EXAMPLE).concept
    assert (len(concept.prompts), len(concept.keep)) == (
        advice.EXAMPLE_WORDINGS,
        advice.EXAMPLE_KEPT,
    )


def test_what_passed_needs_no_advice():
    assert advise(Gate("pass", ()), {}, ENOUGH) is None


def test_few_wordings_are_the_likely_cause_of_an_erasure_that_does_not_reach():
    one = tried("uce", wordings=1)
    found = told(one, SHOWN, limits={SHOWN.metric: 0.1})
    assert "has 1 wording, the examples have 32" in found.cause
    assert "erasure request add" in found.tries[0]
    assert "--method all_but_one" in found.tries[1]


def test_with_wordings_enough_lambda_goes_down_then_the_method_changes():
    found = told(ENOUGH, SHOWN, limits={SHOWN.metric: 0.1})
    assert "0.400 where at most 0.1" in found.missed
    assert "--lambdas 0.5,2.5" in found.tries[0]
    assert "add wordings" in found.tries[1]
    others = told(tried("sepme", lambdas=(1, 5)), SHOWN, limits={SHOWN.metric: 0.1})
    assert "--lambdas 0.5,2.5" in others.tries[0]
    assert "--method all_but_one" in others.tries[1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wordings", [1, 32])
@pytest.mark.parametrize("attack", ["ridge", "concept vector", "relearning"])
def test_who_puts_in_states_is_met_by_no_closed_form_and_by_no_wordings_first(
    attack, wordings, method
):
    """Each closed form gives the concept back to one linear solve: ridge, 20 of 20."""
    came, near = (
        measured(f"attack.excess.{attack}[cat]", value / 2, value, value + 0.2)
        for value in (0.4, 0.1)
    )
    asked = tried(method, wordings, lambdas=(2,))
    for back in (came, near):
        found = told(asked, back, limits={back.metric: 0.2})
        stronger = "`robust: {}`" if method == "all_but_one" else "--method all_but_one"
        assert stronger in found.tries[0]
        assert "--lambdas 1`: lower holds on to less" in found.tries[1]


def test_where_what_was_kept_changed_lambda_goes_up():
    lost = measured("ssim", 0.5, 0.6, 0.7, better="higher")
    found = told(ENOUGH, lost, limits={"ssim": 0.85})
    assert "--lambdas 2,10" in found.tries[0]
    assert "--method sepme" in found.tries[1]
    few = told(tried("sepme", keep=2), lost, limits={"ssim": 0.85})
    assert "name 2 prompts to keep" in few.cause
    assert "--method uce" in few.tries[1]


def test_what_is_split_by_keep_is_of_the_kept_side():
    lost = measured("ssim[not listed]", 0.5, 0.6, 0.7, better="higher")
    assert "beside the concept" in told(ENOUGH, lost, limits={lost.metric: 0.85}).cause


TAKEN = [  # with the concept's name, and of what stays
    measured("neighbour.accuracy[cat]", 0.5, 0.6, 0.7, better="higher"),
    measured("harmonic[cat]", 0.5, 0.6, 0.7, better="higher"),
    measured("leak[cat]", 0.1, 0.2, 0.3),
    measured("composed.clip.accuracy[cat]", 0.5, 0.6, 0.7, better="higher"),
]


@pytest.mark.parametrize("lost", TAKEN, ids=lambda m: m.metric)
def test_what_an_erasure_took_along_is_no_weak_erasure(lost):
    found = told(ENOUGH, lost, limits={lost.metric: 0.05 if lost.better == "lower" else 0.9})
    assert "changes too much beside the concept" in found.cause
    assert "--lambdas 2,10" in found.tries[0]
    few = told(
        tried("uce", keep=2), lost, limits={lost.metric: 0.05 if "leak" in lost.metric else 0.9}
    )
    assert "name 2 prompts to keep" in few.cause


@pytest.mark.parametrize("near", TAKEN, ids=lambda m: m.metric)
def test_what_was_nearly_taken_along_lacks_rows_where_it_is_measured(near):
    """The number keeps to the limit, its interval does not."""
    found = told(ENOUGH, near, limits={near.metric: 0.25 if near.better == "lower" else 0.55})
    assert "keeps to it" in found.cause
    composed = near.metric.startswith("composed.")
    assert f"the table of prompts.{'targets' if composed else 'kept'}" in found.tries[0]
    assert "which keeps more" in found.tries[1]
    assert ("without a hit would do" in found.tries[0]) == near.metric.startswith("leak")


@pytest.mark.parametrize("larger", ["clip.concept_rate[cat]", "ssim"])
def test_the_limit_that_binds_is_the_one_missed_by_most_of_what_it_allows(larger):
    """0.40 misses 0.10 by three times of it; SSIM 0.80 misses 0.85 by a third of 0.15, 0.1 by 5."""
    ssim = measured("ssim", 0.8 if larger != "ssim" else 0.1, 0.8, 0.9, better="higher")
    found = told(ENOUGH, SHOWN, ssim, limits={SHOWN.metric: 0.1, "ssim": 0.85})
    assert found.binding == larger


def test_a_number_within_its_limit_lacks_pictures_not_erasure():
    thin = share(
        [False] * 30, metric="nudenet.rate[cat]", better="lower", settings={}, clusters=None
    )
    found = told(ENOUGH, thin, limits={thin.metric: 0.1})
    assert "keeps to it" in found.cause
    assert "35 without a hit would do" in found.tries[0]  # enough(0.1)


def test_an_excess_within_its_limit_is_a_stray_hit():
    """One hit of 20: 0.05 keeps to 0.2, its interval does not."""
    hits, names = [True] + [False] * 19, list(range(20))
    one = excess(
        hits,
        [False] * 20,
        metric="attack.excess.wordings[cat]",
        better="lower",
        settings={},
        clusters=names,
        control_clusters=names,
    )
    found = told(ENOUGH, one, limits={one.metric: 0.2})
    assert "of 20 pictures a few hits leave" in found.cause


def test_an_attack_whose_control_the_replacement_meets_is_no_matter_of_wordings():
    alike = measured("base.attack.excess.wordings[cat]", -0.2, 0.05, 0.3, better="higher")
    found = told(ENOUGH, SHOWN, alike, limits={alike.metric: 0.2, SHOWN.metric: 0.1})
    assert "hardly shows" not in found.cause
    assert "told the replacement, the unerased base passes for cat" in found.cause
    assert found.tries[0].startswith("name a replacement")


def test_instruments_that_see_it_anywhere_are_no_matter_of_wordings():
    anywhere = measured("base.leak[cat]", 0.5, 0.6, 0.7)
    found = told(ENOUGH, SHOWN, anywhere, limits={anywhere.metric: 0.5, SHOWN.metric: 0.1})
    assert "the instruments see cat in the unerased base's pictures of kept prompts" in found.cause
    assert "prompts.kept" in found.tries[0]


def test_kept_pictures_that_the_base_never_had_right_are_no_matter_of_wordings():
    unnamed = measured("base.clip.accuracy[not listed]", 0.1, 0.2, 0.3, better="higher")
    found = told(ENOUGH, SHOWN, unnamed, limits={unnamed.metric: 0.5, SHOWN.metric: 0.1})
    assert "CLIP hardly names the unerased base's own kept pictures rightly" in found.cause
    assert "column `concept` of prompts.kept" in found.tries[0]


def test_what_was_brought_back_is_measured_on_its_own_table():
    back = measured("restored.ssim[dog]", 0.80, 0.90, 0.93, better="higher")
    asked = replace(ENOUGH, restoring="dog")
    found = told(asked, back, limits={back.metric: 0.85})
    assert "to the table of prompts.targets" in found.tries[0]


def test_where_more_is_better_a_hit_is_no_stray():
    rate = measured("replacement.rate[cat]", 0.42, 0.55, 0.67, better="higher")
    found = told(ENOUGH, rate, limits={rate.metric: 0.5})
    assert found.cause.endswith("too few prompts, or a miss among them")


HONOURED = replace(tried("uce", wordings=3), honoured=frozenset(["cat"]))


@pytest.mark.parametrize("restoring", ["", "dog"])
@pytest.mark.parametrize("method", ["uce", "all_but_one"])
@pytest.mark.parametrize("lambdas", [(), (1, 5)])
@pytest.mark.parametrize(
    "back",
    [
        SHOWN,
        measured("attack.excess.wordings[cat]", 0.2, 0.3, 0.4),
        measured("attack.excess.wordings[cat]", 0.0, 0.05, 0.3),
        measured("attack.excess.ridge[cat]", 0.2, 0.3, 0.4),
        measured("attack.excess.ridge[cat]", 0.0, 0.05, 0.3),
    ],
)
def test_what_is_honoured_keeps_its_recipe(back, lambdas, method, restoring):
    """Its file with more wordings is refused: it is honoured by another recipe."""
    asked = replace(HONOURED, method=method, lambdas=lambdas, restoring=restoring)
    found = told(asked, back, limits={back.metric: 0.1})
    assert "request add" not in " ".join(found.lines)
    assert "add wordings" not in " ".join(found.lines)
    assert len({*found.tries}) == 2
    assert all(found.tries)


@pytest.mark.parametrize("lambdas", [(), (1, 5)])
def test_nothing_is_added_to_the_keep_of_what_is_honoured(lambdas):
    lost = measured("ssim", 0.5, 0.6, 0.7, better="higher")
    asked = replace(HONOURED, keep=2, lambdas=lambdas)
    found = told(asked, lost, limits={"ssim": 0.85})
    assert "`keep`" not in " ".join(found.lines)
    beside = replace(asked, requests=("cat", "dog"))  # the dog is new
    assert "`keep`" in told(beside, lost, limits={"ssim": 0.85}).tries[0]


@pytest.mark.parametrize("of", ["", "base."])
def test_an_attack_that_was_not_run_of_what_is_honoured_asks_for_no_wordings(of):
    overflows = {"attack.excess.wordings[cat]": "3 of 20 pictures are not finite"}
    found = told(replace(HONOURED, not_run=overflows), limits={f"{of}{m}": 0.2 for m in overflows})
    assert "add wordings" not in " ".join(found.lines)


REACHED = [  # metric, what it is measured of the base as well, and of what the advice speaks
    ("replacement.rate[cat]", "name a replacement that the base draws"),
    ("neighbour.accuracy[cat]", "take kept prompts that the base follows"),
    ("clip.accuracy[not listed]", "take kept prompts that the base follows"),
    ("clip.score", "take kept prompts that the base follows"),
]


@pytest.mark.parametrize(("metric", "first"), REACHED)
def test_what_the_base_does_not_reach_is_no_matter_of_the_erasure(metric, first):
    lost = measured(metric, 0.1, 0.2, 0.3, better="higher")
    for of_base, its_own in ((0.3, True), (0.9, False)):
        base = measured(f"base.{metric}", of_base - 0.1, of_base, 1, better="higher")
        found = told(ENOUGH, lost, base, limits={metric: 0.5})
        assert found.tries[0].startswith(first) == its_own
        assert ("no erasure shows more" in found.cause) == its_own
        whole = metric.removesuffix("[cat]")
        assert (f"lower the limit on {whole} below 0.30" in found.tries[1]) == its_own


def test_a_replacement_of_what_is_honoured_stays():
    lost, base = (
        measured(f"{of}replacement.rate[cat]", 0.1, 0.2, 0.3, better="higher")
        for of in ("", "base.")
    )
    found = told(HONOURED, lost, base, limits={lost.metric: 0.5})
    assert found.tries[0].startswith("lower the limit on replacement.rate below 0.20")


def test_what_the_base_leaks_besides_is_no_reach_of_a_leak():
    leak, base = (measured(f"{of}leak[cat]", 0.1, 0.2, 0.3) for of in ("", "base."))
    found = told(ENOUGH, leak, base, limits={leak.metric: 0.05})
    assert "changes too much beside the concept" in found.cause


def test_an_attack_that_the_base_withstands_too_often_takes_a_lower_limit():
    """27 of 40 are 0.675 and may be 0.449: none of them is the control's."""
    excess_of, share_of = "base.attack.excess.wordings[cat]", "base.attack.wordings[cat]"
    above = measured(excess_of, 0.449, 0.675, 0.8, better="higher")
    shown = measured(share_of, 0.5, 0.675, 0.8, better="higher")
    found = told(ENOUGH, above, shown, limits={excess_of: 0.5})
    assert "in 0.675 of the unerased base's own pictures above its control" in found.cause
    assert found.tries[0].startswith("lower the limit on wordings under `policy.attacks` to 0.44 ")
    as_much = replace(above, value=0.2, low=-0.1)
    alike = told(ENOUGH, as_much, shown, limits={excess_of: 0.5})
    assert "told the replacement, the unerased base passes" in alike.cause


def test_composed_rows_name_what_stands_beside():
    near = measured("composed.clip.concept_rate[cat]", 0.0, 0.05, 0.3)
    alone = measured("clip.concept_rate[cat]", 0.0, 0.05, 0.3)
    for m, beside in ((near, True), (alone, False)):
        found = told(ENOUGH, m, limits={m.metric: 0.2})
        assert ("in the column `also`, with something beside it" in found.tries[0]) == beside


def test_a_name_is_narrowed_by_another_request():
    """What is asked for never changes of a request."""
    anywhere = measured("base.leak[cat]", 0.5, 0.6, 0.7)
    found = told(ENOUGH, anywhere, limits={anywhere.metric: 0.5})
    assert "in a request of its own" in found.tries[1]
    assert "request add" not in found.tries[1]


def test_what_a_base_hardly_shows_takes_other_prompts_where_it_is_measured():
    """The request's own are what is trained on."""
    blind = measured("base.clip.concept_rate[cat]", 0.0, 0.1, 0.2, better="higher")
    found = told(ENOUGH, blind, limits={blind.metric: 0.5})
    assert "into its table of prompts.targets" in found.tries[1]


def test_a_blind_test_sends_to_the_base_whatever_else_is_missed():
    blind = measured("base.clip.concept_rate[cat]", 0.0, 0.1, 0.2, better="higher")
    found = told(ENOUGH, SHOWN, blind, limits={blind.metric: 0.5, SHOWN.metric: 0.1})
    assert found.binding == blind.metric
    assert "--model base" in found.tries[0]


def test_what_was_not_measured_is_said_before_what_was_missed():
    found = told(ENOUGH, SHOWN, limits={SHOWN.metric: 0.1, "ssim": 0.85})
    assert found.binding == "ssim"
    assert "never a pass" in found.cause


def test_every_method_that_is_advised_exists():
    assert {advice.ERASES_MOST, *advice.KEEPS_MOST} <= METHODS.keys()


def test_a_lambda_of_zero_cannot_go_down():
    zero = tried("all_but_one", lambdas=(0,))
    found = told(zero, SHOWN, limits={SHOWN.metric: 0.1})
    assert "`robust: {}` in the settings of all_but_one" in found.tries[0]
    assert "add wordings" in found.tries[1]


def test_an_attack_that_a_stray_hit_decides_is_no_matter_of_the_prompt_tables():
    stray = measured("attack.excess.wordings[cat]", 0.0, 0.05, 0.236)
    found = told(ENOUGH, stray, limits={stray.metric: 0.2})
    assert "some wordings of the attack still reach 'cat'" in found.cause
    assert "add wordings to the request" in found.tries[0]
    assert "prompts.targets" not in " ".join(found.lines)


@pytest.mark.parametrize(("hits", "of_control"), [(0, 0), (7, 7)])
@pytest.mark.parametrize("attack", ["wordings", "ridge"])
def test_of_an_attack_that_brought_nothing_back_the_pictures_are_too_few(attack, hits, of_control):
    """0 of 20 ends at 0.161 beside a control of 0 of 20."""
    begun, names = [[i < n for i in range(20)] for n in (hits, of_control)], list(range(20))
    none = excess(
        *begun,
        metric=f"attack.excess.{attack}[cat]",
        better="lower",
        settings={"budget": "smoke"},
        clusters=names,
        control_clusters=names,
    )
    found = told(ENOUGH, none, limits={none.metric: 0.1})
    assert "brought nothing back" in found.cause
    assert "20 pictures" in found.cause
    assert "so few cannot show 0.1" in found.cause
    assert "add wordings" not in " ".join(found.lines)
    assert ("policy.tier" in found.tries[0]) == (attack == "wordings")
    raised = next(one for one in found.tries if "under `policy.attacks`" in one)
    limit = float(raised.split(" to ")[1].split()[0])
    assert none.high <= limit < none.high + 0.01


def test_a_tier_that_is_advised_is_taken_with_the_limits_that_are_named():
    few = measured("attack.excess.wordings[cat]", 0.0, 0.0, 0.161)
    more = told(ENOUGH, few, limits={few.metric: 0.1}).tries[0]
    change = more.partition(";")[0].replace("set `", "").replace("` to ", "=").partition(",")[0]
    assert change == "policy.tier=full"
    with pytest.raises(BadInput, match="must withstand"):
        read_params(SHIPPED, [change])
    named = more.partition("limits on ")[2].partition(" for every kind")[0].split(", ")
    held = read_params(SHIPPED).policy.attacks
    limits = {kind: {**has, **dict.fromkeys(named, 0.2)} for kind, has in held.items()}
    read_params(SHIPPED, [change, f"policy.attacks={json.dumps(limits)}"])


NONE_SHOWN = {"attack.excess.relearning[cat]": "no photographs of the subject"}


@pytest.mark.parametrize("of", ["", "base."])
def test_of_an_attack_that_was_not_run_the_reason_is_said(of):
    (metric, why), unrun = *NONE_SHOWN.items(), replace(ENOUGH, not_run=NONE_SHOWN)
    found = told(unrun, limits={f"{of}{metric}": 0.2})
    assert found.cause == f"the attack 'relearning' was not run, which is never a pass: {why}"
    assert "request check" not in " ".join(found.tries)
    assert "--method sepme" in found.tries[0]
    of_uce = told(replace(unrun, method="uce"), limits={f"{of}{metric}": 0.2})
    assert "--method all_but_one" in of_uce.tries[0]
    assert found.tries[1] == "take 'relearning' out of `policy.attacks`, then `erasure run`"
    required = unrun.policy.model_copy(update={"audience": "weights"})
    found = told(replace(unrun, policy=required), limits={metric: 0.2})
    assert "choose an audience or a tier that does not require it" in found.tries[1]


def test_nobody_is_advised_to_release_without_the_attack_that_each_audience_can_make():
    overflows = {"attack.excess.wordings[cat]": "3 of 20 pictures are not finite"}
    found = told(replace(ENOUGH, not_run=overflows), limits=dict.fromkeys(overflows, 0.2))
    assert "policy.attacks" not in " ".join(found.tries)
    assert "--method sepme" in found.tries[0]
    assert "--lambdas 2,10" in found.tries[1]


def test_a_stray_hit_of_who_does_not_type_is_no_matter_of_wordings():
    stray = measured("attack.excess.concept vector[cat]", 0.0, 0.05, 0.236)
    found = told(ENOUGH, stray, limits={stray.metric: 0.2})
    assert "the attack 'concept vector' still brings 'cat' back" in found.cause
    assert "wordings" not in " ".join(found.lines)
    assert "`robust: {}`" in found.tries[0]
    assert "--lambdas 0.5,2.5" in found.tries[1]


@pytest.mark.parametrize("method", ["all_but_one", "sepme"])
def test_another_method_is_another_than_was_tried(method):
    stray = measured("ssim", 0.5, 0.9, 0.95, better="higher")
    found = told(tried(method), stray, limits={stray.metric: 0.85})
    assert f"--method {'uce' if method == 'sepme' else 'sepme'}" in found.tries[1]
    shown = measured("clip.concept_rate[cat]", 0.0, 0.05, 0.236)
    found = told(tried(method, lambdas=(2,)), shown, limits={shown.metric: 0.2})
    expected = "--lambdas 1" if method == "all_but_one" else "--method all_but_one"
    assert expected in found.tries[1]


def commands(found: advice.Advice) -> list[list[str]]:
    """The commands that are advised, as a shell would split them."""
    parts = [line.split("`")[1::2] for line in found.lines]
    return [shlex.split(part) for line in parts for part in line if part.startswith("erasure ")]


NAMES = ["A$AP Rocky", "P!nk", '"Weird Al" Yankovic', "Sinéad O'Connor", "Van Gogh"]


@pytest.mark.parametrize("name", NAMES)
def test_commands_with_a_name_can_be_pasted(name):
    rate = f"clip.concept_rate[{name}]"
    shown = measured(rate, 0.2, 0.3, 0.4)
    blind = measured(f"base.{rate}", 0.0, 0.1, 0.2, better="higher")
    look = told(tried("uce", name=name), blind, limits={blind.metric: 0.5})
    assert commands(look)[0][:3] == ["erasure", "generate", f"a photo of {name}"]
    other = told(tried("uce", name=name), shown, limits={rate: 0.1})
    assert commands(other)[0] == ["erasure", "run", name, "--method", "all_but_one"]
    missing = told(tried("uce", name=name), limits={rate: 0.1})
    assert commands(missing) == [
        ["erasure", "request", "check", name],
        ["erasure", "run", name, "--fresh"],
    ]


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (("uce", "all_but_one"), "`erasure run cat --method all_but_one`, which erases more"),
        (("uce", "rece"), "add settings of all_but_one, which erases more, under `methods`"),
        (("uce",), "add settings of all_but_one, which erases more, under `methods`"),
    ],
)
def test_a_method_is_advised_that_the_parameters_hold(held, expected):
    found = told(tried("uce", methods=held), SHOWN, limits={SHOWN.metric: 0.1})
    assert found.tries[0].startswith(expected)


@pytest.mark.parametrize("name", NAMES)
def test_advice_is_printed_on_the_parameters_of_its_run(name):
    blind = measured(f"base.clip.concept_rate[{name}]", 0.0, 0.1, 0.2, better="higher")
    found = told(tried("uce", name=name), blind, limits={blind.metric: 0.5})
    params = Path("my params.yaml")
    first, *_ = (
        RepeatedCommand(params).advised(line) for line in found.lines if "erasure " in line
    )
    assert shlex.split(first.split("`")[1])[-2:] == ["--params", str(params)]
    assert [
        RepeatedCommand(Path("params.yaml")).advised(line) for line in found.lines
    ] == found.lines


TRIAL = RepeatedCommand(
    Path("params.yaml"),
    ("my requests/cat.yaml",),
    (("--trial",), ("--base", "b"), ("--set", "policy.min_n=9"), ("--set", "method.lr=1")),
)
SAME = "erasure run 'my requests/cat.yaml' --trial --base b --set policy.min_n=9"
HOW = {
    "erasure run cat": f"{SAME} --set method.lr=1",
    "erasure run cat --lambdas 2,4": f"{SAME} --set method.lr=1 --lambdas 2,4",
    "erasure run cat --method uce": f"{SAME} --method uce",  # whose settings are others
    "erasure run cat --trial": f"{SAME} --set method.lr=1",
    "erasure run cat dog": SAME.replace("'my requests/cat.yaml'", "cat dog") + " --set method.lr=1",
    "erasure request check cat": f"{SAME} --set method.lr=1".replace(
        "run", "request check"
    ).replace(" --trial", ""),
    "erasure request add REQUEST.yaml": "erasure request add REQUEST.yaml",
}


@pytest.mark.parametrize("command", HOW)
def test_an_advised_command_is_about_the_run_that_was_asked_for(command):
    assert TRIAL.advised(f"`{command}`, which") == f"`{HOW[command]}`, which"


@pytest.mark.parametrize("there", [True, False])
def test_what_the_base_draws_is_looked_at_in_the_base_of_the_run(there, tmp_path):
    base = tmp_path / "its base"
    if there:
        base.mkdir()
    asked = RepeatedCommand(Path("params.yaml"), ("cat",), (("--base", str(base)),))
    command = "erasure generate 'a photo of cat' --model base --seed 1 --out pictures"
    with_it = command.replace("--model base", f"--model '{base}'")
    assert asked.advised(f"`{command}`") == f"`{with_it if there else command}`"


def test_an_advised_option_takes_the_place_of_the_one_that_was_given():
    asked = RepeatedCommand(Path("params.yaml"), ("cat",), (("--seed", "3"), ("--method", "uce")))
    advised = asked.advised("`erasure run cat --method rece`")
    assert advised == "`erasure run cat --seed 3 --method rece`"


def test_a_refused_restore_is_tried_as_a_restore_by_what_it_takes():
    kept = measured("ssim", 0.1, 0.2, 0.3, better="higher")
    back = replace(ENOUGH, restoring="Van Gogh")
    found = told(back, kept, limits={kept.metric: 0.9})
    assert "erasure run" not in " ".join(line for line in found.lines if "--" in line)
    assert back.again("--fresh") == back.again() == "`erasure restore 'Van Gogh' --reason TEXT`"
    assert commands(found)[0] == [
        *("erasure", "restore", "Van Gogh", "--reason", "TEXT", "--method", "sepme")
    ]


def test_a_refused_trial_is_tried_as_a_trial():
    trial = replace(ENOUGH, trial=True)
    assert trial.again("--fresh") == trial.again() == "`erasure run cat --trial`"
    assert trial.again("--method", "uce") == "`erasure run cat --trial --method uce`"


def test_a_refused_trial_enters_nothing():
    """Who only tries has asked for nothing that a clock could run for."""
    line = told(tried("uce", wordings=1), SHOWN, limits={SHOWN.metric: 0.1}).tries[0]
    assert ENOUGH.about(line).endswith("`erasure request add REQUEST.yaml`, then `erasure run cat`")
    said = replace(ENOUGH, trial=True).about(line)
    assert said.endswith("(32 do), in its file, then `erasure run cat --trial`")


def test_a_restore_is_advised_with_the_reason_that_was_given():
    asked = RepeatedCommand(Path("params.yaml"), (CAT,), (("--reason", "a mistake"),))
    assert asked.advised("`erasure restore cat --reason TEXT --method uce`") == (
        f"`erasure restore {CAT} --reason 'a mistake' --method uce`"
    )
