"""The audit log: one JSON line an event, each carrying the hash of the one before, so that no line
can be changed unseen.

A line is canonical JSON with its own `sha256` put last. That hash is of the line's bytes without
`,"sha256":"..."`, so it can be checked with `sed` and `sha256sum` (docs/audit.md). Removing lines
from the end cannot be seen from the log
alone: keep the newest hash somewhere else.
"""

import errno
import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock
from pydantic import AwareDatetime, BaseModel, ConfigDict, JsonValue, ValidationError

from erasure_core.errors import ErasureError
from erasure_core.law.lineage import canonical_json

GENESIS = "0" * 64  # `previous` of the first entry
# an append takes milliseconds; a longer wait means a stuck process, and TimeoutError is an OSError
LOCK_SECONDS = 60


class AuditEntry(BaseModel):
    """One event, as it stands in the log."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    seq: int  # 1, 2, 3...
    time: AwareDatetime
    event: str
    facts: dict[str, JsonValue]
    previous: str  # sha256 of the entry before, `GENESIS` for the first
    sha256: str


class AuditLog:
    """Append-only. Any number of processes may append."""

    def __init__(self, path: Path):
        self.path = path

    def append(self, event: str, **facts: object) -> AuditEntry:
        """Add one event and wait until it is on disk. `facts` are what a reader needs years later:
        ids, hashes, verdicts.

        Raises:
            ErasureError: The log's last line is broken; nothing is added to a broken chain.
            OSError: Disk full or locked for a minute; the log is as it was.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.path}.lock", timeout=LOCK_SECONDS):
            last = self._last()
            seq, previous = (last.seq + 1, last.sha256) if last else (1, GENESIS)
            time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            body = canonical_json(
                {"seq": seq, "time": time, "event": event, "facts": facts, "previous": previous}
            )
            line = f'{body[:-1]},"sha256":"{hashlib.sha256(body.encode()).hexdigest()}"}}\n'
            with self.path.open("ab", buffering=0) as stream:
                size = stream.tell()
                try:
                    if stream.write(line.encode()) != len(line.encode()):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
                    os.fsync(stream.fileno())
                except BaseException:
                    stream.truncate(size)  # half a line would break the chain
                    raise
        return AuditEntry.model_validate_json(line)

    def entries(self) -> list[AuditEntry]:
        """Every entry, oldest first; empty if nothing was ever recorded.

        Raises:
            ErasureError: The chain is broken; names the first broken line.
        """
        return list(self._checked(self._lines()))

    def verify(self) -> None:
        """Check every hash and every link. `ErasureError` names the first broken line."""
        self.entries()

    def _lines(self) -> list[bytes]:
        return self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else []

    def _last(self) -> AuditEntry | None:
        lines = self._lines()
        return self._read(lines[-1], len(lines)) if lines else None

    def _checked(self, lines: list[bytes]) -> Iterator[AuditEntry]:
        previous = GENESIS
        for number, line in enumerate(lines, 1):
            entry = self._read(line, number)
            if (entry.seq, entry.previous) != (number, previous):
                raise self._broken(
                    number,
                    (
                        f"it is entry {entry.seq} after {entry.previous[:16]}..., expected "
                        f"{number} after {previous[:16]}..."
                    ),
                )
            previous = entry.sha256
            yield entry

    def _read(self, line: bytes, number: int) -> AuditEntry:
        """One line with its own hash checked."""
        try:
            entry = AuditEntry.model_validate_json(line)
        except ValidationError:
            raise self._broken(number, "it is not an audit entry") from None
        body, mark, _ = line.rpartition(b',"sha256":')
        found = hashlib.sha256(body + b"}").hexdigest()
        if line != body + mark + f'"{found}"}}\n'.encode():
            raise self._broken(
                number, f"its content hashes to {found[:16]}..., it says {entry.sha256[:16]}..."
            )
        return entry

    def _broken(self, number: int, why: str) -> ErasureError:
        return ErasureError(
            f"{self.path}: line {number} is broken: {why}; restore the log from a copy, "
            f"what follows is not evidence"
        )
