"""Authenticates bearer tokens (JWT, RFC 7519) of one issuer that the operator trusts.

Must never use a key that the token itself names or contains (``jwk``, ``jku``, ``x5u``…): only the key ID is read.
Must never accept an algorithm that does not match the type of the key.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import jwt
import structlog

from pixelflow.controlplane.identity import Identity, is_user_id, parse_scopes
from pixelflow.controlplane.keys.service import unauthenticated
from pixelflow.controlplane.tokens.jwks import Jwks
from pixelflow.errors import UnauthenticatedError
from pixelflow.settings import Settings

MAX_BYTES = 8192
LEEWAY_SECONDS = 30
"""Allowed clock skew."""

_DETAILS: dict[type[jwt.InvalidTokenError], str] = {
    jwt.ExpiredSignatureError: "The token has expired",
    jwt.ImmatureSignatureError: "The token is not valid yet",
    jwt.InvalidAudienceError: "The token is for another service (`aud`)",
    jwt.InvalidIssuerError: "The token is from another issuer (`iss`)",
    jwt.MissingRequiredClaimError: "The token lacks a required claim",
}
"""Details that are safe to return: these claims are checked only after the signature was verified."""

_log = structlog.get_logger(__name__)


class PublishedKeys(Protocol):
    """The issuer's public keys."""

    async def find(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        """Return the key with that ID, bound to ``algorithm``."""


class Tokens:
    """Authenticates tokens."""

    def __init__(self, keys: PublishedKeys, *, issuer: str, audience: str, user_claim: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._user_claim = user_claim

    async def authenticate(self, token: str) -> Identity:
        """Return the identity that the token proves.

        Raises:
            UnauthenticatedError: the token is not valid.
            IssuerUnavailableError: the issuer's keys are not available.
        """
        if len(token) > MAX_BYTES:
            raise unauthenticated()
        try:
            claims = self._verify(token, await self._find_key(token))
        except jwt.InvalidTokenError as error:
            _log.info("token rejected", reason=type(error).__name__)
            raise unauthenticated(_DETAILS.get(type(error), "")) from error
        except (ValueError, TypeError, OverflowError, RecursionError, jwt.PyJWTError) as error:
            # Raised by parsers for hostile headers, and for out-of-range numbers from the issuer.
            _log.info("token rejected", reason=type(error).__name__)
            raise unauthenticated() from error
        return self._identity(claims)

    async def _find_key(self, token: str) -> jwt.PyJWK:
        header = jwt.get_unverified_header(token)
        key_id, algorithm = header.get("kid"), header.get("alg")
        if not isinstance(key_id, str) or not isinstance(algorithm, str):
            raise jwt.InvalidKeyError("no key ID")
        key = await self._keys.find(key_id, algorithm)
        if key is None:
            raise jwt.InvalidKeyError("unknown key")
        return key

    def _verify(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
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
            raise UnauthenticatedError(f"The token has no valid user ID (`{self._user_claim}`)")
        return Identity(user_id=user_id, scopes=parse_scopes(_scope_names(claims)))


def _scope_names(claims: dict[str, Any]) -> list[object]:
    """Read ``scope``, a string (RFC 8693, section 4.2), or ``scp``, which some issuers send as a list or a string."""
    value = claims.get("scope", claims.get("scp"))
    if isinstance(value, str):
        return list(value.split(" "))
    return value if isinstance(value, list) else []


@asynccontextmanager
async def open_tokens(settings: Settings) -> AsyncIterator[Tokens | None]:
    """Open the authentication of the configured issuer's tokens; ``None`` if no issuer is configured."""
    if settings.jwt_issuer is None or settings.jwt_jwks_url is None or settings.jwt_audience is None:
        yield None
        return
    async with Jwks(settings.jwt_jwks_url) as keys:
        yield Tokens(
            keys, issuer=settings.jwt_issuer, audience=settings.jwt_audience, user_claim=settings.jwt_user_claim
        )
