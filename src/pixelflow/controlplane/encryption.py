"""Encrypts secrets at rest with keys that are not in the database.

Must never depend on what it encrypts or where the ciphertext is stored.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_VERSION = b"\x01"
_KEY_ID_BYTES = 4
_NONCE_BYTES = 12
"""AES-GCM's nonce size (NIST SP 800-38D). Random nonces are safe for 2³² secrets under one key."""


class DecryptionError(Exception):
    """The ciphertext can't be decrypted: no key of PIXELFLOW_SECRETS_KEY encrypted it, or the row was modified."""


class SecretCipher:
    """AES-256-GCM bound to an owner. Ciphertext: version (1 byte), key ID (4), nonce (12), encrypted secret and tag.

    The key ID is a prefix of the key's SHA-256. It identifies the key that a ciphertext needs.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        """The first key encrypts, all decrypt."""
        self._ciphers = {_header(key): AESGCM(key) for key in keys}
        self.header = _header(keys[0])
        """What each ciphertext of the first key begins with."""

    def encrypt(self, secret: bytes, *, owner: str) -> bytes:
        """Encrypt ``secret``. Only the same ``owner`` can decrypt it."""
        nonce = os.urandom(_NONCE_BYTES)
        encrypted = self._ciphers[self.header].encrypt(nonce, secret, _associated_data(self.header, owner))
        return self.header + nonce + encrypted

    def decrypt(self, ciphertext: bytes, *, owner: str) -> bytes:
        """Decrypt a secret of ``owner``.

        Raises:
            DecryptionError: the ciphertext was made with another key or for another owner, or was modified.
        """
        header, rest = ciphertext[: len(self.header)], ciphertext[len(self.header) :]
        if header not in self._ciphers:
            raise DecryptionError("The secret was encrypted with another PIXELFLOW_SECRETS_KEY")
        try:
            nonce, encrypted = rest[:_NONCE_BYTES], rest[_NONCE_BYTES:]
            return self._ciphers[header].decrypt(nonce, encrypted, _associated_data(header, owner))
        except (InvalidTag, ValueError) as error:  # ValueError: truncated ciphertext
            raise DecryptionError("The ciphertext is damaged or belongs to another owner") from error


def _header(key: bytes) -> bytes:
    return _VERSION + hashlib.sha256(b"pixelflow key id" + key).digest()[:_KEY_ID_BYTES]


def _associated_data(header: bytes, owner: str) -> bytes:
    return header + owner.encode()


def webhook_cipher(keys: Sequence[bytes]) -> SecretCipher:
    """Encrypts webhook secrets; their owner is the user."""
    return SecretCipher(keys)


def response_cipher(keys: Sequence[bytes]) -> SecretCipher:
    """Encrypts stored responses, which can contain secrets that are shown only once."""
    return SecretCipher([_derive_key(key, purpose="pixelflow idempotency answers") for key in keys])


def response_owner(user_id: str, key: str) -> str:
    """The owner that the response to a request with an idempotency key is encrypted for."""
    return f"{key} {user_id}"  # unambiguous, since a key contains no space


def _derive_key(key: bytes, *, purpose: str) -> bytes:
    """Derive a key for one purpose, so that no cipher can decrypt the ciphertext of another."""
    return hmac.digest(key, purpose.encode(), "sha256")
