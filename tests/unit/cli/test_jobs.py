"""``pixelflow jobs``: what became of jobs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from tests.unit.client.stand_in import StandIn
from typer.testing import Result

from pixelflow.client import Client
from pixelflow.contracts.job import JobStatus

Run = Callable[..., Result]
STEPS = [{"id": "small", "action": "resize", "width": 64, "format": "webp"}]


def submitted(photo: Path, count: int = 1) -> list[str]:
    """Ids of new jobs, oldest first."""
    with Client() as client:
        return [str(client.submit(photo, STEPS, metadata={"sku": "A-17"}).job_id) for _ in range(count)]


@pytest.mark.usefixtures("api")
def test_jobs_are_listed_newest_first_up_to_the_limit(pixelflow: Run, photo: Path) -> None:
    ids = submitted(photo, 5)
    rows = pixelflow("jobs", "list", "--limit", 3).stdout.splitlines()[1:]
    assert [row.split()[0] for row in rows] == ids[:1:-1]


@pytest.mark.usefixtures("api")
def test_a_limit_above_one_page_takes_several(pixelflow: Run, photo: Path) -> None:
    ids = submitted(photo, 103)
    found = json.loads(pixelflow("jobs", "list", "--limit", 102, "--json").stdout)["data"]
    assert [job["job_id"] for job in found] == ids[:0:-1]


def test_jobs_are_listed_by_status(pixelflow: Run, api: StandIn, photo: Path) -> None:
    submitted(photo)
    api.life = (JobStatus.FAILED,)
    [failed] = submitted(photo)
    found = json.loads(pixelflow("jobs", "list", "--status", "failed", "--json").stdout)["data"]
    assert [job["job_id"] for job in found] == [failed]


def test_a_job_is_shown_with_its_outputs(pixelflow: Run, api: StandIn, photo: Path) -> None:
    api.life = (JobStatus.SUCCEEDED,)
    [job_id] = submitted(photo)
    shown = pixelflow("jobs", "show", job_id).stdout
    for fact in (job_id, "succeeded", "A-17", "1 of 5", "small", "webp", "64×48", "1.5 kB"):
        assert fact in shown


def test_a_job_that_failed_is_shown_with_the_reason(pixelflow: Run, api: StandIn, photo: Path) -> None:
    api.life = (JobStatus.FAILED,)
    [job_id] = submitted(photo)
    result = pixelflow("jobs", "show", job_id)
    assert (result.exit_code, "The source is damaged (undecodable)" in result.stdout) == (0, True)


def test_json_is_the_job_as_the_api_tells_it(pixelflow: Run, api: StandIn, photo: Path) -> None:
    api.life = (JobStatus.SUCCEEDED,)
    [job_id] = submitted(photo)
    shown = json.loads(pixelflow("jobs", "show", job_id, "--json").stdout)
    [kept] = api.jobs
    assert shown == api.describe(kept)


@pytest.mark.usefixtures("api")
def test_a_job_that_is_not_there_ends_with_4(pixelflow: Run) -> None:
    result = pixelflow("jobs", "show", uuid4())
    assert (result.exit_code, result.stdout) == (4, "")
    assert "There is no such job (404 not_found)" in result.stderr


def test_an_id_that_is_none_ends_with_2(pixelflow: Run, api: StandIn) -> None:
    assert (pixelflow("jobs", "show", "..").exit_code, api.seen) == (2, [])
