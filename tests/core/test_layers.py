"""Parameter groups: the names of real Stable Diffusion configurations, and no silent empty
selection.
"""

import pytest
import torch
from diffusers import UNet2DConditionModel

from erasure_core.errors import BadInput
from erasure_core.network import layers

SD14 = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 2,
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "norm_num_groups": 32,
}


def test_group_sizes_of_stable_diffusion_1_4_are_the_published_ones():
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SD14)
    sizes = {
        group: sum(p.numel() for p in layers.select(unet, group).values())
        for group in layers.PATTERNS
    }
    without_ends = (
        859_520_964
        - 43_962_560
        - (320 * 1280 + 1280 + 1280 * 1280 + 1280)
        - 2 * 320
        - (320 * 4 * 9 + 4)
    )
    assert sizes == {
        "full": 859_520_964,
        "xattn": 43_962_560,
        "kv": 19_169_280,
        "noxattn": without_ends,
        "attn": 93_536_640,
    }
    assert len(layers.select(unet, "kv")) == 32


def test_noxattn_is_everything_but_cross_attention_and_the_ends_of_the_network():
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SD14)
    everything, trained = set(layers.select(unet, "full")), set(layers.select(unet, "noxattn"))
    left = {name.split(".")[0] for name in everything - trained if ".attn2." not in name}
    assert left == {"time_embedding", "conv_norm_out", "conv_out"}
    assert not trained & set(layers.select(unet, "xattn"))
    assert any(
        "time_emb_proj" in name for name in trained
    )  # the projections inside the blocks are trained
    assert any(".norm2." in name for name in trained)  # so are the norms before cross-attention


def test_unknown_group_names_the_allowed_ones():
    with pytest.raises(BadInput, match="use one of full, xattn, kv, noxattn, attn"):
        layers.select(torch.nn.Linear(2, 2), "cross")


def test_empty_selection_is_an_error():
    with pytest.raises(BadInput, match="matches 0 of 2 weights"):
        layers.select(torch.nn.Linear(2, 2), "kv")
