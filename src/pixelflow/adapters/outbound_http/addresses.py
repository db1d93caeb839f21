"""Classifies IP addresses as public or not.

Pure. Has its own tables because those of the standard library differ between Python releases.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

# IANA IPv4 Special-Purpose Address Registry (RFC 6890 and its updates): not globally reachable, or unassigned.
_NOT_PUBLIC_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; Linux routes 0.0.0.0 to the local host
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; metadata service of some clouds
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's host: a public address that is internal to each VM
        "169.254.0.0/16",  # link-local; metadata service of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; Oracle Cloud's metadata service
        "192.0.2.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# IPv6: only global unicast is public (RFC 4291), which excludes loopback, mapped IPv4, unique local, link-local,
# site-local and multicast addresses; within it, the IANA IPv6 Special-Purpose Address Registry excludes these.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, including Teredo (2001::/32)
        "2001:db8::/32",
        "2002::/16",  # 6to4, which embeds an IPv4 address
        "3fff::/20",
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: the prefix by which IPv6-only networks reach IPv4; the last 32 bits are the IPv4 address."""


def is_public(address: Address) -> bool:
    """Return whether ``address`` is a unique host on the internet."""
    if isinstance(address, IPv4Address):
        return not _is_in(address, _NOT_PUBLIC_V4) and address.is_global
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
    return (
        address.scope_id is None
        and address in _GLOBAL_UNICAST
        and not _is_in(address, _NOT_PUBLIC_V6)
        and address.is_global
    )


def usable(addresses: Sequence[Address], allowed: Iterable[Network]) -> Sequence[Address]:
    """Return the addresses of a host that may be connected to; empty if the host must not be called.

    If some are in an allowed network, only those are returned. Otherwise all must be public: a host with both public
    and private addresses is likely an attack.
    """
    networks = tuple(allowed)
    internal = [address for address in addresses if _is_in(address, networks)]
    if internal:
        return internal
    return addresses if all(map(is_public, addresses)) else ()


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)
