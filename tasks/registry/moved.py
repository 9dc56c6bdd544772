"""A state folder that was copied or moved: MLflow writes absolute places into its database.

MLflow has no call that changes them. Without this, a copied state folder would write into the old
one, and a moved one would find nothing.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

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
