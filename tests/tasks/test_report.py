"""The report of made-up runs. Every number in this file is invented; it says nothing about any
model.
"""

import re
from dataclasses import asdict, replace
from datetime import UTC, datetime
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from erasure_core.gallery.pictures import draw
from erasure_core.law.gates import Check, Gate, Limit, Measurement, judge_all
from tasks.pages import charts
from tasks.pages.pictures import ImageRow, image_grid
from tasks.pages.report import (
    Estimate,
    LambdaPoint,
    ReportedRequest,
    ReportFacts,
    render_report,
)
from tasks.pages.verdict import verdict_table

HOSTILE = """<script>alert(1)</script> "quoted" <img src=x onerror=alert(2)> {{ 7 * 7 }}"""
CONTROLS = [
    Limit("base.nudenet.rate[astronaut]", 0.5, 30),
    Limit("base.clip.concept_rate[astronaut]", 0.5, 30),
]
LIMITS = [
    Limit("nudenet.rate[astronaut]", 0.1, 30),
    Limit("clip.concept_rate[astronaut]", 0.1, 30),
    Limit("ssim", 0.75, 30),
    Limit("clip.score_drop", 0.02, 30),
    Limit("clip.accuracy_drop", 0.06, 30),
]


def invented_gate(**changed: tuple[float, float, float, int]) -> Gate:
    """A gate judged by the real judge on invented measurements; `changed` overrides value, low,
    high, n by metric.
    """
    numbers: dict[str, tuple[float, float, float, int]] = {
        "base.nudenet.rate[astronaut]": (0.95, 0.835, 0.986, 40),
        "base.clip.concept_rate[astronaut]": (1.0, 0.912, 1.0, 40),
        "nudenet.rate[astronaut]": (0.0, 0.0, 0.088, 40),
        "clip.concept_rate[astronaut]": (0.025, 0.004, 0.09, 40),
        "ssim": (0.861, 0.832, 0.889, 40),
        "clip.score_drop": (0.004, -0.002, 0.011, 40),
        "clip.accuracy_drop": (0.0, -0.025, 0.05, 40),
        **changed,
    }
    higher = {"ssim", *(name for name in numbers if name.startswith("base."))}
    found = {
        name: Measurement(name, value, low, high, n, "higher" if name in higher else "lower")
        for name, (value, low, high, n) in numbers.items()
    }
    return judge_all(CONTROLS, LIMITS, found)


def invented_pairs(folder: Path, count: int = 14) -> list[ImageRow]:
    """Pictures of the gallery standing in for generated ones."""
    rng, rows = np.random.default_rng(60), []
    for label, shows, becomes, prompt in (
        ("target-astronaut", ["astronaut"], ["photographer"], "a photo of the astronaut, case {}"),
        ("kept", ["cat", "coffee", "rocket"], None, "a photo of a kept thing, case {}"),
    ):
        for i in range(count):
            before = draw(shows[i % len(shows)], "photo", rng)
            after = (
                draw(becomes[0], "photo", rng)
                if becomes
                else Image.blend(before, Image.new("RGB", before.size, "grey"), 0.1)
            )
            files = folder / f"{label}-{i}-base.png", folder / f"{label}-{i}-candidate.png"
            before.save(files[0])
            after.save(files[1])
            rows.append(ImageRow(label, prompt.format(i), *files))
    return rows


def invented_facts(folder: Path, gate: Gate | None = None, **changed: object) -> ReportFacts:
    rng, gate = np.random.default_rng(61), gate or invented_gate()
    runs: list[tuple[float, str, float, float, str]] = [
        (1, "default", 0.0, 0.71, "fail"),
        (5, "default", 0.0, 0.861, "pass"),
        (20, "default", 0.2, 0.91, "fail"),
        (5, "paper", 0.05, 0.66, "fail"),
    ]
    points = []
    for value, preset, rate, kept, verdict in runs:
        losses = 2 * np.exp(-np.arange(200) / 60) * rng.uniform(0.7, 1.3, 200) + 0.1 * value
        shares = (
            Estimate(rate, max(0, rate - 0.03), rate + 0.07),
            Estimate(kept, kept - 0.03, kept + 0.03),
        )
        points.append(
            LambdaPoint(value, "all_but_one", preset, *shares, 0.95, verdict, losses.tolist())
        )
    asked = ReportedRequest(
        "3f0c2a52-6a7c-4a35-9d0b-8a1c4b1f2e11",
        "astronaut",
        "likeness",
        "gdpr",
        datetime(2026, 11, 20, 9, 30, tzinfo=UTC),
        "a photographer",
    )
    facts = ReportFacts(
        title="Made-up example: erasing “astronaut” from the gallery",
        created=datetime(2026, 11, 22, 14, 5, tzinfo=UTC),
        requests=[asked],
        verdict=gate.verdict,
        promoted=gate.verdict == "pass",
        model_name="gallery",
        model_version=1,
        checks=gate.checks,
        chosen_lambda=5,
        points=points,
        targets={limit.metric: "astronaut" for limit in LIMITS[:2]},
        images=invented_pairs(folder),
        champion_before=None,
        champion_after=1 if gate.verdict == "pass" else None,
        settings={
            "seed": 7,
            "lambdas": [1, 5, 20],
            "method": {"method": "all_but_one", "lr": 1e-4, "trajectories": None},
        },
        hashes={"base": "ab" * 32, "delta": "cd" * 32, "prompts kept": "ef" * 32},
        measurement_settings={
            "nudenet.rate[astronaut]": {
                "detector": "nudenet",
                "threshold": 0.5,
                "labels": ["FACE_FEMALE", "FACE_MALE"],
            }
        },
        seconds={"snapshot": 0.3, "erase": 121.4, "generate": 60.2, "measure": 14.0},
    )
    return replace(facts, **changed)


class Page(HTMLParser):
    """Tags with their attributes, and the text a reader sees."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._hidden = False
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._hidden = tag == "style"

    def handle_endtag(self, tag):
        self._hidden = False

    def handle_data(self, data):
        if not self._hidden:
            self.words.append(data)


def rendered(folder: Path, facts: ReportFacts) -> Page:
    return Page(render_report(folder / "run", facts))


def test_the_page_stands_alone(tmp_path):
    facts = invented_facts(tmp_path)
    path = render_report(tmp_path / "run", facts)
    page, raw = Page(path), path.read_text(encoding="utf-8")
    links = [
        value or ""
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in {"src", "href", "srcset", "action"}
    ]
    assert len(links) == 2 * len(facts.images) + 2  # both plots
    assert all(link.startswith("data:image/png;base64,") for link in links)
    assert not {"script", "link", "iframe", "object", "base", "form"} & {
        tag for tag, _ in page.tags
    }
    assert not re.search(r"url\(|@import", raw)
    policy = next(
        a["content"]
        for t, a in page.tags
        if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in policy
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "report.html",
        "tradeoff.png",
    ]  # nothing half-written is left
    with Image.open(path.parent / "tradeoff.png") as plot:
        assert min(plot.size) > 500


def test_every_check_stands_with_its_numbers_limit_and_verdict(tmp_path):
    gate = invented_gate(ssim=(0.7, 0.66, 0.74, 40))
    page = rendered(tmp_path, invented_facts(tmp_path, gate))
    assert len(gate.checks) == 7
    for check in gate.checks:
        assert check.metric in page.text
    assert "95.0 % 83.5 to 98.6 %" in page.text  # the control
    assert "at least 50.0 %" in page.text
    assert "0.700 0.660 to 0.740" in page.text
    assert "at least 0.750" in page.text
    assert "at most 10.0 %" in page.text
    assert "0.0 points \N{MINUS SIGN}2.5 to 5.0 points" in page.text
    assert "at most 6.0 points" in page.text
    pills = [
        a["class"]
        for t, a in page.tags
        if t == "span" and (a.get("class") or "").startswith("pill")
    ]
    assert pills[:7] == [
        "pill pass",
        "pill pass",
        "pill fail",
        "pill pass",
        "pill pass",
        "pill pass",
        "pill pass",
    ]


def test_no_number_is_rounded_onto_its_limit(tmp_path):
    gate = invented_gate(ssim=(0.76, 0.7498, 0.77, 40))
    page = rendered(tmp_path, invented_facts(tmp_path, gate))
    assert "0.7600 0.7498 to 0.7700" in page.text
    assert "| ssim | 0.7600 | 0.7498 | 0.7700 | 40 | 0.7500 | fail |" in verdict_table(
        [asdict(check) for check in gate.checks]
    )


@pytest.mark.parametrize(
    ("changed", "verdict", "headline", "says"),
    [
        ({}, "pass", "Promoted", "Gallery version 1 met every limit"),
        (
            {"ssim": (0.7, 0.66, 0.74, 40)},
            "fail",
            "Refused",
            "ssim = 0.700, 95 % bound 0.660 (40 images), required >= 0.75",
        ),
        (
            {"ssim": (0.86, 0.83, 0.89, 12)},
            "inconclusive",
            "Refused: inconclusive",
            "12 images, needs at least 30",
        ),
        (
            {"ssim": (float("nan"), 0.8, 0.9, 40)},
            "inconclusive",
            "Refused: inconclusive",
            "not a finite number",
        ),
        (
            {"base.nudenet.rate[astronaut]": (0.0, 0.0, 0.088, 40)},
            "void",
            "Void",
            "failed its own control",
        ),
    ],
)
def test_the_verdict_is_the_first_thing_said_and_its_reasons_the_second(
    tmp_path, changed, verdict, headline, says
):
    facts = invented_facts(tmp_path, invented_gate(**changed), images=[], points=[])
    assert facts.verdict == verdict
    page = rendered(tmp_path, facts)
    banner = next(a for t, a in page.tags if t == "section" and "banner" in (a.get("class") or ""))
    assert (banner["data-verdict"], banner["data-promoted"]) == (
        verdict,
        str(verdict == "pass").lower(),
    )
    before_evidence = page.text[: page.text.index("What was asked")]
    assert headline in before_evidence
    assert says in before_evidence
    for check in facts.checks:
        assert (check.reason in before_evidence) == (check.verdict != "pass")


def test_a_refusal_says_which_champion_still_serves(tmp_path):
    gate = invented_gate(ssim=(0.7, 0.66, 0.74, 40))
    page = rendered(
        tmp_path,
        invented_facts(
            tmp_path,
            gate,
            model_version=2,
            champion_before=1,
            champion_after=1,
            images=[],
            points=[],
        ),
    )
    assert "Gallery version 2 did not meet the limits." in page.text
    assert "the champion is still version 1" in page.text
    assert "is now the champion" not in page.text


def test_a_lambda_stands_beside_what_it_is_worth(tmp_path):
    point = replace(invented_facts(tmp_path).points[0], lambda_=5, lambda_eff=5 / 4**2)
    facts = invented_facts(tmp_path, images=[], points=[point])
    assert "λ = 5 (λ/γ₂² = 0.31)" in rendered(tmp_path, facts).text
    assert replace(point, lambda_eff=None).label == "λ = 5"


def test_a_refusal_says_what_to_try_next(tmp_path):
    facts = invented_facts(tmp_path, images=[], points=[], advice=["try: `erasure run --method x`"])
    assert "try: `erasure run --method x`" in rendered(tmp_path, facts).text
    none = invented_facts(tmp_path, images=[], points=[])
    assert "What to try next" not in rendered(tmp_path, none).text


def test_a_gate_that_passed_without_promotion_is_not_called_a_promotion(tmp_path):
    page = rendered(
        tmp_path,
        invented_facts(tmp_path, promoted=False, champion_after=None, images=[], points=[]),
    )
    assert "was not promoted (gate: pass)" in page.text


def test_no_checks_at_all_is_said(tmp_path):
    gate = judge_all([], [], {})
    assert gate.verdict == "void"
    assert (
        "No limit was judged"
        in rendered(tmp_path, invented_facts(tmp_path, gate, images=[], points=[], seconds={})).text
    )


def test_what_erasing_a_candidate_took_is_a_part_of_its_step(tmp_path):
    seconds = {"snapshot": 0.5, "erase and generate, choose": 90.0, "erase default-lambda=1": 70.0}
    text = rendered(tmp_path, invented_facts(tmp_path, seconds=seconds)).text
    assert "total 90.5" in text
    assert text.index("erase default-lambda=1 70.0") > text.index("total 90.5")


def test_hostile_text_is_text(tmp_path):
    rows = invented_pairs(tmp_path, count=1)
    rows = [replace(row, prompt=HOSTILE) for row in rows]
    facts = invented_facts(
        tmp_path,
        images=rows,
        points=[],
        title=HOSTILE,
        settings={HOSTILE: {HOSTILE: HOSTILE}},
        hashes={HOSTILE: HOSTILE},
    )
    hostile_request = replace(facts.requests[0], replacement=HOSTILE, regulation=HOSTILE)
    path = render_report(tmp_path / "run", replace(facts, requests=[hostile_request]))
    page, raw = Page(path), path.read_text(encoding="utf-8")
    assert "<script" not in raw.lower()
    assert not [
        attributes
        for _, attributes in page.tags
        if any(name.startswith("on") for name in attributes)
    ]
    assert {a["alt"] for t, a in page.tags if t == "img"} >= {
        f"Base model: {HOSTILE}",
        f"Candidate: {HOSTILE}",
    }
    assert unescape(HOSTILE) in page.text  # shown as it was written, the braces not evaluated


def test_pictures_come_in_order_and_beyond_a_dozen_they_are_folded_not_dropped(tmp_path):
    facts = invented_facts(tmp_path)
    page = rendered(tmp_path, facts)
    places = [page.text.index(row.prompt + " ") for row in facts.images]
    assert places == sorted(places)
    assert page.text.count("The other 2 pairs") == 2


def test_no_kept_pictures(tmp_path):
    facts = invented_facts(tmp_path)
    page = rendered(
        tmp_path, replace(facts, images=[row for row in facts.images if row.set_label != "kept"])
    )
    kept = page.text[page.text.index("Kept prompts: these") :]
    assert kept.startswith("Kept prompts: these should look the same No pictures.")


def test_large_pictures_are_embedded_reduced(tmp_path):
    rng = np.random.default_rng(62)
    big = tmp_path / "big.png"
    Image.fromarray(rng.integers(256, size=(700, 512, 3), dtype=np.uint8)).save(big)
    small = rendered(
        tmp_path, invented_facts(tmp_path, images=[ImageRow("kept", "noise", big, big)], points=[])
    )
    assert (
        sum(
            len(a["src"] or "") for t, a in small.tags if t == "img" and "noise" in (a["alt"] or "")
        )
        < 0.5 * 2 * big.stat().st_size
    )


def test_explicit_pictures_are_veiled(tmp_path):
    facts = invented_facts(tmp_path)
    targets = [replace(row, explicit=row.set_label != "kept") for row in facts.images]
    for images, veiled in ((facts.images, 0), (targets, 14)):
        page = rendered(tmp_path, replace(facts, points=[], images=images))
        assert (
            sum("veiled" in (a.get("class") or "") for t, a in page.tags if t == "figure") == veiled
        )
        assert ("Blurred where the request is about explicit" in page.text) == bool(veiled)


def test_what_was_not_measured_is_said(tmp_path):
    text = rendered(tmp_path, invented_facts(tmp_path, images=[], points=[])).text
    for words in (
        "suppression under this protocol",
        "Adversarial prompts",
        "other languages",
        "LPIPS",
        "Photographs of other people",
    ):
        assert words in text


@pytest.mark.parametrize("untried", [(), ("inpainting", "token search")])
def test_an_attack_is_said_not_to_be_tried_where_it_was_not(tmp_path, untried):
    facts = invented_facts(tmp_path, images=[], points=[], audience="words", untried=untried)
    text = rendered(tmp_path, facts).text
    assert "Image-to-image" not in text
    said = "these were not tried: inpainting, token search."
    assert (said in text) == bool(untried)


@pytest.mark.parametrize("limited", [True, False])
def test_a_leak_names_the_protected_prompts_that_show_it_and_that_changed_most(tmp_path, limited):
    leak, shows = "leak[astronaut]", [f"a photo of thing {i}" for i in range(8)]
    settings = {"shows it": shows, "changed most": {"a red cup": 0.412, "a dog": 0.5}}
    check = Check(leak, 0.1, 0.05, 0.2, 80, 0.05, "fail", f"{leak} = 0.100, required <= 0.05")
    more = {"checks": [check]} if limited else {"others": [(leak, Estimate(0.1, 0.05, 0.2))]}
    facts = invented_facts(
        tmp_path, images=[], points=[], measurement_settings={leak: settings}, **more
    )
    text = rendered(tmp_path, facts).text
    assert f"Shown under: {'; '.join(shows[:6])} and 2 more" in text
    assert "Changed most (SSIM): a red cup (0.41); a dog (0.50)" in text


def test_points_that_were_not_measured_do_not_break_the_plot(tmp_path):
    nan = Estimate(float("nan"), float("nan"), float("nan"))
    point = LambdaPoint(5, "all_but_one", "default", nan, nan, None, "inconclusive")
    text = rendered(
        tmp_path, invented_facts(tmp_path, points=[point], chosen_lambda=None, images=[])
    ).text
    assert "None was chosen" in text
    assert "Training loss" not in text


def test_every_comparison_is_drawn_by_its_name_whatever_that_is(tmp_path, monkeypatch):
    legends, save = [], charts._save

    def saved(figure, path):
        (axes,) = figure.axes
        legends.append(
            {label: h for h, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        )
        save(figure, path)

    monkeypatch.setattr(charts, "_save", saved)
    one = next(p for p in invented_facts(tmp_path, images=[]).points if p.preset == "paper")
    names = ["mine", "paper", "theirs"]
    points = [replace(one, preset=name) for name in ["default", *names]]
    rendered(tmp_path, invented_facts(tmp_path, images=[], points=points))
    of_points, of_losses = legends
    assert {f"{name} (comparison), 95 % intervals" for name in names} < of_points.keys()
    assert list(of_losses) == ["λ = 5", *(f"λ = 5, {name} (comparison)" for name in names)]
    assert len({line.get_color() for line in of_losses.values()}) == 4


def test_no_two_of_many_comparisons_look_alike(tmp_path):
    one = invented_facts(tmp_path, images=[]).points[0]
    looks = charts._looks([replace(one, preset=str(i)) for i in range(60)])
    assert len({(look.colour, look.marker, look.line) for look in looks.values()}) == 60


def test_a_failed_write_leaves_the_old_report(tmp_path, monkeypatch):
    path = render_report(tmp_path / "run", invented_facts(tmp_path, images=[], points=[]))
    before = path.read_bytes()

    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space"):
        render_report(
            tmp_path / "run", invented_facts(tmp_path, images=[], points=[], title="another")
        )
    assert path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == ["report.html", "tradeoff.png"]


def test_the_contact_sheet_shows_base_left_and_candidate_right(tmp_path):
    for name in ("red", "blue"):
        Image.new("RGB", (128, 128), name).save(tmp_path / f"{name}.png")
    rows = [
        ImageRow("kept", "a very long prompt " * 20, tmp_path / "red.png", tmp_path / "blue.png")
    ] * 5
    pixels = np.asarray(image_grid(rows))
    red, blue = ((pixels == colour).all(axis=-1) for colour in ((255, 0, 0), (0, 0, 255)))
    assert red.sum() == blue.sum() == 5 * 128 * 128
    assert np.argwhere(red)[:, 1].min() < np.argwhere(blue)[:, 1].min()
    with pytest.raises(ValueError, match="at least one pair"):
        image_grid([])
