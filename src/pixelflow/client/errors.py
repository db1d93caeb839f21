"""Every way in which the SDK says no, and the one place where httpx's errors become ours.

    ClientError
    ├── ConfigurationError      no API address or key, or one that can't be right
    ├── InvalidRequestError     refused before anything was sent
    ├── ConnectionFailedError   the API or the object storage can't be reached, or broke off
    ├── ApiError                the API answered with a problem
    ├── TransferError           an upload or download did not end well
    ├── JobFailedError          the job ended otherwise than succeeded
    └── WaitTimeoutError        the job was not over in time

No message ever holds an API key or the query of a presigned URL.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import httpx

from pixelflow.contracts.errors import FieldError
from pixelflow.contracts.jobs import Job

_TOLD = 5
"""Faults that a message tells; ``errors`` has all."""


class ClientError(Exception):
    """Root of the tree. ``str(error)`` is one sentence fit for people.

    Attributes:
        code: stable; what a program should look at.
    """

    code: str = "client_error"


class ConfigurationError(ClientError):
    """The address of the API or its key is missing or can't be right."""

    code = "not_configured"


class InvalidRequestError(ClientError):
    """What was asked for can't be right; nothing was sent.

    Attributes:
        summary: for people, without what ``errors`` tells; ``str(error)`` has the first of those, too.
        errors: everything that is wrong, each with a JSON Pointer into the request.
    """

    code = "invalid_request"

    def __init__(self, detail: str, errors: Sequence[FieldError]) -> None:
        super().__init__(_with_errors(detail, errors))
        self.summary = detail
        self.errors = tuple(errors)


def _with_errors(summary: str, errors: Sequence[FieldError]) -> str:
    told = [f"{error.pointer or '/'} {error.message}" for error in errors[:_TOLD]]
    more = [f"and {len(errors) - _TOLD} more"] if len(errors) > _TOLD else []
    return f"{summary}: {'; '.join(told + more)}" if errors else summary


class ConnectionFailedError(ClientError):
    """The other side can't be reached, or broke off.

    Attributes:
        sent: whether the request may have arrived all the same.
        transient: whether the same request may do better in a moment.
    """

    code = "connection_failed"

    def __init__(self, detail: str, *, sent: bool, transient: bool = True) -> None:
        super().__init__(detail)
        self.sent = sent
        self.transient = transient


class ApiError(ClientError):
    """The API refused, or answered what this version does not understand (``unexpected_answer``).

    Attributes:
        code: the API's own.
        status: of HTTP.
        detail: for people, as the API said it.
        summary: the same with status and code; ``str(error)`` has the first of ``errors``, too.
        errors: what is wrong in the request, each with a JSON Pointer.
        request_id: what to tell the operator of the API.
    """

    def __init__(
        self, *, code: str, status: int, detail: str, errors: Sequence[FieldError] = (), request_id: str | None = None
    ) -> None:
        self.summary = f"{detail} ({status} {code})"
        super().__init__(_with_errors(self.summary, errors))
        self.code = code
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)
        self.request_id = request_id


class TransferError(ClientError):
    """A file could not be uploaded or downloaded as it should be.

    Attributes:
        status: what object storage answered; None when the fault lies elsewhere.
    """

    code = "transfer_failed"

    def __init__(self, detail: str, *, status: int | None = None) -> None:
        super().__init__(detail)
        self.status = status


class JobFailedError(ClientError):
    """The job is over and did not succeed.

    Attributes:
        code: why it failed, else how it ended.
        job: all that is known.
    """

    def __init__(self, job: Job) -> None:
        reason = f": {job.error.message} ({job.error.code})" if job.error else ""
        super().__init__(f"Job {job.job_id} {job.status.value}{reason}")
        self.code = job.error.code if job.error else job.status.value
        self.job = job


class WaitTimeoutError(ClientError):
    """The job was not over in time; it goes on. ``job`` is as it was last seen."""

    code = "wait_timeout"

    def __init__(self, job: Job, timeout: float) -> None:
        super().__init__(f"Job {job.job_id} is still {job.status.value} after {timeout:g} s")
        self.job = job


class _Meaning(NamedTuple):
    sentence: str
    sent: bool
    transient: bool


# From httpx's tree (httpx._exceptions); the nearest ancestor that is listed speaks for a class that is not.
_MEANINGS: dict[type[Exception], _Meaning] = {
    httpx.ConnectError: _Meaning("can't be reached", sent=False, transient=True),
    httpx.ConnectTimeout: _Meaning("did not accept a connection in time", sent=False, transient=True),
    httpx.PoolTimeout: _Meaning("has no free connection in this client", sent=False, transient=True),
    httpx.ProxyError: _Meaning("can't be reached through the proxy", sent=False, transient=True),
    httpx.TimeoutException: _Meaning("did not answer in time", sent=True, transient=True),
    httpx.NetworkError: _Meaning("broke off the connection", sent=True, transient=True),
    httpx.RemoteProtocolError: _Meaning("broke off the connection", sent=True, transient=True),
    httpx.UnsupportedProtocol: _Meaning("has an address that is neither http nor https", sent=False, transient=False),
    httpx.LocalProtocolError: _Meaning("can't be sent such a request", sent=False, transient=False),
    httpx.InvalidURL: _Meaning("has an address that is not valid", sent=False, transient=False),
    httpx.HTTPError: _Meaning("answered in a way that can't be read", sent=True, transient=False),
    httpx.CookieConflict: _Meaning("answered in a way that can't be read", sent=True, transient=False),
    httpx.StreamError: _Meaning("answered in a way that can't be read", sent=True, transient=False),
}


def host_of(url: str) -> str:
    """Scheme, host and port of ``url``: what may be shown of any URL."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        return "The server"
    return f"{parts.scheme}://{parts.netloc.decode('ascii')}"


@contextmanager
def mapped(url: str) -> Iterator[None]:
    """Turn every error of httpx within into a ``ConnectionFailedError`` that names the host of ``url`` alone.

    Causes are cut off: httpx's messages and the requests that hang on them may hold headers and queries.
    """
    failure = None
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL, httpx.CookieConflict, httpx.StreamError) as error:
        failure = _connection_failed(url, error)
    if failure is not None:
        raise failure


def _connection_failed(url: str, error: Exception) -> ConnectionFailedError:
    meaning = next(_MEANINGS[kind] for kind in type(error).__mro__ if kind in _MEANINGS)
    # Only here does httpx's own text help («Connection refused», «certificate verify failed»), and it holds no secret.
    reason = f": {error}" if isinstance(error, httpx.ConnectError) and str(error) else ""
    return ConnectionFailedError(
        f"{host_of(url)} {meaning.sentence}{reason}", sent=meaning.sent, transient=meaning.transient
    )
