"""A form in Prefect's interface that files a deletion request."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import uuid4

from prefect import flow
from pydantic import Field

from erasure_core.errors import BadInput
from erasure_core.law.clock import regulations, unknown
from erasure_core.law.concepts import Kind
from erasure_core.law.requests import DeletionRequest, known_methods
from erasure_core.text import markdown
from flows.naming import request_name
from flows.telling import one_line
from tasks.placement import home_of_run

PARAMS = Path("params.yaml")
BY_PARAMS = "as the parameters say"
OWN_POLICY = "own policy"  # the operator's own days run
if TYPE_CHECKING:
    from tasks.book.store import Book, Entry

    Method = str
    Choice = str
else:
    Method = Literal[tuple(known_methods())]
    Choice = Literal[(BY_PARAMS, *known_methods())]  # a list to choose from, in the form


@flow(name="file-request", flow_run_name=request_name)
@one_line
def file_request(
    concept: Annotated[str, Field(description="What is to be erased, as prompts name it.")],
    kind: Annotated[
        Kind, Field(description="What it is, by which it is measured: a likeness is of a person.")
    ],
    replacement: Annotated[
        str, Field(description="What should appear instead, with its article: a cup of tea.")
    ],
    method: Annotated[Choice, Field(description="How to erase it.")] = BY_PARAMS,
    law: Annotated[
        str, Field(description=f"The law it rests on: gdpr, ccpa, ...; or {OWN_POLICY}.")
    ] = OWN_POLICY,
    params: Path = PARAMS,
) -> str:
    """Write a request with its prompts and sets, as `erasure request new` does, and put it into
    the book; its clock runs from now on. Returns its id. Who asks for what somebody asks for, or
    has honoured, has a request of their own, by the same recipe: a form cannot tell that it is the
    same person, who corrects one.

    Raises:
        BadInput: As `erasure request new`; or no law is known by the name that is given.
    """
    from erasure_core.planning.params import read_params
    from tasks.book.door import open_book
    from tasks.requests.base_file import with_folder
    from tasks.requests.intake import add, check, described
    from tasks.requests.new import NewRequest, draft

    _check_law(law)
    home = home_of_run()
    settings, book = with_folder(read_params(params), home), open_book(home)
    if (before := _asked_before(book, concept, kind, settings.registered_model)) is not None:
        return _filed_too(book, before, law)
    made = draft(NewRequest(concept, kind, replacement, (), law, None), settings, book)
    named = None if method == BY_PARAMS else method
    request = made.request.model_copy(update={"method": named})
    made = replace(made, request=request)  # a run by name reads the file
    check(book, [request], settings.registered_model)
    made.write()
    (entry,) = add(book, [request], settings.registered_model)
    said = (described(entry), made.ended, *made.spelled)
    _show("; ".join(filter(None, said)), made.pairs())
    return entry.row.id


def _asked_before(book: "Book", name: str, kind: str, model: str) -> "Entry | None":
    """The oldest request of a model for the same concept that has not ended."""
    from tasks.requests.named import LIVE, called

    alike = (e for e in called(book, name) if (e.row.model, e.kind) == (model, kind))
    live = [entry for entry in alike if entry.row.state in LIVE and entry.request]
    return min(live, key=lambda entry: entry.row.received, default=None)


def _filed_too(book: "Book", before: "Entry", law: str) -> str:
    """File another request for what one asks for; return its id."""
    from tasks.requests.intake import add, described

    request = DeletionRequest(
        subject_request_id=uuid4(),
        subject_request_type="erasure",
        submitted_time=datetime.now(UTC),
        regulation=law,
        concept=before.known.concept,
        method=before.known.method,
    )
    (entry,) = add(book, [request], before.row.model)
    concept = request.concept
    pairs = [(prompt, concept.replaced(prompt)) for prompt in concept.prompts[:4]]
    _show(f"{described(entry)}; by the recipe of request {before.row.id}", pairs)
    return entry.row.id


def _check_law(law: str) -> None:
    """Refuse what is no law: a form cannot ask back, and the law of a request never changes."""
    said = unknown(law)
    if said and law.strip().casefold() != OWN_POLICY:
        allowed = ", ".join(known.name for known in regulations())
        raise BadInput(f"law: {said}; write one of {allowed}, or {OWN_POLICY}")


def _show(said: str, pairs: Any) -> None:
    from prefect.artifacts import create_markdown_artifact

    trained = "\n".join(f"| {markdown(before)} | {markdown(after)} |" for before, after in pairs)
    text = f"**{markdown(said)}**\n\n| trained on | becomes |\n|---|---|\n{trained}"
    create_markdown_artifact(text, key="request", description="A request that was filed")
