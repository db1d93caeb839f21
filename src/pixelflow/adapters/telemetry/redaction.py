"""The last look at a line before it is written: what has the shape of a secret is taken out.

No line should hold one in the first place; texts of libraries' errors are where one would. It must not change anything
else, and what was one line of JSON stays one: nothing that is taken out holds a quote or a backslash.
"""

from __future__ import annotations

import re

REDACTED = "[redacted]"

_TEXT = r"""[^\s"'<>\\\x1b]"""
"""What a secret consists of: in JSON, in a repr, and between the colours of a terminal."""
# Strangers have a part in what is logged: every shape is searched for in a time that grows with the line, not faster.
_SHAPES = (
    # User and password of a URL, such as a database's.
    re.compile(rf"(?P<kept>://)(?:(?![/?#@]){_TEXT})+(?=@)"),
    # The query of a URL: of a presigned one it is the signature, of a receiver's whatever its owner thought of. A URL
    # without one is taken as a whole, too, and left as it is: what is in it is not looked at again.
    re.compile(rf"(?P<kept>://(?:(?!\?){_TEXT})*+(?:\?(?={_TEXT}))?+)(?P<secret>(?<=\?){_TEXT}+)?"),
    # The same where only the end of the URL is told, and single parameters, also of a header that is signed.
    re.compile(
        rf"(?P<kept>(?:X-Amz-[A-Za-z-]{{1,40}}+|Signature|password)(?:=|%3D))(?:(?![&,]){_TEXT})+",
        re.IGNORECASE,
    ),
    # Whatever somebody proves who they are by.
    re.compile(rf"(?P<kept>\bBearer ){_TEXT}+", re.IGNORECASE),
    re.compile(r"(?P<kept>\bpf_[0-9A-Za-z]+_)[\w-]+"),
    re.compile(r"(?P<kept>\bwhsec_)[\w+/=-]+"),
)
_SIGNS = ("://", "mz-", "ignature", "assword", "earer ", "pf_", "whsec_", "MZ-", "IGNATURE", "ASSWORD", "EARER ")
"""One of them is in every shape; most lines have none, and are not looked at more closely."""


def redacted(line: str) -> str:
    """The line without secrets."""
    if not any(sign in line for sign in _SIGNS):
        return line
    for shape in _SHAPES:
        line = shape.sub(_without_secret, line)
    return line


def _without_secret(found: re.Match[str]) -> str:
    is_secret = found.groupdict().get("secret", True) is not None
    return found["kept"] + (REDACTED if is_secret else "")
