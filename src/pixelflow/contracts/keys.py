"""API keys: their scopes, and the requests and responses of ``/v1/keys``."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from pixelflow.contracts.responses import Open, ResponseModel


class Scope(StrEnum):
    """A permission of an API key or token."""

    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    USAGE_READ = "usage:read"
    WEBHOOKS_WRITE = "webhooks:write"
    KEYS_WRITE = "keys:write"
    ADMIN = "admin"
    """Includes every other scope, also those added later."""


DEFAULT_SCOPES = frozenset(Scope) - {Scope.ADMIN}
"""The scopes of a key that is created without an explicit list."""

KEY_NAME_PATTERN = r"^[^\x00-\x1f\x7f]+$"
KeyName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=64, pattern=KEY_NAME_PATTERN),
    Field(description="Name that distinguishes the key from your other keys.", examples=["shop backend"]),
]


class CreateKeyRequest(BaseModel):
    """The body of ``POST /v1/keys``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: KeyName
    scopes: Annotated[
        frozenset[Scope],
        Field(
            min_length=1,
            description="Scopes of the key. You can grant only scopes that you have.",
            examples=[["jobs:read", "jobs:write"]],
        ),
    ]
    expires_at: Annotated[
        AwareDatetime | None,
        Field(
            ge=datetime(2000, 1, 1, tzinfo=UTC),
            lt=datetime(3000, 1, 1, tzinfo=UTC),
            description="When the key expires, with a UTC offset. Null: the key is valid until it is revoked.",
        ),
    ] = None


class ApiKey(ResponseModel):
    """An API key, without its secret."""

    key_id: Annotated[
        str, Field(description="ID of the key. The key itself starts with `pf_<key_id>_`.", examples=["3f9c1b7a20de"])
    ]
    name: str
    scopes: list[Open[Scope]]
    created_at: datetime
    last_used_at: Annotated[datetime | None, Field(description="When the key was last used, to the minute.")]
    expires_at: datetime | None
    revoked_at: datetime | None
    rate_limit: Annotated[
        int | None,
        Field(
            description="Requests per route class and window, if the operator gave this key, or the key that created "
            "it, its own limit. Null: the key shares the limit of all your keys."
        ),
    ] = None


class CreatedKey(ApiKey):
    """The response to ``POST /v1/keys``."""

    key: Annotated[
        str, Field(repr=False, description="The complete key. It is shown only once: PixelFlow stores only a hash.")
    ]


class KeyList(ResponseModel):
    """The response to ``GET /v1/keys``: active keys first, then newest first."""

    data: list[ApiKey]
