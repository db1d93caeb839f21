"""Checks what a URL itself shows. Does no I/O, so that the creation of a job and the request use the same check."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from pixelflow.adapters.outbound_http.addresses import Address, Network, usable
from pixelflow.errors import TargetRefusedError
from pixelflow.settings import Settings

MAX_URL_LENGTH = 2048
_VISIBLE = re.compile(r"[!-~]+")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_AUTHORITY = re.compile(rf"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>{_LABEL}(?:\.{_LABEL})*))(?::(?P<port>[0-9]{{1,5}}))?")
_MAX_NAME_LENGTH = 253
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A host whose last label matches is an address, not a name (WHATWG URL, «ends in a number»)."""
_LOCAL_NAMES = re.compile(r"(?:.*\.)?(?:localhost|localdomain|ip6-localhost|ip6-loopback)")
_LOOPBACK = (ip_address("127.0.0.1"), ip_address("::1"))
_PORTS = {"http": 80, "https": 443}
_FIRST_UNPRIVILEGED_PORT = 1024
_LAST_PORT = 65535


@dataclass(frozen=True)
class Target:
    """A parsed URL. Nothing parses the URL again, so that two parsers can't disagree about it."""

    scheme: str
    host: str
    port: int
    path: str
    """Including the query."""
    address: Address | None
    """If the host is an address rather than a name."""

    @property
    def origin(self) -> str:
        """The part of the URL that may be shown to anybody: the rest may contain a secret."""
        return f"{self.scheme}://{self.authority}"

    def is_at(self, allowed: str) -> bool:
        """Return whether the host is ``allowed``, or below it if it begins with ``*.``."""
        return self.host.endswith(allowed[1:]) if allowed.startswith("*.") else self.host == allowed

    @property
    def authority(self) -> str:
        """The value of the ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True)
class OutboundRule:
    """Which URLs and addresses are allowed."""

    networks: tuple[Network, ...] = ()
    """Networks that are allowed although they are not public."""
    allow_http: bool = False
    hosts: tuple[str, ...] = ()
    """Host names that are allowed, such as ``img.example``, or ``*.example`` for all names below it; empty: all."""
    http_setting: str = "PIXELFLOW_WEBHOOK_ALLOW_HTTP"
    """The setting by which the operator allows http."""

    @classmethod
    def of_webhooks(cls, settings: Settings) -> OutboundRule:
        """Return the rule for webhooks from the operator's settings."""
        return cls(networks=settings.webhook_allow_cidrs, allow_http=settings.webhook_allow_http)

    @classmethod
    def of_sources(cls, settings: Settings) -> OutboundRule:
        """Return the rule for sources of jobs from the operator's settings."""
        return cls(
            networks=settings.url_source_allow_cidrs,
            allow_http=settings.url_source_allow_http,
            hosts=settings.url_source_hosts,
            http_setting="PIXELFLOW_URL_SOURCE_ALLOW_HTTP",
        )

    def check(self, url: str) -> Target:
        """Parse and check ``url``.

        Raises:
            TargetRefusedError: the URL is not valid or not allowed.
        """
        parts = _split(url)
        self._check_scheme(parts.scheme)
        target = _target(parts)
        if self.hosts and not any(map(target.is_at, self.hosts)):
            raise TargetRefusedError("must have a host that the operator allows")
        if target.port < _FIRST_UNPRIVILEGED_PORT and target.port not in _PORTS.values():
            raise TargetRefusedError("must use port 80, port 443, or a port from 1024")
        if target.address is not None:
            self.usable([target.address])
        elif _LOCAL_NAMES.fullmatch(target.host):
            self.usable(_LOOPBACK)
        return target

    def _check_scheme(self, scheme: str) -> None:
        if scheme not in _PORTS:
            raise TargetRefusedError("must be an https URL")
        if scheme == "http" and not self.allow_http:
            raise TargetRefusedError(f"must be an https URL; the operator can allow http by {self.http_setting}")

    def usable(self, addresses: Sequence[Address]) -> Sequence[Address]:
        """Return the addresses of a host that may be connected to, at least one.

        Raises:
            TargetRefusedError: the host is not allowed.
        """
        found = usable(addresses, self.networks)
        if not found:
            raise TargetRefusedError("must have a public address")
        return found


def _split(url: str) -> SplitResult:
    # Before urlsplit, which silently removes tabs and line breaks.
    if len(url) > MAX_URL_LENGTH or not _VISIBLE.fullmatch(url):
        raise TargetRefusedError(f"must have at most {MAX_URL_LENGTH} visible ASCII characters")
    try:
        return urlsplit(url)
    except ValueError as error:
        raise TargetRefusedError("is not a URL") from error


def _target(parts: SplitResult) -> Target:
    authority = _AUTHORITY.fullmatch(parts.netloc.lower())
    if "@" in parts.netloc:
        raise TargetRefusedError("must not contain a user name or password")
    if authority is None:
        raise TargetRefusedError("must have a DNS name or an IP address as its host")
    port = int(authority["port"] or _PORTS[parts.scheme])
    if not 0 < port <= _LAST_PORT:
        raise TargetRefusedError("must use a port from 1 to 65535")
    address = _address(authority)
    host = str(address) if address else authority["name"]
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(scheme=parts.scheme, host=host, port=port, path=path, address=address)


def _address(authority: re.Match[str]) -> Address | None:
    name = authority["name"] or ""
    if len(name) > _MAX_NAME_LENGTH:
        raise TargetRefusedError("must have a DNS name or an IP address as its host")
    if name and not _NUMERIC.fullmatch(name.rpartition(".")[2]):
        return None
    try:
        return ip_address(authority["v6"] or name)
    except ValueError as error:
        raise TargetRefusedError("must write an IP address in its standard form, such as 203.0.113.7") from error
