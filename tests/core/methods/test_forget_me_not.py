"""Forget-Me-Not: the norm of the attention to the concept's words, on pictures that the teacher
made of it.
"""

import pytest
import torch
from torch.testing import assert_close

from erasure_core import seeding
from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept
from erasure_core.methods import forget_me_not as fmn
from erasure_core.network import attention, diffusion, training
from erasure_core.network.weights import tensors_sha256
from erasure_core.network.work import Work
from tests.marks import slow

FAST = {"images": 3, "steps": 3, "updates": 2, "lr": 1e-3}
ROCKET = Concept(
    name="rocket",
    kind="object",
    prompts=("a poster of a rocket", "a rocket", "rocket"),
    replacement="a cat",
)


def settings(**changes) -> fmn.Settings:
    return fmn.Settings.model_validate({**FAST, **changes})


def heard(teacher, concepts, chosen) -> list[dict[str, float]]:
    terms: list[dict[str, float]] = []
    fmn.erase(
        teacher, concepts, chosen, Work(7, on_step=lambda _, named: terms.append(dict(named)))
    )
    return terms


# --- the loss
# ---------------------------------------------------------------------------------------------


def test_loss_is_the_norm_over_all_layers_of_what_the_columns_receive():
    first, second = torch.zeros(1, 2, 2, 4), torch.zeros(1, 1, 1, 4)
    first[0, 0, 0] = torch.tensor([0.1, 0.2, 0.3, 0.4])
    first[0, 1, 1] = torch.tensor([0.0, 0.6, 0.0, 0.4])
    second[0, 0, 0] = torch.tensor([0.5, 0.0, 0.5, 0.0])
    columns = torch.tensor([[False, True, True, False]])
    assert fmn.attention_loss([first, second], columns).item() == pytest.approx(
        (0.2**2 + 0.3**2 + 0.6**2 + 0.5**2) ** 0.5
    )


def test_loss_is_zero_where_the_network_may_not_look_at_the_concept(tiny_teacher, astronaut):
    told, columns = (
        diffusion.encode_prompts(tiny_teacher, astronaut.prompts),
        attention.concept_columns(tiny_teacher, [astronaut]),
    )
    z = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    losses = {}
    for name, mask in (("open", torch.ones_like(columns)), ("masked", ~columns)):
        with attention.recording(tiny_teacher.unet) as maps:
            tiny_teacher.unet(z, 500, told.states, encoder_attention_mask=mask.float())
        losses[name] = fmn.attention_loss(maps, columns).item()
    assert losses["open"] > 0.1
    assert losses["masked"] == 0


def test_first_loss_is_that_of_a_noised_picture_written_out_here(tiny_teacher, astronaut):
    """Keys and queries are overheard, so that the probabilities do not come from the code under
    test.
    """
    chosen = settings(updates=1, batch=2)
    pictures, draws = (
        fmn.prepare(tiny_teacher, [astronaut], chosen, Work(7)).pictures,
        seeding.generator(7, "updates"),
    )
    row, t = torch.randint(3, (2,), generator=draws), torch.randint(1000, (2,), generator=draws)
    kept = tiny_teacher.scheduler.alphas_cumprod[t].view(2, 1, 1, 1)
    clean = pictures.latents[row]
    z = kept.sqrt() * clean + (1 - kept).sqrt() * torch.randn(clean.shape, generator=draws)

    overheard: dict[str, torch.Tensor] = {}
    layers = {
        name: m
        for name, m in tiny_teacher.unet.named_modules()
        if name.endswith(("attn2.to_q", "attn2.to_k"))
    }
    hooks = [
        m.register_forward_hook(lambda _m, _i, out, name=name: overheard.update({name: out}))
        for name, m in layers.items()
    ]
    prompts = [astronaut.prompts[p] for p in pictures.prompt[row]]
    tiny_teacher.unet(z, t, diffusion.encode_prompts(tiny_teacher, prompts).states)
    for hook in hooks:
        hook.remove()

    total = 0.0
    for name in (name for name in layers if name.endswith("to_q")):
        q, k = (
            overheard[n].unflatten(2, (-1, _width(tiny_teacher, name)))
            for n in (name, name.replace("to_q", "to_k"))
        )
        p = (torch.einsum("nphd,nthd->nhpt", q, k) / q.shape[-1] ** 0.5).softmax(-1)
        for i, prompt in enumerate(prompts):
            at = prompt.split().index("astronaut") + 1
            # the name and the end token behind it
            total += p[i, ..., [at, at + 1]].square().sum().item()
    assert heard(tiny_teacher, [astronaut], chosen)[0]["attention"] == pytest.approx(
        total**0.5, rel=1e-4
    )


def _width(teacher, name: str) -> int:
    attn = teacher.unet.get_submodule(name.removesuffix(".to_q"))
    return attn.inner_dim // attn.heads


def test_training_turns_attention_away_from_the_concept_and_from_nothing_else(
    tiny_teacher, astronaut
):
    told = diffusion.encode_prompts(tiny_teacher, astronaut.prompts)
    name = attention.concept_columns(tiny_teacher, [astronaut])
    z = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))

    @torch.no_grad()
    def share() -> float:
        with attention.recording(tiny_teacher.unet) as maps:
            tiny_teacher.unet(z, 500, told.states)
        return attention.at_columns(maps, name).mean().item()

    before = share()
    assert before == pytest.approx(1 / 16, rel=0.5)
    with fmn.erase(
        tiny_teacher, [astronaut], settings(updates=80, tail="none", lr=1e-2), Work(7)
    ).applied(tiny_teacher.unet):
        assert share() < 0.1 * before


def test_the_tail_decides_what_is_penalised(tiny_teacher, astronaut):
    first = {
        tail: heard(tiny_teacher, [astronaut], settings(updates=1, tail=tail))[0]["attention"]
        for tail in ("none", "eot", "padded")
    }
    assert first["none"] < first["eot"] < first["padded"]


# --- the pictures
# ---------------------------------------------------------------------------------------------


def test_each_concept_is_shown_by_its_own_prompts_in_turn(tiny_teacher, astronaut):
    pictures = fmn.prepare(tiny_teacher, [astronaut, ROCKET], settings(images=6), Work(7)).pictures
    assert pictures.latents.shape == (12, 4, 8, 8)
    assert sorted(pictures.prompt[:6].tolist()) == [0, 0, 0, 1, 1, 1]
    assert sorted(pictures.prompt[6:].tolist()) == [2, 2, 3, 3, 4, 4]


def test_pictures_are_those_of_the_teacher_under_guidance(tiny_teacher, astronaut):
    """A second implementation of guided DDIM, one picture at a time."""
    chosen = settings(images=2, guidance=5.0)
    pictures, generator = (
        fmn.prepare(tiny_teacher, [astronaut], chosen, Work(7)).pictures,
        seeding.generator(7, "pictures"),
    )
    assert pictures.prompt.tolist() == torch.randperm(2, generator=generator).tolist()
    kept = tiny_teacher.scheduler.alphas_cumprod
    for row, z in enumerate(torch.randn(2, 4, 8, 8, generator=generator).split(1)):
        null, cond = (
            diffusion.encode_prompts(tiny_teacher, [p]).states
            for p in ("", astronaut.prompts[pictures.prompt[row]])
        )
        for t in (667, 334, 1):
            e_null, e_cond = (tiny_teacher.unet(z, t, states).sample for states in (null, cond))
            eps, after = e_null + 5.0 * (e_cond - e_null), kept[max(t - 333, 0)]
            z = (
                after.sqrt() * (z - (1 - kept[t]).sqrt() * eps) / kept[t].sqrt()
                + (1 - after).sqrt() * eps
            )
        assert_close(pictures.latents[row : row + 1], z, atol=1e-3, rtol=1e-3)


@pytest.fixture
def new(tiny_teacher, astronaut, tmp_path):
    """How many files a `prepare` adds to the cache, which holds those of the default settings."""

    def added(chosen, concepts=(astronaut,), seed=7) -> int:
        before = len(list(tmp_path.iterdir()))
        fmn.prepare(tiny_teacher, concepts, chosen, Work(seed, cache=tmp_path))
        return len(list(tmp_path.iterdir())) - before

    assert added(settings()) == 1
    return added


@pytest.mark.parametrize(
    "changes", [{}, {"lr": 0.1}, {"updates": 9}, {"tail": "none"}, {"group": "xattn"}], ids=str
)
def test_pictures_are_used_again_under_settings_of_the_training(new, changes):
    assert new(settings(**changes)) == 0


def test_each_setting_of_the_pictures_has_pictures_of_its_own(new):
    changes = ({"images": 4}, {"steps": 4}, {"guidance": 2.0})
    assert [new(settings(**change)) for change in changes] == [1, 1, 1]


def test_pictures_are_made_anew_for_another_seed_concept_or_base(new, tiny_teacher, astronaut):
    assert new(settings(), seed=8) == 1
    assert new(settings(), concepts=(astronaut, ROCKET)) == 1
    tiny_teacher.unet.conv_in.weight.data[0, 0] += 0.1
    assert new(settings()) == 1


def test_kept_pictures_are_not_made_again(tiny_teacher, astronaut, tmp_path, monkeypatch):
    work = Work(7, cache=tmp_path)
    made = fmn.prepare(tiny_teacher, [astronaut], settings(), work)
    monkeypatch.setattr(diffusion, "pictures", lambda *_: pytest.fail("made again"))
    kept = fmn.prepare(tiny_teacher, [astronaut], settings(), work)
    assert torch.equal(kept.pictures.latents, made.pictures.latents)


# --- the whole method
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"group": "xattn"}, {"keep_weight": 2}], ids=str)
def test_what_is_declared_changes_and_the_teacher_stays(tiny_teacher, astronaut, changes):
    chosen, before = settings(**changes), tensors_sha256(tiny_teacher.unet.state_dict())
    delta = fmn.erase(tiny_teacher, [astronaut], chosen, Work(7))
    assert tensors_sha256(tiny_teacher.unet.state_dict()) == before == delta.base_sha256
    assert delta.names == fmn.declared(tiny_teacher.unet, chosen)
    assert max(t.abs().max().item() for t in delta.tensors.values()) > 0


@pytest.mark.parametrize(
    "changes", [{}, slow({"group": "xattn"}), slow({"keep_weight": 2})], ids=str
)
def test_one_seed_gives_one_hash(tiny_teacher, astronaut, changes):
    first, again, other = (
        fmn.erase(tiny_teacher, [astronaut], settings(**changes), Work(seed)).sha256
        for seed in (7, 7, 8)
    )
    assert first == again != other


@pytest.mark.parametrize("changes", [{"group": "full"}, {"group": "kv", "keep_weight": 2}], ids=str)
def test_a_run_killed_and_resumed_ends_at_the_same_weights(
    tiny_teacher, astronaut, tmp_path, monkeypatch, changes
):
    monkeypatch.setattr(training, "SAVE_EVERY", 2)
    chosen, state = settings(updates=5, **changes), tmp_path / "state"
    whole = fmn.erase(tiny_teacher, [astronaut], chosen, Work(7))

    def killed(update, _terms):
        if update == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fmn.erase(tiny_teacher, [astronaut], chosen, Work(7, on_step=killed, resume=state))
    assert state.exists()
    assert (
        fmn.erase(tiny_teacher, [astronaut], chosen, Work(7, resume=state)).sha256 == whole.sha256
    )


def test_gradient_checkpointing_changes_memory_and_not_the_result(tiny_teacher, astronaut):
    plain, checkpointed = (
        fmn.erase(
            tiny_teacher, [astronaut], settings(gradient_checkpointing=on, group="xattn"), Work(7)
        )
        for on in (False, True)
    )
    for name, change in plain.tensors.items():
        assert_close(checkpointed.tensors[name], change, atol=1e-5, rtol=0)


def test_kept_prompts_are_held_where_that_is_asked_for(tiny_teacher, astronaut):
    assert all(
        set(terms) == {"attention"} for terms in heard(tiny_teacher, [astronaut], settings())
    )
    first, second = heard(tiny_teacher, [astronaut], settings(keep_weight=2))
    assert first["keep"] == pytest.approx(0, abs=1e-9)
    assert second["keep"] > 0


def test_two_concepts_take_twice_the_updates(tiny_teacher, astronaut):
    assert (
        len(heard(tiny_teacher, [astronaut, ROCKET], settings()))
        == fmn.steps([astronaut, ROCKET], settings())
        == 4
    )


def test_a_prompt_that_does_not_name_its_concept_is_refused(tiny_teacher, astronaut):
    unnamed = astronaut.model_copy(update={"prompts": ("astronaut", "a person in a space suit")})
    for refuse in (
        lambda: fmn.check([unnamed], settings()),
        lambda: fmn.erase(tiny_teacher, [unnamed], settings(), Work(7)),
    ):
        with pytest.raises(BadInput, match="'a person in a space suit' does not hold"):
            refuse()


def test_a_prompt_that_names_several_is_one_that_names_it(tiny_teacher):
    cats = Concept(
        name="cat", kind="object", prompts=("a photo of two cats",), replacement="a rocket"
    )
    fmn.check([cats], settings())
    assert len(heard(tiny_teacher, [cats], settings(images=1, updates=1))) == 1


def test_defaults_are_the_references():
    default = fmn.Settings()
    assert (default.lr, default.updates, default.batch, default.group, default.tail) == (
        2e-6,
        35,
        1,
        "full",
        "eot",
    )
    assert (default.keep_weight, default.clip, default.weight_decay) == (0, None, 0)
