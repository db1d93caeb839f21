"""From errors to a sentence on stderr and an exit code. No error of ours reaches a person as a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import typer

from pixelflow.cli.exit_codes import ExitCode
from pixelflow.cli.output import complain, say
from pixelflow.client import (
    ApiError,
    ClientError,
    ConfigurationError,
    ConnectionFailedError,
    InvalidRequestError,
    WaitTimeoutError,
)

_CODES: dict[type[ClientError], ExitCode] = {
    ConfigurationError: ExitCode.MISCONFIGURED,
    InvalidRequestError: ExitCode.USAGE,
    ConnectionFailedError: ExitCode.UNREACHABLE,
    ApiError: ExitCode.REFUSED,
    WaitTimeoutError: ExitCode.TIMED_OUT,
    ClientError: ExitCode.FAILED,
}


def code_of(error: ClientError) -> ExitCode:
    """The exit code that ``error`` stands for."""
    if isinstance(error, ApiError) and _is_not_able(error):
        return ExitCode.UNREACHABLE
    return next(code for kind, code in _CODES.items() if isinstance(error, kind))


def _is_not_able(error: ApiError) -> bool:
    return error.code == "unexpected_answer" or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR


def would_meet_all(error: ClientError) -> bool:
    """Whether every other photo or job would be told the same: nobody there, key or pipeline not valid."""
    if isinstance(error, ApiError) and error.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return True
    return code_of(error) in {ExitCode.UNREACHABLE, ExitCode.USAGE}


def described(error: ClientError) -> dict[str, Any]:
    """``error`` as a part of a JSON document."""
    about: dict[str, Any] = {"code": error.code, "message": _summary(error), "exit_code": code_of(error).value}
    if isinstance(error, ApiError):
        about["request_id"] = error.request_id
    if isinstance(error, (ApiError, InvalidRequestError)):
        about["errors"] = [row.model_dump() for row in error.errors]
    return about


def tell(error: ClientError, about: object = None) -> None:
    """Say what went wrong, with all that is wrong in a request and what to tell an operator."""
    complain(f"{about}: {_summary(error)}" if about is not None else _summary(error))
    if isinstance(error, (ApiError, InvalidRequestError)):
        for row in error.errors:
            say(f"  {row.pointer or '/'}: {row.message}")
    if isinstance(error, ApiError) and error.request_id:
        say(f"  request {error.request_id}")


def _summary(error: ClientError) -> str:
    """The error without what is wrong in single fields, which is told line by line."""
    return error.summary if isinstance(error, (ApiError, InvalidRequestError)) else str(error)


@contextmanager
def reported() -> Iterator[None]:
    """Any error of the SDK within ends the command: told, and with its code."""
    try:
        yield
    except ClientError as error:
        tell(error)
        raise typer.Exit(code_of(error)) from None
