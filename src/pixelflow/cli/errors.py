"""Errors of the SDK as messages on stderr and exit codes. An expected error must never reach a user as a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import typer

from pixelflow.cli.exit_codes import ExitCode
from pixelflow.cli.output import echo, echo_error
from pixelflow.client import (
    ApiError,
    ClientError,
    ConfigurationError,
    ConnectionFailedError,
    InvalidRequestError,
    WaitTimeoutError,
)

_EXIT_CODES: dict[type[ClientError], ExitCode] = {
    ConfigurationError: ExitCode.MISCONFIGURED,
    InvalidRequestError: ExitCode.USAGE,
    ConnectionFailedError: ExitCode.UNREACHABLE,
    ApiError: ExitCode.REFUSED,
    WaitTimeoutError: ExitCode.TIMED_OUT,
    ClientError: ExitCode.FAILED,
}


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Print any error of the SDK raised inside and exit with its code."""
    try:
        yield
    except ClientError as error:
        echo_client_error(error)
        raise typer.Exit(exit_code_of(error)) from None


def exit_code_of(error: ClientError) -> ExitCode:
    """Return the exit code for ``error``."""
    if isinstance(error, ApiError) and _is_server_failure(error):
        return ExitCode.UNREACHABLE
    return next(code for kind, code in _EXIT_CODES.items() if isinstance(error, kind))


def _is_server_failure(error: ApiError) -> bool:
    return error.code == "unexpected_answer" or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR


def is_fatal_for_batch(error: ClientError) -> bool:
    """Whether every other item would fail the same way: the server is unreachable, the key or the pipeline invalid."""
    if isinstance(error, ApiError) and error.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return True
    return exit_code_of(error) in {ExitCode.UNREACHABLE, ExitCode.USAGE}


def echo_client_error(error: ClientError, subject: object = None) -> None:
    """Print the error, every invalid field and the request ID that an operator needs to find the request."""
    echo_error(f"{subject}: {_summary(error)}" if subject is not None else _summary(error))
    if isinstance(error, (ApiError, InvalidRequestError)):
        for field_error in error.errors:
            echo(f"  {field_error.pointer or '/'}: {field_error.message}")
    if isinstance(error, ApiError) and error.request_id:
        echo(f"  request {error.request_id}")


def error_json(error: ClientError) -> dict[str, Any]:
    """Return ``error`` as part of a JSON document."""
    document: dict[str, Any] = {
        "code": error.code, "message": _summary(error), "exit_code": exit_code_of(error).value
    }  # fmt: skip
    if isinstance(error, ApiError):
        document["request_id"] = error.request_id
    if isinstance(error, (ApiError, InvalidRequestError)):
        document["errors"] = [field_error.model_dump() for field_error in error.errors]
    return document


def _summary(error: ClientError) -> str:
    """Return the message without the invalid fields, which are printed line by line."""
    return error.summary if isinstance(error, (ApiError, InvalidRequestError)) else str(error)
