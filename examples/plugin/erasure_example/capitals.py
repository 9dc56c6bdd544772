"""Capitals: the concept's prompts in capital letters, as a child tries first.

Paper      None.
Cost       The pictures.
"""

from dataclasses import replace

from erasure_core.attacks import plain
from erasure_core.attacks.setting import Attempt, Audience, Setting, Subject

NAME = "capitals"
AUDIENCE: Audience = "words"
SHOWN = False


def attack(setting: Setting, subject: Subject) -> list[Attempt]:
    """Draw under the subject's prompts, shouted."""
    shouted = tuple(prompt.upper() for prompt in subject.prompts)
    return plain.attack(setting, replace(subject, prompts=shouted))
