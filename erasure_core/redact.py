"""No password leaves by a message: URLs lose their user and password before they are shown."""

import re

# user:password@, also where the password holds an unescaped slash; host:port/path@ is none
USERINFO = re.compile(r'(?<=://)(?:[^\s/"<>]*@|[^\s/:@]*:(?!\d+/)[^\s@"<>]*@)')
SECRET_OPTION = re.compile(r"(?i)(?<=[?&])(password|passwd|token|secret|sig|api_?key)=[^&\s\"']*")


def redacted(text: str) -> str:
    """The text with `user:password@` of every URL as `***@`, and secrets in its query as `***`."""
    return SECRET_OPTION.sub(r"\1=***", USERINFO.sub("***@", text))
