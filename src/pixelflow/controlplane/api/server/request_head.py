"""Checks of the request line and headers that the parser leaves to the server (RFC 9110, RFC 9112).

The parser, llhttp in its strict mode, already refuses what lets two servers disagree on where a request ends:
Transfer-Encoding with Content-Length, two Content-Lengths or an invalid one, folded lines, bare CR or LF, spaces around
a header's name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pixelflow.errors import HeadersTooLargeError, InvalidHttpError

MAX_HEAD_BYTES = 16 * 1024
"""Limit of the request line and headers together."""
MAX_HEADERS = 100
"""As Apache's LimitRequestFields; each lookup of a header reads all of them."""
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(:[0-9]*)?")
_LINE_END = 4
"""Bytes of a header line beside name and value: colon, space, CR, LF."""

Head = Sequence[tuple[bytes, bytes]]


def check_head(version: str, target: bytes, headers: Head) -> None:
    """Check a whole request head.

    Raises:
        HeadersTooLargeError: it exceeds a limit.
        InvalidHttpError: the version is not supported, or the request is ambiguous.
    """
    size = len(target) + sum(len(name) + len(value) + _LINE_END for name, value in headers)
    if size > MAX_HEAD_BYTES:
        raise too_large()
    if version not in {"1.0", "1.1"}:
        raise InvalidHttpError("Send HTTP/1.1")
    _check_host([value for name, value in headers if name == b"host"], required=version == "1.1")
    encodings = [value for name, value in headers if name == b"transfer-encoding"]
    if encodings and (version == "1.0" or [encoding.lower() for encoding in encodings] != [b"chunked"]):
        raise InvalidHttpError("The only supported `Transfer-Encoding` is `chunked`, in HTTP/1.1")


def too_large() -> HeadersTooLargeError:
    """The error of a head that exceeds a limit."""
    return HeadersTooLargeError(
        f"The request line and headers must be at most {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} headers"
    )


def _check_host(hosts: list[bytes], *, required: bool) -> None:
    """RFC 9112, section 3.2: a server must answer a missing, repeated or invalid Host with 400."""
    if len(hosts) > 1 or (required and not hosts):
        raise InvalidHttpError("Send exactly one `Host` header")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise InvalidHttpError("The `Host` header is not a host with an optional port")
