"""What a person rolled back from comes back by a person: no run makes or serves it again."""

from erasure_core.errors import ErasureError
from erasure_core.law.fold import CHAMPION, Version
from erasure_core.planning.plan import Plan
from tasks.book.store import Book, Reader
from tasks.release.record import record_of
from tasks.release.recording import ids
from tasks.requests.park import park
from tasks.requests.plan import Planned


class RolledBack(ErasureError):
    """What a run would serve is what a person rolled back from."""

    def __init__(self, version: Version):
        super().__init__(
            f"{version.model} version {version.version}, which the same inputs led to, was rolled "
            f"back from; `erasure rollback --to {version.version}` serves it again, `erasure run "
            "NAME --fresh` makes another; or change the recipe or the parameters"
        )


def check_not_rolled_back(book: Book, planned: Planned) -> None:
    """Refuse to serve again, or to make again, what a person rolled back from.

    Raises:
        RolledBack: The newest version of the same inputs is such a one; the plan's requests wait.
    """
    version = book.ask(lambda reader: _left(reader, book, planned))
    if version is None:
        return
    fault = RolledBack(version)
    park(book, dict.fromkeys(planned.new, str(fault)))
    raise fault


def _left(reader: Reader, book: Book, planned: Planned) -> Version | None:
    """The newest version that was served and is of the plan's inputs, if a rollback left it and
    none of them is served now.
    """
    model = planned.plan.params.registered_model
    moves = reader.moved_away(model, CHAMPION)
    if not any("reason" in move.facts for move in moves.values()):
        return None
    served = [v for v in reader.versions(model) if v.version in {*moves, planned.champion}]
    alike = [v for v in served if _is_of(book, v, planned.plan)]
    if not alike or any(v.version == planned.champion for v in alike):
        return None
    return alike[-1] if "reason" in moves[alike[-1].version].facts else None


def _is_of(book: Book, version: Version, plan: Plan) -> bool:
    """Whether a version was made of what the plan names. How much of it was measured does not
    matter: that differs from one release to the next, and the weights are the same.
    """
    if version.plan == plan.sha256:
        return True
    asked, back = ids(plan.requests), ids(plan.restored)
    if (version.base, version.requests, version.restored) != (plan.base_sha256, asked, back):
        return False
    try:
        record = record_of(book.home, version)
    except ErasureError:  # purged, or not what the book holds, which the audit says
        return False
    made_of = record.params_sha256, record.made_with, record.prompt_sha256, record.requests_sha256
    params, requests = plan.params.sha256, plan.requests_sha256
    return made_of == (params, plan.made_with, plan.prompt_sha256, requests)
