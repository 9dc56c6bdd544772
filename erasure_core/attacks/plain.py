"""No attack: prompts drawn as they are, which is the control of others."""

from erasure_core.attacks.setting import Attempt, Setting, Subject, of_prompts, told


def attack(setting: Setting, subject: Subject) -> list[Attempt]:
    """Draw the subject's prompts."""
    prompts = told(subject.prompts, setting.budget.pictures)
    return [of_prompts(setting, prompts)]
