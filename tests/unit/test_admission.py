"""What limits are told by: the form of the headers, and which addresses are one."""

from __future__ import annotations

import re

import pytest

from pixelflow.controlplane.api.addresses import UNKNOWN, of_host
from pixelflow.controlplane.api.admission import headers
from pixelflow.controlplane.limits.service import Policy, RateLimitResult
from pixelflow.controlplane.limits.store import BucketResult, Quota

ITEM = r'"[a-z]+"(;[a-z]+=\d+)+'
"""A structured field (RFC 9651): a list of one string with integers for parameters."""


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize(
    ("taking", "told"),
    [
        (BucketResult(taken=True, left=59, next_seconds=1.0), "r=59;t=1"),
        (BucketResult(taken=True, left=0, next_seconds=0.000001), "r=0;t=1"),
        (BucketResult(taken=False, left=0, next_seconds=1.000001), "r=0;t=2"),
        (BucketResult(taken=False, left=0, next_seconds=0.0), "r=0;t=1"),
    ],
)
def test_headers_are_structured_fields_in_whole_seconds_rounded_up(
    policy: Policy, taking: BucketResult, told: str
) -> None:
    made = headers(RateLimitResult(policy, Quota(60, 3600), taking))
    assert made == {"RateLimit-Policy": f'"{policy}";q=60;w=3600', "RateLimit": f'"{policy}";{told}'}
    assert all(re.fullmatch(ITEM, value) for value in made.values())


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", UNKNOWN),
        ("localhost", UNKNOWN),
        ("192.0.2.7:80", UNKNOWN),
        ("1" * 10_000, UNKNOWN),
    ],
)
def test_an_address_is_one_in_every_spelling_and_an_ipv6_network_is_one(host: str, origin: str) -> None:
    assert of_host(host) == origin


@pytest.mark.parametrize(("capacity", "window", "interval"), [(60, 60, 1_000_000), (7, 60, 8_571_428), (10**6, 1, 1)])
def test_a_token_comes_back_in_whole_microseconds(capacity: int, window: int, interval: int) -> None:
    assert Quota(capacity, window).interval == interval
