"""Commands about the keys that sign statements."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.common import DONE, Json, app, reported
from flows.cli.show import show
from tasks.home import Home

keys = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="The keys that sign, and those believed."
)
app.add_typer(keys, name="keys")


@keys.command("list")
@reported
def list_keys(as_json: Json = False) -> int:
    """Every trusted public key by name; the one that signs is marked."""
    from erasure_core.law.statement import key_id
    from tasks.book.keys import Keys

    store = Keys(Home.from_env())
    trusted = [
        {"name": name, "key": key_id(key), "signs": key_id(key) == store.signing_id()}
        for name, key in store.trusted().items()
    ]
    if as_json:
        show({"keys": trusted})
    else:
        for key in trusted:
            show(f"{key['key']}  {key['name']}{'  signs' if key['signs'] else ''}")
    return DONE


@keys.command()
@reported
def rotate(as_json: Json = False) -> int:
    """Sign with a new key from now on; what the old one signed stays trusted, until its file in
    keys/trusted is removed and `erasure reconcile` states with the new key what it stated.
    """
    from tasks.book.door import require_book
    from tasks.book.heads import rotate_key

    home = Home.from_env()
    require_book(home)  # elsewhere there is nothing that the key signs
    signer = rotate_key(home)
    show({"name": signer.name, "key": signer.key} if as_json else f"{signer.key}  {signer.name}")
    return DONE


@keys.command()
@reported
def trust(
    name: Annotated[str, typer.Argument(help="What the key is called here.")],
    file: Annotated[Path, typer.Argument(help="An Ed25519 public key in PEM.")],
    as_json: Json = False,
) -> int:
    """Believe statements that are signed with the key in FILE."""
    from tasks.book.keys import Keys

    key = Keys(Home.from_env()).trust(name, file)
    show({"name": name, "key": key} if as_json else f"{key}  {name}")
    return DONE
