"""What left is an event with its hash, and is known again by its content alone."""

import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from erasure_core.errors import BadInput, ErasureError
from erasure_core.planning.params import read_params
from tasks.book.keys import Keys
from tasks.home import Home
from tasks.release.handout import export_version
from tasks.release.verify import verify


@pytest.fixture
def exported(released_state, tmp_path) -> Path:
    """A copy of the file that left."""
    (file,) = (released_state.home.parent / "exported").iterdir()
    return Path(shutil.copy(file, tmp_path / "got-by-mail.safetensors"))


def export(state, which: str, **more: bool) -> Path:
    params = read_params(state.inputs / "passing.yaml")
    return export_version(which, "delta", state.home / "out", params, Home(state.home), **more)


def events(state) -> list:
    found = state.book.ask(lambda reader: list(reader.events()))
    return [event for event in found if event.event == "version.exported"]


def test_an_export_is_an_event_with_its_hash(state, exported):
    (event,) = events(state)
    assert event.facts["sha256"] == sha256(exported.read_bytes()).hexdigest()
    assert (event.facts["version"], event.facts["form"]) == (1, "delta")


def test_a_file_that_left_is_known_by_its_content(state, exported):
    known = verify(state.book, exported)
    assert (known.version.version, known.served) == (1, True)
    assert known.what.startswith("exported as delta")


def test_a_file_that_was_changed_since_is_unknown(state, exported):
    exported.write_bytes(exported.read_bytes() + b"\0")
    with pytest.raises(ErasureError, match="nothing that was exported or registered here"):
        verify(state.book, exported)


def test_a_checkpoint_is_known_wherever_it_lies(state, tmp_path):
    champion = state.book.ask(lambda reader: reader.champion("toy"))
    folder = tmp_path / "elsewhere"
    shutil.copytree(state.home / "checkpoints" / champion.checkpoint, folder)
    assert verify(state.book, folder).version == champion


def test_a_signed_statement_is_known(state, tmp_path):
    champion = state.book.ask(lambda reader: reader.champion("toy"))
    file = tmp_path / "statement.json"
    file.write_text(state.book.ask(lambda reader: reader.text(champion.statement)))
    assert verify(state.book, file).version == champion


def test_a_statement_by_a_stranger_is_not_believed(state, tmp_path):
    champion = state.book.ask(lambda reader: reader.champion("toy"))
    text = state.book.ask(lambda reader: reader.text(champion.statement))
    file = tmp_path / "statement.json"
    own = Keys(Home(state.home)).current().key
    file.write_text(text.replace(own, Keys(Home(tmp_path / "other")).current().key))
    with pytest.raises(ErasureError, match="signed by"):
        verify(state.book, file)


def test_a_refused_version_does_not_leave_by_itself(state):
    with pytest.raises(BadInput, match=r"was refused \(void\).*--refused-anyway"):
        export(state, "candidate")
    assert len(events(state)) == 1
    assert not (state.home / "out").exists()


def test_a_refused_version_that_left_is_said_to_be_refused(state):
    file = export(state, "candidate", refused_anyway=True)
    assert events(state)[-1].facts["refused_anyway"] is True
    known = verify(state.book, file)
    assert (known.version.verdict, known.served) == ("void", False)
