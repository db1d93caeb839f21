"""What all errors have in common."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field


class FieldError(BaseModel):
    """One invalid field of a request."""

    model_config = ConfigDict(frozen=True)

    pointer: Annotated[
        str, Field(description="JSON Pointer (RFC 6901) to the invalid value.", examples=["/pipeline/0/width"])
    ]
    message: Annotated[str, Field(description="What is wrong and what to change.")]


class Fault(Enum):
    """What is at fault when an attempt fails; it decides whether the attempt counts."""

    JOB = "job"
    """The source or the job: it fails at the first attempt, since every other attempt would fail too."""
    CHILD = "child"
    """The process that transformed it died: the attempt counts, and the job has ``max_attempts``."""
    SOURCE = "source"
    """A server that the owner of the job named: the attempt counts, as above."""
    SERVICE = "service"
    """The worker or a backing service: the attempt does not count, and the job waits until it works."""


class PixelflowError(Exception):
    """Root of the tree. ``str(error)`` may be sent to the client: it contains no secret and no internal host name."""

    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"
    retryable: ClassVar[bool] = False
    fault: ClassVar[Fault] = Fault.JOB

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail
