"""Webhook secrets at rest."""

from __future__ import annotations

import pytest

from pixelflow.contracts.webhooks import RotatedSecret
from pixelflow.controlplane.encryption import DecryptionError, SecretCipher

SECRET = b"s" * 32
CIPHER = SecretCipher([b"k" * 32])


def test_a_secret_is_decrypted_for_its_owner() -> None:
    assert CIPHER.decrypt(CIPHER.encrypt(SECRET, owner="anna"), owner="anna") == SECRET


def test_the_ciphertext_hides_the_secret_and_is_never_the_same_twice() -> None:
    one, other = CIPHER.encrypt(SECRET, owner="anna"), CIPHER.encrypt(SECRET, owner="anna")
    assert SECRET[:8] not in one
    assert one != other


def test_a_ciphertext_can_not_be_decrypted_for_another_owner() -> None:
    with pytest.raises(DecryptionError):
        CIPHER.decrypt(CIPHER.encrypt(SECRET, owner="anna"), owner="bert")


def test_a_ciphertext_can_not_be_decrypted_with_another_key() -> None:
    with pytest.raises(DecryptionError, match="another PIXELFLOW_SECRETS_KEY"):
        SecretCipher([b"K" * 32]).decrypt(CIPHER.encrypt(SECRET, owner="anna"), owner="anna")


@pytest.mark.parametrize("position", [0, 2, 5, 17, 30, -1])
def test_a_modified_ciphertext_is_rejected(position: int) -> None:
    ciphertext = bytearray(CIPHER.encrypt(SECRET, owner="anna"))
    ciphertext[position] ^= 1
    with pytest.raises(DecryptionError):
        CIPHER.decrypt(bytes(ciphertext), owner="anna")


@pytest.mark.parametrize("ciphertext", [b"", b"\x01", CIPHER.encrypt(SECRET, owner="anna")[:10]], ids=len)
def test_a_truncated_ciphertext_is_rejected(ciphertext: bytes) -> None:
    with pytest.raises(DecryptionError):
        CIPHER.decrypt(ciphertext, owner="anna")


def test_the_first_key_encrypts_and_all_keys_decrypt() -> None:
    new, old = b"n" * 32, b"k" * 32
    both = SecretCipher([new, old])
    assert both.decrypt(CIPHER.encrypt(SECRET, owner="anna"), owner="anna") == SECRET
    ciphertext = both.encrypt(SECRET, owner="anna")
    assert ciphertext.startswith(SecretCipher([new]).header)
    assert SecretCipher([new]).decrypt(ciphertext, owner="anna") == SECRET
    with pytest.raises(DecryptionError, match="another PIXELFLOW_SECRETS_KEY"):
        CIPHER.decrypt(ciphertext, owner="anna")


def test_a_rotated_secret_is_not_in_its_repr() -> None:
    rotated = RotatedSecret(secret="whsec_visible", previous_valid_until=None)
    assert "visible" not in f"{rotated!r} {rotated}"
