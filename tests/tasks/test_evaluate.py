"""`erasure evaluate` on long files: memory does not grow with rows, and a kill costs no picture."""

import gc
import json
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
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

ROOT = Path(__file__).parents[2]
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
    """Of one seed in all there is no interval, as of one wording."""
    given = [PromptRow(i, f"thing {i}", i % 2, 4.0, "") for i in range(4)]
    of_seeds = "pictures of one are alike: intervals count seeds; give each row one of its own"
    assert evaluation.of_few_seeds(given) == [f"4 rows have 2 seeds, and {of_seeds}"]
    assert evaluation.of_no_interval(given) == []
    one = [replace(row, evaluation_seed=7) for row in given]
    assert evaluation.of_few_seeds(one) == [f"4 rows have 1 seed, and {of_seeds}"]
    (unmeasured,) = evaluation.of_no_interval(one)
    assert unmeasured.startswith("not measured: ssim, clip.score and drops")
    own = [replace(row, evaluation_seed=row.case_number) for row in given]
    assert evaluation.of_few_seeds(own) == evaluation.of_no_interval(own) == []
    wording = [replace(row, prompt="a thing") for row in own]
    assert evaluation.of_no_interval(wording) == [unmeasured]


@pytest.mark.parametrize(("rows", "seeds"), [(60, 60), (60, 1)])
def test_sixty_pictures_of_one_noise_prove_no_more_than_one(rows, seeds):
    """They passed for sixty, with a note that the interval was too narrow."""
    given = [PromptRow(i, f"thing {i}", i % seeds, 4.0, "thing") for i in range(rows)]
    instruments = SimpleNamespace(scorer=SimpleNamespace(settings={}), params=None, detector=None)
    labels = evaluation.Labels(["other", "thing"], [])
    seen = [evaluation.Seen([0.5] * rows, ["thing"] * rows) for _ in "ab"]
    found = evaluation.compared(instruments, given, ([1.0] * rows, *seen), labels)
    by_name = {m.metric: m for m in found}
    assert ("ssim" in by_name) == (seeds > 1)
    assert (by_name["clip.accuracy"].low > 0.9) == (seeds > 1)


def test_a_style_is_named_among_styles_and_a_thing_among_things():
    """A mosaic of a cat was called a cat: a style looked erased where nobody had erased it."""
    params = read_params(ROOT / "params.yaml")
    mosaic = PromptRow(0, "a cat as a mosaic", 1, 4.0, "Mosaic", "mosaic")
    artist = PromptRow(1, "a cat by Monet", 2, 4.0, "Monet", "Monet")  # known by its own column
    cat = PromptRow(2, "a cat as a mosaic", 3, 4.0, "cat", "mosaic")
    nothing = PromptRow(3, "a cat", 4, 4.0, "")
    rows, asked = [cat, mosaic, nothing, artist], []

    class Scorer:
        def scores(self, pictures, prompts):
            return np.zeros(len(pictures))

        def name_concepts(self, pictures, labels, templates=()):
            asked.append((pictures, labels, templates))
            return [labels[0]] * len(pictures)

    labels = evaluation.labels_of(rows, params)
    assert "cat" in labels.things
    assert not {"Mosaic", "mosaic", "Monet"} & {*labels.things}
    assert {"Monet", "photo", "sketch"} < {*labels.styles}
    assert sum(style.casefold() == "mosaic" for style in labels.styles) == 1
    seen = evaluation.Seen()
    detector = SimpleNamespace(labels={})
    instruments = SimpleNamespace(scorer=Scorer(), params=SimpleNamespace(detector=detector))
    seen.add(instruments, rows, ["0", "1", "2", "3"], labels)
    (things, among_things, _), (styles, among_styles, templates) = asked
    assert ([*things], among_things) == (["0"], labels.things)
    assert ([*styles], among_styles) == (["1", "3"], labels.styles)
    assert "a {} of cat" in templates
    assert len(templates) == len(labels.things)
    assert seen.names == [labels.things[0], labels.styles[0], "", labels.styles[0]]


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
