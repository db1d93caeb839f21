"""An issuer with a key set, and the authentication of its tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from tests.support.token_issuer import AUDIENCE, ISSUER, Issuer, SigningKey, rsa_key, running_issuer

from pixelflow.controlplane.tokens.jwks import Jwks
from pixelflow.controlplane.tokens.service import Tokens


@dataclass
class Clock:
    """A monotonic clock that stands until it is moved."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="session")
def signers() -> dict[str, SigningKey]:
    """By type; made once, since making RSA keys takes long."""
    return {
        "RSA": rsa_key("rsa-1"),
        "RSA-2": rsa_key("rsa-2"),
        "P-256": SigningKey("p256", ec.generate_private_key(ec.SECP256R1())),
        "P-384": SigningKey("p384", ec.generate_private_key(ec.SECP384R1())),
        "P-521": SigningKey("p521", ec.generate_private_key(ec.SECP521R1())),
        "Ed25519": SigningKey("ed25519", ed25519.Ed25519PrivateKey.generate()),
    }


@pytest.fixture
def issuer(signers: dict[str, SigningKey]) -> Iterator[Issuer]:
    with running_issuer() as running:
        running.publish(*(key for name, key in signers.items() if name != "RSA-2"))
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def jwks(issuer: Issuer, clock: Clock) -> AsyncIterator[Jwks]:
    """Refreshes only for unknown key IDs."""
    async with Jwks(issuer.url, pause_seconds=0.1, clock=clock) as opened:
        yield opened


@pytest.fixture
def tokens(jwks: Jwks) -> Tokens:
    return Tokens(jwks, issuer=ISSUER, audience=AUDIENCE, user_claim="sub")
