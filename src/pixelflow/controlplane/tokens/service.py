"""Bearer tokens (JWT, RFC 7519) of one issuer, whom the operator trusts to say who somebody is.

Never looks at what a token says of its own key but its id (``jwk``, ``jku``, ``x5u`` …), and never accepts an algorithm
that is not on the list: a key verifies by its own kind of signature or not at all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import jwt
import structlog

from pixelflow.contracts.errors import UnauthenticatedError
from pixelflow.controlplane.identity import Identity, is_user_id, parse_scopes
from pixelflow.controlplane.keys.service import unauthenticated
from pixelflow.controlplane.tokens.jwks import Jwks
from pixelflow.settings import Settings

MAX_BYTES = 8192
LEEWAY_SECONDS = 30
"""By which clocks may differ."""

_TOLD: dict[type[jwt.InvalidTokenError], str] = {
    jwt.ExpiredSignatureError: "The token has expired",
    jwt.ImmatureSignatureError: "The token is not valid yet",
    jwt.InvalidAudienceError: "The token is for another service (`aud`)",
    jwt.InvalidIssuerError: "The token is of another issuer (`iss`)",
    jwt.MissingRequiredClaimError: "The token lacks a claim that is needed",
}
"""Told to whoever sent the token: these are looked at only once the signature is found good."""

_log = structlog.get_logger(__name__)


class PublishedKeys(Protocol):
    """Where the issuer's keys come from."""

    async def find(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        """The key of that id, bound to ``algorithm``."""


class Tokens:
    """Recognises tokens."""

    def __init__(self, keys: PublishedKeys, *, issuer: str, audience: str, user_claim: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._user_claim = user_claim

    async def recognise(self, token: str) -> Identity:
        """Whom the token stands for, and what it may be used for.

        Raises:
            UnauthenticatedError: nobody.
            IssuerUnavailableError: the keys to check it with can't be had.
        """
        if len(token) > MAX_BYTES:
            raise unauthenticated()
        try:
            claims = self._verified(token, await self._key_of(token))
        except jwt.InvalidTokenError as error:
            _log.info("token refused", reason=type(error).__name__)
            raise unauthenticated(_TOLD.get(type(error), "")) from error
        except (ValueError, TypeError, OverflowError, RecursionError, jwt.PyJWTError) as error:
            # What a hostile header can make a parser raise; and what an issuer's odd numbers can.
            _log.info("token refused", reason=type(error).__name__)
            raise unauthenticated() from error
        return self._identity(claims)

    async def _key_of(self, token: str) -> jwt.PyJWK:
        header = jwt.get_unverified_header(token)
        key_id, algorithm = header.get("kid"), header.get("alg")
        if not isinstance(key_id, str) or not isinstance(algorithm, str):
            raise jwt.InvalidKeyError("no key id")
        key = await self._keys.find(key_id, algorithm)
        if key is None:
            raise jwt.InvalidKeyError("no such key")
        return key

    def _verified(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        return jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            issuer=self._issuer,
            audience=self._audience,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "iss", "aud"]},
        )

    def _identity(self, claims: dict[str, Any]) -> Identity:
        user_id = claims.get(self._user_claim)
        if not is_user_id(user_id):
            raise UnauthenticatedError(f"The token does not say who you are (`{self._user_claim}`)")
        return Identity(user_id=user_id, scopes=parse_scopes(_scopes(claims)))


def _scopes(claims: dict[str, Any]) -> list[object]:
    """``scope``: names with spaces between (RFC 8693, 4.2); or ``scp``, as some issuers have it: a list or a string."""
    found = claims.get("scope", claims.get("scp"))
    if isinstance(found, str):
        return list(found.split(" "))
    return found if isinstance(found, list) else []


@asynccontextmanager
async def open_tokens(settings: Settings) -> AsyncIterator[Tokens | None]:
    """What recognises the tokens of the issuer in the settings; ``None`` if there is none."""
    if settings.jwt_issuer is None or settings.jwt_jwks_url is None or settings.jwt_audience is None:
        yield None
        return
    async with Jwks(settings.jwt_jwks_url) as keys:
        yield Tokens(
            keys, issuer=settings.jwt_issuer, audience=settings.jwt_audience, user_claim=settings.jwt_user_claim
        )
