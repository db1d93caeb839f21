"""What every operation of one client stands on: where the API is, the key, and clock, chance and ids. Does no I/O."""

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
    """Of one client. The key is kept out of ``repr``."""

    api_url: str
    api_key: str = field(repr=False)
    clock: Callable[[], float] = time.monotonic
    """Seconds, from any origin."""
    jitter: Callable[[], float] = random.random
    """A number from 0 to 1."""
    new_id: Callable[[], str] = _new_id

    def url(self, path: str) -> str:
        """The address of ``path`` (starting with ``/v1``) on the API."""
        return f"{self.api_url}{path}"

    def headers(self) -> dict[str, str]:
        """What every request to the API carries, and no request to anybody else."""
        return {"Authorization": f"Bearer {self.api_key}", "Accept": "application/json", "User-Agent": USER_AGENT}


USER_AGENT = f"pixelflow-python/{__version__}"


def open_session(api_url: str | None, api_key: str | None) -> Session:
    """A session on what is given or, where it is not, on the environment.

    Raises:
        ConfigurationError: something is missing or can't be right.
    """
    return Session(
        api_url=_checked_url(_given(api_url, URL_VARIABLE, "the address of the API")),
        api_key=_checked_key(_given(api_key, KEY_VARIABLE, "an API key")),
    )


def _given(value: str | None, variable: str, what: str) -> str:
    found = (value if value is not None else os.environ.get(variable, "")).strip()
    if not found:
        raise ConfigurationError(f"Give {what}, or set {variable}")
    return found


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"}:
        raise ConfigurationError("The address of the API must be an http or https URL, such as http://127.0.0.1:8080")
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigurationError("The address of the API must not hold a user name, a query or a fragment")
    return url.rstrip("/")


def _checked_key(key: str) -> str:
    # A header can't hold anything else, and the error that would say so repeats the key.
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigurationError(
            "The API key holds characters that no key has; the key is one word of letters, digits and signs"
        )
    return key
