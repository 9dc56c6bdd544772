"""Rows that are not what the chain folds to, in words."""

from collections.abc import Iterator

from erasure_core.law.fold import Tables


def differences(folded: Tables, stored: Tables) -> Iterator[str]:
    """Each row that is not what the chain says, and what puts it back."""
    for name in ("requests", "versions", "aliases", "proposals", "exports"):
        should, have = getattr(folded, name), getattr(stored, name)
        for key in sorted({*should, *have}, key=str):
            if should.get(key) != have.get(key):
                yield (
                    f"the book's {name} were edited: {_said(key)} is {_row(have.get(key))}, the "
                    f"chain says {_row(should.get(key))}; `erasure reconcile --tables` puts back "
                    "what the chain says"
                )


def _said(key: object) -> str:
    return "/".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _row(row: object) -> str:
    if row is None:
        return "missing"
    fields = {"state", "version", "verdict", "promoted", "due", "checkpoint"}
    shown = {f: getattr(row, f) for f in sorted(fields) if hasattr(row, f)}
    return ", ".join(f"{k} {v}" for k, v in shown.items()) or str(row)
