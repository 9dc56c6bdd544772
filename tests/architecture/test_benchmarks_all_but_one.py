"""The benchmark of All-but-One's shared trajectories runs, at toy size, and its verdicts follow its
numbers.
"""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import all_but_one as benchmark
from erasure_core.methods import all_but_one as abo
from erasure_core.network import diffusion
from erasure_core.planning.params import read_params

ROOT = Path(__file__).parents[2]
TOY = {"steps": 3, "updates": 3, "trajectories": 2, "lr": 1e-3, "instructions": ({"warmup": 1},)}


def settings(**changes) -> abo.Settings:
    return abo.Settings.model_validate({**TOY, **changes})


def test_times_are_taken_of_every_part_and_the_ratios_are_of_them(tiny_teacher, astronaut):
    results = benchmark.speed(tiny_teacher, [astronaut], settings(), lambdas=(0.0, 5.0))
    assert all(value > 0 for value in results.values())
    assert results["update_over_floor"] == pytest.approx(results["update_s"] / results["floor_s"])
    assert results["bank_over_fresh"] == pytest.approx(
        results["bank_run_s"] / results["literal_run_s"]
    )
    assert results["sweep2_over_single"] == pytest.approx(
        results["sweep_s"] / results["literal_run_s"]
    )
    assert results["trajectories_s"] < results["bank_run_s"] < results["sweep_s"]


def test_its_targets_name_what_is_measured(tiny_teacher, astronaut):
    results = benchmark.speed(tiny_teacher, [astronaut], settings(updates=2), benchmark.LAMBDAS)
    assert benchmark.TARGETS.keys() < results.keys()


def test_banks_grow_until_one_is_inside(tiny_teacher, astronaut):
    drawn = []

    def judge(teacher) -> dict[str, float]:
        pictures = diffusion.sample(teacher, ["astronaut"], [1], [4.0], 2, 1)
        drawn.append(pictures)
        return {"brightness": pictures.mean().item()}

    results = benchmark.quality(tiny_teacher, [astronaut], settings(), [1, 2], 2, judge)
    assert len(results["literal"]["brightness"]) == 2
    # two literal trainings, and the base
    assert len({round(p.mean().item(), 7) for p in drawn[:3]}) == 3
    tried = results["banks"]
    assert list(tried) in (["1"], ["1", "2"])
    *outside, last = tried.values()
    assert all(not bank["inside"]["brightness"] for bank in outside)
    assert results["trajectories_inside"] == (
        int(list(tried)[-1]) if last["inside"]["brightness"] else None
    )


@pytest.mark.parametrize(
    ("bank", "verdict"),
    [([0.2, 0.4], True), ([0.1, 0.5], True), ([0.5, 0.6], False), ([0.0, 0.1], False)],
)
def test_inside_is_a_mean_within_the_literal_algorithms_spread(bank, verdict):
    assert benchmark.inside({"m": bank}, {"m": [0.2, 0.5, 0.3]}) == {"m": verdict}


@pytest.mark.slow
def test_the_sd14_size_has_stable_diffusion_14s_shapes_and_runs_when_narrow(
    tiny_teacher, astronaut
):
    narrow = benchmark.sd14(tiny_teacher, width=32, side=8)
    assert diffusion.encode_prompts(narrow, [""]).states.shape == (1, 77, 768)
    assert sum(name.endswith("attn2.processor") for name in narrow.unet.attn_processors) == 16
    results = benchmark.speed(
        narrow, [astronaut], settings(updates=2, group="xattn"), lambdas=(5.0,)
    )
    assert results["update_s"] > 0


def test_the_gallerys_preset_is_that_of_its_parameters():
    params = read_params(ROOT / "params.yaml").with_method("all_but_one")
    own = benchmark.preset("gallery", params)
    assert (own.lr, own.target, own.lambda_) == (
        params.method.lr,
        params.method.target,
        params.lambdas[0],
    )
    assert benchmark.preset("paper", params) == abo.Settings()


@pytest.mark.slow
def test_the_command_writes_and_prints_its_results(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "LAMBDAS", (5.0,))
    threads = torch.get_num_threads()
    try:
        benchmark.main(
            [
                "--seeds",
                "0",
                "--trajectories",
                "1",
                "--updates",
                "2",
                "--out",
                str(tmp_path),
                "--json",
            ]
        )
    finally:
        torch.set_num_threads(threads)
    (file,) = tmp_path.iterdir()
    (name, results), *others = json.loads(file.read_text()).items()
    assert (name, others) == ("gallery, paper settings", [])
    printed = capsys.readouterr().out
    assert json.loads(printed[printed.index("{") :]) == {name: results}
    said = benchmark.summary(name, results)
    assert results["device"] in said
    assert f"update_over_floor: {results['speed']['update_over_floor']:.2f} (target <= 1.5" in said
