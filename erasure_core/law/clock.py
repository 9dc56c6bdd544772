"""The legal clock: until when a request must be answered, and on what grounds it may be refused.

The facts, each with its article, are in `regulations.yaml`. Days are those of the time zone in
which the time of receipt is given; a period ends with the last second of its last day, there or in
UTC, whichever comes first: west of Greenwich the day's end is the next day in UTC, in which dates
are shown.
"""

import re
import unicodedata
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from dateutil.relativedelta import relativedelta
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from erasure_core.errors import BadInput
from erasure_core.files import read_yaml

FILE = Path(__file__).with_name("regulations.yaml")
SATURDAY = 5


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Period(_Fact):
    """Months or days, one of the two."""

    months: int = Field(0, ge=0)
    days: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _one_of_the_two(self) -> Self:
        if bool(self.months) == bool(self.days):
            raise ValueError("a period is a number of months or of days; give one of the two")
        return self


class Extension(Period):
    """By how much the period may be extended, how often, and what the person must be told."""

    times: int = Field(ge=1)
    notice: str


class Source(_Fact):
    """Where a period stands."""

    article: str
    act: str
    url: str


class Regulation(_Fact):
    """How one law counts. Without a `source` no law is known, and the period is the operator's."""

    name: str
    title: str
    aliases: tuple[str, ...] = ()
    period: Period
    extension: Extension | None = None
    counting: Literal["eu", "days"]
    source: Source | None = None
    note: str | None = None


class Reason(_Fact):
    """Why a request may be refused, and where that stands: without a `source`, whoever refuses has
    to say it.
    """

    laws: tuple[str, ...]
    text: str
    source: str | None = None


def _named_by_their_keys(laws: Any) -> Any:
    return {name: {"name": name, **law} for name, law in laws.items()}


class _Facts(_Fact):
    """What the file holds."""

    default: Regulation
    regulations: Annotated[dict[str, Regulation], BeforeValidator(_named_by_their_keys)]
    reasons: dict[str, Reason]

    @model_validator(mode="after")
    def _grounds_of_every_law(self) -> Self:
        laws = {self.default.name, *self.regulations}
        named = {law for reason in self.reasons.values() for law in reason.laws}
        if laws != named:
            raise ValueError(
                f"each law needs a reason, and each reason known laws; differs: {laws ^ named}"
            )
        return self


@cache
def _facts() -> _Facts:
    """The file, read when it is first asked for: a tenth of a second, which most commands spare."""
    return read_yaml(FILE, _Facts)


def reasons() -> dict[str, Reason]:
    """Code -> why a request may be refused."""
    return _facts().reasons


def grounds(law: Regulation) -> dict[str, Reason]:
    """Code -> why a request may be refused under this law."""
    name = law.name if law.source else _facts().default.name
    return {code: why for code, why in reasons().items() if name in why.laws}


def regulations() -> list[Regulation]:
    """Every law that is known, in the order of the file."""
    return list(_facts().regulations.values())


def regulation(name: str) -> Regulation:
    """The law that `name` stands for: its name, another one or its title, also with places in it
    ("Art. 17 Abs. 1 DSGVO"). Case, accents, spaces, dots, hyphens and articles do not matter.

    A name that is not known gets the operator's own default, under that name and without a source.
    """
    unknown = _facts().default.model_copy(update={"name": name})
    return _known(name) or unknown


OTHER = "other"  # a law that is not known, or own words, where no words may stand


def known_name(name: str) -> str:
    """The name of the law that `name` stands for, or `OTHER`."""
    law = _known(name)
    return law.name if law else OTHER


def unknown(name: str) -> str | None:
    """That no law is known by `name`, in a line that says what follows and what is near; None if
    one is.
    """
    if _known(name):
        return None
    names = _by_folded_name()
    near = {names[folded].name for folded in get_close_matches(_folded(name), names, cutoff=0.75)}
    hint = f"; did you mean {' or '.join(sorted(near))}?" if near else ""
    days = _facts().default.period.days
    return f"no law is known by the name {name!r}: the operator's own {days} days run{hint}"


def due(law: Regulation, received: datetime) -> datetime:
    """The last second in which a request that came at `received` is answered in time.

    Raises:
        BadInput: The period ends beyond the calendar.
        ValueError: `received` has no time zone.
    """
    return _end(law, received, extensions=0)


def extended(law: Regulation, received: datetime, times: int = 1) -> datetime:
    """`due` after the period was extended `times` times, counted from receipt.

    Raises:
        BadInput: The law allows no extension, or not so many.
    """
    allowed = law.extension.times if law.extension else 0
    if times > allowed:
        raise BadInput(
            f"{law.name} ({law.source.article if law.source else law.title}) allows "
            f"{f'{allowed} extension(s)' if allowed else 'no extension'}, not {times}; "
            f"answer by the date that is set"
        )
    return _end(law, received, extensions=times)


def offset(received: datetime) -> int:
    """The seconds by which the time zone of `received` is ahead of UTC: the days of which zone a
    period counts, its instant alone does not tell.
    """
    ahead = received.utcoffset()
    if ahead is None:
        raise ValueError(f"the time of receipt {received} has no time zone; give an aware one")
    return int(ahead.total_seconds())


def days_left(until: datetime, now: datetime) -> int:
    """Whole days from `now` to `until`; 0 on the last day, negative if and only if it is late."""
    return (until - now) // timedelta(days=1)


def in_words(left: int) -> str:
    """Days left, as people are told of them."""
    return f"{left} days left" if left >= 0 else f"LATE by {-left} days"


def until(due: str, left: int | None) -> str:
    """`due 2026-12-22, 30 days left`; nothing of what is settled, which has no days left."""
    return "" if left is None else f"due {due[:10]}, {in_words(left)}"


def _end(law: Regulation, received: datetime, extensions: int) -> datetime:
    if received.tzinfo is None:
        raise ValueError(f"the time of receipt {received} has no time zone; give an aware one")
    periods = [law.period, *[law.extension] * extensions]
    months, days = (sum(getattr(p, unit) for p in periods) for unit in ("months", "days"))
    try:
        last = received + relativedelta(months=months, days=days)  # clips at the end of a month
        if law.counting == "eu" and last.weekday() >= SATURDAY:
            last += timedelta(days=7 - last.weekday())
    except (OverflowError, ValueError):
        raise BadInput(
            f"a request received on {received.date()} is due beyond the calendar's end; correct "
            f"the time of receipt"
        ) from None
    end = last.replace(hour=23, minute=59, second=59, microsecond=0)
    return min(end, end.replace(tzinfo=UTC))


# How a place in a law is cited: "Art. 17(1)", "Abs. 1 lit. b", "§ 1798.105(d)", "Recital 65",
# "Articles 17 and 21", "art. 18, VI"; also by a number alone, unless it names a law ("2016/679")
UNIT = (
    r"(?:art(?:s|icles?|\wculos?|igos?|ikels?|icolo|yku\w*)?|sec(?:tions?|s)?|recitals?|para(?:s|"
    r"graph(?:e?s?|en)?)?|pars?|abs(?:atz)?|ust|points?|clauses?|nr|(?:ss?(?=\.))|§+)\.?\s*"
)
PLACE = r"\d[\w.()-]*(?:\s*\(\w+\))*"
ARTICLE = re.compile(
    rf"(?<![\w/.])(?:{UNIT}{PLACE}(?:(?:,|\s*&|\s+and|\s+und|\s+et|\s+y|\s+e)\s*(?:{PLACE}|[ivx]+)(?![\w/]))*"
    rf"|(?:lit(?:era|t)?|letters?|buchstabe)\.?\s*\(?[a-z]\b\)?"
    rf"|\d+(?:\.\d+)*(?:\s*\(\w+\))*(?![\w/.]))",
    re.IGNORECASE,
)
SECTION = re.compile(  # what stands around the number where that number names the law
    rf"(?<![\w/.]){UNIT}(?=\d)|(?<=\d)(?:\s*\(\w+\))+", re.IGNORECASE
)
RIGHT = re.compile(
    r"\bright to (?:be forgotten|erasure|deletion|delete)\b|\bas amended(?: by)?\b"
    r"|\brecht auf (?:löschung|vergessenwerden)\b|\bdroit à l.(?:effacement|oubli)\b",
    re.IGNORECASE,
)
LINKS = re.compile(
    r"\b(?:the|of|and|under|du|des?|der|die|dem|das|l[ae]s?|del(?:la)?|d[ao]|und|et|y|l(?=\W\w))\b",
    re.IGNORECASE,
)
PARENTHESIS = re.compile(r"(.+?)\s*\(([^()]*)\)")


def _known(name: str) -> Regulation | None:
    law = RIGHT.sub(" ", ARTICLE.sub(" ", name)).strip()
    for reading in (name, SECTION.sub("", name), law):
        if found := _only_law_named(reading):
            return found
    if parts := PARENTHESIS.fullmatch(law):  # "LGPD (a colleague's)", but not "CCPA (Texas)"
        outside, inside = map(_only_law_named, parts.groups())
        return outside if inside in (None, outside) else None
    return None


def _only_law_named(text: str) -> Regulation | None:
    """The law of which `text` holds nothing but names: one, or several ("the CCPA/CPRA")."""
    folded = _folded(text)
    return next((law for law, names in _patterns() if names.fullmatch(folded)), None)


@cache
def _patterns() -> list[tuple[Regulation, re.Pattern[str]]]:
    """Each law with what matches one or more of its folded names."""
    return [
        (law, re.compile(f"(?:{'|'.join(map(re.escape, map(_folded, _names(law))))}){{1,3}}"))
        for law in regulations()
    ]


@cache
def _by_folded_name() -> dict[str, Regulation]:
    return {_folded(name): law for law in regulations() for name in _names(law)}


def _names(law: Regulation) -> set[str]:
    return {law.name, *law.aliases, law.title, re.sub(r"\s*\([^()]*\)$", "", law.title)}


def _folded(name: str) -> str:
    """Letters and digits alone, without accents and the words that join names."""
    plain = unicodedata.normalize("NFKD", LINKS.sub(" ", name.casefold()))
    return re.sub(r"[\W_]", "", plain)
