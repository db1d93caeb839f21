"""Sources that are there already, so that nothing is uploaded."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class JobSource:
    """The source of an earlier job of yours or, with ``output``, the output of that step."""

    job_id: UUID | str
    output: str | None = None

    def declared(self) -> dict[str, str]:
        """Return the ``source`` of a request."""
        return {"job": str(self.job_id)} | ({"output": self.output} if self.output is not None else {})

    @property
    def name(self) -> str:
        """A name for people, and for the files of outputs."""
        return str(self.job_id) if self.output is None else f"{self.job_id}-{self.output}"
