"""From where a request comes, as far as limits are concerned. Decides nothing.

Behind a proxy that the settings trust, the server has put the client's address in the proxy's place already
(``serve``); headers are never looked at here.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network

from starlette.requests import HTTPConnection

IPV6_PREFIX = 64
"""Bits: what one customer of a provider has at least (RFC 6177), and can draw new addresses from at will."""
UNKNOWN = "unknown"
"""All who come over something that is no IP, such as a Unix socket, or whose proxy tells nothing that can be read."""


def origin(request: HTTPConnection) -> str:
    """The address, or the network that is as good as one."""
    return of_host(request.client.host) if request.client else UNKNOWN


def of_host(host: str) -> str:
    """As :func:`origin`, of an address in any spelling."""
    try:
        address = ip_address(host.partition("%")[0])  # a zone says by which interface it came, not from whom
    except ValueError:
        return UNKNOWN
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ip_network((address, IPV6_PREFIX), strict=False))
