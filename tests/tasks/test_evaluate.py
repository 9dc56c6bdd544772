"""`erasure evaluate` on long files: memory does not grow with rows, and a kill costs no picture."""

import gc
import json
import weakref
from dataclasses import replace

import pytest
from PIL import Image

from erasure_core.errors import BadInput
from erasure_core.law.prompts import PromptRow, Reading
from erasure_core.metrics.clip_score import ClipScorer
from erasure_core.planning.params import read_params
from tasks.erasing import draw
from tasks.evidence import evaluate as evaluation
from tasks.home import Home
from tests.flows.command import erasure
from tests.toy import build_clip, build_pipeline, larger, write_inputs

ROWS = 10
GIVEN = Reading(guidance=4.0, seed=1)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A toy base, parameters, and a prompt file of several batches."""
    folder = tmp_path_factory.mktemp("toy")
    base = larger(build_pipeline(folder / "tiny"), folder / "base")
    inputs = write_inputs(folder / "inputs", base, build_clip(folder / "clip"))
    prompts = inputs / "own.csv"
    lines = [f"a photo of a {('cat', 'rocket')[i % 2]},{i}" for i in range(ROWS)]
    prompts.write_text("\n".join(["prompt,seed", *lines]) + "\n")
    return base, prompts, inputs / "passing.yaml"


@pytest.fixture
def measured(toy, tmp_path):
    base, prompts, params = toy

    def measured(**how):
        how = {"reading": GIVEN, "home": Home(tmp_path / "state"), **how}
        return evaluation.evaluate(base, base, prompts, read_params(params), **how)

    return measured


class Killed(BaseException):
    pass


def counted(monkeypatch, stop_after: int | None = None) -> list[str]:
    """The files that are drawn; after some of them, a kill leaves half of the next."""
    files, save = [], draw.save_png

    def saved(picture, file):
        if len(files) == stop_after:
            file.write_bytes(b"\x89PNG\r\n\x1a\n half a picture")
            raise Killed
        save(picture, file)
        files.append(f"{file.parent.name}/{file.name}")

    monkeypatch.setattr(draw, "save_png", saved)
    return files


@pytest.mark.slow
def test_pictures_in_memory_do_not_grow_with_the_rows(measured, monkeypatch):
    monkeypatch.setattr(evaluation, "TOGETHER", 2)
    pictures, alive, scores, made = [], [], ClipScorer.scores, Image.Image.__init__

    def making(self):
        made(self)
        pictures.append(weakref.ref(self))

    def counting(self, images, prompts):
        gc.collect()
        alive.append(sum(picture() is not None for picture in pictures))
        return scores(self, images, prompts)

    monkeypatch.setattr(Image.Image, "__init__", making)
    monkeypatch.setattr(ClipScorer, "scores", counting)
    found = measured()
    assert len(pictures) >= 2 * ROWS
    assert {m.metric: m.n for m in found.measurements}["ssim"] == ROWS
    assert len(alive) == ROWS  # two models, two rows at a time
    assert 0 < max(alive) <= 2 * 2


@pytest.mark.slow
@pytest.mark.parametrize("after", [3, ROWS + 5])
def test_a_killed_evaluation_goes_on_and_comes_to_the_same(after, measured, monkeypatch, tmp_path):
    whole = measured(home=Home(tmp_path / "undisturbed")).measurements
    with monkeypatch.context() as patch:
        first = counted(patch, after)
        with pytest.raises(Killed):
            measured()
    rest = counted(monkeypatch)
    assert measured().measurements == whole
    assert len(first) == after
    assert len(set(first + rest)) == len(first + rest) == 2 * ROWS
    assert not any(Home(tmp_path / "state").evaluations.iterdir())


def test_pictures_of_a_named_folder_stay_and_are_not_drawn_again(measured, monkeypatch, tmp_path):
    first = measured(out=tmp_path / "out")
    files = counted(monkeypatch)
    assert measured(out=tmp_path / "out") == first
    assert files == []


@pytest.mark.slow
def test_a_picture_of_another_seed_is_not_believed(measured, monkeypatch, tmp_path):
    measured(out=tmp_path / "out")
    files = counted(monkeypatch)
    measured(out=tmp_path / "out", reading=Reading(guidance=5.0, seed=1))
    assert len(files) == 2 * ROWS


@pytest.mark.slow
def test_pictures_drawn_by_other_code_or_libraries_are_drawn_again(measured, monkeypatch, tmp_path):
    measured(out=tmp_path / "out")
    for other in ({"code": "9" * 64}, {"torch": "1.0"}):
        here = evaluation.drawn_by()
        with monkeypatch.context() as patch:
            patch.setattr(evaluation, "drawn_by", lambda o=other, h=here: {**h, **o})
            files = counted(patch)
            measured(out=tmp_path / "out")
        assert len(files) == 2 * ROWS


def test_copies_of_a_row_are_one_picture():
    row = PromptRow(0, "a cat", 1, 4.0, "")
    rows = [row, PromptRow(1, "a cat", 2, 4.0, ""), PromptRow(2, "a cat", 1, 4.0, "")]
    kept, said = evaluation.without_copies(rows)
    assert kept == rows[:2]
    assert said == ["left out: 1 copies of a prompt, seed and guidance (case 2)"]


LONG = "a photo of a cat and a rocket " * 4


def test_pictures_of_one_seed_are_told_and_not_counted_as_independent():
    """Of one seed in all there would be no interval: then they are, and it is said."""
    given = [PromptRow(i, f"thing {i}", i % 2, 4.0, "") for i in range(4)]
    assert evaluation.alike(given) == ["seed 0", "seed 1"] * 2
    assert evaluation.of_few_seeds(given) == [
        "4 rows have 2 seeds, and pictures of one are alike: intervals count seeds; give each row "
        "one of its own"
    ]
    one = [replace(row, evaluation_seed=7) for row in given]
    assert evaluation.alike(one) == [row.prompt for row in given]
    (said,) = evaluation.of_few_seeds(one)
    assert "4 rows have 1 seed, and pictures of one are alike: intervals are too narrow" in said
    own = [replace(row, evaluation_seed=row.case_number) for row in given]
    assert evaluation.of_few_seeds(own) == []


def test_prompts_that_are_too_long_are_refused_together_cut_or_skipped(tiny_teacher, tmp_path):
    rows = [PromptRow(i, p, 1, 4.0, "") for i, p in enumerate(["a cat", LONG, LONG])]
    tokenizers = [tiny_teacher.tokenizer]
    with pytest.raises(BadInput, match=r"2 of 3 prompts have more than the 16 .*\(cases 1, 2\)"):
        evaluation.fitted(rows, tokenizers, "refuse", tmp_path)
    short, said = evaluation.fitted(rows, tokenizers, "cut", tmp_path)
    assert (len(short), said[0][:3]) == (3, "cut")
    kept, said = evaluation.fitted(rows, tokenizers, "skip", tmp_path)
    assert (kept, said[0][:8]) == (rows[:1], "left out")
    with pytest.raises(BadInput, match="no row is left"):
        evaluation.fitted(rows[1:], tokenizers, "skip", tmp_path)


def test_the_command_says_what_it_supplied_and_what_it_left_out(toy, tmp_path):
    base, _, params = toy
    own = tmp_path / "own.tsv"
    own.write_text(f"caption\ta\na cat\tx\n\ty\n{LONG}\tz\n")
    how = ("--model", base, "--prompts", own, "--params", params, "--json")
    skipping = ("--bad-rows", "skip", "--too-long", "skip", "--guidance", 6)
    answer = erasure(tmp_path / "home", "evaluate", *how, *skipping)
    assert answer.exit_code == 0, answer.stderr
    content = json.loads(answer.stdout)
    counted = {m["metric"]: m["n"] for m in content["measurements"]}
    assert set(counted.values()) == {1}
    assert "ssim" not in counted  # the mean of one wording has no interval
    said = " ".join(content["said"])
    assert "not measured: ssim" in said
    for part in ("prompt from caption", "evaluation_guidance of 3 rows without one: 6.0", "line 3"):
        assert part in said
    assert all(line in answer.stderr for line in content["said"])


@pytest.mark.parametrize("option", ["--bad-rows", "--too-long"])
def test_a_word_that_no_option_knows_is_refused(option, toy, tmp_path):
    base, prompts, params = toy
    how = ("--model", base, "--prompts", prompts, "--params", params, option, "drop")
    answer = erasure(tmp_path / "home", "evaluate", *how)
    assert (answer.exit_code, len(answer.stderr.strip().splitlines())) == (2, 1)
    assert f"{option} 'drop' is none of refuse, " in answer.stderr
