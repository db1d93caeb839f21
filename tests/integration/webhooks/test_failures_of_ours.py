"""Tries that fail by no fault of the receiver."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import closing
from dataclasses import replace
from typing import Any
from uuid import UUID

from tests.integration.webhooks.conftest import Office, settled
from tests.support.webhook_receiver import receiving

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.outbound_http import SystemResolver
from pixelflow.contracts.jobs import Job
from pixelflow.controlplane.encryption import SecretCipher
from pixelflow.controlplane.jobs.queries import JobQueries
from pixelflow.controlplane.webhooks.dispatcher import LEASE
from pixelflow.controlplane.webhooks.secrets import WebhookSecrets


class BrokenJobs(JobQueries):
    """With a bug."""

    def __init__(self) -> None:
        pass

    async def get(self, user_id: str, job_id: UUID) -> Job:
        raise ZeroDivisionError(user_id, job_id)


async def test_a_bug_ends_with_the_schedule(office: Office) -> None:
    job_id = await office.ended_job("https://client.example/")
    async with replace(office, shown_jobs=BrokenJobs()).courier() as courier:
        for _ in range(12):
            await settled(courier)
            office.clock.turn(days=2)
    told = (await office.webhooks.deliveries(office.user_id, job_id)).data
    assert [row.outcome for row in told] == ["exhausted", *["retried"] * 7]
    assert {row.error and row.error.code for row in told} == {"internal_error"}
    assert "ZeroDivision" not in str(told)


async def test_events_wait_until_the_key_is_back_and_lose_no_try(office: Office) -> None:
    await office.secrets.rotate(office.user_id)
    another_key = WebhookSecrets(office.database, SecretCipher(bytes(32)), new_id=new_id)
    with receiving() as receiver:
        job_id = await office.ended_job(receiver.url)
        async with replace(office, secrets=another_key).courier() as courier:
            await settled(courier)
        assert (await office.webhooks.deliveries(office.user_id, job_id)).data == []
        office.clock.turn(seconds=LEASE.total_seconds())
        async with office.courier() as courier:
            await settled(courier)
    [told] = (await office.webhooks.deliveries(office.user_id, job_id)).data
    assert (told.outcome, told.attempt) == ("delivered", 1)


async def test_who_found_no_thread_to_resolve_a_name_has_lost_no_try(office: Office) -> None:
    begun, silent = threading.Event(), threading.Event()

    def look_up(name: str) -> list[Any]:
        if name == "silent.example":
            begun.set()
            silent.wait(20)
        return socket.getaddrinfo("127.0.0.1", None, type=socket.SOCK_STREAM)

    with receiving() as receiver, closing(SystemResolver(look_up, threads=1, patience=0.3)) as resolver:
        async with office.courier(resolve=resolver) as courier:
            held_up = await office.ended_job(f"http://silent.example:{receiver.port}/")
            await courier.run_once()
            assert await asyncio.to_thread(begun.wait, 10)
            waiting = await office.ended_job(receiver.url.replace("127.0.0.1", "client.example"))
            await settled(courier)
            [told] = (await office.webhooks.deliveries(office.user_id, held_up)).data
            assert told.error is not None
            assert (told.outcome, told.error.code) == ("retried", "target_unreachable")
            assert (await office.webhooks.deliveries(office.user_id, waiting)).data == []
            silent.set()
            office.clock.turn(seconds=LEASE.total_seconds())
            await settled(courier)
    [told] = (await office.webhooks.deliveries(office.user_id, waiting)).data
    assert (told.outcome, told.attempt) == ("delivered", 1)
