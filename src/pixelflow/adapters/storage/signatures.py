"""AWS Signature Version 4 for S3: presigned URLs, and the headers of the service's own requests.

The signing key depends only on the day, so it is derived once a day: a signature costs one SHA-256 and one HMAC.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html and …/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, TypeAlias
from urllib.parse import quote, urlsplit

UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
EMPTY_SHA256: Final = hashlib.sha256().hexdigest()
_ALGORITHM = "AWS4-HMAC-SHA256"
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class AccessKey:
    """An access key. Its secrets are not shown in its ``repr``."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)
    """Of temporary credentials; part of each request. Empty: none."""
    expires_at: datetime | None = None
    """When the session ends, and with it all URLs that it signed; ``None``: never, or unknown."""


class NoAccessKeyError(Exception):
    """There is no valid access key at present."""


KeySource: TypeAlias = Callable[[], AccessKey]
"""Returns the access key that is valid at present, without delay. Raises ``NoAccessKeyError``: there is none."""


def no_access_key() -> AccessKey:
    """Raise ``NoAccessKeyError``: the source of a process without temporary credentials."""
    raise NoAccessKeyError


class Signer:
    """Signs requests to one server. Thread-safe."""

    def __init__(self, endpoint: str, *, region: str, credentials: AccessKey | KeySource) -> None:
        """``endpoint`` has no path with characters that need encoding."""
        parts = urlsplit(endpoint)
        port = f":{parts.port}" if parts.port not in {None, _DEFAULT_PORTS[parts.scheme]} else ""
        host = parts.hostname or ""
        self.host = (f"[{host}]" if ":" in host else host) + port
        """The value of the ``Host`` header, which is signed."""
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._root = parts.path
        self._region = region
        self._access_key: KeySource = credentials if callable(credentials) else lambda: credentials

    def presign(
        self,
        method: str,
        path: str,
        *,
        seconds: int,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        now: datetime | None = None,
    ) -> str:
        """Return a URL that anybody can use for this request until it expires.

        Args:
            method: of the request.
            path: below the endpoint, with a slash at its start; not encoded.
            seconds: how long the URL is valid.
            headers: that the request must have, besides ``Host``.
            query: parameters of the request.
            now: when it becomes valid. Default: the present.
        """
        (day, moment), key = _stamps(now), self._access_key()
        location, (names, lines) = self._location(path), self._canonical_headers(headers or {})
        encoded = _encode(
            {
                **(query or {}),
                "X-Amz-Algorithm": _ALGORITHM,
                "X-Amz-Credential": f"{key.access_key_id}/{self._scope(day)}",
                "X-Amz-Date": moment,
                "X-Amz-Expires": str(seconds),
                "X-Amz-SignedHeaders": names,
                **({"X-Amz-Security-Token": key.session_token} if key.session_token else {}),
            }
        )
        request = f"{method}\n{location}\n{encoded}\n{lines}\n{names}\n{UNSIGNED_PAYLOAD}"
        return f"{self._origin}{location}?{encoded}&X-Amz-Signature={self._sign(key, day, moment, request)}"

    def authorize(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        sha256: str,
        query: Mapping[str, str] | None = None,
        now: datetime | None = None,
    ) -> dict[str, str]:
        """Return the headers of a request: those given, and those that authorize it. For the arguments see ``presign``.

        ``sha256`` is that of the body in hex, or ``UNSIGNED_PAYLOAD``.
        """
        (day, moment), key = _stamps(now), self._access_key()
        signed = {**headers, "X-Amz-Content-SHA256": sha256, "X-Amz-Date": moment}
        if key.session_token:
            signed["X-Amz-Security-Token"] = key.session_token
        names, lines = self._canonical_headers(signed)
        request = f"{method}\n{self._location(path)}\n{_encode(query or {})}\n{lines}\n{names}\n{sha256}"
        parts = {
            "Credential": f"{key.access_key_id}/{self._scope(day)}",
            "SignedHeaders": names,
            "Signature": self._sign(key, day, moment, request),
        }
        signed["Authorization"] = f"{_ALGORITHM} {', '.join(f'{name}={value}' for name, value in parts.items())}"
        return signed

    def _location(self, path: str) -> str:
        return self._root + quote(path, safe="/~")

    def _canonical_headers(self, headers: Mapping[str, str]) -> tuple[str, str]:
        """Return the names for ``SignedHeaders``, and the lines that are signed."""
        all_headers = sorted([("host", self.host), *((name.lower(), value) for name, value in headers.items())])
        lines = "".join(f"{name}:{' '.join(value.split())}\n" for name, value in all_headers)
        return ";".join([name for name, _ in all_headers]), lines

    def _scope(self, day: str) -> str:
        return f"{day}/{self._region}/s3/aws4_request"

    def _sign(self, access_key: AccessKey, day: str, moment: str, canonical_request: str) -> str:
        digest = hashlib.sha256(canonical_request.encode()).hexdigest()
        message = f"{_ALGORITHM}\n{moment}\n{self._scope(day)}\n{digest}"
        key = _signing_key(access_key.secret_access_key, day, self._region)
        return hmac.digest(key, message.encode(), "sha256").hex()


@lru_cache(maxsize=8)
def _signing_key(secret: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


@lru_cache(maxsize=1024)
def _quote(text: str) -> str:
    return quote(text, safe="~")


def _encode(query: Mapping[str, str]) -> str:
    """Return the canonical query string, which is valid in a URL."""
    pairs = sorted((_quote(name), _quote(value)) for name, value in query.items())
    return "&".join(f"{name}={value}" for name, value in pairs)


def _stamps(now: datetime | None) -> tuple[str, str]:
    """Return the day and the moment, in UTC."""
    moment = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    return moment[:8], moment
