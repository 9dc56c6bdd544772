"""Every method in both forms, on every request, over seeds."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from filelock import FileLock, Timeout

from erasure_core import attacks
from erasure_core.attacks import AUDIENCES, CHEAP
from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept
from erasure_core.law.gates import Tier
from erasure_core.law.lineage import sha256_file
from erasure_core.law.prompts import PromptRow, kept_rows, read_prompt_set, target_set
from erasure_core.law.requests import DeletionRequest
from erasure_core.methods import METHODS, AnySettings
from erasure_core.network.diffusion import check_prompts
from erasure_core.planning.params import Params
from erasure_core.planning.plan import (
    STAGES,
    Plan,
    check_sealed,
    check_styles,
    checked_base,
    in_place,
    kept_name,
    target_name,
    trained_on,
)
from erasure_core.planning.policy import REQUIRED, Policy
from tasks.comparing import cells
from tasks.comparing.cells import Bench, Cell, NotTrained, Written, run_cell
from tasks.comparing.forms import FORMS, as_published, check_methods, trial
from tasks.evidence.data import validate_prompt_sets
from tasks.evidence.decide import choose_candidate
from tasks.evidence.measure import check_names, labels_of
from tasks.requests import measurable, measurable_attacks, measurable_sets
from tasks.requests.made_with import made_with
from tasks.requests.preflight import (
    check_clip,
    check_detector,
    check_features,
    reader_of,
    tokenizers_of,
)

Said = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that was asked for and came out."""

    cells: tuple[Written, ...]  # request by request, method by method, form by form
    trials: tuple[Written, ...]
    seeds: int
    budget: Tier  # of the attacks
    per_method: int  # trials that each method had, for each request
    untrained: Mapping[str, str] = field(default_factory=dict)  # name of a cell -> why it is none


def attacks_of(tier: Tier, policy: Policy) -> tuple[str, ...]:
    """What is tried at a tier: those that need no gradient, above `smoke` what any audience must
    withstand there, and what the policy limits, without which no verdict is to be had.
    """
    wanted = {*CHEAP, *(name for bounds in policy.attacks.values() for name in bounds)}
    if tier != "smoke":
        wanted |= {name for audience in AUDIENCES for name in REQUIRED[audience][tier]}
    return tuple(name for name in attacks.all_attacks() if name in wanted)


def bench_of(params: Params, out: Path, tier: Tier) -> Bench:
    """What all cells of a comparison in `out` share."""
    decided_by = {**made_with(params), "cells": sha256_file(Path(cells.__file__))}
    return Bench(params, decided_by, out, attacks_of(tier, params.policy), tier)


def compare(
    requests: Sequence[DeletionRequest],
    methods: Sequence[str],
    params: Params,
    out: Path,
    *,
    seeds: int,
    tier: Tier,
    trials: int,
    say: Said = print,
) -> Comparison:
    """Do every cell that was not done before, each in a folder below `out`.

    Args:
        requests: Each is erased alone.
        methods: By name.
        params: Base, sampling, sets, instruments, policy, the first seed, and what the tuning
            begins at.
        out: Where cells, pictures and attacks lie.
        seeds: Trainings of each form, from the parameters' seed on.
        tier: smoke, standard or full: which attacks, by which budget.
        trials: Settings that each method is tried with on the set that chooses; all with the
            parameters' seed.
        say: Told a line a cell.

    Raises:
        BadInput: An unknown method, sets that are not apart, inputs that cannot be planned with,
            nothing could be trained, or another comparison works in `out`.
    """
    check_methods(list(methods))
    attacks.budget_of(tier)
    _check_taken(params, requests, methods, trials)
    _check_sets(params, requests, tier)
    bench, untrained = bench_of(params, out, tier), dict[str, str]()

    def done(cells: Iterable[Cell]) -> Iterator[Written]:
        for cell in cells:
            try:
                written = run_cell(bench, cell)
            except NotTrained as why:  # by its settings: the others go on
                untrained[cell.name] = str(why)
                say(f"{cell.name}: not trained, {why}")
                continue
            say(
                f"{cell.name}: {written.gate.verdict}, {written.seconds:.1f} s, "
                f"{written.evaluations} evaluations"
            )
            yield written

    judged: list[Written] = []
    tried: list[Written] = []
    with _alone_in(out):
        for request in requests:
            for method in methods:
                attempts, best = _tuned(request, method, bench, trials, done)
                tried += attempts
                published = as_published(method, request.concept.kind)
                judged += done(
                    Cell(request, form, seed, settings)
                    for form, settings in zip(FORMS, (published, best), strict=True)
                    if settings is not None
                    for seed in range(params.seed, params.seed + seeds)
                )
    if not judged:
        raise BadInput(f"nothing could be trained: {'; '.join(untrained.values())}")
    return Comparison(tuple(judged), tuple(tried), seeds, tier, trials, untrained)


@contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """One comparison at a time in a folder: two would draw into the same cells.

    Raises:
        BadInput: Another one works there.
    """
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise BadInput(
            f"another comparison works in {out}; wait for it, or name another --out"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _tuned(
    request: DeletionRequest,
    method: str,
    bench: Bench,
    trials: int,
    done: Callable[[Iterable[Cell]], Iterator[Written]],
) -> tuple[list[Written], AnySettings | None]:
    """The trials of one method, and the settings of the best: of those that keep to every limit the
    one that keeps the most, else the one that misses fewest, as a run chooses among its candidates.
    None where none could be trained.
    """
    kind, seed = request.concept.kind, bench.params.seed
    settings = {f"trial {n}": trial(method, kind, bench.params, n) for n in range(trials)}
    attempts = [*done(Cell(request, form, seed, each) for form, each in settings.items())]
    if not attempts:
        return [], None
    best = choose_candidate.fn(
        Plan.read(attempts[0].folder), {attempt.form: attempt.found() for attempt in attempts}
    )
    return attempts, settings[best]


def _check_taken(
    params: Params, requests: Sequence[DeletionRequest], methods: Sequence[str], trials: int
) -> None:
    """Refuse a request that a method refuses in one of its forms: its cell would end the comparison
    after those of the methods before it.
    """
    for request, method in product(requests, methods):
        concept = request.concept
        tried = (trial(method, concept.kind, params, number) for number in range(trials))
        for settings in (as_published(method, concept.kind), *tried):
            try:
                METHODS[method].check([concept], settings)
            except BadInput as fault:
                raise BadInput(
                    f"{method} cannot be compared on {concept.name!r}: {fault}; or name the other "
                    f"methods with --methods"
                ) from None


def _check_sets(params: Params, requests: Sequence[DeletionRequest], tier: Tier) -> None:
    """What a run asks of instruments, policy, requests and prompt sets."""
    policy = params.policy
    for fault in measurable.policy_faults(policy):
        raise BadInput(fault)
    if params.prompts.choose is None:
        raise BadInput("prompts.choose names no set to tune on; give its targets and kept")
    names = [request.concept.name for request in requests]
    if len({*names}) < len(names):
        raise BadInput(f"a concept is asked for twice in {', '.join(names)}; name each once")
    base = checked_base(params.base)[0]
    tokenizers, directions = tokenizers_of(base), reader_of(base)
    numbers = check_clip(params.clip)
    measurable.check_thresholds(policy, check_detector(params.detector))
    if params.features:
        numbers = check_features(params.features)
    known = (params.method.method, *params.methods)
    protected = sorted({p for name in known for p in params.with_method(name).protected})
    for request in requests:
        concept = request.concept
        policy.check_kinds([concept])
        measurable_attacks.check_untrained(concept)
        check_styles(params, [concept])
        rows = _checked_rows(params, concept)
        _check_size(params, concept, rows, numbers)
        kept, targets = rows[kept_name()], rows[target_name(concept)]
        measurable_attacks.check_attacks(params, concept, kept, tier, tokenizers)
        measurable_sets.check_neighbours(policy, concept, kept, [concept.name])
        given = policy, concept, targets, kept
        measurable_sets.check_near(*given, directions.encode, [concept.name])
        check_sealed(rows, [concept], tokenizers, directions, protected)
        drawn = [*rows.values(), in_place(policy, concept, targets, [concept])]
        read = [row.prompt for table in drawn for row in table]
        for tokenizer in tokenizers:
            check_prompts(tokenizer, [*read, *trained_on([concept]), *protected])


def _checked_rows(params: Params, concept: Concept) -> dict[str, list[PromptRow]]:
    """The rows of every prompt set of a concept, once the tables are well formed and name what
    their pictures show. `BadInput` where they are not, or do not.
    """
    assert params.prompts.choose is not None  # asked by `_check_sets`
    paths, policy = dict[str, Path](), params.policy
    for stage, where in zip(STAGES, (params.prompts.choose, params.prompts), strict=True):
        paths[target_name(concept, stage)] = target_set(where.targets, concept)
        paths[kept_name(stage)] = where.kept
    validate_prompt_sets.fn(list(paths.values()), params.reading)
    rows = {name: read_prompt_set(path, params.reading) for name, path in paths.items()}
    for stage in STAGES:
        kept, targets = kept_name(stage), rows[target_name(concept, stage)]
        rows[kept] = kept_rows(rows[kept], [concept])
        measurable_sets.check_label(policy, concept, targets)
        measurable_sets.check_alone(policy, concept, targets)
        measurable_sets.check_kept_labels(policy, rows[kept])
        check_names(labels_of([*rows[kept], *targets], [concept]), paths[kept])
    return rows


def _check_size(
    params: Params, concept: Concept, rows: Mapping[str, Sequence[PromptRow]], numbers: int
) -> None:
    """Refuse report sets that are too few for what is limited of them: `BadInput`."""
    policy, kept, targets = params.policy, rows[kept_name()], rows[target_name(concept)]
    measurable_sets.check_size(policy, concept, targets)
    measurable_sets.check_called(concept, targets)
    measurable_sets.check_kept(policy, kept, [concept])
    measurable_sets.check_kept_parts(policy, kept, [concept])
    measurable_sets.check_fid(policy, kept, [concept], numbers)
    measurable_sets.check_fid_instead(policy, concept, targets, numbers)
