"""Which prompt comes next: concepts share alike, and one alone is drawn as it always was."""

import torch

from erasure_core.law.concepts import Concept
from erasure_core.network.shares import Shares


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(4)


def test_shares_are_those_of_the_concepts_prompts(astronaut):
    cat = Concept(name="cat", kind="object", prompts=("a cat",), replacement="a rocket")
    assert Shares.of([astronaut, cat]) == Shares((2, 1))


def test_one_concepts_prompts_are_drawn_all_alike():
    """The very numbers that decided the hash of every delta of one concept."""
    generator, again = seeded(), seeded()
    drawn = Shares((7,)).drawn(30, generator)
    assert torch.equal(drawn, torch.randint(7, (30,), generator=again))
    assert torch.equal(generator.get_state(), again.get_state())


def test_one_concepts_prompts_take_turns_in_one_permutation():
    generator, again = seeded(), seeded()
    turns = Shares((7,)).in_turn(30, generator)
    assert torch.equal(turns, torch.randperm(7, generator=again)[torch.arange(30) % 7])
    assert torch.equal(generator.get_state(), again.get_state())


def test_a_concept_has_its_share_however_few_its_prompts():
    """Of 3 prompts beside 100, uniform over prompts, it would have 3 in a hundred."""
    drawn = Shares((100, 3)).drawn(10_000, seeded())
    few = drawn[drawn >= 100]
    assert 0.48 < len(few) / 10_000 < 0.52
    counts = torch.bincount(few - 100, minlength=3)
    assert len(counts) == 3
    assert counts.min() > 0.3 * len(few)
    assert set(drawn.tolist()) == set(range(103))


def test_every_concept_has_as_many_turns_and_none_of_its_prompts_two_before_each_one():
    turns = Shares((2, 1, 5)).in_turn(3, seeded()).tolist()
    of_two, of_one, of_five = turns[:3], turns[3:6], turns[6:]
    assert sorted(of_two[:2]) == [0, 1]
    assert of_two[2] == of_two[0]
    assert of_one == [2, 2, 2]
    assert len(set(of_five)) == 3
    assert set(of_five) <= {3, 4, 5, 6, 7}


def test_turns_that_nothing_draws_are_in_order():
    assert Shares((3, 2)).in_turn(4).tolist() == [0, 1, 2, 0, 3, 4, 3, 4]
