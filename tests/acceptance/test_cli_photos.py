"""The command line and the SDK on the running service."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from PIL import Image
from tests.acceptance.pictures import opened
from tests.support.command_line import Run, command_line

from pixelflow.client import AsyncClient, Client, JobFailedError, JobSource
from pixelflow.client.session import Session
from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.controlplane.keys.admin import issue_key
from pixelflow.devstack.stack import Stack

PHOTO = Path(__file__).parents[2] / "examples" / "photo.jpg"


@pytest.fixture
def session(service: Stack) -> Session:
    """The running API, with the key of a new user."""
    url = service.environment["PIXELFLOW_DATABASE_URL"]
    return Session(service.api_url, issue_key(url, user_id=f"user-{uuid4()}", name="test"))


@pytest.fixture
def pixelflow(session: Session) -> Run:
    return command_line({"PIXELFLOW_API_URL": session.api_url, "PIXELFLOW_API_KEY": session.api_key})


def test_photos_become_files_of_the_requested_size_and_format(pixelflow: Run, tmp_path: Path) -> None:
    other = tmp_path / "photo.png"
    Image.effect_noise((300, 200), 60).convert("RGB").save(other)
    out = tmp_path / "out"
    result = pixelflow("submit", PHOTO, other, "--resize", "128", "--format", "webp", "--quality", "70", "--out", out)
    assert (result.returncode, result.stderr) == (0, "")
    found = {path.name: (opened(path.read_bytes()).format, opened(path.read_bytes()).width) for path in out.iterdir()}
    assert found == {"photo-128.webp": ("WEBP", 128), "photo-2-128.webp": ("WEBP", 128)}
    assert "photo-2-128.webp" in result.stdout


def test_outputs_are_stored_at_a_destination(pixelflow: Run, tmp_path: Path) -> None:
    file = tmp_path / "destination.json"
    file.write_text('{"bucket": "public", "key": "{metadata.sku}/{step}-{sha256}.{ext}"}')
    options = ["--resize", "64", "--metadata", "sku=A-17", "--destination", file, "--wait", "--json"]
    result = pixelflow("submit", PHOTO, *options)
    assert result.returncode == 0, result.stderr
    assert "/A-17/" in result.stdout


def test_resize_and_watermark_produce_one_watermarked_output(pixelflow: Run, tmp_path: Path) -> None:
    plain = pixelflow("submit", PHOTO, "--resize", "200", "--format", "png", "--out", tmp_path)
    marked = pixelflow("submit", PHOTO, "--resize", "200", "--format", "png", "--watermark", "© Me", "--out", tmp_path)
    assert (plain.returncode, marked.returncode) == (0, 0)
    pictures = [opened((tmp_path / name).read_bytes()) for name in ("photo-200.png", "photo-200-marked.png")]
    assert pictures[0].size == pictures[1].size
    assert pictures[0].tobytes() != pictures[1].tobytes()


def test_a_submitted_job_is_listed_and_shown(pixelflow: Run, tmp_path: Path) -> None:
    steps = tmp_path / "steps.json"
    steps.write_text('[{"id": "thumb", "action": "resize", "width": 64, "format": "avif"}]')
    submitted = json.loads(pixelflow("submit", PHOTO, "--pipeline", steps, "--wait", "--json").stdout)["jobs"][0]
    listed = json.loads(pixelflow("jobs", "list", "--status", "succeeded", "--json").stdout)["data"]
    assert [job["job_id"] for job in listed] == [submitted["job_id"]]
    shown = json.loads(pixelflow("jobs", "show", submitted["job_id"], "--json").stdout)
    assert (shown["status"], shown["outputs"][0]["width"]) == ("succeeded", 64)


def test_a_file_that_is_not_an_image_fails_with_its_error_and_the_others_succeed(
    pixelflow: Run, tmp_path: Path
) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("not an image")
    result = pixelflow("submit", text, PHOTO, "--resize", "64", "--wait", "--json")
    assert result.returncode == 1
    assert [job["status"] for job in json.loads(result.stdout)["jobs"]] == ["failed", "succeeded"]
    assert "unsupported_format" in result.stderr


def test_an_invalid_key_exits_with_4(session: Session) -> None:
    environment = os.environ | {"PIXELFLOW_API_URL": session.api_url, "PIXELFLOW_API_KEY": "pf_no_such"}
    command = [sys.executable, "-m", "pixelflow", "jobs", "list"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert (result.returncode, "401 unauthenticated" in result.stderr) == (4, True)


def test_keys_create_prints_a_key_that_works(service: Stack) -> None:
    command = [sys.executable, "-m", "pixelflow", "keys", "create", "--user", f"user-{uuid4()}"]
    result = subprocess.run(
        command, env=os.environ | service.environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0
    with Client(service.api_url, result.stdout) as client:
        assert client.list_jobs().data == []


STEPS: list[dict[str, Any]] = [
    {"id": "small", "action": "resize", "width": 100, "format": "jpeg"},
    {"id": "marked", "from": "small", "action": "watermark", "watermark": {"text": "© Me"}, "format": "png"},
]


def test_the_blocking_client_processes_and_downloads(session: Session, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with Client(session=session) as client:
        job = client.process(PHOTO, STEPS, timeout=300, on_progress=lambda *numbers: seen.append(numbers))
        paths = [client.download(output, tmp_path / output.step_id) for output in job.outputs]
        assert [job.job_id for job in client.iter_jobs(page_size=1)] == [job.job_id]
    assert [opened(path.read_bytes()).format for path in paths] == ["JPEG", "PNG"]
    assert seen[-1] == (PHOTO.stat().st_size, PHOTO.stat().st_size)


def test_the_asynchronous_client_processes_several_at_once_and_downloads(session: Session, tmp_path: Path) -> None:
    async def run() -> list[Path]:
        async with AsyncClient(session=session) as client:
            jobs = await asyncio.gather(*(client.process(PHOTO, STEPS, timeout=60) for _ in range(3)))
            return await asyncio.gather(
                *(client.download(job.outputs[0], tmp_path / f"{index}.jpg") for index, job in enumerate(jobs))
            )

    assert [opened(path.read_bytes()).width for path in asyncio.run(run())] == [100, 100, 100]


def test_a_job_that_fails_raises_with_its_code(session: Session, tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("not an image")
    with Client(session=session) as client, pytest.raises(JobFailedError) as caught:
        client.process(text, STEPS, timeout=300)
    assert (caught.value.code, caught.value.job.status) == ("unsupported_format", JobStatus.FAILED)


def test_an_earlier_photo_is_submitted_again_by_its_job(pixelflow: Run, tmp_path: Path) -> None:
    first = json.loads(pixelflow("submit", PHOTO, "--resize", "200", "--wait", "--json").stdout)["jobs"][0]
    job_id = first["job_id"]
    again = pixelflow(
        "submit", "--from-job", job_id, "--from-job", f"{job_id}:200", "--resize", "64", "--out", tmp_path
    )
    assert (again.returncode, again.stderr) == (0, "")
    widths = {path.name: opened(path.read_bytes()).width for path in tmp_path.iterdir()}
    assert widths == {f"{job_id}-64.jpg": 64, f"{job_id}-200-64.jpg": 64}


@pytest.mark.parametrize("arguments", [(), ("--from-job", "photo.jpg")])
def test_a_submission_without_a_photo_or_job_is_a_usage_error(pixelflow: Run, arguments: tuple[str, ...]) -> None:
    result = pixelflow("submit", *arguments, "--resize", "64")
    assert result.returncode == 2
    assert "--from-job" in result.stderr


async def test_the_asynchronous_client_processes_an_earlier_photo(session: Session) -> None:
    async with AsyncClient(session=session) as client:
        first = await client.process(PHOTO, [{"id": "small", "action": "resize", "width": 200}])
        again = await client.process(JobSource(first.job_id), [{"id": "tiny", "action": "resize", "width": 64}])
    assert (again.source.job_id, again.outputs[0].width) == (first.job_id, 64)
