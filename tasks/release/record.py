"""The record of one version: everything it rests on, in one file whose hash is in the book.

Reading one imports nothing heavy; `recording` makes them.
"""

from pathlib import Path

from erasure_core.errors import BadInput, ContentChanged
from erasure_core.law.fold import Version
from erasure_core.law.lineage import RunRecord, sha256_file
from tasks.home import Home


def record_file(home: Home, model: str, version: int) -> Path:
    """Where the record of one version is kept."""
    return home.records / f"{model}-v{version}.json"


def record_of(home: Home, version: Version) -> RunRecord:
    """The record of one version, as the book has it.

    Raises:
        BadInput: There is none.
        ContentChanged: It is not the file whose hash the book holds.
    """
    file = record_file(home, version.model, version.version)
    if not file.is_file():
        raise BadInput(
            f"no record of {version.model} version {version.version} in {home.records}; `erasure "
            "versions` lists the versions, `erasure audit` says what is missing"
        )
    if (found := sha256_file(file)) != version.record:
        raise ContentChanged(str(file), version.record, found, "restore it from a copy")
    return RunRecord.from_json(file)
