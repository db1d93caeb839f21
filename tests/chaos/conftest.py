"""A cluster whose processes tests kill, pause and stop. All processes are running again before each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from tests.chaos.cluster import Cluster, create_cluster, new_home
from tests.chaos.evidence import open_database
from tests.chaos.pictures import make_pictures
from tests.chaos.plan import Picture

from pixelflow.controlplane.keys.admin import issue_key

LEASE_SECONDS = 3.0
MAX_ATTEMPTS = 2
THUMB = [{"id": "thumb", "action": "resize", "width": 64, "format": "webp"}]
SLOW = [{"id": f"large-{n}", "action": "resize", "width": 2000 + n, "format": "avif"} for n in range(6)]
"""Takes a child several seconds."""
SETTINGS = {
    "PIXELFLOW_LEASE_SECONDS": str(LEASE_SECONDS),
    "PIXELFLOW_MAX_ATTEMPTS": str(MAX_ATTEMPTS),
    "PIXELFLOW_WORKER_GRACE_SECONDS": "0.3",
    "PIXELFLOW_RATE_LIMIT_ENABLED": "false",
    "PIXELFLOW_LOG_FORMAT": "json",
}


@dataclass
class Owner:
    """A user with jobs on the cluster."""

    cluster: Cluster
    user_id: str
    client: httpx.Client
    files: Mapping[Picture, bytes]

    def create(self, steps: list[dict[str, Any]] = THUMB, picture: Picture = Picture.SMALL) -> str:
        """Create a job and upload its source."""
        body = {"source": {"content_length": len(self.files[picture])}, "pipeline": steps}
        created = self.client.post("/v1/jobs", json=body).raise_for_status().json()
        httpx.put(created["upload"]["presigned_put_url"], content=self.files[picture]).raise_for_status()
        return str(created["job_id"])

    def submit(self, steps: list[dict[str, Any]] = THUMB, picture: Picture = Picture.SMALL) -> str:
        """Create a job, upload its source, start it."""
        job_id = self.create(steps, picture)
        self.client.post(f"/v1/jobs/{job_id}/start").raise_for_status()
        return job_id

    def submit_slow(self) -> str:
        """Submit a job that takes several seconds, and wait until it is processing."""
        job_id = self.submit(SLOW, Picture.LARGE)
        self.wait_until(lambda: self.job(job_id)["status"] == "processing", 10)
        return job_id

    def job(self, job_id: str) -> dict[str, Any]:
        """Return the job from the API."""
        answer: dict[str, Any] = self.client.get(f"/v1/jobs/{job_id}").raise_for_status().json()
        return answer

    def wait_until(self, condition: Callable[[], object], seconds: float) -> float:
        """Run the cluster until the condition holds; return the seconds it took."""
        return self.cluster.run_until(condition, seconds)


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[Cluster]:
    with new_home() as path:
        made = create_cluster(path, settings=SETTINGS, workers=2)
        try:
            made.start()
            yield made
        finally:
            made.stop()


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Cluster:
    shared_cluster.run_until(lambda: all(process.pid for process in shared_cluster.roles), 20)
    return shared_cluster


@pytest.fixture
def database(cluster: Cluster) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    with open_database(cluster) as connection:
        yield connection


@contextmanager
def _an_owner(cluster: Cluster) -> Iterator[Owner]:
    user_id = f"user-{uuid4()}"
    key = issue_key(cluster.environment["PIXELFLOW_DATABASE_URL"], user_id=user_id, name="test")
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=cluster.api_urls[0], headers=headers, timeout=30) as client:
        yield Owner(cluster, user_id, client, make_pictures(seed=1))


@pytest.fixture
def owner(cluster: Cluster) -> Iterator[Owner]:
    with _an_owner(cluster) as made:
        yield made
