"""The configuration of one client: API URL, key, clock, jitter and ids. Does no I/O."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from uuid import uuid4

from pixelflow import __version__
from pixelflow.client.errors import ConfigurationError

URL_VARIABLE = "PIXELFLOW_API_URL"
KEY_VARIABLE = "PIXELFLOW_API_KEY"


def _new_id() -> str:
    return str(uuid4())


@dataclass(frozen=True, slots=True)
class Session:
    """Configuration that all operations of a client share. ``repr`` omits the key."""

    api_url: str
    api_key: str = field(repr=False)
    clock: Callable[[], float] = time.monotonic
    """Seconds since an arbitrary point."""
    jitter: Callable[[], float] = random.random
    """A random number from 0 to 1."""
    new_id: Callable[[], str] = _new_id

    def url(self, path: str) -> str:
        """The URL of ``path``, which starts with ``/v1``."""
        return f"{self.api_url}{path}"

    def headers(self) -> dict[str, str]:
        """Headers of every request to the API. Never send them to another server: they hold the key."""
        return {"Authorization": f"Bearer {self.api_key}", "Accept": "application/json", "User-Agent": USER_AGENT}


USER_AGENT = f"pixelflow-python/{__version__}"


def open_session(api_url: str | None, api_key: str | None) -> Session:
    """Create a session from the arguments or, for those that are None, from the environment.

    Raises:
        ConfigurationError: the URL or the key is missing or not valid.
    """
    return Session(
        api_url=_validated_url(_from_argument_or_environment(api_url, URL_VARIABLE, "the URL of the API")),
        api_key=_validated_key(_from_argument_or_environment(api_key, KEY_VARIABLE, "an API key")),
    )


def _from_argument_or_environment(value: str | None, variable: str, what: str) -> str:
    given = value if value is not None else os.environ.get(variable, "")
    if not isinstance(given, str):
        raise TypeError(f"Pass {what} as a string, not {type(given).__name__}")
    found = given.strip()
    if not found:
        raise ConfigurationError(f"Pass {what}, or set {variable}")
    return found


def _validated_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"}:
        raise ConfigurationError("The URL of the API must be an http or https URL, such as http://127.0.0.1:8080")
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigurationError("The URL of the API must not contain a user name, a query or a fragment")
    return url.rstrip("/")


def _validated_key(key: str) -> str:
    # Other characters are not valid in a header, and the error that httpx would raise repeats the key.
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigurationError("The API key must contain only printable ASCII characters and no spaces")
    return key
