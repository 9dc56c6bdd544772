"""What every method is given besides the concepts and its settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

OnStep = Callable[[int, Mapping[str, float]], None]  # (step, from 1; named numbers)


@dataclass(frozen=True, slots=True)
class Work:
    """The seed of one erasure, and where its progress and its files go.

    A method takes what it needs of this: one that draws nothing needs no seed, one that takes a
    second has nothing to resume.
    """

    seed: int  # decides every draw
    on_step: OnStep | None = None  # called after each step; `erase` says with which numbers
    cache: Path | None = None  # folder where `prepare` keeps what it makes; None: kept nowhere
    resume: Path | None = None  # file of an unfinished training, which goes on from it
