"""Every published method, one file each, behind one interface.

A method module has a header (`erasure_core/headers.py`), a frozen `Settings` whose defaults are
its paper's, and the functions of `Method`; it never changes the teacher it is given. `PRESETS`
holds the published settings of the kinds of concepts for which these are others.
"""

from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, Union

from pydantic import BaseModel
from torch import nn

from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept, Kind
from erasure_core.methods import (
    ablating,
    all_but_one,
    esd,
    forget_me_not,
    rece,
    sdd,
    sepme,
    speed,
    uce,
)
from erasure_core.network.models import Teacher
from erasure_core.network.training import Training
from erasure_core.network.weights import WeightDelta
from erasure_core.network.work import Work
from erasure_core.plugins import takes, with_plugins

S = TypeVar("S", bound=BaseModel)  # a method's settings
P = TypeVar("P")  # what it prepares


class Method(Protocol[S, P]):
    """What a method module offers."""

    @property
    def Settings(self) -> type[S]:
        """What it can be told; frozen, and an unknown key is an error."""

    def check(self, concepts: Sequence[Concept], settings: S) -> None:
        """Refuse, with `BadInput`, what could not be erased; before any work."""

    def declared(self, unet: nn.Module, settings: S) -> frozenset[str]:
        """Names of the weights it may change."""

    def steps(self, concepts: Sequence[Concept], settings: S) -> int:
        """How often `work.on_step` is called, at most."""

    def prepare(self, teacher: Teacher, concepts: Sequence[Concept], settings: S, work: Work) -> P:
        """What every setting of a sweep and every resume share; None if there is nothing."""

    def erase(
        self,
        teacher: Teacher,
        concepts: Sequence[Concept],
        settings: S,
        work: Work,
        prepared: P | None = None,
    ) -> WeightDelta:
        """Erase `concepts`.

        Args:
            teacher: The frozen base; it is copied, never changed.
            concepts: What to erase, each with its replacement and kept prompts.
            settings: Hyper-parameters.
            work: Seed, progress and files. The same seed gives the same delta on the same machine,
                killed and resumed in between or not.
            prepared: What `prepare` returned for the same arguments; made here if absent.

        Raises:
            BadInput: What `check` refuses, or a prompt that is too long for the base.
            ErasureError: A training diverged.
        """


def _method(module: Method[S, P]) -> Method[Any, Any]:
    """`module`, whose functions all take its own settings: that is what the type checker sees."""
    return module


OWN: dict[str, Method[Any, Any]] = {
    "ablating": _method(ablating),
    "all_but_one": _method(all_but_one),
    "esd": _method(esd),
    "forget_me_not": _method(forget_me_not),
    "rece": _method(rece),
    "sdd": _method(sdd),
    "sepme": _method(sepme),
    "speed": _method(speed),
    "uce": _method(uce),
}
ENTRY_POINTS = "erasure.methods"  # of other packages: name -> module
CALLED = {"check": 2, "declared": 2, "steps": 2, "prepare": 4, "erase": 5}  # with how many
OFFERED = ("Settings", *CALLED)


def all_methods(points: Iterable[EntryPoint] | None = None) -> dict[str, Method[Any, Any]]:
    """`OWN` and those of installed packages; see `plugins.with_plugins`.

    Raises:
        BadInput: Also if a plug-in's settings do not bear its name.
    """
    found = with_plugins(
        OWN,
        ENTRY_POINTS,
        "method",
        _is_method,
        f"a module that has {', '.join(OFFERED)}, each with the arguments of "
        f"erasure_core.methods.Method",
        points,
    )
    for name, module in found.items():
        field = module.Settings.model_fields.get("method")
        if field is None or field.default != name:
            raise BadInput(
                f"method {name!r}: its Settings need the field `method: Literal[{name!r}] = "
                f"{name!r}`, by which parameters name it"
            )
    return found


def _is_method(loaded: Any) -> bool:
    if not all(hasattr(loaded, name) for name in OFFERED):
        return False
    return all(takes(getattr(loaded, name), given) for name, given in CALLED.items())


METHODS: dict[str, Method[Any, Any]] = all_methods()

if TYPE_CHECKING:

    class AnySettings(BaseModel):
        """The settings of any method."""

        method: str

else:
    AnySettings = Union[tuple(module.Settings for module in METHODS.values())]  # noqa: UP007


def precision_of(settings: AnySettings) -> str:
    """In which number format the teacher predicts; closed forms are solved in its own."""
    return settings.teacher if isinstance(settings, Training) else "fp32"


def published(method: str, kind: Kind) -> AnySettings:
    """What a method's paper sets for concepts of a kind; its defaults where it says nothing."""
    module = METHODS[method]
    presets: dict[Kind, AnySettings] = getattr(module, "PRESETS", {})
    return presets.get(kind, module.Settings())


def completed(settings: AnySettings, kinds: Iterable[Kind]) -> AnySettings:
    """`settings` with what was not given as it is published for concepts of these kinds.

    Raises:
        BadInput: It is published with other values for one kind than for another: a release has
            one of each.
    """
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    of = {
        kind: published(settings.method, kind).model_copy(update=given)
        for kind in dict.fromkeys(kinds)
    }
    first = next(iter(of.values()), settings)
    for name in type(first).model_fields:
        values = {kind: getattr(each, name) for kind, each in of.items()}
        if any(value != getattr(first, name) for value in values.values()):
            said = ", ".join(f"{value!r} for {kind}" for kind, value in values.items())
            raise BadInput(
                f"{settings.method} is published with {name} {said}, and a release has one "
                f"{name}; give it in the settings of {settings.method}"
            )
    return first
