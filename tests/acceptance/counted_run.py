"""A scripted run that counts its own events: the expected values of the metrics, determined independently.

It includes successes, a failure, a retry, a crash, a cancellation, delivered and failed webhooks, a local file, a job
that waits in the queue, and a client over its rate limit.
"""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
from psycopg.rows import dict_row
from tests.acceptance import job_steps as steps
from tests.acceptance import pictures
from tests.acceptance.running import database_url, process_of, transform_children, wait_for, worker_paused
from tests.support.prometheus import Labels, labels
from tests.support.webhook_receiver import Receiver

from pixelflow.controlplane.keys.admin import issue_key
from pixelflow.controlplane.limits.service import READ_FACTOR
from pixelflow.devstack.stack import Stack

Counts = Counter[Labels]

_ID = re.compile(r"/v1/jobs/[0-9a-f-]{36}")
WAITED_SECONDS = 3.0


@dataclass
class Counted:
    """Counts of what has happened, by the labels of the metrics."""

    requests: Counts = field(default_factory=Counter)
    enqueued: int = 0
    attempts: Counts = field(default_factory=Counter)
    stages: Counts = field(default_factory=Counter)
    outputs: Counts = field(default_factory=Counter)
    failures: Counts = field(default_factory=Counter)
    deliveries: Counts = field(default_factory=Counter)
    rejected: Counts = field(default_factory=Counter)

    def answered(self, response: httpx.Response) -> None:
        """Count a response."""
        request = response.request
        route = _ID.sub("/v1/jobs/{job_id}", request.url.path)
        if request.url.path == "/nowhere":
            route = "unmatched"
        self.requests[labels(method=request.method, route=route, status=str(response.status_code))] += 1

    def attempted(self, status: str, *stages: str, source_type: str = "s3_presigned") -> None:
        """Count an attempt that ended after these stages."""
        self.attempts[labels(source_type=source_type, status=status)] += 1
        for stage in ("queue", *stages):
            self.stages[labels(stage=stage)] += 1

    def succeeded(self, *formats: str, source_type: str = "s3_presigned") -> None:
        """Count an attempt that succeeded with these outputs."""
        self.attempted("succeeded", "fetch", "wait", "transform", "store", "finish", source_type=source_type)
        self.outputs.update(labels(format=each) for each in formats)

    def failed(self, status: str, code: str) -> None:
        """Count an attempt that failed in its transform."""
        self.attempted(status, "fetch", "wait", "transform")
        self.failures[labels(code=code)] += 1

    def delivered(self, *outcomes: str) -> None:
        """Count delivery attempts with these outcomes."""
        self.deliveries.update(labels(outcome=each) for each in outcomes)


@dataclass
class Run:
    """Performs the steps of the run on its own stack, and counts them."""

    stack: Stack
    client: httpx.Client
    folder: Path
    """An allowed root of local files."""
    counted: Counted = field(default_factory=Counted)

    def __post_init__(self) -> None:
        """Count each response from now on."""
        self.client.event_hooks = {"response": [self.counted.answered]}

    def successes(self, receiver: Receiver) -> None:
        """Three jobs with two outputs each; their receiver accepts the events."""
        for width in (40, 50, 60):
            pipeline = [steps.resize("a", width=width, format="webp"), steps.resize("b", width=width, format="jpeg")]
            job = steps.done(self.client, pictures.noise(400, 300), *pipeline, webhook_url=receiver.url)
            assert job["status"] == "succeeded", job
            self.counted.succeeded("webp", "jpeg")
            self.counted.enqueued += 1
            self.counted.delivered("delivered")

    def refusal_and_retry(self) -> None:
        """A job whose source is not a picture, run twice."""
        job = steps.done(self.client, b"not a picture")
        assert self.client.post(f"/v1/jobs/{job['job_id']}/retry").status_code == 202
        job = steps.finished(self.client, job["job_id"])
        assert job["error"]["code"] == "unsupported_format", job
        for _ in range(2):
            self.counted.failed("failed", "unsupported_format")
            self.counted.enqueued += 1

    def crash(self, receiver: Receiver) -> None:
        """A job whose first child is killed and whose second one succeeds. Its receiver fails once."""
        worker = process_of(self.stack, "worker")
        for child in transform_children(worker):
            os.kill(child.pid, signal.SIGSTOP)
        job_id = steps.started(self.client, pictures.photo(), steps.resize(format="png"), webhook_url=receiver.url)[
            "job_id"
        ]
        wait_for(lambda: steps.show(self.client, job_id)["status"] == "processing", 10)
        for child in transform_children(worker):
            os.kill(child.pid, signal.SIGKILL)
        job = steps.finished(self.client, job_id)
        assert (job["status"], job["attempts"]) == ("succeeded", 2), job
        self.counted.failed("retried", "transform_crashed")
        self.counted.succeeded("png")
        self.counted.enqueued += 1
        self.counted.delivered("retried", "delivered")

    def cancellation(self, receiver: Receiver) -> None:
        """A job that is canceled before it starts; its receiver answers 410."""
        job_id = steps.create(self.client, webhook_url=receiver.url)["job_id"]
        assert self.client.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
        self.counted.delivered("refused")

    def local_file(self) -> None:
        """A job with a local file."""
        source = self.folder / "photo.jpg"
        source.write_bytes(pictures.photo())
        created = steps.create(
            self.client, steps.resize(format="webp"), source_type="local_file", object_key=str(source)
        )
        assert steps.start(self.client, created).status_code == 202
        assert steps.finished(self.client, created["job_id"])["status"] == "succeeded"
        self.counted.succeeded("webp", source_type="local_file")
        self.counted.enqueued += 1

    def waiting(self, is_seen: Callable[[], bool]) -> None:
        """A job that stays queued until ``is_seen`` holds."""
        with worker_paused(self.stack):
            created = steps.started(self.client, pictures.photo(), steps.resize(format="webp"))
            wait_for(is_seen, 20)
        assert steps.finished(self.client, created["job_id"])["status"] == "succeeded"
        self.counted.succeeded("webp")
        self.counted.enqueued += 1

    def too_many_requests(self) -> None:
        """More requests than a key may send that is limited to one, and to five times as many that only read."""
        key = issue_key(database_url(self.stack), user_id="hasty", name="test", rate_limit=1)
        for status in (*[200] * READ_FACTOR, 429):
            answer = self.client.get("/v1/jobs", headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == status
        self.counted.rejected[labels(route="/v1/jobs")] += 1

    def mistakes(self) -> None:
        """Requests that the API rejects: unknown path, invalid body, missing job."""
        for path in ("/nowhere", f"/v1/jobs/{'0' * 8}-0000-7000-8000-{'0' * 12}"):
            assert self.client.get(path).status_code == 404
        assert self.client.post("/v1/jobs", json={"pipeline": []}).status_code == 422


def billed(stack: Stack) -> dict[str, float]:
    """Return the sums of ``usage_logs``, by column."""
    with psycopg.connect(
        database_url(stack), options="-c pixelflow.tenant_scope=everyone", row_factory=dict_row
    ) as connection:
        row = connection.execute(
            "SELECT sum(pixels_processed) AS pixels_processed, sum(bytes_saved) AS bytes_saved, "
            "sum(compute_time_ms) AS compute_time_ms FROM usage_logs"
        ).fetchone()
    assert row
    return {name: float(value) for name, value in row.items()}
