"""A change of PIXELFLOW_SECRETS_KEY: values from before stay readable, and are re-encrypted while the service runs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import psycopg
import pytest
from tests.acceptance.running import servers_alone
from tests.support.databases import new_database

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.postgres.database import EVERYONE, AsyncDatabase
from pixelflow.adapters.postgres.migrate import migrate
from pixelflow.controlplane.encryption import DecryptionError, response_cipher, response_owner, webhook_cipher
from pixelflow.controlplane.secrets.rotation import RotatedValues, rotate
from pixelflow.controlplane.webhooks.service import WebhookService
from pixelflow.devstack.stack import Stack

OLD, NEW, LOST = b"o" * 32, b"n" * 32, b"l" * 32
USERS = [f"user-{n}" for n in range(7)]


@pytest.fixture
def url(stack: Stack) -> Iterator[str]:
    with new_database(stack) as made:
        migrate(made)
        yield made


@pytest.fixture
async def database(url: str) -> AsyncIterator[AsyncDatabase]:
    async with AsyncDatabase(url, max_connections=4, application="test", scope=EVERYONE) as opened:
        yield opened


def service(database: AsyncDatabase, *keys: bytes) -> WebhookService:
    """A process with these keys."""
    return WebhookService(database, webhook_cipher(keys), new_id=new_id)


async def store_response(database: AsyncDatabase, user_id: str, *keys: bytes) -> None:
    ciphertext = response_cipher(keys).encrypt(b"answer", owner=response_owner(user_id, "order-1"))
    async with database.connection() as connection:
        await connection.execute(
            """INSERT INTO idempotency_keys (user_id, key, fingerprint, resource_id, holder, lease_until, status,
                                             ciphertext)
               VALUES (%s, 'order-1', 'f', %s, %s, now(), 202, %s)""",
            (user_id, uuid4(), uuid4(), ciphertext),
        )


async def responses(database: AsyncDatabase, *keys: bytes) -> set[bytes]:
    async with database.connection() as connection:
        rows = await (await connection.execute("SELECT user_id, ciphertext FROM idempotency_keys")).fetchall()
    return {
        response_cipher(keys).decrypt(row["ciphertext"], owner=response_owner(row["user_id"], "order-1"))
        for row in rows
    }


async def secrets(database: AsyncDatabase, *keys: bytes) -> dict[str, list[str]]:
    return {user: await service(database, *keys).signing_secrets(user) for user in USERS}


async def test_the_key_is_changed_while_the_service_runs(url: str, database: AsyncDatabase) -> None:
    for user in USERS:
        await service(database, OLD).rotate_secret(user)
        await service(database, OLD).rotate_secret(user)
        await store_response(database, user, OLD)
    before = await secrets(database, OLD)
    assert [len(each) for each in before.values()] == [2] * len(USERS)

    # 1. All processes get the new key at the end: some have it already, some not, and all read everything.
    assert await secrets(database, OLD, NEW) == before
    # 2. The new key moves to the front. Processes of step 1 read what the first of these write.
    fresh = (await service(database, NEW, OLD).rotate_secret(USERS[0])).secret
    assert (await service(database, OLD, NEW).signing_secrets(USERS[0]))[0] == fresh
    before = await secrets(database, NEW, OLD)
    # 3. Everything is re-encrypted, in small batches.
    done = await asyncio.to_thread(rotate, url, [NEW, OLD], batch=2)
    assert done == (RotatedValues(re_encrypted=14), RotatedValues(re_encrypted=7))
    assert await asyncio.to_thread(rotate, url, [NEW, OLD]) == (RotatedValues(), RotatedValues())
    # 4. The old key is removed.
    assert await secrets(database, NEW) == before
    assert await responses(database, NEW) == {b"answer"}
    with pytest.raises(DecryptionError):
        await service(database, OLD).signing_secrets(USERS[1])


async def test_a_rotation_that_was_interrupted_continues(url: str, database: AsyncDatabase) -> None:
    for user in USERS:
        await service(database, OLD).rotate_secret(user)
    async with database.connection() as connection:
        [row] = await (
            await connection.execute("SELECT secret_id FROM webhook_secrets ORDER BY secret_id LIMIT 1 OFFSET 3")
        ).fetchall()
        async with connection.transaction():
            await connection.execute("SELECT FROM webhook_secrets WHERE secret_id = %s FOR UPDATE", (row["secret_id"],))
            running = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                "import sys; from pixelflow.controlplane.secrets.rotation import rotate;"
                "rotate(sys.argv[1], [b'n' * 32, b'o' * 32], batch=2)",
                url,
            )
            await until_one_waits(database)
            running.kill()
            await running.wait()
    done, _ = await asyncio.to_thread(rotate, url, [NEW, OLD], batch=2)
    assert 0 < done.re_encrypted < len(USERS)
    await secrets(database, NEW)


async def until_one_waits(database: AsyncDatabase) -> None:
    async with asyncio.timeout(60), database.connection() as connection:
        while True:
            waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%webhook_secrets%'"
            if await (await connection.execute(waiting)).fetchall():
                return
            await asyncio.sleep(0.02)


async def test_a_secret_that_is_replaced_meanwhile_is_kept(url: str, database: AsyncDatabase) -> None:
    """Rotation has read the secret, and waits for a row that its user replaces."""
    await service(database, OLD).rotate_secret("anna")
    async with database.connection() as connection, connection.transaction():
        other = webhook_cipher([NEW]).encrypt(b"replaced", owner="anna")
        await connection.execute("UPDATE webhook_secrets SET ciphertext = %s", (other,))
        rotating = asyncio.create_task(asyncio.to_thread(rotate, url, [NEW, OLD]))
        await until_one_waits(database)
    assert await rotating == (RotatedValues(), RotatedValues())
    async with database.connection() as connection:
        assert await (await connection.execute("SELECT ciphertext FROM webhook_secrets")).fetchall() == [
            {"ciphertext": other}
        ]


async def test_values_of_an_unknown_key_are_left_and_counted(url: str, database: AsyncDatabase) -> None:
    await service(database, LOST).rotate_secret("anna")
    await service(database, OLD).rotate_secret("bert")
    done, _ = await asyncio.to_thread(rotate, url, [NEW, OLD], batch=1)
    assert done == RotatedValues(re_encrypted=1, unreadable=1)
    assert await service(database, LOST).signing_secrets("anna")


def test_the_command_reports_what_it_did(stack: Stack, url: str) -> None:
    with psycopg.connect(url, options="-c pixelflow.tenant_scope=everyone") as connection:
        for user, key in (("anna", OLD), ("bert", LOST)):
            connection.execute(
                "INSERT INTO webhook_secrets (secret_id, user_id, ciphertext) VALUES (gen_random_uuid(), %s, %s)",
                (user, webhook_cipher([key]).encrypt(b"s" * 32, owner=user)),
            )
    new, old = ("bm5u" * 10 + "bm4", "b29v" * 10 + "b28")
    environment = {
        **os.environ,
        **stack.environment,
        "PIXELFLOW_DATABASE_URL": url,
        "PIXELFLOW_SECRETS_KEY": f"{new},{old}",
    }
    run = subprocess.run(
        [sys.executable, "-m", "pixelflow", "secrets", "rotate"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "Re-encrypted 1 webhook secrets and 0 stored responses." in run.stderr
    assert "1 webhook secrets and 0 stored responses are encrypted with a key that" in run.stderr


def test_the_command_finds_database_and_keys_of_the_local_stack() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIXELFLOW_")}
    with servers_alone() as stack:  # the shared one has secrets of tests with keys of their own
        run = subprocess.run(
            [sys.executable, "-m", "pixelflow", "secrets", "rotate"],
            env={**environment, "PIXELFLOW_HOME": str(stack.home.path)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert "Re-encrypted 0 webhook secrets" in run.stderr
    assert run.returncode == 0
