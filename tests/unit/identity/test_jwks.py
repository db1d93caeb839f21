"""Fetching and caching an issuer's keys, against a real server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.token_issuer import Issuer, SigningKey, rsa_key
from tests.unit.identity.conftest import Clock

from pixelflow.controlplane.tokens.jwks import FRESH_SECONDS, MAX_BYTES, MAX_KEYS, PAUSE_SECONDS, Jwks
from pixelflow.errors import IssuerUnavailableError

Signers = dict[str, SigningKey]


async def test_keys_are_fetched_once_on_first_use(jwks: Jwks, issuer: Issuer) -> None:
    assert issuer.fetches == 0
    found = await asyncio.gather(*(jwks.find("rsa-1", "RS256") for _ in range(50)))
    assert all(found)
    assert issuer.fetches == 1


async def test_an_unknown_key_id_refreshes_the_set(jwks: Jwks, issuer: Issuer, clock: Clock, signers: Signers) -> None:
    assert await jwks.find("rsa-1", "RS256")
    issuer.publish(signers["RSA-2"])
    clock.now += PAUSE_SECONDS
    assert await jwks.find("rsa-2", "RS256")
    assert await jwks.find("rsa-1", "RS256") is None
    assert issuer.fetches == 2


async def test_a_withdrawn_key_is_dropped_when_the_set_is_stale(
    jwks: Jwks, issuer: Issuer, clock: Clock, signers: Signers
) -> None:
    assert await jwks.find("rsa-1", "RS256")
    issuer.publish(signers["RSA-2"])
    clock.now += FRESH_SECONDS
    assert await jwks.find("rsa-1", "RS256") is None


async def test_a_flood_of_unknown_key_ids_does_not_reach_the_issuer(jwks: Jwks, issuer: Issuer, clock: Clock) -> None:
    for _ in range(3):
        assert await asyncio.gather(*(jwks.find(f"unheard-{n}", "RS256") for n in range(200))) == [None] * 200
        clock.now += PAUSE_SECONDS
    assert issuer.fetches == 3


@pytest.mark.parametrize(
    "failure",
    [
        *({"status": 500}, {"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}}, {"raw": b"<html>"}),
        *({"raw": b"[" * 100_000}, {"raw": b'{"keys": {}}'}, {"raw": b" " * (MAX_BYTES + 1)}, {"raw": b"\xff\xfe"}),
        {"published": [{}] * (MAX_KEYS + 1)},
    ],
    ids=str,
)
async def test_the_last_good_set_is_used_while_the_issuer_fails(
    jwks: Jwks, issuer: Issuer, clock: Clock, failure: dict[str, Any]
) -> None:
    assert await jwks.find("rsa-1", "RS256")
    for name, value in failure.items():
        setattr(issuer, name, value)
    clock.now += FRESH_SECONDS
    assert await jwks.find("rsa-1", "RS256")
    assert await jwks.find("rsa-1", "RS256")
    assert issuer.fetches == 2, "a failing issuer is not called again at once"


async def test_without_any_set_the_issuer_is_unavailable(issuer: Issuer, clock: Clock) -> None:
    issuer.status = 503
    async with Jwks(issuer.url, clock=clock) as jwks:
        with pytest.raises(IssuerUnavailableError):
            await jwks.find("rsa-1", "RS256")
        with pytest.raises(IssuerUnavailableError):
            await jwks.find("rsa-1", "RS256")
        assert issuer.fetches == 1
        issuer.status = 200
        clock.now += PAUSE_SECONDS
        assert await jwks.find("rsa-1", "RS256")


async def test_an_unreachable_issuer_is_unavailable(clock: Clock) -> None:
    async with Jwks("http://127.0.0.1:1/jwks.json", clock=clock) as jwks:
        with pytest.raises(IssuerUnavailableError):
            await jwks.find("rsa-1", "RS256")


def _secret() -> dict[str, Any]:
    return {"kty": "oct", "kid": "rsa-1", "k": "AAAA", "alg": "HS256"}


@pytest.mark.parametrize(
    "change",
    [
        *({"use": "enc"}, {"key_ops": ["sign"]}, {"key_ops": "verify"}, {"alg": "RS512"}, {"alg": "HS256"}),
        *(
            {"kty": "EC"},
            {"kty": ["RSA"]},
            {"crv": "P-256"},
            {"n": "!"},
            {"n": 7},
            {"e": None},
            {"kid": 7},
            {"d": "AA"},
        ),
    ],
    ids=str,
)
async def test_keys_that_are_not_for_verifying_are_skipped(
    jwks: Jwks, issuer: Issuer, signers: Signers, change: dict[str, Any]
) -> None:
    issuer.published = [signers["RSA"].jwk | change, _secret(), signers["P-256"].jwk]
    assert await jwks.find("rsa-1", "RS256") is None
    assert await jwks.find("rsa-1", "HS256") is None
    assert await jwks.find("p256", "ES256")


async def test_a_short_rsa_key_is_skipped(jwks: Jwks, issuer: Issuer) -> None:
    issuer.publish(rsa_key("short", bits=1024))
    assert await jwks.find("short", "RS256") is None
