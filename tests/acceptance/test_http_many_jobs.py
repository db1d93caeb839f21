"""Fifty jobs at once, and a semaphore that holds."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from tests.acceptance import job_steps as steps
from tests.acceptance import pictures
from tests.acceptance.running import (
    Running,
    children,
    client_of,
    database_url,
    process_of,
    started,
    usage_rows,
    wait_for,
    with_settings,
    worker_paused,
    worker_role,
)

from pixelflow.devstack.stack import Stack

JOBS = 50
SLOTS = 2


@pytest.fixture
def worker(service: Stack) -> Iterator[Running]:
    """The only worker that runs."""
    settings = {"PIXELFLOW_WORKER_MAX_ACTIVE_JOBS": str(SLOTS), "PIXELFLOW_WORKER_CONCURRENCY": "8"}
    with worker_paused(service), started(service, [with_settings(worker_role(service, "busy-worker"), settings)]):
        yield process_of(service, "busy-worker")


def test_fifty_jobs_at_once_all_succeed_and_never_more_than_two_are_transformed(
    service: Stack, worker: Running
) -> None:
    """Seen from outside: only children hold libvips, each takes one request at a time, and there were never others.

    The kernel sums the page faults of exited children, which shows that no child came and went unnoticed.
    """
    (template,) = children(worker)
    wait_for(lambda: len(children(template)) == 1, 10)  # the first child; the process that cached the fonts has ended
    ended_before = template.dead_children_faults
    with client_of(service) as client:
        job_ids = _start_together(client)
        jobs = [steps.finished(client, job_id, seconds=60) for job_id in job_ids]
    assert [(job["status"], job["attempts"]) for job in jobs] == [("succeeded", 1)] * JOBS
    assert usage_rows(database_url(service), job_ids) == dict.fromkeys(job_ids, 1)
    assert children(worker) == [template]
    assert template.dead_children_faults == ended_before
    forked = children(template)
    assert len(forked) == SLOTS + 1, "those of the user, and one that waits for the next user"
    assert all("pixelflow.dataplane.child.main" in child.command for child in forked)
    assert sum(child.cpu_ticks > 20 for child in forked) == SLOTS, "both worked"
    assert _longest_queue_in_flight(jobs) > SLOTS, "more were in hand than could be transformed"


def _start_together(client: httpx.Client) -> list[str]:
    source = pictures.noise(1200, 900)
    made = [steps.create(client, steps.resize(width=640, format="webp"), size=len(source)) for _ in range(JOBS)]
    for created in made:
        steps.upload(created, source)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda created: steps.start(client, created), made))
    assert [answer.status_code for answer in answers] == [202] * JOBS
    return [created["job_id"] for created in made]


def _longest_queue_in_flight(jobs: list[steps.Json]) -> int:
    moments = sorted([(job["started_at"], 1) for job in jobs] + [(job["finished_at"], -1) for job in jobs])
    heights = [0]
    for _, step in moments:
        heights.append(heights[-1] + step)
    return max(heights)
