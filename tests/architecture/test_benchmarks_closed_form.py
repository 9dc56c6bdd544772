"""The benchmark of the closed forms runs, at toy width, and compares what it says it compares."""

import json
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from benchmarks import closed_form as benchmark
from erasure_core.methods import rece, uce


def test_the_fast_form_agrees_with_the_literal_one_and_the_parts_add_up():
    row = benchmark.growth(2, width=24, repeats=2, literal_up_to=2)
    assert row["concepts"] == 2
    assert 0 < row["uce_max_rel_error"] < 1e-6
    assert 0 < row["rece_max_rel_error"] < 1e-6
    assert all(value > 0 for name, value in row.items() if name.endswith("_seconds"))
    assert row["seconds"] == pytest.approx(
        row["gram_seconds"] + row["rece_p_seconds"] + row["change_seconds"]
    )
    assert row["literal_seconds"] > row["uce_literal_seconds"]


def test_an_edit_that_is_wrong_shows_as_an_error():
    problem = benchmark.Problem.drawn(1, width=24, seed=0)
    expected = benchmark.literal_uce(problem)
    wrong = {name: torch.zeros_like(weight) for name, weight in problem.weights.items()}
    assert benchmark._error(problem, wrong, expected) > 0.1


@pytest.fixture(scope="module")
def problem():
    return benchmark.Problem.drawn(3, width=768, seed=0)


def test_the_problem_has_stable_diffusion_14s_projections(problem):
    assert len(problem.weights) == 32
    # docs/methods.md counts the same
    assert sum(w.numel() for w in problem.weights.values()) == 19_169_280


def test_its_states_are_as_long_and_alike_as_clips(problem):
    states = torch.stack([c for c, _ in problem.whole])
    assert states.shape == (3, 77, 768)
    assert states.norm(dim=-1).mean().item() == pytest.approx(768**0.5, rel=1e-3)
    assert states.flatten(0, 1).mean(0).norm() > 0.5 * 768**0.5  # the mean that all share


def test_its_prompts_share_the_start_marker_alone(problem):
    first, _, last = (c for c, _ in problem.whole)
    assert torch.equal(first[0], last[0])
    assert not torch.allclose(first[1], last[1])
    assert [len(c) for c, _ in problem.tails] == [75, 75, 75]


@pytest.mark.parametrize("clock", ["wall", "cpu"])
def test_its_command_prints_keeps_and_draws(tmp_path: Path, clock):
    app = typer.Typer()
    app.command()(benchmark.main)
    flags = [
        "--width",
        "24",
        "--sizes",
        "1,3",
        "--repeats",
        "1",
        "--clock",
        clock,
        "--save",
        str(tmp_path),
        "--plot",
        str(tmp_path / "growth.png"),
    ]
    shown = CliRunner().invoke(app, [*flags, "--json"], catch_exceptions=False)
    results = json.loads(shown.stdout)
    assert [row["concepts"] for row in results["rows"]] == [1, 3]
    assert (results["clock"], results["threads"]) == (clock, torch.get_num_threads())
    (kept,) = tmp_path.glob("closed_form-*.json")
    assert json.loads(kept.read_text()) == results
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
    table = CliRunner().invoke(app, flags, catch_exceptions=False).stdout
    assert len(table.splitlines()) == 1 + 2 + 2


def test_the_gallery_is_edited_one_after_another_and_all_at_once(
    tiny_teacher, tiny_clip, tmp_path, monkeypatch
):
    monkeypatch.setattr(benchmark, "STEPS", 1)
    world = benchmark.Gallery(tiny_teacher, str(tiny_clip))
    rows = list(benchmark.gallery(world, 2, {"uce": uce.Settings(), "rece": rece.Settings()}))
    assert [(r["method"], r["how"], r["concepts"]) for r in rows] == [
        ("base", "", 0),
        *(
            (m, how, n)
            for m in ("UCE", "RECE")
            for how in ("one after another", "all at once")
            for n in (1, 2)
        ),
    ]
    assert [r["kept_pictures"] for r in rows[:3]] == [50, 45, 40]
    assert all(
        torch.equal(w, world.base[name]) for name, w in tiny_teacher.unet.state_dict().items()
    )  # every edit was undone
    assert len(list(benchmark.gallery_table(rows))) == 1 + len(rows)
    benchmark.gallery_plot(rows, tmp_path / "kept.png")
    assert (tmp_path / "kept.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_gone_is_not_kept_and_what_is_measured_is_not_trained_on(tiny_teacher, tiny_clip):
    world = benchmark.Gallery(tiny_teacher, str(tiny_clip))
    concept = world.concept("galaxy", benchmark.GONE[:4])
    assert len(concept.prompts) == 32
    assert not any(name in prompt for name in benchmark.GONE[:4] for prompt in concept.keep)
    assert {
        name for name in world.phrases if any(name in prompt for prompt in concept.keep)
    } == set(world.phrases) - set(benchmark.GONE[:4])
    assert set(benchmark.GONE) < set(world.phrases)
    assert benchmark.INSTEAD not in benchmark.GONE
