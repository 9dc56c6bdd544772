"""Sampling: the same as diffusers' own pipeline, independent of the batch, and never silently
cutting a prompt.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch.testing import assert_close

from erasure_core.errors import BadInput
from erasure_core.network import diffusion
from erasure_core.network.models import halved

PROMPTS, SEEDS, GUIDANCE = (
    ["a photo of a cat", "a sketch of a rocket", "old coins"],
    [4, 5, 6],
    [4.0, 7.5, 2.0],
)


def test_pictures_are_those_of_diffusers_own_pipeline(tiny_teacher, tiny_folder):
    ours = diffusion.sample(tiny_teacher, PROMPTS[:1], SEEDS[:1], GUIDANCE[:1], 5, 1)
    pipeline = StableDiffusionPipeline.from_pretrained(
        tiny_folder, safety_checker=None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        PROMPTS[0],
        num_inference_steps=5,
        guidance_scale=GUIDANCE[0],
        generator=torch.Generator().manual_seed(SEEDS[0]),
        output_type="np",
    ).images
    assert_close(
        ours[0], torch.from_numpy(np.asarray(theirs[0])).permute(2, 0, 1), atol=1e-5, rtol=0
    )


def test_a_picture_does_not_depend_on_its_batch(tiny_teacher):
    together = diffusion.sample(tiny_teacher, PROMPTS, SEEDS, GUIDANCE, 4, 3)
    apart = diffusion.sample(tiny_teacher, PROMPTS, SEEDS, GUIDANCE, 4, 1)
    assert together.shape == (3, 3, 16, 16)
    assert_close(together, apart, atol=1e-5, rtol=0)
    assert not torch.allclose(together[0], together[1], atol=1e-2)


def test_prompt_seed_and_guidance_each_change_the_picture(tiny_teacher):
    variants = [
        ("a photo of a cat", 4, 4.0),
        ("old coins", 4, 4.0),
        ("a photo of a cat", 5, 4.0),
        ("a photo of a cat", 4, 30.0),
    ]
    pictures = diffusion.sample(
        tiny_teacher, *map(list, zip(*variants, strict=True)), steps=4, batch_size=4
    )
    for other in pictures[1:]:
        assert (pictures[0] - other).abs().max() > 1e-3


def test_on_batch_hears_of_every_picture(tiny_teacher):
    heard = []
    diffusion.sample(tiny_teacher, PROMPTS, SEEDS, GUIDANCE, 2, 2, on_batch=heard.append)
    assert heard == [2, 1]


def test_predict_each_is_one_call_that_equals_separate_ones(tiny_teacher):
    z, times = torch.randn(2, 4, 8, 8), torch.tensor([10, 900])
    contexts = [
        diffusion.encode_prompts(tiny_teacher, [p]).expand(2) for p in ("", "a photo of a cat")
    ]
    both = diffusion.predict_each(tiny_teacher, tiny_teacher.unet, z, times, contexts)
    for got, context in zip(both, contexts, strict=True):
        assert_close(
            got,
            diffusion.predict_noise(tiny_teacher, tiny_teacher.unet, z, times, context),
            atol=1e-5,
            rtol=1e-5,
        )


def test_a_prompt_at_the_limit_is_read_and_one_beyond_is_refused(tiny_teacher):
    fits = " ".join(["cat"] * 14)
    assert diffusion.encode_prompts(tiny_teacher, [fits]).states.shape == (1, 16, 32)
    with pytest.raises(
        BadInput, match="has 17 tokens with its two markers; this base reads 16; shorten it"
    ):
        diffusion.encode_prompts(tiny_teacher, [fits + " cat"])


def test_what_is_kept_knows_the_network_and_what_an_absent_prompt_is_told(tiny_teacher):
    """A base whose configuration was mended has the weights and prompts that it had."""

    def content(teacher) -> dict[str, object]:
        return diffusion.content_of(teacher, [diffusion.encode_prompts(teacher, ["a cat"])])

    before = content(tiny_teacher)
    assert content(tiny_teacher) == before
    assert content(replace(tiny_teacher, zeros_for_empty=True)) != before
    tiny_teacher.unet.register_to_config(sample_size=16)
    assert content(tiny_teacher) != before


def test_a_teacher_in_half_precision_predicts_nearly_the_same_in_float32(tiny_teacher):
    z, told = torch.randn(2, 4, 8, 8), diffusion.encode_prompts(tiny_teacher, ["a cat", "a coin"])
    exact = diffusion.predict_noise(tiny_teacher, tiny_teacher.unet, z, 500, told)
    with halved(tiny_teacher, "bf16") as teacher:
        assert teacher.guide.dtype == torch.bfloat16
        near = diffusion.predict_noise(teacher, teacher.guide, z, 500, told)
        same = diffusion.predict_noise(teacher, teacher.unet, z, 500, told)
        contents = [diffusion.content_of(t, [told])["computed"] for t in (tiny_teacher, teacher)]
    assert near.dtype == torch.float32
    assert 0 < (near - exact).norm() / exact.norm() < 0.03
    assert torch.equal(same, exact)
    assert contents[0] != contents[1]


def test_many_prompts_are_read_a_few_at_a_time(tiny_teacher, monkeypatch):
    prompts = [f"a photo of a {name}" for name in ("cat", "rocket", "retina", "galaxy", "coin")]
    whole, read = diffusion.encode_prompts(tiny_teacher, prompts), []
    encode = type(tiny_teacher.family).encode

    def counted(family, teacher, ids):
        read.append(len(ids[0]))
        return encode(family, teacher, ids)

    monkeypatch.setattr(type(tiny_teacher.family), "encode", counted)
    monkeypatch.setattr(diffusion, "ENCODED_TOGETHER", 2)
    parts = diffusion.encode_prompts(tiny_teacher, prompts)
    assert read == [2, 2, 1]
    assert_close(parts.states, whole.states)
    assert torch.equal(parts.ids, whole.ids)
