"""The exceptions a user can meet. Each message says what was found, what is allowed and what to do.

`exit_code` is what the command line returns: 2 where the input is at fault, 1 where the work
failed.
"""


class ErasureError(Exception):
    """Anything that ends a command with one clear line."""

    exit_code = 1


class BadInput(ErasureError):
    """The request, the parameters, a prompt set, a base or an option is not acceptable; nothing was
    changed.
    """

    exit_code = 2


class ContentChanged(ErasureError):
    """Files that were frozen by hash are no longer the ones that were frozen."""

    def __init__(
        self, what: str, expected: str, found: str, remedy: str = "restore it or start a new run"
    ):
        self.what, self.expected, self.found = what, expected, found
        super().__init__(
            f"{what} changed: expected sha256 {expected[:16]}..., found {found[:16]}...; {remedy}"
        )
