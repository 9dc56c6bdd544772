"""Prove that the book is whole and that everything outside is its mirror, or say what is not.

Each finding is one line: what disagrees, and what to do. Nothing is changed.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from erasure_core.errors import ErasureError
from erasure_core.law import fold
from erasure_core.law.chain import GENESIS, Event, fault_of
from erasure_core.law.fold import ALIASES, CHAMPION, Alias, Tables, Version
from erasure_core.law.lineage import RunRecord, manifest, root_sha256, sha256_file
from erasure_core.law.statement import key_id
from erasure_core.redact import redacted
from tasks.book.differences import differences, faults_of_row, listed_wrong
from tasks.book.door import faults_of_chain
from tasks.book.keys import Keys
from tasks.book.lease import alive
from tasks.book.store import Book, Entry, Reader
from tasks.book.takeover import faults_of_log, was_taken_over
from tasks.book.texts import faults_of_texts
from tasks.registry.client import BOOK, KEY, of_another
from tasks.registry.runs import NOTE, VERDICT, cut, tags_of_run, unfinished_runs
from tasks.registry.versions import (
    aliases,
    expected,
    said_of_another,
    said_of_copy,
    seen,
    version_numbers,
)
from tasks.release.mirrored import newer_in_mlflow, note_of, version_facts
from tasks.release.record import record_file, record_of
from tasks.release.settle import check_statement
from tasks.versions.dvc_store import SHA256, check_checkpoint, checkpoint_folder, deliverable


def audit(book: Book) -> Iterator[str]:
    """Everything that disagrees, anywhere."""
    yield from faults_of_chain(book)
    yield from _as_far_as_possible(_signing_key(book))
    yield from _as_far_as_possible(_texts(book))
    yield from _as_far_as_possible(faults_of_log(book))
    for model in book.ask(lambda reader: reader.models()):
        yield from _as_far_as_possible(_honoured(book, model))
        yield from _as_far_as_possible(_versions(book, model))
        yield from _as_far_as_possible(differs_in_registry(book, model))
    for row in book.ask(lambda reader: reader.waiting_outside()):
        why = f": {row['fault']}" if row["fault"] else ""
        yield f"{row['key']} has not followed yet{why}; `erasure reconcile`"
    for key in book.ask(lambda reader: reader.strange_errands()):
        yield (
            f"the book's list of what follows outside was edited: {key!r} is not what its row "
            "says; `erasure reconcile --tables` drops it"
        )
    yield from _runs(book)


def _signing_key(book: Book) -> Iterator[str]:
    """The key that signs is one that is trusted. Who audits need not be who may read it."""
    keys = Keys(book.home)
    with suppress(PermissionError):
        try:
            own = keys.signing_id()
        except ErasureError as fault:
            yield f"nothing can be signed: {fault}"
            return
        if own is not None and own not in map(key_id, keys.trusted().values()):
            yield (
                f"{keys.signing} is none of the trusted keys, and the next change would trust it: "
                "it was changed, or what made it was interrupted; restore it from a copy, or "
                "`erasure keys rotate`"
            )


def _versions(book: Book, model: str) -> Iterator[str]:
    answers = mlflow_answers(book, model)
    for version in book.ask(lambda reader: reader.versions(model)):
        yield from audit_version(book, version, mirrored=answers)


def mlflow_answers(book: Book, model: str) -> bool:
    """Whether MLflow can be asked of a model: one that does not answer is waited for each time, and
    `differs_in_registry` says that it does not.
    """
    try:
        newer_in_mlflow(book, model)
    except (ErasureError, OSError):
        return False
    return True


def audit_version(book: Book, version: Version, *, mirrored: bool = True) -> Iterator[str]:
    """What disagrees about one version: its record, evidence, base, page, weights, statement and,
    unless not `mirrored`, what MLflow shows of it.
    """
    if not version.purged:
        yield from _as_far_as_possible(_record(book, version))
        yield from _as_far_as_possible(_base(book, version))
        yield from _as_far_as_possible(differs_in_report(book, version))
        yield from _as_far_as_possible(_weights(book, version))
    yield from _as_far_as_possible(_statement(book, version))
    if mirrored:
        yield from _as_far_as_possible(differs_in_run(book, version))
        yield from _as_far_as_possible(differs_in_mlflow(book, version))


def _as_far_as_possible(part: Iterator[str]) -> Iterator[str]:
    """What one part of the audit finds; what was tampered with may break it in the middle."""
    try:
        yield from part
    except (ErasureError, OSError, AttributeError, KeyError, TypeError, ValueError) as fault:
        yield f"not to be checked further: {redacted(' '.join(str(fault).split()))}"


def _texts(book: Book) -> Iterator[str]:
    """Texts that are not what the chain names, and those that are gone without a purge."""
    with book.read() as reader:
        yield from faults_of_texts(reader.events(), reader.all_texts())


def audit_histories(book: Book, subjects: Sequence[str]) -> Iterator[str]:
    """What disagrees about the events, the row and the texts of some requests (by id) and versions
    (`model/3`), as the chain has them; `audit` compares all of them at once.
    """
    with book.read() as reader:
        for subject, said in reader.said_of(subjects).items():
            yield from _as_far_as_possible(_history(reader, subject, said))


def audit_rows(book: Book, ids: Iterable[str]) -> Iterator[str]:
    """What disagrees about the rows of requests that are shown beside others, by what the book
    lists of each: `audit_histories` looks for that in the whole chain where they are many.
    """
    with book.read() as reader:
        for request_id in ids:
            yield from _as_far_as_possible(_row(reader, request_id))


def _row(reader: Reader, request_id: str) -> Iterator[str]:
    events = list(reader.events(request_id, kind="request."))
    for event in events:
        if (fault := fault_of(event, event.previous)) is not None:
            yield fault
    yield from faults_of_row(request_id, events, reader.row_of("request.", request_id))


def _history(reader: Reader, subject: str, said: Sequence[Event]) -> Iterator[str]:
    yield from _links(reader, said)
    if list(reader.events(subject)) != said:
        yield listed_wrong(subject)
    kind = "version." if "/" in subject else "request."
    own = (event for event in said if event.event.startswith(kind))
    yield from faults_of_row(subject, own, reader.row_of(kind, subject))
    texts = fold.texts(said)
    yield from faults_of_texts(said, reader.texts_of(subject, [*texts.kept, *texts.forgotten]))


def _links(reader: Reader, said: Sequence[Event]) -> Iterator[str]:
    """Each of these events has its own hash, follows the one before, and is followed."""
    own = {event.seq for event in said}
    links = reader.links(sorted({seq + step for seq in own for step in (-1, 1)}))
    for event in said:
        _, before = links.get(event.seq - 1, (None, None if event.seq > 1 else GENESIS))
        if (fault := fault_of(event, before)) is not None:
            yield fault
        following, _ = links.get(event.seq + 1, (event.sha256, None))
        if following != event.sha256 and event.seq + 1 not in own:
            yield (
                f"event {event.seq + 1} of the chain does not follow event {event.seq}; restore "
                "the book from a copy, what follows is not evidence"
            )


def _honoured(book: Book, model: str) -> Iterator[str]:
    """The champion's requests are exactly those that are honoured."""
    with book.read() as reader:
        champion = reader.champion(model)
        erased = set(champion.requests) if champion else set()
        for entry in _lacking(reader, model, erased):
            yield (
                f"{_named(entry)}: honoured by version {entry.row.version}, but the champion of "
                f"{model} ({champion.version if champion else 'none'}) does not erase it; run again"
            )
        for request_id in sorted(erased - reader.ids(model, "honoured")):
            yield f"request {request_id} is erased by the champion of {model} but not honoured"


def _record(book: Book, version: Version) -> Iterator[str]:
    """The record's file, and the evidence that it names."""
    file = record_file(book.home, version.model, version.version)
    if not file.is_file():
        yield f"{file} is gone, though the book speaks of it; restore it from a copy"
        return
    if (found := sha256_file(file)) != version.record:
        yield (
            f"{file} was changed: the book says sha256 {version.record[:16]}..., found "
            f"{found[:16]}...; restore it from a copy"
        )
        return
    folder = book.home.runs / version.folder
    for name, sha256 in RunRecord.from_json(file).evidence.items():
        path = folder / name
        if not path.exists():
            yield f"{path} is gone, on which version {version.version} rests; restore it"
        elif _content(path) != sha256:
            yield f"{path} was changed since version {version.version} was decided; restore it"


def _base(book: Book, version: Version) -> Iterator[str]:
    """The manifest of the base that a version was made from."""
    if version.delta is None:
        return  # it is the base itself
    file = book.home.snapshots / version.base / "manifest.json"
    try:
        content = json.loads(file.read_bytes())
        found = {content["root_sha256"], root_sha256(content["files"])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        found = set[str]()
    if found != {version.base}:
        yield (
            f"{file} is gone or was changed: it names the files of the base of version "
            f"{version.version}; restore it from a copy"
        )


def differs_in_report(book: Book, version: Version) -> Iterator[str]:
    """The run's page is the one that was written."""
    if version.purged or version.delta is None or was_taken_over(version):
        return  # there is none
    written = _outcome(book, version, "report")
    file = book.home.runs / version.folder / "report.html"
    if written is None or not SHA256.fullmatch(written):
        if not _is_behind(book, version, "report"):
            yield f"the book does not say what {file} was; `erasure reconcile` writes it anew"
        return
    if not file.is_file() or sha256_file(file) != written:
        yield f"{file} is not the page that was written; `erasure reconcile` writes it anew"


def differs_in_run(book: Book, version: Version) -> Iterator[str]:
    """MLflow shows the run of a version, with its verdict and what it came to."""
    if version.purged:
        return
    run_id = _outcome(book, version, "mlflow run")
    where = f"MLflow's run of {version.model} version {version.version}"
    if run_id is None:
        if not _is_behind(book, version, "mlflow run"):
            yield f"{where}: the book does not say which it is; `erasure reconcile` finds it again"
        return
    try:
        tags, said = tags_of_run(book.home, run_id), _note_of_run(book, version)
    except (ErasureError, OSError) as fault:
        yield f"{where} cannot be compared: {redacted(str(fault))}"
        return
    if tags is None:
        yield f"{where} ({run_id}) is gone; `erasure reconcile` brings it back"
        return
    if tags.get(KEY, own := f"{version.model}/{version.version}") != own:
        yield f"{where} ({run_id}) is that of {tags[KEY]}; `erasure reconcile` finds its own again"
        return
    if KEY in tags and tags.get(VERDICT) != version.verdict:
        yield (
            f"{where}: tag {VERDICT} is {tags.get(VERDICT)}, the book says {version.verdict}; "
            "`erasure reconcile` puts it back"
        )
    if KEY in tags and said is not None and tags.get(NOTE) != said:
        yield f"{where}: its description is not what the record says; `erasure reconcile`"


def _note_of_run(book: Book, version: Version) -> str | None:
    """What the run of a version says that it came to; None where it is of the base itself."""
    if version.delta is None:
        return None
    return cut({NOTE: note_of(book, version, record_of(book.home, version))})[NOTE]


def _outcome(book: Book, version: Version, errand: str) -> str | None:
    return book.ask(lambda r: r.outcome(f"{version.model}/{version.version}/{errand}"))


def _is_behind(book: Book, version: Version, errand: str) -> bool:
    """Whether it has not followed yet, which is said where errands are."""
    key = f"{version.model}/{version.version}/{errand}"
    left = book.ask(lambda reader: reader.waiting_outside(version.model))
    return any(row["key"] == key for row in left)


def _content(path: Path) -> str:
    if path.is_file():
        return sha256_file(path)
    try:
        return root_sha256(manifest(path))
    except ErasureError:
        return ""  # an empty folder


def _weights(book: Book, version: Version) -> Iterator[str]:
    """The released folder, and DVC's copy of it."""
    folder = checkpoint_folder(book.home, version.checkpoint)
    if folder.is_dir():
        try:
            check_checkpoint(folder)
        except ErasureError as fault:
            yield f"the checkpoint is no longer what was registered: {fault}"
    if not version.promoted:
        return
    if not folder.is_dir():
        yield (
            f"checkpoint {folder} is not here, so nothing can be said of it; "
            "`erasure reconcile` brings it back"
        )
    try:
        there = delivers(book, version)
    except ErasureError as fault:
        yield f"DVC cannot be asked for {version.checkpoint[:16]}...: {redacted(str(fault))}"
        return
    if not there:
        yield (
            f"DVC cannot deliver checkpoint {version.checkpoint[:16]}... of version "
            f"{version.version} from {redacted(book.home.dvc_remote)}; `erasure reconcile`"
        )


def delivers(book: Book, version: Version) -> bool:
    """Whether the remote holds a released checkpoint as it was sent. `ErasureError` if it cannot be
    reached.
    """
    return deliverable(book.home, version.checkpoint, _outcome(book, version, "checkpoint"))


def _statement(book: Book, version: Version) -> Iterator[str]:
    """The signed statement says what the book says."""
    try:
        check_statement(book, Keys(book.home), version)
    except ErasureError as fault:
        yield str(fault)


def differs_in_mlflow(book: Book, version: Version) -> Iterator[str]:
    """MLflow shows this version as the book has it."""
    where = f"MLflow's {version.model} version {version.version}"
    try:
        found, should = seen(book.home, version.model, version.version), None
        if found is not None:
            should = expected(version_facts(book, version))
    except (ErasureError, OSError) as fault:
        yield f"{where} cannot be compared: {redacted(str(fault))}"
        return
    if found is None or should is None:
        yield f"{where} is missing; `erasure reconcile` registers it"
        return
    if found.tags.get(KEY) != should.tags[KEY] and found.tags.get(BOOK) is not None:
        another = of_another(found.tags, book.identity())
        yield (
            said_of_another(version.model, version.version, found.tags)
            if another
            else said_of_copy(version.model, version.version)
        )
        return
    for tag in sorted({*found.tags, *should.tags}):
        if found.tags.get(tag) != should.tags.get(tag):
            yield (
                f"{where}: tag {tag} is {found.tags.get(tag)}, the book says "
                f"{should.tags.get(tag)}; `erasure reconcile` puts it back"
            )
    for name in sorted({*found.files, *should.files}):
        if found.files.get(name) != should.files.get(name):
            yield (
                f"{where}: its stored file {name} is not what was registered; it may be run, or "
                "name other weights; `erasure reconcile` puts it back"
            )
    for what in ("description", "run_id"):
        if getattr(found, what) != getattr(should, what):
            yield f"{where}: its {what} is not what the book says; `erasure reconcile`"
    if not found.ready:
        yield f"{where} was not finished; `erasure reconcile`"


def differs_in_registry(book: Book, model: str) -> Iterator[str]:
    """MLflow's numbers and aliases, in terms of what a difference breaks."""
    return _unless_newer(book, model, _numbers_and_aliases)


def _unless_newer(
    book: Book, model: str, look: Callable[[Book, str], Iterator[str]]
) -> Iterator[str]:
    """What a look at MLflow finds; in a copy of a state folder nothing but that it is one."""
    try:
        newer = newer_in_mlflow(book, model)
    except (ErasureError, OSError) as fault:
        yield _not_asked(model, fault)
        return
    yield from [newer] if newer else look(book, model)


def _numbers_and_aliases(book: Book, model: str) -> Iterator[str]:
    try:
        numbers = version_numbers(book.home, book.identity(), model)
    except (ErasureError, OSError) as fault:
        yield _not_asked(model, fault)
        return
    last = book.ask(lambda reader: reader.next_version(model)) - 1
    for extra in (n for n in numbers if n > last):
        yield (
            f"MLflow has {model} version {extra}, which the book does not know; delete it there, "
            "or, if another program registers under that name, name another registered_model"
        )
    yield from _aliases_in_mlflow(book, model)


def audit_aliases(book: Book, model: str) -> Iterator[str]:
    """What disagrees about which version of a model is served: the book's own row with the chain,
    and MLflow with the book.
    """
    yield from _as_far_as_possible(_aliases_in_book(book, model))
    yield from _as_far_as_possible(_unless_newer(book, model, _aliases_in_mlflow))


def _aliases_in_book(book: Book, model: str) -> Iterator[str]:
    with book.read() as reader:
        moves = {alias: reader.moved_to(model, alias) for alias in ALIASES}
        names = reader.aliases(model)
    folded, stored = (
        Tables(aliases={(model, a): Alias(model, a, n) for a, n in some.items() if n is not None})
        for some in (moves, names)
    )
    yield from differences(folded, stored)


def _not_asked(model: str, fault: Exception) -> str:
    return f"MLflow cannot be asked of {model}: {redacted(str(fault))}"


def _aliases_in_mlflow(book: Book, model: str) -> Iterator[str]:
    try:
        points = aliases(book.home, model)
    except (ErasureError, OSError) as fault:
        yield _not_asked(model, fault)
        return
    should = book.ask(lambda reader: reader.aliases(model))
    for alias in ALIASES:
        if points.get(alias) != should.get(alias):
            yield from _moved(book, model, alias, points.get(alias), should.get(alias))


def _moved(
    book: Book, model: str, alias: str, found: int | None, should: int | None
) -> Iterator[str]:
    yield (
        f"MLflow's {alias} of {model} is {found}, the book says {should}; `erasure reconcile` puts "
        "it back"
    )
    if alias != CHAMPION:
        return
    for entry in not_in_force(book, model, found):
        yield (
            f"{_named(entry)}: NOT IN FORCE: MLflow's champion is {found}, erased from "
            f"{entry.row.version} on"
        )


def not_in_force(book: Book, model: str, served: int | None) -> list[Entry]:
    """The honoured requests that the version which MLflow serves does not erase."""
    with book.read() as reader:
        known = served is not None and 0 < served < reader.next_version(model)
        erased = set(reader.version(model, served).requests) if known and served else set()
        return _lacking(reader, model, erased)


def _lacking(reader: Reader, model: str, erased: Collection[str]) -> list[Entry]:
    """The honoured requests, those that are honoured together with another too, whose concept is
    not among what the requests `erased` took out.
    """
    honoured = reader.requests(model, ["honoured"])
    return [e for e in honoured if (e.row.duplicate_of or e.row.id) not in erased]


def _runs(book: Book) -> Iterator[str]:
    try:
        for run_id in unfinished_runs(book.home, book.identity(), not_to_close(book)):
            yield f"MLflow run {run_id} still looks as if it ran; `erasure reconcile`"
    except (ErasureError, OSError) as fault:
        yield f"MLflow cannot be asked for its runs: {redacted(str(fault))}"


def not_to_close(book: Book) -> list[str]:
    """The registered models whose runs in MLflow may run: a process releases them, or MLflow is
    ahead of this book, and their runs may be of another state folder.

    Raises:
        ErasureError: MLflow cannot be asked.
    """
    models = book.ask(lambda reader: reader.models())
    return [*working_now(book), *(m for m in models if newer_in_mlflow(book, m))]


def working_now(book: Book) -> list[str]:
    """The registered models that a process is releasing."""
    with book.read() as reader:
        leases = {model: reader.lease(model) for model in reader.models()}
    return [model for model, lease in leases.items() if lease is not None and alive(lease)]


def _named(entry: Entry) -> str:
    return f"{entry.concept} ({entry.row.id})"
