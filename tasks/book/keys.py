"""The keys of a state folder: one that signs, and the public ones that are believed.

`keys/signing.pem` (mode 0600) never leaves the folder; `keys/trusted/<name>.pub` are PEM files that
may be copied to wherever a statement is to be checked. `keys/former/<name>.pub` are those that
signed before a rotation: what a key signed that was given up is known by them, and not believed.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from erasure_core.errors import BadInput, ErasureError
from erasure_core.files import read_input, sweep, temporary_name, write_text
from erasure_core.law import statement
from erasure_core.law.statement import Head, Signer, key_id
from tasks.home import Home, keep_out_of_git

DRAFT = ".signing."
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Keys:
    """The keys of one state folder."""

    def __init__(self, home: Home):
        self.home = home
        self.signing = home.keys / "signing.pem"
        self.believed = home.keys / "trusted"
        self.before = home.keys / "former"

    def current(self) -> Signer:
        """The key that signs; made on first use. Of two processes that make it at once, both get
        the same one.

        Raises:
            ErasureError: The file does not hold an Ed25519 private key.
        """
        if not self.signing.exists():
            self._make(_link_if_absent)
        sweep(self.signing.parent, DRAFT)  # a killed process left a second name of the key
        return self._published()

    def signing_id(self) -> str | None:
        """The id of the key that signs, if there is one yet. Makes none."""
        return _signer(self.signing).key if self.signing.exists() else None

    def check_can_sign(self) -> None:
        """Refuse, before anything is changed, what could not be signed afterwards. Makes no key.

        Raises:
            ErasureError: There is a key, and it is none, or not this user's to read.
        """
        try:
            self.signing_id()
        except OSError as fault:
            raise ErasureError(
                f"{self.signing} cannot be read ({fault.strerror}): what was changed could not be "
                "signed; work as the user whose state folder this is, or restore it from a copy"
            ) from None

    def rotate(self) -> Signer:
        """A new signing key. The old one is gone; what it signed stays trusted."""
        old = self.current()  # among the trusted ones, before it is replaced
        _publish(self.before / f"{old.name}.pub", old.private.public_key())
        self._make(os.replace)
        return self._published()

    def trusted(self) -> dict[str, Ed25519PublicKey]:
        """Every public key that is believed, by name. Makes none.

        Raises:
            ErasureError: A file does not hold an Ed25519 public key.
        """
        return _keys_in(self.believed)

    def given_up(self) -> dict[str, Ed25519PublicKey]:
        """The public keys that signed here before a rotation and are believed no more, by name."""
        believed = set(map(key_id, self.trusted().values()))
        return {n: key for n, key in _keys_in(self.before).items() if key_id(key) not in believed}

    def trust(self, name: str, file: Path) -> str:
        """Believe the public key in `file` under `name`; return its id.

        Raises:
            BadInput: Not a name, not a public key, or the name is another key's.
        """
        if not NAME.fullmatch(name):
            raise BadInput(
                f"{name!r} cannot name a key; use at most 64 small letters, digits, '.', '_', '-'"
            )
        try:
            key = _public(read_input(file).encode(), file)
        except ErasureError as fault:
            raise BadInput(str(fault)) from None
        present = self.trusted().get(name, key)
        if key_id(present) != key_id(key):
            raise BadInput(
                f"{name} is already the key {key_id(present)[:16]}...; choose another name, or "
                f"remove {self.believed / name}.pub"
            )
        self._believe(name, key)
        return key_id(key)

    def sign_head(self, seq: int, sha256: str) -> bytes:
        """The signed head file of the audit chain."""
        return statement.sign_head(Head(seq=seq, sha256=sha256), self.current())

    def opened_head(self, file: bytes) -> Head:
        """The head that a signed head file names; `ErasureError` if it is not to be believed."""
        return statement.opened_head(file, self.trusted())

    def _make(self, put: Callable[[str, Path], None]) -> None:
        """A new private key, given its name by `put` when it is whole and on disk."""
        self.home.begin()
        self.signing.parent.mkdir(parents=True, exist_ok=True)
        keep_out_of_git(self.signing.parent)
        private = Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        file = temporary_name(self.signing.parent, DRAFT)
        try:
            # mode 0600 from the first moment
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as stream:
                stream.write(private)
                stream.flush()
                os.fsync(stream.fileno())
            put(str(file), self.signing)
        finally:
            file.unlink(missing_ok=True)

    def _published(self) -> Signer:
        """The signing key, its public half among the trusted ones."""
        signer = _signer(self.signing)
        if not (self.believed / f"{signer.name}.pub").exists():
            self._believe(signer.name, signer.private.public_key())
        return signer

    def _believe(self, name: str, key: Ed25519PublicKey) -> None:
        self.home.begin()
        _publish(self.believed / f"{name}.pub", key)


def _publish(file: Path, key: Ed25519PublicKey) -> None:
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    write_text(file, pem.decode())


def _keys_in(folder: Path) -> dict[str, Ed25519PublicKey]:
    files = sorted(folder.glob("*.pub"))
    return {file.stem: _public(file.read_bytes(), file) for file in files}


def _link_if_absent(draft: str, final: Path) -> None:
    try:
        os.link(draft, final)
    except FileExistsError:
        return  # another process was first: its key is the key


def _signer(file: Path) -> Signer:
    try:
        private = load_pem_private_key(file.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise ErasureError(f"{file} is not an Ed25519 private key in PEM; restore it from a copy")
    return Signer(f"own-{key_id(private.public_key())[:12]}", private)


def _public(pem: bytes, file: Path) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ErasureError(f"{file} is not an Ed25519 public key in PEM; replace or remove it")
    return key
