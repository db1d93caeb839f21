"""Finds the API: in arguments, the environment, or the home of ``pixelflow up``. Must never show the key."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pixelflow.client.errors import ConfigurationError, ConnectionFailedError
from pixelflow.client.session import KEY_VARIABLE, URL_VARIABLE, Session, open_session
from pixelflow.local_home import CREDENTIALS, find_home, is_running, not_running_message


def find_session(api_url: str | None = None, api_key: str | None = None) -> Session:
    """Return a session of the arguments and the environment or, if neither has an address or a key, of the local stack.

    Raises:
        ConfigurationError: the URL or the key is missing or not valid.
        ConnectionFailedError: the stack of the local home is not running.
    """
    is_given = api_url is not None or api_key is not None
    is_set = os.environ.get(URL_VARIABLE) or os.environ.get(KEY_VARIABLE)
    return open_session(api_url, api_key) if is_given or is_set else read_session(find_home())


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
