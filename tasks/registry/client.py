"""The way to MLflow: its store, made once; its failures, told in one line without a password.

Every function takes the state folder and names its run: MLflow's notion of an "active run" is never
used, so that threads and retries cannot write into one another's run.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erasure_core.errors import BadInput, ErasureError
from erasure_core.redact import redacted
from tasks.home import Home
from tasks.process import one_at_a_time
from tasks.reachable import DATABASES, check_reachable
from tasks.registry.moved import settle_in, told

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

EXPERIMENT = "erasure"
DRAFT = ".artifact.uploading."  # begins the name that MLflow gives a file until it is whole
KEY = "erasure.key"  # the tag by which what was mirrored before is found again
BOOK = "erasure.book"  # the tag that says of which book it is: several may share one MLflow
KIND = {"mlflow.experimentKind": "custom_model_development"}  # its pages show charts of losses
ABSENT, TAKEN = "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"


@contextmanager
def connected(home: Home) -> Iterator["MlflowClient"]:
    """A client of this state folder's MLflow.

    Raises:
        ErasureError: MLflow failed or cannot be reached, or its database is damaged or locked.
    """
    _check_database(home)
    from mlflow.exceptions import MlflowException

    try:
        with told(home.tracking_uri):
            _settled_in(home)
            yield connect(home.tracking_uri)
    except MlflowException as fault:
        raise ErasureError(redacted(f"MLflow at {home.tracking_uri}: {fault.message}")) from None


def _check_database(home: Home) -> None:
    """Refuse a database server that does not answer: MLflow would try for 101 seconds, each time.
    What it tries of a tracking server is set by `tasks.home.QUIET`.
    """
    if home.tracking_uri.startswith(tuple(DATABASES)):
        try:
            check_reachable("MLflow", home.tracking_uri)
        except BadInput as fault:  # which would be the caller's input
            raise ErasureError(str(fault)) from None


@contextmanager
def mirroring(home: Home) -> Iterator[tuple["MlflowClient", str]]:
    """A client and the id of our experiment, for one mirror of this state folder at a time."""
    home.begin()
    home.locks.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(home.locks / "mlflow.lock", "mirroring into MLflow"):
        _make_store(home)
        with connected(home) as client:
            yield client, _experiment(home, client)


def prepare_store(home: Home) -> None:
    """Make MLflow's store and our experiment, where they are not there yet."""
    with mirroring(home):
        pass


def files_at(home: Home, place: str) -> "ArtifactRepository":
    """The files that MLflow keeps at `place`.

    MLflow's own calls remember where a run or a model keeps its files by id, for the whole
    process; a copied state folder has the same ids, and its files would go into the old one.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(place, tracking_uri=home.tracking_uri)


def of_another(tags: Mapping[str, str], book: str) -> bool:
    """Whether a run or a version with these tags is of another book than `book`
    (`Book.identity`). One that says of none, as older ones do, is taken for its own.
    """
    return tags.get(BOOK, book) != book


def clear_drafts(place: "ArtifactRepository") -> None:
    """Remove half-written files, which MLflow hides and a kill leaves for ever, where files lie in
    a folder: only one mirror writes at a time.
    """
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    if isinstance(place, LocalArtifactRepository):
        for draft in Path(place.artifact_dir).rglob(f"{DRAFT}*"):
            draft.unlink()


@contextmanager
def leaving_at(*codes: str) -> Iterator[None]:
    """Leave the block where MLflow answers with one of these error codes."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as fault:
        if fault.error_code not in codes:
            raise


def pages(search: Callable[..., Any], **query: object) -> Iterator[Any]:
    """Everything a paged search of MLflow finds, page after page."""
    token: str | None = None
    while True:
        page = search(**query, page_token=token)
        yield from page
        if not (token := page.token):
            return


def has_store(home: Home) -> bool:
    """Whether there is anything to ask; looking must not create the database."""
    file = sqlite_file(home)
    return file is None or _is_made(file)


def _is_made(file: Path) -> bool:
    """Whether a database is there. `sqlite3` and a full disk leave an empty file, which is none."""
    return file.is_file() and file.stat().st_size > 0


def _settled_in(home: Home) -> None:
    """Bring MLflow's places to where the state folder is now, if it was copied or moved."""
    file = sqlite_file(home)
    if file is not None and _is_made(file) and file.parent == home.root:
        settle_in(file, EXPERIMENT, home.artifacts.absolute().as_uri())


def connect(uri: str) -> "MlflowClient":
    """MLflow's client, its chatter off."""
    import logging

    # both report every migration of a new database; the first prints a traceback of what it raises
    for noisy, heard in {
        "mlflow.store.db.utils": logging.CRITICAL,
        "alembic": logging.WARNING,
    }.items():
        logging.getLogger(noisy).setLevel(heard)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _experiment(home: Home, client: "MlflowClient") -> str:
    """The id of our experiment, made on first use; one that a hand deleted or renamed is put back.

    MLflow's own default for artifacts is a folder in whatever the working directory is; a server
    decides for itself.
    """
    experiment = client.get_experiment_by_name(EXPERIMENT) or _renamed(client)
    if experiment is None:
        place = home.artifacts.absolute().as_uri() if sqlite_file(home) else None
        return str(client.create_experiment(EXPERIMENT, place, tags=KIND))
    if experiment.lifecycle_stage != "active":
        client.restore_experiment(experiment.experiment_id)
    if experiment.name != EXPERIMENT:
        client.rename_experiment(experiment.experiment_id, EXPERIMENT)
    return str(experiment.experiment_id)


def _renamed(client: "MlflowClient") -> Any:
    """The experiment that a run of a book is in, if there is one."""
    from mlflow.entities import ViewType

    every = pages(client.search_experiments, view_type=ViewType.ALL)
    ids, which = [each.experiment_id for each in every], f"tags.`{BOOK}` LIKE '%'"
    runs = client.search_runs(ids, which, ViewType.ALL, max_results=1) if ids else []
    return client.get_experiment(runs[0].info.experiment_id) if runs else None


def _make_store(home: Home) -> None:
    """MLflow's tables, once. A new SQLite file costs 6 to 9 seconds of migrations, and MLflow
    refuses half a schema for ever: it is made under another name and takes its own when whole.
    """
    file = sqlite_file(home)
    if file is None or _is_made(file):
        return
    draft = file.with_name(f"{file.name}.new")
    draft.unlink(missing_ok=True)
    with told(f"sqlite:///{draft}"):
        connect(f"sqlite:///{draft}").search_experiments(max_results=1)
    os.replace(draft, file)


def sqlite_file(home: Home) -> Path | None:
    """MLflow's database where it is a file; None where a server has it."""
    uri = home.tracking_uri
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None
