"""What the state folder holds now."""

from typing import Any

from erasure_core.law.requests import Ledger
from erasure_core.redact import redacted
from tasks.home import Home
from tasks.registry import track


def status(home: Home) -> dict[str, Any]:
    """Requests by state, registered versions by model, and where everything lives.
    Creates nothing.
    """
    requests: dict[str, list[dict[str, Any]]] = {
        "pending": [],
        "honoured": [],
        "refused": [],
        "restored": [],
    }
    for record in Ledger(home.requests).all():
        concept, request_id = record.request.concept, str(record.request.subject_request_id)
        entry = {"subject_request_id": request_id, "concept": concept.name, "kind": concept.kind}
        requests[record.state].append({**entry, "version": record.version, "reason": record.reason})
    return {
        "home": str(home.root),
        "tracking_uri": redacted(home.tracking_uri),
        "dvc_remote": redacted(home.dvc_remote),
        "requests": requests,
        "models": [_model(home, name) for name in track.models(home)],
    }


def _model(home: Home, name: str) -> dict[str, Any]:
    versions = [
        {
            "version": info.version,
            "verdict": info.tags.get(track.VERDICT_TAG),
            "aliases": list(info.aliases),
            "request_ids": info.tags["request.ids"].split(",")
            if "request.ids" in info.tags
            else [],
            "checkpoint_sha256": info.tags.get("checkpoint.sha256"),
            "created": info.created.isoformat().replace("+00:00", "Z"),
        }
        for info in track.versions(home, name)
    ]
    aliases = {
        alias: track.get_alias(home, name, alias) for alias in (track.CHAMPION, track.CANDIDATE)
    }
    return {"name": name, **aliases, "versions": versions}
