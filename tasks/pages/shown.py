"""What MLflow shows of a run while it works, and of what it came to.

A concept's name stands where it goes with a purge: in runs, and in what a version shows as long as
its record is kept. It is in no name of data, which MLflow would keep.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from erasure_core.errors import ErasureError
from erasure_core.law.gates import Measurement
from erasure_core.law.lineage import git_commit
from erasure_core.law.requests import DeletionRequest
from erasure_core.planning.plan import KEPT, Candidate, Plan, Stage, stage_of
from erasure_core.text import names_of
from tasks.book.actor import acting
from tasks.book.store import Book
from tasks.evidence.measure import Found
from tasks.home import Home
from tasks.pages.verdict import lambda_tag
from tasks.registry.live import losses_shown, show_measured, shown_while
from tasks.registry.runs import REQUESTS, CandidateRun, PromptSet, RunFacts
from tasks.release.mirrored import check_newest


def working(
    plan: Plan, book: Book, back: DeletionRequest | None = None
) -> AbstractContextManager[None]:
    """Show the run of a plan, which takes `back` back, while the body works on it."""
    from prefect import runtime

    actor = {**acting(), "prefect_run": runtime.flow_run.id or ""}
    facts = run_facts(plan, actor, git_commit(Path.cwd()), back)
    facts = replace(facts, book=book.identity())
    return shown_while(book.home, facts, partial(check_newest, book, facts.model))


@contextmanager
def training(plan: Plan, candidate: str, home: Home) -> Iterator[Callable[[float], None]]:
    """Show a candidate's training; the function that is given takes each update's loss."""
    with losses_shown(home, plan.folder.name, candidate_facts(plan, candidate)) as on_loss:
        yield on_loss


def measured(plan: Plan, stage: Stage, found: Mapping[str, Found], home: Home) -> None:
    """Show what a stage measured of each candidate."""
    for name, measurements in found.items():
        show_measured(home, plan.folder.name, name, of_stage(measurements.values(), stage))


def run_facts(
    plan: Plan, actor: Mapping[str, Any], commit: str, back: DeletionRequest | None
) -> RunFacts:
    """The run of a plan, done by `actor` with the code of a commit. One that takes a request back
    has that one's name: the others stay as they are.
    """
    params = plan.params
    concepts = [back.concept] if back else plan.concepts
    return RunFacts(
        model=params.registered_model,
        folder=plan.folder.name,
        name=("restore " if back else "erase ") + names_of([c.name for c in concepts]),
        tags={
            **tags_of(concepts, params.method.method, params.policy.audience),
            REQUESTS: ",".join(
                str(r.subject_request_id) for r in (*plan.requests, *([back] if back else []))
            ),
            "run.key": plan.run_key,
            "base.sha256": plan.base_sha256,
            **tags_of_actor(actor),
            "mlflow.source.name": "erasure run",
            "mlflow.source.type": "JOB",
            "mlflow.source.git.commit": commit,
        },
        settings=params.model_dump(mode="json", by_alias=True, exclude={"methods", "comparisons"}),
        prompt_sets=[
            PromptSet(f"{_role(name)} {sha256[:8]}", sha256, stage_of(name))
            for name, sha256 in plan.prompt_sha256.items()
        ],
    )


def tags_of(concepts: Sequence[Any], method: str, audience: str | None) -> dict[str, str]:
    """By what runs and versions are looked for."""
    names = ", ".join(concept.name for concept in concepts)
    return {"concept": names, "method": method, "audience": audience or ""}


def tags_of_actor(actor: Mapping[str, Any]) -> dict[str, str]:
    """Who did it: the name that was given, else the user; and the Prefect run."""
    return {
        "mlflow.user": str(actor.get("by") or actor.get("user") or ""),
        "prefect.run": str(actor.get("prefect_run") or ""),
    }


def candidate_facts(plan: Plan, name: str) -> CandidateRun:
    """A candidate, as it is known before it is trained."""
    candidate = plan.candidate(name)
    method = candidate.settings.method
    return CandidateRun(
        name,
        settings={
            **candidate.settings.model_dump(mode="json", by_alias=True),
            **({} if candidate.lambda_eff is None else {"lambda_eff": candidate.lambda_eff}),
            "seed": plan.params.seed,
        },
        tags={
            **tags_of(plan.concepts, method, plan.params.policy.audience),
            "lambda": lambda_tag(candidate.lambda_),
        },
    )


def losses_of(plan: Plan, candidate: Candidate) -> tuple[list[float], list[int]]:
    """The summed loss of every update, and when it was computed (ms since 1970, where known).

    Raises:
        ErasureError: The file was cut or edited.
    """
    file = plan.losses_file(candidate.name)
    try:
        kept = json.loads(file.read_bytes())
        return [sum(terms.values()) for terms in kept["losses"]], kept.get("times", [])
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise ErasureError(
            f"{file} does not hold the losses of a training ({fault}); restore it from a copy"
        ) from None


def of_stage(measurements: Any, stage: Stage) -> list[Measurement]:
    """Measurements under the names by which a stage's are told apart."""
    if stage == "report":
        return list(measurements)
    return [replace(m, metric=f"{stage}.{m.metric}") for m in measurements]


def _role(prompt_set: str) -> str:
    """What a set is for, without the concept that its name holds."""
    bare = prompt_set.removeprefix(f"{stage_of(prompt_set)}-")
    return KEPT if bare == KEPT else bare.partition("-")[0]
