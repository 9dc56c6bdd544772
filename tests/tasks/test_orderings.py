"""Which orders of All-but-One's Table 1 hold is decided by intervals, of published forms."""

from pathlib import Path

from tasks.comparing.table import COLUMNS, TABLE_1, orderings

RESULTS = Path(__file__).parents[2] / "benchmarks/results/compare.json"


def row(method: str, low: float, high: float, form: str = "published") -> dict:
    metric = {"mean": (low + high) / 2, "low": low, "high": high}
    metrics = {"ssim": metric, "nudenet.rate[cat]": metric}
    return {"concept": "cat", "form": form, "method": method, "metrics": metrics}


def said_of(*rows: dict) -> str:
    return orderings({"rows": rows}, "cat")


def here(*rows: dict) -> dict[tuple[str, str], str]:
    lines = [x for x in said_of(*rows).splitlines()[2:] if x.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {(metric, order): said for metric, order, said in cells}


def test_it_holds_where_the_intervals_are_apart():
    found = here(row("all_but_one", 0.8, 0.9), row("ablating", 0.5, 0.6))
    assert found["SSIM", "all_but_one > ablating"] == "holds"
    assert found["NudeNet", "all_but_one < ablating"] == "does not hold"


def test_it_is_open_where_they_overlap():
    found = here(row("esd", 0.1, 0.3), row("sdd", 0.2, 0.4))
    assert found["SSIM", "sdd > esd"].startswith("open")
    assert found["NudeNet", "esd < sdd"].startswith("open")


def test_what_was_not_run_is_said():
    assert "Not run: ablating, all_but_one, esd, forget_me_not, sdd." in said_of()
    only_tuned = said_of(row("esd", 0, 0.1, "tuned"), row("sdd", 0.2, 0.4, "tuned"))
    assert "Not run: ablating, all_but_one, esd" in only_tuned
    assert here(row("esd", 0, 0.1)) == {}


def test_those_between_which_one_was_not_run_are_compared():
    found = here(row("all_but_one", 0.8, 0.9), row("forget_me_not", 0.5, 0.6))
    assert found["SSIM", "all_but_one > forget_me_not"] == "holds"
    assert found["KID", "all_but_one < forget_me_not"] == "not measured"


def test_the_printed_numbers_are_sorted_as_the_paper_ranks_them():
    best = {metric: max if more else min for metric, (_, more, _) in TABLE_1.items()}
    winners = {m: best[m](printed, key=printed.get) for m, (_, _, printed) in TABLE_1.items()}
    assert winners == {
        "NudeNet": "esd",
        "FID": "all_but_one",
        "KID": "esd",
        "CLIP score": "all_but_one",
        "SSIM": "all_but_one",
    }


def test_every_metric_of_the_papers_table_has_a_column_of_its_own():
    assert {metric for metric, _, _ in TABLE_1.values()} <= {*COLUMNS.values()}
