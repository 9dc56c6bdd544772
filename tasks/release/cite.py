"""Which methods there are, and which papers a version rests on: read from the headers of the files
that implement them.
"""

import sys
from typing import Any

from erasure_core.errors import BadInput
from erasure_core.headers import header
from erasure_core.law.lineage import RunRecord
from erasure_core.methods import METHODS, OWN
from erasure_core.metrics import METRICS
from erasure_core.network.training import LoraTraining
from erasure_core.planning.described import fields

SHOWN = {
    "Title": "title",
    "Paper": "paper",
    "Changes": "changes",
    "Cost": "cost",
    "Restore": "restore",
}
NOT_SAID = "not said"  # a plug-in's header need not say all


def methods() -> list[dict[str, str]]:
    """Every method: its name, what its header says of paper, cost, what it changes and how it is
    taken back, and when its change can be exported as a LoRA.
    """
    return [
        {
            "method": name,
            **_said(METHODS[name]),
            "lora": _lora(name),
        }
        for name in sorted(METHODS)
    ]


def settings(name: str) -> list[dict[str, str]]:
    """Every setting of a method: its default, and what it is.

    Raises:
        BadInput: There is no such method.
    """
    if name not in METHODS:
        raise BadInput(f"there is no method {name!r}; choose {', '.join(sorted(METHODS))}")
    return [
        {"setting": each.key, "default": each.default, "text": each.text or NOT_SAID}
        for each in fields(METHODS[name].Settings)
    ]


def _said(module: Any) -> dict[str, str]:
    said = header(module)
    return {key: said.get(word, NOT_SAID) for word, key in SHOWN.items()}


def _lora(method: str) -> str:
    """When a method's change is one that a LoRA can hold."""
    if method not in OWN:
        return NOT_SAID
    if issubclass(METHODS[method].Settings, LoraTraining):
        return "with `lora: true` in its settings"
    if "group" in METHODS[method].Settings.model_fields:
        return "with `group: kv` in its settings"
    return "yes, of the rank that its change has; --rank takes a lower one"


def papers(record: RunRecord) -> list[dict[str, str]]:
    """The papers of the method and of the measurements that made and judged a
    version, each once.
    """
    method = record.params["method"]["method"]
    if record.delta_sha256 is None:
        return []  # the base itself
    chosen = next(c for c in record.lambdas if c.delta_sha256 == record.delta_sha256)
    measured = {
        m["metric"].removeprefix("base.").removeprefix("restored.").partition("[")[0]
        for m in chosen.measurements
    }
    modules = {METHODS[method]: f"method {method}"}
    for metric in sorted(measured & METRICS.keys()):
        modules.setdefault(
            sys.modules[METRICS[metric].__module__], f"measurement {metric.partition('.')[0]}"
        )
    return [{"used": used, "paper": _said(module)["paper"]} for module, used in modules.items()]
