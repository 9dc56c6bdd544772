"""Which request a person means: by its id, by its file, or by the name of its concept."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from erasure_core.errors import BadInput
from erasure_core.files import YAML_BYTES, read_input
from erasure_core.law.concepts import letters_of, same_name, slug
from erasure_core.law.life import OPEN
from erasure_core.law.requests import DeletionRequest, read_request
from erasure_core.text import COPIED, composed, escaped
from tasks.book.store import Book, Entry
from tasks.requests.intake import described

REQUESTS = Path("requests")  # where requests are written, and looked for by name
EXAMPLES = Path("examples/requests")  # which are only looked for there by their files
LIVE = (*sorted(OPEN), "honoured")  # not ended, in any way


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
    for file in folder_files(text):
        written = read_request(file)
        entry = _entry(book, written.subject_request_id)
        # the same name in another spelling: "spider man"
        if entry and written.concept.named_in(text) and model in (None, entry.row.model):
            return UUID(entry.row.id)
        if entry is None:
            hint = f"{file} is not taken in yet: `erasure request add {shlex.quote(str(file))}`"
    raise BadInput(f"no request in the book asks for {text!r}; {hint}")


def _entry(book: Book, request_id: UUID) -> Entry | None:
    return book.ask(lambda reader: reader.find_request(request_id))


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


def parted(book: Book, texts: Sequence[str], model: str) -> list[str]:
    """What stands between the commas of `texts`; one that a request is called by stays whole."""
    parts = [[t] if _is_whole(book, t, model) else t.split(",") for t in texts]
    return [part.strip() for some in parts for part in some]


def _is_whole(book: Book, text: str, model: str) -> bool:
    try:
        return "," not in text or Path(text).is_file() or bool(_found(book, text, model))
    except OSError:  # too long for a file's name: many
        return False


def uuid_or_none(text: str) -> UUID | None:
    """The id that `text` writes, if it does."""
    try:
        return UUID(text)
    except ValueError:
        return None


def folder_files(name: str, folder: Path = REQUESTS) -> list[Path]:
    """Where a folder's requests for a concept of this name lie: the file that is called so or, if
    there is none, those that hold the name in another spelling.
    """
    file = folder / f"{slug(' '.join(composed(name).split()))}.yaml"
    if file.is_file():
        return [file]
    return [other for other in sorted(folder.glob("*.yaml")) if _asks_for(other, name)]


def _asks_for(file: Path, name: str) -> bool:
    """Whether it holds a request for a concept of this name in any spelling."""
    try:
        text = read_input(file, YAML_BYTES)
        # to read it as YAML takes longer; a backslash may spell any letter
        if "\\" not in text and letters_of(name) not in letters_of(text):
            return False
        return same_name(read_request(file).concept.name, name)
    except BadInput:  # somebody else's, or told of when it is named
        return False


def _source(book: Book, text: str, model: str) -> Path | UUID:
    path = Path(text)
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        return path
    if (known := uuid_or_none(text)) is not None:
        return known
    found = _found(book, text, model)
    if not found and path.is_dir():
        files = shlex.quote(text.rstrip("/"))
        raise BadInput(f"{text!r} is a folder; name the requests in it: {files}/*.yaml")
    if not found:
        example = next(iter(folder_files(text, EXAMPLES)), None)
        to_do = (
            f"{example} is one: name that file"
            if example
            else ("`erasure request new` writes one, `erasure request list` lists them")
        )
        raise BadInput(
            f"{text!r} is no file, and no request in {REQUESTS} or in the book asks {model} for a "
            f"concept of that name{_of_others(book, text)}; {to_do}"
        )
    return found[_only(text, {i: said for i, (_, said) in found.items()})][0]


def _of_others(book: Book, text: str) -> str:
    """Which other models are asked for a concept of this name: each has requests of its own."""
    others = sorted({entry.row.model for entry in called(book, text)})
    return f" (one of {', '.join(others)} does: a request belongs to one model)" if others else ""


def _found(book: Book, text: str, model: str) -> dict[str, tuple[Path | UUID, str]]:
    """Id -> where it is, and a line that says which it is, of each request that `text` names."""
    found: dict[str, tuple[Path | UUID, str]] = {
        e.row.id: (UUID(e.row.id), described(e)) for e in _called(book, text, model)
    }
    for file in folder_files(text):
        request_id = str(read_request(file).subject_request_id)
        found[request_id] = (file, f"{request_id}  {file}")
    return found


def called(book: Book, name: str) -> list[Entry]:
    """The requests that ask for a concept of this name, however it was typed."""
    name = COPIED.sub("", name)
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
