"""What a person's own prompt file is read with where it does not say."""

from pathlib import Path

import pytest

from erasure_core.law.prompts import read_prompt_set
from erasure_core.planning.params import Params, read_params
from erasure_core.planning.reading import kept_guidance, reading_of_own

ROOT = Path(__file__).parents[2]


@pytest.fixture
def of(tmp_path):
    """Parameters with a kept set of guidance 3 and no guidance and seed of `sampling` but given."""
    kept = tmp_path / "kept.csv"
    kept.write_text(
        "case_number,prompt,evaluation_seed,evaluation_guidance\n0,a cat,1,3\n1,a dog,2,9\n"
    )
    params = read_params(ROOT / "params.yaml")

    def of(guidance: float | None = None, seed: int | None = None) -> Params:
        how = {"guidance": guidance, "seed": seed}
        return params.model_copy(
            update={
                "seed": 7,
                "sampling": params.sampling.model_copy(update=how),
                "prompts": params.prompts.model_copy(update={"kept": kept}),
            }
        )

    return of


@pytest.mark.parametrize(
    ("sampling", "given", "guidance", "seed"),
    [
        ({}, {}, 3.0, 7),
        ({"guidance": 5.0, "seed": 11}, {}, 5.0, 11),
        ({"guidance": 5.0, "seed": 11}, {"guidance": 0.0, "seed": 0}, 0.0, 0),
        ({}, {"guidance": 6.0}, 6.0, 7),
    ],
)
def test_what_is_given_comes_first_then_what_all_files_are_read_with_then_the_kept_prompts(
    of, sampling, given, guidance, seed
):
    reading = reading_of_own(of(**sampling), **given)
    assert (reading.guidance, reading.seed, reading.options) == (guidance, seed, True)


def test_kept_prompts_without_a_guidance_have_that_of_the_parameters(of):
    params = of(guidance=5.0)
    assert kept_guidance(params) == 3.0
    params.prompts.kept.write_text("prompt,seed\na cat,1\n")
    assert kept_guidance(params) == 5.0
    assert read_prompt_set(params.prompts.kept, params.reading)[0].evaluation_seed == 1
