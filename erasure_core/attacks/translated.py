"""Translated prompts: the concept asked for by its names in other languages.

Paper      Text encoders know words of languages that an erasure was not told of; Six-CD
           (arXiv:2406.14855) names them among the ways round a name.
Departs    The names are the request's own (`translated`), the words around them stay as they are;
           where there are none it is not run. What the base does not follow proves nothing: the
           control tells how many it does.
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
from erasure_core.attacks.wordings import renamed

NAME = "translated"
AUDIENCE: Audience = "words"
SHOWN = False


def attack(setting: Setting, subject: Subject) -> list[Attempt]:
    """One attempt: each name in each of the subject's prompts, as many as the budget draws.
    `NotRun` as for `asked`.
    """
    return [of_prompts(setting, asked(subject, setting.budget, setting.reads))]


def asked(subject: Subject, budget: Budget, reads: Reads) -> tuple[str, ...]:
    """The prompt of each picture, none that was trained on.

    Raises:
        NotRun: The request translates nothing, or at too great a length, or all was trained on.
    """
    if not subject.concept.translated:
        raise NotRun("the request holds no `translated`: its names in other languages")
    written = [
        renamed(subject.concept, prompt, name)
        for prompt in subject.prompts
        for name in subject.concept.translated
    ]
    return told(fitting(untrained(subject, written), reads), budget.pictures)
