"""Concept Ablation: anchors made once and kept by content, a target that no gradient
reaches, the prior beside it.
"""

import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from erasure_core import seeding
from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept
from erasure_core.methods import ablating
from erasure_core.network import diffusion, training
from erasure_core.network.weights import read_tensors, tensors_sha256
from erasure_core.network.work import Work
from tests.marks import slow

FAST = {"steps": 3, "images": 5, "updates": 2, "lr": 1e-3, "batch": 2}


def settings(**changes) -> ablating.Settings:
    return ablating.Settings.model_validate({**FAST, **changes})


def first_terms(teacher, concept, chosen) -> dict[str, float]:
    seen = {}
    ablating.erase(
        teacher,
        [concept],
        chosen,
        Work(3, on_step=lambda step, terms: seen.setdefault(step, dict(terms))),
    )
    return seen[1]


def noised(
    teacher, latents: torch.Tensor, n: int, generator: torch.Generator
) -> tuple[torch.Tensor, ...]:
    """The draws of one update, by the formula: z_t, t, the noise, and which picture."""
    picture, t = (
        torch.randint(len(latents), (n,), generator=generator),
        torch.randint(1000, (n,), generator=generator),
    )
    noise = torch.randn((n, *latents.shape[1:]), generator=generator)
    kept = teacher.scheduler.alphas_cumprod[t].view(-1, 1, 1, 1)
    return kept.sqrt() * latents[picture] + (1 - kept).sqrt() * noise, t, noise, picture


# --- the anchors
# ---------------------------------------------------------------------------------------------


def test_picture_i_shows_anchor_i_in_turn_whatever_the_batch(tiny_teacher, astronaut, monkeypatch):
    monkeypatch.setattr(diffusion, "PICTURES_TOGETHER", 2)
    chosen = settings(guidance=5.0)
    latents = ablating.prepare(tiny_teacher, [astronaut], chosen, Work(3)).latents
    noise = torch.randn((5, 4, 8, 8), generator=seeding.generator(3, "anchor pictures"))
    null, *anchors = (
        diffusion.encode_prompts(tiny_teacher, [p])
        for p in ("", "a photo of a photographer", "a photographer")
    )
    for i in range(5):
        guide = diffusion.guided(tiny_teacher, tiny_teacher.unet, null, anchors[i % 2], 5.0)
        assert_close(
            latents[i : i + 1],
            diffusion.denoise(tiny_teacher, noise[i : i + 1], 3, 3, guide),
            atol=1e-4,
            rtol=1e-4,
        )
    assert latents.shape == (5, 4, 8, 8)


def test_two_concepts_have_twice_the_pictures_and_each_its_own_anchors(tiny_teacher, astronaut):
    cat = Concept(name="cat", kind="object", prompts=("a photo of a cat",), replacement="a rocket")
    assert len(ablating.prepare(tiny_teacher, [astronaut, cat], settings(), Work(3)).latents) == 10
    assert ablating._prompts([astronaut, cat]) == (
        ["a photo of the astronaut", "astronaut", "a photo of a cat"],
        ["a photo of a photographer", "a photographer", "a photo of a rocket"],
    )


def test_every_concept_has_its_pictures_however_few_they_are(tiny_teacher, astronaut):
    """Fewer in all than there are prompts: none of the last concept was once shown."""
    one = astronaut.model_copy(update={"prompts": ("astronaut",)})
    many = Concept(
        name="cat",
        kind="object",
        prompts=("a cat", "cat", "a photo of a cat", "a sketch of a cat", "a poster of a cat"),
        replacement="a rocket",
    )
    chosen = settings(images=2)
    assert ablating._shown([many, one], chosen).tolist() == [0, 1, 5, 5]
    assert len(ablating.prepare(tiny_teacher, [many, one], chosen, Work(3)).latents) == 4


def test_pictures_are_made_once(tiny_teacher, astronaut, tmp_path, monkeypatch):
    cache, chosen = tmp_path / "new" / "cache", settings()
    made = ablating.prepare(tiny_teacher, [astronaut], chosen, Work(3, cache=cache))
    (file,) = cache.iterdir()
    assert torch.equal(read_tensors(file)[0]["latents"], made.latents)
    whole = ablating.erase(tiny_teacher, [astronaut], chosen, Work(3))

    monkeypatch.setattr(diffusion, "pictures", lambda *_: pytest.fail("made again"))
    kept = ablating.prepare(
        tiny_teacher, [astronaut], settings(lr=1, updates=9, prior_weight=1), Work(3, cache=cache)
    )
    assert torch.equal(kept.latents, made.latents)
    assert (
        ablating.erase(tiny_teacher, [astronaut], chosen, Work(3), prepared=kept).sha256
        == whole.sha256
    )


CHANGES = ["images", "guidance", "steps", "seed", "replacement", "unet", "text encoder", "schedule"]


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_decides_the_pictures_has_them_made_anew(tiny_teacher, astronaut, tmp_path, what):
    first = ablating.prepare(tiny_teacher, [astronaut], settings(), Work(3, cache=tmp_path)).latents
    chosen = settings(**{what: 4}) if what in ("images", "guidance", "steps") else settings()
    if what == "replacement":
        astronaut = astronaut.model_copy(update={"replacement": "a rocket"})
    if what == "unet":
        tiny_teacher.unet.conv_in.weight.data.mul_(1.5)
    if what == "text encoder":
        next(tiny_teacher.text_encoder.parameters()).data.mul_(-1)
    if what == "schedule":
        tiny_teacher.scheduler.register_to_config(steps_offset=0)
    again = ablating.prepare(
        tiny_teacher, [astronaut], chosen, Work(4 if what == "seed" else 3, cache=tmp_path)
    ).latents
    assert len(list(tmp_path.iterdir())) == 2
    assert first.shape != again.shape or not torch.equal(first, again)


# --- the loss
# ---------------------------------------------------------------------------------------------


def test_no_gradient_reaches_the_anchor():
    concept, anchor = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    loss = ablating.ablation_loss(concept, anchor)
    assert loss.item() == pytest.approx((concept - anchor).square().mean().item())
    loss.backward()
    assert anchor.grad is None
    assert_close(concept.grad, 2 * (concept - anchor).detach() / 6)


def test_initial_terms_are_the_difference_to_the_anchor_and_the_denoising_error_on_it(
    tiny_teacher, astronaut
):
    chosen = settings(batch=6, prior_weight=2.5)
    terms = first_terms(tiny_teacher, astronaut, chosen)
    latents = ablating.prepare(tiny_teacher, [astronaut], chosen, Work(3)).latents
    z, t, noise, picture = noised(tiny_teacher, latents, 6, seeding.generator(3, "updates"))
    differences, errors = [], []
    for row in range(6):  # independently: plain UNet calls, one sample at a time
        prompt = astronaut.prompts[picture[row] % 2]
        concept, anchor = (
            tiny_teacher.unet(
                z[row : row + 1], t[row], diffusion.encode_prompts(tiny_teacher, [p]).states
            ).sample
            for p in (prompt, astronaut.replaced(prompt))
        )
        differences.append((concept - anchor).square().mean())
        errors.append((anchor - noise[row : row + 1]).square().mean())
    assert terms["concept"] == pytest.approx(torch.stack(differences).mean().item(), rel=1e-3)
    assert terms["concept"] > 0
    assert terms["prior"] == pytest.approx(2.5 * torch.stack(errors).mean().item(), rel=1e-3)
    assert set(first_terms(tiny_teacher, astronaut, settings())) == {"concept"}


def test_the_target_is_the_students_own_anchor(tiny_teacher, astronaut, tmp_path, monkeypatch):
    """Recomputed from the state after four updates, by which student and teacher
    are two networks.
    """
    monkeypatch.setattr(training, "SAVE_EVERY", 1)
    chosen, file, written, heard = (
        settings(updates=6, lr=2e-2, group="full"),
        tmp_path / "state.safetensors",
        [],
        [],
    )

    def on_step(_update, terms) -> None:
        heard.append(dict(terms))
        if file.exists():
            written.append(read_tensors(file)[0])

    ablating.erase(tiny_teacher, [astronaut], chosen, Work(3, on_step=on_step, resume=file))
    student, generator = training.student_of(tiny_teacher, chosen), torch.Generator()
    student.load_state_dict(
        {
            name.removeprefix("weight/"): t
            for name, t in written[3].items()
            if name.startswith("weight/")
        }
    )
    generator.set_state(written[3]["generator/0"])
    latents = ablating.prepare(tiny_teacher, [astronaut], chosen, Work(3)).latents
    z, t, _, picture = noised(tiny_teacher, latents, 2, generator)
    concept, anchor = (
        diffusion.encode_prompts(tiny_teacher, [texts[i % 2] for i in picture])
        for texts in ablating._prompts([astronaut])
    )

    @torch.no_grad()
    def loss(target) -> float:
        predicted = diffusion.predict_noise(tiny_teacher, student, z, t, concept)
        return (
            (predicted - diffusion.predict_noise(tiny_teacher, target, z, t, anchor))
            .square()
            .mean()
            .item()
        )

    assert heard[4]["concept"] == pytest.approx(loss(student), rel=1e-3)
    assert heard[4]["concept"] != pytest.approx(loss(tiny_teacher.unet), rel=1e-2)


def test_training_brings_the_concept_to_its_anchor_on_pictures_it_did_not_see(
    tiny_teacher, astronaut
):
    chosen = settings(updates=60, batch=8, lr=5e-3, images=20)
    latents = ablating.prepare(tiny_teacher, [astronaut], chosen, Work(77)).latents
    z, t, _, picture = noised(tiny_teacher, latents, 32, torch.Generator().manual_seed(5))
    concept, anchor = (
        diffusion.encode_prompts(tiny_teacher, [texts[i % 2] for i in picture])
        for texts in ablating._prompts([astronaut])
    )

    @torch.no_grad()
    def distance() -> float:
        as_concept, as_anchor = diffusion.predict_each(
            tiny_teacher, tiny_teacher.unet, z, t, [concept, anchor]
        )
        return (as_concept - as_anchor).square().mean().item()

    before = distance()
    with ablating.erase(tiny_teacher, [astronaut], chosen, Work(1)).applied(tiny_teacher.unet):
        assert distance() < 0.5 * before


# --- the whole method
# ---------------------------------------------------------------------------------------------

VARIANTS = [
    {},
    {"group": "xattn"},
    {"group": "full"},
    {"group": "attn", "prior_weight": 1.5},
    {"keep_weight": 3.0},
]


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_what_is_declared_changes_and_the_teacher_stays(tiny_teacher, astronaut, changes):
    chosen, before = settings(**changes), tensors_sha256(tiny_teacher.unet.state_dict())
    delta = ablating.erase(tiny_teacher, [astronaut], chosen, Work(7))
    assert tensors_sha256(tiny_teacher.unet.state_dict()) == before == delta.base_sha256
    assert delta.names == ablating.declared(tiny_teacher.unet, chosen)
    assert max(t.abs().max().item() for t in delta.tensors.values()) > 0


@pytest.mark.parametrize("changes", [VARIANTS[0], *map(slow, VARIANTS[1:])], ids=str)
def test_one_seed_gives_one_hash(tiny_teacher, astronaut, changes):
    first, again, other = (
        ablating.erase(tiny_teacher, [astronaut], settings(**changes), Work(seed)).sha256
        for seed in (7, 7, 8)
    )
    assert first == again != other


@pytest.mark.parametrize("changes", [{}, {"keep_weight": 3.0, "prior_weight": 1.0}], ids=str)
def test_killed_and_resumed_gives_the_same_delta(
    tiny_teacher, astronaut, tmp_path, monkeypatch, changes
):
    monkeypatch.setattr(training, "SAVE_EVERY", 2)
    chosen, file = settings(updates=5, **changes), tmp_path / "state.safetensors"
    whole = ablating.erase(tiny_teacher, [astronaut], chosen, Work(7))

    def kill(update: int, _terms) -> None:
        if update == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ablating.erase(tiny_teacher, [astronaut], chosen, Work(7, on_step=kill, resume=file))
    assert file.exists()
    assert (
        ablating.erase(tiny_teacher, [astronaut], chosen, Work(7, resume=file)).sha256
        == whole.sha256
    )


def test_each_concept_has_its_updates(tiny_teacher, astronaut):
    cat = Concept(name="cat", kind="object", prompts=("a photo of a cat",), replacement="a rocket")
    heard = []
    ablating.erase(
        tiny_teacher,
        [astronaut, cat],
        settings(),
        Work(7, on_step=lambda update, _terms: heard.append(update)),
    )
    assert heard == [1, 2, 3, 4]
    assert ablating.steps([astronaut, cat], settings()) == 4


@pytest.mark.slow
def test_kept_prompts_are_held_when_asked_for(tiny_teacher, astronaut):
    trajectories = diffusion.Trajectories.of(tiny_teacher, astronaut.keep, 3.0, 3)
    kept = diffusion.Kept.of(trajectories, torch.Generator().manual_seed(12))
    drift = {}
    for weight in (0.0, 50.0):
        delta = ablating.erase(
            tiny_teacher,
            [astronaut],
            settings(updates=30, batch=4, lr=5e-3, keep_weight=weight),
            Work(1),
        )
        edited = training.student_of(tiny_teacher, settings())
        delta.apply(edited)
        with torch.no_grad():
            drift[weight] = kept.drift(edited, 64, torch.Generator().manual_seed(0)).item()
    assert drift[0.0] > 0
    assert drift[50.0] < 0.5 * drift[0.0]


# --- refusals
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        {"images": 0},
        {"prior_weight": -1},
        {"guidance": float("inf")},
        {"anchors": 3},
        {"group": "embedding"},
    ],
)
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValidationError):
        ablating.Settings.model_validate(bad)


def test_nothing_to_erase_is_refused(tiny_teacher):
    with pytest.raises(BadInput, match="no concept to erase"):
        ablating.erase(tiny_teacher, [], settings(), Work(0))


def test_an_anchor_longer_than_the_tokenizer_reads_is_refused(tiny_teacher, astronaut):
    long = astronaut.model_copy(update={"replacement": "a photographer " * 10})
    with pytest.raises(BadInput, match="this base reads 16"):
        ablating.erase(tiny_teacher, [long], settings(), Work(0))


def test_the_papers_settings_for_styles_are_the_default():
    paper = ablating.Settings()
    assert (paper.images, paper.guidance, paper.steps, paper.prior_weight, paper.group) == (
        1000,
        6,
        25,
        0,
        "kv",
    )
    assert (
        paper.updates,
        paper.batch,
        paper.lr,
        paper.weight_decay,
        paper.clip,
        paper.keep_weight,
    ) == (100, 8, 1.6e-5, 0.01, 1.0, 0)
