"""Secrets at rest: encrypted with a key that the database does not hold.

Knows neither what it seals nor where that is kept.
"""

from __future__ import annotations

import hashlib
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_VERSION = b"\x01"
_KEY_ID_BYTES = 4
_NONCE_BYTES = 12
"""AES-GCM's (NIST SP 800-38D); drawn at random, which is safe for 2³² secrets under one key."""


class DecryptionError(Exception):
    """What was sealed does not open: PIXELFLOW_SECRETS_KEY is another key by now, or somebody has changed the row."""


class SecretCipher:
    """AES-256-GCM, bound to an owner: version (1 byte), key id (4), nonce (12), ciphertext and tag.

    The key id, the beginning of the key's SHA-256, tells which key is needed when keys are changed.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._head = _VERSION + hashlib.sha256(b"pixelflow key id" + key).digest()[:_KEY_ID_BYTES]

    def close(self, secret: bytes, *, owner: str) -> bytes:
        """Encrypt ``secret`` for the database; it opens for the same ``owner`` alone."""
        nonce = os.urandom(_NONCE_BYTES)
        return self._head + nonce + self._cipher.encrypt(nonce, secret, self._bound_to(owner))

    def open(self, sealed: bytes, *, owner: str) -> bytes:
        """What was sealed for the owner.

        Raises:
            UnsealingError: with another key, for another owner, or changed since.
        """
        head, rest = sealed[: len(self._head)], sealed[len(self._head) :]
        if head != self._head:
            raise DecryptionError("It was sealed with another PIXELFLOW_SECRETS_KEY")
        try:
            return self._cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], self._bound_to(owner))
        except (InvalidTag, ValueError) as error:  # ValueError: a stump
            raise DecryptionError("It is not what was sealed for this owner") from error

    def _bound_to(self, owner: str) -> bytes:
        return self._head + owner.encode()
