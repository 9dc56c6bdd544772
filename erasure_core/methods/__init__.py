"""Every published method, one file each, behind one interface.

A method module has a header (`erasure_core/headers.py`), a frozen `Settings`, and the functions of
`Method`; it never changes the teacher it is given.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel
from torch import nn

from erasure_core.law.concepts import Concept
from erasure_core.methods import ablating, all_but_one, esd, forget_me_not, rece, sdd, sepme, uce
from erasure_core.network.models import Teacher
from erasure_core.network.training import OnStep
from erasure_core.network.weights import WeightDelta


class Method(Protocol):
    """What a method module offers."""

    @property
    def Settings(self) -> type[BaseModel]:
        """What it can be told; frozen, and an unknown key is an error."""

    def check(self, concepts: Sequence[Concept], settings: Any) -> None:
        """Refuse, with `BadInput`, what could not be erased; before any work."""

    def declared(self, unet: nn.Module, settings: Any) -> frozenset[str]:
        """Names of the weights it may change."""

    def steps(self, concepts: Sequence[Concept], settings: Any) -> int:
        """How many steps `on_step` will hear of, at most."""

    def prepare(
        self,
        teacher: Teacher,
        concepts: Sequence[Concept],
        settings: Any,
        *,
        seed: int,
        cache: Path | None = None,
    ) -> Any:
        """Work that every setting of a sweep and every resume share, kept by content in the folder
        `cache`; or None.
        """

    def erase(
        self,
        teacher: Teacher,
        concepts: Sequence[Concept],
        settings: Any,
        *,
        seed: int,
        on_step: OnStep | None = None,
        prepared: Any = None,
        resume: Path | None = None,
    ) -> WeightDelta:
        """Erase `concepts`; the same seed gives the same delta on the same machine, killed and
        resumed in between or not.
        """


METHODS: dict[str, Method] = {
    "ablating": ablating,
    "all_but_one": all_but_one,
    "esd": esd,
    "forget_me_not": forget_me_not,
    "rece": rece,
    "sdd": sdd,
    "sepme": sepme,
    "uce": uce,
}
AnySettings = (
    ablating.Settings
    | all_but_one.Settings
    | esd.Settings
    | forget_me_not.Settings
    | rece.Settings
    | sdd.Settings
    | sepme.Settings
    | uce.Settings
)
