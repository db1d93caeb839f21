"""Rate limits at the API's edge: the RateLimit headers, and which addresses count as one client."""

from __future__ import annotations

import re

import pytest

from pixelflow.controlplane.api.auth import UNKNOWN_NETWORK, network_of, rate_limit_headers
from pixelflow.controlplane.limits.service import Policy, RateLimitResult
from pixelflow.controlplane.limits.store import BucketResult, Quota

ITEM = r'"[a-z]+"(;[a-z]+=\d+)+'
"""A structured field (RFC 9651): a list of one string with integers for parameters."""


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize(
    ("bucket", "parameters"),
    [
        (BucketResult(allowed=True, remaining=59, refill_seconds=1.0), "r=59;t=1"),
        (BucketResult(allowed=True, remaining=0, refill_seconds=0.000001), "r=0;t=1"),
        (BucketResult(allowed=False, remaining=0, refill_seconds=1.000001), "r=0;t=2"),
        (BucketResult(allowed=False, remaining=0, refill_seconds=0.0), "r=0;t=1"),
    ],
)
def test_headers_are_structured_fields_in_whole_seconds_rounded_up(
    policy: Policy, bucket: BucketResult, parameters: str
) -> None:
    headers = rate_limit_headers(RateLimitResult(policy, Quota(60, 3600), bucket))
    assert headers == {"RateLimit-Policy": f'"{policy}";q=60;w=3600', "RateLimit": f'"{policy}";{parameters}'}
    assert all(re.fullmatch(ITEM, value) for value in headers.values())


def test_a_rejected_request_is_described_with_its_limit_and_the_delay() -> None:
    rejected = RateLimitResult(
        Policy.CREATE, Quota(60, 3600), BucketResult(allowed=False, remaining=0, refill_seconds=1.5)
    )
    assert rejected.error.detail == "The limit for `create` requests is 60 in 3600 s; try again in 2 s"
    assert rejected.error.retry_after == 2


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", UNKNOWN_NETWORK),
        ("localhost", UNKNOWN_NETWORK),
        ("192.0.2.7:80", UNKNOWN_NETWORK),
        ("1" * 10_000, UNKNOWN_NETWORK),
    ],
)
def test_addresses_are_canonical_and_an_ipv6_network_is_one_client(host: str, network: str) -> None:
    assert network_of(host) == network


@pytest.mark.parametrize(("capacity", "window", "interval"), [(60, 60, 1_000_000), (7, 60, 8_571_428), (10**6, 1, 1)])
def test_a_token_refills_in_whole_microseconds(capacity: int, window: int, interval: int) -> None:
    assert Quota(capacity, window).interval == interval
