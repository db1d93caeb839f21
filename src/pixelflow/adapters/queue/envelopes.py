"""What may be taken from the queue: a judgement of raw bytes, before anything else looks at them.

Whoever can write to Redis can put anything there. Nothing here may raise, whatever the bytes are.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pixelflow.contracts.messages import SCHEMA, VERSIONS, ProcessImage

MAX_BYTES = 16 * 1024
"""Of one message; ours have some 500."""


class Verdict(Enum):
    """What is to be done with a message."""

    TAKE = "take"
    LEAVE = "leave"
    """Its version is not known here: it is for a newer worker."""
    REJECT = "reject"
    """It is none of ours."""


class _Options(BaseModel):
    redis_message_id: Annotated[str, Field(max_length=64)]


class _Envelope(BaseModel):
    """dramatiq's message, as far as PixelFlow uses it."""

    model_config = ConfigDict(extra="ignore", strict=True)

    queue_name: Literal["images"]
    actor_name: Literal["process_image"]
    args: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=1)]
    keywords: Annotated[dict[str, Any], Field(alias="kwargs", max_length=0)]
    options: _Options
    message_id: Annotated[str, Field(max_length=64)]
    message_timestamp: int


class _Named(BaseModel):
    """What every version of every message says of itself."""

    model_config = ConfigDict(extra="ignore", strict=True)

    schema_: Annotated[str, Field(alias="schema")]
    version: int


def judge(raw: bytes) -> Verdict:
    """Whether to take this message, leave it to a newer worker, or reject it."""
    if len(raw) > MAX_BYTES:
        return Verdict.REJECT
    try:
        body = _Envelope.model_validate_json(raw).args[0]
        named = _Named.model_validate(body)
        if named.schema_ != SCHEMA:
            return Verdict.REJECT
        if named.version > max(VERSIONS):
            return Verdict.LEAVE
        ProcessImage.model_validate(body)
    except (ValidationError, RecursionError):
        return Verdict.REJECT
    return Verdict.TAKE
