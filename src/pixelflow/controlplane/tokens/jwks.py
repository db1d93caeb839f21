"""Fetches and caches the keys that a token issuer publishes (JWKS, RFC 7517).

Must never fetch more often than every few seconds, for any number of requests; make a request with a known key wait;
read more bytes or wait longer than a key set needs; follow a redirect; or keep a key that is not for verifying
public-key signatures.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
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
FETCH_SECONDS = 3.0
"""Limit of one fetch, from the connect to the last byte."""
FRESH_SECONDS = 300.0
"""Time between fetches. A fetch drops the keys that the issuer withdrew."""
PAUSE_SECONDS = 5.0
"""Minimum time between a fetch and the next: a failed one, or one for an unknown key ID, which anybody can send."""
MAX_AGE_SECONDS = 3600.0
"""How long a set is used while the issuer can't be reached. Afterwards tokens are rejected, because nothing shows that
their keys are still valid."""
MAX_WAITING = 50
"""Requests that wait for a fetch at a time. More would let clients with invented key IDs use up all connections."""

_log = structlog.get_logger(__name__)


class Jwks:
    """The key set published at one URL, which a task keeps fresh; an asynchronous context manager."""

    def __init__(
        self,
        url: str,
        *,
        fresh_seconds: float = FRESH_SECONDS,
        pause_seconds: float = PAUSE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create it without fetching.

        Args:
            url: where the issuer publishes its keys.
            fresh_seconds: time between fetches.
            pause_seconds: minimum time between a fetch and the next.
            clock: a monotonic clock in seconds, for the age of the set.
        """
        self._url = url
        self._fresh_seconds = fresh_seconds
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._http = httpx.AsyncClient(follow_redirects=False, timeout=FETCH_SECONDS)
        self._keys: dict[tuple[str, str], jwt.PyJWK] = {}
        self._fetched_at = -float("inf")
        self._fetching: asyncio.Event | None = None
        """Set when the current fetch ends; ``None``: a pause, in which nothing is fetched."""
        self._wanted = asyncio.Event()
        self._waiting = 0

    async def __aenter__(self) -> Self:
        self._fetching = asyncio.Event()
        self._task = asyncio.create_task(self._keep_fresh())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self._http.aclose()

    async def find(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        """Return the key with that ID, bound to ``algorithm``, or ``None`` if no key may be used with it.

        Waits only if the key is unknown and a fetch may find it, and no longer than that fetch.

        Raises:
            IssuerUnavailableError: there is no set, or only an old one.
        """
        found = self._find(key_id, algorithm)
        if found is None and self._fetching is not None and self._waiting < MAX_WAITING:
            await self._wait_for(self._fetching)
            found = self._find(key_id, algorithm)
        if not self._is_usable():
            raise IssuerUnavailableError("The token issuer's keys are not available; retry shortly")
        return found

    def _find(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        return self._keys.get((key_id, algorithm)) if self._is_usable() else None

    def _is_usable(self) -> bool:
        return self._clock() - self._fetched_at < MAX_AGE_SECONDS

    async def _wait_for(self, fetch: asyncio.Event) -> None:
        self._wanted.set()
        self._waiting += 1
        try:
            await fetch.wait()
        finally:
            self._waiting -= 1

    async def _keep_fresh(self) -> None:
        """Fetch at once, whenever the set is no longer fresh, and early if a request needs an unknown key."""
        while True:
            fetched, fetching = await self._refresh(), self._fetching
            self._fetching = None
            if fetching is not None:
                fetching.set()
            await asyncio.sleep(self._pause_seconds)
            self._fetching = asyncio.Event()
            self._wanted.clear()
            if fetched:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._fresh_seconds - self._pause_seconds):
                        await self._wanted.wait()

    async def _refresh(self) -> bool:
        """Fetch the set. Keep the last one if that fails."""
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                keys = dict(_usable_keys(await self._fetch()))
        except Exception as error:  # noqa: BLE001  # whatever fails, the task goes on
            _log.warning("issuer keys not fetched", reason=type(error).__name__, cached_keys=len(self._keys))
            return False
        self._keys, self._fetched_at = keys, self._clock()
        return True

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
