"""Every number a run depends on: the one typed reader of params.yaml."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    WrapSerializer,
    model_validator,
)

from erasure_core.errors import BadInput
from erasure_core.files import read_yaml
from erasure_core.law.concepts import Kind
from erasure_core.law.lineage import sha256_json
from erasure_core.law.prompts import GUIDANCE, Reading
from erasure_core.methods import METHODS, AnySettings, completed
from erasure_core.planning.policy import CENTURY, Policy, Section

DEFAULT_PRESET = "default"  # the sweep that can be promoted; comparisons have their own names
EXACT = 2**53  # from here on, numbers of JSON (RFC 8785) are no longer exact
Days = Annotated[int, Field(ge=0, le=CENTURY)]


def at_home(path: str) -> str:
    """A path whose ~ is the user's home: no shell reads parameters."""
    return os.path.expanduser(path)


Place = Annotated[str, AfterValidator(at_home)]
File = Annotated[Path, AfterValidator(lambda path: Path(at_home(str(path))))]


class Base(Section):
    """The teacher: a folder, a hub id pinned by revision, or a checkpoint in one file."""

    path: Place = Field(
        min_length=1, description="folder, checkpoint in one file, or hub id as owner/name@commit"
    )
    revision: str | None = Field(
        None, description="commit hash of a hub id, where its path does not say it"
    )
    config: Place | None = Field(
        None,
        description="for a checkpoint in one file: folder of its family's configurations and "
        "tokenizer; null is the folder beside it that has its name without the ending",
    )
    sha256: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="root hash of the snapshot; null accepts what is found",
    )


class Sampling(Section):
    """How every picture of a run is made, the base's and the candidate's alike."""

    steps: int = Field(
        gt=0, description="sampler's steps of a picture; more take longer and draw more exactly"
    )
    batch_size: int = Field(
        gt=0, description="pictures drawn together; more may be faster and take more memory"
    )
    guidance: float | None = Field(
        None,
        ge=GUIDANCE[0],
        le=GUIDANCE[1],
        exclude_if=lambda value: value is None,
        description="guidance of the prompt files' rows that have none; null refuses such rows",
    )
    seed: int | None = Field(
        None,
        ge=0,
        exclude_if=lambda value: value is None,
        description="seed of the prompt files' first row without one, one more for each next; null "
        "is the run's own. A comparison gives all its trainings the same",
    )


class MeasuredSet(Section):
    """Where the prompts of one sealed set are."""

    targets: File = Field(description="folder of one CSV a concept")
    kept: File = Field(description="CSV of prompts whose pictures must stay as they are")


class PromptSets(MeasuredSet):
    """The report set, on which the gate decides, and the set on which candidates are chosen."""

    vocabulary: File | None = Field(
        None, description="CSV of what the base knows, from which new requests take wordings"
    )
    choose: MeasuredSet | None = Field(
        None, description="set on which the candidate is chosen; needed where there are several"
    )


class DetectorSettings(Section):
    """Who sees a concept: which labels count for each kind, and from which score."""

    name: str = Field("nudenet", description="`nudenet`, or the detector of an installed plug-in")
    labels: dict[Kind, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(
        description="kind -> the detector's labels of which one makes a picture count"
    )
    threshold: float = Field(
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="least score that counts; a higher one sees the concept in fewer pictures",
    )
    inference_resolution: int = Field(
        320,
        gt=0,
        le=4096,
        multiple_of=32,
        description="side in pixels at which the detector looks; a higher one takes longer, and "
        "scores of two resolutions are not comparable",
    )


def _with_one_gap(template: str) -> str:
    gaps = [(field, *how) for _, field, *how in Formatter().parse(template) if field is not None]
    if gaps != [("", "", None)]:
        raise ValueError(
            "a template holds {} once, where the concept's name goes, and no other braces"
        )
    return template


class Clip(Section):
    """The CLIP model that scores pictures and names what they show."""

    path: Place = Field(min_length=1, description="folder, or hub id as owner/name@commit")
    revision: str | None = Field(
        None, description="commit hash of a hub id, where its path does not say it"
    )
    templates: tuple[Annotated[str, AfterValidator(_with_one_gap)], ...] = Field(
        min_length=1,
        description="sentences around a name, {} in its place; a picture is compared with their "
        "mean",
    )
    styles: tuple[str, ...] = Field(
        (), description="styles among which a picture's is named, where a style is erased"
    )


class Retention(Section):
    """How long `erasure purge` keeps what is no longer in use, in days."""

    personal: Days = Field(
        90, description="names and wordings of requests that have ended; more keep them for longer"
    )
    refused: Days = Field(
        90,
        description="files of refused versions, and of runs without one; more let them be looked "
        "at for longer, and take space",
    )
    superseded: Days = Field(
        365,
        description="files of old champions, from the next one's day; more let `erasure rollback` "
        "reach back further, and take space",
    )


def _distinct(values: tuple[float, ...]) -> tuple[float, ...]:
    names = [shown(value) for value in values]
    if len(set(names)) != len(names):
        raise ValueError("each lambda once, and apart in the six digits that files are named by")
    return values


def shown(lambda_: float) -> str:
    """A lambda as files and runs are named by it."""
    return f"{lambda_:g}"


Lambda = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _without_lambda(method: Any) -> Any:
    if isinstance(method, dict) and method.keys() & {"lambda", "lambda_"}:
        raise ValueError("`lambdas` sets the lambda of each candidate; remove it from `method`")
    if isinstance(method, str):
        raise ValueError(
            "a method has settings of its own, as `method: uce` and others below `method:`; to "
            "run with another, add `--method NAME`"
        )
    return method


def _shown_without_lambda(
    method: AnySettings, serialise: SerializerFunctionWrapHandler
) -> dict[str, Any]:
    return {
        key: value for key, value in serialise(method).items() if key not in ("lambda", "lambda_")
    }


Sweep = Annotated[tuple[Lambda, ...], Field(min_length=1), AfterValidator(_distinct)]
Swept = Annotated[
    AnySettings,
    Field(discriminator="method"),
    BeforeValidator(_without_lambda),
    WrapSerializer(_shown_without_lambda),
]


def has_lambda(method: AnySettings) -> bool:
    """Whether the method is trained once for each of several lambdas."""
    return "lambda_" in type(method).model_fields


def _named_by_their_keys(methods: Any) -> Any:
    if isinstance(methods, dict):
        return {
            name: {"method": name, **settings} if isinstance(settings, dict) else settings
            for name, settings in methods.items()
        }
    return methods


class Preset(Section):
    """A method with its settings, and the lambdas of its candidates if it has a lambda."""

    lambdas: Sweep | None = Field(
        None,
        description="one candidate for each, where the method has a lambda; a higher lambda holds "
        "on to more and may erase less, more of them take as much longer",
    )
    method: Swept = Field(description="how concepts are erased: a method with its settings")

    def candidates(self) -> "list[tuple[float | None, AnySettings]]":
        """The settings of each candidate, and its lambda where its method has one."""
        if not (has_lambda(self.method) and self.lambdas):
            return [(None, self.method)]
        return [(each, self.method.model_copy(update={"lambda_": each})) for each in self.lambdas]


class OwnFeatures(Section):
    """The network whose vectors the distances between sets of pictures are measured by."""

    path: Place = Field(
        min_length=1,
        description="local transformers folder of a vision model or a CLIP, with safetensors",
    )


class Params(Preset):
    """params.yaml. Relative paths are relative to the working directory."""

    base: Base
    registered_model: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="name under which versions are registered, in the book and in MLflow",
    )
    seed: int = Field(
        ge=0,
        lt=EXACT,
        description="seed of all that an erasure draws at random; the same gives the same weights",
    )
    methods: Annotated[dict[str, Swept], BeforeValidator(_named_by_their_keys)] = Field(
        {},
        description="other methods to choose from, by `--method` or a request: their settings, by "
        "name",
    )
    comparisons: dict[Annotated[str, Field(pattern=r"^[a-z0-9-]+$")], Preset] = Field(
        {},
        description="other settings, of the same method or of others, measured beside it and never "
        "promoted",
    )
    approval: Literal["none", "one", "two"] = Field(
        "none",
        description="how many people must approve a plan before it is carried out: none, one or "
        "two; more of them make a release wait for each",
    )
    retention: Retention = Field(default_factory=lambda: Retention())
    sampling: Sampling
    prompts: PromptSets
    detector: DetectorSettings
    clip: Clip
    features: OwnFeatures | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="network by whose vectors KID, FID and `quality.*` compare pictures; null is "
        "the CLIP above",
    )
    policy: Policy

    @model_validator(mode="after")
    def _the_default_has_one_name(self) -> "Params":
        if DEFAULT_PRESET in self.comparisons:
            raise ValueError(
                f"comparisons may not be called {DEFAULT_PRESET!r}: that is the sweep of "
                f"`method` and `lambdas`"
            )
        return self

    @model_validator(mode="after")
    def _a_lambda_where_there_is_one(self) -> "Params":
        for where in self.presets().values():
            if has_lambda(where.method) and where.lambdas is None:
                raise ValueError(
                    f"method {where.method.method} has a lambda; give `lambdas`, one candidate each"
                )
        for name, settings in self.methods.items():
            if settings.method != name:
                raise ValueError(
                    f"methods.{name} holds the settings of {settings.method}; name it by its method"
                )
        return self

    @model_validator(mode="after")
    def _what_chooses_does_not_judge(self) -> "Params":
        if len(self.lambdas or ()) > 1 and self.prompts.choose is None:
            raise ValueError(
                f"{len(self.lambdas or ())} lambdas, and prompts.choose names no set to choose "
                f"among them: what chose a candidate cannot judge it. Give prompts.choose "
                f"(targets, kept), or one lambda"
            )
        return self

    @model_validator(mode="after")
    def _every_limit_can_be_measured(self) -> "Params":
        blind = [
            kind
            for kind in self.policy.targets
            if "nudenet.rate" in self.policy.asked_of(kind) and kind not in self.detector.labels
        ]
        if blind:
            raise ValueError(
                f"policy.targets limits nudenet.rate for {', '.join(blind)}, for which "
                f"detector.labels has no labels; add them"
            )
        return self

    @property
    def reading(self) -> Reading:
        """What prompt files are read with where they say nothing themselves."""
        own = self.sampling.seed
        return Reading(guidance=self.sampling.guidance, seed=self.seed if own is None else own)

    def presets(self) -> dict[str, Preset]:
        """What is tried: the default, and the comparisons by their names."""
        return {DEFAULT_PRESET: self, **self.comparisons}

    def with_method(self, name: str | None) -> "Params":
        """These parameters with the method that a run uses, and without the others to choose from.

        Raises:
            BadInput: There are no settings for `name`.
        """
        have = {**self.methods, self.method.method: self.method}
        if name is not None and name not in have:
            known = (
                "it is not a method" if name not in METHODS else "add its settings under `methods`"
            )
            raise BadInput(
                f"the parameters hold no method {name!r} ({known}); choose "
                f"{', '.join(sorted(have))}"
            )
        method = have[name] if name else self.method
        lambdas = self.lambdas if has_lambda(method) else None
        return self.model_copy(update={"method": method, "methods": {}, "lambdas": lambdas})

    def of_kinds(self, kinds: Iterable[Kind]) -> "Params":
        """These parameters with every setting of a method that is not given as its paper has it
        for concepts of these kinds.

        Raises:
            BadInput: The papers' settings for the kinds differ, see `methods.completed`.
        """
        kinds = list(kinds)
        others = {
            name: other.model_copy(update={"method": completed(other.method, kinds)})
            for name, other in self.comparisons.items()
        }
        method = completed(self.method, kinds)
        return self.model_copy(update={"method": method, "comparisons": others})

    def protecting(self, prompts: Sequence[str]) -> "Params":
        """These parameters with a method that must leave `prompts` exactly as they are, if it can
        promise that (`protect`).
        """
        if "protect" not in type(self.method).model_fields or not prompts:
            return self
        protect = tuple(sorted({*self.method.model_dump()["protect"], *prompts}))
        return self.model_copy(
            update={"method": self.method.model_copy(update={"protect": protect})}
        )

    @property
    def protected(self) -> list[str]:
        """Every prompt that the settings of a preset name: a method holds them as they are
        (`protect`) or leads to them (`instructions`), so they are trained on like those of a
        request, and those who measure stay away from them.
        """
        settings = [preset.method.model_dump() for preset in self.presets().values()]
        led_to = (i["prompt"] for some in settings for i in some.get("instructions", ()))
        held = (prompt for some in settings for prompt in some.get("protect", ()))
        return sorted({*held, *filter(None, led_to)})

    @property
    def sha256(self) -> str:
        """Hash of every value, defaults included; comments and order do not matter."""
        return sha256_json(self.model_dump(mode="json", by_alias=True))


def read_params(path: Path, changes: Sequence[str] = ()) -> Params:
    """Read the parameters, with `changes` as `read_yaml` takes them. `BadInput` names the file and
    every faulty key.
    """
    return read_yaml(path, Params, changes)
