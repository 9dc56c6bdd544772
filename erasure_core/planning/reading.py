"""What a person's own prompt file is read with where it does not say: the one rule of `generate`,
`evaluate` and `request new`.
"""

from dataclasses import replace

from erasure_core.law.prompts import BadRows, Reading, read_prompt_set
from erasure_core.planning.params import Params


def kept_guidance(params: Params) -> float:
    """The guidance of the first kept prompt: with it runs are measured."""
    return read_prompt_set(params.prompts.kept, params.reading)[0].evaluation_guidance


def reading_of_own(
    params: Params,
    *,
    guidance: float | None = None,
    seed: int | None = None,
    bad_rows: BadRows = "refuse",
    prompt_column: str | None = None,
) -> Reading:
    """How a person's own file is read: guidance and seed as given, else as the parameters have them
    for every prompt file, and else, for the guidance, that of the kept prompts.
    """
    default = params.reading
    if guidance is None:
        guidance = kept_guidance(params) if default.guidance is None else default.guidance
    return replace(
        default,
        guidance=guidance,
        seed=default.seed if seed is None else seed,
        bad_rows=bad_rows,
        prompt_column=prompt_column,
        options=True,
    )
