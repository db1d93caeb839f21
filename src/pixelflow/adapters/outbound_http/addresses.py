"""Which addresses are public. Pure; the standard library's tables differ between Python releases, these do not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

# IANA IPv4 Special-Purpose Address Registry (RFC 6890 and its updates): what is not globally reachable, or is nobody's.
_NOT_PUBLIC_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; Linux takes 0.0.0.0 for itself
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; some clouds keep their metadata there
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's host: public by its number, inner by its nature
        "169.254.0.0/16",  # link-local, where most clouds keep their metadata
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; Oracle Cloud's metadata
        "192.0.2.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# IPv6: only global unicast is public (RFC 4291), so loopback, mapped IPv4, unique and link-local, site-local and
# multicast are not; within it, what the IANA IPv6 Special-Purpose Address Registry takes out.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo (2001::/32) among them
        "2001:db8::/32",
        "2002::/16",  # 6to4, which carries an IPv4 address
        "3fff::/20",
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: how a network that speaks IPv6 alone reaches IPv4; the last 32 bits are the IPv4 address."""


def is_public(address: Address) -> bool:
    """Whether ``address`` is on the internet, for everybody the same."""
    if isinstance(address, IPv4Address):
        return not _lies_in(address, _NOT_PUBLIC_V4) and address.is_global
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
    return (
        address.scope_id is None
        and address in _GLOBAL_UNICAST
        and not _lies_in(address, _NOT_PUBLIC_V6)
        and address.is_global
    )


def usable(addresses: Sequence[Address], allowed: Iterable[Network]) -> Sequence[Address]:
    """Those of a name's addresses that may be connected to; none if the name must not be called at all.

    A name that leads into an operator's network is used there and nowhere else. Any other name must be public with
    all of its addresses: one that is also inner means nothing good.
    """
    networks = tuple(allowed)
    inner = [address for address in addresses if _lies_in(address, networks)]
    if inner:
        return inner
    return addresses if all(map(is_public, addresses)) else ()


def _lies_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)
