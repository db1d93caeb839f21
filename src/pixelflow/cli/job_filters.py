"""The options by which commands choose jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer

from pixelflow.cli.chosen_preset import parse_pairs
from pixelflow.contracts.jobs.states import JobStatus

_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]

Status = Annotated[
    JobStatus | None,
    typer.Option(metavar="STATUS", help=f"Only jobs with this status: {', '.join(JobStatus)}."),
]
MetadataPairs = Annotated[
    list[str] | None,
    typer.Option("--metadata", metavar="KEY=VALUE", help="Only jobs whose metadata has this value. Can be repeated."),
]
OfPreset = Annotated[
    str | None, typer.Option(metavar="NAME[@VERSION]", help="Only jobs of this preset, or of this version of it.")
]
OfBatch = Annotated[UUID | None, typer.Option(metavar="BATCH_ID", help="Only jobs of this batch.")]
CreatedAfter = Annotated[
    datetime | None,
    typer.Option(formats=_TIMES, metavar="TIME", help="Only jobs created at this time or later, such as 2026-11-23."),
]
CreatedBefore = Annotated[
    datetime | None, typer.Option(formats=_TIMES, metavar="TIME", help="Only jobs created before this time.")
]


@dataclass(frozen=True)
class JobChoice:
    """Conditions that jobs meet. Times without an offset are local."""

    status: JobStatus | None
    metadata: Mapping[str, str]
    preset: str | None
    batch_id: UUID | None
    created_after: datetime | None
    created_before: datetime | None

    @classmethod
    def of(
        cls,
        *,
        status: JobStatus | None,
        metadata: Sequence[str] | None,
        preset: str | None,
        batch: UUID | None,
        created_after: datetime | None,
        created_before: datetime | None,
    ) -> JobChoice:
        """Return the conditions of the options."""
        pairs = parse_pairs(metadata or [], "--metadata", "sku=A-17")
        times = (time and time.astimezone() for time in (created_after, created_before))
        return cls(status, pairs, preset, batch, *times)

    @property
    def conditions(self) -> dict[str, Any]:
        """Those that are set, as the arguments of the SDK."""
        return {name: value for name, value in vars(self).items() if value}
