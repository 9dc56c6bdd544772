"""Which methods there are, and which papers a version rests on: read from the headers of the files
that implement them.
"""

import sys

from erasure_core.headers import header
from erasure_core.law.lineage import RunRecord
from erasure_core.methods import METHODS
from erasure_core.metrics import METRICS

SHOWN = {
    "Title": "title",
    "Paper": "paper",
    "Changes": "changes",
    "Cost": "cost",
    "Restore": "restore",
}


def methods() -> list[dict[str, str]]:
    """Every method: its name, and what its header says of paper, cost, what it changes and how it
    is taken back.
    """
    return [
        {"method": name, **{key: header(METHODS[name])[word] for word, key in SHOWN.items()}}
        for name in sorted(METHODS)
    ]


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
    return [{"used": used, "paper": header(module)["Paper"]} for module, used in modules.items()]
