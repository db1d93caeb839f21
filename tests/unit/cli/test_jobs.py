"""``pixelflow jobs``: list, show, cancel, retry and erase."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from tests.unit.client.stand_in import StandIn
from typer.testing import CliRunner, Result

from pixelflow.cli.app import build_app
from pixelflow.client import Client
from pixelflow.contracts.jobs.states import JobStatus

Run = Callable[..., Result]
STEPS = [{"id": "small", "action": "resize", "width": 64, "format": "webp"}]


def submitted(photo: Path, count: int = 1) -> list[str]:
    """IDs of new jobs, oldest first."""
    with Client() as client:
        return [str(client.submit(photo, STEPS, metadata={"sku": "A-17"}).job_id) for _ in range(count)]


@pytest.mark.usefixtures("api")
def test_jobs_are_listed_newest_first_up_to_the_limit(pixelflow: Run, photo: Path) -> None:
    ids = submitted(photo, 5)
    rows = pixelflow("jobs", "list", "--limit", 3).stdout.splitlines()[1:]
    assert [row.split()[0] for row in rows] == ids[:1:-1]


def test_list_and_show_print_times_in_the_same_format(pixelflow: Run, api: StandIn, photo: Path) -> None:
    api.life = (JobStatus.SUCCEEDED,)
    [job_id] = submitted(photo)
    head, row = pixelflow("jobs", "list").stdout.splitlines()
    assert re.split(r" {2,}", head.strip())[-2:] == ["Source size", "Output size"]
    [created] = re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d", row)
    assert created in pixelflow("jobs", "show", job_id).stdout


@pytest.mark.usefixtures("api")
def test_a_limit_above_the_page_size_reads_several_pages(pixelflow: Run, photo: Path) -> None:
    ids = submitted(photo, 103)
    found = json.loads(pixelflow("jobs", "list", "--limit", 102, "--json").stdout)["data"]
    assert [job["job_id"] for job in found] == ids[:0:-1]


@pytest.mark.usefixtures("api")
def test_help_lists_every_status(pixelflow: Run) -> None:
    text = pixelflow("jobs", "list", "--help").stdout
    assert [status for status in JobStatus if status not in text] == []


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


def test_get_is_another_name_of_show(pixelflow: Run, api: StandIn, photo: Path) -> None:
    api.life = (JobStatus.SUCCEEDED,)
    [job_id] = submitted(photo)
    assert pixelflow("jobs", "get", job_id).stdout == pixelflow("jobs", "show", job_id).stdout
    assert " get " not in pixelflow("jobs", "--help").stdout


def test_a_failed_job_is_shown_with_its_error(pixelflow: Run, api: StandIn, photo: Path) -> None:
    api.life = (JobStatus.FAILED,)
    [job_id] = submitted(photo)
    result = pixelflow("jobs", "show", job_id)
    assert (result.exit_code, "The source is damaged (undecodable)" in result.stdout) == (0, True)


def test_a_job_is_shown_with_its_attempts_and_why_they_failed(pixelflow: Run, api: StandIn, photo: Path) -> None:
    api.life = (JobStatus.SUCCEEDED,)
    [job_id] = submitted(photo)
    head, lost, retried = pixelflow("jobs", "show", job_id).stdout.splitlines()[-3:]
    assert head.split() == ["Attempt", "Started", "Ended", "Outcome", "Worker", "Error"]
    assert lost.split()[0] == "1"
    assert lost.split()[-2:] == ["lost", "5f1c09ae"]
    assert retried.endswith("The transform process crashed (transform_crashed)")


def test_json_is_the_job_as_the_api_sent_it(pixelflow: Run, api: StandIn, photo: Path) -> None:
    api.life = (JobStatus.SUCCEEDED,)
    [job_id] = submitted(photo)
    shown = json.loads(pixelflow("jobs", "show", job_id, "--json").stdout)
    [kept] = api.jobs
    assert shown == api.describe(kept)
    assert shown["pipeline"] == STEPS
    assert json.loads(pixelflow("jobs", "list", "--json").stdout) == {"data": [shown]}


@pytest.mark.usefixtures("api")
def test_an_unknown_job_exits_with_4(pixelflow: Run) -> None:
    result = pixelflow("jobs", "show", uuid4())
    assert (result.exit_code, result.stdout) == (4, "")
    assert "There is no such job (404 not_found)" in result.stderr


@pytest.mark.parametrize("command", [["show"], ["cancel"], ["retry"], ["erase", "--yes"]], ids=" ".join)
def test_an_invalid_id_exits_with_2(pixelflow: Run, api: StandIn, command: list[str]) -> None:
    assert (pixelflow("jobs", *command, "..").exit_code, api.seen) == (2, [])


def test_jobs_are_canceled(pixelflow: Run, api: StandIn, photo: Path) -> None:
    api.life = (JobStatus.PROCESSING,)
    ids = submitted(photo, 2)
    result = pixelflow("jobs", "cancel", *ids)
    assert (result.exit_code, result.stderr) == (0, "")
    assert [row.split() for row in result.stdout.splitlines()[1:]] == [[job_id, "canceled"] for job_id in ids]


def test_retry_waits_for_the_jobs_only_with_wait(pixelflow: Run, api: StandIn, photo: Path) -> None:
    api.life = (JobStatus.FAILED,)
    ids = submitted(photo, 2)
    api.life = (JobStatus.QUEUED, JobStatus.PROCESSING, JobStatus.SUCCEEDED)
    printed = json.loads(pixelflow("jobs", "retry", *ids, "--json").stdout)
    assert printed == {"jobs": [{"job_id": job_id, "status": "queued", "error": None} for job_id in ids]}
    assert api.count("GET") == 0
    result = pixelflow("jobs", "retry", *ids, "--wait")
    assert (result.exit_code, result.stdout.count("succeeded")) == (0, 2)


@pytest.mark.parametrize(
    ("life", "options", "code", "status"),
    [
        (JobStatus.FAILED, [], 1, "failed"),
        (JobStatus.PROCESSING, ["--timeout", "0.1"], 5, "processing"),
    ],
)
def test_a_retried_job_that_fails_or_times_out_sets_the_exit_code(
    *, pixelflow: Run, api: StandIn, photo: Path, life: JobStatus, options: list[str], code: int, status: str
) -> None:
    api.life = (life,)
    [job_id] = submitted(photo)
    result = pixelflow("jobs", "retry", job_id, "--wait", *options, "--json")
    [printed] = json.loads(result.stdout)["jobs"]
    assert (result.exit_code, printed["status"], printed["error"]["exit_code"]) == (code, status, code)


def test_jobs_are_erased_after_confirmation(api: StandIn, photo: Path) -> None:
    ids = submitted(photo, 2)
    declined = CliRunner().invoke(build_app(), ["jobs", "erase", *ids], input="n\n")
    assert (declined.exit_code, len(api.jobs), "Erase 2 jobs" in declined.stderr) == (1, 2, True)
    confirmed = CliRunner().invoke(build_app(), ["jobs", "erase", *ids], input="y\n")
    assert (confirmed.exit_code, api.jobs, confirmed.stdout.count("erased")) == (0, {}, 2)


def test_without_an_answer_nothing_is_erased(pixelflow: Run, api: StandIn, photo: Path) -> None:
    [job_id] = submitted(photo)
    assert pixelflow("jobs", "erase", job_id).exit_code == 1
    assert api.count("DELETE") == 0
    assert pixelflow("jobs", "erase", job_id, "--yes").exit_code == 0
    assert api.jobs == {}


@pytest.mark.parametrize("command", [["cancel"], ["retry"], ["erase", "--yes"]], ids=" ".join)
def test_an_error_of_one_job_does_not_stop_the_others(
    pixelflow: Run, api: StandIn, photo: Path, command: list[str]
) -> None:
    api.life = (JobStatus.CANCELED,)
    [job_id], unknown = submitted(photo), str(uuid4())
    result = pixelflow("jobs", *command, unknown, job_id, "--json")
    first, second = json.loads(result.stdout)["jobs"]
    assert (first["job_id"], first["status"], first["error"]["code"]) == (unknown, None, "not_found")
    assert (second["job_id"], second["error"]) == (job_id, None)
    assert (result.exit_code, result.stderr.startswith(f"Error: {unknown}: There is no such job")) == (4, True)


def test_an_error_that_is_fatal_for_the_batch_stops_it(
    pixelflow: Run, api: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELFLOW_API_KEY", "pf_other_key")
    result = pixelflow("jobs", "cancel", *[uuid4() for _ in range(5)])
    assert (result.exit_code, api.count("POST"), "4 more not tried" in result.stderr) == (4, 1, True)


def test_a_repeated_id_is_processed_once(pixelflow: Run, api: StandIn, photo: Path) -> None:
    [job_id] = submitted(photo)
    assert pixelflow("jobs", "erase", "-y", job_id, job_id).exit_code == 0
    assert api.count("DELETE") == 1
