"""Encrypts secrets at rest with a key that is not in the database.

Must never depend on what it encrypts or where the ciphertext is stored.
"""

from __future__ import annotations

import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_VERSION = b"\x01"
_KEY_ID_BYTES = 4
_NONCE_BYTES = 12
"""AES-GCM's nonce size (NIST SP 800-38D). Random nonces are safe for 2³² secrets under one key."""


class DecryptionError(Exception):
    """The ciphertext can't be decrypted: PIXELFLOW_SECRETS_KEY has changed, or the row was modified."""


class SecretCipher:
    """AES-256-GCM bound to an owner. Ciphertext: version (1 byte), key ID (4), nonce (12), encrypted secret and tag.

    The key ID is a prefix of the key's SHA-256. It identifies the key that a ciphertext needs after a key change.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._header = _VERSION + hashlib.sha256(b"pixelflow key id" + key).digest()[:_KEY_ID_BYTES]

    def encrypt(self, secret: bytes, *, owner: str) -> bytes:
        """Encrypt ``secret``. Only the same ``owner`` can decrypt it."""
        nonce = os.urandom(_NONCE_BYTES)
        return self._header + nonce + self._cipher.encrypt(nonce, secret, self._associated_data(owner))

    def decrypt(self, ciphertext: bytes, *, owner: str) -> bytes:
        """Decrypt a secret of ``owner``.

        Raises:
            DecryptionError: the ciphertext was made with another key or for another owner, or was modified.
        """
        header, rest = ciphertext[: len(self._header)], ciphertext[len(self._header) :]
        if header != self._header:
            raise DecryptionError("The secret was encrypted with another PIXELFLOW_SECRETS_KEY")
        try:
            return self._cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], self._associated_data(owner))
        except (InvalidTag, ValueError) as error:  # ValueError: truncated ciphertext
            raise DecryptionError("The ciphertext is damaged or belongs to another owner") from error

    def _associated_data(self, owner: str) -> bytes:
        return self._header + owner.encode()


def derive_key(key: bytes, *, purpose: str) -> bytes:
    """Derive a key for one purpose, so that no cipher can decrypt the ciphertext of another."""
    return hmac.digest(key, purpose.encode(), "sha256")
