"""Batches on the running service: by both clients, and on the command line."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.support.command_line import Run, command_line

from pixelflow.client import ApiError, AsyncClient, Client, JobSource
from pixelflow.client.session import Session
from pixelflow.controlplane.keys.admin import issue_key
from pixelflow.devstack.stack import Stack

PHOTO = Path(__file__).parents[2] / "examples" / "photo.jpg"
CARD: list[dict[str, Any]] = [{"id": "card", "action": "resize", "width": "${width}", "format": "webp"}]
WIDTH = {"width": {"type": "integer", "default": 64}}


@pytest.fixture
def session(service: Stack) -> Session:
    url = service.environment["PIXELFLOW_DATABASE_URL"]
    return Session(service.api_url, issue_key(url, user_id=f"user-{uuid4()}", name="test"))


@pytest.fixture
def pixelflow(session: Session) -> Run:
    return command_line({"PIXELFLOW_API_URL": session.api_url, "PIXELFLOW_API_KEY": session.api_key})


def test_all_photos_of_a_preset_are_processed_again_with_its_next_version(
    session: Session, pixelflow: Run, tmp_path: Path
) -> None:
    with Client(session=session) as client:
        client.save_preset("card", CARD, parameters=WIDTH)
        for width in (32, 48):
            client.process(PHOTO, preset="card", parameters={"width": width}, metadata={"sku": str(width)}, timeout=300)
        client.save_preset("card", [CARD[0] | {"format": "avif"}], parameters=WIDTH)
    rerun = pixelflow("presets", "rerun", "card@1", "--as", "card@2", "--json")
    assert rerun.returncode == 0, rerun.stderr
    added = json.loads(rerun.stdout)
    batch_id = added["batch_id"]
    assert (added["accepted"], f"--batch {batch_id}" in rerun.stderr) == (2, True)
    watched = pixelflow("batches", "watch", batch_id, "--json")
    assert (watched.returncode, json.loads(watched.stdout)["jobs"]["succeeded"]) == (0, 2), watched.stderr
    again = pixelflow("presets", "rerun", "card@1", "--as", "card@2", "--batch", batch_id, "--json")
    assert json.loads(again.stdout)["accepted"] == 2
    with Client(session=session) as client:
        jobs = list(client.iter_jobs(batch_id=batch_id))
        assert {(job.metadata["sku"], job.outputs[0].width, job.outputs[0].format) for job in jobs} == {
            ("32", 32, "avif"), ("48", 48, "avif")
        }  # fmt: skip
    downloaded = pixelflow("jobs", "download", "--batch", batch_id, "--out", tmp_path / "o")
    assert (downloaded.returncode, len(list((tmp_path / "o").iterdir()))) == (0, 2), downloaded.stderr


def test_outputs_of_a_batch_are_stored_at_a_destination(session: Session, pixelflow: Run, tmp_path: Path) -> None:
    destination = {"bucket": "public", "key": "cards/{metadata.sku}/{step}-{sha256}.{ext}"}
    file = tmp_path / "destination.json"
    file.write_text(json.dumps(destination))
    with Client(session=session) as client:
        client.save_preset("card", CARD, parameters=WIDTH)
        job_id = client.process(PHOTO, preset="card", metadata={"sku": "A-17"}, timeout=300).job_id
        by_sdk = client.create_batch(
            [CARD[0] | {"width": 8}], sources=[(JobSource(job_id), {"sku": "A-18"})], destination=destination
        ).batch_id
        rerun = pixelflow("presets", "rerun", "card@1", "--as", "card", "--destination", file, "--json")
        rerun_batch = json.loads(rerun.stdout)["batch_id"]
        options = ["--preset", "card", "--param", "width=9", "--metadata", "sku=A-19", "--destination", file, "--json"]
        created = json.loads(pixelflow("batches", "create", job_id, *options).stdout)["batch_id"]
        for batch_id, sku in ((by_sdk, "A-18"), (created, "A-19"), (rerun_batch, "A-17")):
            client.wait_for_batch(batch_id, timeout=300)
            urls = {job.metadata["sku"]: job.outputs[0].url for job in client.iter_jobs(batch_id=batch_id)}
            assert f"/cards/{sku}/card-" in str(urls[sku]), urls
    file.write_text("[]")
    refused = pixelflow("presets", "rerun", "card@1", "--as", "card", "--destination", file)
    assert (refused.returncode, "must contain a destination" in refused.stderr) == (2, True)


def test_a_batch_is_created_shown_listed_closed_and_canceled_on_the_command_line(
    session: Session, pixelflow: Run
) -> None:
    with Client(session=session) as client:
        client.save_preset("card", CARD, parameters=WIDTH)
        job_id = client.process(PHOTO, preset="card", timeout=300).job_id
    options = ["--preset", "card", "--param", "width=20", "--metadata", "run=1", "--name", "again", "--keep-open"]
    created = pixelflow("batches", "create", f"{job_id}", f"{job_id}:card", uuid4(), *options, "--json")
    batch = json.loads(created.stdout)
    assert (created.returncode, batch["total"], batch["preset"]) == (1, 2, "card@1"), created.stderr
    assert "Refused source 3: You have no job with this ID (not_found)" in created.stderr
    assert "Name at least one source" in pixelflow("batches", "create", *options).stderr
    closed = json.loads(pixelflow("batches", "close", batch["batch_id"], "--json").stdout)
    assert (batch["closed_at"], closed["closed_at"] is None) == (None, False)
    assert "100 %" in pixelflow("batches", "watch", batch["batch_id"]).stdout
    assert batch["batch_id"] in pixelflow("batches", "show", batch["batch_id"]).stdout
    assert "again" in pixelflow("batches", "list").stdout
    head, row = pixelflow("batches", "list", "--counts").stdout.splitlines()
    assert head.split()[3:8] == ["Jobs", "Created", "Queued", "Processing", "Succeeded"]
    assert row.split()[:10] == [batch["batch_id"], "again", "card@1", *"2000200"]
    assert json.loads(pixelflow("deliveries", "list", "--batch", batch["batch_id"], "--json").stdout) == {"data": []}
    assert "either a job or --batch" in pixelflow("deliveries", "list").stderr
    canceled = json.loads(pixelflow("batches", "cancel", batch["batch_id"], "--json").stdout)
    assert (canceled["canceled_at"] is None, canceled["jobs"]["succeeded"]) == (False, 2)


def test_urls_of_a_file_become_a_closed_batch(session: Session, pixelflow: Run, tmp_path: Path) -> None:
    with Client(session=session) as client:
        client.save_preset("card", CARD, parameters=WIDTH)
    urls = tmp_path / "urls.txt"
    urls.write_text("# photos\n\nhttps://img.example/1.jpg\n")
    options = ["--urls-file", urls, "--url", "https://img.example/2.jpg", "--preset", "card"]
    created = pixelflow("batches", "create", *options, "--json")
    batch = json.loads(created.stdout)
    assert (batch["total"], batch["closed_at"] is None) == (2, False), created.stderr
    with Client(session=session) as client:
        assert {job.source.url for job in client.iter_jobs(batch_id=batch["batch_id"])} == {
            "https://img.example/1.jpg",
            "https://img.example/2.jpg",
        }
        client.cancel_batch(batch["batch_id"])


async def test_the_asynchronous_client_sends_more_sources_than_one_request_has(session: Session) -> None:
    async with AsyncClient(session=session) as client:
        job_id = (await client.process(PHOTO, [CARD[0] | {"width": 32}], timeout=300)).job_id
        sources = [(JobSource(job_id), {"n": str(number)}) for number in range(259)]
        unknown = JobSource(uuid4())
        created = await client.create_batch(
            [CARD[0] | {"width": 8}], sources=[*sources, unknown], metadata={"run": "1"}, close=True
        )
        assert (created.total, [(row.index, row.code) for row in created.refused]) == (259, [(259, "not_found")])
        seen: list[int] = []
        done = await client.wait_for_batch(
            created.batch_id, timeout=300, on_change=lambda batch: seen.append(batch.percent)
        )
        assert (done.jobs.succeeded, done.percent, seen[-1]) == (259, 100, 100)
        async with asyncio.timeout(60):
            while done.finished_at is None:
                done = await client.get_batch(created.batch_id)
        assert [batch.batch_id async for batch in client.iter_batches(page_size=1)] == [created.batch_id]


def test_a_batch_is_created_once_for_an_idempotency_key(session: Session) -> None:
    steps = [CARD[0] | {"width": 8}]
    with Client(session=session) as client:
        first, again = (client.create_batch(steps, name="once", idempotency_key="batch-1") for _ in range(2))
        assert first.batch_id == again.batch_id
        destination = {"bucket": "nobodys", "key": "{job_id}/{step}.{ext}"}
        with pytest.raises(ApiError) as refused:
            client.create_batch(steps, destination=destination)
        assert [error.pointer for error in refused.value.errors] == ["/destination/bucket"]


def test_a_pipeline_is_needed(pixelflow: Run) -> None:
    result = pixelflow("batches", "create", uuid4())
    assert (result.returncode, "either --preset or --pipeline" in result.stderr) == (2, True)
