"""From what is due to a plan: which requests a release takes up, and what it is made of."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from erasure_core.errors import BadInput, ErasureError
from erasure_core.law.concepts import same_name
from erasure_core.law.fold import CHAMPION, Request, Version
from erasure_core.law.life import WORKABLE, shown
from erasure_core.law.requests import DeletionRequest
from erasure_core.network.hub import pinned
from erasure_core.planning.params import Params, at_home, read_params
from erasure_core.planning.plan import Plan, in_order, in_parts, make_plan
from tasks.book.store import Book, Entry, Reader, Transaction
from tasks.home import TRIAL, Home
from tasks.placement import GPU_DEPLOYMENT
from tasks.release.outcome import outcome_of, refreshed
from tasks.release.record import record_of
from tasks.requests.again import overdue, parts_of, parts_of_champion
from tasks.requests.base_file import with_folder
from tasks.requests.changes import check_read
from tasks.requests.intake import check_not_held, taken_up, workable
from tasks.requests.made_with import made_with
from tasks.requests.park import make_ready, park
from tasks.requests.preflight import OPERATOR, preflight, preflight_base
from tasks.requests.steps import NEEDED, honoured_together


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a command says beside its requests."""

    params: Params
    method: str | None
    changes: tuple[str, ...] = ()  # `key=value`, which `params` have already

    @classmethod
    def read(
        cls,
        params_file: Path,
        base: str | None = None,
        method: str | None = None,
        compare: bool = False,
        changes: Sequence[str] = (),
    ) -> "Inputs":
        """Read and check the parameters with `changes` (`key=value`), without their comparisons
        unless `compare`. `BadInput` for the first that is not acceptable.
        """
        keys = [change.partition("=")[0].strip() for change in changes]
        if "method.method" in keys:  # as MLflow's pages call it
            raise BadInput(
                "--set method.method: another method has settings of its own; name it with --method"
            )
        params = with_base(read_params(params_file, changes), base, "base.config" in keys)
        params = with_folder(params, Home.from_env())
        if not compare:
            params = params.model_copy(update={"comparisons": {}})
        params.with_method(method)
        return cls(params, method, tuple(changes))

    @property
    def model(self) -> str:
        """The registered model."""
        return self.params.registered_model


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, and what it was planned against."""

    plan: Plan
    new: Mapping[str, str]  # the requests that it would honour newly -> hash of the recipe of each
    champion: int | None
    back: DeletionRequest | None = None  # the request that it takes back


class NeedsApproval(ErasureError):
    """A plan waits until enough people have approved it; `outcomes` is what else the run did."""

    exit_code = 3

    def __init__(
        self,
        plan: str,
        requests: Sequence[str],
        have: Sequence[str],
        needed: int,
        outcomes: Sequence[dict[str, Any]] = (),
        also: Sequence[str] = (),
    ):
        self.plan, self.requests, self.have, self.needed = plan, requests, have, needed
        self.outcomes = list(outcomes)
        by = f" (by {', '.join(have)})" if have else ""
        mine = (
            f"plan {plan[:16]} needs {needed} approval(s) and has {len(have)}{by}; "
            f"`erasure request approve {requests[0]} --by NAME`, then run again"
        )
        super().__init__("; ".join([mine, *also]))

    def beside(self, outcomes: Sequence[dict[str, Any]], also: Sequence[str]) -> "NeedsApproval":
        """The same with what else the run came to: its outcomes, and what else is to be said."""
        return NeedsApproval(
            self.plan, self.requests, self.have, self.needed, outcomes=outcomes, also=also
        )


def with_base(params: Params, base: str | None, own_config: bool = False) -> Params:
    """`params` with another base, given as a folder, as a checkpoint in one file, or as hub id and
    commit: `owner/name@commit`. The configurations of theirs are not its own, unless `own_config`.
    """
    if base is None:
        return params
    path, revision = pinned(at_home(base))
    update: dict[str, str | None] = {"path": path, "revision": revision, "sha256": None}
    if not own_config:
        update["config"] = None
    return params.model_copy(update={"base": params.base.model_copy(update=update)})


def check_inputs(inputs: Inputs, requests: Sequence[DeletionRequest], home: Home) -> None:
    """Raise for what is wrong with parameters, files or machine: no fault of any request."""
    _raise_operator_faults(faults_of(inputs, requests, (), home), frozenset())


def faults_before_run(
    book: Book, inputs: Inputs, asked: Sequence[DeletionRequest] | None
) -> dict[str, str]:
    """What a run would stumble over; nothing is changed. `asked` None: everything that is due."""
    honoured, restored, _ = book.ask(lambda reader: _state(reader, inputs.model, None))
    refused: dict[str, str] = {}
    if asked is None:
        new = [e.known for e in book.ask(lambda r: workable(r, inputs.model)) if e.request]
    else:
        new, refused = book.ask(lambda reader: taken_up(reader, asked, inputs.model))
    erased = [*(e.known for e in honoured), *new]
    back = brought_back(restored, erased)
    return refused | faults_of(inputs, erased, back, book.home, _ids(honoured))


def take_up(book: Book, inputs: Inputs, wanted: Sequence[str] | None) -> list[Entry]:
    """The requests that this run works on; those that lack something wait, each with its reason.

    Args:
        book: The book.
        inputs: Parameters and options.
        wanted: Ids of the requests that were named; None: all that are due.

    Raises:
        BadInput: What is wrong is no fault of a request, and none was touched; or one of `wanted`
            cannot be taken up, or now waits.
    """
    entries, honoured = book.ask(lambda reader: _entries(reader, inputs.model, wanted))
    readable = [e for e in entries if e.request is not None]
    unreadable = {e.row.id: e.fault or "its text is not readable" for e in entries if not e.request}
    restored = book.ask(lambda reader: _state(reader, inputs.model, None)[1])
    erased = [e.known for e in (*honoured, *readable)]
    back = brought_back(restored, erased)
    faults = faults_of(inputs, erased, back, book.home, _ids(honoured))
    _raise_operator_faults(faults, _ids(honoured))
    parked = {**unreadable, **faults}
    park(book, parked)
    ready, apart = _plannable(book, inputs, [e for e in readable if e.row.id not in parked])
    park(book, apart)
    make_ready(book, ready)
    if wanted is not None and (parked or apart) and not ready:
        raise BadInput("; ".join([*parked.values(), *apart.values()]))
    return ready


def _plannable(
    book: Book, inputs: Inputs, entries: Sequence[Entry]
) -> tuple[list[Entry], dict[str, str]]:
    """Those that can be planned together, and what is wrong with each of the others."""
    try:
        plan_release(book, inputs, entries)
        return list(entries), {}
    except BadInput:
        pass  # one of them is at fault, or two contradict one another
    good: list[Entry] = []
    apart: dict[str, str] = {}
    for entry in entries:
        try:
            plan_release(book, inputs, [*good, entry])
            good.append(entry)
        except BadInput as fault:
            apart[entry.row.id] = str(fault)
    return good, apart


def plan_release(book: Book, inputs: Inputs, entries: Sequence[Entry]) -> Planned:
    """The plan that honours `entries` on top of everything that is honoured.

    Raises:
        BadInput: For any input with which the run could not be finished.
    """
    return _planned(book, inputs, entries, inputs.method, None)


def again_due(book: Book, inputs: Inputs) -> bool:
    """Whether what is released has to be measured whole again, though nobody asks for anything."""
    if inputs.params.policy.again is None or not parts_of_champion(book, inputs.model):
        return False  # without a plan, which costs more
    return bool(overdue(book, plan_release(book, inputs, []).plan))


def plan_trial(book: Book, inputs: Inputs, asked: Sequence[DeletionRequest]) -> Planned:
    """The plan that a run of `asked` would have on top of what is honoured, in a folder of its own;
    nothing is entered into the book.

    Raises:
        BadInput: For any input with which the run could not be finished.
    """
    if faults := faults_before_run(book, inputs, asked):
        raise BadInput("; ".join(faults.values()))
    honoured, restored, champion = book.ask(lambda reader: _state(reader, inputs.model, None))
    new, _ = book.ask(lambda reader: taken_up(reader, asked, inputs.model))
    requests = [*(e.known for e in honoured), *new]
    plan = make_plan(
        requests,
        inputs.params,
        book.home.runs,
        made_with(inputs.params),
        inputs.method,
        brought_back(restored, requests),
    )
    folder = plan.folder.with_name(TRIAL + plan.run_key)
    return Planned(plan.model_copy(update={"folder": folder}), {}, champion)


def check_changes(inputs: Inputs, asked: Sequence[DeletionRequest]) -> None:
    """Refuse changes of the parameters that a run of `asked` would not read: `BadInput`."""
    if not inputs.changes:
        return  # a method that there is none of is then a fault of the request that names it
    named = next((r.method for r in reversed(in_order(asked)) if r.method), None)
    check_read(inputs.changes, inputs.params, inputs.method or named)


def plan_restore(book: Book, inputs: Inputs, request_id: UUID) -> Planned:
    """The plan without one honoured request, from the champion's base and by its method. Where
    nothing else is erased it has no requests, and the release is the base.

    Raises:
        BadInput: See `check_restorable`; or for any input with which the run could not be finished.
    """
    entry = check_restorable(book, inputs, request_id)
    inputs = replace(inputs, method=inputs.method or method_of_champion(book, inputs.model))
    if faults := _faults_of_restore(book, inputs, entry):
        raise BadInput("; ".join(faults))
    planned = _planned(book, inputs, (), inputs.method, entry)
    _check_same_base(book, planned)
    return planned


def _faults_of_restore(book: Book, inputs: Inputs, entry: Entry) -> list[str]:
    """What a restore would stumble over; the base itself is neither trained nor measured."""
    honoured, restored, _ = book.ask(lambda reader: _state(reader, inputs.model, entry))
    if not honoured:
        return [fault.what for fault in preflight_base(inputs.params, book.home)]
    erased = [e.known for e in honoured]
    back = brought_back(restored, erased, entry.known)
    return list(faults_of(inputs, erased, back, book.home, _ids(honoured)).values())


def _check_same_base(book: Book, planned: Planned) -> None:
    """Refuse to bring a concept back in another model than the one that it was taken from."""
    plan = planned.plan
    champion = book.ask(lambda reader: reader.champion(plan.params.registered_model))
    if champion is not None and champion.base != plan.base_sha256:
        raise BadInput(
            f"the champion, version {champion.version}, was made from the base "
            f"{champion.base[:16]}, and this restore would be from {plan.base_sha256[:16]}; name "
            "the champion's with --base, or first release from this one with `erasure run "
            "NAME` of what is honoured"
        )


def check_restorable(book: Book, inputs: Inputs, request_id: UUID) -> Entry:
    """The request, if it can be taken back.

    Raises:
        BadInput: It is unknown, not honoured, another model's, or others ask for the same concept.
    """
    entry = book.ask(lambda reader: reader.request(request_id))
    if entry.row.state != "honoured":
        raise BadInput(
            f"request {request_id} is {shown(entry.row.state)}; only an honoured request can be "
            "restored"
        )
    if entry.row.model != inputs.model:
        raise BadInput(
            f"request {request_id} belongs to {entry.row.model}, the parameters name "
            f"{inputs.model}; give the parameters of {entry.row.model} (--params)"
        )
    if why := book.ask(lambda reader: honoured_together(reader, entry)):
        raise BadInput(why)
    return entry


def known_answer(
    book: Book, inputs: Inputs, asked: Sequence[DeletionRequest]
) -> dict[str, Any] | None:
    """What an earlier run of the same inputs came to, if nothing of it is left to do: reading it
    needs no server.
    """
    entries = [book.ask(lambda r, i=a.subject_request_id: r.find_request(i)) for a in asked]  # type: ignore[misc]
    settled = ("honoured", "attempt_failed")
    if not all(
        e and e.row.state in settled and e.known.recipe == a.recipe
        for e, a in zip(entries, asked, strict=True)
    ):
        return None
    planned = plan_release(book, inputs, [e for e in entries if e.row.state != "honoured"])
    version = answered(book, planned)
    if version is None or (
        version.promoted and (planned.new or planned.champion != version.version)
    ):
        return None
    return _told_again(book, version)


def known_restoring(book: Book, inputs: Inputs, request_id: UUID) -> dict[str, Any] | None:
    """What the run came to that restored a request, if one did: the same command again, perhaps
    after a kill, finds its work done.
    """
    entry = book.ask(lambda reader: reader.find_request(request_id))
    if entry is None or entry.row.model != inputs.model or entry.row.state != "restored":
        return None
    number = entry.row.version
    assert number is not None  # the step to `restored` names it
    return _told_again(book, book.ask(lambda reader: reader.version(inputs.model, number)))


def _told_again(book: Book, version: Version) -> dict[str, Any]:
    outcome = outcome_of(book, version, answered=True)
    return {**outcome, "failed": [], **refreshed(book, outcome)}


def answered(book: Book, planned: Planned) -> Version | None:
    """The version that the same plan led to, of several the one that is served, or the newest: the
    same inputs need no second training, as long as its files were not purged.
    """
    model, sha256 = planned.plan.params.registered_model, planned.plan.sha256
    versions = [v for v in book.ask(lambda r: r.by_plan(model, sha256)) if not v.purged]
    served = (v for v in versions if v.version == planned.champion)
    return next(served, versions[-1] if versions else None)


def check_approved(book: Book, planned: Planned, restoring: str | None = None) -> None:
    """Propose the plan if the parameters ask for approval, and wait for it. It is found by the
    requests that it honours newly, or by the one that it takes back.

    Raises:
        NeedsApproval: It is not approved yet; its requests wait for it.
    """
    plan = planned.plan
    needed = NEEDED[plan.params.approval]
    if not needed:
        return
    erased = tuple(str(r.subject_request_id) for r in plan.requests)
    ids = (restoring,) if restoring else tuple(planned.new) or erased

    def propose(tx: Transaction) -> tuple[str, ...]:
        if (known := tx.proposal(plan.sha256)) is None:
            model = plan.params.registered_model
            tx.append("plan.proposed", plan=plan.sha256, model=model, requests=ids)
        return known.approved_by if known else ()

    have = book.change(propose)
    if len(have) < needed:
        waiting = f"approval of plan {plan.sha256[:16]} ({len(have)} of {needed})"
        park(book, {i: waiting for i in planned.new})
        raise NeedsApproval(plan.sha256, ids, have, needed)


def start_afresh(book: Book, planned: Planned) -> Planned:
    """The same plan in an empty folder: what an earlier version rests on is evidence, and stays."""
    model, plan = planned.plan.params.registered_model, planned.plan
    earlier = len(book.ask(lambda reader: reader.by_plan(model, plan.sha256)))
    folder = plan.folder.with_name(f"{plan.run_key}-{earlier + 1}") if earlier else plan.folder
    shutil.rmtree(folder, ignore_errors=True)  # half made by a run that was stopped
    return replace(planned, plan=plan.model_copy(update={"folder": folder}))


def method_of_champion(book: Book, model: str) -> str | None:
    """The method that made the champion; None where there is none."""
    version = book.ask(lambda reader: reader.champion(model))
    if version is None:
        return None
    return str(record_of(book.home, version).params["method"]["method"])


def groups(book: Book, entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """All requests together; then those that were not honoured, one by one, so that none blocks
    the others. One whose last attempt failed is tried alone from the start.
    """
    together = [e for e in entries if e.row.state != "attempt_failed" or len(entries) == 1]
    if together:
        yield together
    if len(entries) > 1:
        for entry in entries:
            if together == [entry]:
                continue
            if book.ask(lambda r, i=entry.row.id: r.request(i).row.state) in WORKABLE:  # type: ignore[misc]
                yield [entry]


def _planned(
    book: Book, inputs: Inputs, new: Sequence[Entry], method: str | None, back: Entry | None
) -> Planned:
    honoured, restored, champion = book.ask(lambda r: _state(r, inputs.model, back))
    fresh = [e for e in new if e.row.id not in {h.row.id for h in honoured}]
    requests = [e.known for e in (*honoured, *fresh)]
    plan = make_plan(
        requests,
        inputs.params,
        book.home.runs,
        made_with(inputs.params),
        method,
        brought_back(restored, requests, back.known if back else None),
    )
    recipes = {e.row.id: e.row.recipe for e in fresh}
    if parts := parts_of(book, plan, tuple(recipes)) if back is None else {}:
        plan = in_parts(plan, parts)
    return Planned(plan, recipes, champion, back.known if back else None)


def still_workable(book: Book, entries: Sequence[Entry]) -> list[Entry]:
    """The requests as they are now, without those that a person has meanwhile taken out."""
    return [entry for entry in as_they_are(book, entries) if entry.row.state in WORKABLE]


def as_they_are(book: Book, entries: Sequence[Entry]) -> list[Entry]:
    """The same requests, read again."""
    return book.ask(lambda reader: [reader.request(entry.row.id) for entry in entries])


def taken_out(book: Book, named: Sequence[str]) -> list[Entry]:
    """Those of the named requests that are not honoured, by themselves or together with another: a
    person took them out while their run waited, if it may not take them up either.
    """

    def ask(reader: Reader) -> list[Entry]:
        entries = [reader.request(i) for i in named]
        return [e for e in entries if not _is_honoured(reader, e.row)]

    return book.ask(ask)


def _is_honoured(reader: Reader, row: Request) -> bool:
    if row.state == "duplicate" and row.duplicate_of:
        row = reader.request(row.duplicate_of).row
    return row.state == "honoured"


def brought_back(
    restored: Sequence[Entry],
    erased: Sequence[DeletionRequest],
    back: DeletionRequest | None = None,
) -> list[DeletionRequest]:
    """What was restored before, but for concepts that are erased again: by that name in any
    spelling, or with all that has a part of it for its name ("black cat" with "cat"). What was
    restored twice is there once: by `back`, which is taken back now, or by the newest request.
    """
    before = [e.known for e in restored if e.request and not _goes_again(e.request, erased)]
    every = [*in_order(before), *([back] if back else [])]
    return list({request.concept.name.casefold(): request for request in every}.values())


def _goes_again(request: DeletionRequest, erased: Sequence[DeletionRequest]) -> bool:
    name = request.concept.name
    concepts = [other.concept for other in erased]
    return any(c.named_in(name) or same_name(c.name, name) for c in concepts)


def _state(
    reader: Reader, model: str, back: Entry | None
) -> tuple[list[Entry], list[Entry], int | None]:
    """What is honoured (without what is taken back), what was restored, and the champion."""
    gone = back.row.id if back else None
    honoured = [e for e in reader.requests(model, ["honoured"], own=True) if e.row.id != gone]
    restored = reader.requests(model, ["restored"], own=True)
    return honoured, restored, reader.alias(model, CHAMPION)


def _entries(
    reader: Reader, model: str, wanted: Sequence[str] | None
) -> tuple[list[Entry], list[Entry]]:
    """The requests to take up, and those that are honoured already."""
    honoured = reader.requests(model, ["honoured"], own=True)
    if wanted is None:
        return workable(reader, model), honoured
    named = [reader.request(i) for i in wanted]
    originals = [reader.request(e.row.duplicate_of or e.row.id) for e in named]
    check_not_held(originals)
    once = {e.row.id: e for e in originals if e.row.state in WORKABLE}
    return list(once.values()), honoured


def faults_of(
    inputs: Inputs,
    requests: Sequence[DeletionRequest],
    restored: Sequence[DeletionRequest],
    home: Home,
    honoured: frozenset[str] = frozenset(),
) -> dict[str, str]:
    """Who (`OPERATOR` or a request's id) -> what is wrong, in one line."""
    found = preflight(
        inputs.params,
        requests,
        home,
        gpu_needed=bool(os.environ.get(GPU_DEPLOYMENT)),
        method=inputs.method,
        restored=restored,
        honoured=honoured,
    )
    faults: dict[str, str] = {}
    for fault in found:
        faults[fault.who] = "; ".join(filter(None, (faults.get(fault.who), fault.what)))
    return faults or _unread_changes(inputs, requests)


def _ids(entries: Sequence[Entry]) -> frozenset[str]:
    return frozenset(entry.row.id for entry in entries)


def _unread_changes(inputs: Inputs, requests: Sequence[DeletionRequest]) -> dict[str, str]:
    """The fault of a command whose changes its run would not read: what was honoured before may
    name the method.
    """
    try:
        check_changes(inputs, requests)
    except BadInput as fault:
        return {OPERATOR: str(fault)}
    return {}


def _raise_operator_faults(faults: Mapping[str, str], honoured: frozenset[str]) -> None:
    """What is wrong with an honoured request is no reason to leave it out of a release."""
    mine = [what for who, what in faults.items() if who == OPERATOR or who in honoured]
    if mine:
        raise BadInput("; ".join(mine))
