"""Rate limits end to end: one bucket for all API processes, and no lost requests while Redis is down."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import json
import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import httpx
import pytest
from tests.acceptance import job_steps as steps
from tests.acceptance import pictures
from tests.acceptance.running import database_url, process_of, servers_alone, wait_for
from tests.support.ports import free_port
from tests.support.waiting import time_limit

from pixelflow.controlplane.keys.admin import issue_key
from pixelflow.devstack.stack import Role, Stack
from pixelflow.devstack.up import pixelflow_roles

CREATE = {"source": {"content_length": len(pictures.photo())}, "pipeline": [steps.resize()]}
CAPACITY = 60
HOUR = 3600
AT_ONCE = 200
SENT_IN_OUTAGE = 40
JOBS_PER_SECOND = 6
PATIENCE_SECONDS = 3.0
"""No request may take longer, Redis or not."""


@dataclass(frozen=True)
class Limited:
    """A whole PixelFlow with two API processes."""

    stack: Stack
    urls: tuple[str, str]

    def client(self, url: str, user_id: str, *, rate_limit: int | None = None) -> httpx.Client:
        """A client of one of them, with a new key."""
        return httpx.Client(base_url=url, headers=self.credential(user_id, rate_limit=rate_limit), timeout=30)

    def credential(self, user_id: str, *, rate_limit: int | None = None) -> dict[str, str]:
        """The header that a new key goes into."""
        key = issue_key(database_url(self.stack), user_id=user_id, name="test", rate_limit=rate_limit)
        return {"Authorization": f"Bearer {key}"}

    def said(self, *events: str) -> list[list[str]]:
        """Which of these events each of them has logged, in order."""
        logs = [(self.stack.home.path / "logs" / f"{name}.log").read_text() for name in ("api", "api-2")]
        return [
            [said for line in log.splitlines() if (said := json.loads(line).get("event")) in events] for log in logs
        ]


@pytest.fixture(scope="module")
def limited() -> Iterator[Limited]:
    """A bucket gets one request back every minute."""
    env = shutil.which("env")
    assert env
    limits = [env, "PIXELFLOW_RATE_LIMIT_ENABLED=true", f"PIXELFLOW_RATE_LIMIT_CAPACITY={CAPACITY}",
            f"PIXELFLOW_RATE_LIMIT_WINDOW_SECONDS={HOUR}"]  # fmt: skip
    with servers_alone() as stack:
        roles = pixelflow_roles(stack)
        port = free_port()
        twin_url = f"http://127.0.0.1:{port}"
        twin = [env, "-u", "PIXELFLOW_API_SOCKET", f"PIXELFLOW_API_PORT={port}", *roles[0].command]
        roles.append(Role("api-2", twin, ready_url=f"{twin_url}/readyz"))
        stack.start_processes([dataclasses.replace(role, command=[*limits, *role.command]) for role in roles])
        yield Limited(stack, (stack.api_url, twin_url))


def test_of_200_concurrent_requests_to_two_api_processes_a_bucket_of_60_allows_60(limited: Limited) -> None:
    credential = limited.credential("crowd")
    began = time.monotonic()
    statuses = Counter(asyncio.run(_create_at_once(limited.urls, credential)))
    refilled = int((time.monotonic() - began) * CAPACITY / HOUR)
    assert CAPACITY <= statuses[202] <= CAPACITY + refilled
    assert statuses == {202: statuses[202], 429: AT_ONCE - statuses[202]}
    jobs = httpx.get(f"{limited.urls[0]}/v1/jobs?limit=100", headers=credential).json()["data"]
    assert len(jobs) == statuses[202], "a rejected request created no job"


async def _create_at_once(urls: Sequence[str], credential: dict[str, str]) -> list[int]:
    limits = httpx.Limits(max_connections=AT_ONCE)
    async with httpx.AsyncClient(headers=credential, timeout=60, limits=limits) as client:
        requests = [client.post(f"{url}/v1/jobs", json=CREATE) for url in urls for _ in range(AT_ONCE // len(urls))]
        return [answer.status_code for answer in await asyncio.gather(*requests)]


class Load:
    """Jobs created, uploaded and started at both APIs continuously by one user, until stopped."""

    def __init__(self, limited: Limited, source: bytes) -> None:
        self._source = source
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=[limited.client(url, "busy")]) for url in limited.urls]
        self.statuses: Counter[int] = Counter()
        self.slowest = 0.0
        self.started: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, client: httpx.Client) -> None:
        with client:
            while not self._stop.wait(len(self._threads) / JOBS_PER_SECOND):
                created = self._noted(lambda: client.post("/v1/jobs", json=CREATE))
                if created.status_code == 202:
                    self._start(client, created.json())

    def _start(self, client: httpx.Client, created: steps.Json) -> None:
        steps.upload(created, self._source)
        if self._noted(lambda: steps.start(client, created)).status_code == 202:
            self.started.append(created["job_id"])

    def _noted(self, send: Callable[[], httpx.Response]) -> httpx.Response:
        began = time.monotonic()
        answer = send()
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.statuses[answer.status_code] += 1
        return answer


def test_while_redis_is_down_jobs_are_created_and_started_and_limits_apply_again_afterwards(limited: Limited) -> None:
    valkey = process_of(limited.stack, "valkey")
    with Load(limited, pictures.photo()) as load:
        wait_for(lambda: len(load.started) >= 5, 20)
        os.kill(valkey.pid, signal.SIGKILL)
        before = load.statuses[202]
        wait_for(lambda: load.statuses[202] >= before + SENT_IN_OUTAGE, 30)
        assert not valkey.alive
        for url in limited.urls:
            with limited.client(url, "visitor") as client:
                wait_for(functools.partial(_is_counted, limited.stack, client), 10)
    assert set(load.statuses) <= {202, 429}
    assert load.slowest < PATIENCE_SECONDS or load.slowest < time_limit(PATIENCE_SECONDS)
    outage = ["rate limiter unavailable", "rate limiter available again"]
    for said in limited.said(*outage):
        assert said == outage * (len(said) // 2), "once for an outage; a pause of the machine is another one"
        assert said
    with limited.client(limited.urls[0], "busy") as client:
        statuses = [client.post("/v1/jobs", json=CREATE).status_code for _ in range(CAPACITY + 2)]
    assert statuses[-1] == 429
    with limited.client(limited.urls[0], "busy", rate_limit=1_000_000) as client:
        jobs = [steps.finished(client, job_id, seconds=60) for job_id in load.started]
    assert {job["status"] for job in jobs} == {"succeeded"}


def _is_counted(stack: Stack, client: httpx.Client) -> bool:
    stack._supervisor.watch_once()  # starts it again
    return "RateLimit" in client.get("/v1/jobs").headers
