"""Webhook secrets at rest."""

from __future__ import annotations

import pytest

from pixelflow.contracts.webhooks import RotatedSecret
from pixelflow.controlplane.encryption import DecryptionError, SecretCipher

SECRET = b"s" * 32
SEAL = SecretCipher(b"k" * 32)


def test_what_was_sealed_opens_for_its_user() -> None:
    assert SEAL.open(SEAL.close(SECRET, owner="anna"), owner="anna") == SECRET


def test_nothing_of_the_secret_shows_and_no_two_seals_are_alike() -> None:
    one, other = SEAL.close(SECRET, owner="anna"), SEAL.close(SECRET, owner="anna")
    assert SECRET[:8] not in one
    assert one != other


def test_another_user_can_not_be_given_it() -> None:
    with pytest.raises(DecryptionError):
        SEAL.open(SEAL.close(SECRET, owner="anna"), owner="bert")


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(DecryptionError, match="another PIXELFLOW_SECRETS_KEY"):
        SecretCipher(b"K" * 32).open(SEAL.close(SECRET, owner="anna"), owner="anna")


@pytest.mark.parametrize("position", [0, 2, 5, 17, 30, -1])
def test_a_changed_byte_is_noticed(position: int) -> None:
    sealed = bytearray(SEAL.close(SECRET, owner="anna"))
    sealed[position] ^= 1
    with pytest.raises(DecryptionError):
        SEAL.open(bytes(sealed), owner="anna")


@pytest.mark.parametrize("sealed", [b"", b"\x01", SEAL.close(SECRET, owner="anna")[:10]], ids=len)
def test_a_stump_is_noticed(sealed: bytes) -> None:
    with pytest.raises(DecryptionError):
        SEAL.open(sealed, owner="anna")


def test_a_rotated_secret_is_not_in_its_repr() -> None:
    rotated = RotatedSecret(secret="whsec_visible", previous_valid_until=None)
    assert "visible" not in f"{rotated!r} {rotated}"
