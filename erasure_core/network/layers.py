"""Which weights a method may change, by name. An empty selection is an error, never
a silent no-op.
"""

import re
from typing import Literal, get_args

from torch import nn

from erasure_core.errors import BadInput

Group = Literal["full", "xattn", "kv", "noxattn", "attn"]
PATTERNS: dict[Group, str] = {
    "full": r"",  # every parameter
    "xattn": r"\.attn2\.",  # cross-attention: what ESD-x and SDD train
    "kv": r"\.attn2\.to_[kv]\.weight$",  # keys and values: what closed-form edits change
    # what ESD-u trains
    "noxattn": r"^(?!time_embedding\.|conv_norm_out\.|conv_out\.)(?!.*\.attn2\.)",
    # self- and cross-attention: what Concept Ablation trains against whole subjects
    "attn": r"\.attn[12]\.",
}


def select(unet: nn.Module, group: str) -> dict[str, nn.Parameter]:
    """Parameters of `unet` in `group`, by name, in the module's own order.

    Raises:
        BadInput: If the group is unknown or matches nothing in this network.
    """
    if group not in PATTERNS:
        raise BadInput(
            f"group={group!r} is not a parameter group; use one of {', '.join(get_args(Group))}"
        )
    pattern = re.compile(PATTERNS[group])
    named = dict(unet.named_parameters())
    chosen = {name: parameter for name, parameter in named.items() if pattern.search(name)}
    if not chosen:
        near = ", ".join(list(named)[:3])
        raise BadInput(
            f"group={group!r} matches 0 of {len(named)} weights (they are named like "
            f"{near}); is this a text-conditioned UNet?"
        )
    return chosen


def linear(unet: nn.Module) -> frozenset[str]:
    """Names of the weights of linear layers, the only ones that a LoRA holds."""
    return frozenset(
        f"{name}.weight" for name, module in unet.named_modules() if isinstance(module, nn.Linear)
    )
