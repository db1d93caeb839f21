"""The errors of the SDK, and the mapping from httpx's errors to them.

    ClientError
    ├── ConfigurationError      the API URL or key is missing or not valid
    ├── InvalidRequestError     the request is not valid; nothing was sent
    ├── ConnectionFailedError   the API or object storage can't be reached, or closed the connection
    ├── ApiError                the API returned an error
    ├── TransferError           an upload or a download failed
    ├── JobFailedError          the job failed or was canceled
    ├── WaitTimeoutError        the job did not finish in time
    └── WebhookVerificationError  a webhook is not signed with the secret, or too old

A message must never contain an API key or the query of a presigned URL.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import httpx

from pixelflow.contracts.jobs.responses import Job
from pixelflow.errors import FieldError

_MAX_SHOWN = 5
"""Field errors in a message; ``errors`` has all of them."""


class ClientError(Exception):
    """Root of the tree. ``str(error)`` is one sentence for people.

    Attributes:
        code: stable error code for programs.
    """

    code: str = "client_error"


class ConfigurationError(ClientError):
    """The API URL or key is missing or not valid."""

    code = "not_configured"


class InvalidRequestError(ClientError):
    """The request is not valid; nothing was sent.

    Attributes:
        summary: the message without field errors; ``str(error)`` includes the first of them.
        errors: every invalid field, with a JSON Pointer into the request.
    """

    code = "invalid_request"

    def __init__(self, detail: str, errors: Sequence[FieldError]) -> None:
        super().__init__(_with_errors(detail, errors))
        self.summary = detail
        self.errors = tuple(errors)


def _with_errors(summary: str, errors: Sequence[FieldError]) -> str:
    shown = [f"{error.pointer or '/'} {error.message}" for error in errors[:_MAX_SHOWN]]
    more = [f"and {len(errors) - _MAX_SHOWN} more"] if len(errors) > _MAX_SHOWN else []
    return f"{summary}: {'; '.join(shown + more)}" if errors else summary


class ConnectionFailedError(ClientError):
    """The server can't be reached, or the connection was closed.

    Attributes:
        sent: whether the request may have arrived.
        transient: whether the same request may succeed later.
    """

    code = "connection_failed"

    def __init__(self, detail: str, *, sent: bool, transient: bool = True) -> None:
        super().__init__(detail)
        self.sent = sent
        self.transient = transient


class ApiError(ClientError):
    """The API returned an error, or a response that this version does not understand (``unexpected_answer``).

    Attributes:
        code: the error code of the API.
        status: HTTP status.
        detail: the message of the API.
        summary: ``detail``, or the title if the detail repeats one of ``errors``, with status and code; ``str(error)``
            includes the first of ``errors``.
        errors: every invalid field, with a JSON Pointer into the request.
        request_id: ID of the request, for the operator of the API.
        retry_after: seconds after which the same request may succeed, if the API said so.
    """

    def __init__(
        self,
        *,
        code: str,
        status: int,
        detail: str,
        title: str | None = None,
        errors: Sequence[FieldError] = (),
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        is_repeated = any(error.message in detail for error in errors)
        self.summary = f"{title if title and is_repeated else detail} ({status} {code})"
        super().__init__(_with_errors(self.summary, errors))
        self.code = code
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)
        self.request_id = request_id
        self.retry_after = retry_after


class TransferError(ClientError):
    """An upload or a download failed.

    Attributes:
        status: HTTP status of object storage; None if it did not cause the error.
    """

    code = "transfer_failed"

    def __init__(self, detail: str, *, status: int | None = None) -> None:
        super().__init__(detail)
        self.status = status


class JobFailedError(ClientError):
    """The job failed or was canceled, or ended with a status that this version does not know.

    Attributes:
        code: the error code of the job, or its status if it has none.
        job: the job.
    """

    def __init__(self, job: Job) -> None:
        reason = f": {job.error.message} ({job.error.code})" if job.error else ""
        super().__init__(f"Job {job.job_id} {job.status}{reason}")
        self.code = job.error.code if job.error else str(job.status)
        self.job = job


class WaitTimeoutError(ClientError):
    """The job did not finish in time and continues. ``job`` is its last known state."""

    code = "wait_timeout"

    def __init__(self, job: Job, timeout: float) -> None:
        super().__init__(f"Job {job.job_id} is still {job.status} after {timeout:g} s")
        self.job = job


class WebhookVerificationError(ClientError):
    """A webhook is not signed with the secret, is too old, or is not valid. Respond with 401."""

    code = "webhook_not_verified"


class _Mapping(NamedTuple):
    message: str
    sent: bool
    transient: bool


# The tree of httpx._exceptions. A class without an entry has the mapping of its nearest listed ancestor.
_HTTPX_ERRORS: dict[type[Exception], _Mapping] = {
    httpx.ConnectError: _Mapping("can't be reached", sent=False, transient=True),
    httpx.ConnectTimeout: _Mapping("did not accept a connection in time", sent=False, transient=True),
    httpx.PoolTimeout: _Mapping("can't be reached: this client has no free connection", sent=False, transient=True),
    httpx.ProxyError: _Mapping("can't be reached through the proxy", sent=False, transient=True),
    httpx.TimeoutException: _Mapping("did not respond in time", sent=True, transient=True),
    httpx.NetworkError: _Mapping("closed the connection", sent=True, transient=True),
    httpx.RemoteProtocolError: _Mapping("closed the connection", sent=True, transient=True),
    httpx.UnsupportedProtocol: _Mapping("has a URL that is neither http nor https", sent=False, transient=False),
    httpx.LocalProtocolError: _Mapping("can't be sent this request: it is not valid HTTP", sent=False, transient=False),
    httpx.InvalidURL: _Mapping("has a URL that is not valid", sent=False, transient=False),
    httpx.HTTPError: _Mapping("sent a response that can't be read", sent=True, transient=False),
    httpx.CookieConflict: _Mapping("sent a response that can't be read", sent=True, transient=False),
    httpx.StreamError: _Mapping("sent a response that can't be read", sent=True, transient=False),
}


def host_of(url: str) -> str:
    """Scheme, host and port of ``url``, the parts that are never secret."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        return "The server"
    return f"{parts.scheme}://{parts.netloc.decode('ascii')}"


@contextmanager
def map_httpx_errors(url: str) -> Iterator[None]:
    """Raise every error of httpx as a ``ConnectionFailedError`` that names only the host of ``url``.

    The cause is dropped: httpx's messages and the requests attached to them may hold headers and queries.
    """
    failure = None
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL, httpx.CookieConflict, httpx.StreamError) as error:
        failure = _connection_failed(url, error)
    if failure is not None:
        raise failure


def _connection_failed(url: str, error: Exception) -> ConnectionFailedError:
    mapping = next(_HTTPX_ERRORS[kind] for kind in type(error).__mro__ if kind in _HTTPX_ERRORS)
    # Only for this class does httpx's text help ("Connection refused", "certificate verify failed"). It has no secret.
    reason = f": {error}" if isinstance(error, httpx.ConnectError) and str(error) else ""
    return ConnectionFailedError(
        f"{host_of(url)} {mapping.message}{reason}", sent=mapping.sent, transient=mapping.transient
    )
