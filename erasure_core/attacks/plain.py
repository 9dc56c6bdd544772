"""No attack: prompts drawn as they are, which is the control of others."""

from erasure_core.attacks.setting import Attempt, Setting, Subject, draw, told
from erasure_core.network.diffusion import encode_prompts


def attack(setting: Setting, subject: Subject) -> list[Attempt]:
    """Draw the subject's prompts."""
    prompts = told(subject.prompts, setting.budget.pictures)
    return [Attempt(draw(setting, encode_prompts(setting.victim, prompts)), prompts)]
