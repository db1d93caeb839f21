"""What values of settings must be that are more than text or numbers: networks, folders and keys."""

from __future__ import annotations

import base64
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

KEY_BYTES = 32
"""What AES-256 takes."""


def _read_networks(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())
    except ValueError as error:
        raise PydanticCustomError(
            "not_networks", "must name networks as 10.20.0.0/16 or fd00::/8 do, without bits behind their prefix"
        ) from error


Networks: TypeAlias = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_read_networks)]
"""In CIDR notation, separated by commas."""


def _split_at_colons(value: object) -> object:
    return tuple(part for part in value.split(":") if part) if isinstance(value, str) else value


def _existing(folders: tuple[Path, ...]) -> tuple[Path, ...]:
    for folder in folders:
        if not folder.is_absolute() or not folder.is_dir():
            raise PydanticCustomError(
                "not_a_folder",
                "must name folders that exist, by absolute paths; {folder} is not one",
                {"folder": str(folder)},
            )
    return tuple(folder.resolve() for folder in folders)


Folders: TypeAlias = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_split_at_colons), AfterValidator(_existing)]
"""Absolute paths, separated by colons; symlinks resolved."""


def checked_key(key: SecretStr | None) -> SecretStr | None:
    """Refuse what is no key.

    Raises:
        PydanticCustomError: why.
    """
    if key is not None and len(unbase64(key.get_secret_value())) != KEY_BYTES:
        raise PydanticCustomError("key", "must be 32 bytes in URL-safe base64")
    return key


def unbase64(text: str) -> bytes:
    """The bytes that are meant, with or without padding; none if it is not base64."""
    try:
        return base64.b64decode(text.rstrip("=") + "=", altchars=b"-_", validate=True)
    except ValueError:
        return b""
