"""Versions and aliases of the registered model, mirrored into MLflow from the book of record.

Each mirror brings MLflow to what the facts say and then changes nothing more, from wherever it was
killed before. The book numbers versions and decides aliases; MLflow only shows them.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erasure_core.errors import ErasureError
from erasure_core.law.fold import ALIASES
from erasure_core.law.lineage import sha256_file
from tasks.home import Home
from tasks.registry.client import (
    ABSENT,
    BOOK,
    EXPERIMENT,
    KEY,
    TAKEN,
    clear_drafts,
    connected,
    files_at,
    has_store,
    leaving_at,
    mirroring,
    of_another,
    pages,
    sqlite_file,
)
from tasks.registry.moved import clear_pages
from tasks.registry.packaging import VersionFacts, digests, package

if TYPE_CHECKING:
    from mlflow import MlflowClient

READY = "READY"
NO_ALIAS = "INVALID_PARAMETER_VALUE"  # what MLflow answers where an alias is not set
PAGE = 1000  # versions a call
OLD_NAME = "{}-0.1"  # under which MLflow keeps the versions that 0.1 registered
# MLflow writes it beside a stored model whenever somebody loads that model
BY_LOADING = "registered_model_meta"


@dataclass(frozen=True, slots=True)
class SeenVersion:
    """One version, as MLflow shows it."""

    tags: Mapping[str, str]
    files: Mapping[str, str]  # relative path -> sha256
    ready: bool  # whether its LoggedModel is finished
    run_id: str
    description: str


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest version of a book that MLflow has of a model."""

    version: int
    key: str  # empty where a hand removed it


def expected(facts: VersionFacts) -> SeenVersion:
    """What `seen` returns where MLflow is the book's mirror."""
    return SeenVersion(_every_tag(facts), digests(facts), True, facts.run_id, facts.description)


def mirror_version(home: Home, facts: VersionFacts) -> None:
    """Make MLflow's version `facts.version` of `facts.model` show these facts.

    What a kill left half made, or a hand changed since, is completed or put back.

    Raises:
        ErasureError: MLflow holds another version under that number, or one of another book, or
            would give this one another number; nothing of it is changed.
    """
    with mirroring(home) as (client, experiment):
        present = _version(client, facts.model, facts.version)
        _check_place(client, facts, present)
        model = _logged_model(home, client, experiment, facts)
        if present is None:
            present = _create(client, facts, model)
        _check_source(facts, present, model)
        _put_back(client, facts, present)


def mirror_aliases(
    home: Home,
    book: str,
    model: str,
    aliases: Mapping[str, int | None],
    keys: Mapping[int, str],
) -> None:
    """Let MLflow's `candidate` and `champion` point where `aliases` says; None removes one. Others
    are nobody's business here.

    Args:
        home: The state folder.
        book: `Book.identity`.
        model: The registered model.
        aliases: The number of the version that each of the two names.
        keys: `VersionFacts.key` of each of these numbers.

    Raises:
        ErasureError: `aliases` does not name exactly these two, a version is not there, one that an
            alias names now or is to name is of another book, or another version has the number.
    """
    if set(aliases) != set(ALIASES):
        raise ErasureError(f"aliases {sorted(aliases)} given; name exactly {', '.join(ALIASES)}")
    with mirroring(home) as (client, _):
        for alias, version in aliases.items():
            named = _named_by(client, model, alias)
            target = None if version is None else _version(client, model, version)
            _check_own(book, model, named, target)
            if target is not None and version is not None:
                _check_key(book, model, target, keys[version])
            now = int(named.version) if named else None
            if version is None and now is not None:
                client.delete_registered_model_alias(model, alias)
            elif version is not None and now != version:
                client.set_registered_model_alias(model, alias, str(version))


def set_aside(home: Home, model: str) -> None:
    """Let MLflow keep what 0.1 registered as `model` under another name; ours stay as they are."""
    with mirroring(home) as (client, _), leaving_at(ABSENT):
        client.get_registered_model(model)
        found = pages(client.search_model_versions, filter_string=f"name = '{model}'")
        if not any(KEY in version.tags for version in found):
            client.rename_registered_model(model, OLD_NAME.format(model))


def seen(home: Home, model: str, version: int) -> SeenVersion | None:
    """One version as MLflow shows it, every stored file read; None if there is none."""
    if not has_store(home):
        return None
    with connected(home) as client:
        found = _version(client, model, version)
        if found is None:
            return None
        place = client.get_model_version_download_uri(model, str(version))
        logged = _keyed(client, _experiment_id(client), dict(found.tags).get(KEY, ""))
        known = any(m.artifact_location == place and m.status == READY for m in logged)
        ready = known and found.source == place  # which MLflow shows, and others load
        files = _stored(home, place)
        return SeenVersion(
            dict(found.tags), files, ready, found.run_id or "", found.description or ""
        )


def aliases(home: Home, model: str) -> dict[str, int | None]:
    """Where MLflow's `candidate` and `champion` point."""
    if not has_store(home):
        return dict.fromkeys(ALIASES)
    with connected(home) as client:
        return {alias: _points_at(client, model, alias) for alias in ALIASES}


def version_numbers(home: Home, book: str, model: str) -> list[int]:
    """The number of every version of a book that MLflow has of `model`, in order."""
    if not has_store(home):
        return []
    with connected(home) as client:
        found = pages(
            client.search_model_versions,
            filter_string=f"name = '{model}'",
            max_results=PAGE,
            order_by=["version_number ASC"],  # the default order moves while it is read
        )
        return [int(v.version) for v in found if not of_another(v.tags, book)]


def newest_of(home: Home, book: str, model: str) -> Newest | None:
    """The newest version of `model` in MLflow that says it is of this very book, if there is one;
    older ones say of none.
    """
    if not book or not has_store(home):
        return None
    with connected(home) as client:
        page = client.search_model_versions(
            f"name = '{model}' and tags.`{BOOK}` = '{book}'",
            max_results=1,
            order_by=["version_number DESC"],
        )
        return next((Newest(int(v.version), dict(v.tags).get(KEY, "")) for v in page), None)


def clear_free_pages(home: Home) -> None:
    """What tags and descriptions said before goes from our own file too; a server's is its own."""
    if has_store(home) and (file := sqlite_file(home)):
        clear_pages(file)


def _check_place(client: "MlflowClient", facts: VersionFacts, present: Any) -> None:
    """Refuse where the book's number cannot result."""
    where = f"MLflow's {facts.model} version {facts.version}"
    if present is not None and present.tags.get(KEY) != facts.key:
        _check_own(facts.book, facts.model, present)
        _check_key(facts.book, facts.model, present, facts.key)
    if present is None and facts.previous:
        before = _version(client, facts.model, facts.previous)
        _check_own(facts.book, facts.model, before)
        if before is None:
            raise ErasureError(
                f"{where} cannot be made before version {facts.previous}, which is not there; "
                f"mirror the versions in order (`erasure reconcile`)"
            )


def _check_own(book: str, model: str, *found: Any) -> None:
    """Refuse where one of the versions that were found is of another book."""
    for version in found:
        if version is not None and of_another(version.tags, book):
            raise ErasureError(said_of_another(model, int(version.version), version.tags))


def _check_key(book: str, model: str, found: Any, key: str) -> None:
    """Refuse where the version that was found is not the book's of that number."""
    if (has := found.tags.get(KEY)) == key:
        return
    if book and found.tags.get(BOOK) == book:
        raise ErasureError(said_of_copy(model, int(found.version)))
    raise ErasureError(
        f"MLflow's {model} version {found.version} has {KEY} {has}, the book's is {key}: it is "
        f"another version; {_anew(model)}"
    )


def said_of_copy(model: str, version: int) -> str:
    """That a version is of this very book and not in it, and what to do."""
    return (
        f"MLflow's {model} version {version} is of this book, which does not know it: this is an "
        "older copy of the state folder that made it, or a copy of this one made it; give the copy "
        "a MLFLOW_TRACKING_URI of its own, and change nothing in this MLflow from there"
    )


def said_of_another(model: str, version: int, tags: Mapping[str, str]) -> str:
    """That a version is of another book, and what to do."""
    return (
        f"MLflow's {model} version {version} belongs to another book ({tags[BOOK]}); name another "
        "registered_model, or a MLFLOW_TRACKING_URI that this state folder has for itself"
    )


def _check_source(facts: VersionFacts, present: Any, model: Any) -> None:
    if present.source != model.artifact_location:
        raise ErasureError(
            f"MLflow's {facts.model} version {facts.version} loads {present.source}, its files are "
            f"in {model.artifact_location}; {_anew(facts.model)}"
        )


def _anew(model: str) -> str:
    """What to do where MLflow offers no way to put a version right."""
    return (
        f"if another program registers under that name, name another registered_model; else delete "
        f"the registered model {model} in MLflow, then `erasure reconcile` mirrors every version "
        f"again"
    )


def _logged_model(home: Home, client: "MlflowClient", experiment: str, facts: VersionFacts) -> Any:
    """The LoggedModel of these facts, its files whole, READY."""
    found = _keyed(client, experiment, facts.key)
    model = found[0] if found else _new_model(client, experiment, facts)
    stored = _stored(home, model.artifact_location)
    if stored != digests(facts):
        for path in sorted(stored.keys() - digests(facts).keys()):  # none of ours
            files_at(home, model.artifact_location).delete_artifacts(path)
        _store(home, model.artifact_location, facts)
    if model.status != READY:
        client.finalize_logged_model(model.model_id, READY)
    return model


def _new_model(client: "MlflowClient", experiment: str, facts: VersionFacts) -> Any:
    return client.create_logged_model(
        experiment,
        facts.model,
        source_run_id=facts.run_id,
        tags={KEY: facts.key},
        model_type="text-to-image",
    )


def _store(home: Home, place: str, facts: VersionFacts) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        for path, content in package(facts).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        files = files_at(home, place)
        files.log_artifacts(str(folder))
        clear_drafts(files)


def _create(client: "MlflowClient", facts: VersionFacts, model: Any) -> Any:
    """The version. MLflow counts on from the last number that it gave, so those that the book left
    out are given and deleted, and the number is checked.
    """
    if not facts.previous:
        with leaving_at(TAKEN):
            client.create_registered_model(facts.model)
    _clear_left_out(client, facts)
    while True:
        made = client.create_model_version(
            facts.model,
            model.artifact_location,
            run_id=facts.run_id,
            tags=_every_tag(facts),
            description=facts.description,
            model_id=model.model_id,
        )
        if (number := int(made.version)) == facts.version:
            return made
        client.delete_model_version(facts.model, made.version)
        if number > facts.version:
            raise ErasureError(
                f"MLflow numbered {facts.model} version {facts.version} as {number}: versions of "
                f"it were deleted by hand; {_anew(facts.model)}"
            )


def _clear_left_out(client: "MlflowClient", facts: VersionFacts) -> None:
    """Delete what a kill between giving and deleting a number has left there."""
    for number in range(facts.previous + 1, facts.version):
        found = _version(client, facts.model, number)
        if found is not None and found.tags.get(KEY) == facts.key:
            client.delete_model_version(facts.model, str(number))


def _put_back(client: "MlflowClient", facts: VersionFacts, present: Any) -> None:
    """Tags and description as the facts have them."""
    version, tags = str(facts.version), _every_tag(facts)
    for tag in present.tags.keys() - tags.keys():
        client.delete_model_version_tag(facts.model, version, tag)
    for tag, value in tags.items():
        if present.tags.get(tag) != value:
            client.set_model_version_tag(facts.model, version, tag, value)
    if (present.description or "") != facts.description:
        client.update_model_version(facts.model, version, facts.description)


def _every_tag(facts: VersionFacts) -> dict[str, str]:
    """With those that say which version it is, and whose."""
    of_book = {BOOK: facts.book} if facts.book else {}
    return {**facts.tags, **of_book, KEY: facts.key}


def _version(client: "MlflowClient", model: str, version: int) -> Any:
    with leaving_at(ABSENT):
        return client.get_model_version(model, str(version))
    return None


def _points_at(client: "MlflowClient", model: str, alias: str) -> int | None:
    """Where one alias points."""
    named = _named_by(client, model, alias)
    return int(named.version) if named else None


def _named_by(client: "MlflowClient", model: str, alias: str) -> Any:
    """The version that an alias names, or None. MLflow's own answer about the whole model loads all
    its versions.
    """
    with leaving_at(ABSENT, NO_ALIAS):
        return client.get_model_version_by_alias(model, alias)
    return None


def _experiment_id(client: "MlflowClient") -> str:
    if (experiment := client.get_experiment_by_name(EXPERIMENT)) is None:
        raise ErasureError(
            f"MLflow has no experiment {EXPERIMENT!r}; it was renamed, or lost: `erasure "
            "reconcile` puts it back"
        )
    return str(experiment.experiment_id)


def _keyed(client: "MlflowClient", experiment: str, key: str) -> list[Any]:
    search = client.search_logged_models
    return list(pages(search, experiment_ids=[experiment], filter_string=f"tags.`{KEY}` = '{key}'"))


def _stored(home: Home, place: str) -> dict[str, str]:
    """The sha256 of every file that is stored at `place`, by relative path."""
    from mlflow.artifacts import download_artifacts

    with tempfile.TemporaryDirectory() as scratch, leaving_at(ABSENT):
        # where nothing is stored yet a server answers a download with an internal error
        if not files_at(home, place).list_artifacts():
            return {}
        folder = download_artifacts(
            artifact_uri=place, dst_path=scratch, tracking_uri=home.tracking_uri
        )
        files = [file for file in Path(folder).rglob("*") if file.is_file()]
        paths = {file.relative_to(folder).as_posix(): file for file in files}
        return {path: sha256_file(file) for path, file in paths.items() if path != BY_LOADING}
    return {}
