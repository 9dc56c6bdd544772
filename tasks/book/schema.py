"""The tables of the book. Rows that the chain folds to have the columns of `law.fold`'s values.

`events` is the chain. `subjects` finds a request's or a version's events in it. `texts` holds what
may be forgotten: names, wordings, reasons; the chain names each by a salted hash. `leases` and
`outbox` are work in progress and no part of the record.
"""

from sqlalchemy import JSON, Boolean, Column, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

events = Table(
    "events",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("time", String, nullable=False),
    Column("event", String, nullable=False),
    Column("actor", Text, nullable=False),  # JSON
    Column("facts", Text, nullable=False),  # JSON
    Column("previous", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("operation", String, nullable=False),  # one transaction's events share it
    Index("events_by_operation", "operation"),
)
subjects = Table(
    "subjects",
    metadata,
    Column("subject", String, primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
)
texts = Table(
    "texts",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("subject", String, nullable=False, index=True),  # a request's id, or model/version
    Column("label", String, index=True),  # of what was asked: kind and name, to find duplicates
    Column("salt", String, nullable=False),
    Column("body", Text, nullable=False),
)
requests = Table(
    "requests",
    metadata,
    Column("id", String, primary_key=True),
    Column("model", String, nullable=False),
    Column("regulation", String, nullable=False),
    Column("submitted", String, nullable=False),
    Column("received", String, nullable=False),
    Column("due", String, nullable=False),
    Column("state", String, nullable=False),
    Column("since", String, nullable=False),
    Column("asked", String(64), nullable=False),
    Column("recipe", String(64), nullable=False),
    Column("recipe_number", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("extended", Integer, nullable=False),
    Column("version", Integer),
    Column("reason", String(64)),
    Column("code", String),
    Column("duplicate_of", String),
    Column("purged", Boolean, nullable=False),
    Index("requests_by_state", "model", "state"),
    Index("requests_by_original", "duplicate_of"),
)
versions = Table(
    "versions",
    metadata,
    Column("model", String, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("created", String, nullable=False),
    Column("verdict", String, nullable=False),
    Column("promoted", Boolean, nullable=False),
    Column("run_key", String, nullable=False),
    Column("folder", String, nullable=False),
    Column("plan", String(64), nullable=False),
    Column("base", String(64), nullable=False),
    Column("policy", String(64), nullable=False),
    Column("checkpoint", String(64), nullable=False),
    Column("delta", String(64)),
    Column("record", String(64), nullable=False),
    Column("requests", JSON, nullable=False),
    Column("restored", JSON, nullable=False),
    Column("statement", String(64)),
    Column("purged", Boolean, nullable=False),
    Column("audience", String),
    Index("versions_by_plan", "model", "plan"),
)
aliases = Table(
    "aliases",
    metadata,
    Column("model", String, primary_key=True),
    Column("alias", String, primary_key=True),
    Column("version", Integer, nullable=False),
)
proposals = Table(
    "proposals",
    metadata,
    Column("plan", String(64), primary_key=True),
    Column("model", String, nullable=False),
    Column("requests", JSON, nullable=False),
    Column("approved_by", JSON, nullable=False),
)
exports = Table(
    "exports",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("model", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("form", String, nullable=False),
    Column("time", String, nullable=False),
)
leases = Table(
    "leases",
    metadata,
    Column("name", String, primary_key=True),
    Column("token", String, nullable=False),
    Column("beat", Integer, nullable=False),  # counts heartbeats: no clock is compared
    Column("holder", Text, nullable=False),  # JSON: user, host, process
    Column("since", String, nullable=False),
    Column("doing", Text, nullable=False),
)
outbox = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("key", String, nullable=False, unique=True),  # "gallery/3/mlflow version"
    Column("model", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("made", String, nullable=False),
    Column("done", String),
    Column("tries", Integer, nullable=False),
    Column("fault", Text),
    Column("result", Text),
)

FOLDED = {
    "requests": requests,
    "versions": versions,
    "aliases": aliases,
    "proposals": proposals,
    "exports": exports,
}
