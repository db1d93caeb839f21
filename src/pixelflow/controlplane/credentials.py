"""Authenticates API keys and tokens, and remembers for a moment which of them are valid.

What is remembered holds for :data:`TRUST_SECONDS`, so that a revocation takes effect everywhere within two seconds.
Must never keep a credential, only its hash, and never more than a fixed number of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

from pixelflow.controlplane.identity import Identity
from pixelflow.controlplane.keys.service import PREFIX, unauthenticated
from pixelflow.controlplane.lru import LruDict
from pixelflow.errors import StoreUnavailableError, UnauthenticatedError

TRUST_SECONDS = 1.5
"""How long a check is trusted. Less than the two seconds within which a revocation must hold everywhere."""
MAX_REMEMBERED = 10_000
"""Valid credentials that one process remembers, and as many invalid ones; about 1 KB each."""
MAX_UNRECOGNIZED_LOOKUPS = 2
"""Concurrent queries for keys that were never valid here. A flood of invalid keys can't use more connections, and
users whose keys are recognized never wait behind it."""
MAX_CHECKS = 1000
"""Concurrent checks, most of which wait for their turn. With more, keys that are not recognized get 503 at once."""


class KeyVerifier(Protocol):
    """Checks API keys."""

    async def authenticate(self, key: str, /, *, recognized: bool) -> Identity:
        """Return the identity that the key proves. ``recognized``: it was valid before.

        Raises:
            UnauthenticatedError: it is not valid.
        """


class TokenVerifier(Protocol):
    """Checks tokens."""

    async def authenticate(self, credential: str, /) -> Identity:
        """Return the identity that the token proves.

        Raises:
            UnauthenticatedError: it is not valid.
        """


@dataclass(frozen=True)
class _Valid:
    digest: bytes
    identity: Identity
    until: float


@dataclass(frozen=True)
class _Invalid:
    detail: str
    until: float


class Credentials:
    """The credentials that this process has checked, and the check itself."""

    def __init__(
        self, keys: KeyVerifier, tokens: TokenVerifier | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Create an empty memory.

        Args:
            keys: checks API keys.
            tokens: checks tokens; None: there is no issuer, so no token is valid.
            clock: a monotonic clock in seconds.
        """
        self._keys = keys
        self._tokens = tokens
        self._clock = clock
        self._valid: LruDict[str, _Valid] = LruDict(MAX_REMEMBERED)
        """By name. An expired entry stays: its credential is *recognized*, but must be checked again."""
        self._invalid: LruDict[bytes, _Invalid] = LruDict(MAX_REMEMBERED)
        self._checks: dict[bytes, asyncio.Task[Identity]] = {}
        self._unrecognized = asyncio.Semaphore(MAX_UNRECOGNIZED_LOOKUPS)

    # ── Without I/O ──────────────────────────────────────────────────────────────────────────────

    def recognize(self, credential: str) -> Identity | None:
        """Return the identity of a credential that was valid when it was last checked, however long ago.

        It may be used to put requests in order, but not to accept one.
        """
        known = self._recognize(credential)
        return known.identity if known is not None else None

    def is_rejected(self, credential: str) -> bool:
        """Whether the credential was invalid a moment ago."""
        return self._find_rejection(_digest(credential)) is not None

    def forget_key(self, key_id: str) -> None:
        """Check a key again at its next use, such as one that was just revoked here."""
        known = self._valid.get(f"{PREFIX}{key_id}")
        if known is not None:
            self._checks.pop(known.digest, None)  # may have read the key before it was revoked
        self._valid.drop(f"{PREFIX}{key_id}")

    def _recognize(self, credential: str) -> _Valid | None:
        known = self._valid.get(_name(credential))
        return known if known is not None and known.digest == _digest(credential) else None

    def _find_rejection(self, digest: bytes) -> _Invalid | None:
        rejection = self._invalid.get(digest)
        return rejection if rejection is not None and self._clock() < rejection.until else None

    # ── With I/O ─────────────────────────────────────────────────────────────────────────────────

    async def authenticate(self, credential: str) -> Identity:
        """Return the identity that the credential proves. Concurrent calls with one credential share its check.

        Raises:
            UnauthenticatedError: the credential is not valid.
            StoreUnavailableError, IssuerUnavailableError: it can't be checked.
        """
        known = self._recognize(credential)
        if known is not None and self._clock() < known.until:
            return known.identity
        digest = _digest(credential)
        rejection = self._find_rejection(digest)
        if rejection is not None:
            raise UnauthenticatedError(rejection.detail)
        check = self._checks.get(digest)
        if check is None:
            if known is None and len(self._checks) >= MAX_CHECKS:
                raise StoreUnavailableError("Too many unknown keys are being checked; retry shortly")
            check = self._checks[digest] = asyncio.create_task(self._check(credential, digest))
            check.add_done_callback(_retrieve)
        return await asyncio.shield(check)  # a request that gives up does not cancel the check of the others

    async def _check(self, credential: str, digest: bytes) -> Identity:
        """Check and remember, unless the credential is forgotten meanwhile."""
        until, task = self._clock() + TRUST_SECONDS, asyncio.current_task()
        try:
            identity = await self._verify(credential)
        except UnauthenticatedError as error:
            if self._recognize(credential) is not None:  # otherwise the name may be that of another, valid credential
                self._valid.drop(_name(credential))
            self._invalid.put(digest, _Invalid(error.detail, until))
            raise
        else:
            if self._checks.get(digest) is task:
                self._valid.put(_name(credential), _Valid(digest, identity, until))
            return identity
        finally:
            if self._checks.get(digest) is task:
                del self._checks[digest]

    async def _verify(self, credential: str) -> Identity:
        if credential.startswith(PREFIX):
            recognized = self._recognize(credential) is not None
            async with nullcontext() if recognized else self._unrecognized:
                return await self._keys.authenticate(credential, recognized=recognized)
        if self._tokens is None:
            raise unauthenticated()
        return await self._tokens.authenticate(credential)


def _digest(credential: str) -> bytes:
    return hashlib.sha256(credential.encode()).digest()


def _name(credential: str) -> str:
    """Return what identifies the credential: the public part of a key, or the hash of a token."""
    return credential.rpartition("_")[0] if credential.startswith(PREFIX) else _digest(credential).hex()


def _retrieve(check: asyncio.Task[Identity]) -> None:
    """Retrieve the exception of a check whose requests have all given up, so that asyncio doesn't log it."""
    if not check.cancelled():
        check.exception()
