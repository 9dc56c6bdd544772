"""Explicit cross-attention: the fused processor's result when nothing is edited, and exactly the
edit when something is.
"""

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch.testing import assert_close

from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept
from erasure_core.network import attention

SD1 = {"attention_head_dim": 2, "use_linear_projection": False, "upcast_attention": False}
SD20 = {"attention_head_dim": (2, 4), "use_linear_projection": True, "upcast_attention": False}
SD21 = {**SD20, "upcast_attention": True}


@pytest.fixture(params=[SD1, SD20, SD21], ids=["sd 1.x", "sd 2.0", "sd 2.1"])
def unet(request) -> UNet2DConditionModel:
    """Attention of one family at toy size; the text matters (random weights barely look at it)."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            norm_num_groups=4,
            layers_per_block=1,
            cross_attention_dim=12,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            **request.param,
        )
        for name, parameter in made.named_parameters():
            if ".attn2." in name:
                parameter.data *= 3
    return made.requires_grad_(False).eval()


def inputs(n: int = 2, tokens: int = 5) -> tuple[torch.Tensor, int, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(n, 4, 8, 8, generator=generator),
        300,
        torch.randn(n, tokens, 12, generator=generator),
    )


def columns(*marked: int, n: int = 2, tokens: int = 5) -> torch.Tensor:
    columns = torch.zeros(n, tokens, dtype=torch.bool)
    columns[:, list(marked)] = True
    return columns


def by_hand(unet, scale_columns: torch.Tensor, s: float) -> torch.Tensor:
    """eps with reweighted attention, by an independent way: each attn2 replaced by a function that
    uses einsum.
    """

    def forward(attn):
        def run(x, encoder_hidden_states=None, attention_mask=None, **_):
            q, k, v = (
                layer(y).unflatten(-1, (attn.heads, -1))
                for layer, y in (
                    (attn.to_q, x),
                    (attn.to_k, encoder_hidden_states),
                    (attn.to_v, encoder_hidden_states),
                )
            )
            p = (torch.einsum("nphd,nthd->nhpt", q, k) / q.shape[-1] ** 0.5).softmax(-1)
            p = torch.where(scale_columns[:, None, None, :], s * p, p)
            return attn.to_out[0](torch.einsum("nhpt,nthd->nphd", p, v).flatten(2))

        return run

    modules = [m for name, m in unet.named_modules() if name.endswith(".attn2")]
    for module in modules:
        module.forward = forward(module)
    try:
        z, t, states = inputs()
        return unet(z, t, states).sample
    finally:
        for module in modules:
            del module.forward


# --- the same as the fused processor
# ---------------------------------------------------------------------------------------------


def test_unchanged_probabilities_give_the_fused_result(unet):
    z, t, states = inputs()
    fused = unet(z, t, states).sample
    with attention.explicit(unet):
        assert_close(unet(z, t, states).sample, fused, atol=1e-5, rtol=0)
    with attention.recording(unet):
        assert_close(unet(z, t, states).sample, fused, atol=1e-5, rtol=0)
    with attention.reweighted(unet, columns(1, 2), 1.0):
        assert_close(unet(z, t, states).sample, fused, atol=1e-5, rtol=0)


def test_a_mask_of_tokens_is_honoured_as_the_fused_processor_honours_it(unet):
    z, t, states = inputs()
    mask = (~columns(3)).float()
    fused = unet(z, t, states, encoder_attention_mask=mask).sample
    assert (fused - unet(z, t, states).sample).abs().max() > 1e-3
    with attention.recording(unet) as maps:
        assert_close(
            unet(z, t, states, encoder_attention_mask=mask).sample, fused, atol=1e-5, rtol=0
        )
    assert attention.at_columns(maps, columns(3)).max() == 0


def test_bf16_autocast_runs(unet):
    z, t, states = inputs()
    with torch.autocast("cpu", torch.bfloat16), attention.reweighted(unet, columns(1), 0.5):
        edited = unet(z, t, states).sample
    assert_close(edited.float(), by_hand(unet, columns(1), 0.5), atol=0.1, rtol=0)


def test_former_processors_are_back_even_after_a_fault(unet):
    before, z = unet.attn_processors, torch.zeros(1, 4, 8, 8)
    with (
        pytest.raises(ZeroDivisionError),
        attention.explicit(unet, lambda probabilities: probabilities / (1 // 0)),
    ):
        unet(z, 1, torch.zeros(1, 5, 12))
    after = unet.attn_processors
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)


def test_self_attention_keeps_its_processor(unet):
    before = unet.attn_processors
    with attention.explicit(unet):
        changed = {
            name
            for name, processor in unet.attn_processors.items()
            if processor is not before[name]
        }
    assert changed == {name for name in before if ".attn2." in name}


def test_a_network_without_cross_attention_is_refused():
    plain = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8,),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        mid_block_type=None,
    )
    with pytest.raises(BadInput, match="attn2"), attention.explicit(plain):
        pass


# --- recording
# ---------------------------------------------------------------------------------------------


def test_every_layer_is_recorded_and_the_probabilities_of_a_position_sum_to_one(unet):
    z, t, states = inputs()
    with attention.recording(unet) as maps:
        unet(z, t, states)
    assert len(maps) == sum(".attn2." in name for name in unet.attn_processors)
    assert {probabilities.shape[2] for probabilities in maps} == {64, 16}
    for probabilities in maps:
        assert (probabilities.shape[0], probabilities.shape[3]) == (2, 5)
        assert_close(probabilities.sum(3), torch.ones(probabilities.shape[:3]))


def test_columns_are_taken_per_prompt():
    probabilities = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5)
    chosen = torch.zeros(2, 5, dtype=torch.bool)
    chosen[0, 1] = chosen[1, 3] = chosen[1, 4] = True
    chosen_probabilities = attention.at_columns([probabilities, 100 + probabilities], chosen)
    expected = torch.cat([probabilities[0, ..., 1].flatten(), probabilities[1, ..., 3:].flatten()])
    assert_close(
        chosen_probabilities.sort().values, torch.cat([expected, 100 + expected]).sort().values
    )


def test_gradient_reaches_the_keys_through_the_recorded_maps(unet):
    z, t, states = inputs()
    weight = next(
        p for name, p in unet.named_parameters() if name.endswith("attn2.to_k.weight")
    ).requires_grad_()
    with attention.recording(unet) as maps:
        unet(z, t, states)
    attention.at_columns(maps, columns(2)).square().sum().backward()
    assert weight.grad.abs().max() > 0


# --- reweighting
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("s", [0.0, -1.5, 0.4])
def test_reweighting_multiplies_after_the_softmax_and_does_not_renormalise(unet, s):
    z, t, states = inputs()
    marked = columns(1, 3)
    marked[1, 3] = False
    with attention.reweighted(unet, marked, s):
        edited = unet(z, t, states).sample
    assert_close(edited, by_hand(unet, marked, s), atol=1e-5, rtol=0)
    assert (edited - unet(z, t, states).sample).abs().max() > 1e-3


def test_one_row_of_columns_serves_any_number_of_latents_and_another_number_is_a_fault(unet):
    z, t, states = inputs()
    with attention.reweighted(unet, columns(1), 0.0):
        each = unet(z, t, states).sample
    with attention.reweighted(unet, columns(1, n=1), 0.0):
        assert_close(unet(z, t, states).sample, each)
    with attention.reweighted(unet, columns(1, n=3), 0.0), pytest.raises(RuntimeError):
        unet(z, t, states)


# --- columns
# ---------------------------------------------------------------------------------------------


def marked_words(teacher, prompt: str, name: str, tail: attention.Tail = "none") -> list[int]:
    marked = attention.token_columns(teacher.tokenizer, [prompt], [name], tail)[0]
    return marked.nonzero().flatten().tolist()


def test_a_name_is_found_wherever_it_stands_and_whatever_its_case(tiny_teacher):
    assert marked_words(tiny_teacher, "a photo of the Astronaut", "astronaut") == [5]
    assert marked_words(tiny_teacher, "astronaut with the astronaut", "astronaut") == [1, 4]


def test_a_name_of_several_words_is_found_as_a_whole_only(tiny_teacher):
    assert marked_words(tiny_teacher, "a cup, a cup of coffee", "cup of coffee") == [5, 6, 7]


def test_a_name_of_several_sub_tokens_is_found(tiny_teacher):
    pieces = tiny_teacher.tokenizer("zebra", add_special_tokens=False).input_ids
    assert len(pieces) > 1
    assert marked_words(tiny_teacher, "a zebra", "zebra") == list(range(2, 2 + len(pieces)))


def test_the_tail_is_the_first_end_token_or_everything_behind_the_words(tiny_teacher):
    prompt = "a photo of the astronaut"  # BOS, 5 words, EOT at 6, padding with EOT
    assert marked_words(tiny_teacher, prompt, "astronaut", "eot") == [5, 6]
    assert marked_words(tiny_teacher, prompt, "astronaut", "padded") == list(range(5, 16))


def test_a_prompt_without_the_name_is_refused(tiny_teacher):
    for prompt in ("a photo of a Cat", "an astronautic cat"):
        with pytest.raises(BadInput, match=f"'{prompt}' does not hold 'astronaut'"):
            marked_words(tiny_teacher, prompt, "astronaut", "padded")


@pytest.mark.parametrize(
    ("name", "prompt", "begun"),
    [
        ("cat", "a photo of two cats", "a photo of two "),
        ("Spider-Man", "a spider man", "a "),
        ("Beyonce", "a photo of Beyonc\u00e9", "a photo of "),
        ("J. K. Rowling", "the J.K. Rowling", "the "),
    ],
)
def test_a_name_is_found_in_every_spelling_that_names_it(tiny_teacher, name, prompt, begun):
    """All tokens behind those of what stands before the name are its own."""
    before, all_of_it = (
        len(tiny_teacher.tokenizer(text, add_special_tokens=False).input_ids)
        for text in (begun, prompt)
    )
    assert marked_words(tiny_teacher, prompt, name) == list(range(before + 1, all_of_it + 1))


def test_a_prompt_that_would_be_cut_is_refused(tiny_teacher):
    long = Concept(name="cat", kind="object", prompts=("a " * 20 + "cat",), replacement="a rocket")
    with pytest.raises(BadInput, match="has 23 tokens"):
        attention.concept_columns(tiny_teacher, [long])


def test_each_prompt_is_searched_for_its_own_concept(tiny_teacher, astronaut):
    cat = Concept(name="cat", kind="object", prompts=("a cat",), replacement="a rocket")
    columns = attention.concept_columns(tiny_teacher, [astronaut, cat])
    assert [row.nonzero().flatten().tolist() for row in columns] == [[5], [1], [2]]
