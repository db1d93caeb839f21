"""API keys: what they may be used for, what a client sends to make one and what it gets back."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints


class Scope(StrEnum):
    """What a key or a token may be used for."""

    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    USAGE_READ = "usage:read"
    WEBHOOKS_WRITE = "webhooks:write"
    KEYS_WRITE = "keys:write"
    ADMIN = "admin"
    """All of the others, and those to come."""


DEFAULT_SCOPES = frozenset(Scope) - {Scope.ADMIN}
"""What a key may do whose maker does not say."""

KeyName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$"),
    Field(description="To tell it from your other keys.", examples=["shop backend"]),
]


class CreateKeyRequest(BaseModel):
    """The body of ``POST /v1/keys``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: KeyName
    scopes: Annotated[
        frozenset[Scope],
        Field(min_length=1, description="At most what you may do yourself.", examples=[["jobs:read", "jobs:write"]]),
    ]
    expires_at: Annotated[
        AwareDatetime | None,
        Field(
            ge=datetime(2000, 1, 1, tzinfo=UTC),
            lt=datetime(3000, 1, 1, tzinfo=UTC),
            description="With its offset from UTC. Null: it is good until it is revoked.",
        ),
    ] = None


class ApiKey(BaseModel):
    """A key, without what makes it one."""

    model_config = ConfigDict(frozen=True)

    key_id: Annotated[str, Field(description="The key begins with `pf_<key_id>_`.", examples=["3f9c1b7a20de"])]
    name: str
    scopes: list[Scope]
    created_at: datetime
    last_used_at: Annotated[datetime | None, Field(description="To the minute.")]
    expires_at: datetime | None
    revoked_at: datetime | None
    rate_limit: Annotated[
        int | None,
        Field(
            description="Requests of each class within the window, where the operator has given this key, or the one "
            "that made it, a limit of its own. Null: it shares the limit of all of your keys."
        ),
    ] = None


class CreatedKey(ApiKey):
    """The answer to ``POST /v1/keys``."""

    key: Annotated[str, Field(repr=False, description="The whole key. It is shown this once; only a hash is kept.")]


class KeyList(BaseModel):
    """The answer to ``GET /v1/keys``: those in force first, then newest first."""

    model_config = ConfigDict(frozen=True)

    data: list[ApiKey]
