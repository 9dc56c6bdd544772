"""The record of one version: everything it rests on, in one file whose hash is in the book.

Reading one imports nothing heavy; `recording` makes them.
"""

from pathlib import Path

from erasure_core.errors import BadInput
from erasure_core.law.lineage import RunRecord
from tasks.home import Home


def record_file(home: Home, model: str, version: int) -> Path:
    """Where the record of one version is kept."""
    return home.records / f"{model}-v{version}.json"


def record_of(home: Home, model: str, version: int) -> RunRecord:
    """The record of one version. `BadInput` if there is none."""
    file = record_file(home, model, version)
    if not file.is_file():
        raise BadInput(
            f"no record of {model} version {version} in {home.records}; `erasure versions` lists "
            "the versions, `erasure audit` says what is missing"
        )
    return RunRecord.from_json(file)
