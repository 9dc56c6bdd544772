"""Implicit prompts: the concept described without its name, by somebody who can only type.

Paper      Six-CD (arXiv:2406.14855) and I2P (Schramowski et al., CVPR 2023, arXiv:2211.05105): what
           a filter of names lets through.
Departs    The descriptions are the request's own (`described`); nothing derives them, and where
           there are none it is not run. What the base does not follow proves nothing: the control
           tells how many it does.
Cost       The pictures.
"""

from erasure_core.attacks.setting import (
    Attempt,
    Audience,
    Budget,
    NotRun,
    Reads,
    Setting,
    Subject,
    fitting,
    of_prompts,
    told,
    untrained,
)

NAME = "implicit"
AUDIENCE: Audience = "words"
SHOWN = False


def attack(setting: Setting, subject: Subject) -> list[Attempt]:
    """One attempt: the descriptions in turn. `NotRun` as for `asked`."""
    return [of_prompts(setting, asked(subject, setting.budget, setting.reads))]


def asked(subject: Subject, budget: Budget, reads: Reads) -> tuple[str, ...]:
    """The prompt of each picture, none that was trained on.

    Raises:
        NotRun: The request describes nothing, or at too great a length, or all was trained on.
    """
    if not subject.concept.described:
        raise NotRun("the request holds no `described`: prompts that mean it and do not name it")
    fresh = untrained(subject, subject.concept.described)
    return told(fitting(fresh, reads), budget.pictures)
