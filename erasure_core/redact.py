"""No password leaves by a message: URLs lose their user and password before they are shown."""

import re

# user:password@ up to the last @, for a password may hold slashes and @ that nobody escaped;
# host:port/path@ is none
USERINFO = re.compile(r'(?<=://)(?:[^\s/:@]*:(?!\d+[/?#])[^\s"<>]*@|[^\s/"<>]*@)')
SECRET_OPTION = re.compile(r"(?i)(?<=[?&])(password|passwd|token|secret|sig|api_?key)=[^&\s\"']*")


def redacted(text: str) -> str:
    """The text with `user:password@` of every URL as `***@`, and secrets in its query as `***`."""
    return SECRET_OPTION.sub(r"\1=***", USERINFO.sub("***@", text))
