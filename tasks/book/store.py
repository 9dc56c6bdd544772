"""The book of record: the one home of what was asked, decided and released.

Every change is one transaction that appends its events to the chain and applies each to the tables
(`law.fold`). What may be forgotten lies in `texts`, which the chain names by salted hash.
"""

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar, get_args
from uuid import UUID, uuid4

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    String,
    Table,
    and_,
    cast,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from erasure_core.errors import BadInput, ErasureError
from erasure_core.law import chain, fold
from erasure_core.law.chain import Event
from erasure_core.law.concepts import Concept, Kind, concept_label, letters_of, may_mean
from erasure_core.law.fold import CHAMPION, Alias, Export, Proposal, Request, Tables, Version
from erasure_core.law.life import DUE
from erasure_core.law.lineage import canonical_json
from erasure_core.law.requests import DeletionRequest
from tasks.book import database, schema
from tasks.book.actor import acting
from tasks.book.differences import faults_of_row
from tasks.book.heads import follow
from tasks.book.keys import Keys
from tasks.book.texts import Stored, changed
from tasks.home import Home

FORGOTTEN = "(purged)"
KINDS = get_args(Kind)
SALT = 32  # characters of a text's salt
OTHER_NAMES = '{"concept":{"also":['  # begins a recipe that has some
LARGEST = 2**63 - 1  # that SQL counts to
IDENTITY = 16  # characters of a hash that tell one book from another
ERRANDS = ("report", "checkpoint", "mlflow run", "mlflow version", "aliases")  # of each version
SET_ASIDE = "set aside"  # the errand of a model that 0.1 registered
FEW = 10  # requests and versions for which the database looks; for more the whole chain is read
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Entry:
    """A request with its texts; they are None once purged."""

    row: Request
    request: DeletionRequest | None
    reason: str | None
    fault: str | None = None  # why the request cannot be read

    @property
    def concept(self) -> str:
        """The concept's name, as long as it may be known."""
        return self.request.concept.name if self.request else FORGOTTEN

    @property
    def kind(self) -> str:
        """The concept's kind, as long as it may be known."""
        return self.request.concept.kind if self.request else FORGOTTEN

    @property
    def regulation(self) -> str:
        """The law as it was given, as long as that may be known; its name, or that it has none."""
        return self.request.regulation if self.request else self.row.regulation

    @property
    def known(self) -> DeletionRequest:
        """The request itself. `ErasureError` if it was purged: nothing can be built from it."""
        if self.request is None:
            why = self.fault or "it was purged"
            raise ErasureError(f"request {self.row.id} cannot be read: {why}")
        return self.request


class Reader:
    """Questions to one consistent view of the book."""

    def __init__(self, connection: Connection):
        self.connection = connection
        self._labels: dict[str, set[str]] | None = None  # letters of a name -> labels, once read

    def is_empty(self) -> bool:
        """Whether there is no event; none is read, for what it says might have been edited."""
        return self.connection.scalar(select(schema.events.c.seq).limit(1)) is None

    def head(self) -> Event | None:
        """The last event; None in an empty book."""
        found = self._events(select(schema.events).order_by(schema.events.c.seq.desc()).limit(1))
        return next(found, None)

    def sha256_at(self, seq: int) -> str | None:
        """The hash of the event of this number, if there is one."""
        table = schema.events
        return self.connection.scalar(select(table.c.sha256).where(table.c.seq == seq))

    def links(self, seqs: Sequence[int]) -> dict[int, tuple[str, str]]:
        """`previous` and `sha256` of the events of these numbers, as far as there are such."""
        table, found = schema.events, {}
        query = select(table.c.seq, table.c.previous, table.c.sha256)
        for first in range(0, len(seqs), 500):
            some = table.c.seq.in_(seqs[first : first + 500])
            for row in self.connection.execute(query.where(some)):
                found[row.seq] = (row.previous, row.sha256)
        return found

    def events(
        self, subject: str | None = None, after: int = 0, kind: str | None = None
    ) -> Iterator[Event]:
        """The chain in order, whole or about one request (its id) or version (`model/3`); with
        `kind`, only events whose name begins so.
        """
        table = schema.events
        query = select(table).where(table.c.seq > after).order_by(table.c.seq)
        if subject is not None:
            about = select(schema.subjects.c.seq).where(schema.subjects.c.subject == subject)
            query = query.where(table.c.seq.in_(about))
        if kind is not None:
            query = query.where(table.c.event.startswith(kind, autoescape=True))
        return self._events(query)

    def request(self, request_id: UUID | str) -> Entry:
        """One request. `BadInput` if the book does not hold it."""
        if (entry := self.find_request(request_id)) is None:
            raise BadInput(
                f"request {request_id} is not in the book; `erasure request list` lists those that "
                "are, `erasure request add FILE` adds one"
            )
        return entry

    def find_request(self, request_id: UUID | str) -> Entry | None:
        """One request, or None."""
        row = self._row(Request, schema.requests, schema.requests.c.id == str(request_id))
        return next(self._entries([row]), None) if row else None

    def requests(
        self,
        model: str | None = None,
        states: Sequence[str] | None = None,
        newest: int | None = None,
        urgent: int | None = None,
        own: bool = False,
    ) -> list[Entry]:
        """Requests by time of submission, then id; with `newest`, only that many of the latest;
        with `urgent`, of those that are due first; with `own`, without those that are honoured
        together with another.
        """
        table = schema.requests
        query = select(table)
        if model is not None:
            query = query.where(table.c.model == model)
        if states is not None:
            query = query.where(table.c.state.in_(states))
        if own:
            query = query.where(table.c.duplicate_of.is_(None))
        if newest is not None:
            query = query.order_by(table.c.submitted.desc(), table.c.id.desc()).limit(newest)
        if urgent is not None:
            query = query.order_by(table.c.due, table.c.id).limit(urgent)
        return sorted(
            self._entries(self._values(Request, query)), key=lambda e: (e.row.submitted, e.row.id)
        )

    def duplicates_of(self, request_id: str) -> list[Entry]:
        """The requests that are honoured together with this one, oldest first."""
        table = schema.requests
        query = select(table).where(table.c.duplicate_of == request_id)
        query = query.order_by(table.c.received, table.c.id)
        return list(self._entries(self._values(Request, query)))

    def who_asks_too(self, request_id: str) -> list[str]:
        """Those of them that still ask for its concept, or have it honoured."""
        others = self.duplicates_of(request_id)
        return [o.row.id for o in others if o.row.state in DUE or o.row.state == "honoured"]

    def same_concept(
        self, model: str, concept: Concept, states: Sequence[str], but: str
    ) -> Entry | None:
        """The oldest request of these states that asks for the same concept, in any spelling of its
        name and by each other name that it has, other than `but`; or else one that is honoured and
        has all of these among its other names.
        """
        table, texts = schema.requests, schema.texts
        mine = (table.c.model == model, table.c.state.in_(states), table.c.id != but)
        labels = self._labels_like(concept.name, [concept.kind])
        query = select(table).join(texts, texts.c.subject == table.c.id).limit(1)
        query = query.where(texts.c.label.in_(labels), *mine)
        query = query.order_by(table.c.received, table.c.id)
        number = 0
        while rows := self._values(Request, query.offset(number)):
            (entry,) = self._entries(rows)
            if entry.request is not None and entry.request.concept.covers(concept):
                return entry
            number += 1
        entries = map(self.find_request, self._honoured_otherwise(concept.name, *mine))
        erased = (e for e in entries if e and e.request and e.request.concept.covers(concept))
        return next(erased, None)

    def _honoured_otherwise(self, name: str, *mine: ColumnElement[bool]) -> list[str]:
        """The ids of the requests, oldest first, that are honoured and whose recipe may have `name`
        for another name. One that is open may never be honoured: it may have a name too many.
        """
        table, texts = schema.requests, schema.texts
        recipe = and_(texts.c.subject == table.c.id, texts.c.sha256 == table.c.recipe)
        has_some = func.substr(texts.c.body, 1, len(OTHER_NAMES)) == OTHER_NAMES
        query = select(table.c.id, texts.c.body).join(texts, recipe)
        query = query.where(has_some, table.c.state == "honoured", *mine)
        rows = self.connection.execute(query.order_by(table.c.received, table.c.id))
        letters = letters_of(name)
        return [row.id for row in rows if letters in letters_of(row.body)]

    def _labels_like(self, name: str, kinds: Sequence[str]) -> list[str]:
        """The labels of concepts of these kinds that might be called so in another spelling."""
        if self._labels is None:
            self._labels = {}
            label = schema.texts.c.label
            for known in self.connection.scalars(
                select(label).distinct().where(label.is_not(None))
            ):
                self._note_label(known)
        labels = {concept_label(kind, name) for kind in kinds}
        known = self._labels.get(letters_of(name), ())
        return sorted(labels | {label for label in known if label.partition(":")[0] in kinds})

    def _note_label(self, label: str) -> None:
        if self._labels is not None:
            self._labels.setdefault(letters_of(label.partition(":")[2]), set()).add(label)

    def ids(self, model: str, state: str) -> frozenset[str]:
        """The ids of a model's requests in one state, without duplicates of others."""
        table = schema.requests
        mine = (table.c.model == model, table.c.state == state, table.c.duplicate_of.is_(None))
        return frozenset(self.connection.scalars(select(table.c.id).where(*mine)))

    def purged_among(self, ids: Sequence[str]) -> set[str]:
        """Those of these requests that were purged."""
        table, found = schema.requests, set[str]()
        for first in range(0, len(ids), 500):
            mine = (table.c.id.in_(ids[first : first + 500]), table.c.purged)
            found.update(self.connection.scalars(select(table.c.id).where(*mine)))
        return found

    def counts(self, model: str | None = None) -> dict[str, int]:
        """How many requests are in each state."""
        table = schema.requests
        query = select(table.c.state, func.count()).group_by(table.c.state)
        query = query.where(table.c.model == model) if model else query
        return {state: count for state, count in self.connection.execute(query)}

    def models(self) -> list[str]:
        """Every registered model that has a request or a version."""
        asked, made = schema.requests.c.model, schema.versions.c.model
        found = self.connection.scalars(select(asked).union(select(made)))
        return sorted(found)

    def version(self, model: str, version: int) -> Version:
        """One version. `BadInput` if there is none."""
        table = schema.versions
        mine = (table.c.model == model, table.c.version == version)
        row = self._row(Version, table, *mine) if version <= LARGEST else None
        if row is None:
            last = self.next_version(model) - 1
            have = f"1 to {last}" if last else "none"
            raise BadInput(f"{model} has no version {version}; registered: {have}")
        return row

    def versions(self, model: str, newest: int | None = None) -> list[Version]:
        """Versions of a model, oldest first; with `newest`, only that many of the latest."""
        table = schema.versions
        query = select(table).where(table.c.model == model).order_by(table.c.version.desc())
        query = query.limit(newest) if newest is not None else query
        return self._values(Version, query)[::-1]

    def version_before(self, model: str, version: int) -> int:
        """The number of the version before, 0 for the first; an old state may leave one out."""
        number = schema.versions.c.version
        earlier = (schema.versions.c.model == model, number < version)
        return self.connection.scalar(select(func.max(number)).where(*earlier)) or 0

    def by_plan(self, model: str, plan: str) -> list[Version]:
        """The versions that one plan led to, oldest first."""
        table = schema.versions
        query = select(table).where(table.c.model == model, table.c.plan == plan)
        return self._values(Version, query.order_by(table.c.version))

    def by_checkpoint(self, sha256: str) -> list[Version]:
        """The versions whose released folder has this content hash."""
        table = schema.versions
        return list(self._values(Version, select(table).where(table.c.checkpoint == sha256)))

    def next_version(self, model: str) -> int:
        """The number of the next version."""
        table = schema.versions
        last = self.connection.scalar(
            select(func.max(table.c.version)).where(table.c.model == model)
        )
        return (last or 0) + 1

    def alias(self, model: str, alias: str) -> int | None:
        """The version that an alias names, or None."""
        table = schema.aliases
        row = self._row(Alias, table, table.c.model == model, table.c.alias == alias)
        return row.version if row else None

    def moved_to(self, model: str, alias: str) -> int | None:
        """The version that an alias was last moved to, as the chain says: looked up from its end,
        where the tables are what might have been edited.
        """
        table = schema.events
        query = select(table).where(table.c.event == "alias.moved").order_by(table.c.seq.desc())
        moves = (event.facts for event in self._events(query))
        mine = (facts for facts in moves if (facts["model"], facts["alias"]) == (model, alias))
        return next((int(facts["version"]) for facts in mine), None)

    def moved_away(self, model: str, alias: str) -> dict[int, Event]:
        """By version, how an alias was last moved away from it, as the chain says."""
        moved: dict[int, Event] = {}
        named = None
        for event in self.events(kind="alias.moved"):
            facts = event.facts
            if (facts["model"], facts["alias"]) == (model, alias):
                if named is not None:
                    moved[named] = event
                named = int(facts["version"])
        return moved

    def aliases(self, model: str) -> dict[str, int]:
        """Every alias of a model."""
        rows = self.connection.execute(
            select(schema.aliases).where(schema.aliases.c.model == model)
        )
        return {row.alias: row.version for row in rows}

    def champion(self, model: str) -> Version | None:
        """The version that is served."""
        version = self.alias(model, CHAMPION)
        return None if version is None else self.version(model, version)

    def proposal(self, plan: str) -> Proposal | None:
        """A plan that was proposed for approval."""
        return self._row(Proposal, schema.proposals, schema.proposals.c.plan == plan)

    def export(self, sha256: str) -> Export | None:
        """What left with that content, if it came from here."""
        return self._row(Export, schema.exports, schema.exports.c.sha256 == sha256)

    def text(self, sha256: str | None) -> str | None:
        """A text by its hash; None if it was purged.

        Raises:
            ErasureError: The text is not what the chain names.
        """
        if sha256 is None:
            return None
        texts, faults = self._texts([sha256])
        if faults:
            raise ErasureError(faults[sha256])
        return texts.get(sha256)

    def row_of(self, kind: str, subject: str) -> Tables:
        """The row of a request, a version or a plan, as `fold.changes` names it; none if there is
        none.
        """
        rows, (model, _, number) = Tables(), subject.rpartition("/")
        match kind:
            case "request.":
                row = self._row(Request, schema.requests, schema.requests.c.id == subject)
                rows.requests = {row.id: row} if row else {}
            case "version.":
                table = schema.versions
                mine = (table.c.model == model, table.c.version == int(number))
                version = self._row(Version, table, *mine)
                rows.versions = {(model, int(number)): version} if version else {}
            case "plan.":
                proposal = self.proposal(subject)
                rows.proposals = {subject: proposal} if proposal else {}
        return rows

    def tables(self) -> Tables:
        """Every row that the chain folds to, as it stands."""
        found = Tables()
        for name, table in schema.FOLDED.items():
            kind = _KINDS[name]
            setattr(found, name, {_key(row): row for row in self._values(kind, select(table))})
        return found

    def all_texts(self) -> Iterator[Stored]:
        """Every text."""
        return map(_stored, self.connection.execute(select(schema.texts)).yield_per(1000))

    def texts_of(self, subject: str, hashes: Sequence[str]) -> Iterator[Stored]:
        """The texts that are kept under a subject, and those of these hashes."""
        table = schema.texts
        mine = or_(table.c.subject == subject, table.c.sha256.in_(hashes))
        return map(_stored, self.connection.execute(select(table).where(mine)))

    def listed(self) -> Iterator[tuple[int, str]]:
        """By number of event, what it is found under."""
        query = select(schema.subjects.c.seq, schema.subjects.c.subject)
        rows = self.connection.execute(query.order_by(schema.subjects.c.seq)).yield_per(1000)
        return ((row.seq, row.subject) for row in rows)

    def said_of(self, subjects: Sequence[str]) -> dict[str, list[Event]]:
        """What `events` has about each of these requests and versions, but looked for in the chain
        itself: what an event is found under might have been edited.
        """
        query = select(schema.events).order_by(schema.events.c.seq)
        if len(subjects) <= FEW:
            query = query.where(or_(*map(_may_say, subjects)))
        said: dict[str, list[Event]] = {subject: [] for subject in subjects}
        for event in self._events(query):
            for subject in fold.subjects(event.event, event.facts):
                if subject in said:
                    said[subject].append(event)
        return said

    def named(self, name: str) -> list[Entry]:
        """The requests that ask for a concept of this name, in any spelling and of any kind."""
        table, texts = schema.requests, schema.texts
        labels = self._labels_like(name, KINDS)
        asked = select(texts.c.sha256).where(texts.c.label.in_(labels))
        entries = self._entries(
            self._values(Request, select(table).where(table.c.asked.in_(asked)))
        )
        return [e for e in entries if e.request and may_mean(name, e.request.concept.name)]

    def waiting_outside(self, model: str | None = None) -> list[Mapping[str, Any]]:
        """What the world outside has not heard of yet, oldest first."""
        table = schema.outbox
        query = select(table).where(table.c.done.is_(None)).order_by(table.c.id)
        query = query.where(table.c.model == model) if model else query
        return [dict(row) for row in self.connection.execute(query).mappings()]

    def outcome(self, key: str) -> str | None:
        """What an errand outside came to (an MLflow run's id, ...)."""
        table = schema.outbox
        return self.connection.scalar(select(table.c.result).where(table.c.key == key))

    def strange_errands(self) -> list[str]:
        """The keys of errands whose row says another key, of no kind that there is, or of a version
        that is not there: they were edited.
        """
        table, made = schema.outbox, schema.versions
        key = table.c.model + "/" + cast(table.c.version, String) + "/" + table.c.kind
        own = and_(made.c.model == table.c.model, made.c.version == table.c.version)
        strange = (
            table.c.key != key,
            table.c.kind.not_in((*ERRANDS, SET_ASIDE)),
            ~select(made.c.version).where(own).exists(),
        )
        query = select(table.c.key).where(or_(*strange))
        return list(self.connection.scalars(query.order_by(table.c.key)))

    def lease(self, name: str) -> Mapping[str, Any] | None:
        """Who holds a lease, since when, and for what."""
        query = select(schema.leases).where(schema.leases.c.name == name)
        row = self.connection.execute(query).mappings().first()
        return {**row, "holder": _holder(row["holder"])} if row else None

    def _events(self, query: Select[Any]) -> Iterator[Event]:
        return map(_event, self.connection.execute(query).yield_per(1000))

    def _entries(self, rows: Sequence[Request]) -> Iterator[Entry]:
        hashes = [h for row in rows for h in (row.asked, row.recipe, row.reason) if h]
        texts, faults = self._texts(hashes)
        for row in rows:
            fault = faults.get(row.asked) or faults.get(row.recipe)
            asked, recipe = texts.get(row.asked), texts.get(row.recipe)
            reason = texts.get(row.reason) if row.reason else None
            if fault or asked is None or recipe is None:
                yield Entry(row, None, reason, fault)
                continue
            try:
                yield Entry(row, _joined(asked, recipe), reason)
            except ValueError as wrong:  # this version knows stricter rules than the one it came by
                yield Entry(row, None, reason, " ".join(str(wrong).split())[:300])

    def _texts(self, hashes: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
        """Texts by hash, and what is wrong with those that are not what the chain names."""
        texts: dict[str, str] = {}
        faults: dict[str, str] = {}
        for first in range(0, len(hashes), 500):
            some = schema.texts.c.sha256.in_(hashes[first : first + 500])
            for row in self.connection.execute(select(schema.texts).where(some)):
                if _is_whole(row):
                    texts[row.sha256] = row.body
                else:
                    faults[row.sha256] = changed(row.subject, row.sha256)
        return texts, faults

    def _values(self, kind: type[Value], query: Select[Any]) -> list[Value]:
        """The rows of one table. `ErasureError` where one holds what its column never does."""
        try:
            return [_value(kind, row) for row in self.connection.execute(query).mappings()]
        except (LookupError, TypeError, ValueError) as fault:
            table = next(name for name, known in _KINDS.items() if known is kind)
            raise ErasureError(
                f"the book's {table} were edited: a row cannot be read ({fault}); `erasure "
                "reconcile --tables` puts back what the chain says"
            ) from None

    def _row(self, kind: type[Value], table: Table, *where: Any) -> Value | None:
        return next(iter(self._values(kind, select(table).where(*where))), None)


class Transaction(Reader):
    """A change in the making: what it appends, all of it is there afterwards, or nothing."""

    def __init__(self, connection: Connection, operation: str):
        super().__init__(connection)
        self.operation = operation
        self._head: Event | None = None
        self.first: Event | None = None  # that this transaction appended
        self.appended: Event | None = None  # the last one that it did
        self._compared: set[tuple[str, str]] = set()  # rows known to be what the chain says
        self._unnamed: dict[str, str] = {}  # by hash, whose the texts are that no event names yet

    def append(self, event: str, **facts: object) -> Event:
        """Append an event and apply it to the tables. `None` facts are left out.

        Raises:
            BadInput: The step is not allowed.
            ErasureError: A row that it changes was edited: what may follow the row need not be
                what may follow in the chain.
        """
        given = json.loads(canonical_json({k: v for k, v in facts.items() if v is not None}))
        if self._head is None:
            self._head = self.head()
        sealed = chain.sealed(self._head, event, given, acting(), chain.now())
        rows = self._touched(sealed)
        before = {name: dict(getattr(rows, name)) for name in schema.FOLDED}
        fold.apply(rows, sealed)
        self._insert(sealed)
        for name, table in schema.FOLDED.items():
            for key, row in getattr(rows, name).items():
                self._store(table, before[name].get(key), row)
        for sha256 in fold.texts_named(given):
            self._unnamed.pop(sha256, None)
        self.first = self.first or sealed
        self._head = self.appended = sealed
        return sealed

    def keep_text(self, subject: str, body: str, label: str | None = None) -> str:
        """Keep a text that may be forgotten later; return the salted hash by which an event of this
        transaction must name it.
        """
        salt = secrets.token_hex(SALT // 2)
        sha256 = _salted(salt, body)
        row = {"sha256": sha256, "subject": subject, "label": label, "salt": salt, "body": body}
        self.connection.execute(insert(schema.texts), row)
        if label is not None:
            self._note_label(label)
        self._unnamed[sha256] = subject
        return sha256

    def forget_texts(self, subject: str) -> list[str]:
        """Delete every text that the events of a subject name; return the hashes of those that were
        there. Whose a text is, its row does not decide: it might have been edited.
        """
        table, named = schema.texts, list(fold.texts(self.events(subject)).kept)
        mine = table.c.sha256.in_(named)
        found = sorted(self.connection.scalars(select(table.c.sha256).where(mine)))
        self.connection.execute(delete(table).where(mine))
        return found

    def forget_text(self, sha256: str) -> None:
        """Delete one text."""
        self.connection.execute(delete(schema.texts).where(schema.texts.c.sha256 == sha256))

    def check_named(self) -> None:
        """Refuse to keep what no purge would find. `RuntimeError` names whose text it is."""
        if self._unnamed:
            whose = ", ".join(sorted(set(self._unnamed.values())))
            raise RuntimeError(f"a text of {whose} is named by no event; append one that names it")

    def send(self, model: str, version: int, kind: str, result: str | None = None) -> None:
        """Put an errand into the outbox; with a `result`, as one that was done before. One that is
        to be done again has what it came to until then.
        """
        key = f"{model}/{version}/{kind}"
        table = schema.outbox
        row = {"model": model, "version": version, "kind": kind, "made": chain.now(), "tries": 0}
        row |= {"done": chain.now() if result else None, "fault": None}
        row |= {"result": result} if result else {}
        known = self.connection.execute(update(table).where(table.c.key == key), row)
        if not known.rowcount:
            self.connection.execute(insert(table), {**row, "key": key})

    def note_errand(self, errand: int, **values: Any) -> None:
        """What became of an errand: done, or tried in vain."""
        self.connection.execute(
            update(schema.outbox).where(schema.outbox.c.id == errand).values(values)
        )

    def forget_errands(self, keys: Sequence[str]) -> None:
        """Take errands out of the outbox."""
        table = schema.outbox
        for key in keys:
            self.connection.execute(delete(table).where(table.c.key == key))

    def _insert(self, event: Event) -> None:
        row = {**asdict(event), "operation": self.operation}
        row |= {name: canonical_json(row[name]) for name in ("actor", "facts")}
        self.connection.execute(insert(schema.events), row)
        about = fold.subjects(event.event, event.facts)
        if about:
            rows = [{"subject": subject, "seq": event.seq} for subject in about]
            self.connection.execute(insert(schema.subjects), rows)

    def _touched(self, event: Event) -> Tables:
        """The row that an event changes, which must be what its own events fold to."""
        if (about := fold.changes(event)) is None:
            return Tables()
        rows = self.row_of(*about)
        if about not in self._compared:
            kind, subject = about
            for fault in faults_of_row(subject, self.events(subject, kind=kind), rows):
                raise ErasureError(f"{fault}; nothing was changed")
            self._compared.add(about)
        return rows

    def _store(self, table: Table, before: object, row: Any) -> None:
        if row == before:
            return
        values, keys = asdict(row), [c for c in table.columns if c.primary_key]
        mine = [c == values[c.name] for c in keys]
        # values beside the statement, not in it: SQLAlchemy then knows the statement again
        if not self.connection.execute(update(table).where(*mine), values).rowcount:
            self.connection.execute(insert(table), values)


class Book:
    """The door to the book. Reading makes nothing; writing goes through `change`."""

    def __init__(self, home: Home, engine: Engine):
        self.home, self.engine = home, engine

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """One consistent view."""
        with database.reading(self.engine) as connection:
            yield Reader(connection)

    def ask(self, question: Callable[[Reader], Value]) -> Value:
        """The answer to one question, waiting while the database is away."""

        def once() -> Value:
            with self.read() as reader:
                return question(reader)

        return database.patiently(once)

    def identity(self) -> str:
        """What tells this book from any other, a copy of it apart: the beginning of its first
        event's hash; empty before there is one.
        """
        return (self.ask(lambda reader: reader.sha256_at(1)) or "")[:IDENTITY]

    def change(self, work: Callable[[Transaction], Value]) -> Value:
        """Do `work` in one transaction; whatever it raises undoes all of it, and so does a key with
        which its events could not be signed.

        A database that goes away is waited for and the work is done again, unless its events turn
        out to be there: then the commit had succeeded.
        """
        operation = str(uuid4())
        results: list[Value] = []
        done_by: list[Transaction] = []

        def once() -> Value:
            with database.writing(self.engine) as connection:
                done = select(schema.events.c.seq).where(schema.events.c.operation == operation)
                if results and connection.scalar(done.limit(1)) is not None:
                    return results[-1]
                transaction = Transaction(connection, operation)
                results.append(work(transaction))
                transaction.check_named()
                if transaction.appended:
                    Keys(self.home).check_can_sign()
                done_by.append(transaction)
            return results[-1]

        result = database.patiently(once)
        first, head = (done_by[-1].first, done_by[-1].appended) if done_by else (None, None)
        if first and head:
            follow(
                self.home,
                head,
                lambda seq: self.ask(lambda reader: reader.sha256_at(seq)),
                young=first.seq <= 2,
            )
        return result


_KINDS: Mapping[str, type[Any]] = {
    "requests": Request,
    "versions": Version,
    "aliases": Alias,
    "proposals": Proposal,
    "exports": Export,
}


def _value(kind: type[Value], row: Any) -> Value:
    names = [f.name for f in fields(kind)]  # type: ignore[arg-type] # every kind is a dataclass
    plain = {name: row[name] for name in names}
    return kind(**{n: tuple(v) if isinstance(v, list) else v for n, v in plain.items()})


def _event(row: Any) -> Event:
    """`ErasureError` where what it says is no JSON object."""
    try:
        actor, facts = json.loads(row.actor), json.loads(row.facts)
    except (RecursionError, TypeError, ValueError):
        actor = facts = None
    if not (isinstance(actor, dict) and isinstance(facts, dict)):
        raise ErasureError(
            f"event {row.seq} of the chain was changed: its actor and its facts are no JSON "
            "objects; restore the book from a copy, what follows is not evidence"
        )
    return Event(row.seq, row.time, row.event, actor, facts, row.previous, row.sha256)


def _holder(text: str) -> dict[str, Any]:
    """Who holds a lease. Of a row that was edited nobody knows; it must keep nobody from asking."""
    nobody = dict.fromkeys(("user", "host", "pid"), "unknown")
    try:
        found = json.loads(text)
    except (RecursionError, ValueError):
        return nobody
    return {**nobody, **found} if isinstance(found, dict) else nobody


def _key(row: Any) -> Any:
    match row:
        case Version():
            return row.model, row.version
        case Alias():
            return row.model, row.alias
        case Request():
            return row.id
        case Proposal():
            return row.plan
        case _:
            return row.sha256


def _may_say(subject: str) -> ColumnElement[bool]:
    """What is true of the facts of every event about a request or a version, and of few others."""
    facts, (model, _, number) = schema.events.c.facts, subject.rpartition("/")
    if model:
        words = (f'"model":{canonical_json(model)}', f'"version":{number}')
        return and_(*(facts.contains(word, autoescape=True) for word in words))
    own = func.replace(facts, f'"of":"{subject}"', "")  # thousands may be honoured with it
    return own.contains(subject, autoescape=True)


def _stored(row: Any) -> Stored:
    return Stored(row.sha256, row.subject, row.label, row.body, _is_whole(row))


def _is_whole(row: Any) -> bool:
    """Whether salt and text are what the hash names: where one ends, the hash does not say."""
    return len(row.salt) == SALT and _salted(row.salt, row.body) == row.sha256


def _salted(salt: str, body: str) -> str:
    return hashlib.sha256(f"{salt}{body}".encode()).hexdigest()


def _joined(asked: str, recipe: str) -> DeletionRequest:
    return DeletionRequest.joined(json.loads(asked), json.loads(recipe))
