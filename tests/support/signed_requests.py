"""Signed S3 requests, with botocore's signatures and the standard library's HTTP client."""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from botocore.auth import SIGV4_TIMESTAMP, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    content_type: str | None


class _Signer(S3SigV4QueryAuth):  # type: ignore[misc]  # botocore is untyped
    """Signs with an earlier timestamp."""

    age = timedelta()

    def _modify_request_before_signing(self, request: AWSRequest) -> None:
        request.context["timestamp"] = (datetime.now(UTC) - self.age).strftime(SIGV4_TIMESTAMP)
        super()._modify_request_before_signing(request)


@dataclass(frozen=True)
class Target:
    """A bucket and the credentials for it."""

    endpoint: str
    bucket: str
    region: str
    access_key: str
    secret_key: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Target:
        """Return the target of a PixelFlow process with these settings."""
        names = ("ENDPOINT_URL", "BUCKET", "REGION", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY")
        return cls(*(environment[f"PIXELFLOW_S3_{name}"] for name in names))

    def presign(
        self, method: str, key: str, *, headers: Mapping[str, str] | None = None, expires: int = 60, age: int = 0
    ) -> str:
        """Return a path-style URL for one request, signed ``age`` seconds ago and valid for ``expires`` seconds."""
        request = AWSRequest(method=method, url=f"{self.endpoint}/{self.bucket}/{key}", headers=dict(headers or {}))
        signer = _Signer(Credentials(self.access_key, self.secret_key), "s3", self.region, expires=expires)
        signer.age = timedelta(seconds=age)
        signer.add_auth(request)
        return str(request.url)


def send(method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
    """Send a request with the given headers, Host and Content-Length only."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    try:
        connection.request(
            method, parts._replace(scheme="", netloc="").geturl(), body=body or None, headers=dict(headers or {})
        )
        answer = connection.getresponse()
        return Answer(answer.status, answer.read(), answer.headers.get("Content-Type"))
    finally:
        connection.close()
