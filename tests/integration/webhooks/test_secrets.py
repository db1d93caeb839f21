"""Webhook secrets in the database."""

from __future__ import annotations

import asyncio
import base64

from tests.integration.webhooks.conftest import Harness

DUMP = "SELECT user_id, ciphertext::text, created_at::text FROM webhook_secrets WHERE user_id = %s"


async def test_concurrent_first_uses_create_one_secret(harness: Harness) -> None:
    found = await asyncio.gather(*(harness.webhooks.signing_secrets(harness.user_id) for _ in range(8)))
    assert len({tuple(secrets) for secrets in found}) == 1
    [secret] = found[0]
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32


async def test_the_database_has_no_secret_in_plain_text(harness: Harness) -> None:
    secret = (await harness.webhooks.rotate_secret(harness.user_id)).secret
    [row] = await harness.rows(DUMP, harness.user_id)
    raw = base64.b64decode(secret.removeprefix("whsec_"))
    assert secret not in str(row)
    assert raw.hex() not in str(row)


async def test_a_rotated_secret_is_current_and_the_previous_one_is_valid_for_a_day(harness: Harness) -> None:
    first = await harness.webhooks.rotate_secret(harness.user_id)
    second = await harness.webhooks.rotate_secret(harness.user_id)
    assert first.previous_valid_until is None
    assert second.previous_valid_until is not None
    assert await harness.webhooks.signing_secrets(harness.user_id) == [second.secret, first.secret]
    [row] = await harness.rows(
        "SELECT valid_until - now() BETWEEN '23:59' AND '24:00' AS is_a_day FROM webhook_secrets "
        "WHERE user_id = %s AND valid_until IS NOT NULL",
        harness.user_id,
    )
    assert row["is_a_day"]


async def test_a_previous_secret_expires(harness: Harness) -> None:
    await harness.webhooks.rotate_secret(harness.user_id)
    second = await harness.webhooks.rotate_secret(harness.user_id)
    await harness.rows("UPDATE webhook_secrets SET valid_until = now() WHERE valid_until IS NOT NULL RETURNING 1")
    assert await harness.webhooks.signing_secrets(harness.user_id) == [second.secret]


async def test_the_number_of_previous_secrets_is_limited(harness: Harness) -> None:
    shown = [(await harness.webhooks.rotate_secret(harness.user_id)).secret for _ in range(10)]
    assert await harness.webhooks.signing_secrets(harness.user_id) == shown[:-5:-1]
    assert len(await harness.rows(DUMP, harness.user_id)) == 4


async def test_concurrent_rotations_leave_one_current_secret(harness: Harness) -> None:
    shown = await asyncio.gather(*(harness.webhooks.rotate_secret(harness.user_id) for _ in range(6)))
    current = (await harness.webhooks.signing_secrets(harness.user_id))[0]
    assert current in {rotated.secret for rotated in shown}
    assert sum(rotated.previous_valid_until is None for rotated in shown) == 1


async def test_users_have_different_secrets(harness: Harness, other_user: Harness) -> None:
    assert await harness.webhooks.signing_secrets(harness.user_id) != await other_user.webhooks.signing_secrets(
        other_user.user_id
    )
