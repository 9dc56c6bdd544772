"""The two forms in which a method is compared: as its paper publishes it, and as it is tuned here.

The published form is the method's own (`PRESETS` or the defaults of its file). The tuned form is
the best of a number of trials, the same for every method, on the set that chooses: the first trial
is what the parameters hold, the others are drawn from `SPACE`.
"""

import hashlib
import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from erasure_core.errors import BadInput
from erasure_core.law.concepts import Kind
from erasure_core.methods import METHODS, AnySettings, completed, published
from erasure_core.planning.params import Params, has_lambda

Form = Literal["published", "tuned"]
FORMS: tuple[Form, ...] = ("published", "tuned")

# Published numbers that would take hours of two cores, and what is done instead; every row that is
# scaled says so. What a method is, its updates and its rates, is left as published.
SCALED: Mapping[str, Mapping[str, Any]] = {
    "ablating": {"images": 100},  # of 1000 anchor pictures
    "sepme": {"images": 100},  # of 1000 pictures of the concept
}

# What trials vary, each from least to greatest, by its logarithm.
SPACE: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "ablating": {"lr": (1e-4, 1.6e-3), "keep_weight": (1, 30)},
    "all_but_one": {"lr": (1e-4, 1.6e-3), "keep_weight": (5, 120), "lambda_": (0.5, 20)},
    "esd": {"lr": (1e-4, 1.6e-3), "keep_weight": (1, 30), "eta": (0.5, 3)},
    "forget_me_not": {"lr": (1e-4, 4e-3), "keep_weight": (1, 30)},
    "rece": {"lamb": (0.01, 1), "preserve_scale": (0.1, 10), "hold": (0.1, 10)},
    "sdd": {"lr": (1e-4, 1.6e-3), "keep_weight": (1, 30)},
    "sepme": {"tolerance": (0.003, 0.3), "lr": (3e-4, 3e-2)},
    "speed": {"lamb": (0.1, 10), "tolerance": (0.01, 0.3)},
    "uce": {"lamb": (0.05, 5), "preserve_scale": (0.1, 10)},
}


def check_methods(names: list[str]) -> None:
    """Refuse a method that is none, or comes twice: `BadInput`."""
    if unknown := [name for name in names if name not in METHODS]:
        raise BadInput(
            f"no method {', '.join(map(repr, unknown))}; choose {', '.join(sorted(METHODS))}"
        )
    if len({*names}) < len(names):
        raise BadInput(f"a method is named twice in {', '.join(names)}; name each once")


def as_published(method: str, kind: Kind) -> AnySettings:
    """The published settings, scaled where `SCALED` says."""
    return published(method, kind).model_copy(update=dict(SCALED.get(method, {})))


def as_set_here(method: str, kind: Kind, params: Params) -> AnySettings:
    """What the parameters hold for a method, the first of their lambdas where it has one; the
    published settings where they hold nothing.
    """
    have = {**params.methods, params.method.method: params.method}
    settings = completed(have.get(method, published(method, kind)), [kind])
    if has_lambda(settings) and params.lambdas:
        settings = settings.model_copy(update={"lambda_": params.lambdas[0]})
    return settings


def trial(method: str, kind: Kind, params: Params, number: int) -> AnySettings:
    """The settings of one trial; number 0 is what the parameters hold."""
    settings = as_set_here(method, kind, params)
    if number == 0:
        return settings
    digest = hashlib.sha256(f"{method} {number}".encode()).digest()
    draws = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    drawn = {
        name: float(f"{math.exp(draws.uniform(math.log(low), math.log(high))):.2g}")
        for name, (low, high) in SPACE.get(method, {}).items()
    }
    return settings.model_copy(update=drawn)


def ours(settings: AnySettings, kind: Kind) -> dict[str, Any]:
    """What is in force and is not the paper's: settings that are marked so, or the value of one."""
    found = differing(settings, kind)
    return {name: value for name, value in found.items() if _is_ours(settings, name, value)}


def _is_ours(settings: AnySettings, name: str, value: Any) -> bool:
    """By the mark `{"ours": True}` of a setting, or `{"ours": [values]}` where only these are."""
    extra = type(settings).model_fields[name].json_schema_extra
    mark = extra.get("ours", False) if isinstance(extra, dict) else False
    return value in mark if isinstance(mark, list) else bool(mark)


def differing(settings: AnySettings, kind: Kind) -> dict[str, Any]:
    """Every setting that is not as published for the kind."""
    paper = published(settings.method, kind)
    return {
        name: getattr(settings, name)
        for name in type(settings).model_fields
        if getattr(settings, name) != getattr(paper, name)
    }
