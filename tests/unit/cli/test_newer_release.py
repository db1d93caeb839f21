"""Commands show what a newer release answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.client.newer_release import answer
from tests.unit.client.stand_in import Fault, StandIn
from typer.testing import Result

from pixelflow.controlplane.api import examples

Run = Callable[..., Result]
ID = examples.JOB["job_id"]


def ok(document: object) -> Fault:
    return Fault(200, body=json.dumps(document).encode())


@pytest.mark.parametrize(
    ("route", "name", "arguments", "shown"),
    [
        ("list", "list_jobs", ["jobs", "list"], ["paused"]),
        ("get", "get_job", ["jobs", "show", ID], ["paused", "urgent", "contract/9", "source_encrypted", "report"]),
        ("cancel", "cancel_job", ["jobs", "cancel", ID], ["paused"]),
        ("retry", "retry_job", ["jobs", "retry", ID], ["paused"]),
        ("get", "list_deliveries", ["deliveries", "list", ID], ["telepathy", "deferred", "The source is encrypted"]),
        ("get", "replay_delivery", ["deliveries", "replay", ID], ["telepathy"]),
        ("get", "rotate_webhook_secret", ["webhook", "rotate-secret"], ["whsec_"]),
        ("usage", "get_usage", ["usage"], ["2026-11-23"]),
        ("capabilities", "get_capabilities", ["capabilities"], ["posterize", "jxl"]),
    ],
)  # fmt: skip
def test_a_command_shows_unknown_values(
    pixelflow: Run, api: StandIn, *, route: str, name: str, arguments: list[str], shown: list[str]
) -> None:
    api.fail(route, ok(answer(name)))
    result = pixelflow(*arguments)
    assert (result.exit_code, [text for text in shown if text not in result.output]) == (0, [])


@pytest.mark.parametrize(
    ("route", "name", "arguments"),
    [
        ("list", "list_jobs", ["jobs", "list", "--json"]),
        ("get", "get_job", ["jobs", "show", ID, "--json"]),
        ("get", "list_deliveries", ["deliveries", "list", ID, "--json"]),
        ("usage", "get_usage", ["usage", "--json"]),
        ("capabilities", "get_capabilities", ["capabilities", "--json"]),
    ],
)
def test_json_has_the_unknown_fields_too(
    pixelflow: Run, api: StandIn, route: str, name: str, arguments: list[str]
) -> None:
    api.fail(route, ok(answer(name)))
    assert "added_later" in pixelflow(*arguments).stdout


def test_submit_downloads_an_output_of_an_unknown_format(
    pixelflow: Run, api: StandIn, photo: Path, tmp_path: Path
) -> None:
    original = StandIn.describe

    def describe(job_id: object) -> object:
        job = original(api, job_id)  # type: ignore[arg-type]
        for output in job["outputs"]:
            output |= {"format": "jxl", "object_key": output["object_key"].replace(".jpg", ".jxl"), "added_later": 1}
        return job

    api.describe = describe  # type: ignore[method-assign, assignment]
    result = pixelflow("submit", photo, "--resize", 64, "--out", tmp_path / "out")
    assert (result.exit_code, [path.name for path in (tmp_path / "out").iterdir()]) == (0, ["photo-64.jxl"])


@pytest.mark.parametrize("route", ["create", "start", "get"])
def test_submit_reports_an_error_with_an_unknown_code(pixelflow: Run, api: StandIn, photo: Path, route: str) -> None:
    problem = {"type": "urn:x", "title": "T", "status": 409, "detail": "The album is full", "code": "album_full"}
    api.fail(route, Fault(409, body=json.dumps({**problem, "request_id": "r-1", "added_later": {}}).encode()))
    result = pixelflow("submit", photo, "--resize", 64, "--wait")
    assert result.exit_code == 4
    assert "The album is full (409 album_full)" in result.stderr
