"""Fetching and caching an issuer's keys, against a real server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from tests.support.token_issuer import Issuer, SigningKey, rsa_key
from tests.support.waiting import DEADLINE_SECONDS, assert_within
from tests.unit.identity.conftest import Clock

from pixelflow.controlplane.tokens import jwks as jwks_module
from pixelflow.controlplane.tokens.jwks import (
    MAX_AGE_SECONDS,
    MAX_BYTES,
    MAX_KEYS,
    MAX_WAITING,
    Jwks,
)
from pixelflow.errors import IssuerUnavailableError

Signers = dict[str, SigningKey]


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await condition():  # noqa: ASYNC110  # no event is set when a request finds a key
            await asyncio.sleep(0.01)


async def test_keys_are_fetched_once_at_the_start(jwks: Jwks, issuer: Issuer) -> None:
    found = await asyncio.gather(*(jwks.find("rsa-1", "RS256") for _ in range(MAX_WAITING)))
    assert all(found)
    assert issuer.fetches == 1


async def test_an_unknown_key_id_refreshes_the_set(jwks: Jwks, issuer: Issuer, signers: Signers) -> None:
    assert await jwks.find("rsa-1", "RS256")
    issuer.publish(signers["RSA-2"])

    async def is_found() -> bool:
        return await jwks.find("rsa-2", "RS256") is not None

    await eventually(is_found)
    assert await jwks.find("rsa-1", "RS256") is None
    assert issuer.fetches == 2


async def test_a_withdrawn_key_is_dropped_without_any_request(issuer: Issuer, signers: Signers) -> None:
    async with Jwks(issuer.url, fresh_seconds=0.1, pause_seconds=0.05) as jwks:
        assert await jwks.find("rsa-1", "RS256")
        issuer.publish(signers["RSA-2"])

        async def is_dropped() -> bool:
            return jwks._find("rsa-1", "RS256") is None

        await eventually(is_dropped)


async def test_a_flood_of_unknown_key_ids_does_not_reach_the_issuer(issuer: Issuer) -> None:
    async with Jwks(issuer.url, pause_seconds=0.3) as jwks:
        assert await jwks.find("rsa-1", "RS256")
        began = time.monotonic()
        while time.monotonic() - began < 0.8 or issuer.fetches < 2:
            assert time.monotonic() - began < DEADLINE_SECONDS
            assert set(await asyncio.gather(*(jwks.find(f"unheard-{n}", "RS256") for n in range(200)))) == {None}
            await asyncio.sleep(0)
    assert 2 <= issuer.fetches <= 2 + (time.monotonic() - began) / 0.3


@pytest.mark.parametrize(
    "failure",
    [
        *({"status": 500}, {"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}}, {"raw": b"<html>"}),
        *({"raw": b"[" * 100_000}, {"raw": b'{"keys": {}}'}, {"raw": b" " * (MAX_BYTES + 1)}, {"raw": b"\xff\xfe"}),
        {"published": [{}] * (MAX_KEYS + 1)},
    ],
    ids=str,
)
async def test_the_last_good_set_is_used_for_an_hour_while_the_issuer_fails(
    issuer: Issuer, clock: Clock, failure: dict[str, Any]
) -> None:
    async with Jwks(issuer.url, fresh_seconds=0.02, pause_seconds=0.01, clock=clock) as jwks:
        assert await jwks.find("rsa-1", "RS256")
        for name, value in failure.items():
            setattr(issuer, name, value)
        before = issuer.fetches

        async def is_asked_again() -> bool:
            return issuer.fetches >= before + 3

        await eventually(is_asked_again)
        clock.now += MAX_AGE_SECONDS - 1
        assert await jwks.find("rsa-1", "RS256")
        clock.now += 1
        with pytest.raises(IssuerUnavailableError):
            await jwks.find("rsa-1", "RS256")


async def test_a_silent_issuer_delays_no_request_with_a_known_key(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And few of the others, however many they are."""
    monkeypatch.setattr(jwks_module, "FETCH_SECONDS", 2 * DEADLINE_SECONDS)
    async with Jwks(issuer.url, pause_seconds=0.05) as jwks:
        assert await jwks.find("rsa-1", "RS256")

        async def may_fetch() -> bool:
            return jwks._fetching is not None

        await eventually(may_fetch)
        issuer.silent.set()
        try:
            unknown = [asyncio.create_task(jwks.find(f"unheard-{n}", "RS256")) for n in range(500)]

            async def only_some_wait() -> bool:
                return sum(not task.done() for task in unknown) == MAX_WAITING

            await eventually(only_some_wait)
            for _ in range(100):
                assert await jwks.find("rsa-1", "RS256")
            assert await only_some_wait(), "the fetch has not ended meanwhile"
        finally:
            issuer.silent.clear()
        assert set(await asyncio.gather(*unknown)) == {None}


async def test_a_request_waits_for_a_silent_issuer_no_longer_than_one_fetch(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks_module, "FETCH_SECONDS", 0.2)
    issuer.silent.set()
    try:
        async with Jwks(issuer.url) as jwks:
            began = time.monotonic()
            with pytest.raises(IssuerUnavailableError):
                await jwks.find("rsa-1", "RS256")
            assert_within(1, began)
    finally:
        issuer.silent.clear()


async def test_without_any_set_the_issuer_is_unavailable(issuer: Issuer) -> None:
    issuer.status = 503
    async with Jwks(issuer.url, pause_seconds=0.5) as jwks:
        for _ in range(2):
            with pytest.raises(IssuerUnavailableError):
                await jwks.find("rsa-1", "RS256")
        issuer.status = 200

        async def is_found() -> bool:
            with suppress(IssuerUnavailableError):
                return await jwks.find("rsa-1", "RS256") is not None
            return False

        await eventually(is_found)


async def test_after_a_failed_fetch_none_follows_for_a_while(issuer: Issuer) -> None:
    issuer.status = 503
    async with Jwks(issuer.url, pause_seconds=600) as jwks:
        for _ in range(3):
            with pytest.raises(IssuerUnavailableError):
                await jwks.find("rsa-1", "RS256")
        assert issuer.fetches == 1


async def test_an_unreachable_issuer_is_unavailable() -> None:
    async with Jwks("http://127.0.0.1:1/jwks.json") as jwks:
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
