"""What a reader is shown of a run: every concept, no more than a page holds, nothing explicit."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from erasure_core.attacks import ATTACKS
from erasure_core.law.gates import Limit, Measurement, judge_all
from erasure_core.planning.params import Params, read_params
from erasure_core.planning.plan import BASE, Plan, kept_name, restored_name, target_name
from erasure_core.planning.policy import EXCESS
from tasks.evidence.decide import Decision
from tasks.evidence.measure import Evidence, Found
from tasks.pages import publish
from tasks.pages.pictures import image_grid
from tasks.pages.report import render_report
from tests.book.books import A, B, a_request
from tests.toy import HEADER

ROOT = Path(__file__).parents[2]
ASTRONAUT, CAT = a_request(A, "astronaut"), a_request(B, "cat")
FIRST, LAST = "default-lambda=1", "default-lambda=5"


@pytest.fixture(scope="module")
def params() -> Params:
    """Two lambdas to choose from."""
    read = read_params(ROOT / "params.yaml", ["lambdas=[1,5]"])
    return read.model_copy(update={"comparisons": {}})


@dataclass
class World:
    """A made-up run: its plan with pictures in grey, and what was measured of it."""

    plan: Plan
    found: dict[str, dict[str, float]] = field(default_factory=dict)  # candidate -> metric -> value
    back: object = None

    @property
    def evidence(self) -> Evidence:
        choice = {who: self._found(who) for who in (FIRST, LAST)}
        return Evidence(choice, {LAST: choice[LAST]})

    def _found(self, who: str) -> Found:
        values = {"ssim": 0.9, **self.found.get(who, {})}
        return {n: Measurement(n, v, v, v, 40, "lower") for n, v in values.items()}

    @property
    def decision(self) -> Decision:
        limits = [Limit(name, 0.5, 1) for name in self.evidence.report[LAST]]
        return Decision(LAST, {LAST: judge_all(limits[:1], limits, self.evidence.report[LAST])})

    @property
    def record(self) -> SimpleNamespace:
        empty = {key: {} for key in ("prompt_sha256", "seconds", "not_measured")}
        texts = ("base_sha256", "delta_sha256", "checkpoint_sha256", "params_sha256", "code_sha256")
        return SimpleNamespace(
            **empty,
            **dict.fromkeys((*texts, "git_commit"), "0"),
            created=datetime(2026, 11, 22, tzinfo=UTC),
            promoted=True,
            model_name="gallery",
            model_version=2,
            chosen_lambda=5,
            gate={},
        )

    def facts(self):
        return publish._facts(self.plan, self.record, self.decision, self.evidence, 1, self.back)

    def page(self) -> str:
        return render_report(self.plan.folder, self.facts()).read_text(encoding="utf-8")


@pytest.fixture
def world(tmp_path, params):
    """Make a run that erases some requests, with others restored."""

    def made(requests, restored=(), *, rows=2, found=(), **more) -> World:
        concepts = [request.concept for request in (*requests, *restored)]
        sets = [
            *(target_name(request.concept) for request in requests),
            *(restored_name(request.concept) for request in restored),
            kept_name(),
        ]
        plan = Plan(
            sha256="0" * 64,
            requests=tuple(requests),
            restored=tuple(restored),
            params=params,
            base_sha256="0" * 64,
            prompt_sha256=dict.fromkeys(sets, "0" * 64),
            made_with={},
            folder=tmp_path / "abc",
            base_folder=tmp_path,
            **more,
        )
        for name in sets:
            lines = "".join(f"{i},{name} number {i},{i},4.0,cup\n" for i in range(rows))
            plan.prompt_file(name).parent.mkdir(parents=True, exist_ok=True)
            plan.prompt_file(name).write_text(HEADER + lines)
        for who in (BASE, FIRST, LAST):
            for name, table in plan.rows():
                for row in table:
                    file = plan.picture(who, name, row)
                    file.parent.mkdir(parents=True, exist_ok=True)
                    Image.linear_gradient("L").resize((64, 64)).save(file)
        for who in (FIRST, LAST):
            plan.losses_file(who).parent.mkdir(exist_ok=True)
            plan.losses_file(who).write_text(json.dumps({"losses": []}))
        seen = {f"clip.concept_rate[{c.name}]": 0.0 for c in concepts[: len(requests)]}
        return World(plan, {who: {**seen, **dict(found).get(who, {})} for who in (FIRST, LAST)})

    return made


def test_a_candidate_is_shown_by_the_concept_that_shows_most_of_itself(world):
    """The oldest was never in question: at both lambdas nothing of it is seen."""
    run = world([ASTRONAUT, CAT], found={FIRST: {"clip.concept_rate[cat]": 0.9}})
    assert [(p.target_rate.value, p.concept) for p in run.facts().points] == [
        (0.9, "cat"),
        (0.0, "astronaut"),
    ]
    page = run.page()
    assert "Target rate, worst concept" in page
    assert "(90.0 to 90.0) cat" in page


def test_what_is_measured_by_a_part_ranks_no_candidate(world):
    parts = {"parts": {"astronaut": (0, 2)}}
    run = world([ASTRONAUT, CAT], found={LAST: {"clip.concept_rate[astronaut]": 0.25}}, **parts)
    assert [(p.target_rate.value, p.concept) for p in run.facts().points] == [(0, "cat")] * 2
    assert "Target rate of cat" in run.page()


def test_a_concept_that_is_seen_in_two_ways_is_shown_by_the_worse(world):
    found = {LAST: {"nudenet.rate[cat]": 0.25}, FIRST: {"nudenet.rate[cat]": 0.0}}
    run = world([CAT], found=found)
    assert [p.target_rate.value for p in run.facts().points] == [0.0, 0.25]


def test_the_report_names_the_attacks_that_nothing_was_measured_of(world):
    run = world([CAT], found={LAST: {f"{EXCESS}image to image[cat]": 0.0}})
    assert "image to image" in ATTACKS
    assert run.facts().untried == [name for name in ATTACKS if name != "image to image"]


@pytest.fixture
def restored(world):
    """A run that takes the astronaut back; the cat stays erased."""
    found = {LAST: {"restored.ssim[astronaut]": 0.4}}
    run = world([CAT], [ASTRONAUT], found=found)
    run.back = ASTRONAUT
    return run


def test_the_report_of_a_restore_says_what_is_taken_back(restored):
    facts = restored.facts()
    assert facts.title == "Restoring astronaut"
    assert [(asked.doing, asked.concept) for asked in facts.requests] == [
        ("Take back", "astronaut"),
        ("Erase", "cat"),
    ]
    page = restored.page()
    for said in (
        "Take back “astronaut”",
        "Taken back: these should look like the base&#39;s again",
        "How much pictures of what was taken back look like the base&#39;s (SSIM)",
        "restored-astronaut number 1",
        "Asked for cat with the prompts",
    ):
        assert said in page, said


def test_what_was_restored_before_is_shown_and_called_so(world):
    run = world([CAT], [ASTRONAUT])
    assert run.facts().title == "Erasure of cat"
    assert "Taken back before “astronaut”" in run.page()


def test_where_nothing_was_restored_nothing_is_said_of_it(world):
    assert "aken back" not in world([CAT]).page()


def test_a_report_holds_so_many_pairs_and_says_where_the_others_are(world, monkeypatch):
    monkeypatch.setattr(publish, "EMBEDDED", 10)
    run = world([ASTRONAUT, CAT], rows=9)
    shown = [row.set_label for row in run.facts().images]
    assert [shown.count(name) for name in dict.fromkeys(shown)] == [3, 3, 3]
    page = run.page()
    assert page.count('<figure class="pair') == 9
    assert "6 of 18 pairs are on this page" in page  # of both concepts
    assert "3 of 9 pairs are on this page" in page
    assert "<code>runs/abc/images</code>" in page


def test_of_more_sets_than_a_page_holds_it_shows_the_newest_and_the_kept(world, monkeypatch):
    monkeypatch.setattr(publish, "EMBEDDED", 2)
    run = world([ASTRONAUT, CAT])
    assert [row.set_label for row in run.facts().images] == ["target-cat", "kept"]
    assert "1 of 4 pairs are on this page" in run.page()


def test_what_fits_is_shown_whole(world, monkeypatch):
    monkeypatch.setattr(publish, "EMBEDDED", 10)
    run = world([CAT], rows=5)
    assert len(run.facts().images) == 10
    assert "than one page holds" not in run.page()


EXPLICIT = a_request(A, "nudity", concept_kind="explicit")


def test_only_pictures_of_what_is_explicit_are_veiled(world):
    page = world([EXPLICIT, CAT]).page()
    assert page.count('class="pair veiled"') == 2
    assert page.count('class="pair"') == 4


def pixels(picture: Image.Image) -> int:
    """How many colours a 128 pixels wide picture has, at the left of a sheet."""
    return len(picture.crop((12, 12, 140, 140)).getcolors(1 << 14) or ())


def test_explicit_pictures_are_pixelated_on_sheets(world):
    run = world([EXPLICIT, CAT])
    nude, _, cat, *_ = publish._pairs(run.plan, LAST, "report", 24)
    assert (nude.set_label, cat.set_label) == ("target-nudity", "target-cat")
    assert pixels(image_grid([nude])) <= 8  # a gradient has a colour a line
    assert pixels(image_grid([cat])) > 32


@pytest.fixture
def pages(monkeypatch):
    """What Prefect is given: key -> text and description."""
    import prefect.artifacts

    given = {}
    monkeypatch.setattr(
        prefect.artifacts,
        "create_markdown_artifact",
        lambda text, key, description: given.update({key: (text, description)}),
    )
    return given


def shown_in_prefect(run: World) -> None:
    publish._show_in_prefect(run.plan, run.record, run.decision, Path("report.html"), run.back)


def test_prefect_has_a_page_of_what_was_taken_back(restored, pages):
    shown_in_prefect(restored)
    text, _ = pages["decision-astronaut"]
    assert "**astronaut** taken back, by" in text
    assert "restored.ssim[astronaut]" in text
    assert "clip.concept_rate[cat]" not in text


def test_prefects_page_says_that_its_pictures_are_pixelated(world, pages):
    shown_in_prefect(world([EXPLICIT, CAT]))
    said = "pixelated because they are explicit"
    assert [said in text for text, _ in pages.values()] == [True, False]


def test_a_name_is_no_markup_on_prefects_page(world, pages):
    name = "[x](http://a.b) | *b*"
    shown_in_prefect(world([a_request(A, name)]))
    ((text, description),) = pages.values()
    written = r"\[x\](http://a.b) \| \*b\*"
    assert f"**{written}** by" in text
    assert f"| clip.concept_rate[{written}] |" in text
    assert description.startswith(f"Decision on {written}: ")
