"""SepME: what is protected is not touched, increments do not know of each other, and dropping one
is never having had it.
"""

import copy
import dataclasses

import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from erasure_core import seeding
from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept
from erasure_core.methods import sepme
from erasure_core.network import diffusion, training
from erasure_core.network.weights import read_tensors, tensors_sha256
from erasure_core.network.work import Work
from tests.marks import slow

FAST = {"images": 3, "steps": 3, "guidance": 3, "updates": 3, "batch": 2, "lr": 0.01, "beta": 0.5}
WIDTH, TOKENS = 96, 16  # of a text state; states of a prompt
CAT = Concept(
    name="cat",
    kind="object",
    prompts=("a cat",),
    replacement="a rocket",
    keep=("a photo of a galaxy",),
)
MOSAIC = Concept(
    name="mosaic", kind="style", prompts=("a mosaic of a cat", "mosaic"), replacement="photo"
)


def settings(**changes) -> sepme.Settings:
    return sepme.Settings.model_validate({**FAST, **changes})


@pytest.fixture(scope="module")
def _wide(_loaded_tiny):
    """The toy pipeline with wider text states, in which several prompts fit beside each other."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel

    with torch.random.fork_rng():
        torch.manual_seed(1)
        text = copy.deepcopy(_loaded_tiny.text_encoder.config)
        text.hidden_size = WIDTH
        encoder, unet = (
            CLIPTextModel(text),
            UNet2DConditionModel.from_config(
                {**_loaded_tiny.unet.config, "cross_attention_dim": WIDTH}
            ),
        )
    for part in (encoder, unet):
        part.eval().requires_grad_(False)
    return dataclasses.replace(_loaded_tiny, text_encoders=(encoder,), unet=unet)


@pytest.fixture
def teacher(_wide):
    return copy.deepcopy(_wide)


@pytest.fixture
def astronaut():
    return Concept(
        name="astronaut",
        kind="likeness",
        prompts=("the astronaut",),
        replacement="a photographer",
        keep=("a sketch of a rocket",),
    )


def states(teacher, *prompts: str) -> torch.Tensor:
    return diffusion.encode_prompts(teacher, prompts).states.flatten(0, 1).double()


def seen(delta: dict[str, torch.Tensor], rows: torch.Tensor) -> float:
    """Largest |delta-W e| / |e| over weights and rows."""
    return max(
        ((rows @ change.double().T).norm(dim=1) / rows.norm(dim=1)).max().item()
        for change in delta.values()
    )


def noise(teacher, prompt: str, seed: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    z, t = (
        torch.randn(3, 4, 8, 8, generator=generator),
        torch.randint(1000, (3,), generator=generator),
    )
    context = diffusion.encode_prompts(teacher, [prompt]).expand(3)
    return diffusion.predict_noise(teacher, teacher.unet, z, t, context).detach()


# --- what is protected
# ---------------------------------------------------------------------------------------------


def test_protected_states_are_not_moved_and_the_concepts_are(teacher, astronaut):
    # the empty one, one of the settings, one of the other concept
    protected = (
        "",
        "a poster",
        "a cat",
    )
    increment = sepme.increments(
        teacher, [astronaut, CAT], settings(protect=("a poster",), updates=30), Work(1)
    )["astronaut"]
    assert seen(increment, states(teacher, *protected)) < 1e-6
    assert seen(increment, states(teacher, "the astronaut")) > 0.05


def test_noise_of_protected_prompts_stays_at_any_state_and_that_of_the_concept_moves(
    teacher, astronaut
):
    prompts = ("", "a poster", "the astronaut")
    before = {prompt: noise(teacher, prompt) for prompt in prompts}
    delta = sepme.erase(teacher, [astronaut], settings(protect=("a poster",), updates=30), Work(1))
    with delta.applied(teacher.unet):
        assert_close(noise(teacher, ""), before[""], atol=1e-5, rtol=0)
        assert_close(noise(teacher, "a poster"), before["a poster"], atol=1e-5, rtol=0)
        assert (noise(teacher, "the astronaut") - before["the astronaut"]).abs().max() > 1e-2
    unprotected = sepme.erase(teacher, [astronaut], settings(updates=30), Work(1))
    with unprotected.applied(teacher.unet):
        assert (
            noise(teacher, "a poster") - before["a poster"]
        ).abs().max() > 1e-3  # it was not out of reach by itself


def test_a_coarser_tolerance_protects_the_empty_prompt_as_exactly_and_the_others_less(
    teacher, astronaut
):
    increment = sepme.increments(
        teacher, [astronaut], settings(protect=("a poster",), tolerance=0.2, updates=30), Work(1)
    )["astronaut"]
    assert seen(increment, states(teacher, "")) < 1e-6
    assert (
        1e-6
        < seen(increment, states(teacher, "a poster"))
        < 0.5 * seen(increment, states(teacher, "the astronaut"))
    )


def test_kept_prompts_are_protected_only_if_asked_for(teacher, astronaut):
    for keep in (False, True):
        increment = sepme.increments(
            teacher, [astronaut], settings(keep=keep, updates=30), Work(1)
        )["astronaut"]
        assert (seen(increment, states(teacher, *astronaut.keep)) < 1e-6) is keep


def test_what_names_the_concept_or_is_its_own_prompt_is_not_protected_from_it():
    naked = Concept(name="nudity", kind="explicit", prompts=("a cat",), replacement="a dress")
    assert sepme.protected_prompts(
        MOSAIC, [CAT, MOSAIC], settings(protect=("a mosaic", "photo"))
    ) == ["", "a cat", "photo"]
    assert sepme.protected_prompts(CAT, [CAT, MOSAIC], settings()) == [
        "",
        "mosaic",
    ]  # "a mosaic of a cat" names the cat
    assert sepme.protected_prompts(naked, [naked, CAT], settings()) == [""]


# --- capacity
# ---------------------------------------------------------------------------------------------


def test_capacity_is_what_the_paper_computes_and_tells_how_many_prompts_more_can_be_protected(
    teacher, astronaut
):
    assert sepme.capacity(teacher, (), settings()) == (WIDTH - TOKENS - 2) // (TOKENS - 1) == 5
    fitting = [
        "photo of a galaxy",
        "old coins",
        "a poster",
        "green grass in sketch style",
        "neon sign",
    ]
    for n in range(1, 6):
        rank = torch.linalg.matrix_rank(states(teacher, "", *fitting[:n]), rtol=1e-5).item()
        assert rank <= TOKENS + n * (TOKENS - 1)  # the first state is common
        assert (
            sepme.capacity(teacher, fitting[:n], settings())
            == max(0, (WIDTH - rank - 2) // (TOKENS - 1))
            >= 5 - n
        )
    sepme.prepare(teacher, [astronaut], settings(protect=tuple(fitting)), Work(1))  # five do fit


def test_more_prompts_than_fit_are_refused_before_anything_is_made(teacher, astronaut, monkeypatch):
    monkeypatch.setattr(diffusion, "denoise", lambda *_: pytest.fail("a picture was made"))
    monkeypatch.setattr(training, "fit", lambda *_: pytest.fail("something was trained"))
    many = tuple(
        f"a {style} of {what}"
        for style in ("photo", "sketch", "poster")
        for what in ("a rocket", "old coins", "a retina")
    )
    for work in (sepme.prepare, sepme.erase):
        with pytest.raises(
            BadInput,
            match=(
                r"10 protected prompts span 9[56] of the 96 .* nothing of 'astronaut' "
                r".* at least 5 fit"
            ),
        ):
            work(teacher, [astronaut], settings(protect=many), Work(1))


def test_a_coarser_tolerance_makes_room(teacher, astronaut):
    many = tuple(
        f"a {style} of {what}"
        for style in ("photo", "sketch", "poster")
        for what in ("a rocket", "old coins", "a retina")
    )
    assert sepme.erase(teacher, [astronaut], settings(protect=many, tolerance=0.1), Work(1)).names


def test_the_free_directions_are_orthonormal_and_those_the_protected_states_do_not_span(teacher):
    prompts = ["", "a poster", "old coins"]
    directions = sepme.free_directions(teacher, prompts, 1e-5)
    rows = states(teacher, *prompts)
    assert_close(directions @ directions.T, torch.eye(len(directions), dtype=torch.float64))
    assert_close(
        torch.linalg.pinv(rows, rtol=1e-6) @ rows,
        torch.eye(WIDTH, dtype=torch.float64) - directions.T @ directions,
        atol=1e-5,
        rtol=0,
    )


# --- separate and restorable
# ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_restored_is_as_never_erased(teacher, astronaut):
    """Erase three; restore one by dropping it, or by erasing the other two with its prompts
    protected: the same bytes.
    """
    three = sepme.increments(teacher, [astronaut, CAT, MOSAIC], settings(), Work(4))
    two = sepme.increments(teacher, [astronaut, MOSAIC], settings(protect=CAT.prompts), Work(4))
    for name in ("astronaut", "mosaic"):
        assert tensors_sha256(three[name]) == tensors_sha256(two[name])
    dropped = sepme.compose(teacher.unet, {name: three[name] for name in ("astronaut", "mosaic")})
    never = sepme.erase(teacher, [astronaut, MOSAIC], settings(protect=CAT.prompts), Work(4))
    assert dropped.sha256 == never.sha256
    # protection is what makes it so
    assert never.sha256 != sepme.erase(teacher, [astronaut, MOSAIC], settings(), Work(4)).sha256


def test_dropping_an_increment_brings_the_concept_back_while_the_other_stays_erased(
    teacher, astronaut
):
    before = {prompt: noise(teacher, prompt) for prompt in ("a cat", "the astronaut")}
    increments = sepme.increments(teacher, [astronaut, CAT], settings(updates=30), Work(4))
    with sepme.compose(teacher.unet, increments).applied(teacher.unet):
        assert (noise(teacher, "a cat") - before["a cat"]).abs().max() > 1e-2
    with sepme.compose(teacher.unet, {"astronaut": increments["astronaut"]}).applied(teacher.unet):
        assert_close(noise(teacher, "a cat"), before["a cat"], atol=1e-5, rtol=0)
        assert (noise(teacher, "the astronaut") - before["the astronaut"]).abs().max() > 1e-2


def test_neither_the_order_of_the_concepts_nor_of_the_protected_prompts_matters(teacher, astronaut):
    protect = ("a poster", "old coins")
    one = sepme.erase(teacher, [astronaut, CAT, MOSAIC], settings(protect=protect), Work(4))
    other = sepme.erase(teacher, [MOSAIC, astronaut, CAT], settings(protect=protect[::-1]), Work(4))
    assert one.sha256 == other.sha256


def test_the_release_is_the_sum_of_the_increments(teacher, astronaut):
    increments = sepme.increments(teacher, [astronaut, CAT], settings(), Work(4))
    delta = sepme.erase(teacher, [astronaut, CAT], settings(), Work(4))
    for name, change in delta.tensors.items():
        assert_close(change, increments["astronaut"][name] + increments["cat"][name])


# --- the loss
# ---------------------------------------------------------------------------------------------


def first_terms(teacher, concept, chosen) -> dict[str, float]:
    heard = {}
    sepme.erase(
        teacher,
        [concept],
        chosen,
        Work(3, on_step=lambda update, terms: heard.setdefault(update, dict(terms))),
    )
    return heard[1]


@pytest.mark.parametrize("target", ["correlation", "replace"])
def test_first_terms_are_those_of_the_teacher_at_noised_pictures_of_the_concept(
    teacher, astronaut, target
):
    chosen = settings(target=target, batch=6, updates=1)
    pictures = sepme.prepare(teacher, [astronaut], chosen, Work(3))["astronaut"]
    draws = seeding.generator(3, "updates of astronaut")
    picture, timestep = (
        torch.randint(3, (6,), generator=draws),
        torch.randint(1000, (6,), generator=draws),
    )
    drawn = torch.randn(6, 4, 8, 8, generator=draws)
    expected = []
    for row in range(6):  # independently: plain UNet calls, one sample at a time
        kept = teacher.scheduler.alphas_cumprod[timestep[row]]
        z = kept.sqrt() * pictures.z[picture[row]] + (1 - kept).sqrt() * drawn[row]
        prompts = ("", "the astronaut", "a photographer")
        null, cond, replaced = (
            teacher.unet(
                z[None], timestep[row], diffusion.encode_prompts(teacher, [p]).states
            ).sample
            for p in prompts
        )
        expected.append(
            ((cond - null) if target == "correlation" else (cond - replaced)).square().mean()
        )
    terms = first_terms(teacher, astronaut, chosen)
    assert terms["concept"] == pytest.approx(torch.stack(expected).mean().item(), rel=1e-3)
    assert terms["concept"] > 0
    assert terms["l1"] == 0


def test_pictures_show_the_concepts_prompts_in_turn(teacher):
    chosen = settings(images=3)
    made = sepme.prepare(teacher, [MOSAIC], chosen, Work(3))["mosaic"]
    z = torch.randn(3, 4, 8, 8, generator=seeding.generator(3, "pictures of mosaic"))
    nothing = diffusion.encode_prompts(teacher, [""])
    for i, prompt in enumerate((*MOSAIC.prompts, MOSAIC.prompts[0])):
        guide = diffusion.guided(
            teacher, teacher.unet, nothing, diffusion.encode_prompts(teacher, [prompt]), 3.0
        )
        assert_close(
            made.z[i : i + 1],
            diffusion.denoise(teacher, z[i : i + 1], 3, 3, guide),
            atol=1e-4,
            rtol=1e-4,
        )


def test_correlation_is_zero_across_and_negative_against(teacher):
    null, r = torch.full((1, 2), 0.3), torch.tensor([[2.0, 0.0]])
    assert sepme.correlation(
        null + torch.tensor([[0.0, 7.0]]), null, null + r
    ).item() == pytest.approx(0)
    assert sepme.correlation(null - 1.5 * r, null, null + r).item() == pytest.approx(-1.5 * 4 / 2)


@pytest.mark.parametrize("target", ["correlation", slow("replace")])
def test_training_lowers_the_term(teacher, astronaut, target):
    heard = []
    chosen = settings(target=target, updates=120, batch=4, stop=None)
    sepme.erase(
        teacher,
        [astronaut],
        chosen,
        Work(3, on_step=lambda _, terms: heard.append(terms["concept"])),
    )
    assert sum(heard[-20:]) < 0.5 * sum(heard[:20])


@pytest.mark.slow
def test_a_heavier_l1_makes_a_smaller_change(teacher, astronaut):
    def size(l1: float) -> float:
        delta = sepme.erase(teacher, [astronaut], settings(l1=l1, updates=30, stop=None), Work(3))
        return sum(change.abs().sum().item() for change in delta.tensors.values())

    assert size(1.0) < 0.5 * size(0.0)


@pytest.mark.slow
def test_training_ends_when_the_running_mean_is_low_enough_but_not_before_the_tenth_update(
    teacher, astronaut
):
    def terms(**changes) -> list[float]:
        heard = []
        sepme.erase(
            teacher,
            [astronaut],
            settings(updates=80, **changes),
            Work(3, on_step=lambda _, t: heard.append(t["concept"])),
        )
        return heard

    everything = terms(stop=None)
    assert len(everything) == 80
    mean, means = everything[0], []
    for term in everything:
        mean = 0.9 * mean + 0.1 * term
        means.append(mean)
    tau = 0.9 * min(means[:9]) + 0.1 * min(means)
    first = next(i for i, m in enumerate(means, 1) if m <= tau)
    assert 10 < first < 80
    assert len(terms(stop=tau)) == first
    assert len(terms(stop=1e9)) == 10


# --- the whole method
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["correlation", "replace"])
def test_keys_and_values_change_and_the_teacher_stays(teacher, astronaut, target):
    chosen, before = settings(target=target), tensors_sha256(teacher.unet.state_dict())
    delta = sepme.erase(teacher, [astronaut, CAT], chosen, Work(7))
    assert tensors_sha256(teacher.unet.state_dict()) == before == delta.base_sha256
    assert delta.names == sepme.declared(teacher.unet, chosen)
    assert all(name.endswith((".attn2.to_k.weight", ".attn2.to_v.weight")) for name in delta.names)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["correlation", slow("replace")])
def test_one_seed_gives_one_hash(teacher, astronaut, target):
    first, again, other = (
        sepme.erase(teacher, [astronaut, CAT], settings(target=target), Work(seed)).sha256
        for seed in (7, 7, 8)
    )
    assert first == again != other


@pytest.mark.parametrize("killed_at", [3, *map(slow, (11, 19))])
def test_a_killed_run_goes_on_to_the_same_hash(
    teacher, astronaut, tmp_path, monkeypatch, killed_at
):
    monkeypatch.setattr(training, "SAVE_EVERY", 2)
    chosen, state = settings(updates=12, stop=-0.2), tmp_path / "default.resume"
    heard = []
    whole = sepme.erase(
        teacher,
        [CAT, astronaut],
        chosen,
        Work(7, on_step=lambda update, terms: heard.append((update, dict(terms)))),
    )
    assert [update for update, _ in heard] == list(range(1, 25))

    def killed(update, _terms):
        if update == killed_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sepme.erase(teacher, [CAT, astronaut], chosen, Work(7, on_step=killed, resume=state))
    assert list(tmp_path.iterdir())
    told = []
    resumed = sepme.erase(
        teacher,
        [astronaut, CAT],
        chosen,
        Work(7, on_step=lambda u, terms: told.append((u, dict(terms))), resume=state),
    )
    assert resumed.sha256 == whole.sha256
    assert told == heard
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_no_file_name_has_a_file_of_its_own(tmp_path):
    band, day = (
        Concept(name=name, kind="style", prompts=(f"in {name} style",), replacement="a cat")
        for name in ("AC/DC", "9/11")
    )
    works = sepme._one_each(Work(1, resume=tmp_path / "lambda.resume"), [band, day])
    files = {work.resume for work in works.values()}
    assert works.keys() == {"AC/DC", "9/11"}
    assert len(files) == 2
    assert {file.parent for file in files} == {tmp_path}


def test_a_killed_run_stops_at_the_same_update(teacher, astronaut, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SAVE_EVERY", 2)
    # ends after the tenth
    chosen, state = (
        settings(updates=60, stop=1e9),
        tmp_path / "default.resume",
    )
    whole = sepme.erase(teacher, [astronaut], chosen, Work(7))

    def killed(update, _terms):
        if update == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sepme.erase(teacher, [astronaut], chosen, Work(7, on_step=killed, resume=state))
    told = []
    assert (
        sepme.erase(
            teacher, [astronaut], chosen, Work(7, on_step=lambda u, _: told.append(u), resume=state)
        ).sha256
        == whole.sha256
    )
    assert told == list(range(1, 11))


def test_pictures_are_kept_by_content(teacher, astronaut, tmp_path, monkeypatch):
    made = sepme.prepare(
        teacher, [astronaut, CAT], settings(), Work(7, cache=tmp_path / "prepared")
    )
    files = sorted((tmp_path / "prepared").iterdir())
    assert len(files) == 2
    for change in ({"seed": 8}, {"images": 4}, {"steps": 2}, {"guidance": 2}):
        seed = change.pop("seed", 7)
        sepme.prepare(
            teacher, [astronaut], settings(**change), Work(seed, cache=tmp_path / "prepared")
        )
    assert len(list((tmp_path / "prepared").iterdir())) == 6
    monkeypatch.setattr(diffusion, "denoise", lambda *_: pytest.fail("made again"))
    kept = sepme.prepare(
        teacher,
        [CAT, astronaut],
        settings(target="replace", updates=9),
        Work(7, cache=tmp_path / "prepared"),
    )
    for name, pictures in made.items():
        assert torch.equal(kept[name].z, pictures.z)
    assert sepme.erase(teacher, [astronaut, CAT], settings(), Work(7), prepared=kept).names
    assert {tuple(read_tensors(file)[0]) for file in files} == {("z",)}


def test_bf16_trains_fp32_increments(teacher, astronaut):
    increment = sepme.increments(teacher, [astronaut], settings(precision="bf16"), Work(7))[
        "astronaut"
    ]
    assert all(change.dtype == torch.float32 for change in increment.values())
    assert seen(increment, states(teacher, "")) < 1e-6


# --- refusals
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        {"beta": 0},
        {"tolerance": 0},
        {"tolerance": 1},
        {"l1": float("nan")},
        {"target": "erase"},
        {"protect": [""]},
        {"tau": 1},
    ],
)
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValidationError):
        settings(**bad)


def test_no_concept_and_one_concept_twice_are_refused(astronaut):
    with pytest.raises(BadInput, match="no concept"):
        sepme.check([], settings())
    with pytest.raises(BadInput, match="astronaut is to be erased more than once"):
        sepme.check([astronaut, CAT, astronaut], settings())


def test_a_prompt_longer_than_the_tokenizer_reads_is_refused(teacher, astronaut):
    with pytest.raises(BadInput, match="42 tokens with its two markers; this base reads 16"):
        sepme.erase(teacher, [astronaut], settings(protect=("a cat of grass " * 10,)), Work(0))


def test_paper_preset_is_the_default():
    paper = sepme.Settings()
    assert (paper.target, paper.protect, paper.keep, paper.updates, paper.batch, paper.stop) == (
        "correlation",
        (),
        False,
        1000,
        1,
        1e-4,
    )
    assert (paper.lr, paper.beta, paper.l1, paper.images, paper.weight_decay) == (
        0.1,
        1e-4,
        1e-6,
        1000,
        0,
    )


def test_protecting_the_empty_prompt_once_more_costs_no_direction(teacher):
    only = sepme.free_directions(teacher, (), 1e-5)
    assert len(only) == WIDTH - TOKENS
    assert_close(sepme.free_directions(teacher, ("",), 1e-5), only, atol=1e-9, rtol=0)
    again = sepme.free_directions(teacher, ("", "a poster"), 1e-5)
    assert len(again) == len(sepme.free_directions(teacher, ("a poster",), 1e-5)) < len(only)
