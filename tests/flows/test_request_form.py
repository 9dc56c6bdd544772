"""The form that files a request from Prefect's pages."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import save_file

from erasure_core.errors import BadInput
from erasure_core.export.single_file import single_file
from erasure_core.law.requests import known_methods, read_request
from erasure_core.network.models import load_teacher
from flows import erase
from flows.request import BY_PARAMS, _show, file_request
from tasks.book.door import open_book
from tasks.book.lease import holding
from tasks.home import Home
from tasks.release.settle import settle
from tasks.requests.intake import add
from tests.book.books import A, a_request, outcome
from tests.flows.command import edit

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path, monkeypatch) -> Home:
    """A state folder with an empty book, seen from a worker's checkout."""
    checkout = Path(shutil.copytree(ROOT / "prompts", tmp_path / "checkout/prompts")).parent
    shutil.copy(ROOT / "params.yaml", checkout)
    (checkout / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(checkout)
    monkeypatch.setenv("ERASURE_HOME", str(tmp_path / "home"))
    home = Home(tmp_path / "home")
    open_book(home)
    return home


@pytest.mark.parametrize(("chosen", "method"), [(BY_PARAMS, None), ("uce", "uce")])
def test_what_is_filled_in_is_filed(home, chosen, method, monkeypatch):
    said = []
    monkeypatch.setattr("flows.request._show", lambda text, pairs: said.append(text))
    request_id = file_request("rocket", "object", "a lute", chosen)
    entry = open_book(home, make=False).ask(lambda reader: reader.request(request_id))
    assert (entry.row.state, entry.known.concept.name) == ("received", "rocket")
    assert (entry.known.concept.replacement, entry.known.method) == ("a lute", method)
    assert "tokenizer does not know 'lute'" in said[0]
    assert (Path.cwd() / "prompts/targets/rocket.csv").is_file()
    assert read_request(Path("requests/rocket.yaml")).method == method


@pytest.mark.parametrize("state", ["duplicate", "honoured"])
def test_who_asks_for_what_another_asks_for_has_a_request_of_their_own(home, monkeypatch, state):
    """With a clock of its own, and the other's recipe as it was."""
    said = []
    monkeypatch.setattr("flows.request._show", lambda text, pairs: said.append(text))
    first = a_request(A, "rocket", submitted_time="2026-01-05T10:00:00Z")
    add(book := open_book(home), [first], "gallery")
    if state == "honoured":
        with holding(book, "gallery", "releasing") as held:
            settle(book, held, outcome(book, [A], model="gallery"))
    second = file_request.fn("Rocket", "object", "a galaxy", law="ccpa")
    entry, before = book.ask(lambda reader: (reader.request(second), reader.request(A)))
    assert (entry.row.state, entry.row.duplicate_of) == (state, str(A))
    assert (entry.row.regulation, entry.row.due > before.row.due) == ("ccpa", True)
    assert entry.known.recipe == before.known.recipe == first.recipe
    assert said[0].endswith(f"; by the recipe of request {A}")
    assert not Path("requests").exists()


@pytest.mark.parametrize(("law", "near"), [("LGDP", "gdpr or lgpd"), ("gdrp", "gdpr")])
def test_a_mistyped_law_is_refused_before_anything_is_written(home, law, near):
    with pytest.raises(BadInput, match=f"'{law}'.*did you mean {near}.*or own policy"):
        file_request.fn("rocket", "object", "a galaxy", law=law)
    assert not Path("requests").exists()


def test_a_base_in_one_file_is_taken(home):
    """As `erasure request new` takes it, which the form stands for."""
    folder = "path: models/gallery/teacher"
    tensors = single_file(load_teacher(ROOT / "models/gallery/teacher"))
    save_file({name: t.contiguous() for name, t in tensors.items()}, "teacher.safetensors")
    edit(
        Path("params.yaml"),
        folder,
        f"{folder.replace('path', 'config')}\n  path: teacher.safetensors",
    )
    file_request("rocket", "object", "a galaxy")
    assert Path("requests/rocket.yaml").is_file()


def test_a_name_is_no_markup_in_what_was_filed(monkeypatch):
    import prefect.artifacts

    given = []
    monkeypatch.setattr(
        prefect.artifacts, "create_markdown_artifact", lambda text, **_: given.append(text)
    )
    _show("A|B: waiting", [("a photo of A|B", "a photo of *c*")])
    assert given[0].startswith(r"**A\|B: waiting**")
    assert given[0].endswith(r"| a photo of A\|B | a photo of \*c\* |")


def test_methods_are_a_list_to_choose_from():
    method = file_request.parameters.properties["method"]
    assert (method["enum"], method["default"]) == ([BY_PARAMS, *known_methods()], BY_PARAMS)


def test_a_run_from_its_form_takes_what_was_filed_by_its_name(home, monkeypatch):
    request_id = file_request("rocket", "object", "a galaxy")
    worked = []
    monkeypatch.setattr(erase, "check_inputs", lambda *_: None)
    monkeypatch.setattr(erase, "_release_all", lambda book, inputs, named, *_: worked.extend(named))
    monkeypatch.setattr(erase, "approved", lambda book, work: work())
    erase.erase_concepts.fn([Path("rocket")])
    assert worked == [request_id]
