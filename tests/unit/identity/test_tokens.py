"""Which tokens are accepted, and for which user and scopes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from tests.support.token_issuer import AUDIENCE, ISSUER, Issuer, SigningKey, rsa_key, running_issuer

from pixelflow.contracts.keys import Scope
from pixelflow.controlplane.tokens.jwks import Jwks
from pixelflow.controlplane.tokens.service import LEEWAY_SECONDS, MAX_BYTES, Tokens
from pixelflow.errors import UnauthenticatedError

Signers = dict[str, SigningKey]
ALGORITHMS = dict.fromkeys(["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"], "RSA") | {
    "ES256": "P-256",
    "ES384": "P-384",
    "ES512": "P-521",
    "EdDSA": "Ed25519",
}


@pytest.mark.parametrize(("algorithm", "kind"), ALGORITHMS.items())
async def test_a_valid_token_gives_the_user_and_scopes(
    tokens: Tokens, signers: Signers, algorithm: str, kind: str
) -> None:
    identity = await tokens.authenticate(signers[kind].token(algorithm, scope="jobs:read usage:read"))
    assert identity.user_id == "ada"
    assert identity.scopes == {Scope.JOBS_READ, Scope.USAGE_READ}


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": "jobs:write openid unheard:of"}, {Scope.JOBS_WRITE}),
        ({"scope": None, "scp": ["jobs:read", "keys:write", 7]}, {Scope.JOBS_READ, Scope.KEYS_WRITE}),
        ({"scope": None, "scp": "jobs:read admin"}, {Scope.JOBS_READ, Scope.ADMIN}),
        ({"scope": None}, set()),
        ({"scope": {"jobs:read": True}}, set()),
        ({"scope": ""}, set()),
    ],
)
async def test_unknown_scopes_grant_nothing(
    tokens: Tokens, signers: Signers, claims: dict[str, Any], scopes: set[Scope]
) -> None:
    identity = await tokens.authenticate(signers["RSA"].token("RS256", **claims))
    assert identity.scopes == scopes


NOW = 0
"""Stands for the time of the test, which :func:`from_now` adds: the ids of tests are the same in every collection."""


def from_now(claims: dict[str, Any]) -> dict[str, Any]:
    now = int(time.time())
    return {name: value + now if type(value) is int else value for name, value in claims.items()}


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": [AUDIENCE, "another"]},
        {"exp": NOW - LEEWAY_SECONDS + 15},
        {"nbf": NOW + LEEWAY_SECONDS - 15},
        {"iat": NOW + LEEWAY_SECONDS - 15},
    ],
    ids=str,
)
async def test_a_small_clock_skew_is_allowed(tokens: Tokens, signers: Signers, claims: dict[str, Any]) -> None:
    token = signers["RSA"].token("RS256", **from_now(claims))
    assert (await tokens.authenticate(token)).user_id == "ada"


@pytest.mark.parametrize(
    ("claims", "detail"),
    [
        ({"exp": NOW - 3600}, "expired"),
        ({"exp": NOW - LEEWAY_SECONDS - 5}, "expired"),
        ({"nbf": NOW + 3600}, "not valid yet"),
        ({"iat": NOW + 3600}, "not valid yet"),
        ({"aud": "another"}, "`aud`"),
        ({"aud": ["another", "third"]}, "`aud`"),
        ({"aud": None}, "claim"),
        ({"iss": "https://evil.example/"}, "`iss`"),
        ({"iss": ISSUER.rstrip("/")}, "`iss`"),
        ({"iss": None}, "claim"),
        ({"exp": None}, "claim"),
        ({"exp": "tomorrow"}, ""),
        ({"exp": 1e308 * 10}, ""),
        ({"sub": None}, "`sub`"),
        ({"sub": ""}, "`sub`"),
        ({"sub": "a" * 256}, "`sub`"),
        ({"sub": "a\x00b"}, "`sub`"),
        ({"sub": "a\nb"}, "`sub`"),
    ],
    ids=str,
)
async def test_a_signed_token_with_wrong_claims_is_rejected(
    tokens: Tokens, signers: Signers, claims: dict[str, Any], detail: str
) -> None:
    with pytest.raises(UnauthenticatedError) as refused:
        await tokens.authenticate(signers["RSA"].token("RS256", **from_now(claims)))
    assert detail in refused.value.detail


@pytest.mark.parametrize("claim", [7, ["ada"], {"name": "ada"}, True])
async def test_a_user_id_must_be_a_string(jwks: Jwks, signers: Signers, claim: object) -> None:
    tokens = Tokens(jwks, issuer=ISSUER, audience=AUDIENCE, user_claim="uid")
    with pytest.raises(UnauthenticatedError):
        await tokens.authenticate(signers["RSA"].token("RS256", uid=claim))
    assert (await tokens.authenticate(signers["RSA"].token("RS256", uid="ada"))).user_id == "ada"


def _part(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def _forged(header: dict[str, Any], secret: bytes | None = None) -> str:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": int(time.time()) + 60}
    signed = f"{_part(header)}.{_part(claims)}"
    signature = hmac.digest(secret, signed.encode(), hashlib.sha256) if secret is not None else b""
    return f"{signed}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def _public_pem(key: SigningKey) -> bytes:
    return key.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, 7, ["RS256"]])
async def test_an_unsigned_token_is_rejected(tokens: Tokens, algorithm: object) -> None:
    with pytest.raises(UnauthenticatedError):
        await tokens.authenticate(_forged({"alg": algorithm, "kid": "rsa-1"}))


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "ES256"])
async def test_the_public_key_is_not_accepted_as_an_hmac_secret(
    tokens: Tokens, signers: Signers, algorithm: str
) -> None:
    for secret in (_public_pem(signers["RSA"]), json.dumps(signers["RSA"].jwk).encode(), b""):
        with pytest.raises(UnauthenticatedError):
            await tokens.authenticate(_forged({"alg": algorithm, "kid": "rsa-1"}, secret))


async def test_a_key_inside_the_token_is_ignored(tokens: Tokens, signers: Signers, issuer: Issuer) -> None:
    """Neither embedded (``jwk``, ``x5c``), and not by URL (``jku``, ``x5u``), which is never fetched."""
    with running_issuer() as evil:
        mine = rsa_key("rsa-1")
        evil.publish(mine)
        brought = {"jwk": mine.jwk, "jku": evil.url, "x5u": evil.url, "x5c": ["MIIB"]}
        with pytest.raises(UnauthenticatedError):
            await tokens.authenticate(mine.token("RS256", headers=brought))
        assert evil.fetches == 0
    assert (await tokens.authenticate(signers["RSA"].token("RS256", headers={"jku": issuer.url}))).user_id == "ada"


@pytest.mark.parametrize(
    ("kind", "algorithm", "kid"),
    [("P-256", "ES256", "rsa-1"), ("RSA", "RS256", "p256"), ("Ed25519", "EdDSA", "p256"), ("RSA-2", "RS256", "rsa-1")],
)
async def test_a_key_only_verifies_algorithms_of_its_type(
    tokens: Tokens, signers: Signers, kind: str, algorithm: str, kid: str
) -> None:
    with pytest.raises(UnauthenticatedError):
        await tokens.authenticate(signers[kind].token(algorithm, headers={"kid": kid}))


async def test_a_modified_token_is_rejected(tokens: Tokens, signers: Signers) -> None:
    header, _, signature = signers["RSA"].token("RS256").split(".")
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "mallory", "exp": int(time.time()) + 60}
    with pytest.raises(UnauthenticatedError):
        await tokens.authenticate(f"{header}.{_part(claims)}.{signature}")


@pytest.mark.parametrize(
    "hostile",
    [
        *("", ".", "..", "a.b.c", "é.é.é", "\x00", "ey.ey.ey", "Bearer", "🔑.🔑.🔑"),
        f"{_part({'alg': 'RS256'})}.e30.AA",
        f"{_part({'alg': 'RS256', 'kid': 7})}.e30.AA",
        f"{_part({'alg': 'RS256', 'kid': 'rsa-1', 'crit': ['x']})}.e30.AA",
        f"{_part([])}.e30.AA",
        base64.urlsafe_b64encode(b"[" * 4000).decode() + ".e30.AA",
        base64.urlsafe_b64encode(b'{"alg":' + b"9" * 5000 + b"}").decode().rstrip("=") + ".e30.AA",
        "a" * 10_000_000,
    ],
    ids=range(16),
)
async def test_a_malformed_token_is_rejected(tokens: Tokens, hostile: str) -> None:
    with pytest.raises(UnauthenticatedError):
        await tokens.authenticate(hostile)


async def test_the_size_of_a_token_is_limited(tokens: Tokens, signers: Signers) -> None:
    assert await tokens.authenticate(signers["RSA"].token("RS256", roles="r" * 4000))
    huge = signers["RSA"].token("RS256", roles="r" * MAX_BYTES)
    with pytest.raises(UnauthenticatedError):
        await tokens.authenticate(huge)


async def test_the_error_contains_nothing_of_the_token(tokens: Tokens, signers: Signers) -> None:
    token = signers["RSA"].token("RS256", aud="another")
    with pytest.raises(UnauthenticatedError) as refused:
        await tokens.authenticate(token)
    assert not any(part in repr(refused.value) for part in token.split("."))
    assert jwt.decode(token, options={"verify_signature": False})["aud"] == "another"
