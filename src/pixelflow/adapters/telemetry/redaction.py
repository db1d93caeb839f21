"""Redaction of secrets in finished log lines.

No line should contain a secret in the first place; the messages of library errors sometimes do. Redaction must not
change anything else, and a line of JSON stays valid: the replaced text contains no quote or backslash.
"""

from __future__ import annotations

import re

REDACTED = "[redacted]"

_TEXT = r"""[^\s"'<>\\\x1b]"""
"""A character of a secret: in JSON, in a repr, and between the colors of a terminal."""
# Clients control parts of log lines, so that every pattern must run in linear time.
_PATTERNS = (
    # User and password of a URL, such as a database's.
    re.compile(rf"(?P<kept>://)(?:(?![/?#@]){_TEXT})+(?=@)"),
    # The query of a URL: a presigned URL's contains the signature, a webhook URL's may contain any secret. A URL
    # without a query matches as a whole too and is left unchanged, so that its characters are not searched again.
    re.compile(rf"(?P<kept>://(?:(?!\?){_TEXT})*+(?:\?(?={_TEXT}))?+)(?P<secret>(?<=\?){_TEXT}+)?"),
    # Single parameters, where only the end of a URL or a signed header is logged.
    re.compile(
        rf"(?P<kept>(?:X-Amz-[A-Za-z-]{{1,40}}+|Signature|password)(?:=|%3D))(?:(?![&,]){_TEXT})+",
        re.IGNORECASE,
    ),
    # Credentials: bearer tokens, API keys, webhook secrets.
    re.compile(rf"(?P<kept>\bBearer ){_TEXT}+", re.IGNORECASE),
    re.compile(r"(?P<kept>\bpf_[0-9A-Za-z]+_)[\w-]+"),
    re.compile(r"(?P<kept>\bwhsec_)[\w+/=-]+"),
)
_MARKERS = ("://", "mz-", "ignature", "assword", "earer ", "pf_", "whsec_", "MZ-", "IGNATURE", "ASSWORD", "EARER ")
"""Every match contains one of them. Most lines contain none and skip the patterns."""


def redact(line: str) -> str:
    """The line with secrets replaced by ``[redacted]``."""
    if not any(marker in line for marker in _MARKERS):
        return line
    for pattern in _PATTERNS:
        line = pattern.sub(_replacement, line)
    return line


def _replacement(match: re.Match[str]) -> str:
    is_secret = match.groupdict().get("secret", True) is not None
    return match["kept"] + (REDACTED if is_secret else "")
