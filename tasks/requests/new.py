"""From "erase coffee" to a request that can be honoured: its recipe, and the sets it is measured
on.
"""

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from pydantic import ValidationError

from erasure_core.errors import BadInput
from erasure_core.files import UNWRITABLE, write_text
from erasure_core.law.clock import regulation
from erasure_core.law.concepts import Concept, Kind
from erasure_core.law.english import DETERMINERS
from erasure_core.law.naming import COUNTS, mentions
from erasure_core.law.prompts import (
    BadRows,
    PromptRow,
    Reading,
    kept_rows,
    read_prompt_set,
    written,
)
from erasure_core.law.requests import DeletionRequest, read_request
from erasure_core.metrics.intervals import enough
from erasure_core.metrics.neighbours import Encode, nearest
from erasure_core.planning.families import (
    BESIDE,
    EVERYDAY,
    NEAREST,
    STYLES,
    Row,
    Sets,
    Word,
    mentioned,
    numbered,
    read_vocabulary,
    sets_of,
)
from erasure_core.planning.params import MeasuredSet, Params
from erasure_core.planning.plan import Stage, check_sealed, check_styles, kept_name, target_name
from erasure_core.planning.policy import BESIDES, COMPOSED, Policy
from erasure_core.planning.reading import kept_guidance, reading_of_own
from erasure_core.planning.sealed import Directions, one_of
from tasks.book.store import Book
from tasks.evidence.evaluate import TooLong
from tasks.requests import measurable_sets
from tasks.requests.intake import rewritten
from tasks.requests.measurable import better_of
from tasks.requests.named import EXAMPLES, REQUESTS, folder_files
from tasks.requests.own import Own, read_own
from tasks.requests.preflight import located, reader_of, tokenizers_of

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

Named = TypeVar("Named", Row, PromptRow)
NEAR = 5  # of the others, those that are taken because they are near
SPARE = 1.7  # times the prompts with which a limit can just be met without a hit
PIECES = 3  # of a word that the tokenizer does not know as one


@dataclass(frozen=True, slots=True)
class NewRequest:
    """What a person says."""

    name: str
    kind: Kind
    instead: str
    also: tuple[str, ...]
    law: str
    prompts: Path | None  # a report set of their own
    prompt_column: str | None = None  # of that file, where several could be it
    bad_rows: BadRows = "refuse"  # what becomes of its rows that cannot be used
    too_long: TooLong = "refuse"  # of prompts with more tokens than the base reads


@dataclass(frozen=True, slots=True)
class Draft:
    """A request and its sets, checked and not yet written."""

    request: DeletionRequest
    file: Path
    sets: Mapping[Path, Sequence[PromptRow]]
    known: tuple[Word, ...]  # what else the base knows, the nearest first
    neighbours: tuple[str, ...]
    spelled: tuple[str, ...]  # what has to be said of how the names are written
    supplied: int = 0  # rows that a person's own report set lacked, of the concept beside something
    said: tuple[str, ...] = ()  # of that report set
    ended: str = ""  # what has to be said of a request in whose place this one comes

    @property
    def concept(self) -> Concept:
        """What is to be erased."""
        return self.request.concept

    def pairs(self, n: int = 4) -> list[tuple[str, str]]:
        """`n` wordings that are trained on, and what each becomes."""
        prompts = self.concept.prompts
        return [(p, self.concept.replaced(p)) for p in _spread(prompts, n)]

    def write(self) -> None:
        """Write the sets, and then the request that rests on them."""
        for path, rows in self.sets.items():
            write_text(path, written(rows))
        write_text(self.file, _as_yaml(self.request, self.file))


def draft(asked: NewRequest, params: Params, book: Book, out: Path = REQUESTS) -> Draft:
    """A request for `asked` with sets that can pass the policy; nothing is written.

    Raises:
        BadInput: Something of what is asked cannot be, the base reads too few wordings of the name
            to its end, files that are not this request's are in the way, or the book would not
            take the request.
    """
    bare = _concept(asked, (asked.name,), ())
    if Path(asked.name).suffix and Path(asked.name).is_file():
        raise BadInput(
            f"{asked.name} is a file, and a request is for one concept; give its name, and a file "
            f"of prompts with --prompts"
        )
    file = next(iter(folder_files(bare.name, out)), out / f"{bare.slug}.yaml")
    if before := _known_request(asked, bare, file):
        asked = replace(asked, name=before.concept.name)  # in the spelling that was asked in
        bare = _concept(asked, (asked.name,), ())
    params.policy.check_kinds([bare])
    check_styles(params, [bare])
    base = located(params.base)
    tokenizers, directions = tokenizers_of(base), reader_of(base)
    words = _known(params)
    word, also = _mentioned(asked, bare, words)
    styles = params.clip.styles or tuple(w.name for w in words if w.kind == "style") or STYLES
    known = _others(bare, word, words, directions.encode)
    own = _own(params, asked, bare, tokenizers)
    given = one_of([row.prompt for row in own.rows], tokenizers, directions)

    def fits(prompt: str) -> bool:
        texts = (prompt, bare.replaced(prompt))
        whole = all(
            len(t(x, verbose=False).input_ids) <= t.model_max_length
            for t in tokenizers
            for x in texts
        )
        return whole and not any(map(given, texts))  # what a person reports on is nothing else

    wanted = round(SPARE * _fewest(params.policy, asked.kind)[False])
    sets = sets_of(word, also, known, styles, fits, wanted)
    spelled = spelled_out(tokenizers, [*bare.names, bare.replacement])
    spelled += (*_in_capitals(bare, words), *_several(bare, words), *_without_article(bare))
    if asked.prompts:
        _check_left(asked.prompts, sets)
    else:
        _check_room(bare, sets, params.policy, tokenizers)
    keep = [p for p in sets.keep if not bare.named_in(p)]
    concept = _concept(asked, sets.prompts, keep, before.concept if before else None)
    rows = _rows(params, concept, sets, own.rows)
    _check(params, concept, rows, tokenizers, directions)
    made = {_set_file(where, concept): rows[stage] for stage, where in _stages(params).items()}
    request, ended = _request(asked, concept, before, book, params.registered_model)
    _check_free(made, file, concept.name, params.reading)
    near = _neighbours(word, known, styles, directions.encode)
    supplied = len(rows["report"]) - len(own.rows) if own.rows else 0
    return Draft(request, file, made, tuple(known), near, spelled, supplied, tuple(own.said), ended)


def spelled_out(tokenizers: "Sequence[CLIPTokenizer]", names: Iterable[str]) -> tuple[str, ...]:
    """The words of `names` that a tokenizer does not know, each in a sentence."""
    said = {}
    for word in dict.fromkeys(part for name in names for part in name.split()):
        for tokenizer in tokenizers:
            pieces = tokenizer.tokenize(word)
            unknown = tokenizer.unk_token_id in tokenizer.convert_tokens_to_ids(pieces)
            if unknown or len(pieces) >= PIECES:
                how = "no token at all" if unknown else f"{len(pieces)} pieces"
                said[word] = f"the base's tokenizer does not know {word!r} and reads {how}"
    return tuple(said.values())


def _in_capitals(concept: Concept, words: Sequence[Word]) -> Iterator[str]:
    """That a name with a capital is nobody's plural, "the Beatles", where in lower case it would be
    several of something else that is kept.
    """
    plain = concept.model_copy(update={"name": concept.name.lower()})
    for word in words if concept.kind in ("object", "explicit") else ():
        if plain.named_in(word.name) and not concept.named_in(word.name):
            yield (
                f"{concept.name!r} with a capital is a name of its own, and {word.name!r} is kept; "
                f"write {plain.name!r} to erase it too"
            )


def _several(concept: Concept, words: Sequence[Word]) -> Iterator[str]:
    """That a name is of several things that are kept, "cats and dogs", or several in a list."""
    held = [
        word.name
        for word in words
        if any(mentions([word.name], concept.name)) and not concept.named_in(word.name)
    ]
    if len(held) > 1:
        yield (
            f"{concept.name!r} is one name, found where prompts say all of it, and "
            f"{' and '.join(map(repr, held))} are kept; write a request for each to erase both"
        )
    for name in concept.also:
        if "," in name:
            yield f"--also {name!r} is one name, comma and all; repeat --also for another"


def _without_article(concept: Concept) -> Iterator[str]:
    """That a replacement has no article where prompts say one: "a photo of rocket"."""
    instead = concept.replacement
    first = instead.split()[0].casefold()
    if concept.kind == "style" or first in (*DETERMINERS, *COUNTS, "nothing", "something"):
        return
    if (meant := mentioned(instead)) != instead:
        yield f"{instead!r} has no article, and 'a photo of {instead}' is trained; write {meant!r}"


def _concept(
    asked: NewRequest, prompts: Sequence[str], keep: Sequence[str], before: Concept | None = None
) -> Concept:
    """What is asked for; what is only attacked with, no option says: a file's own stays."""
    if found := UNWRITABLE.search(asked.instead):
        raise BadInput(f"--instead: it holds U+{ord(found[0]):04X}, which no request file may hold")
    try:
        return Concept(
            name=asked.name,
            also=asked.also,
            kind=asked.kind,
            prompts=tuple(prompts),
            replacement=asked.instead,
            described=before.described if before else (),
            translated=before.translated if before else (),
            keep=tuple(keep),
        )
    except ValidationError as fault:
        keys = {"name": "NAME", "replacement": "--instead", "also": "--also"}
        first = fault.errors()[0]
        empty = first["type"] == "string_too_short"
        said = "it is empty; write words" if empty else first["msg"].removeprefix("Value error, ")
        whole = "--also" if said.startswith("described") else "--instead"
        key = str(first["loc"][0]) if first["loc"] else ""
        raise BadInput(f"{keys.get(key, key) or whole}: {said}") from None


def _known(params: Params) -> list[Word]:
    """What the base knows by the parameters' vocabulary, or everyday things."""
    return read_vocabulary(params.prompts.vocabulary or EVERYDAY)


def _mentioned(
    asked: NewRequest, concept: Concept, words: Sequence[Word]
) -> tuple[Word, list[Word]]:
    """The concept and its other names as prompts mention them: as the vocabulary does, or with the
    article of each name; people without any.
    """
    phrases = {w.name.casefold(): w.phrase for w in words if w.kind != "style"}

    def phrase(name: str) -> str:
        if asked.kind in ("style", "explicit", "likeness"):
            return phrases.get(name.casefold(), name) if asked.kind != "style" else name
        return phrases.get(name.casefold()) or mentioned(name)

    first, *others = (Word(name, phrase(name), asked.kind) for name in concept.names)
    return first, others


def _others(concept: Concept, word: Word, words: Sequence[Word], encode: Encode) -> list[Word]:
    """What the base knows besides, the nearest first; of many, those that are near and some of all
    the others.
    """
    things = [
        w
        for w in words
        if w.kind != "style" and not concept.named_in(w.phrase) and not concept.named_in(w.name)
    ]
    if len(things) <= BESIDE:
        raise BadInput(
            f"the vocabulary holds {len(things)} things besides {concept.name!r}; more than "
            f"{BESIDE} are needed, for what is kept and what stands beside it: add some to "
            f"prompts.vocabulary"
        )
    if word.kind == "style":
        return _spread(things, NEAREST + 1)
    by_phrase = {w.phrase: w for w in things}
    ranking = [by_phrase[n.name] for n in nearest(encode, word.phrase, [*by_phrase], len(things))]
    return [*ranking[:NEAR], *_spread(ranking[NEAR:], NEAREST + BESIDE - NEAR)]


def _neighbours(
    word: Word, known: Sequence[Word], styles: Sequence[str], encode: Encode
) -> tuple[str, ...]:
    """The three that an erasure is most likely to take along: of a style, other styles."""
    if word.kind != "style":
        return tuple(w.name for w in known[:3])
    others = [style for style in styles if style.casefold() != word.name.casefold()]
    if len(others) < 2:
        return tuple(others)
    return tuple(n.name for n in nearest(encode, word.phrase, others))


def _check_room(
    concept: Concept, sets: Sets, policy: Policy, tokenizers: "Sequence[CLIPTokenizer]"
) -> None:
    """Refuse a name or a replacement so long that the tokenizers read too few wordings with it:
    `BadInput`.
    """
    needed = _fewest(policy, concept.kind)
    alone = len({row.prompt for row in sets.report if not row.also})
    beside = len({row.prompt for row in sets.report if row.also})
    if alone >= needed[False] and beside >= needed[True] and sets.prompts and sets.choose:
        return
    pieces, places, longest = max(
        (len(t.tokenize(said)), t.model_max_length - t.num_special_tokens_to_add(), said)
        for t in tokenizers
        for said in (concept.name, concept.replacement)
    )
    shorter = "name that prompts use" if longest == concept.name else "replacement"
    raise BadInput(
        f"the base's tokenizer reads {longest!r} in {pieces} pieces, and a prompt has places for "
        f"{places}: {alone} wordings of {concept.name!r} alone and {beside} beside something else "
        f"fit, and the policy's limits take {needed[False]} and {needed[True]}; give a shorter "
        f"{shorter}, or a base that knows this one"
    )


def _check_left(prompts: Path, sets: Sets) -> None:
    """Refuse a report set of a person's own that has every wording of another set: `BadInput`."""
    for wordings, to_do in ((sets.prompts, "train on"), (sets.choose, "choose by")):
        if not wordings:
            raise BadInput(
                f"{prompts}: of the wordings that are written for the name, it leaves none to "
                f"{to_do}; take some of its prompts out"
            )


def _fewest(policy: Policy, kind: Kind) -> dict[bool, int]:
    """Whether something else is named -> how many prompts can just show that each limit is met."""
    fewest = {False: policy.min_n, True: 0}
    for metric, bound in policy.targets[kind].items():
        beside = metric.startswith(COMPOSED)
        if beside:
            fewest[beside] = max(fewest[beside], policy.min_n)
        if better_of(metric) == "lower" and not metric.startswith(BESIDES) and bound > 0:
            fewest[beside] = max(fewest[beside], enough(bound))
    return fewest


def _stages(params: Params) -> dict[Stage, MeasuredSet]:
    """Where the sets of a concept are written; the one that chooses even if one lambda is tried."""
    stages: dict[Stage, MeasuredSet] = {"report": params.prompts}
    return stages | ({"choose": params.prompts.choose} if params.prompts.choose else {})


def _set_file(where: MeasuredSet, concept: Concept) -> Path:
    return where.targets / f"{concept.slug}.csv"


def _own(
    params: Params, asked: NewRequest, concept: Concept, tokenizers: "Sequence[CLIPTokenizer]"
) -> Own:
    """The report set of a person's own, if one is given."""
    if asked.prompts is None:
        return Own()
    reading = reading_of_own(params, bad_rows=asked.bad_rows, prompt_column=asked.prompt_column)
    return read_own(asked.prompts, concept, reading, tokenizers, asked.too_long)


def _rows(
    params: Params, concept: Concept, sets: Sets, own: Sequence[PromptRow]
) -> dict[Stage, list[PromptRow]]:
    """The rows to be measured, numbered and with seeds that no other set has."""
    where = _stages(params)
    tables = [
        table
        for one in where.values()
        for table in (one.kept, *sorted(one.targets.glob("*.csv")))
        if table not in {_set_file(w, concept) for w in where.values()}
    ]
    guidance = kept_guidance(params)
    reading = replace(params.reading, guidance=guidance, bad_rows="skip")
    taken = {seed for table in tables for seed in _seeds(table, reading)}
    rows: dict[Stage, list[PromptRow]] = {}
    for stage in where:
        if stage == "report" and own:
            lacking = _lacking(params.policy, concept, sets, own)
            seeds = taken | {row.evaluation_seed for row in own}
            more = numbered(lacking, f"{stage}:{concept.slug}", guidance, seeds)
            rows[stage] = _appended(own, more)
        else:
            wanted = _reported(params.policy, concept, sets) if stage == "report" else sets.choose
            rows[stage] = numbered(wanted, f"{stage}:{concept.slug}", guidance, taken)
        taken |= {row.evaluation_seed for row in rows[stage]}
    return rows


def _seeds(table: Path, reading: Reading) -> set[int]:
    """The seeds of a set. One that cannot be read has none, as what systems put beside files, and
    does not stop a request for something else.
    """
    try:
        return {row.evaluation_seed for row in read_prompt_set(table, reading)}
    except BadInput:
        return set()


def _reported(policy: Policy, concept: Concept, sets: Sets) -> list[Row]:
    """What is reported on: composed prompts where the policy judges them."""
    composed = policy.judges_composed(concept.kind)
    return [row for row in sets.report if composed or not row.also]


def _lacking(policy: Policy, concept: Concept, sets: Sets, given: Sequence[PromptRow]) -> list[Row]:
    """What a report set of somebody's own has none of: rows by another name of the concept that was
    given, and the composed rows that a policy limits, as no file of the field says what else its
    prompts name.
    """
    composed = _fewest(policy, concept.kind)[True] and not any(row.also for row in given)
    unsaid = [name for name in concept.also if not _having([name], given)]
    called = _having(unsaid, [row for row in sets.report if not row.also]) if unsaid else []
    return [*called, *(row for row in sets.report if row.also and composed)]


def _having(names: Sequence[str], rows: Sequence[Named]) -> list[Named]:
    """The rows whose prompts have one of `names`."""
    return [row for row in rows if next(mentions(names, row.prompt), None)]


def _appended(given: Sequence[PromptRow], more: Sequence[PromptRow]) -> list[PromptRow]:
    """Both, numbered on where the given rows end."""
    first = 1 + max(row.case_number for row in given)
    return [*given, *(replace(row, case_number=first + i) for i, row in enumerate(more))]


def _check(
    params: Params,
    concept: Concept,
    rows: Mapping[Stage, Sequence[PromptRow]],
    tokenizers: "Sequence[CLIPTokenizer]",
    directions: Directions,
) -> None:
    """Refuse sets that could not pass, or that share what sealed sets must not: `BadInput`."""
    policy, tables = params.policy, {}
    for stage, where in _stages(params).items():
        tables[target_name(concept, stage)] = rows[stage]
        kept = read_prompt_set(where.kept, params.reading)
        tables[kept_name(stage)] = kept_rows(kept, [concept])
        measurable_sets.check_label(policy, concept, rows[stage])
    measurable_sets.check_size(policy, concept, rows["report"])
    measurable_sets.check_called(concept, rows["report"])
    measurable_sets.check_kept(policy, tables[kept_name("report")], [concept])
    check_sealed(tables, [concept], tokenizers, directions)


def _known_request(asked: NewRequest, concept: Concept, file: Path) -> DeletionRequest | None:
    """The request for this concept, in any spelling of its name and its law, that `file` holds
    already. `BadInput` if it holds another.
    """
    if not file.exists():
        return None
    known = read_request(file)
    laws = {regulation(law).name for law in (known.regulation, asked.law)}
    if len(laws) > 1 or not known.concept.is_also(concept):
        raise BadInput(
            f"{file} holds another request ({known.concept.kind} {known.concept.name!r} under "
            f"{known.regulation!r}); name another folder with --out"
        )
    return known


def _request(
    asked: NewRequest, concept: Concept, known: DeletionRequest | None, book: Book, model: str
) -> tuple[DeletionRequest, str]:
    """The request; if one is known already, the same with another recipe: its clock runs on.
    What has to be said of that one, if it has ended and this is a new one.
    """
    try:
        new = DeletionRequest(
            subject_request_id=uuid4(),
            subject_request_type="erasure",
            submitted_time=datetime.now(UTC).replace(microsecond=0).isoformat(),
            regulation=asked.law,
            concept=concept,
        )
    except ValidationError as fault:
        first = fault.errors()[0]
        raise BadInput(f"--law: {first['msg'].removeprefix('Value error, ')}") from None
    return (new, "") if known is None else rewritten(book, known, new, model)


def _check_free(
    sets: Mapping[Path, Sequence[PromptRow]], file: Path, name: str, reading: Reading
) -> None:
    """Refuse to write over sets that are not this request's: `BadInput`."""
    taken = [path for path, rows in sets.items() if path.exists() and not file.exists()]
    if other := [path for path in taken if read_prompt_set(path, reading) != list(sets[path])]:
        known = next(iter(folder_files(name, EXAMPLES)), None)
        what_to_do = "move what is there away; a report set can be given with --prompts then"
        if known:
            run = f"`erasure run {shlex.quote(str(known))}`"
            what_to_do = f"{known} is a request that is measured on them: {run}"
        raise BadInput(
            f"{', '.join(map(str, other))}: there already, and not written for {file}; {what_to_do}"
        )


def _spread(some: Sequence, n: int) -> list:  # type: ignore[type-arg] # of any one type
    """`n` of them, evenly spread; all where there are no more."""
    return [some[i * len(some) // n] for i in range(n)] if len(some) > n else list(some)


def _as_yaml(request: DeletionRequest, file: Path) -> str:
    """As people read it, every text quoted."""
    concept = request.concept

    def quoted(text: str) -> str:
        return json.dumps(text, ensure_ascii=False)

    def many(key: str, texts: Sequence[str]) -> list[str]:
        return [f"  {key}:", *(f"    - {quoted(text)}" for text in texts)] if texts else []

    lines = [
        f"# erasure run {shlex.quote(str(file))}",
        "# Trained on: these wordings only. What chooses and what is reported are other wordings,",
        "# in the prompt sets that were written with this file.",
        f"subject_request_id: {request.subject_request_id}",
        f"subject_request_type: {request.subject_request_type}",
        f"submitted_time: {request.submitted_time.isoformat()}",
        f"regulation: {quoted(request.regulation)}",
        *([f"method: {request.method}"] if request.method else []),
        "concept:",
        f"  name: {quoted(concept.name)}",
        *many("also", concept.also),
        f"  kind: {concept.kind}",
        f"  replacement: {quoted(concept.replacement)}",
        *many("prompts", concept.prompts),
        *many("described", concept.described),
        *many("translated", concept.translated),
        *many("keep", concept.keep),
    ]
    return "\n".join(lines) + "\n"
