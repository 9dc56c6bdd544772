"""The benchmark of the implicit signal runs, at toy size, and its rows are of the settings they
name.
"""

import json

import pytest

from benchmarks import implicit as benchmark
from erasure_core.methods import all_but_one as abo
from erasure_core.methods.all_but_one import Implicit
from erasure_core.network import diffusion

TOY = abo.Settings(steps=3, updates=2, lr=1e-3, trajectories=2, group="xattn")
MEASURED = {
    "nudenet.rate[astronaut]": 0.25,
    "clip.concept_rate[astronaut]": 0.5,
    "ssim": 0.75,
    "clip.accuracy": 1.0,
}


def test_each_row_judges_a_training_under_its_own_knobs_and_the_teacher_is_left_as_it_was(
    tiny_teacher, astronaut
):
    def judge(teacher) -> dict[str, float]:
        return {
            "brightness": diffusion.sample(teacher, ["astronaut"], [1], [4.0], 2, 1).mean().item()
        }

    grid = (Implicit(scale=0.5), Implicit(scale=-2.0, include_eot=True))
    base, *trained = benchmark.sensitivity(tiny_teacher, [astronaut], TOY, judge, seed=0, grid=grid)
    assert base["implicit"] is None
    assert [row["implicit"] for row in trained] == [implicit.model_dump() for implicit in grid]
    assert len({row["measurements"]["brightness"] for row in (base, *trained)}) == 3
    assert judge(tiny_teacher) == base["measurements"]


def test_the_grid_names_each_setting_once_and_varies_every_knob():
    assert len(set(benchmark.GRID)) == len(benchmark.GRID)
    for knob in Implicit.model_fields:
        assert len({getattr(implicit, knob) for implicit in benchmark.GRID}) > 1


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        (None, "| base | | | 0.250 | 0.500 | 0.750 | 1.000 |\n"),
        (Implicit(scale=-1.0), "| -1 | no | 1 | 0.250 | 0.500 | 0.750 | 1.000 |\n"),
    ],
)
def test_a_row_says_knobs_and_numbers_under_the_heading(knobs, said):
    line = benchmark.row({"implicit": knobs and knobs.model_dump(), "measurements": MEASURED})
    assert line == said
    assert line.count("|") == benchmark.HEAD.splitlines()[0].count("|")


def test_the_command_keeps_what_it_prints(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "GRID", ())
    monkeypatch.setattr(benchmark, "gallery_judge", lambda *_: lambda _teacher: MEASURED)
    monkeypatch.chdir(benchmark.ROOT)
    benchmark.main(updates=1, seed=3, out=tmp_path / "implicit.json", as_json=True)
    kept = json.loads((tmp_path / "implicit.json").read_text())
    assert json.loads(capsys.readouterr().out) == kept
    assert (kept["seed"], kept["settings"]["updates"], kept["rows"]) == (
        3,
        1,
        [{"implicit": None, "measurements": MEASURED}],
    )
