"""Operations on API keys, shared by both clients. Does no I/O. Must never show a key, except in the response."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any
from urllib.parse import quote

from pixelflow.client.api_calls import delete, get, post
from pixelflow.client.arguments import require
from pixelflow.client.models import Operation
from pixelflow.client.operations import validated
from pixelflow.client.session import Session
from pixelflow.contracts.keys import CreatedKey, CreateKeyRequest, KeyList, Scope


def create_key(
    session: Session, name: str, *, scopes: Collection[Scope | str], expires_at: datetime | None = None
) -> Operation[CreatedKey]:
    """Create an API key of your user. ``key`` of the response is the only copy.

    Args:
        session: of the client.
        name: for people.
        scopes: such as ``["jobs:read", "jobs:write"]``; only those that your own key has.
        expires_at: with a UTC offset. Default: the key is valid until it is revoked.

    Raises:
        InvalidRequestError: the request is not valid; nothing was sent.
        ApiError: the API rejected the request; ``too_many_keys`` if a limit is reached.
        ConnectionFailedError: no response.
    """
    raw: dict[str, Any] = {"name": name, "scopes": list(scopes)}
    if expires_at is not None:
        raw["expires_at"] = expires_at
    request = validated(CreateKeyRequest, raw, message="The key is not valid")
    return (yield from post(session, "/v1/keys", CreatedKey, request.model_dump_json(exclude_unset=True).encode()))


def list_keys(session: Session) -> Operation[KeyList]:
    """Return your API keys: active keys first, then newest first.

    Raises:
        ApiError: the API rejected the request.
        ConnectionFailedError: no response.
    """
    return (yield from get(session, "/v1/keys", KeyList))


def revoke_key(session: Session, key_id: str) -> Operation[None]:
    """Revoke an API key: within two seconds, all requests with it fail. Idempotent.

    Raises:
        ApiError: the API rejected the request; ``not_found`` also for a key of another user.
        ConnectionFailedError: no response.
    """
    yield from delete(session, f"/v1/keys/{quote(require(key_id, str, 'key_id', 'the ID of a key'), safe='')}")
