"""What a list of jobs is restricted to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.contracts.presets import PresetVersionOf


@dataclass(frozen=True)
class JobFilters:
    """Conditions that all hold. Without any, the list has all jobs of the user."""

    status: JobStatus | None = None
    created_after: datetime | None = None
    """Inclusive."""
    created_before: datetime | None = None
    """Exclusive."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Values that the metadata has, among others."""
    preset: PresetVersionOf | None = None
    batch_id: UUID | None = None

    @property
    def indexed(self) -> tuple[str, str] | None:
        """Name and value in the table ``job_filters`` by which the jobs are found; the other conditions are checked.

        The first one that usually has few jobs: None if the table has none of the conditions.
        """
        if self.batch_id is not None:
            return "batch", str(self.batch_id)
        for name, value in self.metadata.items():
            return f"metadata.{name}", value
        if self.preset is not None:
            version = f"@{self.preset.version}" if self.preset.version else ""
            return "preset", f"{self.preset.name}{version}"
        return None
