"""An access key that a thread replaces ahead of its end, so that no request waits for a new one."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol

import structlog

from pixelflow.adapters.storage.aws_credentials import CredentialsError, CredentialSource, find_source
from pixelflow.adapters.storage.signatures import AccessKey, KeySource, NoAccessKeyError, no_access_key
from pixelflow.settings import Settings

START_SECONDS = 5.0
"""How long a starting process waits for its first access key."""
_UNKNOWN_LIFETIME_SECONDS = 300.0
"""Until a key without a known end, such as that of a profile, is read again."""
_MIN_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 1.0, 60.0
"""Of a key that ends soon; and of a source that fails."""

_log = structlog.get_logger(__name__)


class RecordRefresh(Protocol):
    """Is called after each attempt to get an access key."""

    def __call__(self, source: str, *, succeeded: bool, expires_at: datetime | None) -> None:
        """``expires_at`` is the end of the key in use, if it has one."""


def _ignore(source: str, *, succeeded: bool, expires_at: datetime | None) -> None:
    """Record nothing."""


@contextmanager
def open_aws_keys(
    settings: Settings, variables: Mapping[str, str], on_refresh: RecordRefresh = _ignore
) -> Iterator[KeySource]:
    """Provide the access key that AWS gives the process, if a bucket needs it; keep it fresh while the context lasts.

    Waits up to ``START_SECONDS`` for the first key. Without one, the process starts, and storage is unavailable.

    Args:
        settings: of the process.
        variables: of AWS in the environment.
        on_refresh: is called after each attempt, by a thread.
    """
    if not settings.uses_aws_credentials:
        yield no_access_key
        return
    keys = RefreshedKeys(find_source(variables, region=settings.s3_region), on_refresh)
    keys.start()
    try:
        yield keys
    finally:
        keys.close()


class RefreshedKeys:
    """The access keys of one source. Thread-safe."""

    def __init__(self, source: CredentialSource, on_refresh: RecordRefresh = _ignore) -> None:
        """Does not ask the source yet."""
        self._source = source
        self._on_refresh = on_refresh
        self._key: AccessKey | None = None
        self._has_tried, self._is_closed = threading.Event(), threading.Event()

    def start(self, wait_seconds: float = START_SECONDS) -> None:
        """Start the thread, and wait for its first attempt."""
        threading.Thread(target=self._run, name="storage-credentials", daemon=True).start()
        self._has_tried.wait(wait_seconds)

    def close(self) -> None:
        """End the thread."""
        self._is_closed.set()

    def __call__(self) -> AccessKey:
        """Return the access key, without delay.

        Raises:
            NoAccessKeyError: there was none yet, or it has ended.
        """
        key = self._key
        if key is None or _has_ended(key):
            raise NoAccessKeyError
        return key

    def _run(self) -> None:
        failures = 0
        while True:
            reason = self._refresh()
            failures = failures + 1 if reason else 0
            self._record(reason, failures)
            self._has_tried.set()
            pause = retry_pause(failures) if failures else refresh_pause(self._key, datetime.now(UTC))
            if self._is_closed.wait(pause * random.uniform(0.8, 1)):  # noqa: S311  # spreads the requests of a fleet
                return

    def _refresh(self) -> str:
        """Replace the key; returns why that failed, or an empty string. The old key stays in use until it ends."""
        try:
            key = self._source.fetch()
        except CredentialsError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001  # a bug must not end the thread: no key would follow
            return f"unexpected {type(error).__name__}"
        if _has_ended(key):
            return "the credentials have ended"
        self._key = key
        return ""

    def _record(self, reason: str, failures: int) -> None:
        expires_at = self._key.expires_at if self._key else None
        until = {"expires_at": expires_at.isoformat()} if expires_at else {}
        if not reason:
            _log.info("storage credentials refreshed", source=self._source.name, **until)
        elif failures == 1:
            _log.warning("storage credentials not refreshed", source=self._source.name, reason=reason, **until)
        self._on_refresh(self._source.name, succeeded=not reason, expires_at=expires_at)


def _has_ended(key: AccessKey) -> bool:
    return key.expires_at is not None and key.expires_at <= datetime.now(UTC)


def refresh_pause(key: AccessKey | None, now: datetime) -> float:
    """Seconds until a key is replaced: half of its remaining life.

    A new session then lasts long enough for URLs of half its length. A source that still returns the same key, as EC2
    does until some minutes before its end, is asked ever more often.
    """
    if key is None or key.expires_at is None:
        return _UNKNOWN_LIFETIME_SECONDS
    return max(_MIN_PAUSE_SECONDS, (key.expires_at - now).total_seconds() / 2)


def retry_pause(failures: int) -> float:
    """Seconds until a source is asked again that failed so many times."""
    return min(_MAX_PAUSE_SECONDS, _MIN_PAUSE_SECONDS * 2.0 ** min(failures - 1, 10))
