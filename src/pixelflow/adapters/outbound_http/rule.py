"""What may be called, as far as a URL says. Does no I/O, so it serves the creation of a job and the call alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from pixelflow.adapters.outbound_http.addresses import Address, Network, usable
from pixelflow.contracts.errors import TargetRefusedError
from pixelflow.settings import Settings

MAX_URL_LENGTH = 2048
_VISIBLE = re.compile(r"[!-~]+")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_AUTHORITY = re.compile(rf"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>{_LABEL}(?:\.{_LABEL})*))(?::(?P<port>[0-9]{{1,5}}))?")
_MAX_NAME_LENGTH = 253
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A host whose last label is this is an address and no name (WHATWG URL, «ends in a number»), however it is spelt."""
_LOCAL_NAMES = re.compile(r"(?:.*\.)?(?:localhost|localdomain|ip6-localhost|ip6-loopback)")
_LOOPBACK = (ip_address("127.0.0.1"), ip_address("::1"))
_PORTS = {"http": 80, "https": 443}
_FIRST_FREE_PORT = 1024
_LAST_PORT = 65535


@dataclass(frozen=True)
class Target:
    """A URL, taken apart once; nothing parses it again."""

    scheme: str
    host: str
    port: int
    path: str
    """With the query."""
    address: Address | None
    """Where the host is an address rather than a name."""

    @property
    def authority(self) -> str:
        """For the ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True)
class OutboundRule:
    """What may be called."""

    networks: tuple[Network, ...] = ()
    """Not public, and allowed all the same."""
    allow_http: bool = False

    @classmethod
    def of_webhooks(cls, settings: Settings) -> OutboundRule:
        """The operator's rule for webhooks."""
        return cls(networks=settings.webhook_allow_cidrs, allow_http=settings.webhook_allow_http)

    def judge(self, url: str) -> Target:
        """Take ``url`` apart.

        Raises:
            TargetRefusedError: it can be seen that it must not be called.
        """
        parts = _split(url)
        self._check_scheme(parts.scheme)
        target = _target(parts)
        if target.port < _FIRST_FREE_PORT and target.port not in _PORTS.values():
            raise TargetRefusedError("must use port 80, 443, or one from 1024 up")
        if target.address is not None:
            self.usable([target.address])
        elif _LOCAL_NAMES.fullmatch(target.host):
            self.usable(_LOOPBACK)
        return target

    def _check_scheme(self, scheme: str) -> None:
        if scheme not in _PORTS:
            raise TargetRefusedError("must be an https URL")
        if scheme == "http" and not self.allow_http:
            raise TargetRefusedError("must be an https URL; http is not allowed here")

    def usable(self, addresses: Sequence[Address]) -> Sequence[Address]:
        """Those of a name's addresses that may be connected to, at least one.

        Raises:
            TargetRefusedError: the name must not be called.
        """
        found = usable(addresses, self.networks)
        if not found:
            raise TargetRefusedError("must not lead to an address that is not public")
        return found


def _split(url: str) -> SplitResult:
    # Before urlsplit, which drops tabs and line breaks in silence.
    if len(url) > MAX_URL_LENGTH or not _VISIBLE.fullmatch(url):
        raise TargetRefusedError(f"must have at most {MAX_URL_LENGTH} visible ASCII characters")
    try:
        return urlsplit(url)
    except ValueError as error:
        raise TargetRefusedError("is not a URL") from error


def _target(parts: SplitResult) -> Target:
    authority = _AUTHORITY.fullmatch(parts.netloc.lower())
    if "@" in parts.netloc:
        raise TargetRefusedError("must not hold a user name or password")
    if authority is None:
        raise TargetRefusedError("must name a host by a plain DNS name or address")
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
        raise TargetRefusedError("must name a host by a plain DNS name or address")
    if name and not _NUMERIC.fullmatch(name.rpartition(".")[2]):
        return None
    try:
        return ip_address(authority["v6"] or name)
    except ValueError as error:
        raise TargetRefusedError("must spell an address the plain way, such as 203.0.113.7") from error
