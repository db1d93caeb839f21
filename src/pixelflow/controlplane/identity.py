"""Who is asking and what they may do, whether an API key or a token says so. Reads nothing, decides nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeGuard

from pixelflow.contracts.errors import InsufficientScopeError
from pixelflow.contracts.keys import Scope

MAX_USER_ID = 255


@dataclass(frozen=True)
class KeyRateLimit:
    """A rate limit that holds in place of the one that a user's other requests share."""

    capacity: int
    """Requests within the window."""
    key_id: str
    """The key that was given it; keys made with that one share its buckets."""


@dataclass(frozen=True)
class Identity:
    """Whoever is behind a request."""

    user_id: str
    scopes: frozenset[Scope]
    limit: KeyRateLimit | None = None

    def may(self, scope: Scope) -> bool:
        """Whether the credential is good for ``scope``."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def require(self, scopes: Iterable[Scope]) -> None:
        """Refuse unless the credential is good for all of ``scopes``.

        Raises:
            InsufficientScopeError: names what it lacks.
        """
        lacking = sorted(scope for scope in scopes if not self.may(scope))
        if lacking:
            raise InsufficientScopeError(lacking)


def parse_scopes(names: Iterable[object]) -> frozenset[Scope]:
    """The scopes among ``names``; what this release does not know opens nothing."""
    given = {name for name in names if isinstance(name, str)}
    return frozenset(scope for scope in Scope if scope in given)


def is_user_id(value: object) -> TypeGuard[str]:
    """Whether ``value`` can be a user's id: a string of 1 to 255 characters that can be written down."""
    return isinstance(value, str) and 1 <= len(value) <= MAX_USER_ID and value.isprintable()
