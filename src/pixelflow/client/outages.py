"""Requests of a caller who waits: they go on while the API is away, as when it restarts. Does no I/O."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import TypeVar

from pydantic import BaseModel

from pixelflow.client.api_calls import get
from pixelflow.client.errors import ApiError, ConnectionFailedError
from pixelflow.client.models import Operation, Sleep
from pixelflow.client.retries import MAX_OUTAGE, MAX_RETRY_AFTER
from pixelflow.client.session import Session

M = TypeVar("M", bound=BaseModel)

_AWAY = frozenset({502, 503, 504})
"""Statuses of an API that starts or stops, or of a proxy before one that is away."""
_PAUSE = 2.0
"""Seconds between requests to an API that is away, each with its retries."""


class OutageTolerantReads:
    """GET requests until a deadline, over outages of at most ``MAX_OUTAGE`` seconds."""

    def __init__(self, session: Session, timeout: float | None) -> None:
        self._session = session
        self._deadline = None if timeout is None else session.clock() + timeout
        self._answered_at = session.clock()  # what is waited for was created before

    def left(self) -> float:
        """Seconds until the deadline."""
        return math.inf if self._deadline is None else self._deadline - self._session.clock()

    def get(
        self, path: str, model: type[M], *, query: Mapping[str, object] | None = None, final: Collection[str] = ()
    ) -> Operation[M]:
        """GET ``path``, as ``api_calls.get`` does.

        Raises:
            ApiError: the API rejected the request, or it is away for too long, or until the deadline.
            ConnectionFailedError: no response for too long, or until the deadline.
        """
        while True:
            try:
                found = yield from get(self._session, path, model, query=query, deadline=self._deadline, final=final)
            except (ConnectionFailedError, ApiError) as error:
                pause = self._pause_after(error)
                if pause is None:
                    raise
                yield Sleep(pause)
            else:
                self._answered_at = self._session.clock()
                return found

    def _pause_after(self, error: ConnectionFailedError | ApiError) -> float | None:
        """Seconds until the next request; None if there is none."""
        if isinstance(error, ConnectionFailedError):
            is_away, retry_after = error.transient, None
        else:
            is_away, retry_after = error.status in _AWAY, error.retry_after
        pause = max(_PAUSE, retry_after or 0.0)
        is_too_long = pause > MAX_RETRY_AFTER or pause >= self.left()
        if not is_away or is_too_long or self._session.clock() - self._answered_at >= MAX_OUTAGE:
            return None
        return pause
