"""Where the API is and with which key: from the environment, else from the home of ``pixelflow up``. Shows neither."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pixelflow.client import ConfigurationError, ConnectionFailedError
from pixelflow.client.session import KEY_VARIABLE, URL_VARIABLE, Session, open_session
from pixelflow.devstack.home import CREDENTIALS, default_home, is_running, not_running_message

HOME_VARIABLE = "PIXELFLOW_HOME"
DATABASE_VARIABLE = "PIXELFLOW_DATABASE_URL"


def find_session() -> Session:
    """What to reach the API with.

    Raises:
        ConfigurationError: there is nothing, half of it, or a file that can't be used.
    """
    given = os.environ.get(URL_VARIABLE), os.environ.get(KEY_VARIABLE)
    if any(given):
        # Never one from here and one from there: a key must not go to an address that it was not made for.
        return open_session(given[0] or "", given[1] or "")
    return session_of(_find_home())


def find_database() -> dict[str, str]:
    """The setting of the database, from the stack on this machine, if the environment has none.

    Raises:
        StackError: the stack is not running, or its home can't be read.
    """
    if os.environ.get(DATABASE_VARIABLE):
        return {}
    from pixelflow.devstack.postgres import database_settings  # noqa: PLC0415 - for the one command in ten that needs it

    return database_settings(_find_home())


def _find_home() -> Path:
    return Path(os.environ.get(HOME_VARIABLE) or default_home())


def session_of(home: Path) -> Session:
    """What the stack in ``home`` can be reached with.

    Raises:
        ConfigurationError: it never ran, or its file can't be used.
        ConnectionFailedError: it does not run now. Somebody else may listen where it did: they must not get its key.
    """
    path = home / CREDENTIALS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        session = open_session(str(found["api_url"]), str(found["api_key"]))
        if not is_running(home):
            raise ConnectionFailedError(not_running_message(home), sent=False)
    except FileNotFoundError:
        raise ConfigurationError(
            f"Set {URL_VARIABLE} and {KEY_VARIABLE}, or start `pixelflow up`, which leaves both in {path}"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(f"{path} does not hold the credentials that `pixelflow up` writes") from None
    return session
