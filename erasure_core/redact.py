"""What may be printed of an address that carries a password."""

import re

# a password may hold any character, "@" and "/" too: up to the last "@" of the word
USERINFO = re.compile(r"(?<=://)[^\s'\"<>]*@")


def redacted(text: str) -> str:
    """`text` with the user and password of every URL in it replaced by `***`."""
    return USERINFO.sub("***@", text)
