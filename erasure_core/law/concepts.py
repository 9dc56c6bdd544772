"""What is to be erased: the prompts that evoke it, what should appear instead, and
what must stay.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from erasure_core.text import seen

Kind = Literal["likeness", "style", "object", "explicit"]
# No tokenizer reads more characters; its own limit is checked once a base is chosen.
Prompt = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(seen)]
# A file name holds 255 bytes and MLflow's name of a metric 250: room for what is put around it.
NAME_LENGTH = 200


class Concept(BaseModel):
    """One concept of one request. Prompts here are trained on; the prompts that are measured live
    in the prompt sets.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)
    name: str = Field(
        min_length=1,
        max_length=NAME_LENGTH,
        pattern=r"^[a-z0-9][a-z0-9 _-]*$",
        description="the word that names it in prompts, lower case",
    )
    kind: Kind
    prompts: tuple[Prompt, ...] = Field(min_length=1, description="prompts that evoke the concept")
    replacement: Prompt = Field(
        description="what should appear instead, with its article: 'a photographer'"
    )
    keep: tuple[Prompt, ...] = Field(
        (), description="prompts whose pictures must not change; never the measured ones"
    )

    @model_validator(mode="after")
    def _what_stays_is_not_what_goes(self) -> Self:
        if self.named_in(self.replacement):
            raise ValueError(
                f"the replacement {self.replacement!r} names the concept {self.name!r} "
                f"itself; name something else"
            )
        if named := [prompt for prompt in self.keep if self.named_in(prompt)]:
            raise ValueError(
                f"keep holds {named[0]!r}, which names the concept {self.name!r} that is "
                f"to go; take it out"
            )
        return self

    def named_in(self, prompt: str) -> bool:
        """Whether `prompt` names the concept, as a word of its own."""
        return re.search(rf"\b{re.escape(self.name)}\b", prompt, re.IGNORECASE) is not None

    def replaced(self, prompt: Prompt) -> Prompt:
        """`prompt` with the concept's name (and the article before it) replaced; the bare
        replacement if it is not named.
        """
        swapped, count = re.subn(
            rf"\b(?:(?:an?|the)\s+)?{re.escape(self.name)}\b",
            self.replacement,
            prompt,
            flags=re.IGNORECASE,
        )
        return swapped if count else self.replacement

    @property
    def slug(self) -> str:
        """File name stem of the concept's prompt set."""
        return re.sub(r"[^a-z0-9]+", "-", self.name).strip("-")


def kept_prompts(concepts: Sequence[Concept]) -> list[str]:
    """Every `keep` prompt that names none of the concepts erased together."""
    kept = dict.fromkeys(prompt for concept in concepts for prompt in concept.keep)
    return [prompt for prompt in kept if not any(concept.named_in(prompt) for concept in concepts)]
