"""What MLflow is to show of a version, by what the book and the version's record say."""

from collections.abc import Mapping, Sequence
from typing import Any

from erasure_core.errors import ErasureError
from erasure_core.law.fold import Version
from erasure_core.law.gates import concept_of
from erasure_core.law.lineage import RunRecord
from erasure_core.law.prompts import Reading, read_prompt_set
from erasure_core.text import names_of
from tasks.book.store import Book, Reader
from tasks.home import Home
from tasks.pages.verdict import lambda_tag, note
from tasks.registry.packaging import VersionFacts, key_of
from tasks.registry.runs import VERDICT
from tasks.registry.versions import newest_of, said_of_copy
from tasks.release.record import record_of
from tasks.versions.dvc_store import is_pointer, pointer_file

DEFAULT_STEPS, DEFAULT_GUIDANCE = 50, 7.5  # where nothing measured is left: the field's usual
NEAR = 10  # newest versions among which the newest of MLflow is looked for first
NAMES = 20  # of concepts, in a version's tag
TAGS_LENGTH = 5000  # characters of a tag that MLflow keeps on every store


def version_facts(book: Book, version: Version) -> VersionFacts:
    """What MLflow is to show of a version."""
    statement = book.ask(lambda reader: reader.text(version.statement))
    if statement is None:
        raise ErasureError(f"{version.model} version {version.version} has no statement; audit it")
    key = f"{version.model}/{version.version}/mlflow run"
    run_id = book.ask(lambda reader: reader.outcome(key))
    pointer = pointer_file(book.home, version.checkpoint)
    released = version.promoted and not version.purged
    given = released and is_pointer(pointer, version.checkpoint)
    record = None if version.purged else record_of(book.home, version)
    return VersionFacts(
        model=version.model,
        version=version.version,
        tags=_tags(version, record, _concepts(book, version)),
        statement=statement.encode(),
        pointer=pointer.read_text() if given else None,
        steps=int(record.params["sampling"]["steps"]) if record else DEFAULT_STEPS,
        guidance=_guidance(book.home, version, record) if record else DEFAULT_GUIDANCE,
        run_id=run_id or "",
        description=_description(book, version, record),
        first_statement=_first_statement(book, version),
        before=book.ask(lambda reader: reader.version_before(version.model, version.version)),
        book=book.identity(),
    )


def version_key(book: Book, version: Version) -> str:
    """`VersionFacts.key` of a version, without the rest of its facts; empty where it has none."""
    first = _first_statement(book, version)
    statement = book.ask(lambda reader: reader.text(version.statement))
    return key_of(first or (statement or "").encode())


def check_newest(book: Book, model: str) -> None:
    """Refuse to change an MLflow of which `newer_in_mlflow` has something to say."""
    if said := newer_in_mlflow(book, model):
        raise ErasureError(said)


def newer_in_mlflow(book: Book, model: str) -> str | None:
    """That MLflow has a version of this very book that the book has not: of the state folder that
    this one is a copy of, or of a copy of it. MLflow gets none before it is in the book.

    Raises:
        ErasureError: MLflow cannot be asked.
    """
    found = newest_of(book.home, book.identity(), model)  # before the book, which may grow
    if found is None or _is_known(book, model, found.key):
        return None
    return said_of_copy(model, found.version)


def _is_known(book: Book, model: str, key: str) -> bool:
    """Whether a version of the book has a key: nearly always one of the newest."""
    for newest in (NEAR, None):
        versions = book.ask(lambda reader, n=newest: reader.versions(model, n))  # type: ignore[misc]
        if any(version_key(book, version) == key for version in reversed(versions)):
            return True
    return False


def _first_statement(book: Book, version: Version) -> bytes | None:
    """The statement that the version was mirrored with at first, if the book has a later one."""

    def ask(reader: Reader) -> str | None:
        events = reader.events(f"{version.model}/{version.version}", kind="version.stated")
        first = next((event.facts["statement"] for event in events), None)
        return reader.text(first) if first != version.statement else None

    text = book.ask(ask)
    return text.encode() if text else None


def _tags(version: Version, record: RunRecord | None, concepts: str) -> dict[str, str]:
    tags = {
        **(_made_by(record, concepts) if record else {"purged": "true"}),
        "request.ids": ",".join(version.requests)[:TAGS_LENGTH],
        "base.sha256": version.base,
        "delta.sha256": version.delta or "",
        "checkpoint.sha256": version.checkpoint,
        "run.key": version.run_key,
        VERDICT: version.verdict,
    }
    return {name: value for name, value in tags.items() if value}


def _made_by(record: RunRecord, concepts: str) -> dict[str, str]:
    """What goes with the record when a version is purged: names, and how it was made."""
    erased = record.delta_sha256 is not None
    return {
        "params.sha256": record.params_sha256,
        "code.sha256": record.code_sha256,
        "git.commit": record.git_commit,
        "audience": audience_of(record) or "",
        "concept": concepts,
        "method": str(record.params["method"]["method"]) if erased else "",
        "lambda": lambda_tag(record.chosen_lambda),
    }


def _concepts(book: Book, version: Version) -> str:
    """The names of what a version erases, as far as they may be known, or how many more."""
    ids, others = version.requests[:NAMES], version.requests[NAMES:]
    names = book.ask(lambda reader: [reader.request(i).concept for i in ids])
    return names_of(names, more=len(others), most=TAGS_LENGTH)


def audience_of(record: RunRecord) -> str | None:
    """To whom the policy may release what a record tells of; the base was not attacked."""
    declared: str | None = record.params["policy"].get("audience")
    return declared if record.delta_sha256 else None


def note_of(book: Book, version: Version, record: RunRecord) -> str:
    """What a version's run came to, in Markdown."""
    checks = _to_be_shown(book, version, record.gate["checks"])
    return note(version.verdict, version.promoted, checks, version.folder)


def _description(book: Book, version: Version, record: RunRecord | None) -> str:
    if record is not None and record.gate["checks"]:
        return note_of(book, version, record)
    outcome = "promoted" if version.promoted else "refused"
    gone = "; purged" if version.purged else ""
    return f"{outcome}: gate {version.verdict}, {len(version.requests)} request(s) erased{gone}"


def _to_be_shown(
    book: Book, version: Version, checks: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """The checks without those that name a concept whose request was purged."""
    asked = (*version.requests, *version.restored)
    if not book.ask(lambda reader: reader.purged_among(asked)):
        return list(checks)
    names = book.ask(lambda reader: {reader.request(i).concept for i in asked})
    return [check for check in checks if concept_of(check["metric"]) in (None, *names)]


def _guidance(home: Home, version: Version, record: RunRecord) -> float:
    """The guidance scale that a version was measured with: that of its first prompt set."""
    for name in record.prompt_sha256:
        file = home.runs / version.folder / "prompts" / f"{name}.csv"
        if file.is_file():
            asked = record.params["sampling"].get("guidance")
            reading = Reading(guidance=asked, seed=record.params["seed"])
            return read_prompt_set(file, reading)[0].evaluation_guidance
    return DEFAULT_GUIDANCE
