"""Classifies raw messages before anything else parses them.

Anybody who can write to Redis can put any bytes there. No function here may raise, whatever the bytes. An accepted
message must be valid for dramatiq and must not make dramatiq do anything but call the actor.
"""

from __future__ import annotations

import json
from enum import Enum
from typing import Annotated, Any, Literal

import dramatiq
from pydantic import BaseModel, ConfigDict, Field

from pixelflow.contracts.messages import SCHEMA, VERSIONS, ProcessImage

MAX_BYTES = 16 * 1024
"""Of one message; PixelFlow's have about 500."""


class Classification(Enum):
    """What to do with a message."""

    TAKE = "take"
    DEFER = "defer"
    """Its version is newer than this release: leave it to a newer worker."""
    REJECT = "reject"
    """It is not a message of PixelFlow."""


class _Options(BaseModel):
    """No other options: some make dramatiq delay or forward the message."""

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
    """The fields of every version of every message."""

    model_config = ConfigDict(extra="ignore", strict=True)

    schema_: Annotated[str, Field(alias="schema")]
    version: int


class _Addressed(BaseModel):
    """The part of an envelope that newer releases must not change."""

    model_config = ConfigDict(extra="ignore", strict=True)

    args: Annotated[list[_Named], Field(min_length=1, max_length=1)]


def classify(raw: bytes) -> Classification:
    """Decide whether to take this message, defer it to a newer worker, or reject it."""
    if len(raw) > MAX_BYTES:
        return Classification.REJECT
    try:
        named = _Addressed.model_validate(json.loads(raw.decode())).args[0]
        if named.schema_ == SCHEMA and named.version > max(VERSIONS):
            return Classification.DEFER
        _Envelope.model_validate(dramatiq.Message.decode(raw).asdict())
    except (ValueError, RecursionError, dramatiq.DecodeError):  # Pydantic's and JSON's are ValueErrors
        return Classification.REJECT
    return Classification.TAKE


def kept_as(raw: bytes) -> str:
    """Return the ID under which Redis stores a message, as named in the message. Only for messages to take."""
    message_id: str = dramatiq.Message.decode(raw).options["redis_message_id"]
    return message_id
