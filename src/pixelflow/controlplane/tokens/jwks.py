"""The keys that an issuer of tokens publishes (JWKS, RFC 7517): fetched when needed, kept, and fetched anew.

Never asks the issuer more often than every few seconds, whatever strangers send; never takes more bytes or more time
than a set of keys needs; never follows a redirect; never keeps a key that is not for verifying public-key signatures.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import httpx
import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from pixelflow.contracts.errors import IssuerUnavailableError

ALGORITHMS: dict[tuple[str, str | None], tuple[str, ...]] = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
"""By type and curve, what a key may verify: the whole list of algorithms that are accepted at all."""
MIN_RSA_BITS = 2048
"""NIST SP 800-131A."""
MAX_BYTES = 256 * 1024
MAX_KEYS = 100
FETCH_SECONDS = 5.0
FRESH_SECONDS = 300.0
"""How long a set is used without asking again: a key that its issuer withdraws is refused after that."""
PAUSE_SECONDS = 5.0
"""Between two fetches at least: an unknown key id makes one fetch, a flood of them makes no more."""

_log = structlog.get_logger(__name__)


class Jwks:
    """The keys published at one URL; an asynchronous context manager."""

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._http = httpx.AsyncClient(follow_redirects=False, timeout=FETCH_SECONDS)
        self._fetching = asyncio.Lock()
        self._keys: dict[tuple[str, str], jwt.PyJWK] | None = None
        self._fetched_at = self._tried_at = -float("inf")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def find(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        """The issuer's key of that id, bound to ``algorithm``; ``None`` if there is none that may be used for it.

        Raises:
            IssuerUnavailableError: no set was ever fetched, and none can be now. Afterwards the last good set stays.
        """
        found = self._known(key_id, algorithm)
        # While somebody else is asking, what is known is good enough.
        if found is None or (not self._is_fresh() and not self._fetching.locked()):
            await self._refresh(key_id, algorithm)
            found = self._known(key_id, algorithm)
        if self._keys is None:
            raise IssuerUnavailableError("The keys that tokens are checked with can't be had; try again shortly")
        return found

    def _known(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        return (self._keys or {}).get((key_id, algorithm))

    def _is_fresh(self) -> bool:
        return self._clock() - self._fetched_at < FRESH_SECONDS

    async def _refresh(self, key_id: str, algorithm: str) -> None:
        async with self._fetching:
            is_there = self._known(key_id, algorithm) is not None and self._is_fresh()  # fetched while this one waited
            if is_there or self._clock() - self._tried_at < PAUSE_SECONDS:
                return
            self._tried_at = self._clock()
            try:
                async with asyncio.timeout(FETCH_SECONDS):
                    self._keys = dict(_usable(await self._fetch()))
            except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, RecursionError) as error:
                _log.warning("issuer's keys not fetched", reason=type(error).__name__, kept=len(self._keys or ()))
            else:
                self._fetched_at = self._clock()

    async def _fetch(self) -> object:
        async with self._http.stream("GET", self._url, headers={"Accept": "application/json"}) as response:
            if response.status_code != httpx.codes.OK:
                raise ValueError("no set of keys")
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise ValueError("more than a set of keys")
        return json.loads(body)


def _usable(published: object) -> Iterator[tuple[tuple[str, str], jwt.PyJWK]]:
    """What can be used of a set, by key id and algorithm; what can't be is passed over.

    Raises:
        ValueError: it is no set of keys.
    """
    rows = published.get("keys") if isinstance(published, dict) else None
    if not isinstance(rows, list) or len(rows) > MAX_KEYS:
        raise ValueError("no set of keys")
    for row in rows:
        if isinstance(row, dict) and isinstance(row.get("kid"), str) and _is_for_verifying(row):
            for algorithm in _algorithms(row):
                key = _parsed(row, algorithm)
                if key is not None:
                    yield (row["kid"], algorithm), key


def _is_for_verifying(row: dict[str, Any]) -> bool:
    operations = row.get("key_ops", ["verify"])
    return row.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations and "d" not in row


def _algorithms(row: dict[str, Any]) -> tuple[str, ...]:
    """What the key's type allows; of that, what its ``alg`` says if it says something."""
    kind, curve = row.get("kty"), row.get("crv")
    allowed = ALGORITHMS.get((kind, curve), ()) if isinstance(kind, str) and isinstance(curve, str | None) else ()
    return tuple(name for name in allowed if row.get("alg", name) == name)


def _parsed(row: dict[str, Any], algorithm: str) -> jwt.PyJWK | None:
    try:
        key = jwt.PyJWK(row, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    is_weak = isinstance(key.key, RSAPublicKey) and key.key.key_size < MIN_RSA_BITS
    return None if is_weak else key
