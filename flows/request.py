"""A form in Prefect's interface that files a deletion request."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from prefect import flow
from pydantic import Field

from erasure_core.law.concepts import Kind
from erasure_core.law.requests import known_methods
from erasure_core.text import markdown
from flows.naming import request_name
from flows.telling import one_line
from tasks.placement import home_of_run

PARAMS = Path("params.yaml")
BY_PARAMS = "as the parameters say"
if TYPE_CHECKING:
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
        str, Field(description="On what it rests: gdpr, ccpa, or own words.")
    ] = "own policy",
    params: Path = PARAMS,
) -> str:
    """Write a request with its prompts and sets, as `erasure request new` does, and put it into
    the book; its clock runs from now on. Returns its id.
    """
    from erasure_core.planning.params import read_params
    from tasks.book.door import open_book
    from tasks.requests.base_file import with_folder
    from tasks.requests.intake import add, check, described
    from tasks.requests.new import NewRequest, draft

    home = home_of_run()
    settings, book = with_folder(read_params(params), home), open_book(home)
    made = draft(NewRequest(concept, kind, replacement, (), law, None), settings, book)
    named = None if method == BY_PARAMS else method
    request = made.request.model_copy(update={"method": named})
    made = replace(made, request=request)  # a run by name reads the file
    check(book, [request], settings.registered_model)
    made.write()
    (entry,) = add(book, [request], settings.registered_model)
    _show("; ".join(filter(None, (described(entry), made.ended))), made.pairs())
    return entry.row.id


def _show(said: str, pairs: Any) -> None:
    from prefect.artifacts import create_markdown_artifact

    trained = "\n".join(f"| {markdown(before)} | {markdown(after)} |" for before, after in pairs)
    text = f"**{markdown(said)}**\n\n| trained on | becomes |\n|---|---|\n{trained}"
    create_markdown_artifact(text, key="request", description="A request that was filed")
