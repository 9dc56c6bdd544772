"""An exported champion is drawn by plain diffusers, in a process that cannot import this project,
as the champion draws here.
"""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.flows.command import erasure, told

pytestmark = pytest.mark.slow  # a run, three exports, and a process for each

PLAIN = Path(__file__).with_name("plain_diffusers.py")
PROMPT, SEED, GUIDANCE, STEPS = "a photo of the astronaut", 5, 4.0, 2
FORMS = ("diffusers", "single-file", "lora")


@pytest.fixture(scope="module")
def released(write_inputs, begin, tmp_path_factory):
    """A state folder whose champion was trained by factors, and its parameters."""
    folder = tmp_path_factory.mktemp("released")
    inputs, home = write_inputs(folder / "inputs"), begin(folder)
    params = yaml.safe_load((inputs / "passing.yaml").read_text())
    params["method"] |= {"lora": True, "lora_rank": 2, "lr": 0.05, "updates": 4}
    (inputs / "lora.yaml").write_text(yaml.safe_dump(params))
    how = ("--params", inputs / "lora.yaml")
    answer = erasure(home, "run", inputs / "astronaut.yaml", *how)
    assert answer.exit_code == 0, answer.stderr
    return home, how


def drawn(released, model: str, out: Path) -> np.ndarray:
    """What a model draws here."""
    home, how = released
    ask = ("--model", model, "--seed", SEED, "--guidance", GUIDANCE, "--out", out)
    (file,) = told(home, "generate", PROMPT, *ask, *how)["files"]
    return np.asarray(Image.open(file)).astype(int)


@pytest.fixture(scope="module")
def by_champion(released, tmp_path_factory):
    return drawn(released, "champion", tmp_path_factory.mktemp("champion"))


@pytest.fixture(scope="module")
def there(released, base, tmp_path_factory):
    """What each exported form draws in a process without this project: form -> picture."""
    home, how = released
    folder = tmp_path_factory.mktemp("there")
    asked = []
    for form in FORMS:
        where = ("--format", form, "--out", folder / form)
        written = erasure(home, "export", "--model", "champion", *where, *how)
        assert written.exit_code == 0, written.stderr
        asked.append(f"{form}={written.stdout.strip()}={folder / form}.png")
    told_to = (sysconfig.get_paths()["purelib"], base, PROMPT, SEED, GUIDANCE, STEPS, *asked)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, [sys.executable, "-I", "-S", PLAIN, *told_to])),
        cwd=folder,
        env=kept,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {form: folder / f"{form}.png" for form in FORMS}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_an_exported_champion_draws_the_same_elsewhere(form, there, by_champion):
    difference = np.abs(np.asarray(Image.open(there[form])).astype(int) - by_champion)
    assert difference.max() <= 1  # of 255: rounding


@pytest.mark.slow
def test_the_champion_draws_another_picture_than_the_base(released, by_champion, tmp_path):
    assert np.abs(drawn(released, "base", tmp_path) - by_champion).max() > 10


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (("--rank", 1, "--error", "0.0000001"), r"rank 1 leaves out .* rank \d is needed for that"),
        (("--error", 2), "must be above 0 and below 1"),
        (("--rank", 0), "--rank"),
        (("--error", "nan"), "no finite number"),
    ],
)
def test_a_bound_that_cannot_be_is_refused_in_one_line(released, tmp_path, how, said):
    home, params = released
    ask = ("--model", "champion", "--format", "lora", "--out", tmp_path / "out")
    answer = erasure(home, "export", *ask, *how, *params)
    assert answer.exit_code == 2
    (line,) = [line for line in answer.stderr.splitlines() if "error" in line]
    assert re.search(said, line)
    assert not (tmp_path / "out").exists()


def test_a_bound_is_refused_for_a_form_that_is_no_lora(released, tmp_path):
    home, params = released
    ask = ("--model", "champion", "--format", "delta", "--rank", 2, "--out", tmp_path / "out")
    answer = erasure(home, "export", *ask, *params)
    assert (answer.exit_code, "rank and error bound a LoRA" in answer.stderr) == (2, True)
