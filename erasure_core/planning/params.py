"""Every number a run depends on: the one typed reader of params.yaml."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    WrapSerializer,
    model_validator,
)

from erasure_core.attacks import Audience, all_attacks
from erasure_core.errors import BadInput
from erasure_core.files import read_yaml
from erasure_core.law.concepts import Concept, Kind
from erasure_core.law.gates import Limit
from erasure_core.law.lineage import sha256_json
from erasure_core.law.prompts import GUIDANCE, Reading
from erasure_core.methods import METHODS, AnySettings, completed

# Begin the metrics of what stands in the concept's place: they need the base's pictures of it.
INSTEAD = ("replacement.", "quality.")
# Whether a picture shows a concept: what pictures of it alone, leaks and attacks are judged by. A
# face that is recognised stands beside these: few faces are found, and only some of a likeness.
WORD_METRICS = ("nudenet.rate", "clip.concept_rate")
AT = "@"  # between a metric and the threshold it is measured at, where that is not the instrument's
COMPOSED = "composed."  # begins the metrics of prompts that name something beside the concept
BESIDE = f"{COMPOSED}clip.accuracy"  # of the other thing, where the base names the concept
# Begin the metrics of what an erasure did besides, which the base has no control of.
LEAK = "leak"
BESIDES = ("neighbour.", "harmonic", LEAK, BESIDE)
ATTACK = "attack."  # begins the metrics of attacks
EXCESS = f"{ATTACK}excess."  # and of what they bring back above their replacement control
DEFAULT_PRESET = (
    "default"  # the name of the sweep that can be promoted; comparisons have their own names
)
CENTURY = 36_500  # days; a calendar has an end, and what is kept for longer is kept for ever
EXACT = 2**53  # from here on, numbers of JSON (RFC 8785) are no longer exact


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid"
    )  # a misspelt key is an error, not a default


Days = Annotated[int, Field(ge=0, le=CENTURY)]


class Base(_Section):
    """The teacher: a folder, a hub id pinned by revision, or a checkpoint in one file."""

    path: str = Field(min_length=1)
    revision: str | None = Field(None, description="commit hash of a hub id")
    config: str | None = Field(
        None,
        description="for a checkpoint in one file: folder of its family's configurations and "
        "tokenizer; null is the folder beside it that has its name without the ending",
    )
    sha256: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="root hash of the snapshot; null accepts what is found",
    )


class Sampling(_Section):
    """How every picture of a run is made, the base's and the candidate's alike."""

    steps: int = Field(gt=0)
    batch_size: int = Field(gt=0)
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


class MeasuredSet(_Section):
    """Where the prompts of one sealed set are."""

    targets: Path = Field(description="folder of one CSV a concept")
    kept: Path = Field(description="CSV of prompts whose pictures must stay as they are")


class PromptSets(MeasuredSet):
    """The report set, on which the gate decides, and the set on which candidates are chosen."""

    vocabulary: Path | None = Field(
        None, description="CSV of what the base knows, from which new requests take wordings"
    )
    choose: MeasuredSet | None = Field(
        None, description="on which the candidate is chosen; needed where there are several"
    )


class Detector(_Section):
    """Who sees a concept: which labels count for each kind, and from which score."""

    name: str = Field("nudenet", description="`nudenet`, or the detector of an installed plug-in")
    labels: dict[Kind, Annotated[tuple[str, ...], Field(min_length=1)]]
    threshold: float = Field(gt=0, le=1, allow_inf_nan=False)
    inference_resolution: int = Field(320, gt=0, le=4096, multiple_of=32)


def _with_one_gap(template: str) -> str:
    gaps = [(field, *how) for _, field, *how in Formatter().parse(template) if field is not None]
    if gaps != [("", "", None)]:
        raise ValueError(
            "a template holds {} once, where the concept's name goes, and no other braces"
        )
    return template


class Clip(_Section):
    """The CLIP model that scores pictures and names what they show."""

    path: str = Field(min_length=1)
    revision: str | None = None
    templates: tuple[Annotated[str, AfterValidator(_with_one_gap)], ...] = Field(min_length=1)
    styles: tuple[str, ...] = Field(
        (), description="among which a picture's style is named, where a style is erased"
    )


Bounds = Annotated[
    dict[str, FiniteFloat], Field(min_length=1)
]  # metric -> the limit its cautious end must respect


# What must have been tried before a model is released to an audience, by tier. Who can put in
# states can type as well, and who has the file can do both.
REQUIRED: dict[Audience, dict[str, tuple[str, ...]]] = {
    "words": {
        "smoke": ("wordings",),
        "standard": ("wordings", "token search"),
        "full": ("wordings", "token search", "ring-a-bell"),
    },
    "embeddings": {
        "smoke": ("wordings", "ridge", "concept vector"),
        "standard": ("wordings", "token search", "ridge", "concept vector", "textual inversion"),
        "full": (
            *("wordings", "token search", "ring-a-bell", "ridge", "concept vector"),
            *("textual inversion", "latent inversion"),
        ),
    },
    "weights": {
        "smoke": ("wordings", "ridge", "concept vector", "relearning"),
        "standard": (
            *("wordings", "token search", "ridge", "concept vector", "textual inversion"),
            "relearning",
        ),
        "full": (
            *("wordings", "token search", "ring-a-bell", "ridge", "concept vector"),
            *("textual inversion", "latent inversion", "relearning"),
        ),
    },
}


class Again(_Section):
    """How a release measures what was honoured before it (docs/again.md): a part of the pictures,
    another one each time, and all of them after so many days.
    """

    parts: int = Field(
        ge=2,
        description="parts of a concept's prompt set, of which a release measures one; more make "
        "it cheaper and see less",
    )
    days: int = Field(
        ge=1,
        le=CENTURY,
        description="days after which all is measured again; more let a return stay longer",
    )


class Policy(_Section):
    """What a candidate must show before it is promoted."""

    audience: Audience | None = Field(
        None,
        description="to whom models are released: words (people who type), embeddings (who can put "
        "in states or learnt tokens) or weights (who get the file); null declares nobody, and "
        "nothing is attacked",
    )
    tier: Literal["smoke", "standard", "full"] = Field(
        "smoke", description="how much must be tried for that audience, and by what budget"
    )
    attacks: dict[Kind, Bounds] = Field(
        {},
        description="highest share of an attack's pictures that may show the concept, above the "
        "share that its replacement control shows",
    )
    min_n: int = Field(gt=0, description="images below which a number is no evidence")
    control: FiniteFloat = Field(
        description="what each target metric must reach on the base, or the measurement is blind; "
        "no lower than the limit on it after the erasure"
    )
    targets: dict[Kind, Bounds]
    kept: Bounds
    again: Again | None = Field(
        None,
        description="how a release measures concepts that were honoured before; null measures all "
        "of each every time",
    )
    neighbours: dict[str, tuple[str, ...]] = Field(
        {},
        description="concept -> kept things that are measured as its neighbours, beside those "
        "that its text states find",
    )
    restored: Bounds = Field(
        {"ssim": 0.85}, description="what pictures of a concept that was brought back must be"
    )

    @model_validator(mode="after")
    def _what_is_declared_is_tried(self) -> "Policy":
        tried = {name for bounds in self.attacks.values() for name in bounds}
        if unknown := sorted(tried - (known := all_attacks()).keys()):
            raise ValueError(
                f"attacks limits {', '.join(unknown)}, which nobody can try; known are "
                f"{', '.join(known)}"
            )
        if self.audience is None:
            if tried:
                raise ValueError("attacks holds limits, and no audience is declared; declare one")
            return self
        for kind in self.targets:
            lacking = [a for a in self.required if a not in self.attacks.get(kind, {})]
            if lacking:
                raise ValueError(
                    f"a model for the audience {self.audience} at tier {self.tier} must withstand "
                    f"{', '.join(lacking)}; give attacks.{kind} a limit for each"
                )
        return self

    def asked_of(self, kind: Kind) -> set[str]:
        """The metrics that concepts of a kind are judged by, alone or composed, at any threshold.

        Raises:
            BadInput: It limits none for the kind.
        """
        bounds = self._of_kind(kind, "")
        return {metric.removeprefix(COMPOSED).partition(AT)[0] for metric in bounds}

    def sees(self, kind: Kind) -> bool:
        """Whether a limit on concepts of a kind, alone, rests on an instrument that sees them:
        without one, nothing judges attacks on them and leaks either.
        """
        return any(metric.partition(AT)[0] in WORD_METRICS for metric in self.targets.get(kind, {}))

    def telling(self, kind: Kind) -> set[str]:
        """The instruments that judge a kind and see nothing in pictures without the concept. What
        finds any face finds those of others too.
        """
        seen = {metric.partition(AT)[0] for metric in self.targets.get(kind, {})}
        return seen & {*WORD_METRICS} - ({"nudenet.rate"} if kind == "likeness" else set())

    def seen_in_part(self, kind: Kind) -> bool:
        """Whether a part of its pictures says whether a concept of a kind is back (`of_parts`)."""
        return not self.targets.get(kind, {}).keys().isdisjoint(WORD_METRICS)

    def judges_composed(self, kind: Kind) -> bool:
        """Whether a limit looks for a concept of a kind in pictures of composed prompts."""
        composed = {f"{COMPOSED}{metric}" for metric in WORD_METRICS}
        return not composed.isdisjoint(self.targets.get(kind, {}))

    def of_replacement(self, kind: Kind) -> set[str]:
        """The limited metrics of what stands in a concept's place."""
        return {metric for metric in self.targets.get(kind, {}) if metric.startswith(INSTEAD)}

    def without(self, *begins: str) -> "Policy":
        """This policy without attacks, and without limits on targets that begin so."""
        targets = {
            kind: {m: bound for m, bound in bounds.items() if not m.startswith(begins)}
            for kind, bounds in self.targets.items()
        }
        return self.model_copy(update={"audience": None, "attacks": {}, "targets": targets})

    @property
    def required(self) -> tuple[str, ...]:
        """The attacks that must have been tried."""
        return REQUIRED[self.audience][self.tier] if self.audience else ()

    def attacks_on(self, kind: Kind) -> dict[str, float]:
        """Attack -> its limit, for concepts of a kind."""
        return self.attacks.get(kind, {}) if self.audience else {}

    def controls(self, concepts: Sequence[Concept]) -> list[Limit]:
        """What the base must show: every concept, by every metric its erasure is judged by.

        Composed prompts and attacks show a concept less often than its own; there the base must
        exceed what is allowed after the erasure. And what it must not show, the negative control:
        an instrument that sees the concept in what is kept sees it anywhere.
        """
        return (
            [
                Limit(
                    f"base.{metric}[{c.name}]",
                    bound if metric.startswith(COMPOSED) else self.control,
                    self.min_n,
                )
                for c in concepts
                for metric, bound in self._targets(c).items()
                if not metric.startswith(
                    (*INSTEAD, *BESIDES)
                )  # the base shows the concept, not what replaces it
            ]
            + [
                Limit(f"base.{EXCESS}{attack}[{c.name}]", bound, 1)
                for c in concepts
                for attack, bound in self.attacks_on(c.kind).items()
            ]
            + [
                Limit(f"base.{LEAK}[{c.name}]", round(1 - self.control, 6), 1)
                for c in concepts
                if self.telling(c.kind)
            ]
        )

    def limits(self, concepts: Sequence[Concept], restored: Sequence[Concept] = ()) -> list[Limit]:
        """What the candidate must show: each concept gone, everything else kept, and what was
        brought back there again.
        """
        targets = [
            Limit(f"{metric}[{c.name}]", bound, self.min_n)
            for c in concepts
            for metric, bound in self._targets(c).items()
        ]
        attacked = [
            Limit(f"{EXCESS}{attack}[{c.name}]", bound, 1)
            for c in concepts
            for attack, bound in self.attacks_on(c.kind).items()
        ]
        kept = [Limit(metric, bound, self.min_n) for metric, bound in self.kept.items()]
        back = [
            Limit(f"restored.{metric}[{c.name}]", bound, self.min_n)
            for c in restored
            for metric, bound in self.restored.items()
        ]
        return [*targets, *attacked, *kept, *back]

    def of_parts(self, concepts: Sequence[Concept]) -> tuple[list[Limit], list[Limit]]:
        """Controls and limits of concepts of which a part is measured. Nothing may speak for their
        return; that they are gone was shown by all their pictures, and is again (`again`). What
        stands in their place and attacks wait for that.
        """
        assert self.again is not None
        fewest = max(1, self.min_n // self.again.parts)
        controls, limits = [], []
        for concept in concepts:
            for metric, bound in self._targets(concept).items():
                if metric.removeprefix(COMPOSED) not in WORD_METRICS:
                    continue
                name, composed = f"{metric}[{concept.name}]", metric.startswith(COMPOSED)
                shown = bound if composed else self.control
                controls.append(Limit(f"base.{name}", shown, fewest, shown_before=True))
                limits.append(Limit(name, bound, fewest, shown_before=True))
        return controls, limits

    def _targets(self, concept: Concept) -> dict[str, float]:
        return self._of_kind(concept.kind, f" of concept '{concept.name}'")

    def _of_kind(self, kind: Kind, whose: str) -> dict[str, float]:
        if kind not in self.targets:
            have = ", ".join(self.targets)
            raise BadInput(
                f"policy.targets has no limits for kind '{kind}'{whose} (it has {have}); "
                "add them to the parameters, an erasure that is not judged is not released"
            )
        return self.targets[kind]


class Retention(_Section):
    """How long `erasure purge` keeps what is no longer in use, in days."""

    personal: Days = Field(90, description="names and wordings of requests that have ended")
    refused: Days = Field(90, description="files of refused versions, and of runs without one")
    superseded: Days = Field(365, description="files of old champions, from the next one's day")


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


class Preset(_Section):
    """A method with its settings, and the lambdas of its candidates if it has a lambda."""

    lambdas: Sweep | None = None
    method: Swept


class OwnFeatures(_Section):
    """The network whose vectors the distances between sets of pictures are measured by."""

    path: str = Field(
        min_length=1,
        description="local transformers folder of a vision model or a CLIP, with safetensors",
    )


class Params(Preset):
    """params.yaml. Relative paths are relative to the working directory."""

    base: Base
    registered_model: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = Field(ge=0, lt=EXACT)
    methods: Annotated[dict[str, Swept], BeforeValidator(_named_by_their_keys)] = Field(
        {}, description="others to choose from"
    )
    comparisons: dict[Annotated[str, Field(pattern=r"^[a-z0-9-]+$")], Preset] = Field(
        {},
        description="other settings, of the same method or of others, measured beside it and never "
        "promoted",
    )
    approval: Literal["none", "one", "two"] = Field(
        "none", description="how many people must approve a plan before it is carried out"
    )
    retention: Retention = Field(default_factory=lambda: Retention())
    sampling: Sampling
    prompts: PromptSets
    detector: Detector
    clip: Clip
    features: OwnFeatures | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="of KID, FID and `quality.*`; null is the CLIP above",
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
