"""URLs in settings: what is wrong with one is told when the process starts, not by the library that stumbles over it.

No message repeats a part of a URL: it may hold a password, or half of one. Reads no environment.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic_core import PydanticCustomError

_DATABASE_NUMBER = re.compile(r"/?|/[0-9]+")
"""What follows the host of a Redis; its client takes anything else for database 0."""


def check_postgres(url: str) -> None:
    """One host, and read by libpq as by everybody else."""
    parts = _split(url, "postgresql", "postgres")
    if "," in parts.netloc.rpartition("@")[2]:
        raise PydanticCustomError("several_hosts", "must name one host")
    # libpq ends the password at the first «@», others at the last.
    if not _port_is_fine(parts) or parts.netloc.count("@") > 1 or not _is_read_by_libpq(url):
        raise _unreadable()


def check_redis(url: str) -> None:
    """A host or a socket, and a database by its number."""
    parts = _split(url, "redis", "rediss", "unix")
    if not _port_is_fine(parts):
        raise _unreadable()
    if not (parts.path if parts.scheme == "unix" else parts.hostname and _DATABASE_NUMBER.fullmatch(parts.path)):
        raise _unreadable()


def checked_jwks(url: str | None) -> str | None:
    """A page on the web, if any."""
    if url is not None:
        parts = _split(url, "http", "https")
        if not _port_is_fine(parts) or not parts.hostname:
            raise _unreadable()
    return url


def endpoint(url: str) -> str:
    """Object storage's: a scheme, a host, and no credentials; without the slash at its end."""
    parts = _split(url, "http", "https")
    if not _port_is_fine(parts) or not parts.hostname:
        raise _unreadable()
    if "@" in parts.netloc or "?" in url:
        raise PydanticCustomError("more_than_an_endpoint", "must not hold a user, a password or a query")
    return url.rstrip("/")


def _split(url: str, *schemes: str) -> SplitResult:
    """The parts of a URL. What is said of a wrong one is fixed: its parts may hold a password, or half of one."""
    if not url.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        allowed = " or ".join(f"{scheme}://" for scheme in schemes)
        raise PydanticCustomError("scheme", "must start with {allowed}", {"allowed": allowed})
    if "#" in url or any(sign <= " " for sign in url):
        raise _unreadable()
    try:
        return urlsplit(url)
    except ValueError:
        raise _unreadable() from None


def _port_is_fine(parts: SplitResult) -> bool:
    """Whether what stands for the port is one, or nothing."""
    try:
        return parts.port != 0
    except ValueError:
        return False


def _is_read_by_libpq(url: str) -> bool:
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:  # quotes the URL, whole
        return False
    return True


def _unreadable() -> PydanticCustomError:
    return PydanticCustomError(
        "url", "can't be read as a URL; in a user name or password, write signs such as @ : / ? # % as %40 and so on"
    )
