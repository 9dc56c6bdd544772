"""The legal clock, against dates counted by hand and against what must hold for any date."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erasure_core.errors import BadInput
from erasure_core.law import clock
from erasure_core.law.clock import days_left, due, extended, regulation, regulations

EXTENDABLE = [law for law in regulations() if law.extension]
LAWS = st.sampled_from([*regulations(), regulation("brand policy")])
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2900, 1, 1), timezones=st.just(UTC))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def end_of(day: str) -> datetime:
    return at(f"{day}T23:59:59")


BY_HAND = {
    # received, law, due
    "same date of the next month": ("2026-03-05", "gdpr", "2026-04-06"),  # 5 April: a Sunday
    "no such date": ("2027-08-31", "gdpr", "2027-09-30"),  # a Thursday
    "31 January": ("2023-01-31", "gdpr", "2023-02-28"),  # a Tuesday
    "31 January before a leap day": ("2024-01-31", "gdpr", "2024-02-29"),  # a Thursday
    "leap day": ("2024-02-29", "gdpr", "2024-03-29"),  # a Friday
    "1900 had no leap day": ("1900-01-30", "gdpr", "1900-02-28"),  # a Wednesday
    "over the end of the year": ("2025-12-15", "gdpr", "2026-01-15"),  # a Thursday
    "end on a Saturday": ("2026-01-28", "gdpr", "2026-03-02"),  # 28 February: a Saturday
    "end on a Sunday": ("2026-01-30", "gdpr", "2026-03-02"),  # clipped to the same Saturday
    "the United Kingdom counts alike": ("2026-01-28", "UK GDPR", "2026-03-02"),
    "45 days": ("2026-01-01", "ccpa", "2026-02-15"),  # 30 left in January, 15; a Sunday stays
    "45 days over a leap day": ("2024-01-31", "vcdpa", "2024-03-16"),  # 29 in February, 16
    "30 days": ("2026-12-15", "PIPEDA", "2027-01-14"),  # 16 left in December, 14
    "15 days": ("2026-02-20", "lgpd", "2026-03-07"),  # 8 left in February, 7
    "no law": ("2026-04-01", "brand policy", "2026-05-01"),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_due_date_is_the_one_counted_by_hand(case):
    received, name, expected = BY_HAND[case]
    assert due(regulation(name), at(f"{received}T12:00:00")) == end_of(expected)


@pytest.mark.parametrize(
    ("received", "name", "expected"),
    [
        ("2027-01-31", "gdpr", "2027-04-30"),  # three months, not one clipped and then two
        ("2025-11-15", "gdpr", "2026-02-16"),  # 15 February: a Sunday
        ("2026-01-01", "cpra", "2026-04-01"),  # 30 in January, 28, 31, 1: 90 days
        ("2026-01-01", "pipeda", "2026-03-02"),  # 30 in January, 28, 2: 60 days
    ],
)
def test_extension_is_counted_from_receipt(received, name, expected):
    assert extended(regulation(name), at(received)) == end_of(expected)


def test_day_is_that_of_the_time_zone_given():
    paris = datetime.fromisoformat("2026-06-02T00:30:00+02:00")  # still 1 June in UTC
    assert due(regulation("gdpr"), paris).isoformat() == "2026-07-02T23:59:59+02:00"


def test_west_of_greenwich_the_period_ends_on_that_day_in_utc():
    """Dates are shown in UTC, where the day's end in California is the next day."""
    california = datetime.fromisoformat("2026-01-31T23:30:00-08:00")  # already 1 February in UTC
    assert due(regulation("ccpa"), california) == end_of("2026-03-17")


@pytest.mark.parametrize("name", ["GDPR", " g.d.p.r. ", "eu-gdpr", "Regulation (EU) 2016/679"])
def test_case_spaces_dots_and_hyphens_do_not_matter(name):
    assert regulation(name).name == "gdpr"


@pytest.mark.parametrize(
    ("name", "law"),
    [
        ("Lei Geral de Proteção de Dados", "lgpd"),
        ("Lei Geral de Protecao de Dados Pessoais", "lgpd"),
        ("LGPD Art. 18", "lgpd"),
        ("LGPD (Brazil)", "lgpd"),
        ("LGPD, art. 18, VI", "lgpd"),
        ("General Data Protection Regulation", "gdpr"),
        ("General Data Protection Regulation (GDPR)", "gdpr"),
        ("GDPR Art. 17", "gdpr"),
        ("GDPR, Article 17(1)(a)", "gdpr"),
        ("Art. 17 GDPR", "gdpr"),
        ("Article 17 of the GDPR", "gdpr"),
        ("Regulation (EU) 2016/679 (GDPR)", "gdpr"),
        ("Art. 17 UK GDPR", "uk gdpr"),
        ("GDPR (UK)", "uk gdpr"),
        ("UK General Data Protection Regulation", "uk gdpr"),
        ("Virginia Consumer Data Protection Act", "vcdpa"),
        ("CCPA § 1798.105(d)", "ccpa"),
        ("Cal. Civ. Code § 1798.105", "ccpa"),
        ("Cal. Civ. Code § 1798.82", "other"),  # of another law
        ("GDPR: Article 17", "gdpr"),
        ("the GDPR", "gdpr"),
        ("The GDPR, Art. 17", "gdpr"),
        ("GDPR as amended", "gdpr"),
        ("CCPA, as amended by the CPRA", "ccpa"),
        ("GDPR, as amended by the UK GDPR", "other"),
        ("GDPR as amended by somebody", "other"),
        ("PIPEDA s. 8(3)", "pipeda"),
        ("Art. 17 Abs. 1 DSGVO", "gdpr"),
        ("DSGVO Art. 17 Abs. 1 lit. b", "gdpr"),
        ("Artikel 17 DS-GVO", "gdpr"),
        ("Art. 17 para. 1 GDPR", "gdpr"),
        ("Art. 17 par. 1 RODO", "gdpr"),
        ("article 17 du RGPD", "gdpr"),
        ("Article 17, paragraphe 1, du RGPD", "gdpr"),
        ("artículo 17 del RGPD", "gdpr"),
        ("GDPR right to be forgotten", "gdpr"),
        ("GDPR, right to erasure", "gdpr"),
        ("Article 17 GDPR (right to be forgotten)", "gdpr"),
        ("Connecticut § 42-518", "ctdpa"),
        ("pre-GDPR contract", "other"),
        ("Articles 17 and 21 GDPR", "gdpr"),
        ("GDPR Art. 17 and Art. 21", "gdpr"),
        ("GDPR Arts. 17, 19", "gdpr"),
        ("GDPR Recital 65", "gdpr"),
        ("GDPR Article 17 (1) (b)", "gdpr"),
        ("GDPR 17", "gdpr"),
        ("General Data Protection Regulation (EU) 2016/679", "gdpr"),
        ("Art. 17 of Regulation (EU) 2016/679", "gdpr"),
        ("Règlement général sur la protection des données, art. 17", "gdpr"),
        ("the UK GDPR, Art 17", "uk gdpr"),
        ("Regulation (EU) 2018/1725, Art. 19", "eudpr"),
        ("California", "ccpa"),
        ("CCPA 1798.105", "ccpa"),
        ("CCPA 1798.130(a)(2)", "ccpa"),
        ("Cal. Civ. Code § 1798.105(d)(1)", "ccpa"),
        ("California Civil Code section 1798.105", "ccpa"),
        ("CCPA/CPRA", "ccpa"),
        ("Cal. Civ. Code § 51", "other"),
        ("California Penal Code § 528.5", "other"),
        ("GDPR/CCPA", "other"),
        ("GDPR and CCPA", "other"),
        ("Virginia, California", "other"),
        ("not the GDPR", "other"),
        ("no GDPR", "other"),
        ("GDPR 2018/1725", "other"),
        ("Regulation (EU) 2024/1689", "other"),
        ("right to be forgotten", "other"),
        ("", "other"),
        ("CCPA (Texas)", "other"),
        ("in the spirit of GDPR", "other"),
        ("Art. 17", "other"),
        ("LGPD art. 18 VI", "lgpd"),
        ("LGPD, art. 18, inciso VI", "lgpd"),
        ("Lei nº 13.709/2018 (LGPD)", "lgpd"),
        ("Lei Federal 13.709/2018", "lgpd"),
        ("Lei Federal nº 13.709/2018, art. 18, inc. VI, alínea a", "lgpd"),
        ("inciso VI do art. 18 da LGPD", "lgpd"),
        ("Regulation (EU) 2016/679 of the European Parliament and of the Council", "gdpr"),
        (
            "Art. 17 of Regulation (EU) 2016/679 of the European Parliament and of the Council",
            "gdpr",
        ),
        ("GDPR right of erasure", "gdpr"),
        ("GDPR Article 17 request", "gdpr"),
        ("CCPA deletion request", "ccpa"),
        ("a request", "other"),
        ("Art. 17 DSGVO i.V.m. § 35 BDSG", "other"),
        ("GDPR Art. 17, CCPA 1798.105", "other"),
    ],
)
def test_a_law_is_known_by_its_titles_and_with_an_article_of_it(name, law):
    assert clock.known_name(name) == law


NAMED = {
    "not the LGPD": ("lgpd",),
    "our policy, in the spirit of Lei nº 13.709/2018 and of the L.G.P.D.": ("lgpd",),
    "GDPR Art. 17, CCPA 1798.105": ("ccpa", "gdpr"),
    "Art. 17 DS-GVO i.V.m. § 35 BDSG": ("gdpr",),
    "asked under UK GDPR": ("gdpr", "uk gdpr"),
    "Brazilian law": (),
    "brand policy": (),
    "algpds": (),
}


@pytest.mark.parametrize("name", NAMED)
def test_what_names_a_law_among_other_words_is_due_by_none_of_them_too_late(name):
    """Whether the words claim the law or deny it: earlier is always in time."""
    law, received = regulation(name), at("2026-02-02T12:00:00")
    assert tuple(sorted(named.name for named in law.named)) == NAMED[name]
    each = [due(regulation(named), received) for named in NAMED[name]]
    assert due(law, received) == min([due(regulation("none known"), received), *each])
    told = clock.unknown(name)
    assert all(named in told for named in NAMED[name])
    assert ("where that ends earlier" in told) == bool(NAMED[name])


@pytest.mark.parametrize("law", regulations(), ids=lambda law: law.name)
def test_every_law_is_known_by_every_name_that_it_has(law):
    for name in (law.name, law.title, *law.aliases):
        assert (regulation(name), clock.unknown(name)) == (law, None)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("brand policy", "no law is known by the name 'brand policy': the operator's own 30 days"),
        ("GPDR", "did you mean gdpr"),
        ("Colorado Privacy Law", "did you mean cpa"),
    ],
)
def test_a_name_that_no_law_has_is_said_to_be_none(name, said):
    assert said in clock.unknown(name)


def test_unknown_name_gets_the_default_and_says_so():
    law = regulation("brand policy")
    assert (law.name, law.source) == ("brand policy", None)
    assert law.title == "no law: the operator's own default"


def test_no_two_laws_share_a_name():
    names = [{clock._folded(name) for name in clock._names(law)} for law in regulations()]
    assert sum(map(len, names)) == len(set().union(*names))


@pytest.mark.parametrize(
    ("name", "times", "expected"),
    [
        ("gdpr", 2, r"gdpr \(Art\. 12\(3\)\) allows 1 extension\(s\), not 2"),
        ("lgpd", 1, r"lgpd \(Art\. 19, II\) allows no extension, not 1"),
        ("brand policy", 1, r"brand policy \(no law.*\) allows no extension, not 1"),
    ],
)
def test_extension_that_no_law_allows_is_refused(name, times, expected):
    with pytest.raises(BadInput, match=expected):
        extended(regulation(name), at("2026-01-01"), times)


def test_date_beyond_the_calendar_is_bad_input():
    with pytest.raises(BadInput, match="9999-12-20 is due beyond the calendar"):
        due(regulation("gdpr"), at("9999-12-20"))


def test_time_without_a_zone_is_an_error():
    with pytest.raises(ValueError, match="no time zone"):
        due(regulation("gdpr"), datetime(2026, 1, 1))


@given(LAWS, TIMES)
def test_due_is_at_least_a_fortnight_after_receipt(law, received):
    assert due(law, received) >= received + timedelta(days=14)


@given(LAWS, TIMES, TIMES)
def test_who_asks_later_is_due_no_earlier(law, one, other):
    first, second = sorted([one, other])
    assert due(law, first) <= due(law, second)


@given(st.sampled_from(EXTENDABLE), TIMES)
def test_extension_is_never_earlier_than_due(law, received):
    assert extended(law, received) > due(law, received)


@given(TIMES)
def test_no_european_period_ends_at_a_weekend(received):
    assert due(regulation("gdpr"), received).strftime("%a") not in ("Sat", "Sun")


@given(LAWS, TIMES)
def test_hour_of_receipt_does_not_matter(law, received):
    assert due(law, received) == due(law, received.replace(hour=0, minute=0, second=0))


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-05-09T23:59:59", 1),
        ("2026-05-10T00:00:00", 0),
        ("2026-05-10T23:59:59", 0),
        ("2026-05-11T00:00:00", -1),
        ("2026-05-12T00:00:00", -2),
    ],
)
def test_days_left_are_negative_once_it_is_late(now, expected):
    assert days_left(end_of("2026-05-10"), at(now)) == expected


@pytest.mark.parametrize(
    "code",
    [f"gdpr-17-3-{letter}" for letter in "abcde"] + ["gdpr-17-1", "gdpr-12-5", "gdpr-12-6"],
)
def test_reason_names_the_article_of_its_code(code):
    article, *rest = code.removeprefix("gdpr-").split("-")
    assert f"Art. {article}" + "".join(f"({part})" for part in rest) in clock.reasons()[code].source


def test_every_law_names_its_article_and_an_official_address():
    sources = [law.source for law in regulations()]
    assert all(
        source and source.article and source.url.startswith("https://") for source in sources
    )


@pytest.mark.parametrize("law", EXTENDABLE, ids=lambda law: law.name)
def test_every_extension_asks_for_notice(law):
    assert re.search(r"\btell the (person|consumer)\b", law.extension.notice)
