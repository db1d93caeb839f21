"""Webhooks end to end: a service, the command line and a local receiver."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import ANY
from uuid import uuid4

import httpx
import pytest
from tests.support.command_line import Run, command_line
from tests.support.waiting import eventually
from tests.support.webhook_receiver import receiving

from pixelflow.client import ApiError, Client, verify_webhook
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.webhooks import Delivery
from pixelflow.controlplane.keys.admin import issue_key
from pixelflow.devstack.stack import Stack

PATIENCE_SECONDS = 20
PIPELINE = [{"id": "small", "action": "resize", "width": 64, "format": "webp"}]


@pytest.fixture(scope="module")
def environment(service: Stack) -> dict[str, str]:
    """The environment of a user's command line."""
    key = issue_key(service.environment["PIXELFLOW_DATABASE_URL"], user_id=f"user-{uuid4()}", name="test")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIXELFLOW_")}
    return {**clean, "PIXELFLOW_API_URL": service.api_url, "PIXELFLOW_API_KEY": key}


@pytest.fixture
def client(environment: dict[str, str]) -> Iterator[Client]:
    with Client(environment["PIXELFLOW_API_URL"], environment["PIXELFLOW_API_KEY"]) as opened:
        yield opened


@pytest.fixture(scope="module")
def pixelflow(environment: dict[str, str]) -> Run:
    return command_line(environment)


@contextmanager
def listening(environment: dict[str, str], secret: str, said: Path) -> Iterator[str]:
    """Run ``pixelflow webhook listen`` with its output in ``said``; yields its URL."""
    command = [sys.executable, "-m", "pixelflow", "webhook", "listen"]
    with (
        said.open("wb") as file,
        subprocess.Popen(
            command, env={**environment, "PIXELFLOW_WEBHOOK_SECRET": secret}, stdout=file, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            yield until(lambda: re.search(r"http://\S+/", said.read_text()))[0]
        finally:
            process.terminate()


def until(look: Any) -> Any:  # noqa: ANN401  # any result
    """Poll ``look`` until it returns something."""
    return eventually(look, PATIENCE_SECONDS)


def delivered(client: Client, job_id: object, count: int) -> list[Delivery]:
    def look() -> list[Delivery] | None:
        found = client.list_deliveries(str(job_id)).data
        return found if len(found) == count else None

    rows: list[Delivery] = until(look)
    return rows


def test_from_a_photo_to_a_verified_webhook_its_delivery_and_its_replay(
    environment: dict[str, str], pixelflow: Run, client: Client, tmp_path: Path
) -> None:
    secret = pixelflow("webhook", "rotate-secret").stdout.strip()
    said = tmp_path / "said"
    with listening(environment, secret, said) as url:
        photo = Path(__file__).parents[2] / "examples" / "photo.jpg"
        job = client.process(photo, PIPELINE, webhook_url=url, timeout=300)
        [first] = delivered(client, job.job_id, 1)
        listed = pixelflow("deliveries", "list", str(job.job_id), "--json")
        replayed = pixelflow("deliveries", "replay", str(first.delivery_id), "--json")
        delivered(client, job.job_id, 2)
        shown = until(lambda: said.read_text() if said.read_text().count(": verified") == 2 else None)
    assert (first.outcome, first.status_code, first.attempt) == ("delivered", 200, 1)
    assert json.loads(listed.stdout)["data"][0]["delivery_id"] == str(first.delivery_id)
    assert json.loads(replayed.stdout)["event_id"] == first.event_id
    assert shown.count(f"{first.event_id}: verified") == 2
    assert "refused" not in shown
    body = json.loads(shown[shown.index("{") : shown.rindex(f"{first.event_id}: verified")])
    assert (body["type"], body["data"]["job_id"]) == ("job.completed", str(job.job_id))
    output = httpx.get(body["data"]["outputs"][0]["download_url"], trust_env=False)
    assert (output.status_code, output.headers["content-type"]) == (200, "image/webp")


def test_an_endpoint_is_added_tested_changed_and_removed_on_the_command_line(pixelflow: Run, client: Client) -> None:
    with receiving() as receiver:
        added = json.loads(
            pixelflow("webhook", "endpoints", "add", receiver.url, "--event", "job.canceled", "--json").stdout
        )
        endpoint_id = added["endpoint_id"]
        tested = pixelflow("webhook", "endpoints", "test", endpoint_id)
        assert (tested.returncode, "delivered after" in tested.stderr) == (0, True), tested.stderr
        request = CreateJobRequest.model_validate({"source": {"content_length": 1}, "pipeline": PIPELINE})
        job_id = client.create_job(request).job_id
        client.cancel_job(job_id)
        [delivery] = delivered(client, job_id, 1)
        assert str(delivery.endpoint_id) == endpoint_id
        shown = pixelflow("webhook", "endpoints", "deliveries", endpoint_id).stdout.splitlines()
        assert [line.split()[:4] for line in shown[1:]] == [
            [str(delivery.delivery_id), "job.canceled", "1", "delivered"],
            [ANY, "webhook.test", "1", "delivered"],
        ]
        url = f"{receiver.url}/new"
        options = ("--url", url, "--all-events", "--disable")
        assert pixelflow("webhook", "endpoints", "update", endpoint_id, *options).returncode == 0
        [listed] = json.loads(pixelflow("webhook", "endpoints", "list", "--json").stdout)["data"]
        assert listed == added | {"url": url, "event_types": None, "enabled": False}
        refused = pixelflow("deliveries", "replay", str(delivery.delivery_id))
        assert (refused.returncode, "enable it, then replay" in refused.stderr) == (4, True)
        assert pixelflow("webhook", "endpoints", "update", endpoint_id).returncode == 2
        assert pixelflow("webhook", "endpoints", "remove", endpoint_id).returncode == 0
    assert [json.loads(each.body)["type"] for each in receiver.received] == ["webhook.test", "job.canceled"]


def test_a_test_that_fails_says_why(pixelflow: Run) -> None:
    url = "http://127.0.0.1:9999/nobody"
    endpoint_id = json.loads(pixelflow("webhook", "endpoints", "add", url, "--json").stdout)["endpoint_id"]
    tested = pixelflow("webhook", "endpoints", "test", endpoint_id)
    assert tested.returncode == 1
    assert re.search(r"retried after \d+ ms: The server refused the connection", tested.stderr), tested.stderr
    pixelflow("webhook", "endpoints", "remove", endpoint_id)


def test_events_are_forwarded_to_a_port_that_the_service_does_not_call(
    environment: dict[str, str], client: Client, tmp_path: Path
) -> None:
    request = CreateJobRequest.model_validate({"source": {"content_length": 1}, "pipeline": PIPELINE})
    earlier, later = (client.create_job(request).job_id for _ in range(2))
    client.cancel_job(earlier)
    said = tmp_path / "said"
    with receiving() as receiver, said.open("wb") as file:
        command = [sys.executable, "-m", "pixelflow", "webhook", "listen", "--forward", receiver.url]
        with subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT) as process:
            try:
                secret = until(lambda: re.search(r"whsec_\S+(?=,)", said.read_text()))[0]
                client.cancel_job(later)
                [received] = until(lambda: list(receiver.received))
            finally:
                process.terminate()
    event = verify_webhook(received.body, received.headers, secret)
    assert (event["type"], event["data"]["job_id"]) == ("job.canceled", str(later))


def test_deliveries_are_listed_as_a_table(pixelflow: Run, client: Client) -> None:
    with receiving() as receiver:
        body = {"source": {"content_length": 1}, "pipeline": PIPELINE, "webhook_url": receiver.url}
        request = CreateJobRequest.model_validate(body)
        job_id = client.create_job(request).job_id
        client.cancel_job(job_id)
        [delivery] = delivered(client, job_id, 1)
    table = pixelflow("deliveries", "list", str(job_id)).stdout
    assert all(word in table.replace("\n", "") for word in ("job.canceled", "delivered", "200")), table
    assert str(delivery.delivery_id)[:8] in table


@pytest.mark.parametrize(
    "url", ["https://10.0.0.1/", "http://169.254.169.254/", "https://0x7f.1/", "https://[::ffff:7f00:1]/"]
)
def test_a_hostile_webhook_url_is_an_error_of_its_field(client: Client, url: str) -> None:
    with pytest.raises(ApiError) as refused:
        client.create_job(CreateJobRequest.model_validate({"pipeline": PIPELINE, "webhook_url": url}))
    assert (refused.value.status, refused.value.code) == (422, "validation_failed")
    assert [error.pointer for error in refused.value.errors] == ["/webhook_url"]


def test_unknown_ids_are_not_found(pixelflow: Run) -> None:
    nothing = "00000000-0000-7000-8000-000000000000"
    for command in (["list", nothing], ["replay", nothing]):
        result = pixelflow("deliveries", *command)
        assert result.returncode == 4
        assert "You have no " in result.stderr


def test_no_secret_is_in_any_log_or_in_the_list_of_processes(service: Stack, pixelflow: Run) -> None:
    secret = pixelflow("webhook", "rotate-secret").stdout.strip()
    logs = "".join(path.read_text(errors="replace") for path in (service.home.path / "logs").iterdir())
    commands = b"".join(_command(process) for process in Path("/proc").glob("[0-9]*"))
    for value in (secret, secret.removeprefix("whsec_"), service.home.secrets["secrets_key"]):
        assert value not in logs
        assert value.encode() not in commands


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""
