"""Checks of the servers that the settings name, and of the API that the command line uses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pixelflow.cli.credentials import find_session, is_session_configured
from pixelflow.cli.diagnosis.buckets import check_buckets
from pixelflow.cli.diagnosis.finding import Finding, absent, error, ok, warning, within_limit
from pixelflow.cli.errors import exit_code_of
from pixelflow.cli.exit_codes import ExitCode
from pixelflow.client import ApiError, Client, ClientError
from pixelflow.errors import DependencyError

if TYPE_CHECKING:
    from pixelflow.client.session import Session
    from pixelflow.settings import Settings

_MIN_POSTGRES = 14
_NOT_FOUND = 404


def check_service(settings: Settings) -> Iterator[Finding]:
    """Yield the state of Postgres, Redis, object storage and the named buckets."""
    yield from within_limit("Postgres", lambda: list(_postgres(settings)))
    yield from within_limit("Redis", lambda: [_redis(settings)])
    yield from within_limit("object storage", lambda: [_object_storage(settings)])
    yield from check_buckets(settings)


def check_api() -> Iterator[Finding]:
    """Yield the state of the API."""
    try:
        session = find_session()
    except ClientError as failure:
        if is_session_configured():
            yield error("API", str(failure), None, exit_code_of(failure))
        else:
            yield absent("API", "no API is configured", f"{failure}.")
        return
    yield from within_limit("API", lambda: list(_api(session)))


def _postgres(settings: Settings) -> Iterator[Finding]:
    from pixelflow.adapters.postgres.state import read_state  # noqa: PLC0415 - see the package's docstring

    try:
        state = read_state(settings.database_url.get_secret_value())
    except DependencyError as failure:
        yield _unreachable("Postgres", failure, "PIXELFLOW_DATABASE_URL")
        return
    if state.version < _MIN_POSTGRES:
        yield error("Postgres", f"version {state.version}", f"Use Postgres {_MIN_POSTGRES} or later.")
    else:
        yield ok("Postgres", f"version {state.version}")
    if state.missing is None:
        advice = "Set PIXELFLOW_DATABASE_URL to that of the tables' owner, if you want to check them."
        yield absent("migrations", "not checked: this role has no right to read which are applied", advice)
    elif state.missing:
        yield error("migrations", f"missing: {', '.join(state.missing)}", "Run `pixelflow migrate`.")
    else:
        yield ok("migrations", "all are applied")


def _redis(settings: Settings) -> Finding:
    from pixelflow.adapters.wakeup import WakeUpSender  # noqa: PLC0415 - see the package's docstring

    async def ping() -> None:
        async with WakeUpSender(settings.redis_url.get_secret_value()) as wakeups:
            await wakeups.ping()

    try:
        asyncio.run(ping())
    except DependencyError as failure:
        return _unreachable("Redis", failure, "PIXELFLOW_REDIS_URL")
    return ok("Redis", "answers")


def _object_storage(settings: Settings) -> Finding:
    from pixelflow.adapters.storage.aws_credentials import (  # noqa: PLC0415 - see the package's docstring
        CredentialsError,
        find_source,
    )
    from pixelflow.adapters.storage.objects import ObjectStorage  # noqa: PLC0415 - the same
    from pixelflow.adapters.storage.signatures import no_access_key  # noqa: PLC0415 - the same
    from pixelflow.settings import aws_variables  # noqa: PLC0415 - the same

    source = find_source(aws_variables(), region=settings.s3_region)
    try:
        key = source.fetch() if settings.uses_aws_credentials else None
        asyncio.run(ObjectStorage(settings, (lambda: key) if key else no_access_key).ping())
    except CredentialsError as failure:
        remedy = f"Check what AWS gives this process: its source is `{source.name}`; see docs/storage.md."
        return error("object storage", f"no credentials of AWS: {failure}", remedy, ExitCode.UNREACHABLE)
    except DependencyError as failure:
        return _unreachable("object storage", failure, "the PIXELFLOW_S3_ settings: address, bucket and credentials")
    return ok("object storage", f"bucket {settings.s3_bucket} can be listed")


def _unreachable(name: str, failure: DependencyError, setting: str) -> Finding:
    return error(name, str(failure), f"Check the server and {setting}.", ExitCode.UNREACHABLE)


def _api(session: Session) -> Iterator[Finding]:
    try:
        with Client(session=session) as client:
            found = client.capabilities()
    except ClientError as failure:
        if isinstance(failure, ApiError) and failure.status == _NOT_FOUND:
            yield warning("API", "its release is older than this command line", "Upgrade the service.")
        else:
            yield error("API", str(failure), "Check PIXELFLOW_API_URL and PIXELFLOW_API_KEY.", exit_code_of(failure))
        return
    yield ok("API", f"release {found.release} at {session.api_url}")
    live = sum(each.workers for each in found.workers)
    degraded = sum(each.degraded for each in found.workers)
    if not live:
        yield warning("workers", "none is live; jobs wait", "Start a worker: `pixelflow worker`.")
    elif degraded:
        yield warning("workers", f"{degraded} of {live} claim no jobs", "Their log and /readyz have the reason.")
    else:
        yield ok("workers", f"{live} live")
