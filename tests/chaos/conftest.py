"""A stage whose processes a test may kill, pause and stop; before each test all of them work again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from tests.chaos.evidence import open_database
from tests.chaos.pictures import make_pictures
from tests.chaos.plan import Picture
from tests.chaos.stage import Stage, new_home, set_stage

from pixelflow.controlplane.keys.admin import issue_key

LEASE_SECONDS = 3.0
MAX_ATTEMPTS = 2
THUMB = [{"id": "thumb", "action": "resize", "width": 64, "format": "webp"}]
SLOW = [{"id": f"large-{n}", "action": "resize", "width": 2000 + n, "format": "avif"} for n in range(6)]
"""Takes a child seconds."""
SETTINGS = {
    "PIXELFLOW_LEASE_SECONDS": str(LEASE_SECONDS),
    "PIXELFLOW_MAX_ATTEMPTS": str(MAX_ATTEMPTS),
    "PIXELFLOW_WORKER_GRACE_SECONDS": "0.3",
    "PIXELFLOW_RATE_LIMIT_ENABLED": "false",
    "PIXELFLOW_LOG_FORMAT": "json",
}


@dataclass
class Owner:
    """A user with jobs on the stage."""

    stage: Stage
    user_id: str
    client: httpx.Client
    files: Mapping[Picture, bytes]

    def create(self, steps: list[dict[str, Any]] = THUMB, picture: Picture = Picture.SMALL) -> str:
        """Create a job and upload its source."""
        created = self.client.post("/v1/jobs", json={"pipeline": steps}).raise_for_status().json()
        httpx.put(created["upload"]["presigned_put_url"], content=self.files[picture]).raise_for_status()
        return str(created["job_id"])

    def submit(self, steps: list[dict[str, Any]] = THUMB, picture: Picture = Picture.SMALL) -> str:
        """Create a job, upload its source, start it."""
        job_id = self.create(steps, picture)
        self.client.post(f"/v1/jobs/{job_id}/start").raise_for_status()
        return job_id

    def submit_slow(self) -> str:
        """Submit a job that takes seconds, and see it begin."""
        job_id = self.submit(SLOW, Picture.LARGE)
        self.stage_until(lambda: self.job(job_id)["status"] == "processing", 10)
        return job_id

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as the API tells it."""
        answer: dict[str, Any] = self.client.get(f"/v1/jobs/{job_id}").raise_for_status().json()
        return answer

    def stage_until(self, condition: Callable[[], object], seconds: float) -> float:
        """Keep the stage going until the condition holds; how long that took."""
        return until(self.stage, condition, seconds)


def until(stage: Stage, condition: Callable[[], object], seconds: float) -> float:
    """Keep the stage going until the condition holds; how long that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"not within {seconds:g} s"
        stage.tick()
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.fixture(scope="module")
def whole_stage() -> Iterator[Stage]:
    with new_home() as path:
        made = set_stage(path, settings=SETTINGS, workers=2)
        try:
            made.start()
            yield made
        finally:
            made.stop()


@pytest.fixture
def stage(whole_stage: Stage) -> Stage:
    until(whole_stage, lambda: all(actor.pid for actor in whole_stage.roles), 20)
    return whole_stage


@pytest.fixture
def database(stage: Stage) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    with open_database(stage) as connection:
        yield connection


@contextmanager
def _an_owner(stage: Stage) -> Iterator[Owner]:
    user_id = f"user-{uuid4()}"
    key = issue_key(stage.environment["PIXELFLOW_DATABASE_URL"], user_id=user_id, name="test")
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=stage.api_urls[0], headers=headers, timeout=30) as client:
        yield Owner(stage, user_id, client, make_pictures(seed=1))


@pytest.fixture
def owner(stage: Stage) -> Iterator[Owner]:
    with _an_owner(stage) as made:
        yield made
