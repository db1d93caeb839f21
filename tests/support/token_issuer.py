"""A token issuer: real keys, signed tokens, and a real server that publishes the keys."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "https://id.example/"
AUDIENCE = "pixelflow"
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass
class SigningKey:
    """A signing key of the issuer."""

    kid: str
    private: PrivateKey

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key, as published."""
        public = self.private.public_key()
        if isinstance(public, rsa.RSAPublicKey):
            made = RSAAlgorithm.to_jwk(public, as_dict=True)
        elif isinstance(public, ec.EllipticCurvePublicKey):
            made = ECAlgorithm.to_jwk(public, as_dict=True)
        else:
            made = OKPAlgorithm.to_jwk(public, as_dict=True)
        return {**made, "kid": self.kid, "use": "sig"}

    def token(self, algorithm: str, *, headers: dict[str, Any] | None = None, **claims: Any) -> str:  # noqa: ANN401
        """Return a token. ``claims`` override the valid ones; None removes one."""
        now = int(time.time())
        good = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": now + 60, "scope": "jobs:read"}
        kept = {name: value for name, value in {**good, **claims}.items() if value is not None}
        return jwt.encode(kept, self.private, algorithm, headers={"kid": self.kid, **(headers or {})})


def rsa_key(kid: str, bits: int = 2048) -> SigningKey:
    return SigningKey(kid, rsa.generate_private_key(public_exponent=65537, key_size=bits))


@dataclass
class Issuer:
    """Configuration and request count of the server."""

    url: str = ""
    published: list[dict[str, Any]] = field(default_factory=list)
    fetches: int = 0
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    """Response body instead of the key set."""
    silent: threading.Event = field(default_factory=threading.Event)
    """While it is set, requests get no response."""

    def publish(self, *keys: SigningKey) -> None:
        self.published = [key.jwk for key in keys]


@contextmanager
def running_issuer() -> Iterator[Issuer]:
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.fetches += 1
            while issuer.silent.is_set():
                time.sleep(0.01)
            body = issuer.raw if issuer.raw is not None else json.dumps({"keys": issuer.published}).encode()
            self.send_response(issuer.status)
            for name, value in issuer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    issuer.url = f"http://127.0.0.1:{server.server_port}/jwks.json"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
