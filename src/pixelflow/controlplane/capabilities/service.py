"""What this installation can do, and whether it can process a job."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pixelflow import __version__
from pixelflow.adapters.postgres.database import AsyncConnection, AsyncDatabase
from pixelflow.contracts.capabilities import CONTRACT, URL_SOURCES, WorkerProfile, is_optional
from pixelflow.contracts.installation import (
    InputFormatCapability,
    Installation,
    InstallationLimits,
    OperationCapability,
    OptionalCapability,
    OutputFormatCapability,
    WorkerCapabilities,
)
from pixelflow.contracts.jobs.requests import MAX_METADATA_KEYS
from pixelflow.controlplane.capabilities import store
from pixelflow.controlplane.capabilities.store import WorkerGroup
from pixelflow.errors import UnsupportedCapabilityError
from pixelflow.imaging.extras import EXTRAS
from pixelflow.imaging.fields import MAX_DIMENSION
from pixelflow.imaging.format import Format
from pixelflow.imaging.formats.registry import INPUT_FORMATS, OUTPUT_FORMATS
from pixelflow.imaging.operations.registry import OPERATIONS
from pixelflow.imaging.pipeline import MAX_STEPS
from pixelflow.settings import Settings

CACHE_SECONDS = 5
"""How long an answer is reused, for all users: a sign of life of a worker comes every 5 s."""

OPERATION_CAPABILITIES = [
    OperationCapability(
        action=action,
        summary=operation.summary,
        since=operation.since,
        schema_=f"/openapi.json#/components/schemas/{operation.model.__name__}",
    )
    for action, operation in OPERATIONS.items()
]


class CapabilityQueries:
    """Describes the installation. Reads the database at most once in ``CACHE_SECONDS``, for any number of callers."""

    def __init__(
        self,
        settings: Settings,
        database: AsyncDatabase,
        *,
        max_body_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._limits = _limits(settings, max_body_bytes)
        self._clock = clock
        self._lock = asyncio.Lock()
        self._valid_until = float("-inf")
        self._answer: Installation | None = None

    async def get(self) -> Installation:
        """Return what the installation can do, at most ``CACHE_SECONDS`` old.

        Raises:
            StoreUnavailableError: the database is unavailable.
        """
        async with self._lock:
            if self._answer is None or self._clock() >= self._valid_until:
                async with self._database.connection() as connection:
                    groups = await store.list_workers(connection)
                self._answer = describe(groups, self._limits)
                self._valid_until = self._clock() + CACHE_SECONDS
            return self._answer


def describe(groups: Sequence[WorkerGroup], limits: InstallationLimits) -> Installation:
    """Return what an installation with these live workers can do."""
    workers = [_workers(group) for group in groups]
    counts = Counter(dict.fromkeys((*EXTRAS, URL_SOURCES), 0))
    for each in workers:
        counts.update(dict.fromkeys(each.optional, each.workers))
    live = counts if workers else None
    return Installation(
        release=__version__,
        contract=CONTRACT,
        operations=OPERATION_CAPABILITIES,
        input_formats=[_input_format(format_, live) for format_ in INPUT_FORMATS.values()],
        output_formats=[_output_format(format_, live) for format_ in OUTPUT_FORMATS.values()],
        limits=limits,
        optional=[OptionalCapability(name=name, workers=count) for name, count in sorted(counts.items())],
        workers=workers,
    )


def _workers(group: WorkerGroup) -> WorkerCapabilities:
    profile = WorkerProfile.of(group.capabilities)
    return WorkerCapabilities(
        workers=group.workers,
        slots=group.slots,
        degraded=group.degraded,
        contract=profile.contract,
        optional=profile.extras,
        libvips=profile.libvips,
        release=profile.release,
    )


def _input_format(format_: Format, live: Mapping[str, int] | None) -> InputFormatCapability:
    return InputFormatCapability(
        format=format_.name,
        label=format_.label,
        media_type=format_.media_type,
        requires=format_.extra,
        available=_is_available(format_.extra, live),
    )


def _output_format(format_: Format, live: Mapping[str, int] | None) -> OutputFormatCapability:
    return OutputFormatCapability(
        format=format_.name,
        aliases=list(format_.aliases),
        label=format_.label,
        media_type=format_.media_type,
        extension=format_.extension,
        since=format_.since,
        max_side=format_.max_side,
        transparency=format_.alpha,
        animation=format_.animation,
        default_quality=format_.default_quality,
        encoder=_schema(format_),
        requires=format_.extra,
        available=_is_available(format_.extra, live),
    )


def _schema(format_: Format) -> dict[str, Any]:
    return format_.options.model_json_schema() if format_.options else {}


def _is_available(extra: str | None, live: Mapping[str, int] | None) -> bool | None:
    if live is None:
        return None
    return extra is None or live.get(extra, 0) > 0


def _limits(settings: Settings, max_body_bytes: int) -> InstallationLimits:
    return InstallationLimits(
        body_bytes=max_body_bytes,
        steps=MAX_STEPS,
        dimension=MAX_DIMENSION,
        metadata_keys=MAX_METADATA_KEYS,
        source_bytes=settings.max_source_bytes,
        source_pixels=settings.max_source_pixels,
        output_pixels=settings.max_output_pixels,
        job_output_pixels=settings.max_job_output_pixels,
        output_bytes=settings.max_output_bytes,
        jpeg_scans=settings.max_jpeg_scans,
        transform_seconds=settings.job_timeout_seconds,
    )


# ── Jobs ─────────────────────────────────────────────────────────────────────────────────────────


async def check_supported(connection: AsyncConnection, requires: Sequence[str]) -> None:
    """Check that a worker of this installation has the optional capabilities of a job; see ``find_unsupported``.

    A contract that no worker supports is not checked: during an upgrade, the job waits for a newer worker.

    Raises:
        UnsupportedCapabilityError: none has.
    """
    optional = [name for name in requires if is_optional(name)]
    if not optional:
        return
    contracts = [name for name in requires if not is_optional(name)]
    if missing := await store.find_unsupported(connection, contracts=contracts, optional=optional):
        raise UnsupportedCapabilityError(_message(optional, missing))


def _message(optional: Sequence[str], missing: Sequence[str]) -> str:
    names, lacking = (" and ".join(f"`{name}`" for name in each) for each in (optional, missing))
    if URL_SOURCES in missing:
        return "No worker of this installation fetches sources by URL; the operator can enable it"
    if len(optional) == 1:
        return f"No worker of this installation has the extra {names}; the operator can install it"
    return f"No worker of this installation has all of the extras {names}: {lacking} would have to be added"
