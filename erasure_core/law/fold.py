"""What the chain of events comes to: requests, versions, aliases, approvals, exports.

`apply` is the one place that says what an event does to these tables. The book of record calls it
for each event that it appends, and the audit calls it for all events from the first: so the tables
are what the chain folds to, or somebody changed them behind its back.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from erasure_core.errors import ErasureError
from erasure_core.law.chain import Event
from erasure_core.law.life import State, check_step

ALIASES = CANDIDATE, CHAMPION = "candidate", "champion"
FORM = 1  # of the events that this file knows


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it stands. What was asked, wordings and reasons are texts, named by hash."""

    id: str
    model: str  # the registered model it belongs to
    regulation: str
    submitted: str
    received: str
    due: str
    state: State
    since: str
    asked: str  # hash of the text that holds what was asked
    recipe: str  # hash of the text that holds how
    recipe_number: int = 1
    attempts: int = 0
    extended: int = 0  # how often the period was extended
    version: int | None = None  # that honours it, restored it, or was refused for it
    reason: str | None = None  # hash of a text
    code: str | None = None  # why a person refused it
    duplicate_of: str | None = None
    purged: bool = False


@dataclass(frozen=True, slots=True)
class Version:
    """One registered version and what it rests on, by hash."""

    model: str
    version: int
    created: str
    verdict: str
    promoted: bool  # it passed, and became champion
    run_key: str
    folder: str  # of the run, in `runs/`
    plan: str  # hash of the plan it was made by
    base: str
    policy: str  # hash of the parameters
    checkpoint: str  # root hash of the released folder
    delta: str | None  # None: the base itself
    record: str  # hash of the record's file
    requests: tuple[str, ...]
    restored: tuple[str, ...] = ()
    statement: str | None = None  # hash of the signed statement's text
    purged: bool = False
    audience: str | None = None  # to whom the policy may release it; None: it declared nobody


@dataclass(frozen=True, slots=True)
class Alias:
    """Which version `candidate` or `champion` names."""

    model: str
    alias: str
    version: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """A plan that waits for approval, or has it."""

    plan: str
    model: str
    requests: tuple[str, ...]
    approved_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Export:
    """A file or folder that left, by its content."""

    sha256: str
    model: str
    version: int
    form: str
    time: str


@dataclass(slots=True)
class Tables:
    """Rows by key. `apply` changes the rows that its event names, and no others."""

    requests: dict[str, Request] = field(default_factory=dict)
    versions: dict[tuple[str, int], Version] = field(default_factory=dict)
    aliases: dict[tuple[str, str], Alias] = field(default_factory=dict)
    proposals: dict[str, Proposal] = field(default_factory=dict)
    exports: dict[str, Export] = field(default_factory=dict)


def fold(events: Iterable[Event]) -> Tables:
    """The tables after all of `events`.

    Raises:
        ErasureError: An event that may not follow, or that nothing is known about.
    """
    tables = Tables()
    for event in events:
        apply(tables, event)
    return tables


def apply(tables: Tables, event: Event) -> None:
    """Do to `tables` what `event` says.

    Raises:
        BadInput: The step is not allowed for that request.
        ErasureError: The event is not known.
    """
    kind = event.event
    if kind in WITHOUT_EFFECT:
        return
    if kind in _EFFECTS:
        _EFFECTS[kind](tables, event.facts, event.facts.get("at") or event.time)
    elif kind.startswith("request."):
        _move(tables, event)
    else:
        raise ErasureError(f"event {event.seq} is {kind!r}, which this version does not know")


def subjects(event: str, facts: Mapping[str, Any]) -> list[str]:
    """What an event is about: the ids under which its history is looked up. What happens to a
    duplicate is no history of the request that it stands behind, which may have thousands.
    """
    about = [str(facts[key]) for key in ("id", "plan", "sha256") if facts.get(key)]
    if facts.get("model") and facts.get("version") is not None:
        about.append(f"{facts['model']}/{facts['version']}")
    return list(dict.fromkeys([*about, *map(str, facts.get("requests", ()))]))


def changes(event: Event) -> tuple[str, str] | None:
    """Whose row an event changes by what it was before: with what the names of the events begin
    that did so, and under which subject they are found. None where it changes none, or overwrites.
    """
    facts, (kind, _, _) = event.facts, event.event.partition(".")
    match kind:
        case "request":
            return "request.", str(facts["id"])
        case "version":
            return "version.", f"{facts['model']}/{facts['version']}"
        case "plan":
            return "plan.", str(facts["plan"])
    return None


@dataclass(frozen=True, slots=True)
class Text:
    """A text that an event names by its hash."""

    subject: str  # whose it is: a request's id, or model/version
    asked: bool  # it holds what was asked, and with it the concept's name


@dataclass(slots=True)
class Texts:
    """The texts that events name, by hash."""

    kept: dict[str, Text] = field(default_factory=dict)
    forgotten: dict[str, Text] = field(default_factory=dict)


def texts(events: Iterable[Event]) -> Texts:
    """The texts that must be there after `events`, and those that a purge took away."""
    found = Texts()
    of: dict[str, list[str]] = {}
    for event in events:
        facts = event.facts
        gone: Sequence[str] = ()
        if event.event == "request.purged":
            gone = of.pop(facts["id"], ())
        elif event.event == "reason.purged":
            gone = facts["texts"]
        elif named := texts_named(facts):
            subject = str(facts.get("id") or f"{facts['model']}/{facts['version']}")
            of.setdefault(subject, []).extend(named)
            found.kept |= {sha256: Text(subject, key == "asked") for sha256, key in named.items()}
        found.forgotten |= {h: found.kept.pop(h) for h in gone if h in found.kept}
    return found


def texts_named(facts: Mapping[str, Any]) -> dict[str, str]:
    """By hash, the texts that these facts name, and as what."""
    return {facts[key]: key for key in _TEXTS if facts.get(key)}


_TEXTS = ("asked", "recipe", "reason", "statement")  # facts that are hashes of texts
# a request that its person gave up is honoured still where others ask for its concept
WITHOUT_EFFECT = frozenset({"book.opened", "reason.purged", "request.unasked"})


def _added(tables: Tables, facts: Mapping[str, Any], at: str) -> None:
    if facts["id"] in tables.requests:
        raise ErasureError(f"request {facts['id']} is added twice")
    named = ("id", "model", "regulation", "submitted", "received", "due", "asked", "recipe")
    row = Request(**{key: facts[key] for key in named}, state="received", since=at)
    tables.requests[row.id] = row


def _recipe(tables: Tables, facts: Mapping[str, Any], at: str) -> None:
    row = tables.requests[facts["id"]]
    tables.requests[row.id] = replace(
        row, recipe=facts["recipe"], recipe_number=row.recipe_number + 1
    )


def _extended(tables: Tables, facts: Mapping[str, Any], at: str) -> None:
    row = tables.requests[facts["id"]]
    tables.requests[row.id] = replace(row, due=facts["due"], extended=row.extended + 1)


def _purged(tables: Tables, facts: Mapping[str, Any], at: str) -> None:
    row = tables.requests[facts["id"]]
    tables.requests[row.id] = replace(row, purged=True)


def _move(tables: Tables, event: Event) -> None:
    """`request.<state>`: the request is now in that state."""
    facts, to = event.facts, event.event.removeprefix("request.")
    row = tables.requests[facts["id"]]
    check_step(row.id, row.state, to)  # type: ignore[arg-type] # an unknown one is refused there
    tables.requests[row.id] = replace(
        row,
        state=to,  # type: ignore[arg-type]
        since=facts.get("at") or event.time,
        version=facts.get("version"),
        reason=facts.get("reason"),
        code=facts.get("code"),
        duplicate_of=facts.get("of"),
        attempts=row.attempts + (to in ("attempt_failed", "honoured") and to != row.state),
    )


def _decided(tables: Tables, facts: Mapping[str, Any], at: str) -> None:
    key = (facts["model"], facts["version"])
    if key in tables.versions:
        raise ErasureError(f"{facts['model']} version {facts['version']} is decided twice")
    named = {k: v for k, v in facts.items() if k in Version.__dataclass_fields__}
    lists = {k: tuple(facts.get(k, ())) for k in ("requests", "restored")}
    named.setdefault("delta", None)  # of the base itself
    tables.versions[key] = Version(**{**named, **lists, "created": at})


def _stated(tables: Tables, facts: Mapping[str, Any], at: str) -> None:
    key = (facts["model"], facts["version"])
    tables.versions[key] = replace(tables.versions[key], statement=facts["statement"])


def _version_purged(tables: Tables, facts: Mapping[str, Any], at: str) -> None:
    key = (facts["model"], facts["version"])
    tables.versions[key] = replace(tables.versions[key], purged=True)


def _alias(tables: Tables, facts: Mapping[str, Any], at: str) -> None:
    key = (facts["model"], facts["alias"])
    tables.aliases[key] = Alias(*key, facts["version"])


def _proposed(tables: Tables, facts: Mapping[str, Any], at: str) -> None:
    plan = facts["plan"]
    tables.proposals[plan] = Proposal(plan, facts["model"], tuple(facts["requests"]))


def _approved(tables: Tables, facts: Mapping[str, Any], at: str) -> None:
    row = tables.proposals[facts["plan"]]
    by = (*row.approved_by, facts["by"])
    if len(set(by)) != len(by):
        raise ErasureError(f"plan {row.plan} is approved twice by {facts['by']}")
    tables.proposals[row.plan] = replace(row, approved_by=by)


def _exported(tables: Tables, facts: Mapping[str, Any], at: str) -> None:
    row = Export(facts["sha256"], facts["model"], facts["version"], facts["form"], at)
    tables.exports[row.sha256] = row


_EFFECTS: Mapping[str, Callable[[Tables, Mapping[str, Any], str], None]] = {
    "request.added": _added,
    "request.recipe": _recipe,
    "request.extended": _extended,
    "request.purged": _purged,
    "version.decided": _decided,
    "version.stated": _stated,
    "version.purged": _version_purged,
    "version.exported": _exported,
    "alias.moved": _alias,
    "plan.proposed": _proposed,
    "plan.approved": _approved,
}
