"""Which request a person means: by its id, by its file, or by the name of its concept."""

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from erasure_core.errors import BadInput
from erasure_core.law.concepts import slug
from erasure_core.law.life import DUE
from erasure_core.law.requests import DeletionRequest, read_request
from erasure_core.text import composed, escaped
from tasks.book.store import Book, Entry
from tasks.requests.intake import described

REQUESTS = Path("requests")  # where requests are written, and looked for by name
LIVE = (*sorted(DUE), "on_hold", "duplicate", "honoured")  # not ended, in any way


def request_id_of(book: Book, text: str, model: str | None = None) -> UUID:
    """The id of the request that `text` names: an id, or the name of a concept that one request
    asks for. Requests that have ended count only where there is no other.

    Raises:
        BadInput: No request asks for such a concept, or several do; names their ids.
    """
    if (known := uuid_or_none(text)) is not None:
        return known
    entries = _called(book, text, model)
    if entries:
        return UUID(_only(text, {e.row.id: described(e) for e in entries}))
    hint = "`erasure request list` lists them"
    if (file := folder_file(text)).is_file():
        written = read_request(file)
        entry = book.ask(lambda reader: reader.find_request(written.subject_request_id))
        # the same name in another spelling: "spider man"
        if entry and written.concept.named_in(text) and model in (None, entry.row.model):
            return UUID(entry.row.id)
        if entry is None:
            hint = f"{file} is not taken in yet: `erasure request add {file}`"
    raise BadInput(f"no request in the book asks for {text!r}; {hint}")


def requests_of(book: Book, texts: Sequence[str], model: str) -> list[Path | UUID]:
    """Where each request is that is to be worked on: a file's path, or an id in the book.

    A name is that of the request in the folder `requests`, and of those in the book.

    Raises:
        BadInput: A name that nothing is known of, or several requests; names them.
    """
    return [_source(book, text, model) for text in texts]


def read_source(book: Book, source: Path | UUID) -> DeletionRequest:
    """The request of a file, or of the book. `BadInput` if there is none."""
    known = source if isinstance(source, UUID) else uuid_or_none(str(source))
    if known is None or (isinstance(source, Path) and source.exists()):
        return read_request(Path(str(source)))
    return book.ask(lambda reader: reader.request(known)).known


def read_named(book: Book, texts: Sequence[str], model: str) -> list[DeletionRequest]:
    """The requests that `texts` name, each an id, a file or a concept's name; see `requests_of`."""
    return [read_source(book, source) for source in requests_of(book, texts, model)]


def uuid_or_none(text: str) -> UUID | None:
    """The id that `text` writes, if it does."""
    try:
        return UUID(text)
    except ValueError:
        return None


def folder_file(name: str) -> Path:
    """Where the request for a concept of this name lies, if it was written by name."""
    return REQUESTS / f"{slug(' '.join(composed(name).split()))}.yaml"


def _source(book: Book, text: str, model: str) -> Path | UUID:
    path = Path(text)
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        return path
    if (known := uuid_or_none(text)) is not None:
        return known
    found: dict[str, str] = {e.row.id: described(e) for e in _called(book, text, model)}
    if (file := folder_file(text)).is_file():
        request_id = str(read_request(file).subject_request_id)
        _only(text, {**found, request_id: f"{request_id}  {file}"})
        return file
    if not found:
        raise BadInput(
            f"{text!r} is no file, and no request in {REQUESTS} or in the book asks for a concept "
            f"of that name; `erasure request new` writes one, `erasure request list` lists them"
        )
    return UUID(_only(text, found))


def called(book: Book, name: str) -> list[Entry]:
    """The requests that ask for a concept of this name, however it was typed."""
    if escaped(name) != name:
        raise BadInput(f"{name!r} is no file, and a name holds no control characters")
    return book.ask(lambda reader: reader.named(composed(name)))


def _called(book: Book, name: str, model: str | None) -> list[Entry]:
    """The requests of a concept's name: those that have not ended, or else those that have."""
    entries = [e for e in called(book, name) if model is None or e.row.model == model]
    return [e for e in entries if e.row.state in LIVE] or entries


def _only(text: str, found: dict[str, str]) -> str:
    """The id of the one request that was found; `BadInput` naming them if they are several."""
    if len(found) > 1:
        raise BadInput(
            f"{len(found)} requests ask for {text!r}: {'; '.join(found.values())}; name one by its "
            f"id or file"
        )
    return next(iter(found))
