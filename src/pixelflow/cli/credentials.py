"""Where the API is and with which key: from the environment, else from the home of ``pixelflow up``. Shows neither."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pixelflow.client import ConfigurationError
from pixelflow.client.session import KEY_VARIABLE, URL_VARIABLE, Session, open_session
from pixelflow.devstack.home import CREDENTIALS, default_home

HOME_VARIABLE = "PIXELFLOW_HOME"


def find_session() -> Session:
    """What to reach the API with.

    Raises:
        ConfigurationError: there is nothing, half of it, or a file that can't be used.
    """
    given = os.environ.get(URL_VARIABLE), os.environ.get(KEY_VARIABLE)
    if any(given):
        # Never one from here and one from there: a key must not go to an address that it was not made for.
        return open_session(given[0] or "", given[1] or "")
    return session_of(Path(os.environ.get(HOME_VARIABLE) or default_home()))


def session_of(home: Path) -> Session:
    """What the stack in ``home`` can be reached with.

    Raises:
        ConfigurationError: it never ran, or its file can't be used.
    """
    path = home / CREDENTIALS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return open_session(str(found["api_url"]), str(found["api_key"]))
    except FileNotFoundError:
        raise ConfigurationError(
            f"Set {URL_VARIABLE} and {KEY_VARIABLE}, or start `pixelflow up`, which leaves both in {path}"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(f"{path} does not hold the credentials that `pixelflow up` writes") from None
