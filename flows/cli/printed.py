"""Commands that are printed to be pasted into a shell."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PARAMS = Path("params.yaml")  # what a command reads that names none
TOLD = {"erasure run": 2, "erasure restore": 2, "erasure request check": 3}  # requests follow
BASE = "base"  # as `--model` calls it
KEPT = {"--reason"}  # as it was given, whatever is advised
CHECKED = {"--base", "--method", "--lambdas", "--set"}  # what `request check` takes of a run's
COMMAND = re.compile(r"""`(erasure (?:[^`'"]|'[^']*'|"[^"]*")+)`""")


def on(params: Path, command: str) -> str:
    """`command` on the same parameters."""
    return command if params == PARAMS else f"{command} --params {shlex.quote(str(params))}"


@dataclass(frozen=True, slots=True)
class RepeatedCommand:
    """How a run or a restore was asked for; a command that is advised after it says the same."""

    params: Path
    requests: tuple[str, ...] = ()  # as they were named; none: what was due
    options: tuple[tuple[str, ...], ...] = ()  # each with its value

    @property
    def restores(self) -> bool:
        """Whether it takes a request back, which alone is given with a reason."""
        return any(option[0] in KEPT for option in self.options)

    def advised(self, line: str) -> str:
        """A line of advice whose commands (in backticks) are about what was asked for."""
        return COMMAND.sub(lambda found: f"`{on(self.params, self._again(found[1]))}`", line)

    def _again(self, command: str) -> str:
        words = shlex.split(command)
        at = next((n for verb, n in TOLD.items() if words[:n] == verb.split()), None)
        if at is None:
            return self._on_its_base(words) if words[:2] == ["erasure", "generate"] else command
        end = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
        advised = _grouped(words[end:])
        # what is tried alone after others were refused is named by its advice
        named = self.requests if len(self.requests) == end - at else words[at:end]
        options = _together(self.options, advised)
        if words[1] == "request":
            options = [option for option in self.options if option[0] in CHECKED]
        return shlex.join([*words[:at], *named, *(word for option in options for word in option)])

    def _on_its_base(self, words: list[str]) -> str:
        """A command that draws with the base draws with the one that the run was given, where that
        is a folder; a file or a hub's id it takes none.
        """
        given = next((option[1] for option in self.options if option[0] == "--base"), "")
        if given and Path(given).is_dir():
            words = [given if word == BASE else word for word in words]
        return shlex.join(words)


def _grouped(words: Sequence[str]) -> list[tuple[str, ...]]:
    """Options with their values."""
    starts = [i for i, word in enumerate(words) if word.startswith("--")]
    return [tuple(words[a:b]) for a, b in zip(starts, [*starts, len(words)][1:], strict=True)]


def _together(
    given: Sequence[tuple[str, ...]], advised: Sequence[tuple[str, ...]]
) -> list[tuple[str, ...]]:
    """The options of a command that is given again with those that are advised. The numbers of one
    method are not another's.
    """
    kept = {option[0] for option in given} & KEPT
    new = [option for option in advised if option not in given and option[0] not in kept]
    replaced = {option[0] for option in new}
    if "--method" in replaced:
        replaced.add("--lambdas")
        given = [o for o in given if not (o[0] == "--set" and o[1].startswith("method."))]
    return [*(option for option in given if option[0] not in replaced), *new]
