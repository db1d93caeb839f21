"""What may be taken from the queue: a judgement of raw bytes, before anything else looks at them.

Whoever can write to Redis can put anything there. Nothing here may raise, whatever the bytes are; and what is taken
must be such that dramatiq can neither stumble over it nor be told by it to do anything but call the actor.
"""

from __future__ import annotations

import json
from enum import Enum
from typing import Annotated, Any, Literal

import dramatiq
from pydantic import BaseModel, ConfigDict, Field

from pixelflow.contracts.messages import SCHEMA, VERSIONS, ProcessImage

MAX_BYTES = 16 * 1024
"""Of one message; ours have some 500."""


class Classification(Enum):
    """What is to be done with a message."""

    TAKE = "take"
    LEAVE = "leave"
    """Its version is not known here: it is for a newer worker."""
    REJECT = "reject"
    """It is none of ours."""


class _Options(BaseModel):
    """No others: by some, dramatiq would hold the message back or send it on."""

    model_config = ConfigDict(extra="forbid", strict=True)

    redis_message_id: Annotated[str, Field(min_length=1, max_length=64)]


class _Envelope(BaseModel):
    """dramatiq's message, as PixelFlow uses it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    queue_name: Literal["images"]
    actor_name: Literal["process_image"]
    args: tuple[ProcessImage]
    keywords: Annotated[dict[str, Any], Field(alias="kwargs", max_length=0)]
    options: _Options
    message_id: Annotated[str, Field(max_length=64)]
    message_timestamp: int


class _Named(BaseModel):
    """What every version of every message says of itself."""

    model_config = ConfigDict(extra="ignore", strict=True)

    schema_: Annotated[str, Field(alias="schema")]
    version: int


class _Addressed(BaseModel):
    """As much of a message as a newer release may be counted on to keep."""

    model_config = ConfigDict(extra="ignore", strict=True)

    args: Annotated[list[_Named], Field(min_length=1, max_length=1)]


def classify(raw: bytes) -> Classification:
    """Whether to take this message, leave it to a newer worker, or reject it."""
    if len(raw) > MAX_BYTES:
        return Classification.REJECT
    try:
        named = _Addressed.model_validate(json.loads(raw.decode())).args[0]
        if named.schema_ == SCHEMA and named.version > max(VERSIONS):
            return Classification.LEAVE
        _Envelope.model_validate(dramatiq.Message.decode(raw).asdict())
    except (ValueError, RecursionError, dramatiq.DecodeError):  # Pydantic's and JSON's are ValueErrors
        return Classification.REJECT
    return Classification.TAKE


def kept_as(raw: bytes) -> str:
    """The id under which a message that was judged fit to be taken says that Redis keeps it."""
    message_id: str = dramatiq.Message.decode(raw).options["redis_message_id"]
    return message_id
