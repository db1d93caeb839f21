"""What identifies the content of an object, so that a job reads what was there when it was started."""

from __future__ import annotations

import http.client
from datetime import datetime
from email.utils import parsedate_to_datetime

_BY_TIME = "modified:"
_CLOCK_SECONDS = 1
"""By how much a time may differ: rclone's changes by a second when it restarts, of one object in some hundreds."""


def version_of(etag: str | None, modified: datetime | None) -> str:
    """Return what identifies the content of an object: its ETag, or when it was modified if the server sends no ETag.

    Empty: unknown. S3's time is in whole seconds, so what replaces an object within two seconds is noticed only by its
    ETag.
    """
    if etag := (etag or "").strip('"'):
        return etag
    return f"{_BY_TIME}{int(modified.timestamp())}" if modified else ""


def conditions(version: str) -> dict[str, str]:
    """Return headers by which servers that support them refuse to send another version."""
    return {"If-Match": f'"{version}"'} if version and not version.startswith(_BY_TIME) else {}


def response_version(response: http.client.HTTPResponse, expected: str) -> str:
    """Return the version that a response has, or the expected one if it has nothing to compare."""
    etag, modified = version_of(response.headers.get("ETag"), None), response.headers.get("Last-Modified")
    if etag and not expected.startswith(_BY_TIME):
        return etag
    if not modified or (expected and not expected.startswith(_BY_TIME)):
        return expected
    time = int(parsedate_to_datetime(modified).timestamp())
    is_same = expected and abs(time - int(expected.removeprefix(_BY_TIME))) <= _CLOCK_SECONDS
    return expected if is_same else f"{_BY_TIME}{time}"
