"""What was tried and what came of it: kept a line a case, so that a long run can be taken up again,
and told as a table.
"""

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Result:
    """One case. It passed if nothing was found."""

    command: str
    kind: str
    number: str  # which case of these
    faults: tuple[str, ...] = ()
    at: str = ""  # where the fault was laid
    seconds: float = 0.0
    code: str = ""  # hash of the code that was tried

    @property
    def key(self) -> tuple[str, str, str]:
        return self.command, self.kind, self.number


@dataclass(slots=True)
class Results:
    """The cases of a file that were tried with this code; those that failed are tried again when
    the file is taken up again.
    """

    file: Path | None
    code: str = ""
    _all: dict[tuple[str, str, str], Result] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        if self.file and self.file.exists():
            for line in self.file.read_text().splitlines():
                read = json.loads(line)
                result = Result(**{**read, "faults": tuple(read["faults"])})
                if result.code == self.code:
                    self._all[result.key] = result

    def passed(self, command: str, kind: str, number: object) -> bool:
        """Whether this case passed in an earlier run."""
        known = self._all.get((command, kind, str(number)))
        return known is not None and not known.faults

    def add(self, result: Result) -> None:
        """Keep a result, and say at once what failed."""
        result = replace(result, code=self.code)
        with self._lock:
            self._all[result.key] = result
            if self.file:
                with self.file.open("a") as stream:
                    stream.write(json.dumps(asdict(result)) + "\n")
            where = f"{result.command}, {result.kind} {result.number} ({result.at})"
            for fault in result.faults:
                print(f"FAILED {where}: {fault}", flush=True)

    @property
    def failed(self) -> list[Result]:
        return [r for r in self._all.values() if r.faults]

    def table(self) -> Iterator[str]:
        """Command and kind: cases, passed, failed, first failure; then the sum on a line."""
        yield "| command | fault | cases | passed | failed | first failure |"
        yield "|---|---|---|---|---|---|"
        groups: dict[tuple[str, str], list[Result]] = {}
        for result in self._all.values():
            groups.setdefault((result.command, result.kind), []).append(result)
        for (command, kind), some in groups.items():
            bad = [r for r in some if r.faults]
            first = f"{bad[0].number} ({bad[0].at}): {bad[0].faults[0]}" if bad else ""
            counts = f"{len(some)} | {len(some) - len(bad)} | {len(bad)}"
            yield f"| {command} | {kind} | {counts} | {first} |"
        yield ""
        yield f"{len(self._all) - len(self.failed)} passed, {len(self.failed)} failed"
