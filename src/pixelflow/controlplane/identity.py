"""The identity behind a request and its scopes, for API keys and tokens alike. Does no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeGuard

from pixelflow.contracts.keys import Scope
from pixelflow.errors import InsufficientScopeError

MAX_USER_ID = 255


@dataclass(frozen=True)
class KeyRateLimit:
    """The rate limit of one key, which replaces the limit that the user's other requests share."""

    capacity: int
    """Requests per window."""
    key_id: str
    """The key that the operator gave the limit to. Keys created with that key share its buckets."""


@dataclass(frozen=True)
class Identity:
    """The authenticated user and what the credential allows."""

    user_id: str
    scopes: frozenset[Scope]
    rate_limit: KeyRateLimit | None = None

    def require(self, scopes: Iterable[str]) -> None:
        """Check that the credential grants all ``scopes``. ``admin`` grants every scope, known or not.

        Raises:
            InsufficientScopeError: it does not; the error lists the missing scopes.
        """
        if Scope.ADMIN in self.scopes:
            return
        missing = sorted(scope for scope in scopes if scope not in self.scopes)
        if missing:
            raise InsufficientScopeError(missing)


def parse_scopes(names: Iterable[object]) -> frozenset[Scope]:
    """Return the known scopes among ``names``. Unknown names grant nothing."""
    given = {name for name in names if isinstance(name, str)}
    return frozenset(scope for scope in Scope if scope in given)


def is_user_id(value: object) -> TypeGuard[str]:
    """Whether ``value`` is a valid user ID: a string of 1 to 255 printable characters."""
    return isinstance(value, str) and 1 <= len(value) <= MAX_USER_ID and value.isprintable()
