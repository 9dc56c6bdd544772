"""Nothing is trained on, chosen by and reported at once; what is shipped keeps to it."""

from pathlib import Path

import pytest
import torch

from erasure_core.errors import BadInput
from erasure_core.gallery import prompts as gallery_prompts
from erasure_core.law.concepts import Concept
from erasure_core.law.prompts import PromptRow, kept_rows, read_prompt_set, target_set
from erasure_core.law.requests import read_request
from erasure_core.network.diffusion import initial_noise
from erasure_core.network.models import load_tokenizer, text_reader
from erasure_core.planning import families, sealed
from erasure_core.planning.params import read_params
from erasure_core.planning.plan import check_sealed, prompt_paths
from erasure_core.planning.sealed import Directions, Sealed, bare, check_apart, check_rows
from tasks.evidence.evaluate import without_copies

ROOT = Path(__file__).parents[2]
TEACHER = ROOT / "models/gallery/teacher"
REQUESTS = ("astronaut", "cat", "mosaic")


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(TEACHER)


@pytest.fixture(scope="module")
def directions():
    return Directions(text_reader(TEACHER))


CAT = Concept(
    name="cat",
    kind="object",
    prompts=("photo of a cat",),
    replacement="a cup of coffee",
    keep=("photo of a rocket",),
)


def row(prompt: str, seed: int = 1, case: int = 0) -> PromptRow:
    return PromptRow(case, prompt, seed, 4.0, "")


SAME = [
    "photo of a cat",
    "Photo  of a CAT ",
    "photo of a cat.",
    "photo of a, cat!",
    "photo\u200b of a cat",
    "\uff50hoto of a cat",
    "photo of a cat \U0001f408\ufe0f",
    "pho\u034fto of a\u2800cat",
    "photo of a c\u3164at\u115f\u1160\uffa0",
    "photo of\u180b a\u17b4 cat\ufe00\U000e0100\U000e01ef",
    "photo\u2065 of a cat\ufff0\U000e0fff",
]


@pytest.mark.parametrize("prompt", SAME)
def test_a_measured_prompt_that_is_trained_on_is_refused(prompt, tokenizer):
    sets = {"train": sealed.trained([CAT]), "report": sealed.measured([row(prompt)], "report")}
    with pytest.raises(
        BadInput, match=r"case 0 of the report set: .* trained on .prompts of 'cat'"
    ):
        check_apart(sets, [tokenizer])


@pytest.mark.parametrize(
    ("prompt", "where"),
    [
        ("photo of a rocket?", "keep of 'cat'"),
        ("Photo of a cup of coffee", "prompts of 'cat', rep"),
    ],
)
def test_every_prompt_that_a_method_reads_counts(prompt, where, tokenizer):
    sets = {"train": sealed.trained([CAT]), "report": sealed.measured([row(prompt)], "report")}
    with pytest.raises(BadInput, match=where):
        check_apart(sets, [tokenizer])


def test_another_wording_is_not_the_same_prompt(tokenizer, directions):
    measured = [row("a photo of a cat"), row("one photo of a rocket", 2)]
    sets = {"train": sealed.trained([CAT]), "report": sealed.measured(measured, "report")}
    check_apart(sets, [tokenizer], directions)


def test_what_chose_is_not_reported(tokenizer):
    sets = {w: sealed.measured([row("a photo of a cat")], w) for w in ("choose", "report")}
    with pytest.raises(BadInput, match="what chose a candidate cannot judge it"):
        check_apart(sets, [tokenizer])


def test_two_sets_share_no_seed(tokenizer):
    sets = {
        "choose": sealed.measured([row("a photo of a cat", 5)], "choose"),
        "report": sealed.measured([row("one sketch of a cat", 5)], "report"),
    }
    with pytest.raises(BadInput, match=r"has the seed 5, which case 0 of the choose set has too"):
        check_apart(sets, [tokenizer])


def test_prompts_that_the_encoder_reads_alike_are_the_same(tokenizer):
    """A tokenizer may tell apart what its encoder does not."""
    directions = Directions(
        lambda prompts: torch.tensor([[[float("cat" in p or "rocket" in p)]] for p in prompts])
    )
    sets = {
        "choose": [Sealed("a photo of a cat", "case 0 of the choose set", 1)],
        "report": [Sealed("a photo of a rocket..", "case 0 of the report set", 2)],
    }
    check_apart(sets, [tokenizer])
    with pytest.raises(BadInput, match=r"the same text states \(cosine 1\.00000\)"):
        check_apart(sets, [tokenizer], directions)


def test_a_second_copy_of_a_row_is_refused(tokenizer):
    check_rows(tokenizer, [row("a cat", 1, 0), row("a cat", 2, 1), row("a rocket", 1, 2)], "t.csv")
    copies = [row("a cat", 1, 0), row("A cat.", 1, 7), row("a cat", 1, 8)]
    with pytest.raises(BadInput, match=r"t\.csv: cases 0 and 7 have the same prompt .*2 such"):
        check_rows(tokenizer, copies, "t.csv")


def test_seeds_of_the_same_lower_bits_are_one_noise(tokenizer, tiny_teacher):
    """torch reads no others."""
    same = row("a cat", 7, 0), row("a cat", 7 + 2**32, 1)
    noise = initial_noise(tiny_teacher, [r.evaluation_seed for r in same])
    assert torch.equal(noise[0], noise[1])
    with pytest.raises(BadInput, match=r"same prompt and seed \(of which the last 32 bits are"):
        check_rows(tokenizer, same, "t.csv")
    apart = [("choose", row("a rocket", 7)), ("report", same[1])]
    sets = {which: sealed.measured([one], which) for which, one in apart}
    with pytest.raises(BadInput, match=r"has the seed 4294967303, .* \(7, the same in its last"):
        check_apart(sets, [tokenizer])
    kept, _ = without_copies(same)
    assert kept == [same[0]]


def test_what_is_bare_keeps_letters_of_every_script():
    assert (
        bare("Zo\u00eb\u2019s \u732b, \u0441\u043e\u0431\u0430\u043a\u0430!")
        == "zo\u00eb s \u732b \u0441\u043e\u0431\u0430\u043a\u0430"
    )


def test_sixty_ways_to_write_one_wording_that_nobody_sees_are_one_cluster():
    selectors = [chr(0xE0100 + n) for n in range(30)] + [chr(0xFE00 + n) for n in range(16)]
    assert {*sealed.clusters_of(f"a photo of a cat{unseen}" for unseen in selectors)} == {
        "a photo of a cat"
    }
    hidden = "\ue000\u0378\ufffe\U000f0000"  # private use, or of no standard
    assert bare(f"a photo of a cat {hidden}") == bare("a photo of a cat")
    assert bare("cafe\u034f\u0301") == bare("caf\u00e9") != bare("cafe")


def test_pictures_share_their_prompt_or_their_noise_whichever_is_shared_by_more():
    def clusters(*pairs: tuple[str, int]) -> list[str]:
        return sealed.clusters_of_rows([row(p, seed, i) for i, (p, seed) in enumerate(pairs)])

    assert clusters(("a cat", 1), ("A cat!", 2)) == ["a cat", "a cat"]
    assert clusters(("a cat", 1), ("a rocket", 1)) == ["seed 1", "seed 1"]
    assert clusters(("a cat", 1), ("a rocket", 2)) == ["a cat", "a rocket"]
    three_by_two = [(prompt, seed) for prompt in ("a", "b", "c") for seed in (1, 2)]
    assert len(set(clusters(*three_by_two))) == 2
    assert clusters() == []


# What is shipped


@pytest.mark.parametrize("names", [(n,) for n in REQUESTS] + [("astronaut", "cat")], ids="+".join)
def test_the_shipped_sets_are_sealed(names, tokenizer, directions):
    params = read_params(ROOT / "params.yaml")
    concepts = [read_request(ROOT / f"examples/requests/{name}.yaml").concept for name in names]
    rows = {name: read_prompt_set(path) for name, path in prompt_paths(params, concepts).items()}
    assert {name.split("-")[0] for name in rows} == {"choose", "target", "kept"}
    for name in ("kept", "choose-kept"):
        rows[name] = kept_rows(rows[name], concepts)
    check_sealed(rows, concepts, [tokenizer], directions)


def test_the_prompts_for_stable_diffusion_are_sealed(tokenizer):
    sets = {"choose": "prompts/sd14/choose/kept.csv", "report": "prompts/sd14/kept.csv"}
    read = {name: read_prompt_set(ROOT / file) for name, file in sets.items()}
    check_apart({name: sealed.measured(rows, name) for name, rows in read.items()}, [tokenizer])
    assert all(len(rows) >= 35 for rows in read.values())


@pytest.mark.parametrize("name", ["astronaut", "cat"])
def test_the_report_set_has_more_wordings_than_a_limit_of_10_percent_needs(name):
    """0 of 35 independent pictures allows 9.9 %."""
    concept = read_request(ROOT / f"examples/requests/{name}.yaml").concept
    rows = read_prompt_set(target_set(ROOT / "prompts/targets", concept))
    alone = [r for r in rows if not r.also]
    assert len({r.prompt for r in alone}) >= 35
    assert {r.style for r in alone} == {*gallery_prompts.STYLES, ""}
    assert len([r for r in rows if r.also]) == 36
    assert all(r.concept == name for r in rows)


def test_a_third_of_what_is_kept_is_in_no_request():
    from erasure_core.law.prompts import is_listed

    keep = read_request(ROOT / "examples/requests/astronaut.yaml").concept.keep
    rows = read_prompt_set(ROOT / "prompts/kept.csv")
    listed = [r for r in rows if is_listed(r, keep)]
    assert 0.6 < len(listed) / len(rows) < 0.7
    assert {r.concept for r in rows} == {r.concept for r in rows if r not in listed}


def test_the_example_requests_use_only_the_wordings_for_training():
    def spelled(templates) -> set[str]:
        subjects, styles = gallery_prompts.SUBJECTS.values(), gallery_prompts.STYLES
        return {
            t.format(style=style, subject=s.phrase)
            for t in templates
            for style in styles
            for s in subjects
        }

    for name in ("astronaut", "cat"):
        concept = read_request(ROOT / f"examples/requests/{name}.yaml").concept
        alone = {name, gallery_prompts.SUBJECTS[name].phrase}
        assert set(concept.prompts) - alone <= spelled(families.TRAINED)
        assert set(concept.keep) <= spelled(families.TRAINED)
        assert len(concept.keep) == len(set(concept.keep)) == 30
