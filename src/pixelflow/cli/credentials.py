"""Finds the API address and key, from the environment or from the home of ``pixelflow up``. Must never print them."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pixelflow.client import ConfigurationError, ConnectionFailedError
from pixelflow.client.session import KEY_VARIABLE, URL_VARIABLE, Session, open_session
from pixelflow.devstack.home import CREDENTIALS, default_home, is_running, not_running_message

HOME_VARIABLE = "PIXELFLOW_HOME"
DATABASE_VARIABLE = "PIXELFLOW_DATABASE_URL"
CLIENT_VARIABLES = (URL_VARIABLE, KEY_VARIABLE, HOME_VARIABLE, "PIXELFLOW_WEBHOOK_SECRET")
"""Variables that only the command line reads."""


def is_session_configured() -> bool:
    """Whether the environment has an address or a key of an API."""
    return bool(os.environ.get(URL_VARIABLE) or os.environ.get(KEY_VARIABLE))


def find_session() -> Session:
    """Return the API address and key.

    Raises:
        ConfigurationError: neither the environment nor the home has both, or a value is not valid.
        ConnectionFailedError: the stack of the home is not running.
    """
    url, key = os.environ.get(URL_VARIABLE), os.environ.get(KEY_VARIABLE)
    if url and key:
        return open_session(url, key)
    if url or key:
        # Both come from the same source: a key must not be sent to an address that it was not issued for.
        found, missing = (URL_VARIABLE, KEY_VARIABLE) if url else (KEY_VARIABLE, URL_VARIABLE)
        raise ConfigurationError(f"Only {found} is set. Set {missing} too")
    return read_session(_find_home())


def find_database() -> dict[str, str]:
    """Return the database setting of the stack on this machine, or nothing if the environment has the setting.

    Raises:
        StackError: the stack is not running, or its home can't be read.
    """
    if os.environ.get(DATABASE_VARIABLE):
        return {}
    from pixelflow.devstack.postgres import database_settings  # noqa: PLC0415 - most commands need no database

    return database_settings(_find_home())


def _find_home() -> Path:
    return Path(os.environ.get(HOME_VARIABLE) or default_home())


def read_session(home: Path) -> Session:
    """Return the API address and key of the stack in ``home``.

    Raises:
        ConfigurationError: the stack has never run, or its file is invalid.
        ConnectionFailedError: the stack is not running. Another process may listen on its port and must not get its
            key.
    """
    path = home / CREDENTIALS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        session = open_session(str(found["api_url"]), str(found["api_key"]))
        if not is_running(home):
            raise ConnectionFailedError(not_running_message(home), sent=False)
    except FileNotFoundError:
        raise ConfigurationError(
            f"Set {URL_VARIABLE} and {KEY_VARIABLE}, or start `pixelflow up`, which writes both to {path}"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"Can't read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(f"{path} is not a credentials file of `pixelflow up`") from None
    return session
