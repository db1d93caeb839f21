"""The documented receiver acts once on each event, however often the event is delivered."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest
from tests.integration.webhooks.conftest import Harness, drain

from pixelflow.controlplane.webhooks.dispatcher import LEASE

RECIPE = Path(__file__).parents[3] / "examples" / "webhook_receiver.py"


@contextmanager
def recipe(secret: str, database: Path) -> Iterator[str]:
    """Run the recipe as a process; yields its URL."""
    command = [sys.executable, str(RECIPE), "--port", "0", "--database", str(database)]
    environment = {**os.environ, "PIXELFLOW_WEBHOOK_SECRET": secret}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            found = re.search(rb"http://\S+", process.stdout.readline())
            assert found is not None
            yield found[0].decode()
        finally:
            process.terminate()


def done(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [row[0] for row in connection.execute("SELECT job_id FROM finished_jobs")]


async def test_five_deliveries_of_one_event_are_one_action(harness: Harness, tmp_path: Path) -> None:
    """Concurrent dispatchers, an expired lease and replays."""
    secret = (await harness.webhooks.rotate_secret(harness.user_id)).secret
    database = tmp_path / "events.db"
    with recipe(secret, database) as url:
        job_id = await harness.finished_job(url)
        async with harness.dispatcher() as one, harness.dispatcher() as other:
            [event] = [*await one._lease_due(), *await other._lease_due()]
            await asyncio.gather(one._deliver(event), other._deliver(event), one._deliver(event))
            harness.clock.advance(seconds=LEASE.total_seconds())
            deliveries = (await harness.webhooks.list_deliveries(harness.user_id, job_id)).data
            assert [row.status_code for row in deliveries] == [200, 200, 200]
            for _ in range(2):
                await harness.webhooks.replay(harness.user_id, deliveries[0].delivery_id)
                await drain(one)
    deliveries = (await harness.webhooks.list_deliveries(harness.user_id, job_id)).data
    assert [(row.outcome, row.status_code) for row in deliveries] == [("delivered", 200)] * 5
    assert done(database) == [str(job_id)]


async def test_two_events_are_two_actions(harness: Harness, tmp_path: Path) -> None:
    secret = (await harness.webhooks.rotate_secret(harness.user_id)).secret
    database = tmp_path / "events.db"
    with recipe(secret, database) as url:
        jobs = {str(await harness.finished_job(url)) for _ in range(2)}
        async with harness.dispatcher() as dispatcher:
            await drain(dispatcher)
    assert set(done(database)) == jobs


@pytest.mark.parametrize("length", ["\N{SUPERSCRIPT TWO}", "9" * 5000, "-1", ""])
def test_an_invalid_length_is_refused(tmp_path: Path, length: str) -> None:
    with recipe("whsec_c2VjcmV0", tmp_path / "events.db") as url:
        connection = HTTPConnection(url.removeprefix("http://").strip("/"), timeout=60)
        connection.putrequest("POST", "/")
        connection.putheader("Content-Length", length)
        connection.endheaders()
        assert connection.getresponse().status == 413
        connection.close()


async def test_a_forged_event_is_refused(harness: Harness, tmp_path: Path) -> None:
    secret = (await harness.webhooks.rotate_secret(harness.user_id)).secret
    database = tmp_path / "events.db"
    headers = {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
    with recipe(secret, database) as url:
        async with httpx.AsyncClient(trust_env=False) as client:
            answers = [await client.post(url, content=b'{"data":{}}', headers=headers), await client.post(url)]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert done(database) == []
