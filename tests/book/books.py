"""Books of record for tests: requests and whole releases without a network, a model or a server."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from erasure_core.law.fold import Version
from erasure_core.law.lineage import RunRecord, canonical_json, root_sha256, sha256_json
from erasure_core.law.requests import DeletionRequest
from tasks.book import database
from tasks.book.door import open_book
from tasks.book.lease import holding
from tasks.book.store import Book
from tasks.home import Home
from tasks.release.settle import Outcome, Restoring, settle

MODEL = "toy"
WEIGHTS = "weights.json"  # the one file of a released folder
A, B, C, D = (UUID(int=number) for number in (0xA, 0xB, 0xC, 0xD))


def a_request(request_id: UUID, name: str = "cat", **more: object) -> DeletionRequest:
    """A valid request; `more` are keys of the request or, as `concept_...`, of its concept."""
    concept = {"name": name, "kind": "object", "prompts": [f"a {name}"], "replacement": "a cup"}
    concept |= {k.removeprefix("concept_"): v for k, v in more.items() if k.startswith("concept_")}
    given = {
        "subject_request_id": request_id,
        "subject_request_type": "erasure",
        "submitted_time": "2026-11-22T10:00:00Z",
        "regulation": "gdpr",
        "concept": concept,
    }
    return DeletionRequest.model_validate(
        given | {k: v for k, v in more.items() if not k.startswith("concept_")}
    )


def a_book(root: Path) -> Book:
    """A new book in a state folder of its own."""
    return open_book(Home(root))


def quick_book(root: Path) -> Book:
    """A new book in memory: thousands of transactions wait for no disk."""
    return Book(Home(root), database._empty())


def state_of(book: Book, request_id: UUID) -> str:
    return book.ask(lambda reader: reader.request(request_id)).row.state


def event_names(book: Book) -> list[str]:
    return book.ask(lambda reader: [event.event for event in reader.events()])


def outcome(
    book: Book,
    new: list[UUID],
    verdict: str = "pass",
    *,
    restoring: UUID | None = None,
    model: str = MODEL,
) -> Outcome:
    """What a run would come to that honours `new` on top of everything that is honoured now."""
    honoured = book.ask(lambda reader: reader.ids(model, "honoured"))
    wanted = honoured | {str(i) for i in new} - {str(restoring)}
    number = book.ask(lambda reader: reader.next_version(model))
    request_ids = sorted(wanted - {str(restoring)})
    record = RunRecord.model_validate(
        {
            "run_key": sha256_json([model, number])[:16],
            "request_ids": request_ids,
            "restored_ids": [str(restoring)] if restoring else [],
            "requests_sha256": sha256_json(request_ids),
            "base_sha256": "b" * 64,
            "prompt_sha256": {},
            "params_sha256": "d" * 64,
            "params": {},
            "code_sha256": "e" * 64,
            "git_commit": "unknown",
            "lambdas": [],
            "chosen_lambda": None,
            "delta_sha256": "f" * 64,
            "checkpoint_sha256": root_sha256({WEIGHTS: sha256_json(_weights(model, number))}),
            "gate": {"verdict": verdict, "checks": []},
            "promoted": verdict == "pass",
            "model_name": model,
            "model_version": number,
            "folder": f"run-{number}",
            "seconds": {},
            "created": datetime(2026, 11, 23, tzinfo=UTC),
        }
    )
    return Outcome(
        record=record,
        plan_sha256=sha256_json(["plan", request_ids]),
        policy_sha256="a" * 64,
        audience=None,
        new={str(i): book.ask(lambda r, i=i: r.request(i)).row.recipe for i in new},
        champion_before=book.ask(lambda reader: reader.alias(model, "champion")),
        restoring=Restoring(str(restoring), "asked for") if restoring else None,
    )


def _weights(model: str, number: int) -> list[object]:
    """What stands in the one file of a version's folder."""
    return [model, number, "checkpoint"]


def with_weights(book: Book, version: Version) -> Version:
    """The same version, whose folder lies here."""
    folder = book.home.checkpoints / version.checkpoint
    folder.mkdir(parents=True)
    facts = _weights(version.model, version.version)
    (folder / WEIGHTS).write_bytes(canonical_json(facts).encode())
    return version


def released(book: Book, new: list[UUID], verdict: str = "pass", **more: UUID) -> Version:
    """A whole release under its lease."""
    with holding(book, MODEL, "releasing") as held:
        return settle(book, held, outcome(book, new, verdict, **more))
