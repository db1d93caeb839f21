"""Types of settings: URLs, networks, directories, keys for secrets.

A URL is validated when the process starts, not by the library that connects with it later. Pydantic's ``PostgresDsn``,
``RedisDsn`` and ``HttpUrl`` don't fit: they refuse Unix sockets, and rewrite the URLs that they accept. No error
message repeats a part of a URL: it may hold a password, or half of one.
"""

from __future__ import annotations

import base64
import re
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, TypeAlias
from urllib.parse import SplitResult, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, BeforeValidator, IPvAnyNetwork, SecretBytes, SecretStr
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

KEY_BYTES = 32
"""The key size of AES-256."""
_DATABASE_NUMBER = re.compile(r"/?|/[0-9]+")
"""The path of a Redis URL; redis-py reads any other path as database 0."""


# ── URLs ─────────────────────────────────────────────────────────────────────────────────────────


def _check_postgres(secret: SecretStr) -> SecretStr:
    url = secret.get_secret_value()
    parts = _split(url, "postgresql", "postgres")
    if "," in parts.netloc.rpartition("@")[2]:
        raise PydanticCustomError("several_hosts", "must name one host")
    # libpq ends the password at the first «@», other parsers at the last.
    if not _has_valid_port(parts) or parts.netloc.count("@") > 1 or not _libpq_accepts(url):
        raise _not_a_url()
    return secret


def _check_redis(secret: SecretStr) -> SecretStr:
    parts = _split(secret.get_secret_value(), "redis", "rediss", "unix")
    has_address = parts.path if parts.scheme == "unix" else parts.hostname and _DATABASE_NUMBER.fullmatch(parts.path)
    if not _has_valid_port(parts) or not has_address:
        raise _not_a_url()
    return secret


def _check_http(url: str) -> str:
    parts = _split(url, "http", "https")
    if not _has_valid_port(parts) or not parts.hostname:
        raise _not_a_url()
    return url


def _check_endpoint(url: str) -> str:
    if "@" in urlsplit(_check_http(url)).netloc or "?" in url:
        raise PydanticCustomError("not_an_endpoint", "must have no user, password or query")
    return url.rstrip("/")


def _split(url: str, *schemes: str) -> SplitResult:
    if not url.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        allowed = " or ".join(f"{scheme}://" for scheme in schemes)
        raise PydanticCustomError("scheme", "must start with {allowed}", {"allowed": allowed})
    if "#" in url or any(char <= " " for char in url):
        raise _not_a_url()
    try:
        return urlsplit(url)
    except ValueError:
        raise _not_a_url() from None


def _has_valid_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


def _libpq_accepts(url: str) -> bool:
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:  # its message quotes the whole URL
        return False
    return True


def _not_a_url() -> PydanticCustomError:
    return PydanticCustomError(
        "url", "must be a valid URL; percent-encode @ : / ? # % in the user name and password (%40 for @)"
    )


DatabaseUrl: TypeAlias = Annotated[SecretStr, AfterValidator(_check_postgres)]
"""A Postgres URL with a single host that libpq accepts."""
RedisUrl: TypeAlias = Annotated[SecretStr, AfterValidator(_check_redis)]
"""The URL of a host or Unix socket, with a numeric database."""
WebUrl: TypeAlias = Annotated[str, AfterValidator(_check_http)]
EndpointUrl: TypeAlias = Annotated[str, AfterValidator(_check_endpoint)]
"""A web URL without credentials and query; a trailing slash is removed."""


# ── Buckets ──────────────────────────────────────────────────────────────────────────────────────


def matching(pattern: str, message: str) -> AfterValidator:
    """Return a validator of strings that the whole pattern must match."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise PydanticCustomError("pattern", message)
        return value

    return AfterValidator(check)


FOLDER_PATTERN = r"[A-Za-z0-9!_'()@,+=~-][A-Za-z0-9!_'()@,+=~.-]*/"
KeyPrefix: TypeAlias = Annotated[
    str, matching(rf"(?:{FOLDER_PATTERN})*", "must be folders that each end with /, such as shop/")
]
"""Folders that keys start with; empty, or with a slash at its end."""
Addressing: TypeAlias = Literal["path", "virtual"]
"""Whether the bucket's name is in the path of a URL, or the first part of its host."""
Encryption: TypeAlias = Literal["AES256", "aws:kms", "aws:kms:dsse"]
"""Encryption at the server, by S3's names."""
Visible: TypeAlias = Annotated[str, matching(r"[!-~]+", "must have visible ASCII characters only")]


# ── Lists ────────────────────────────────────────────────────────────────────────────────────────


def _split_at_commas(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _split_at_colons(value: object) -> object:
    return [part for part in value.split(":") if part] if isinstance(value, str) else value


def _resolve_directory(directory: Path) -> Path:
    if not directory.is_absolute() or not directory.is_dir():
        raise PydanticCustomError(
            "not_a_directory",
            "must list existing directories by their absolute paths; {directory} is not one",
            {"directory": repr(str(directory))},
        )
    return directory.resolve()


def _unmap(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Return the IPv4 network that a network of mapped addresses, such as ``::ffff:10.0.0.0/104``, stands for."""
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return network if mapped is None else IPv4Network((mapped, network.prefixlen - _MAPPED_PREFIX))


def _check_host_pattern(host: str) -> str:
    if not _HOST_PATTERN.fullmatch(host.lower()):
        raise PydanticCustomError("host", "must list host names, such as img.example.com or *.example.com")
    return host.lower()


_HOST_PATTERN = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_MAPPED_PREFIX = 96
"""Bits before the IPv4 address in a mapped one (RFC 4291, section 2.5.5.2)."""
Networks: TypeAlias = Annotated[
    tuple[Annotated[IPvAnyNetwork, AfterValidator(_unmap)], ...], NoDecode, BeforeValidator(_split_at_commas)
]
"""Networks in CIDR notation, separated by commas. Those of IPv4 addresses are IPv4 networks, however written."""
HostPatterns: TypeAlias = Annotated[
    tuple[Annotated[str, AfterValidator(_check_host_pattern)], ...], NoDecode, BeforeValidator(_split_at_commas)
]
"""Host names in lower case, separated by commas; ``*.`` before a name stands for all names below it."""
Directories: TypeAlias = Annotated[
    tuple[Annotated[Path, AfterValidator(_resolve_directory)], ...], NoDecode, BeforeValidator(_split_at_colons)
]
"""Existing directories by absolute path, separated by colons; symlinks are resolved."""


# ── Keys ─────────────────────────────────────────────────────────────────────────────────────────


def _split_keys(value: object) -> object:
    parts = value.split(",") if isinstance(value, str) else [value] if isinstance(value, bytes) else value
    return tuple(map(_decode_key, parts)) if isinstance(parts, list) else parts


def _decode_key(value: object) -> object:
    """Decode base64 with or without padding."""
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value.strip().rstrip("=") + "=", altchars=b"-_", validate=True)
    except ValueError:
        return b""


def _check_keys(keys: tuple[SecretBytes, ...]) -> tuple[SecretBytes, ...]:
    if not keys or any(len(key.get_secret_value()) != KEY_BYTES for key in keys):
        raise PydanticCustomError(
            "key", "must be 32 bytes in URL-safe base64, or several such keys separated by commas"
        )
    return keys


SecretsKeys: TypeAlias = Annotated[
    tuple[SecretBytes, ...], NoDecode, BeforeValidator(_split_keys), AfterValidator(_check_keys)
]
"""Keys of 32 bytes, given as bytes or in URL-safe base64, separated by commas."""
