"""What can never pass is said before work."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept
from erasure_core.law.prompts import PromptRow, read_prompt_set
from erasure_core.law.requests import read_request
from erasure_core.metrics.clip_score import accuracy
from erasure_core.metrics.detectors import NudeNet
from erasure_core.metrics.intervals import excess
from erasure_core.planning.params import Params, read_params
from erasure_core.planning.policy import Again, Policy
from tasks.evidence.instruments import Instruments, asked_among, seen_as_limited
from tasks.evidence.measure import labels_of
from tasks.requests import measurable
from tasks.requests.measurable import check_thresholds, policy_faults, too_few
from tasks.requests.measurable_attacks import best_excess, check_attacks, check_untrained
from tasks.requests.measurable_sets import (
    check_alone,
    check_called,
    check_fid,
    check_fid_instead,
    check_kept,
    check_kept_labels,
    check_kept_parts,
    check_label,
    check_near,
    check_restored,
    check_size,
)

ROOT = Path(__file__).parents[2]
CAT = read_request(ROOT / "examples/requests/cat.yaml").concept
PARAMS = read_params(ROOT / "params.yaml")
POLICY = PARAMS.policy


def rows(alone: int, beside: int) -> list[PromptRow]:
    also = [""] * alone + ["rocket"] * beside
    return [PromptRow(i, f"a cat {i}", i, 4.0, "cat", "", a) for i, a in enumerate(also)]


def test_enough_of_both_kinds_pass():
    assert POLICY.min_n == 30
    check_size(POLICY, CAT, rows(35, 30))


def test_a_target_set_whose_rows_show_another_concept_too_is_refused():
    """All its rows are measured as the concept, whatever they say."""
    given = rows(4, 0)
    check_label(POLICY, CAT, [*given[:3], replace(given[3], concept="")])
    with pytest.raises(BadInput, match=r"holds dog in 2 of 4 rows \(cases 2, 3\)"):
        check_label(POLICY, CAT, [*given[:2], *(replace(r, concept="dog") for r in given[2:])])


@pytest.mark.parametrize("column", ["concept", "style"])
def test_a_target_set_of_other_peoples_prompts_is_refused(column):
    """The base can show it in no greater share than there are prompts of it."""
    cat = CAT.model_copy(update={"kind": "style" if column == "style" else "object"})
    named, others = (replace(r, concept="", style="") for r in rows(2, 0)), rows(3, 0)
    unsaid = [replace(r, prompt=f"Ola {r.case_number}", concept="") for r in others]
    given = [*(replace(r, **{column: "cat"}) for r in named), *unsaid]
    with pytest.raises(BadInput, match=rf"2 of 5 rows .* in the column `{column}`, .* in 0\.5 of"):
        check_label(POLICY, cat, given)
    check_label(POLICY, cat, given[:4])
    check_label(POLICY, cat, [given[0], *(replace(r, **{column: "cat"}) for r in unsaid)])
    nudity = CAT.model_copy(update={"name": "nudity", "kind": "explicit"})
    check_label(POLICY, nudity, [replace(r, concept="") for r in unsaid])


def test_a_style_set_may_name_subjects_and_no_other_styles():
    given = [replace(r, style="sketch") for r in rows(2, 0)]
    sketch = CAT.model_copy(update={"name": "sketch", "kind": "style"})
    check_label(POLICY, sketch, given)
    with pytest.raises(BadInput, match=r"column `style` .* holds poster in 1 of 2 rows"):
        check_label(POLICY, sketch, [given[0], replace(given[1], style="poster")])


@pytest.mark.parametrize(("alone", "beside"), [(62, 28), (28, 62)])
def test_each_limit_needs_as_many_prompts_as_the_gate_asks_of_it(alone, beside):
    """28 prompts are enough for 0.2, and the gate takes fewer than 30 for no evidence."""
    with pytest.raises(BadInput, match="28 of them"):
        check_size(POLICY, CAT, rows(alone, beside))


def test_thirty_can_never_show_ten_percent():
    with pytest.raises(BadInput, match="35 can"):
        check_size(POLICY, CAT, rows(30, 30))


@pytest.mark.parametrize("metric", ["composed.clip.accuracy", "leak"])
@pytest.mark.parametrize("kind", ["object", "style", "explicit"])
def test_composed_prompts_in_which_nothing_looks_for_the_concept_are_refused(kind, metric):
    """All of their pictures could show it."""
    concept = CAT.model_copy(update={"kind": kind})
    limits = {"clip.concept_rate": 0.1, metric: 0.1}
    policy = POLICY.model_copy(update={"targets": {kind: limits}})
    with pytest.raises(
        BadInput, match=rf"36 of 98 rows .* limit .* in policy\.targets\.{kind}, or"
    ):
        check_size(policy, concept, rows(62, 36))
    looked_for = policy.model_copy(
        update={"targets": {kind: {**limits, "composed.nudenet.rate": 0.2}}}
    )
    check_size(looked_for, concept, rows(62, 36))


@pytest.mark.parametrize("file", ["params.yaml", "params.purify.yaml"])
@pytest.mark.parametrize("name", ["astronaut", "cat", "mosaic"])
def test_the_shipped_prompt_sets_are_large_enough_and_judged_whole(file, name):
    given = read_params(ROOT / file)
    concept = read_request(ROOT / f"examples/requests/{name}.yaml").concept
    table = read_prompt_set(ROOT / given.prompts.targets / f"{name}.csv", given.reading)
    check_size(given.policy, concept, table)


@pytest.mark.parametrize("seeds", [1, 5, 30])
def test_pictures_of_one_seed_are_as_alike_as_those_of_one_wording(seeds):
    """Sixty wordings from one noise are one picture, sixty times."""
    lax = judged_by(**{"clip.concept_rate": 0.1})
    check_size(lax, CAT, rows(60, 0))
    check_kept(lax, kept_table(60), [CAT])
    few, kept = (
        [replace(r, evaluation_seed=r.case_number % seeds) for r in table]
        for table in (rows(60, 0), kept_table(60))
    )
    with pytest.raises(BadInput, match=rf"\(60 pictures of {seeds} seeds count as {seeds}: give"):
        check_size(lax, CAT, few)
    with pytest.raises(
        BadInput, match=f"60 of 60 kept .* count as {seeds}, for seeds repeat .give each"
    ):
        check_kept(lax, kept, [CAT])


BESIDE = {
    "clip.concept_rate": 0.1,
    "composed.clip.concept_rate": 0.2,
    "composed.clip.accuracy": 0.05,
}


def test_what_stands_beside_it_needs_prompts_that_name_something():
    policy = POLICY.model_copy(update={"targets": {"object": BESIDE}})
    check_size(policy, CAT, rows(35, 30))
    with pytest.raises(BadInput, match="29 of them for composed"):
        check_size(policy, CAT, rows(35, 29))


def test_nothing_is_measured_beside_a_style():
    policy = POLICY.model_copy(update={"targets": {"object": BESIDE, "style": BESIDE}})
    (said,) = policy_faults(policy)
    assert "policy.targets.style limits composed.clip.accuracy, which is measured of what" in said


@pytest.mark.parametrize("metric", ["quality.fidelity", "replacement.rate"])
def test_what_stands_in_its_place_is_told_from_twenty_pictures_whatever_min_n_says(metric):
    limits = {"clip.concept_rate": 0.9, metric: 0.5}
    few = POLICY.model_copy(update={"min_n": 2, "targets": {"object": limits}})
    check_size(few, CAT, rows(20, 0))
    with pytest.raises(BadInput, match=rf"19 rows of it alone, .*{metric}.* at least 20"):
        check_size(few, CAT, rows(19, 9))
    lax = few.model_copy(update={"targets": {"object": {"clip.concept_rate": 0.9}}})
    check_size(lax, CAT, rows(19, 0))


def test_distances_are_told_from_three_prompts():
    """Leaving one out leaves a pair."""
    lax = judged_by(**{"clip.concept_rate": 0.9, "quality.diversity": 0.5})
    three, two = (
        [replace(r, prompt=f"a cat {r.case_number % n}") for r in rows(60, 0)] for n in (3, 2)
    )
    check_alone(lax, CAT, three)
    with pytest.raises(BadInput, match=r"60 rows of it alone, of 2 prompts, .* 20, of 3; add"):
        check_alone(lax, CAT, two)


def spellings(wording: str, n: int) -> list[str]:
    """`n` different texts that the network reads alike."""
    return [(wording.upper() if i % 2 else wording) + "!" * i for i in range(n)]


def test_one_wording_written_sixty_ways_is_one_trial():
    written = spellings("a photo of a cat", 60)
    assert len(set(written)) == 60
    assert "60 pictures of 1 prompts count as 1" in str(too_few(written, 0.10))
    assert too_few([f"a photo of cat {i}" for i in range(60)], 0.10) is None


def test_a_target_set_of_one_wording_written_many_ways_is_refused():
    also = [""] * 40 + ["rocket"] * 40
    written = spellings("a cat", 80)
    table = [PromptRow(i, written[i], i, 4.0, "cat", "", a) for i, a in enumerate(also)]
    with pytest.raises(BadInput, match="of 1 prompts count as 1"):
        check_size(POLICY, CAT, table)


def test_kept_prompts_of_one_wording_count_once():
    table = [PromptRow(i, p, i, 4.0, "dog") for i, p in enumerate(spellings("a dog", 54))]
    with pytest.raises(BadInput, match="54 of 54 kept prompts are there and count as 1"):
        check_kept(POLICY, table, [])
    check_kept(POLICY, rows(35, 0), [])


def test_kept_prompts_are_enough_to_show_that_none_was_lost():
    """z^2 / (n + z^2) of n without a loss is 0.114 at 30, 0.099 at 35."""
    with pytest.raises(BadInput, match=r"no fewer than 35 without a loss show .* of 0\.1;"):
        check_kept(POLICY, rows(34, 0), [])
    lax = POLICY.model_copy(update={"kept": {"clip.accuracy_drop": 0.114}})
    check_kept(lax, rows(30, 0), [])


def judged_by(**limits: float) -> Policy:
    """The shipped policy with other limits on objects."""
    return POLICY.model_copy(update={"targets": {"object": limits}})


@pytest.mark.parametrize(
    ("metric", "bound", "end"),
    [
        ("quality.fidelity", 0.94, "0.938"),  # n / (n + z^2) of 58
        ("replacement.rate", 0.94, "0.938"),
        ("quality.naturalness", 0.94, "0.938"),
        ("nudenet.rate@0.6", 0.06, "0.062"),  # z^2 / (n + z^2) of 58
        ("composed.clip.accuracy", 0.91, "0.904"),  # of 36
    ],
)
def test_what_even_the_best_pictures_do_not_show_is_refused(metric, bound, end):
    table = rows(58, 36)
    share = {"clip.concept_rate": 0.1, "composed.clip.concept_rate": 0.2}
    closer = bound + (0.01 if bound < 0.5 else -0.01)
    check_size(judged_by(**share, **{metric: closer}), CAT, table)
    with pytest.raises(BadInput, match=f"limit on {metric}: .* still allows {end}"):
        check_size(judged_by(**share, **{metric: bound}), CAT, table)


@pytest.mark.parametrize("bound", [0.5, 0.1])
def test_a_control_that_the_base_cannot_reach_is_refused(bound):
    """58 of 58 may be 0.938: each run would be void."""
    policy = judged_by(**{"clip.concept_rate": bound})
    check_size(policy.model_copy(update={"control": 0.93}), CAT, rows(58, 0))
    with pytest.raises(BadInput, match=r"policy\.control of 0\.97, .* must reach by clip.* 0\.938"):
        check_size(policy.model_copy(update={"control": 0.97}), CAT, rows(58, 0))


def test_composed_prompts_are_enough_for_their_limit_as_a_control():
    """36 of 36 may be 0.904; a limit of 1 limits nothing, and needs no control."""
    share = {"clip.concept_rate": 0.1}
    for bound in (0.9, 1):
        check_size(judged_by(**share, **{"composed.clip.concept_rate": bound}), CAT, rows(58, 36))
    beyond = judged_by(**share, **{"composed.clip.concept_rate": 0.91})
    with pytest.raises(BadInput, match=r"limit on composed\.clip.* of 0\.91, .* 0\.904"):
        check_size(beyond, CAT, rows(58, 36))


def test_kept_prompts_are_enough_to_show_that_the_base_has_none_of_it():
    """0 of 54 may be 0.066: a control of 0.97 allows the base 0.03."""
    kept = kept_table(54)
    check_kept(POLICY.model_copy(update={"control": 0.93}), kept, [CAT])
    with pytest.raises(BadInput, match=r"no fewer than 125 .*base\.leak of 0\.03 \(1 - policy\."):
        check_kept(POLICY.model_copy(update={"control": 0.97}), kept, [CAT])


def test_kept_prompts_are_enough_for_the_base_to_name_them_rightly():
    """54 of 54 may be 0.934, of all and of a part; a limit of 1 asks for nothing."""
    strict = POLICY.model_copy(update={"control": 0.97, "targets": {"object": {"ssim": 1}}})
    with pytest.raises(BadInput, match=r"no fewer than 125, all named rightly by the base"):
        check_kept(strict, kept_table(54), [CAT])
    part = {"clip.accuracy_drop[not listed]": 0.2}
    with pytest.raises(BadInput, match=r"by base\.clip\.accuracy\[not listed\]: 54 .* 0\.934"):
        check_kept_parts(strict.model_copy(update={"kept": part}), kept_table(54), [CAT])
    for metric in ("clip.accuracy_drop", "clip.accuracy_drop[not listed]"):
        free = strict.model_copy(update={"kept": {metric: 1}})
        check_kept(free, kept_table(54), [CAT])
        check_kept_parts(free, kept_table(54), [CAT])


@pytest.mark.parametrize(("alone", "beside"), [(58, 39), (39, 58)])
def test_no_part_of_a_prompt_set_is_without_prompts(alone, beside):
    """The release that measures it would be void, and so would each after it."""
    again = Again(parts=40, days=7)
    policy = POLICY.model_copy(update={"again": again})
    check_size(policy, CAT, rows(40, 40))
    with pytest.raises(BadInput, match=r"39 of them for (composed\.)?clip.* one of 40 parts"):
        check_size(policy, CAT, rows(alone, beside))
    whole = {"nudenet.rate@0.6": 0.1, "composed.clip.concept_rate": 0.2}  # no part speaks of it
    check_size(judged_by(**whole).model_copy(update={"again": again}), CAT, rows(58, 36))


def test_a_face_is_looked_for_in_half_of_the_bases_pictures():
    policy = judged_by(**{"identity.rate": 0.1})
    check_size(policy, CAT, rows(60, 0))
    with pytest.raises(BadInput, match="59 of it alone; a face is learnt from every second"):
        check_size(policy, CAT, rows(59, 0))


@pytest.mark.parametrize(
    ("section", "metric", "bound"),
    [
        ("targets", "leak", 0),
        ("targets", "identity.rate", 0),
        ("targets", "neighbour.accuracy", 1),
        ("targets", "harmonic", 1),
        ("targets", "quality.fidelity", 1),
        ("kept", "clip.accuracy[listed]", 1),
        ("kept", "ssim", 1.01),
    ],
)
def test_a_limit_that_no_number_of_pictures_shows_is_refused(section, metric, bound):
    limits = {"clip.concept_rate": 0.1, metric: bound}
    changed = {"targets": {"object": limits}} if section == "targets" else {"kept": {metric: bound}}
    said = [*policy_faults(POLICY.model_copy(update=changed))]
    assert any(f"limits {metric} to {bound:g}" in fault for fault in said)


@pytest.mark.parametrize(
    ("section", "metric", "bound"),
    [
        ("targets", "nudenet.rate", 10),
        ("targets", "composed.clip.concept_rate", 20),
        ("targets", "nudenet.rate@0.6", 5),
        ("targets", "replacement.rate", -0.5),
        ("targets", "replacement.score_drop", 3),
        ("attacks", "wordings", 20),
        ("kept", "clip.accuracy_drop[listed]", 10),
        ("kept", "clip.accuracy", -1),
        ("restored", "ssim", 85),
    ],
)
def test_a_limit_that_nothing_could_miss_is_refused(section, metric, bound):
    """10 written for 10 % would let the unedited base pass."""
    limits = {"clip.concept_rate": 0.1, metric: bound} if section == "targets" else {metric: bound}
    of_kind = section in ("targets", "attacks")
    policy = POLICY.model_copy(update={section: {"object": limits} if of_kind else limits})
    (said,) = policy_faults(policy)
    assert f"limits {metric} to {bound:g}, and it is never" in said
    assert f"{bound} % are {bound / 100:g}" in said or bound < 0


@pytest.mark.parametrize("metric", ["kid", "quality.diversity", "quality.fid"])
def test_what_has_no_end_may_have_any_limit(metric):
    targets = {"object": {"clip.concept_rate": 0.1, metric: 7}}
    changed = {"kept": {"kid": 7}} if metric == "kid" else {"targets": targets}
    assert list(policy_faults(POLICY.model_copy(update=changed))) == []


def test_names_that_hold_one_another_do_not_hide_one_another():
    """Erased together, a cat that is named as a black cat is no cat that is gone."""
    cat, black, dog, dogma = (
        CAT.model_copy(update={"name": name}) for name in ("cat", "black cat", "dog", "dogma")
    )
    given = [replace(rows(1, 0)[0], concept=c.name) for c in (cat, black, dog, dogma)]
    given.append(replace(given[0], concept="wall", also="rocket"))
    others = ["dog", "dogma", "rocket", "wall"]
    assert labels_of(given, [cat, black, dog, dogma]) == others
    for concept in (cat, black):
        assert asked_among(PARAMS, concept, others)[0] == sorted([*others, concept.name])
    assert labels_of(given, [black], [cat]) == sorted([*others, "black cat", "cat"])


def test_one_thing_in_two_spellings_is_one_name():
    """CLIP reads them alike, and would give every picture to the first of them."""
    given = [
        replace(rows(1, 0)[0], concept=name) for name in ("wall", "Wall", "a rocket", "Rocket")
    ]
    labels = labels_of([*given, replace(given[0], also="The Cat")], [])
    assert labels == ["Rocket", "The Cat", "Wall"]
    assert asked_among(PARAMS, CAT, labels)[0] == ["Rocket", "Wall", "cat"]
    style = CAT.model_copy(update={"name": "Mosaic", "kind": "style"})
    assert "mosaic" not in asked_among(PARAMS, style, labels)[0]
    wanted = [row.concept for row in given]
    right = accuracy(["Wall", "Wall", "Rocket", "Rocket"], wanted, settings={}, clusters=None)
    assert right.value == 1


class Scoring(NudeNet):
    """Sees in each picture what is said of it."""

    def __init__(self, threshold: float):
        self._threshold = threshold

    def scores(self, images, labels):
        return list(images)


@pytest.mark.parametrize(
    ("limits", "seen"),
    [
        ({"nudenet.rate": 0.1}, [False, False, True]),
        ({"nudenet.rate@0.35": 0.1}, [False, True, True]),
        ({"nudenet.rate@0.7": 0.1, "clip.concept_rate": 0.1}, [False, False, True]),
    ],
)
def test_attacks_are_judged_at_a_threshold_that_the_policy_limits(limits, seen):
    """What counts on the concept's own prompts counts where an attack brings it back."""
    nudity = CAT.model_copy(update={"kind": "explicit"})
    policy = POLICY.model_copy(update={"targets": {"explicit": limits}})
    params = PARAMS.model_copy(update={"policy": policy})
    detector = Scoring(params.detector.threshold)
    found = seen_as_limited(Instruments(detector, None, params), nudity, [0.3, 0.4, 0.55])
    assert found == seen


@pytest.mark.parametrize("called", ["Cat", "the cat", "moggies"])
def test_neighbours_are_named_for_a_concept_in_any_spelling(called):
    """A policy that says Cat is not silent of the cat."""
    cat = CAT.model_copy(update={"also": ("moggies",)})
    policy = POLICY.model_copy(update={"neighbours": {called: ("dog",), "tiger": ("lion",)}})
    assert policy.neighbours_of(cat) == ["dog"]


def kept_table(n: int, shown: int = 9) -> list[PromptRow]:
    """Different prompts of so many things, taken in turn."""
    return [PromptRow(i, f"thing {i % shown} {i}", i, 4.0, f"thing {i % shown}") for i in range(n)]


@pytest.mark.parametrize(
    ("limits", "kept", "fewest"),
    [({}, {"clip.accuracy": 0.95}, 73), ({"leak": 0.066}, {"ssim": 0.5}, 55)],
)
def test_kept_prompts_are_enough_for_what_is_measured_of_them(limits, kept, fewest):
    policy = judged_by(**{"clip.concept_rate": 0.1}, **limits).model_copy(update={"kept": kept})
    check_kept(policy, kept_table(fewest), [CAT])
    with pytest.raises(BadInput, match=f"no fewer than {fewest}"):
        check_kept(policy, kept_table(fewest - 1), [CAT])


@pytest.mark.parametrize(
    ("metric", "bound", "enough"),
    [("ssim", 0.5, 30), ("clip.accuracy_drop", 0.1, 35), ("clip.accuracy", 0.9, 35)],
)
def test_a_part_of_the_kept_prompts_is_enough_for_its_limit(metric, bound, enough):
    policy = POLICY.model_copy(update={"kept": {f"{metric}[not listed]": bound}})
    check_kept_parts(policy, kept_table(enough), [CAT])
    with pytest.raises(BadInput, match=f"{enough - 1} of {enough - 1} kept prompts are not listed"):
        check_kept_parts(policy, kept_table(enough - 1), [CAT])


@pytest.mark.parametrize("metric", ["fid", "fid[not listed]"])
def test_fid_needs_more_pictures_than_numbers(metric):
    policy = POLICY.model_copy(update={"kept": {metric: 5.0}})
    check_fid(policy, kept_table(65), [CAT], 64)
    with pytest.raises(BadInput, match="more than 64 pictures"):
        check_fid(policy, kept_table(64), [CAT], 64)


def test_fid_to_the_replacement_needs_more_pictures_of_the_concept_alone_than_numbers():
    policy = judged_by(**{"clip.concept_rate": 0.1, "quality.fid": 5.0})
    check_fid_instead(policy, CAT, rows(65, 9), 64)
    with pytest.raises(BadInput, match=r"object limits quality\.fid, .*more than 64 pictures"):
        check_fid_instead(policy, CAT, rows(64, 9), 64)
    check_fid_instead(judged_by(**{"clip.concept_rate": 0.1}), CAT, rows(64, 9), 64)


def test_a_concept_that_came_back_has_prompts_enough_to_show_it():
    policy = judged_by(**{"clip.concept_rate": 0.1})
    policy = policy.model_copy(update={"restored": {"clip.concept_rate": 0.9}})
    check_restored(policy, CAT, rows(35, 0))
    with pytest.raises(BadInput, match=r"34 pictures can never show at least 0\.9: 34 of 34"):
        check_restored(policy, CAT, rows(34, 0))
    with pytest.raises(BadInput, match=r"has 29 rows, and policy\.min_n asks"):
        check_restored(policy, CAT, rows(29, 0))


def encode(prompts):
    """Text states that point somewhere else for each prompt."""
    return torch.tensor([[[len(p), sum(map(ord, p)) % 89, 1.0]] for p in prompts]) * 1.0


@pytest.mark.parametrize(
    ("metric", "n", "bound", "said"),
    [
        ("neighbour.accuracy", 54, 0.5, "18 kept prompts show a neighbour of 'cat'"),
        ("harmonic", 54, 0.5, "18 kept prompts show a neighbour of 'cat'"),
        ("neighbour.accuracy", 108, 0.91, "36 of 36 still allows 0.904"),
        ("harmonic", 108, 0.94, "still allow a harmonic of 0.935"),
    ],
)
def test_neighbours_are_enough_for_their_limits(metric, n, bound, said):
    """Three of nine things are neighbours. Of n right ones at least n / (n + z^2) may be right:
    0.938 of 58, 0.966 of 108 and 0.904 of 36.
    """
    policy, near = judged_by(**{"clip.concept_rate": 0.1, metric: bound}), ["cat"]
    with pytest.raises(BadInput, match=said):
        check_near(policy, CAT, rows(58, 0), kept_table(n), encode, near)
    met = judged_by(**{"clip.concept_rate": 0.1, metric: 0.9})
    check_near(met, CAT, rows(58, 0), kept_table(108), encode, near)


KEPT = read_prompt_set(ROOT / PARAMS.prompts.kept)


def attacked(attack: str, bound: float) -> Params:
    """The shipped parameters with another limit on attacks on an object."""
    policy = POLICY.model_copy(update={"attacks": {"object": {attack: bound}}})
    return PARAMS.model_copy(update={"policy": policy})


def described(n: int) -> Concept:
    """The cat in so many descriptions."""
    texts = tuple(f"the one who says meow {i}" for i in range(n))
    return CAT.model_copy(update={"described": texts, "translated": ("gato", "kissa")})


@pytest.mark.parametrize(
    ("attack", "tier", "best"),
    [
        ("wordings", "smoke", 0.092),  # 40 pictures of 39 wordings
        ("ridge", "smoke", 0.162),  # 20
        ("ridge", "full", 0.162),  # 40 of 20 prompts
        ("implicit", "full", 0.088),  # 40, each of its own
        ("translated", "full", 0.088),  # each prompt by both names
        ("image to image", "smoke", 0.325),  # of 8 photographs
        ("inpainting", "smoke", 0.325),
        ("latent inversion", "smoke", 0.325),
        ("ring-a-bell", "smoke", 0.162),
        ("image to image", "standard", 0.162),  # of 20
    ],
)
def test_an_attack_that_brings_nothing_back_meets_its_limit(attack, tier, best):
    concept = described(40)
    check_attacks(attacked(attack, best), concept, KEPT, tier)
    with pytest.raises(BadInput, match=rf"limits {attack} to .* at the tier {tier} \d+ pictures"):
        check_attacks(attacked(attack, best - 0.002), concept, KEPT, tier)


@pytest.mark.parametrize(
    ("attack", "best"),
    [
        ("wordings", 0.815),  # 40 pictures of 39 wordings, 20 of the control
        ("ridge", 0.772),  # 20 and 20
        ("image to image", 0.541),  # 8 and 8: 1 - sqrt(2) z^2 / (8 + z^2)
    ],
)
def test_a_limit_that_the_base_cannot_exceed_is_refused(attack, best):
    """All of the attack's pictures against none of its control's; a limit of 1 asks for neither."""
    for bound in (best - 0.002, 1):
        check_attacks(attacked(attack, bound), CAT, KEPT, "smoke")
    with pytest.raises(BadInput, match=rf"limits {attack} .* cannot show more than {best}"):
        check_attacks(attacked(attack, best + 0.002), CAT, KEPT, "smoke")


def test_the_best_excess_is_that_of_all_pictures_against_none():
    all_of_them, none = [True] * 40, [False] * 20
    told = {"metric": "m", "better": "higher", "settings": {}}
    m = excess(all_of_them, none, clusters=range(40), control_clusters=range(20), **told)
    assert best_excess(40, 20) == pytest.approx(m.low)


def test_a_limit_on_the_preimage_is_refused():
    """No method of ours could meet it: what one matrix edits has one, and all else runs none."""
    (fault,) = policy_faults(attacked("preimage", 0.5).policy)
    assert "policy.attacks.object limits preimage, which cannot run on an edit" in fault


def test_pictures_of_few_descriptions_count_as_few():
    """20 pictures of 5 prompts: z^2 / (5 + z^2) is 0.434."""
    check_attacks(attacked("implicit", 0.5), described(5), KEPT, "smoke")
    with pytest.raises(BadInput, match=r"4 pictures can never show at most 0\.2: 0 of 4 "):
        check_attacks(attacked("implicit", 0.2), described(4), KEPT, "smoke")


class Reader:
    """A tokenizer that reads so many words."""

    def __init__(self, words: int):
        self.model_max_length = words

    def __call__(self, texts):
        return SimpleNamespace(input_ids=[text.split() for text in texts])


@pytest.mark.parametrize(
    ("attack", "encoders", "words", "why"),
    [
        ("implicit", 1, 9, "the request holds no `described`"),
        ("translated", 1, 9, "the request holds no `translated`"),
        ("wordings", 1, 0, "each prompt is longer than"),
        ("token search", 1, 6, "no prompt leaves room for 3 tokens before it"),  # four words
        ("token search", 2, 9, "a prefix for two text encoders is not written yet"),
        ("textual inversion", 2, 9, "a token for two text encoders is not written yet"),
    ],
)
def test_a_limit_on_an_attack_that_cannot_run_is_refused(attack, encoders, words, why):
    """It would be inconclusive, after training."""
    given = attacked(attack, 0.5), CAT, KEPT, "smoke", [Reader(words)] * encoders
    with pytest.raises(BadInput, match=rf"limits {attack}, which cannot run of 'cat': {why}"):
        check_attacks(*given)


def test_an_attack_that_the_tier_asks_for_takes_another_tier():
    policy = attacked("token search", 0.5).policy.model_copy(update={"tier": "standard"})
    given = PARAMS.model_copy(update={"policy": policy})
    with pytest.raises(BadInput, match=r"take the limit out, and lower policy\.tier, which"):
        check_attacks(given, CAT, KEPT, "standard", [Reader(9)] * 2)


def test_limits_at_a_threshold_are_for_nudenet():
    policy = judged_by(**{"nudenet.rate@0.45": 0.1})
    check_thresholds(policy, NudeNet(0.5))
    check_thresholds(judged_by(**{"nudenet.rate": 0.1}), SimpleNamespace())
    with pytest.raises(BadInput, match=r"limits nudenet\.rate@0\.45, .* measured of NudeNet alone"):
        check_thresholds(policy, SimpleNamespace())


@pytest.mark.parametrize(
    ("trained", "measured", "where"),
    [
        (["a moggy"], "the moggies 1", None),
        ([], "a moggy 1", r"32 prompts in `prompts` of the request"),
        (["a moggy"], "a cat 1", "2 prompts in its prompt set"),
    ],
)
def test_each_other_name_is_trained_on_and_measured(trained, measured, where):
    named = CAT.model_copy(update={"also": ("moggy",), "prompts": (*CAT.prompts, *trained)})
    given = [PromptRow(i, p, i, 4.0, "cat") for i, p in enumerate(("a cat 0", measured))]
    check_called(CAT, given)
    if where is None:
        check_called(named, given)
        return
    with pytest.raises(BadInput, match=rf"of 'cat' holds moggy, and none of the {where} has"):
        check_called(named, given)


@pytest.mark.parametrize(
    ("field", "told"), [("described", "It purrs, on a sofa."), ("translated", "Katze")]
)
def test_what_attacks_ask_in_is_not_trained_on(field, told):
    prompts = (*CAT.prompts, "it purrs on a sofa", "a photo of a KATZE in the garden")
    check_untrained(CAT.model_copy(update={field: (told,)}))
    with pytest.raises(BadInput, match=f"stands in `{field}`, in which attacks ask, and is also"):
        check_untrained(CAT.model_copy(update={field: (told,), "prompts": prompts}))


def test_a_translation_is_found_where_no_blanks_part_the_words():
    told = CAT.model_copy(update={"translated": ("\u732b",)})
    check_untrained(told)
    prompts = (*CAT.prompts, "\u4e00\u5f20\u732b\u7684\u7167\u7247")
    with pytest.raises(BadInput, match="stands in `translated`"):
        check_untrained(told.model_copy(update={"prompts": prompts}))


@pytest.mark.parametrize("metric", ["clip.accuracy", "clip.accuracy_drop[not listed]"])
def test_accuracy_of_a_part_needs_labels_too(metric):
    policy = POLICY.model_copy(update={"kept": {metric: 0.1}})
    check_kept_labels(policy, rows(2, 0))
    with pytest.raises(BadInput, match="does not say what case 0 shows"):
        check_kept_labels(policy, [PromptRow(0, "a dog", 1, 4.0, "")])


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ("params.yaml", "astronaut"),
        ("params.yaml", "cat"),
        ("params.yaml", "mosaic"),
        ("params.purify.yaml", "astronaut-purify"),
        ("params.sd14.yaml", "nudity-sd14"),
    ],
)
def test_the_shipped_kept_prompts_are_enough_for_the_shipped_limits(params, name):
    given = read_params(ROOT / params)
    concept = read_request(ROOT / f"examples/requests/{name}.yaml").concept
    check_kept(given.policy, read_prompt_set(ROOT / given.prompts.kept, given.reading), [concept])


@pytest.mark.parametrize(
    ("control", "metric", "bound"),
    [(0.3, "nudenet.rate", 0.4), (0, "nudenet.rate@0.7", 0.1), (0.5, "clip.concept_rate", 0.9)],
)
def test_a_control_below_the_limit_is_refused(control, metric, bound):
    """The base's lower end need only reach the control; the candidate's upper end, the limit."""
    targets = {"explicit": {metric: bound, "quality.fidelity": 0.5, "composed.nudenet.rate": 0.6}}
    weak = POLICY.model_copy(update={"control": control, "targets": targets})
    (fault,) = policy_faults(weak)
    assert f"limits {metric} to {bound}" in fault
    assert f"set policy.control to {bound} or more" in fault
    assert list(policy_faults(weak.model_copy(update={"control": bound}))) == []


def test_a_limit_of_one_asks_for_no_control():
    targets = {"object": {"clip.concept_rate": 1}}
    assert not [*policy_faults(POLICY.model_copy(update={"control": 0, "targets": targets}))]


@pytest.mark.parametrize("file", ["params.yaml", "params.sd14.yaml", "params.purify.yaml"])
def test_what_is_shipped_can_be_measured(file):
    assert list(policy_faults(read_params(ROOT / file).policy)) == []


def test_a_recognised_face_alone_judges_no_attack(monkeypatch):
    """Attacks and leaks are judged by the detector and by CLIP."""
    monkeypatch.setattr(measurable, "identity_weights", lambda: None)  # as if installed
    for beside, faults in (({}, 1), ({"clip.concept_rate": 0.1}, 0)):
        targets = {"likeness": {"identity.rate": 0.1, **beside}}
        found = [*policy_faults(POLICY.model_copy(update={"targets": targets}))]
        assert len(found) == faults
        assert all("limit one of nudenet.rate, clip.concept_rate as well" in why for why in found)
