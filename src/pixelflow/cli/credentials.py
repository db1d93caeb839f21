"""Finds the API address and key, from the environment or from the home of ``pixelflow up``. Must never print them."""

from __future__ import annotations

import os

from pixelflow.client import ConfigurationError, local_session
from pixelflow.client.session import KEY_VARIABLE, URL_VARIABLE, Session
from pixelflow.local_home import HOME_VARIABLE, find_home

DATABASE_VARIABLE = "PIXELFLOW_DATABASE_URL"
SECRETS_KEY_VARIABLE = "PIXELFLOW_SECRETS_KEY"
PUBLIC_URL_VARIABLE = "PIXELFLOW_UP_PUBLIC_URL"
CLIENT_VARIABLES = (URL_VARIABLE, KEY_VARIABLE, HOME_VARIABLE, PUBLIC_URL_VARIABLE, "PIXELFLOW_WEBHOOK_SECRET")
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
    if bool(url) != bool(key):
        # Both come from the same source: a key must not be sent to an address that it was not issued for.
        found, missing = (URL_VARIABLE, KEY_VARIABLE) if url else (KEY_VARIABLE, URL_VARIABLE)
        raise ConfigurationError(f"Only {found} is set. Set {missing} too")
    return local_session.find_session()


def find_database() -> dict[str, str]:
    """Return the database setting of the stack on this machine, or nothing if the environment has the setting.

    Raises:
        StackError: the stack is not running, or its home can't be read.
    """
    if os.environ.get(DATABASE_VARIABLE):
        return {}
    from pixelflow.devstack.postgres import database_settings  # noqa: PLC0415 - most commands need no database

    return database_settings(find_home())


def find_secrets() -> dict[str, str]:
    """Return the settings of the database and the keys that encrypt secrets, as :func:`find_database` does.

    Raises:
        StackError: the stack is not running, or its home can't be read.
    """
    database = find_database()
    if not database:
        return {}
    from pixelflow.devstack.home import SECRETS_FILE, read_json  # noqa: PLC0415 - most commands need no database

    return {**database, SECRETS_KEY_VARIABLE: read_json(find_home(), SECRETS_FILE)["secrets_key"]}
