"""Attempts that fail for a reason other than the receiver."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import closing
from dataclasses import replace
from typing import Any
from uuid import UUID

from tests.integration.webhooks.conftest import Harness, drain
from tests.support.waiting import DEADLINE_SECONDS
from tests.support.webhook_receiver import receiving

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.outbound_http import SystemResolver
from pixelflow.contracts.jobs.responses import Job
from pixelflow.controlplane.encryption import SecretCipher
from pixelflow.controlplane.jobs.queries import JobQueries
from pixelflow.controlplane.webhooks.dispatcher import LEASE
from pixelflow.controlplane.webhooks.service import WebhookService


class BrokenJobs(JobQueries):
    """Raises like a bug."""

    def __init__(self) -> None:
        pass

    async def get(self, user_id: str, job_id: UUID) -> Job:
        raise ZeroDivisionError(user_id, job_id)


async def test_an_attempt_that_a_bug_ends_counts_as_failed(harness: Harness) -> None:
    job_id = await harness.finished_job("https://client.example/")
    async with replace(harness, job_queries=BrokenJobs()).dispatcher() as dispatcher:
        for _ in range(12):
            await drain(dispatcher)
            harness.clock.advance(days=2)
    deliveries = (await harness.webhooks.list_deliveries(harness.user_id, job_id)).data
    assert [row.outcome for row in deliveries] == ["exhausted", *["retried"] * 7]
    assert {row.error and row.error.code for row in deliveries} == {"internal_error"}
    assert "ZeroDivision" not in str(deliveries)


async def test_attempts_without_the_secrets_key_are_not_counted(harness: Harness) -> None:
    await harness.webhooks.rotate_secret(harness.user_id)
    another_key = WebhookService(harness.database, SecretCipher([bytes(32)]), new_id=new_id)
    with receiving() as receiver:
        job_id = await harness.finished_job(receiver.url)
        async with replace(harness, webhooks=another_key).dispatcher() as dispatcher:
            await drain(dispatcher)
        assert (await harness.webhooks.list_deliveries(harness.user_id, job_id)).data == []
        harness.clock.advance(seconds=LEASE.total_seconds())
        async with harness.dispatcher() as dispatcher:
            await drain(dispatcher)
    [delivery] = (await harness.webhooks.list_deliveries(harness.user_id, job_id)).data
    assert (delivery.outcome, delivery.attempt) == ("delivered", 1)


async def test_attempts_without_a_free_resolver_thread_are_not_counted(harness: Harness) -> None:
    begun, silent = threading.Event(), threading.Event()

    def lookup(name: str) -> list[Any]:
        if name == "silent.example":
            begun.set()
            silent.wait(60)
        return socket.getaddrinfo("127.0.0.1", None, type=socket.SOCK_STREAM)

    with receiving() as receiver, closing(SystemResolver(lookup, threads=1, timeout=0.3)) as resolver:
        async with harness.dispatcher(resolve=resolver) as dispatcher:
            held_up = await harness.finished_job(f"http://silent.example:{receiver.port}/")
            await dispatcher.run_once()
            assert await asyncio.to_thread(begun.wait, DEADLINE_SECONDS)
            waiting = await harness.finished_job(receiver.url.replace("127.0.0.1", "client.example"))
            await drain(dispatcher)
            [delivery] = (await harness.webhooks.list_deliveries(harness.user_id, held_up)).data
            assert delivery.error is not None
            assert (delivery.outcome, delivery.error.code) == ("retried", "target_unreachable")
            assert (await harness.webhooks.list_deliveries(harness.user_id, waiting)).data == []
            silent.set()
            harness.clock.advance(seconds=LEASE.total_seconds())
            await drain(dispatcher)
    [delivery] = (await harness.webhooks.list_deliveries(harness.user_id, waiting)).data
    assert (delivery.outcome, delivery.attempt) == ("delivered", 1)
