"""Every published method, one file each, behind one interface.

A method module has a frozen settings class, `declared(unet, settings)`, `prepare` for what a sweep shares, and
`erase(teacher, concepts, settings, *, seed, on_step, prepared) -> WeightDelta`; it never changes the teacher it is given.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import nn

from erasure_core.concepts import Concept
from erasure_core.methods import all_but_one
from erasure_core.models import Teacher
from erasure_core.training import OnStep
from erasure_core.weights import WeightDelta


class Method(Protocol):
    """What a method module offers."""

    def declared(self, unet: nn.Module, settings: Any) -> frozenset[str]:
        """Names of the weights it may change."""

    def prepare(self, teacher: Teacher, concepts: Sequence[Concept], settings: Any, *, seed: int) -> Any:
        """Work that every setting of a sweep shares, or None."""

    def erase(
        self, teacher: Teacher, concepts: Sequence[Concept], settings: Any, *, seed: int, on_step: OnStep | None, prepared: Any
    ) -> WeightDelta:
        """Erase `concepts`; the same seed gives the same delta on the same machine."""


METHODS: dict[str, Method] = {"all_but_one": all_but_one}
