"""Fetches and caches the keys that a token issuer publishes (JWKS, RFC 7517).

Must never fetch more often than every few seconds, for any number of requests; read more bytes or wait longer than a
key set needs; follow a redirect; or keep a key that is not for verifying public-key signatures.
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

from pixelflow.errors import IssuerUnavailableError

ALGORITHMS: dict[tuple[str, str | None], tuple[str, ...]] = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
"""The algorithms that a key may verify, by its type and curve. No other algorithm is accepted."""
MIN_RSA_BITS = 2048
"""NIST SP 800-131A."""
MAX_BYTES = 256 * 1024
MAX_KEYS = 100
FETCH_SECONDS = 5.0
FRESH_SECONDS = 300.0
"""How long a fetched set is used before it is refreshed. Only a refresh rejects a key that the issuer withdrew."""
PAUSE_SECONDS = 5.0
"""Minimum time between fetches: one unknown key ID triggers a fetch, a flood of them does not trigger more."""

_log = structlog.get_logger(__name__)


class Jwks:
    """The key set published at one URL; an asynchronous context manager."""

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._http = httpx.AsyncClient(follow_redirects=False, timeout=FETCH_SECONDS)
        self._fetch_lock = asyncio.Lock()
        self._keys: dict[tuple[str, str], jwt.PyJWK] | None = None
        self._fetched_at = self._attempted_at = -float("inf")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def find(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        """Return the key with that ID, bound to ``algorithm``, or ``None`` if no key may be used with it.

        Raises:
            IssuerUnavailableError: no set could be fetched since the start. Later failures keep the last good set.
        """
        found = self._cached(key_id, algorithm)
        # A stale key is used while another request refreshes the set.
        if found is None or (not self._is_fresh() and not self._fetch_lock.locked()):
            await self._refresh(key_id, algorithm)
            found = self._cached(key_id, algorithm)
        if self._keys is None:
            raise IssuerUnavailableError("The token issuer's keys are not available; retry shortly")
        return found

    def _cached(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        return (self._keys or {}).get((key_id, algorithm))

    def _is_fresh(self) -> bool:
        return self._clock() - self._fetched_at < FRESH_SECONDS

    async def _refresh(self, key_id: str, algorithm: str) -> None:
        async with self._fetch_lock:
            # Another request may have refreshed the set while this one waited for the lock.
            is_refreshed = self._cached(key_id, algorithm) is not None and self._is_fresh()
            if is_refreshed or self._clock() - self._attempted_at < PAUSE_SECONDS:
                return
            self._attempted_at = self._clock()
            try:
                async with asyncio.timeout(FETCH_SECONDS):
                    self._keys = dict(_usable_keys(await self._fetch()))
            except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, RecursionError) as error:
                _log.warning("issuer keys not fetched", reason=type(error).__name__, cached_keys=len(self._keys or ()))
            else:
                self._fetched_at = self._clock()

    async def _fetch(self) -> object:
        async with self._http.stream("GET", self._url, headers={"Accept": "application/json"}) as response:
            if response.status_code != httpx.codes.OK:
                raise ValueError("not a key set")
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise ValueError("key set too large")
        return json.loads(body)


def _usable_keys(published: object) -> Iterator[tuple[tuple[str, str], jwt.PyJWK]]:
    """Yield the usable keys of a set by key ID and algorithm. Skip the others.

    Raises:
        ValueError: ``published`` is not a key set.
    """
    rows = published.get("keys") if isinstance(published, dict) else None
    if not isinstance(rows, list) or len(rows) > MAX_KEYS:
        raise ValueError("not a key set")
    for row in rows:
        if isinstance(row, dict) and isinstance(row.get("kid"), str) and _is_for_verifying(row):
            for algorithm in _algorithms(row):
                key = _parse(row, algorithm)
                if key is not None:
                    yield (row["kid"], algorithm), key


def _is_for_verifying(row: dict[str, Any]) -> bool:
    operations = row.get("key_ops", ["verify"])
    return row.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations and "d" not in row


def _algorithms(row: dict[str, Any]) -> tuple[str, ...]:
    """Return the algorithms that the key's type allows, restricted to its ``alg`` if it has one."""
    kind, curve = row.get("kty"), row.get("crv")
    allowed = ALGORITHMS.get((kind, curve), ()) if isinstance(kind, str) and isinstance(curve, str | None) else ()
    return tuple(name for name in allowed if row.get("alg", name) == name)


def _parse(row: dict[str, Any], algorithm: str) -> jwt.PyJWK | None:
    try:
        key = jwt.PyJWK(row, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    is_weak = isinstance(key.key, RSAPublicKey) and key.key.key_size < MIN_RSA_BITS
    return None if is_weak else key
