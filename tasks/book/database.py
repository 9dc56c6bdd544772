"""The database under the book: SQLite in the state folder, or PostgreSQL by `ERASURE_DATABASE_URL`.

SQLite runs in WAL mode with `synchronous=FULL`: a transaction that was committed survives the
loss of power. A writing transaction holds the one write lock from its first statement, so that
what it reads cannot change before it writes.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy import URL as Address
from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from erasure_core.errors import BadInput, ErasureError
from tasks.book.schema import metadata
from tasks.home import Home

URL = "ERASURE_DATABASE_URL"
REVISION = "b0002"  # of the newest file in migrations/versions; a test compares them
OURS = {"proposals", "outbox", "leases"}  # tables that MLflow and Prefect have none of
PATIENCE = 60.0  # seconds that a database may be away, or locked, before a command gives up
STALLED = 30.0  # seconds without a statement after which PostgreSQL ends a writer's transaction
ALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}  # of a connection
LOCK = 0x65726173  # of PostgreSQL's advisory lock: one writer at a time, as in SQLite
# secure_delete: what was deleted is overwritten, for it may be a person's name
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON")
DROPPED = ("no such table", "no such column", "duplicate column")  # SQLite's, of an edited book
# in what a driver says, where waiting does not help
REFUSED = ("unable to open", "disk", "full", "readonly", "malformed", "password", "not exist")
LASTING = (*REFUSED, *DROPPED)
UNKNOWN_HOST = ("not known", "nodename nor servname")
Value = TypeVar("Value")


def database_file(home: Home) -> Path:
    """SQLite's file, where no other database is named."""
    return home.root / "book.db"


def is_named() -> bool:
    """Whether the environment names the database; SQLite's file holds the book otherwise."""
    return bool(os.environ.get(URL))


def connect(home: Home, *, make: bool) -> Engine:
    """The engine of the book, with all tables at their newest form.

    Args:
        home: The state folder.
        make: Whether to make its tables where there are none; otherwise an empty book in memory
            answers, and the database, which may be somebody else's, stays as it is.

    Raises:
        BadInput: `ERASURE_DATABASE_URL` is not a database that can be used here, or another
            program's.
        ErasureError: The database cannot be reached, or was made by a newer version.
    """
    if make:
        home.begin()
    elif not is_named() and not database_file(home).exists():
        return _empty()
    engine = _engine(os.environ.get(URL) or _file(database_file(home)))
    # later a container that is started again may have no name for a while
    form = patiently(lambda: _form(engine), lasting=(*LASTING, *UNKNOWN_HOST))
    if form is None and not make:
        return _empty()
    if form != REVISION:
        patiently(lambda: _upgrade(engine))
    return engine


def _file(file: Path) -> Address:
    """SQLite's file. Where its folder cannot be written, SQLite could not lock it, nor need it: all
    of it is in that one file, or lies beside it in a log that is open already.
    """
    log = file.with_name(f"{file.name}-wal")
    if file.exists() and not os.access(file.parent, os.W_OK) and not _holds_anything(log):
        fixed = {"mode": "ro", "immutable": "1", "uri": "true"}
        return Address.create("sqlite", database=f"file:{quote(str(file))}", query=fixed)
    return Address.create("sqlite", database=str(file))  # % and ? as they are


def _holds_anything(log: Path) -> bool:
    return log.exists() and log.stat().st_size > 0


@lru_cache(maxsize=8)
def _engine(url: str | Address) -> Engine:
    if isinstance(url, str) and not url.startswith("sqlite"):
        return _postgres(url)
    return _sqlite(url)


def _form(engine: Engine) -> str | None:
    """Of the book in a database, by the name of its last migration; None where there is none."""
    with engine.connect() as connection:
        return _revision(connection)


def _empty() -> Engine:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine)
    return engine


def _sqlite(url: str | Address) -> Engine:
    engine = create_engine(url, connect_args={"timeout": PATIENCE})

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # we begin ourselves
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writing = connection.get_execution_options().get("writing")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def _postgres(url: str) -> Engine:
    try:
        address = make_url(url)
    except ArgumentError:
        raise BadInput(
            f"{URL} is not a database URL; write postgresql://user:password@host/name"
        ) from None
    if address.get_backend_name() != "postgresql":
        raise BadInput(f"{URL} names {address.get_backend_name()}; only postgresql is supported")
    unheard = {"tcp_user_timeout": int(STALLED * 1000)}  # milliseconds
    try:
        engine = create_engine(
            address.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            connect_args={"connect_timeout": 10, **ALIVE, **unheard},
        )
    except ModuleNotFoundError:
        raise BadInput(f"{URL} needs the driver: pip install 'psycopg[binary]'") from None

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        # no option of the connection: what pools connections refuses those
        connection.execute(f"SET lock_timeout = {int(PATIENCE * 1000)}")
        connection.commit()

    return engine


def clear_log(engine: Engine) -> None:
    """Let SQLite's log hold nothing of what was deleted; PostgreSQL's VACUUM does so by itself."""
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One consistent view of the book."""
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":  # its default sees each statement's own moment
            connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that no other writer runs beside."""
    with engine.connect().execution_options(writing=True) as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            _end_when_idle(connection, STALLED)
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        yield connection


def take_time(connection: Connection) -> None:
    """Let this transaction compute between its statements for as long as it has to."""
    if connection.dialect.name == "postgresql":
        _end_when_idle(connection, 0)


def _end_when_idle(connection: Connection, seconds: float) -> None:
    """Whoever is stopped within a transaction must not keep all others out; 0: never end it."""
    timeout = f"SET LOCAL idle_in_transaction_session_timeout = {int(seconds * 1000)}"
    connection.execute(text(timeout))


def patiently(
    work: Callable[[], Value], patience: float = PATIENCE, lasting: Sequence[str] = LASTING
) -> Value:
    """Do `work`, again and again while the database is away, which is said once on stderr.

    Args:
        work: What bears to be repeated.
        patience: Seconds after which the database counts as gone.
        lasting: Words of a fault that is not waited for.

    Raises:
        ErasureError: The database stayed away.
    """
    until, told = time.monotonic() + patience, False
    while True:
        try:
            return work()
        except DBAPIError as fault:
            if time.monotonic() > until or not _passing(fault, lasting):
                raise ErasureError(_said(fault)) from None
            if not told:
                print(f"waiting up to {patience:g} s: {_said(fault)}", file=sys.stderr, flush=True)
                told = True
            time.sleep(0.5)
        except SQLAlchemyError as fault:
            raise ErasureError(_said(fault)) from fault


def _passing(fault: DBAPIError, lasting: Sequence[str]) -> bool:
    """Whether waiting may help: a server that is away, a lock, a transaction that the server ended;
    not a full disk.
    """
    if not (isinstance(fault, OperationalError) or fault.connection_invalidated):
        return False
    said = str(fault.orig).lower()
    return not any(word in said for word in lasting)


def _said(fault: SQLAlchemyError) -> str:
    """What a database fault comes to, in one line and without its URL."""
    said = str(fault.orig if isinstance(fault, DBAPIError) else fault).strip().splitlines()
    first = said[0] if said else type(fault).__name__
    if "locked" in first or "lock timeout" in first:
        first += "; another process writes, or was stopped while it did: end it, or wait; run again"
    if "unable to open" in first:
        first += "; where its folder cannot be written, copy all of it to where it can be"
    if "readonly" in first:
        first += "; change it as the user whose state folder this is, or where it can be written"
    if any(word in first for word in DROPPED):
        first += "; its tables were edited: restore the book from a copy"
    return f"the book of record cannot be used: {first}"


def _upgrade(engine: Engine) -> None:
    with engine.connect() as connection:
        if _revision(connection) == REVISION:
            return
    with writing(engine) as connection:  # a second process waits here and finds it done
        found = _revision(connection)
        if found == REVISION:
            return
        if found is not None and not _known(found):
            raise ErasureError(
                f"the book has form {found}, this version knows {REVISION}; "
                "use the version that wrote it"
            )
        _migrate(connection)


def _revision(connection: Connection) -> str | None:
    tables = set(inspect(connection).get_table_names())
    if "alembic_version" not in tables:
        return None
    if not OURS & tables:
        raise BadInput(
            "the database holds another program's tables, under the same name for their form; give "
            f"the book a database of its own and set {URL} to that"
        )
    return connection.scalar(text("SELECT version_num FROM alembic_version"))


def _known(revision: str) -> bool:
    return any(Path(__file__).with_name("migrations").glob(f"versions/{revision}_*.py"))


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
