"""Attacks: can the concept be brought back, by whom, and what did the attack itself bring?

An attack module has a header, `NAME`, `AUDIENCE`, `SHOWN` and `attack` (`setting.Attack`). It sees
models, the attacker's own prompts and photographs and a budget; it never sees what was trained on
or is reported, and it does not judge what it drew. `run` attacks and adds the controls without
which a success, or a failure, proves nothing:

- base: the same attack on the base, which knows the concept. It must succeed, at whichever of its
  strengths suits the base: that the strength which suits the victim is none for the base does not
  make the attack blind.
- replacement: the base told the replacement's prompts, from the same noise or picture. What this
  shows is no return of the concept.
- unknown: the same attack, at the strength of the victim's best attempt, for a subject that the
  base never knew, where pictures are shown: what an attack teaches is no memory.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint
from typing import Any

from torch import Tensor

from erasure_core.attacks import (
    concept_vector,
    image_to_image,
    implicit,
    inpainting,
    latent_inversion,
    plain,
    preimage,
    relearning,
    ridge,
    ring_a_bell,
    textual_inversion,
    token_search,
    translated,
    wordings,
)
from erasure_core.attacks.setting import (
    AUDIENCES,
    BUDGETS,
    Attack,
    Attempt,
    Audience,
    Budget,
    NotRun,
    Setting,
    Subject,
    counted,
)
from erasure_core.errors import BadInput
from erasure_core.law.gates import Tier
from erasure_core.network.images import not_finite
from erasure_core.plugins import takes, with_plugins

__all__ = [
    "ATTACKS",
    "AUDIENCES",
    "BUDGETS",
    "CHEAP",
    "Audience",
    "Budget",
    "Judge",
    "Result",
    "run",
]

Judge = Callable[[Tensor], list[bool]]  # pictures (n, 3, h, w) -> whether each shows the subject
MODULES: tuple[Any, ...] = (
    wordings,
    implicit,
    translated,
    preimage,
    ridge,
    concept_vector,
    image_to_image,
    inpainting,
    latent_inversion,
    ring_a_bell,
    token_search,
    textual_inversion,
    relearning,
)
BEGUN_AT_A_PICTURE = (image_to_image, inpainting, latent_inversion)
ENTRY_POINTS = "erasure.attacks"  # of other packages: name -> module
OFFERED = ("NAME", "AUDIENCE", "SHOWN", "attack")
ATTACKS: dict[str, Attack] = {module.NAME: module for module in MODULES}
CHEAP = ("wordings", "implicit", "translated", "preimage", "ridge", "concept vector")  # no gradient


def all_attacks(plugins: Iterable[EntryPoint] | None = None) -> dict[str, Attack]:
    """`ATTACKS` and those of installed packages; see `plugins.with_plugins`.

    Raises:
        BadInput: Also if a plug-in's `NAME`, by which results are told apart, is not its name.
    """
    found = with_plugins(
        ATTACKS,
        ENTRY_POINTS,
        "attack",
        lambda loaded: all(hasattr(loaded, n) for n in OFFERED) and takes(loaded.attack, 2),
        f"a module that has {', '.join(OFFERED)}, this one of a setting and a subject",
        plugins,
    )
    for name, module in found.items():
        if name != module.NAME:
            raise BadInput(
                f"attack {name!r}: its NAME is {module.NAME!r}; make it {name!r}, by which its "
                f"entry point and the policy name it"
            )
    return found


def budget_of(name: Tier) -> Budget:
    """The budget of a tier. `BadInput` if there is none."""
    if name not in BUDGETS:
        raise BadInput(f"no tier {name!r}; choose {', '.join(BUDGETS)}")
    return BUDGETS[name]


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt, judged."""

    hits: tuple[bool, ...]
    prompts: tuple[str, ...]
    numbers: Mapping[str, float] = field(default_factory=dict)
    found: str = ""

    @property
    def successes(self) -> int:
        """Pictures that show the subject."""
        return sum(self.hits)

    @property
    def n(self) -> int:
        """Pictures that were judged."""
        return len(self.hits)

    @property
    def rate(self) -> float:
        """Share of the pictures that show the subject."""
        return self.successes / self.n


Judged = tuple[Attempt, Tried]


@dataclass(frozen=True, slots=True)
class Result:
    """What an attack came to, beside its controls."""

    attack: str
    audience: Audience
    concept: str
    attempts: tuple[Tried, ...] = ()  # the weakest first
    controls: Mapping[str, Tried] = field(default_factory=dict)  # base, replacement, unknown
    not_run: str = ""  # why, where it was not
    evaluations: int = 0  # of the victim's UNet, counted in pictures; controls not included
    seconds: float = 0.0  # of the attack alone

    @property
    def best(self) -> Tried:
        """The attempt that an attacker would keep."""
        return max(self.attempts, key=lambda tried: tried.rate)

    @property
    def followed(self) -> tuple[int, int]:
        """The best attempt where the base, attacked alike, shows the subject: successes, and how
        many such pictures there are. What the base does not draw, no erasure can be credited with.
        """
        pairs = zip(self.best.hits, self.controls["base"].hits, strict=True)
        hits = [hit for hit, on_base in pairs if on_base]
        return sum(hits), len(hits)


def chosen(names: Sequence[str]) -> list[Attack]:
    """The attacks called `names`, in blanks, hyphens or underlines; "all" and "cheap" are several.

    Raises:
        BadInput: One is not known.
    """
    known = all_attacks()
    sets = {"all": tuple(known), "cheap": CHEAP}
    called = {_typed(name): (name,) for name in known} | sets
    if unknown := [word for word in names if _typed(word) not in called]:
        raise BadInput(
            f"no attack {', '.join(map(repr, unknown))}; choose {', '.join([*sets, *known])}"
        )
    return [known[n] for n in dict.fromkeys(n for word in names for n in called[_typed(word)])]


def _typed(name: str) -> str:
    """An attack's name, whether a command is told "token search" or "token-search"."""
    return " ".join(name.casefold().replace("-", " ").replace("_", " ").split())


def run(
    module: Attack,
    setting: Setting,
    subject: Subject,
    judge: Judge,
    unknown: tuple[Subject, Judge] | None = None,
    instead: Judged | None = None,
    on_base: dict[str, list[Judged]] | None = None,
) -> tuple[Result, dict[str, Tensor]]:
    """Attack, judge, and add the controls.

    Args:
        module: The attack.
        setting: The model and the base.
        subject: What is to come back, with the attacker's photographs of it.
        judge: Who says whether a picture shows it.
        unknown: A subject that the base does not know, and its own judge.
        instead: What `told_instead` draws, judged, where several attacks share it; None draws it.
        on_base: Attempts on the base by attack, of the same setting and subject: filled, and
            neither made nor judged again.

    Returns:
        The result, and the pictures of the best attempt and of each control.
    """
    concept = subject.concept.name
    began = time.monotonic()
    try:
        with counted(setting.victim.unet) as seen:
            attempts = _attempts(module, setting, subject)
        seconds, evaluations = time.monotonic() - began, sum(seen)
        tried = [judged(attempt, judge) for attempt in attempts]
        best = _strongest(tried)
        known = {} if on_base is None else on_base
        beside = _controls(module, setting, subject, judge, unknown, best, instead, known)
        if (n := len(tried[best][1].hits)) != (of_base := beside["base"][1].n):
            raise NotRun(f"it drew {n} pictures of the model and {of_base} of the base")
    except NotRun as why:  # of the victim or of a control, without which a result says nothing
        return Result(module.NAME, module.AUDIENCE, concept, not_run=str(why)), {}
    pictures, controls = {"attack": attempts[best].pictures}, {}
    for name, (attempt, shown) in beside.items():
        pictures[name], controls[name] = attempt.pictures, shown
    result = Result(
        module.NAME,
        module.AUDIENCE,
        concept,
        tuple(shown for _, shown in tried),
        controls,
        "",
        evaluations,
        seconds,
    )
    return result, pictures


def _controls(
    module: Attack,
    setting: Setting,
    subject: Subject,
    judge: Judge,
    unknown: tuple[Subject, Judge] | None,
    best: int,
    instead: Judged | None,
    known: dict[str, list[Judged]],
) -> dict[str, Judged]:
    """The attempt of each control, judged: on the base its own best, which asks whether the attack
    works at all; of the unknown subject that at the strength `best`, which asks what this brings.
    """
    against_base = setting.against(setting.base)
    if module.NAME not in known:
        known[module.NAME] = [judged(a, judge) for a in _attempts(module, against_base, subject)]
    on_base = known[module.NAME]
    found = {"base": on_base[_strongest(on_base)]}
    if module in BEGUN_AT_A_PICTURE:  # and so is its control
        instead = judged(module.attack(against_base, _replaced(subject))[0], judge)
    found["replacement"] = instead or judged(told_instead(setting, subject), judge)
    if module.SHOWN and unknown is not None:
        of_unknown = _attempts(module, setting, unknown[0])
        if best >= len(of_unknown):
            raise NotRun("it makes fewer attempts for a subject that the base does not know")
        found["unknown"] = judged(of_unknown[best], unknown[1])
    return found


def _attempts(module: Attack, setting: Setting, subject: Subject) -> list[Attempt]:
    """What an attack drew.

    Raises:
        NotRun: As the attack; or, of another package, it drew nothing that could be judged.
    """
    attempts = module.attack(setting, subject)
    if not attempts or not all(len(a.pictures) == len(a.prompts) > 0 for a in attempts):
        raise NotRun("it drew nothing, or not one picture a prompt")
    if broken := sum(not_finite(attempt.pictures) for attempt in attempts):
        raise NotRun(f"{broken} of its pictures are not finite")
    return attempts


def told_instead(setting: Setting, subject: Subject) -> Attempt:
    """The base told the replacement's prompts: the control of every attack that begins at noise."""
    return plain.attack(setting.against(setting.base), _replaced(subject))[0]


def _replaced(subject: Subject) -> Subject:
    return replace(subject, prompts=subject.instead)


def _strongest(tried: Sequence[Judged]) -> int:
    return max(range(len(tried)), key=lambda i: tried[i][1].rate)


def judged(attempt: Attempt, judge: Judge) -> Judged:
    """An attempt, and what `judge` says of it."""
    hits = tuple(judge(attempt.pictures))
    return attempt, Tried(hits, attempt.prompts, attempt.numbers, attempt.found)
