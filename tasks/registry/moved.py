"""What MLflow's own database file needs and MLflow has no call for: places of a state folder that
was copied or moved, and deleted runs that are to be gone.

MLflow writes absolute places into its database. Without `settle_in`, a copied state folder would
write into the old one, and a moved one would find nothing.
"""

import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from erasure_core.errors import ErasureError

PLACES = {  # table -> the columns in which MLflow keeps where files lie
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}


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
    """Let free pages, which keep what was deleted, go from MLflow's file."""
    with closing(sqlite3.connect(database, timeout=60, isolation_level=None)) as connection:
        connection.execute("VACUUM")
