"""What MLflow's own database file needs and MLflow has no call for: places of a state folder that
was copied or moved, and deleted runs that are to be gone.

MLflow writes absolute places into its database. Without `settle_in`, a copied state folder would
write into the old one, and a moved one would find nothing.
"""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from erasure_core.errors import ErasureError
from erasure_core.redact import redacted

DATABASES = ("sqlite3", "sqlalchemy")  # whose errors MLflow's store and this file raise
PLACES = {  # table -> the columns in which MLflow keeps where files lie
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}


@contextmanager
def told(store: str) -> Iterator[None]:
    """Tell what the database of a store (its URI) fails with in one line, with what to do about it.

    Raises:
        ErasureError: It is damaged, locked, or cannot be reached.
    """
    try:
        yield
    except Exception as fault:
        causes = [fault, fault.__cause__]  # MLflow may make one of its own of the database's
        of_database = [c for c in causes if type(c).__module__.partition(".")[0] in DATABASES]
        if not of_database:
            raise
        said = " ".join(str(getattr(of_database[-1], "orig", None) or of_database[-1]).split())
        if "locked" in said:
            advice = "another process writes there; try again when it is done"
        elif store.startswith("sqlite:"):
            advice = "move that file away, and `erasure reconcile` makes it anew from the book"
        else:
            advice = "mend it; until then nothing waits for it"
        raise ErasureError(redacted(f"MLflow at {store}: {said}; {advice}")) from None


def settle_in(database: Path, experiment: str, place: str) -> None:
    """Let every place below the experiment's old artifact folder lie below `place`.

    Args:
        database: MLflow's SQLite file.
        experiment: Name of the experiment whose artifact folder tells where the state was.
        place: URI of the artifact folder as it is now.
    """
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        query = "SELECT artifact_location FROM experiments WHERE name = ?"
        row = connection.execute(query, (experiment,)).fetchone()
        if row is None or row[0] == place:
            return
        for table, columns in PLACES.items():
            for column in columns:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE {column} = ? OR {column} LIKE ? || '/%'",
                    (place, len(row[0]) + 1, row[0], row[0]),
                )


def clear_deleted(database: Path, run_ids: Sequence[str]) -> None:
    """Remove deleted runs from MLflow's file for good, also from its free pages.

    Raises:
        ErasureError: MLflow's garbage collector failed.
    """
    store, runs = f"sqlite:///{database}", ",".join(run_ids)
    where = ["--backend-store-uri", store, "--tracking-uri", store]  # it asks for both
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mlflow", "gc", *where, "--run-ids", runs],
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise ErasureError(f"mlflow gc failed: {done.stderr.strip().splitlines()[-1:]}; run again")
    clear_pages(database)


def clear_pages(database: Path) -> None:
    """Let free pages, which keep what was deleted, go from MLflow's file.

    Raises:
        ErasureError: The file is damaged or locked.
    """
    with (
        told(f"sqlite:///{database}"),
        closing(sqlite3.connect(database, timeout=60, isolation_level=None)) as connection,
    ):
        connection.execute("VACUUM")
