"""`erasure compare`: every cell by what runs use, once, and from there on after a kill."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock

from erasure_core.errors import BadInput, ContentChanged, ErasureError
from erasure_core.law.gates import Gate
from erasure_core.law.lineage import sha256_file
from erasure_core.law.requests import read_request
from erasure_core.planning.params import read_params
from erasure_core.planning.plan import BASE
from erasure_core.planning.sealed import Directions
from tasks.comparing import cells
from tasks.comparing import compare as comparing
from tasks.comparing.compare import _check_sets, _check_taken
from tasks.comparing.forms import as_published, trial
from tasks.comparing.publish import run_facts
from tasks.comparing.table import untrained
from tasks.home import Home
from tasks.pages.charts import undominated
from tasks.pages.comparison import ComparedPoint
from tests.flows.command import erasure, state
from tests.toy import HEADER

CHOOSE = "prompts: {{targets: {0}/targets, kept: {0}/kept.csv, choose: {{targets: {0}/choose/targets, kept: {0}/choose/kept.csv}}}}\n"  # noqa: E501


def kept(template: str, seed: int) -> str:
    """Rows of a kept set."""
    names = ("rocket", "retina", "photographer", "galaxy")
    return "".join(f"{i},{template.format(n)},{seed + i},4.0,{n}\n" for i, n in enumerate(names))


class Killed(Exception):
    """Stands for the signal."""


@pytest.fixture(scope="module")
def setup(write_inputs, tmp_path_factory) -> Path:
    """The toy's inputs with a set to choose by, three small methods, no detector."""
    folder = write_inputs(tmp_path_factory.mktemp("compared") / "inputs")
    choose = folder / "choose"
    (choose / "targets").mkdir(parents=True)
    rows = (f"{i},one {w} cat,{70 + i},4.0,cat\n" for i, w in enumerate(("fine", "small", "old")))
    (choose / "targets/cat.csv").write_text(HEADER + "".join(rows))
    (choose / "kept.csv").write_text(HEADER + kept("the fine {} here", 80))
    (folder / "kept.csv").write_text(HEADER + kept("a photo of a {}", 10))
    lines = (folder / "passing.yaml").read_text().splitlines(keepends=True)
    text = "".join(CHOOSE.format(folder) if line.startswith("prompts:") else line for line in lines)
    text += "methods:\n  uce: {target: replacement}\n  forget_me_not: {images: 2, steps: 2}\n"
    (folder / "compare.yaml").write_text(text)
    return folder


def compare(setup: Path, home: Path, out: Path, *words: object, methods="uce,forget_me_not"):
    small = words or ("--seeds", 2, "--trials", 2)
    request = ("--requests", setup / "cat.yaml", "--methods", methods)
    params = ("--params", setup / "compare.yaml")
    return erasure(home, "compare", *request, *params, "--out", out, *small)


@pytest.fixture(scope="module")
def compared(setup, begin, tmp_path_factory):
    """After a comparison: its folder, its answer, and the state folder."""
    folder = tmp_path_factory.mktemp("compare")
    home, out = begin(folder), folder / "out"
    answer = compare(setup, home, out)
    assert answer.exit_code == 0, answer.stderr
    return out, answer, home


def test_sets_are_read_with_the_guidance_of_the_parameters(setup, tmp_path):
    file = tmp_path / "kept.csv"
    with (setup / "kept.csv").open(newline="") as text:
        rows = [[row[0], row[1], row[2], row[4]] for row in csv.reader(text)]
    file.write_text("".join(",".join(row) + "\n" for row in rows))
    params = read_params(setup / "compare.yaml", [f"prompts.kept={file}", "sampling.guidance=4.0"])
    _check_sets(params, [read_request(setup / "cat.yaml")], "smoke")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (["policy.targets.object={leak: 0.5}"], "none of which sees the concept"),
        (["policy.targets={style: {clip.concept_rate: 1}}"], "no limits for kind 'object'"),
        (
            ["policy.targets.object={clip.concept_rate: 1, quality.fidelity: 0}"],
            "3 rows of it alone, of 3 prompts, and what stands in its place",
        ),
        (["policy.min_n=9"], "asks for 9"),
        (["policy.kept.fid=5"], "policy.kept limits fid, not measured"),
        (["policy.kept.ssim[listed]=0.5"], "1 of 4 kept prompts are listed"),
        (["policy.neighbours={cat: [lion]}"], "policy.neighbours names lion for 'cat'"),
        (["detector.labels.object=[TAIL_EXPOSED]"], "TAIL_EXPOSED"),
    ],
)
def test_what_a_run_would_refuse_is_refused_before_anything_is_trained(setup, changes, why):
    params = read_params(setup / "compare.yaml", changes)
    with pytest.raises(BadInput, match=why):
        _check_sets(params, [read_request(setup / "cat.yaml")], "smoke")


def test_a_threshold_that_the_detector_of_another_package_has_not_is_refused(setup, monkeypatch):
    monkeypatch.setattr(comparing, "check_detector", lambda _: SimpleNamespace())
    changes = [
        "policy.targets.object={clip.concept_rate: 1, nudenet.rate@0.6: 1}",
        "detector.labels.object=[FACE_FEMALE]",
    ]
    params = read_params(setup / "compare.yaml", changes)
    with pytest.raises(BadInput, match="measured of NudeNet alone"):
        _check_sets(params, [read_request(setup / "cat.yaml")], "smoke")


def test_descriptions_that_are_trained_on_are_refused(setup):
    request = read_request(setup / "cat.yaml")
    concept = request.concept.model_copy(update={"described": request.concept.prompts[:1]})
    with pytest.raises(BadInput, match="stands in `described`"):
        _check_sets(
            read_params(setup / "compare.yaml"),
            [request.model_copy(update={"concept": concept})],
            "smoke",
        )


def test_a_request_that_a_method_refuses_is_refused_before_the_methods_before_it_are_trained(
    setup,
):
    """All that they were trained for was lost with it."""
    request, params = read_request(setup / "cat.yaml"), read_params(setup / "compare.yaml")
    _check_taken(params, [request], ["uce", "forget_me_not"], 2)
    unnamed = request.concept.model_copy(update={"prompts": (*request.concept.prompts, "whiskers")})
    changed = request.model_copy(update={"concept": unnamed})
    _check_taken(params, [changed], ["uce"], 2)
    with pytest.raises(BadInput, match=r"forget_me_not cannot be compared on 'cat': .*whiskers"):
        _check_taken(params, [request, changed], ["uce", "forget_me_not"], 2)


@pytest.mark.parametrize("field", ["prompts", "keep"])
def test_prompts_that_the_base_would_cut_are_refused_before_anything_is_trained(setup, field):
    request = read_request(setup / "cat.yaml")
    long = {field: (*getattr(request.concept, field), "a cat" * (field == "prompts") + " x" * 99)}
    changed = request.model_copy(update={"concept": request.concept.model_copy(update=long)})
    with pytest.raises(BadInput, match="tokens"):
        _check_sets(read_params(setup / "compare.yaml"), [changed], "smoke")


def test_pictures_that_could_be_named_nothing_else_are_refused_too(setup, tmp_path):
    file = tmp_path / "kept.csv"
    file.write_text(HEADER + "".join(f"{i},one wall {i},{60 + i},4.0,\n" for i in range(3)))
    given = [f"prompts.kept={file}", "policy.kept={ssim: -1}"]
    with pytest.raises(BadInput, match="names cat; CLIP tells pictures apart by two names or more"):
        _check_sets(
            read_params(setup / "compare.yaml", given), [read_request(setup / "cat.yaml")], "smoke"
        )


@pytest.fixture
def keys(setup, tmp_path):
    """What the base's pictures and the attacks of a cell are kept by, after a change of inputs."""
    own = tmp_path / "kept.csv"
    shutil.copy(setup / "kept.csv", own)

    def of(seed=7, made_with="1", kept="galaxy", **concept):
        request = read_request(setup / "cat.yaml")
        changed = request.concept.model_copy(update=concept)
        own.write_text((setup / "kept.csv").read_text().replace("galaxy", kept))
        params = read_params(setup / "compare.yaml", [f"prompts.kept={own}"])
        bench = cells.Bench(params, {"code": made_with}, tmp_path / "out", (), "smoke")
        cell = cells.Cell(
            request.model_copy(update={"concept": changed}), "tuned", seed, params.methods["uce"]
        )
        plan = bench.plan(cell)
        return cells.pictures_key(plan, BASE), cells.attacks_key(bench, plan, "weights")

    return of


@pytest.mark.parametrize(
    ("change", "pictures", "attacks"),
    [
        ({"seed": 8}, False, False),  # equal weights draw and withstand the same
        ({"replacement": "a rocket"}, True, True),
        ({"made_with": "2"}, True, True),
        ({"kept": "coin"}, True, True),
    ],
)
def test_what_was_kept_is_used_again_only_where_it_would_come_out_the_same(
    keys, change, pictures, attacks
):
    before, after = keys(), keys(**change)
    assert (before[0] != after[0], before[1] != after[1]) == (pictures, attacks)


def test_rows_without_seeds_have_the_same_in_every_training(setup, tmp_path):
    request, params = read_request(setup / "cat.yaml"), read_params(setup / "compare.yaml")
    bench = cells.Bench(params, {}, tmp_path, (), "smoke")
    plans = [bench.plan(cells.Cell(request, "tuned", n, params.methods["uce"])) for n in (7, 8)]
    assert [plan.params.seed for plan in plans] == [7, 8]
    assert [plan.params.reading.seed for plan in plans] == [params.seed] * 2


def test_prompts_that_the_encoder_reads_alike_are_in_one_set_only(setup, monkeypatch):
    """Judged as `run` judges them: by the base's text encoder too."""
    asked = []
    monkeypatch.setattr(comparing, "check_sealed", lambda *given: asked.append(given))
    _check_sets(read_params(setup / "compare.yaml"), [read_request(setup / "cat.yaml")], "smoke")
    ((_, _, tokenizers, directions, protected),) = asked
    assert (len(tokenizers), isinstance(directions, Directions), protected) == (1, True, [])


def test_mlflow_is_told_whose_comparison_it_is(setup, tmp_path):
    """By that a purge finds it: pictures of what was asked for are on its page."""
    request, params = read_request(setup / "cat.yaml"), read_params(setup / "compare.yaml")
    bench = cells.Bench(params, {}, tmp_path, (), "smoke")
    plan = bench.plan(cells.Cell(request, "tuned", 7, params.methods["uce"]))
    plan.write()
    cell = SimpleNamespace(concept="cat", method="uce", folder=plan.folder)
    facts = run_facts(comparing.Comparison((cell,), (), 1, "smoke", 1), "12")
    assert facts.every_tag == {
        "comparison": "uce",
        "request.ids": str(request.subject_request_id),
        "erasure.model": params.registered_model,
        "erasure.folder": "comparison-12",
        "mlflow.runName": "compare cat",
    }


@pytest.fixture
def one_cell(setup, tmp_path, monkeypatch):
    """Do the published UCE at a tier and in a form, without a network; beside it, who attacked."""
    request, params = read_request(setup / "cat.yaml"), read_params(setup / "compare.yaml")
    attacked: list[str] = []

    def attack(bench, *_):
        attacked.append(bench.budget)
        return [], [{"attack": name, "budget": bench.budget} for name in bench.attacks]

    gate = SimpleNamespace(gate=Gate("pass", ()))
    steps = {
        "snapshot": lambda *_: None,
        "generate": lambda *_: None,
        "measure": lambda plan, stage, names: {name: {} for name in names},
        "decide": lambda *_: gate,
    }
    for name, step in steps.items():
        monkeypatch.setattr(cells, name, SimpleNamespace(fn=step))
    monkeypatch.setattr(
        cells, "WeightDelta", SimpleNamespace(load=lambda _: SimpleNamespace(sha256="d"))
    )
    monkeypatch.setattr(cells, "by_values", lambda *_: gate.gate)
    monkeypatch.setattr(cells, "_attacked", attack)
    monkeypatch.setattr(cells, "_share_pictures", lambda *_: None)
    monkeypatch.setattr(cells, "_erased", lambda *_: (1.0, 0))

    def do(tier="smoke", form="published", seed=7) -> cells.Written:
        bench = comparing.bench_of(params, tmp_path / "out", tier)
        return cells.run_cell(bench, cells.Cell(request, form, seed, as_published("uce", "object")))

    return do, attacked


def test_equal_settings_are_one_cell_and_a_row_of_each_form(one_cell):
    do, attacked = one_cell
    first, tuned = do(), do(form="tuned")
    assert (first.form, tuned.form, attacked) == ("published", "tuned", ["smoke"])
    assert tuned == replace(first, form="tuned")


def test_what_was_attacked_at_one_tier_is_attacked_anew_at_another(one_cell):
    do, attacked = one_cell
    of_tier = {tier: do(tier) for tier in ("smoke", "standard")}
    assert attacked == ["smoke", "standard"]
    assert {fact["budget"] for fact in of_tier["standard"].attacks} == {"standard"}
    assert do("standard") == of_tier["standard"]
    assert len(attacked) == 2
    assert do("smoke") == of_tier["smoke"]


def test_a_trial_is_attacked_at_no_tier_and_done_once(one_cell, monkeypatch):
    do, attacked = one_cell
    first = do(form="trial 0")
    monkeypatch.setattr(cells, "_erased", None)
    assert (do("standard", form="trial 0"), attacked) == (first, [])


def test_what_cannot_be_trained_is_told_and_the_others_go_on(setup, tmp_path, monkeypatch):
    """Trials are drawn: one whose settings leave nothing to change ended the whole comparison."""
    request, params = read_request(setup / "cat.yaml"), read_params(setup / "compare.yaml")
    broken = {("trial 1", 7), ("published", 8)}

    def run_cell(_, cell):
        if (cell.form, cell.seed) in broken:
            raise cells.NotTrained("nothing is free")
        came = {"form": cell.form, "seed": cell.seed, "settings": cell.settings}
        return SimpleNamespace(
            **came, folder=tmp_path, found=dict, gate=Gate("pass", ()), seconds=1.0, evaluations=0
        )

    chosen = SimpleNamespace(fn=lambda plan, found: max(found))
    monkeypatch.setattr(comparing, "run_cell", run_cell)
    monkeypatch.setattr(comparing, "_check_sets", lambda *_: None)
    monkeypatch.setattr(comparing, "choose_candidate", chosen)
    monkeypatch.setattr(comparing, "Plan", SimpleNamespace(read=lambda _: None))
    how = {"seeds": 2, "tier": "smoke", "trials": 3}
    said: list[str] = []
    out = tmp_path / "out"
    found = comparing.compare([request], ["uce"], params, out, **how, say=said.append)
    done = [(cell.form, cell.seed) for cell in found.cells]
    assert done == [("published", 7), ("tuned", 7), ("tuned", 8)]
    assert found.cells[1].settings == trial("uce", "object", params, 2)
    assert [tried.form for tried in found.trials] == ["trial 0", "trial 2"]
    names = ("cat, uce trial 1, seed 7", "cat, uce published, seed 8")
    lost = dict.fromkeys(names, "nothing is free")
    assert found.untrained == lost
    assert [line for line in said if "not trained" in line] == [
        f"{name}: not trained, {why}" for name, why in lost.items()
    ]
    assert untrained({"not trained": lost})[0].startswith("Not trained: cat, uce trial 1, seed 7: ")
    broken |= {(f"trial {n}", 7) for n in range(3)} | {("published", 7)}
    with pytest.raises(BadInput, match="nothing could be trained: nothing is free"):
        comparing.compare([request], ["uce"], params, out, **how, say=said.append)


@pytest.mark.parametrize("why", [ErasureError("diverged"), BadInput("nothing is free")])
def test_only_its_settings_are_at_fault_for_a_cell_that_is_none(why, tmp_path, monkeypatch):
    def erase(*_):
        raise faults[0]

    faults = [why]
    monkeypatch.setattr(cells, "erase", SimpleNamespace(fn=erase))
    monkeypatch.setattr(cells, "teacher_of", lambda *_: SimpleNamespace(unet=torch.nn.Identity()))
    plan = SimpleNamespace(folder=tmp_path, delta_file=lambda _: tmp_path / "d.safetensors")
    with pytest.raises(cells.NotTrained, match=str(why)):
        cells._erased(plan, "default", Home(tmp_path))
    faults[0] = ContentChanged("the base", "1" * 64, "2" * 64)
    with pytest.raises(ContentChanged):
        cells._erased(plan, "default", Home(tmp_path))


def results(out: Path) -> dict:
    return json.loads((out / "results.json").read_text())


@pytest.mark.slow
def test_each_method_has_a_row_a_form(compared):
    rows = results(compared[0])["rows"]
    assert [(row["method"], row["form"]) for row in rows] == [
        (method, form) for method in ("uce", "forget_me_not") for form in ("published", "tuned")
    ]
    assert all(row["seeds"] == [7, 8] for row in rows)


@pytest.mark.slow
def test_every_method_has_the_same_number_of_trials_and_says_it(compared):
    found = results(compared[0])
    tried = [(trial["method"], trial["form"]) for trial in found["trials"]]
    assert tried == [(m, f"trial {n}") for m in ("uce", "forget_me_not") for n in range(2)]
    page = (compared[0] / "index.html").read_text()
    assert "the best of 2 trials a method" in page
    unrun = "Not run: ablating, all_but_one, esd, sdd."
    assert unrun in page
    assert unrun in (compared[0] / "table.md").read_text()


@pytest.mark.slow
def test_trials_see_the_set_that_chooses_and_rows_the_report_set(compared, setup):
    hashes = {
        stage: sha256_file(setup / folder / "targets/cat.csv")
        for stage, folder in (("trial", "choose"), ("row", "."))
    }
    for file in (compared[0] / "cells").glob("*/cell.json"):
        stage = "trial" if json.loads(file.read_text())["form"].startswith("trial") else "row"
        plan = json.loads((file.parent / "plan.json").read_text())
        assert plan["prompt_sha256"]["target-cat"] == hashes[stage]


@pytest.mark.slow
def test_trials_are_shown_by_what_they_are_chosen_by(compared):
    cells = [json.loads(f.read_text()) for f in (compared[0] / "cells").glob("*/cell.json")]
    by_value = {
        cell["form"].startswith("trial"): all(c["low"] == c["high"] for c in cell["gate"]["checks"])
        for cell in cells
    }
    assert by_value == {True: True, False: False}


@pytest.mark.slow
def test_every_measurement_of_every_cell_is_in_the_table(compared):
    with (compared[0] / "cells.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    metrics = {row["metric"] for row in rows}
    assert {"ssim", "kid", "clip.concept_rate[cat]", "seconds"} <= metrics
    assert {"attack.wordings[cat]", "attack.ridge[cat]"} <= metrics
    per_cell = {(row["method"], row["form"], row["seed"]) for row in rows}
    assert len(per_cell) == 8


@pytest.mark.slow
def test_a_closed_form_is_drawn_and_attacked_once_for_all_seeds(compared):
    out = compared[0]
    rows = {(row["method"], row["form"]): row for row in results(out)["rows"]}
    assert rows["uce", "published"]["distinct weights"] == 1
    assert rows["forget_me_not", "published"]["distinct weights"] == 2
    weights = {delta for row in rows.values() for delta in row["deltas"]}
    assert len(list((out / "attacks").glob("*.json"))) == len(weights)


@pytest.mark.slow
def test_the_base_is_drawn_once_a_set(compared):
    folders = {link.resolve() for link in (compared[0] / "cells").glob(f"*/images/{BASE}")}
    assert len(folders) == 2


@pytest.mark.slow
def test_evaluations_are_those_of_the_algorithm(compared):
    """Forget-Me-Not: each picture takes two a step, each update one of its batch; UCE none."""
    rows = {(row["method"], row["form"]): row for row in results(compared[0])["rows"]}
    assert rows["uce", "tuned"]["evaluations"] == 0
    s = rows["forget_me_not", "tuned"]["settings"]
    expected = 2 * s["steps"] * s["images"] + s["updates"] * s["batch"]
    if s["keep_weight"]:  # the kept prompts' trajectories, and their share of an update
        assert rows["forget_me_not", "tuned"]["evaluations"] > expected
    p = rows["forget_me_not", "published"]["settings"]
    published = 2 * p["steps"] * p["images"] + p["updates"] * p["batch"]
    assert rows["forget_me_not", "published"]["evaluations"] == published


@pytest.mark.slow
def test_no_request_is_touched_and_nothing_registered(compared):
    files = state(compared[2])
    assert files.pop("book") == ""
    assert {file.split("/")[0] for file in files} <= {"mlflow.db", "mlartifacts"}


@pytest.mark.slow
def test_it_is_in_mlflow_a_run_a_cell(compared):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{compared[2]}/mlflow.db")
    experiment = client.get_experiment_by_name("erasure")
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(runs) - 1 == 8
    (parent,) = parents
    assert parent.data.tags["erasure.model"] == "toy"


@pytest.mark.slow
def test_the_page_needs_nothing_else(compared):
    page = (compared[0] / "index.html").read_text()
    assert page.count("data:image/png;base64,") > 4
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.slow
def test_again_nothing_is_done_and_the_answer_is_the_same(compared, setup, monkeypatch):
    out, answer, home = compared

    def never(*_: object) -> None:
        raise AssertionError("done again")

    for name in ("_erased", "_attacked", "_share_pictures"):
        monkeypatch.setattr(cells, name, never)
    again = compare(setup, home, out)
    assert (again.exit_code, again.stdout) == (0, answer.stdout), again.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "methods"),
    [
        pytest.param("generate", "uce,forget_me_not", marks=pytest.mark.slow),
        ("measure", "uce"),
    ],
)
def test_after_a_kill_it_goes_on_and_arrives_at_the_same(
    compared, setup, monkeypatch, tmp_path, begin, moment, methods
):
    home, out = begin(tmp_path), tmp_path / "out"
    step, calls = getattr(cells, moment), []

    class Once:
        @staticmethod
        def fn(*arguments: object) -> object:
            calls.append(arguments)
            if len(calls) == 5:
                raise Killed
            return step.fn(*arguments)

    monkeypatch.setattr(cells, moment, Once)
    first = compare(setup, home, out, methods=methods)
    assert first.exit_code == 1
    before = {file: file.read_bytes() for file in (out / "cells").glob("*/cell.json")}
    assert before
    assert compare(setup, home, out, methods=methods).exit_code == 0
    assert all(file.read_bytes() == content for file, content in before.items())
    straight, went_on = (
        [row for row in results(folder)["rows"] if row["method"] in methods.split(",")]
        for folder in (compared[0], out)
    )
    for a, b in zip(straight, went_on, strict=True):
        assert [a[k] for k in ("deltas", "evaluations", "verdicts")] == [
            b[k] for k in ("deltas", "evaluations", "verdicts")
        ]
        assert a["metrics"] == b["metrics"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--methods", "uce,uze"), "no method 'uze'"),
        (("--requests", "none.yaml"), "none.yaml"),
        (("--params", "passing"), "prompts.choose names no set to tune on"),
        (("--seeds", "0"), "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_written(
    setup, tmp_path, words, said
):
    options = {
        "--requests": setup / "cat.yaml",
        "--methods": "uce",
        "--params": setup / "compare.yaml",
        "--out": tmp_path / "out",
    }
    key, value = words
    options[key] = setup / "passing.yaml" if value == "passing" else value
    answer = erasure(tmp_path, "compare", *(word for pair in options.items() for word in pair))
    assert (answer.exit_code, said in answer.stderr) == (2, True), answer.stderr
    assert not (tmp_path / "out").exists()


def test_two_comparisons_in_one_folder_are_refused(setup, tmp_path):
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out/.lock"):
        answer = compare(setup, tmp_path, tmp_path / "out")
    assert (answer.exit_code, "another comparison works in" in answer.stderr) == (2, True)
    assert not (tmp_path / "out/cells").exists()


def test_the_front_is_what_nothing_else_beats():
    best = ComparedPoint("a", "tuned", 0.0, 0.9, 0.5)
    safer = ComparedPoint("b", "tuned", 0.1, 0.8, 0.0)
    beaten = ComparedPoint("c", "tuned", 0.1, 0.9, 0.5)
    assert undominated([best, safer, beaten]) == [best, safer]
    unattacked = ComparedPoint("d", "tuned", 0.0, 1.0, float("nan"))
    assert undominated([best, unattacked]) == [best]


@pytest.mark.parametrize("option", ["--seeds", "--trials"])
@pytest.mark.parametrize("value", ["1001", "1000000000"])
def test_more_than_any_machine_trains_is_refused_at_once(option, value, tmp_path):
    how = ("--requests", "cat", "--out", tmp_path / "out", option, value)
    answer = erasure(tmp_path / "home", "compare", *how)
    assert answer.exit_code == 2
    assert f"'{option}': Input should be less than or equal to 1000" in answer.stderr
