"""Attacks find what they promise where it is there, and say so where it is not."""

import copy
import sys
from dataclasses import replace
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from erasure_core import attacks, seeding
from erasure_core.attacks import (
    ATTACKS,
    concept_vector,
    image_to_image,
    implicit,
    inpainting,
    latent_inversion,
    plain,
    preimage,
    relearning,
    ring_a_bell,
    textual_inversion,
    token_search,
    translated,
    wordings,
)
from erasure_core.attacks.projections import pairs
from erasure_core.attacks.setting import (
    Attempt,
    Budget,
    NotRun,
    Setting,
    Subject,
    counted,
    draw,
    noised,
)
from erasure_core.errors import BadInput
from erasure_core.headers import header
from erasure_core.law.concepts import Concept
from erasure_core.network.closed_form import ridge_map
from erasure_core.network.diffusion import (
    decoded,
    drawn_noise,
    encode_ids,
    encode_prompts,
    schedule_of,
)
from erasure_core.network.layers import select
from erasure_core.network.models import copied
from erasure_core.planning.params import read_params
from tasks.evidence.attack import prompts_of, with_photographs
from tests.marks import slow

BUDGET = Budget(pictures=3, photographs=4, updates=10, batch=2)
PROMPTS = ("a photo of the astronaut", "a sketch of the astronaut")
DESCRIBED = ("who sits in a rocket", "a photo of who sits in a rocket " * 9)  # the second too long


@pytest.fixture
def linear(tiny_teacher):
    """The toy pipeline with every K/V weight multiplied by one matrix, and that matrix."""
    generator = seeding.generator(1, "p")
    d = next(iter(select(tiny_teacher.unet, "kv").values())).shape[1]
    p = torch.eye(d) + 0.05 * torch.randn(d, d, generator=generator)
    unet = copy.deepcopy(tiny_teacher.unet)
    with torch.no_grad():
        for weight in select(unet, "kv").values():
            weight.copy_(weight @ p)
    return replace(tiny_teacher, unet=unet), p.double()


def setting(base, victim) -> Setting:
    return Setting(base, victim, BUDGET, seed=3, w=4.0, steps=3)


@pytest.fixture
def subject(astronaut, tiny_teacher) -> Subject:
    latents = drawn_noise(tiny_teacher, 4, seeding.generator(2, "photographs"))
    concept = astronaut.model_copy(update={"described": DESCRIBED, "translated": ("kosmos",)})
    return Subject(concept, PROMPTS, latents)


def test_p_is_found_from_the_two_weight_files(tiny_teacher, linear):
    victim, p = linear
    found, unexplained = preimage.fitted(pairs(tiny_teacher, victim))
    assert unexplained < 1e-9
    assert_close(found, p, atol=1e-4, rtol=0)


def test_the_edited_projections_answer_to_a_preimage_as_the_old_ones_to_the_concept(
    tiny_teacher, linear
):
    victim, _ = linear
    p, _ = preimage.fitted(pairs(tiny_teacher, victim))
    c = encode_prompts(tiny_teacher, PROMPTS).states.double()
    x = preimage.preimages(p, c)
    for name, w in select(tiny_teacher.unet, "kv").items():
        v = select(victim.unet, "kv")[name].double()
        assert not torch.allclose(c @ v.T, c @ w.double().T, atol=1e-3)  # it was erased
        assert_close(x @ v.T, c @ w.double().T, atol=1e-5, rtol=0)


def test_pictures_of_the_preimage_are_the_bases_own(tiny_teacher, linear, subject):
    """Without guidance, whose empty prompt the toy edit changes too."""
    (attempt,) = preimage.attack(replace(setting(tiny_teacher, linear[0]), w=1.0), subject)
    on_base = replace(setting(tiny_teacher, tiny_teacher), w=1.0)
    shown = draw(on_base, encode_prompts(tiny_teacher, attempt.prompts))
    assert_close(attempt.pictures, shown, atol=1e-3, rtol=0)


def test_an_edit_that_is_not_one_matrix_has_no_preimage(tiny_teacher, subject):
    unet = copy.deepcopy(tiny_teacher.unet)
    generator = seeding.generator(1, "noise")
    with torch.no_grad():
        for weight in select(unet, "kv").values():
            weight.add_(torch.randn(weight.shape, generator=generator))
    with pytest.raises(NotRun, match="not changed by one matrix"):
        preimage.attack(setting(tiny_teacher, replace(tiny_teacher, unet=unet)), subject)


def test_a_matrix_that_lost_rank_has_no_preimage():
    p = torch.eye(4, dtype=torch.float64)
    p[3, 3] = 0
    with pytest.raises(NotRun, match="lost rank"):
        preimage.preimages(p, torch.ones(2, 4, dtype=torch.float64))


def test_ridge_solves_its_normal_equations(tiny_teacher, linear):
    victim, _ = linear
    m = ridge_map(pairs(tiny_teacher, victim), 0.1)
    left, right = 0.1 * m, torch.zeros_like(m)
    for name, w in select(tiny_teacher.unet, "kv").items():
        v = select(victim.unet, "kv")[name].detach().double()
        left, right = left + v.T @ v @ m, right + v.T @ w.detach().double()
    assert_close(left, right, atol=1e-9, rtol=0)


def test_the_concept_vector_takes_replaced_prompts_to_the_concepts(tiny_teacher, subject):
    here = setting(tiny_teacher, tiny_teacher)
    one = replace(subject, prompts=PROMPTS[:1])
    v = concept_vector.vector(here, one)
    without = encode_prompts(tiny_teacher, [subject.concept.replaced(PROMPTS[0])]).states
    assert_close(without[0] + v, encode_prompts(tiny_teacher, PROMPTS[:1]).states[0])


def test_wordings_are_other_words_for_the_concept(astronaut):
    said = {name: make(astronaut, PROMPTS[0]) for name, make in wordings.FAMILIES.items()}
    assert len(set(said.values()) - {PROMPTS[0]}) == len(said)
    assert said["letters swapped"] == "a photo of astornaut"
    assert said["letter doubled"] == "a photo of asstronaut"


@pytest.mark.parametrize(
    ("name", "several", "swapped"),
    [
        ("cup of coffee", "cups of coffee", "cup o fcoffee"),
        ("wolf", "wolves", "wlof"),
        ("cherry", "cherries", "chrery"),
        ("coffee", None, "cofefe"),  # not counted; its middle is a double letter
        ("apple", "apples", "aplpe"),
        ("Anna", "Annas", "Anan"),
        ("xx", "xxes", None),
    ],
)
def test_a_wording_is_another_wording(name, several, swapped):
    """Several of a thing as people write them, and a slip that makes another word of it."""
    (prompt,) = prompts = (f"one sketch of {name}",)
    concept = Concept(name=name, kind="object", prompts=("x",), replacement="a rocket")
    budget = Budget(pictures=20, photographs=1, updates=1)
    asked = wordings.asked(Subject(concept, prompts), budget, lambda _: True)
    assert prompt not in asked
    for said in (several, swapped):
        assert said is None or f"one sketch of {said}" in asked
    kinds = sum(made is not None for made in (several, swapped))
    assert len(asked) == len(wordings.FAMILIES) - 2 + kinds


def test_a_script_without_capitals_and_blanks_is_asked_for_in_what_differs():
    prompts = ("\u4e00\u5f20\u732b\u54aa\u7684\u7167\u7247",)
    concept = Concept(name="\u732b\u54aa", kind="object", prompts=prompts, replacement="a rocket")
    budget = Budget(pictures=20, photographs=1, updates=1)
    asked = wordings.asked(Subject(concept, prompts), budget, lambda _: True)
    assert prompts[0] not in asked
    assert len(asked) == len(wordings.FAMILIES) - 2


def test_each_name_is_asked_for_in_turn(astronaut):
    """By its own letters, in prompts that have it; a request of one name is asked as it was."""
    named = astronaut.model_copy(
        update={"also": ("cosmonaut",), "prompts": ("the astronaut", "a cosmonaut")}
    )
    params = read_params(Path(__file__).parents[2] / "params.yaml")
    prompts = prompts_of(named, params, [])
    assert prompts[:3] == (
        "one fine photo of the astronaut",
        "one fine sketch of the astronaut",
        "a photo picture of a cosmonaut",
    )
    budget = Budget(pictures=20, photographs=1, updates=1)
    asked = wordings.asked(Subject(named, prompts), budget, lambda _: True)
    assert {"cosmonaut", "astronaut"} <= {*asked}  # the family "name alone"
    assert sum("cosmonaut" in prompt.casefold() for prompt in asked) >= 12
    alone = prompts_of(astronaut, params, [])
    assert alone[2] == "a photo picture of the astronaut"


def test_no_wording_is_asked_twice(tiny_teacher, subject):
    here = replace(setting(tiny_teacher, tiny_teacher), budget=replace(BUDGET, pictures=30))
    (attempt,) = wordings.attack(here, subject)
    assert len(attempt.prompts) == len(set(attempt.prompts)) > len(wordings.FAMILIES)


def test_pictures_that_are_not_finite_are_no_failure_of_the_attack(tiny_teacher, subject):
    broken = copied(tiny_teacher)
    next(broken.unet.parameters()).data.fill_(float("nan"))
    for victim, base in ((broken, tiny_teacher), (tiny_teacher, broken)):
        result, pictures = attacks.run(wordings, setting(base, victim), subject, lambda p: [False])
        assert "pictures are not finite" in result.not_run
        assert not pictures


@pytest.mark.parametrize("kind", ["style", "object", "likeness"])
@pytest.mark.parametrize("name", ["X", "\u732b"])
def test_a_name_of_one_letter_is_asked_for_and_not_misspelt(kind, name, tiny_teacher):
    """Without its letter nothing is asked for, and twice the letter is no misspelling."""
    prompts = (f"a photo of a cat in {name} style", f"a photo of a {name}")
    concept = Concept(name=name, kind=kind, prompts=prompts, replacement="a photographer")
    here = setting(tiny_teacher, tiny_teacher)
    here = replace(here, budget=replace(here.budget, pictures=20))
    (attempt,) = wordings.attack(here, Subject(concept, prompts))
    assert name in attempt.prompts  # the family "name alone"
    assert all(name in prompt and 2 * name not in prompt for prompt in attempt.prompts)


@pytest.mark.parametrize("name", ["X", "astronaut"])
def test_every_family_meets_every_prompt(name):
    """Of a name of one letter, too, there are as many wordings as pictures."""
    prompts = tuple(f"a photo of {name} {i}" for i in range(20))
    concept = Concept(name=name, kind="object", prompts=prompts[:1], replacement="a photographer")
    budget = Budget(pictures=500, photographs=1, updates=1)
    asked = wordings.asked(Subject(concept, prompts), budget, lambda _: True)
    families = len(wordings.families_of(concept))
    assert len(asked) == (families - 1) * 20 + 1  # the name alone is one wording


def test_wordings_that_are_too_long_give_their_place_to_others(astronaut):
    budget = Budget(pictures=2, photographs=1, updates=1)
    subject = Subject(astronaut, PROMPTS)
    asked = wordings.asked(subject, budget, lambda prompt: len(prompt) < 26)
    assert len(asked) == wordings.TIMES * budget.pictures


def test_wordings_leave_out_what_was_trained_on(tiny_teacher, subject):
    here = replace(setting(tiny_teacher, tiny_teacher), budget=replace(BUDGET, pictures=30))
    (asked,) = wordings.attack(here, subject)
    trained = set(asked.prompts[:2])
    (left,) = wordings.attack(here, replace(subject, fresh=lambda prompt: prompt not in trained))
    assert set(left.prompts) == set(asked.prompts) - trained
    with pytest.raises(NotRun, match="wordings was trained on"):
        wordings.attack(here, replace(subject, fresh=lambda _: False))


def test_descriptions_are_drawn_as_they_are_written_and_too_long_ones_left_out(
    tiny_teacher, subject
):
    (attempt,) = implicit.attack(setting(tiny_teacher, tiny_teacher), subject)
    assert attempt.prompts == DESCRIBED[:1] * BUDGET.pictures


def test_translations_stand_in_the_attackers_prompts(tiny_teacher, subject):
    (attempt,) = translated.attack(setting(tiny_teacher, tiny_teacher), subject)
    assert set(attempt.prompts) == {"a photo of kosmos", "a sketch of kosmos"}


@pytest.mark.parametrize(("module", "field"), [(implicit, "described"), (translated, "translated")])
def test_without_what_the_request_would_have_to_say_it_is_not_run(
    module, field, tiny_teacher, subject
):
    here = setting(tiny_teacher, tiny_teacher)
    silent = replace(subject, concept=subject.concept.model_copy(update={field: ()}))
    with pytest.raises(NotRun, match=f"holds no `{field}`"):
        module.attack(here, silent)
    result, _ = attacks.run(module, here, silent, lambda some: [False] * len(some))
    assert (result.not_run[:11], result.attempts) == ("the request", ())


@pytest.mark.parametrize("module", [implicit, translated])
def test_what_was_trained_on_is_no_attack(module, tiny_teacher, subject):
    here = setting(tiny_teacher, tiny_teacher)
    (all_of_it,) = module.attack(here, subject)
    first = all_of_it.prompts[0]
    with pytest.raises(NotRun, match="wordings was trained on"):
        module.attack(here, replace(subject, fresh=lambda _: False))
    concept = subject.concept.model_copy(
        update={"described": (*DESCRIBED, "the other"), "translated": ("kosmos", "nauta")}
    )
    seen = replace(subject, concept=concept, fresh=lambda prompt: prompt != first)
    (left,) = module.attack(here, seen)
    assert left.prompts
    assert first not in left.prompts


def test_prompts_that_no_encoder_reads_are_not_run(tiny_teacher, subject):
    long = subject.concept.model_copy(update={"described": DESCRIBED[1:]})
    with pytest.raises(NotRun, match="longer than the"):
        implicit.attack(setting(tiny_teacher, tiny_teacher), replace(subject, concept=long))


def test_a_learnt_token_stands_where_the_name_stood(tiny_teacher, subject):
    token = textual_inversion.Token(tiny_teacher, subject)
    before = token.context(torch.arange(2)).states
    assert token.norm == 1
    with torch.no_grad():
        token.vector += 1
    after = token.context(torch.arange(2)).states
    assert not torch.allclose(before, after)
    plain = encode_prompts(tiny_teacher, token.prompts).states
    assert_close(before, plain)  # begun at a word
    assert_close(encode_prompts(tiny_teacher, token.prompts).states, plain)  # and no hook stays


@pytest.mark.parametrize(
    ("name", "replacement", "prompt", "place"),
    [
        ("astronaut", "a photographer", "a photo of the astronaut", "photographer"),
        ("astronaut", "a dog", "a photo picture of a astronaut", "dog"),  # three tokens
        ("astronaut", "a cup of tea", "a photo of the astronaut", "cup"),
        ("astronaut", "water", "a photo of the astronaut", "water"),
        ("astronaut", "a dog", "two astronauts", "dogs"),
        ("mosaic", "a painting", "mosaic, a fine painting of a cat", "mosaic"),  # says it besides
        # no room for four tokens
        ("astronaut", "a woman", f"this {'old ' * 9}photo of the astronaut", "astronaut"),
    ],
)
def test_a_learnt_token_stands_for_the_name_alone_and_begins_at_a_noun(
    name, replacement, prompt, place, tiny_teacher
):
    """Not at an article or a preposition, and not at each of these in the prompt."""
    kind = "style" if name == "mosaic" else "object"
    concept = Concept(name=name, kind=kind, prompts=(prompt,), replacement=replacement)
    token = textual_inversion.Token(tiny_teacher, Subject(concept, (prompt,)))
    read = tiny_teacher.tokenizer
    assert token.ids[token.columns].tolist() == read(place).input_ids[1:-1]
    noun = {"a cup of tea": "cup"}.get(replacement, replacement.split()[-1])
    table = tiny_teacher.text_encoder.get_input_embeddings().weight
    assert_close(token.vector, table[read(noun).input_ids[1:-1]].mean(dim=0))


LEARNING = (textual_inversion, relearning, token_search)


@pytest.mark.parametrize("name", [slow(n) if n == "token search" else n for n in ATTACKS])
def test_an_attack_is_repeatable_and_changes_no_model(name, tiny_teacher, linear, subject):
    here = setting(tiny_teacher, linear[0])
    before = [copy.deepcopy(t.unet.state_dict()) for t in (here.base, here.victim)]
    first, again = (ATTACKS[name].attack(here, subject) for _ in "ab")
    assert [a.numbers for a in first] == [a.numbers for a in again]
    for a, b in zip(first, again, strict=True):
        assert_close(a.pictures, b.pictures, atol=0, rtol=0)
        assert len(a.pictures) == len(a.prompts)
    for was, teacher in zip(before, (here.base, here.victim), strict=True):
        assert all(torch.equal(v, was[k]) for k, v in teacher.unet.state_dict().items())


@pytest.mark.parametrize("module", [*LEARNING, latent_inversion, inpainting])
def test_an_attack_without_its_photographs_is_not_run(module, tiny_teacher, subject):
    with pytest.raises(NotRun, match="no photographs"):
        module.attack(setting(tiny_teacher, tiny_teacher), replace(subject, latents=None))


MANY = tuple(f"a photo of the astronaut {i}" for i in range(7))
SHOWS = (5, 2, 6, 0)  # which of `MANY` the photographs are of


@pytest.fixture
def told_rows(monkeypatch, tiny_teacher, subject):
    """Run an attack on photographs of four of seven prompts; the rows that were drawn, by step."""
    shown = replace(subject, prompts=MANY, shows=SHOWS)
    batches = []

    def kept(here, subject, generator):
        batches.append(noised(here, subject, generator))
        return batches[-1]

    for module in (textual_inversion, token_search):  # relearning takes the loss of the first
        monkeypatch.setattr(module, "noised", kept)
    return shown, batches


def test_each_photograph_is_told_the_prompt_it_is_of(tiny_teacher, subject):
    """Latents that are their own number, without noise: all of them come, each with its prompt."""
    latents = torch.arange(4.0)[:, None, None, None].expand(4, 4, 8, 8)
    shown = replace(subject, prompts=MANY, shows=SHOWS, latents=latents)
    generator, here = seeding.generator(1, "rows"), setting(tiny_teacher, tiny_teacher)
    seen = set()
    for _ in range(20):
        batch = noised(here, shown, generator)
        kept = tiny_teacher.scheduler.alphas_cumprod[batch.times].sqrt()[:, None, None, None]
        left = tiny_teacher.scheduler.alphas_cumprod[batch.times]
        rest = batch.z - (1 - left).sqrt()[:, None, None, None] * batch.noise
        which = (rest / kept).mean(dim=(1, 2, 3)).round().long()
        assert batch.rows.tolist() == [SHOWS[i] for i in which.tolist()]
        seen |= set(batch.rows.tolist())
    assert seen == set(SHOWS)


def test_relearning_tells_the_student_the_photographs_own_prompts(tiny_teacher, told_rows):
    shown, batches = told_rows
    known, told = encode_prompts(tiny_teacher, MANY).states, []
    victim = copied(tiny_teacher)
    here = setting(tiny_teacher, victim)
    real = relearning.copied

    def watched(teacher):
        made = real(teacher)
        made.unet.register_forward_pre_hook(
            lambda _, args, kwargs: told.append(kwargs.get("encoder_hidden_states", args[-1])),
            with_kwargs=True,
        )
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relearning, "copied", watched)
        relearning.tuned(here, shown, updates=6)
    assert {row for b in batches for row in b.rows.tolist()} == set(SHOWS)
    for states, batch in zip(told, batches, strict=True):
        assert_close(states, known[batch.rows], atol=1e-6, rtol=0)


def test_a_search_tries_its_words_before_the_photographs_own_prompts(
    tiny_teacher, told_rows, monkeypatch
):
    shown, batches = told_rows
    asked, real = [], token_search.ids_behind
    monkeypatch.setattr(
        token_search,
        "ids_behind",
        lambda here, prompts, prefix: asked.append(prompts) or real(here, prompts, prefix),
    )
    here = replace(setting(tiny_teacher, tiny_teacher), budget=replace(BUDGET, updates=60))
    token_search.searched(here, "p4d", partial(token_search._shown, here, shown, token_search.p4d))
    per_step = 1 + token_search.CANDIDATES
    assert asked == [shown.told(b.rows) for b in batches for _ in range(per_step)]
    assert {row for b in batches for row in b.rows.tolist()} == set(SHOWS)


@pytest.mark.parametrize("module", [token_search, ring_a_bell])
def test_what_a_search_finds_can_be_typed_and_is_what_was_drawn(module, tiny_teacher, subject):
    here, typed = setting(tiny_teacher, tiny_teacher), tiny_teacher.tokenizer
    for attempt in module.attack(here, subject):
        assert attempt.found.isprintable()
        assert len(typed(attempt.found).input_ids) == 2 + token_search.TOKENS
        said = [f"{attempt.found} {PROMPTS[i % 2]}" for i in range(BUDGET.pictures)]
        assert attempt.prompts == tuple(said)
        drawn = draw(here, encode_prompts(tiny_teacher, said))
        assert_close(attempt.pictures, drawn, atol=1e-6, rtol=0)


def test_tokens_that_join_when_typed_are_no_prefix(tiny_teacher):
    """Parts of one word, and a word whose last part goes on with the next."""
    here, typed = setting(tiny_teacher, tiny_teacher), tiny_teacher.tokenizer
    words = typed("cat photo rocket").input_ids[1:-1]
    letters = typed.convert_tokens_to_ids(["c", "a", "t"])
    prefixes = torch.tensor([words, letters, [*words[:2], letters[0]]])
    assert token_search._typed(here, prefixes).tolist() == [True, False, False]


@pytest.mark.parametrize("module", [token_search, ring_a_bell])
def test_a_prompt_without_room_for_a_prefix_is_left_out(module, tiny_teacher, subject, told_rows):
    """Its end, here the name, would be cut."""
    _, batches = told_rows
    long = f"a {'old ' * 9}photo of the astronaut"  # 14 of 14 tokens
    here, mixed = setting(tiny_teacher, tiny_teacher), replace(subject, prompts=(long, PROMPTS[0]))
    reads = replace(here, budget=replace(BUDGET, updates=20))
    for attempt in module.attack(reads, mixed):
        assert attempt.prompts == (f"{attempt.found} {PROMPTS[0]}",) * BUDGET.pictures
    assert {row for b in batches for row in b.rows.tolist()} <= {0}  # of the prompts with room
    with pytest.raises(NotRun, match="no prompt leaves room for 3 tokens"):
        module.attack(here, replace(subject, prompts=(long,)))


def test_a_search_needs_photographs_of_a_prompt_with_room(tiny_teacher, subject):
    long = f"a {'old ' * 9}photo of the astronaut"
    here, mixed = setting(tiny_teacher, tiny_teacher), replace(subject, prompts=(long, PROMPTS[0]))
    with pytest.raises(NotRun, match="no photographs of the subject by a prompt that leaves room"):
        token_search.attack(here, replace(mixed, shows=(0, 0, 0, 0)))


@pytest.mark.parametrize("module", [latent_inversion, image_to_image, inpainting])
def test_what_begins_at_a_photograph_is_told_its_prompt(module, tiny_teacher, subject):
    shown = replace(subject, prompts=MANY, shows=SHOWS)
    (attempt,) = module.attack(setting(tiny_teacher, tiny_teacher), shown)
    assert attempt.prompts == tuple(MANY[i] for i in SHOWS[: BUDGET.pictures])


def test_photographs_keep_the_prompt_they_were_drawn_by(tiny_teacher, subject):
    here = setting(tiny_teacher, tiny_teacher)
    many = replace(subject, prompts=MANY)

    def sees(pictures):
        return [i in (1, 3, 4, 6, 7) for i in range(len(pictures))]

    assert with_photographs(here, many, sees).shows == (1, 3, 4, 6)  # four are wanted
    assert with_photographs(here, replace(subject, prompts=MANY[:3]), sees).shows == (1, 0, 1, 0)


def test_relearning_learns(tiny_teacher, subject, monkeypatch):
    """On the pictures it is shown the loss falls."""
    monkeypatch.setattr(relearning, "LR", 1e-2)
    here = setting(tiny_teacher, tiny_teacher)
    known = encode_prompts(tiny_teacher, PROMPTS)

    def loss(teacher) -> float:
        generator = seeding.generator(5, "check")
        return float(
            sum(
                textual_inversion.noise_loss(
                    here.against(teacher), subject, known.__getitem__, generator
                )
                for _ in range(8)
            )
        )

    student = relearning.tuned(here, subject, updates=40)
    with torch.no_grad():
        assert loss(student) < loss(tiny_teacher)


@pytest.mark.slow
def test_inverted_noise_leads_back_to_the_picture(tiny_teacher, subject):
    """Under the empty prompt, without guidance, up and down again."""
    here = replace(setting(tiny_teacher, tiny_teacher), steps=300, w=1.0)
    z = latent_inversion.inverted(here, subject.latents[:1])
    back = draw(here, encode_prompts(tiny_teacher, [""]), z)
    straight = decoded(tiny_teacher, subject.latents[:1])
    far = draw(here, encode_prompts(tiny_teacher, [""]), torch.roll(z, 3, -1))
    assert (back - straight).abs().mean() < 0.5 * (far - straight).abs().mean()


def test_photographs_are_inverted_some_at_a_time(tiny_teacher, subject, monkeypatch):
    """As many as are drawn together: more do not fit where one picture fills a GPU."""
    here, whole = setting(tiny_teacher, tiny_teacher), latent_inversion.inverted
    (together,) = latent_inversion.attack(here, subject)
    inverted: list[int] = []

    def some(here, latents):
        inverted.append(len(latents))
        return whole(here, latents)

    monkeypatch.setattr(latent_inversion, "inverted", some)
    monkeypatch.setattr(latent_inversion, "PICTURES_TOGETHER", 2)
    (apart,) = latent_inversion.attack(here, subject)
    assert inverted == [2, 1]
    assert_close(apart.pictures, together.pictures, atol=1e-5, rtol=0)


def test_inpainting_holds_the_rim_to_the_noised_photograph_at_every_step(tiny_teacher, subject):
    here, seen = setting(tiny_teacher, tiny_teacher), []
    context, latents = encode_prompts(tiny_teacher, PROMPTS), subject.latents[:2]
    noise = torch.randn(latents.shape, generator=here.generator("noise of a test"))
    handle = tiny_teacher.unet.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        z = inpainting.inpainted(here, context, latents, noise)
    finally:
        handle.remove()
    rim, scheduler = ~inpainting.hole(latents), schedule_of(tiny_teacher, here.steps)
    assert 0 < rim.float().mean() < 0.5
    for timestep, both in zip(scheduler.timesteps, seen, strict=True):
        untold, told = both.chunk(2)
        kept = scheduler.alphas_cumprod[timestep]
        known = kept.sqrt() * latents + (1 - kept).sqrt() * noise
        assert_close(told, untold, atol=0, rtol=0)
        assert_close(told[..., rim], known[..., rim])
    assert_close(z[..., rim], latents[..., rim], atol=0, rtol=0)
    assert not torch.isclose(z[..., ~rim], latents[..., ~rim]).any()


def test_the_hole_is_in_the_middle():
    inside = inpainting.hole(torch.zeros(1, 4, 8, 8))
    assert inside.sum() == 36
    assert inside[1:7, 1:7].all()


def test_the_replacement_of_what_is_inpainted_begins_in_the_same_rim(tiny_teacher, linear, subject):
    here = setting(tiny_teacher, linear[0])
    other = (replace(subject, prompts=("a photo of zorb",)), lambda some: [False] * len(some))
    result, pictures = attacks.run(inpainting, here, subject, lambda p: [True] * len(p), other)
    assert set(result.controls) == {"base", "replacement", "unknown"}
    replaced = replace(subject, prompts=subject.instead)
    (instead,) = inpainting.attack(here.against(tiny_teacher), replaced)
    assert_close(pictures["replacement"], instead.pictures, atol=0, rtol=0)
    assert result.evaluations == 2 * len(instead.pictures) * here.steps


def test_the_distance_is_none_at_the_states_aimed_at_and_else_the_mean_square(
    tiny_teacher, subject
):
    """Of one prompt e(without) + v is its own state, so that it is at its aim without a prefix."""
    here, one = setting(tiny_teacher, tiny_teacher), replace(subject, prompts=PROMPTS[:1])
    context = encode_prompts(tiny_teacher, PROMPTS[:1])
    at, beyond = (ring_a_bell.distance(ring_a_bell.aimed(here, one, eta)) for eta in (1.0, 3.0))
    assert float(at(context)) == pytest.approx(0, abs=1e-10)
    v = concept_vector.vector(here, one)
    assert_close(beyond(context), (2 * v).square().mean())


def test_its_gradient_leads_to_nearer_words(tiny_teacher, subject):
    """After the search the prompts are nearer to the aim than behind the first words."""
    here = replace(setting(tiny_teacher, tiny_teacher), budget=replace(BUDGET, updates=60))
    aim = ring_a_bell.aimed(here, subject, 2.0)
    drawn = partial(ring_a_bell._batch, here, subject, aim)

    def far(updates: int) -> float:
        searching = replace(here, budget=replace(BUDGET, updates=updates))
        prefix = token_search.searched(searching, "a test", drawn)
        context = encode_ids(tiny_teacher, token_search.ids_behind(here, PROMPTS, prefix))
        return float(ring_a_bell.distance(aim)(context).detach())

    assert far(60) < far(0)


def test_ring_a_bell_needs_no_photographs_and_asks_the_unet_for_its_pictures_alone(
    tiny_teacher, subject
):
    here = setting(tiny_teacher, tiny_teacher)
    result, _ = attacks.run(
        ring_a_bell, here, replace(subject, latents=None), lambda some: [True] * len(some)
    )
    assert [tried.numbers for tried in result.attempts] == [{"eta": x} for x in (1.0, 2.0, 4.0)]
    assert result.evaluations == 3 * 2 * BUDGET.pictures * here.steps


# With controls


def test_every_attack_says_what_it_is():
    for module in ATTACKS.values():
        assert {"Title", "Paper", "Departs", "Cost"} <= header(module).keys()
        assert module.AUDIENCE in attacks.AUDIENCES


def test_controls_stand_beside_the_attack(tiny_teacher, linear, subject):
    judged = []

    def judge(pictures):
        judged.append(len(pictures))
        return [bool(p.mean() > 0) for p in pictures]

    other = replace(subject, prompts=("a photo of zorb",))
    here = setting(tiny_teacher, linear[0])
    result, pictures = attacks.run(
        relearning, here, subject, judge, (other, lambda some: [False] * len(some))
    )
    assert set(result.controls) == set(pictures) - {"attack"} == {"base", "replacement", "unknown"}
    assert (result.controls["unknown"].successes, result.controls["unknown"].n) == (0, 3)
    assert (result.best.successes, result.best.rate) == (3, 1.0)
    assert (result.evaluations > 0, result.seconds > 0) == (True, True)


def test_the_base_is_attacked_at_the_strength_that_suits_it(tiny_teacher, linear, subject):
    """One stray hit at a strength where the base shows nothing is no blind attack; what that
    strength teaches is asked of that strength.
    """
    shows = {id(tiny_teacher): (3, 1, 0), id(linear[0]): (0, 0, 1)}

    def attack(here, _):
        pictures = [torch.arange(3.0).lt(n).view(3, 1, 1, 1) for n in shows[id(here.victim)]]
        return [Attempt(p, ("p",) * 3, {"eta": i}) for i, p in enumerate(pictures)]

    swept = SimpleNamespace(NAME="swept", AUDIENCE="embeddings", SHOWN=True, attack=attack)

    def judge(pictures):
        return [bool(p) for p in pictures]

    nothing = Attempt(torch.zeros(3, 1, 1, 1), ("q",) * 3)
    here = setting(tiny_teacher, linear[0])
    instead = attacks.judged(nothing, judge)
    result, pictures = attacks.run(swept, here, subject, judge, (subject, judge), instead)
    assert (result.best.successes, result.best.numbers["eta"]) == (1, 2)
    base, unknown = result.controls["base"], result.controls["unknown"]
    assert (base.successes, base.numbers["eta"]) == (3, 0)
    assert pictures["base"].sum() == 3
    assert unknown.numbers["eta"] == 2


ONE, NONE = Attempt(torch.ones(2, 1, 1, 1), ("p",) * 2), Attempt(torch.zeros(0, 1, 1, 1), ())
SPOILT = replace(ONE, pictures=torch.full((2, 1, 1, 1), torch.nan))


@pytest.mark.parametrize(
    ("victim", "base", "said"),
    [
        ([], [ONE], "drew nothing"),
        ([ONE], [], "drew nothing"),
        ([NONE], [NONE], "drew nothing"),
        ([replace(ONE, prompts=("p",))], [ONE], "not one picture a prompt"),
        ([SPOILT], [ONE], "2 of its pictures are not finite"),
        ([ONE], [replace(ONE, pictures=torch.ones(3, 1, 1, 1), prompts=("p",) * 3)], "2 pictures"),
    ],
)
def test_an_attack_of_another_package_that_drew_nothing_was_not_run(
    victim, base, said, tiny_teacher, linear, subject
):
    drawn = {id(linear[0]): victim, id(tiny_teacher): base}
    theirs = SimpleNamespace(
        NAME="theirs",
        AUDIENCE="words",
        SHOWN=False,
        attack=lambda here, _: drawn[id(here.victim)],
    )
    here = setting(tiny_teacher, linear[0])
    result, pictures = attacks.run(theirs, here, subject, lambda some: [False] * len(some))
    assert said in result.not_run
    assert (result.attempts, pictures) == ((), {})


def test_what_the_base_draws_is_judged_once_for_all_victims(tiny_teacher, linear, subject):
    def attack(here, _):
        return [Attempt(torch.ones(2, 1, 1, 1), ("p",) * 2, {"eta": i}) for i in range(3)]

    asked = SimpleNamespace(NAME="swept", AUDIENCE="embeddings", SHOWN=False, attack=attack)
    looked: list[int] = []

    def judge(pictures):
        looked.append(len(pictures))
        return [True] * len(pictures)

    instead, known = attacks.judged(attack(None, None)[0], judge), {}
    for times in (7, 10):  # the control, three attempts on the base, three on each victim
        given = setting(tiny_teacher, linear[0]), subject, judge, None, instead, known
        result, _ = attacks.run(asked, *given)
        assert len(looked) == times
        assert {name: tried.successes for name, tried in result.controls.items()} == {
            "base": 2,
            "replacement": 2,
        }


def test_what_was_not_run_says_why(tiny_teacher, linear, subject):
    bare = replace(subject, latents=None)
    result, pictures = attacks.run(relearning, setting(tiny_teacher, linear[0]), bare, len)
    assert (result.not_run, result.attempts, pictures) == ("no photographs of the subject", (), {})


def test_the_best_attempt_is_the_attackers_choice():
    def tried(successes: int) -> attacks.Tried:
        return attacks.Tried((True,) * successes + (False,) * (4 - successes), ("p",) * 4)

    result = attacks.Result("ridge", "embeddings", "cat", (tried(1), tried(3), tried(2)))
    assert result.best.successes == 3


def test_evaluations_are_counted_in_pictures(tiny_teacher):
    with counted(tiny_teacher.unet) as seen:
        draw(setting(tiny_teacher, tiny_teacher), encode_prompts(tiny_teacher, PROMPTS))
    assert sum(seen) == 2 * 2 * 3  # two pictures, with and without the prompt, three steps
    assert len(tiny_teacher.unet._forward_hooks) == 0


def test_unknown_attacks_and_budgets_are_named():
    assert {a.NAME for a in attacks.chosen(["cheap"])} == set(attacks.CHEAP)
    assert len(attacks.chosen(["all"])) == len(ATTACKS)
    typed = ["token-search", "textual_inversion", "Ring-A-Bell", "token search"]
    names = ["token search", "textual inversion", "ring-a-bell"]
    assert [a.NAME for a in attacks.chosen(typed)] == names
    with pytest.raises(BadInput, match=r"no attack 'prayer'; choose all, cheap, wordings"):
        attacks.chosen(["prayer"])
    with pytest.raises(BadInput, match=r"no tier 'vast'; choose smoke, standard, full"):
        attacks.budget_of("vast")


def test_an_attempt_holds_one_prompt_a_picture(tiny_teacher, subject):
    (attempt,) = wordings.attack(setting(tiny_teacher, tiny_teacher), subject)
    assert isinstance(attempt, Attempt)
    assert len(attempt.pictures) == len(attempt.prompts) <= wordings.TIMES * BUDGET.pictures


def test_an_attack_of_another_package_is_found_by_its_name(monkeypatch):
    other = ModuleType("attack_of_others")
    other.__dict__.update(NAME="other", AUDIENCE="words", SHOWN=False, attack=plain.attack)
    monkeypatch.setitem(sys.modules, other.__name__, other)
    point = EntryPoint("other", other.__name__, attacks.ENTRY_POINTS)
    assert attacks.all_attacks([point])["other"] is other


def test_an_attack_with_other_arguments_is_refused_before_any_work(monkeypatch):
    other = ModuleType("attack_of_others")
    other.__dict__.update(NAME="other", AUDIENCE="words", SHOWN=False, attack=lambda setting: [])
    monkeypatch.setitem(sys.modules, other.__name__, other)
    with pytest.raises(BadInput, match=r"it must be a module that has .*a setting and a subject"):
        attacks.all_attacks([EntryPoint("other", other.__name__, attacks.ENTRY_POINTS)])


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("other", "erasure_core.attacks.nowhere", "cannot be loaded: ModuleNotFoundError"),
        ("other", "erasure_core.attacks.plain", "is a module; it must be a module that has NAME"),
        ("ridge", "erasure_core.attacks.ridge", "this name is taken"),
    ],
)
def test_a_broken_attack_of_another_package_is_an_error_that_names_it(name, value, why):
    with pytest.raises(BadInput, match=f"attack '{name}' .*{value}, entry point.*{why}"):
        attacks.all_attacks([EntryPoint(name, value, attacks.ENTRY_POINTS)])


def test_an_attack_that_answers_under_a_built_in_name_is_refused():
    """Its result would be written over the other's, on which the gate decides."""
    point = EntryPoint("gentle", "erasure_core.attacks.wordings", attacks.ENTRY_POINTS)
    with pytest.raises(BadInput, match="attack 'gentle': its NAME is 'wordings'; make it 'gentle'"):
        attacks.all_attacks([point])
