"""Sources that are there already, so that nothing is uploaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import unquote, urlsplit
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


@dataclass(frozen=True)
class UrlSource:
    """A file that a worker fetches from a URL, if the operator enabled this. The URL may contain a token."""

    url: str = field(repr=False)

    def declared(self) -> dict[str, str]:
        """Return the ``source`` of a request."""
        return {"url": self.url}

    @property
    def name(self) -> str:
        """A name for people, and for the files of outputs: the last part of the path, or the host."""
        try:
            parts = urlsplit(self.url)
        except ValueError:
            return "source"
        return _last_part(unquote(parts.path).rstrip("/")) or parts.hostname or "source"


@dataclass(frozen=True)
class BucketSource:
    """An object in a bucket that the operator named and lets you read."""

    bucket: str
    """The name that the operator gave it."""
    key: str

    def declared(self) -> dict[str, str]:
        """Return the ``source`` of a request."""
        return {"bucket": self.bucket, "key": self.key}

    @property
    def name(self) -> str:
        """A name for people, and for the files of outputs: the last part of the key."""
        return _last_part(self.key) or "source"


def _last_part(path: str) -> str:
    """Return the last part of a path; empty if it can't be the name of a file."""
    last = path.rpartition("/")[2].replace("\0", "")
    return "" if last in {".", ".."} else last


ExistingSource: TypeAlias = JobSource | UrlSource | BucketSource
"""A source that is there already."""
