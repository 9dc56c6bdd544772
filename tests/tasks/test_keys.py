"""The keys of a state folder: one signs, the others are believed."""

import subprocess
import sys
from pathlib import Path

import pytest

from erasure_core.errors import BadInput, ErasureError
from erasure_core.law.statement import key_id
from tasks.book import keys
from tasks.book.keys import Keys
from tasks.home import Home


@pytest.fixture
def home(tmp_path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def stranger(tmp_path) -> Path:
    """The public key of another state folder, as a file."""
    other = Keys(Home(tmp_path / "other"))
    return other.believed / f"{other.current().name}.pub"


def test_the_key_is_made_once(home):
    assert Keys(home).current().key == Keys(home).current().key


def test_only_the_owner_can_read_the_private_key(home):
    Keys(home).current()
    assert (home.keys / "signing.pem").stat().st_mode & 0o777 == 0o600


def test_the_own_key_is_trusted(home):
    signer = Keys(home).current()
    assert {key_id(key) for key in Keys(home).trusted().values()} == {signer.key}


def test_asking_whom_to_trust_makes_no_key(home):
    assert Keys(home).trusted() == {}
    assert Keys(home).signing_id() is None
    assert not home.root.exists()


def test_a_kill_before_the_public_key_was_written_is_healed(home):
    signer = Keys(home).current()
    (home.keys / "trusted" / f"{signer.name}.pub").unlink()
    Keys(home).current()
    assert key_id(Keys(home).trusted()[signer.name]) == signer.key


def test_of_two_that_make_the_key_at_once_both_get_one(home, monkeypatch):
    """The second one makes its key between the first one's look and its write."""
    link, others = keys._link_if_absent, []

    def late(draft, final):
        if not others:
            others.append(None)
            others.append(Keys(home).current().key)
        link(draft, final)

    monkeypatch.setattr(keys, "_link_if_absent", late)
    assert Keys(home).current().key == others[1]
    assert list(home.keys.glob(".signing.*")) == []


def test_processes_at_once_end_with_one_key(home):
    script = (
        "import sys, pathlib; from tasks.home import Home; from tasks.book.keys import Keys;"
        "sys.stdin.read(1); print(Keys(Home(pathlib.Path(sys.argv[1]))).current().key)"
    )
    command = [sys.executable, "-c", script, str(home.root)]
    root = Path(__file__).parents[2]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root)
        for _ in range(3)
    ]
    for process in running:
        process.stdin.write(b"x")
        process.stdin.flush()
    answers = {process.communicate(timeout=60)[0] for process in running}
    assert answers == {f"{Keys(home).current().key}\n".encode()}


def test_after_rotation_the_old_statement_is_still_believed(home):
    signed = Keys(home).sign_head(1, "a" * 64)
    before = Keys(home).current().key
    assert Keys(home).rotate().key != before
    assert Keys(home).opened_head(signed).seq == 1


def test_after_rotation_the_new_key_signs(home):
    Keys(home).current()
    new = Keys(home).rotate()
    assert Keys(home).current().key == new.key
    assert (home.keys / "signing.pem").stat().st_mode & 0o777 == 0o600


def test_another_folder_is_believed_once_its_key_is_trusted(home, stranger, tmp_path):
    signed = Keys(Home(tmp_path / "other")).sign_head(5, "b" * 64)
    Keys(home).current()
    with pytest.raises(ErasureError, match="keys trust NAME FILE"):
        Keys(home).opened_head(signed)
    Keys(home).trust("partner", stranger)
    assert Keys(home).opened_head(signed).seq == 5


def test_a_name_keeps_its_key(home, stranger):
    own = Keys(home).current()
    with pytest.raises(BadInput, match="is already the key"):
        Keys(home).trust(own.name, stranger)
    assert key_id(Keys(home).trusted()[own.name]) == own.key


@pytest.mark.parametrize("name", ["", "../x", "A", ".x", "a/b", "x" * 65, "a\n"])
def test_what_cannot_be_a_file_name_is_no_name(name, home, stranger):
    with pytest.raises(BadInput, match="cannot name a key"):
        Keys(home).trust(name, stranger)
    assert not home.keys.exists()


def test_a_private_key_is_not_taken_for_a_public_one(home, tmp_path):
    Keys(Home(tmp_path / "other")).current()
    with pytest.raises(BadInput, match="not an Ed25519 public key"):
        Keys(home).trust("partner", tmp_path / "other" / "keys" / "signing.pem")


def test_a_broken_signing_key_is_said_not_replaced(home):
    Keys(home).current()
    (home.keys / "signing.pem").write_text("nothing")
    with pytest.raises(ErasureError, match="not an Ed25519 private key"):
        Keys(home).current()


def test_a_broken_trusted_key_is_said(home):
    signer = Keys(home).current()
    (home.keys / "trusted" / f"{signer.name}.pub").write_text("nothing")
    with pytest.raises(ErasureError, match="not an Ed25519 public key"):
        Keys(home).trusted()


def test_a_rotated_key_that_is_believed_no_more_is_known_as_given_up(home):
    old = Keys(home).current()
    Keys(home).rotate()
    assert Keys(home).given_up() == {}  # it is believed still
    (home.keys / f"trusted/{old.name}.pub").unlink()
    assert [key_id(key) for key in Keys(home).given_up().values()] == [old.key]
    assert old.name not in Keys(home).trusted()
