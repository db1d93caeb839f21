"""The events that ``pixelflow webhook listen --forward`` makes of the jobs that the API lists."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest
from tests.support.webhook_receiver import receiving
from tests.unit.client.stand_in import KEY, StandIn

from pixelflow.cli import forwarding
from pixelflow.cli.forwarding import Forwarder, new_secret
from pixelflow.client import Client
from pixelflow.contracts.batches import Batch
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.controlplane.api import batch_examples as examples

REQUEST = CreateJobRequest.model_validate({"pipeline": [{"id": "a", "action": "resize", "width": 9}]})


class Events:
    """A forwarder that looks at one new job and one older one in each poll, and the lines that it prints."""

    def __init__(self, client: Client, forwarder: Forwarder) -> None:
        self._client, self._forwarder = client, forwarder
        self._lines: list[str] = []

    def create(self) -> UUID:
        """Create a job, and let the forwarder see it."""
        job_id = self._client.create_job(REQUEST).job_id
        self.poll()
        return job_id

    def poll(self) -> list[str]:
        """Return the lines of one poll."""
        self._lines.clear()
        self._forwarder.run_once(lambda line: self._lines.append(str(line)))
        return list(self._lines)


@pytest.fixture
def events(api: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Events]:
    for limit in ("PAGE", "MAX_OPEN"):
        monkeypatch.setattr(forwarding, limit, 1)
    api.life = (JobStatus.SUCCEEDED,)
    with (
        receiving() as receiver,
        Client(api.url, KEY) as client,
        Forwarder(client, receiver.url, new_secret()) as forwarder,
    ):
        yield Events(client, forwarder)


def test_each_open_job_has_its_turn(events: Events, api: StandIn) -> None:
    _, ends, _ = (events.create() for _ in range(3))
    api.jobs[ends].started = True
    assert [line for _ in range(2) for line in events.poll()] == [f"job.completed of job {ends}: status 200"]


def test_a_job_that_is_erased_ends_nothing(events: Events, api: StandIn) -> None:
    erased, ends, _ = (events.create() for _ in range(3))
    del api.jobs[erased]
    api.jobs[ends].started = True
    assert [line for _ in range(2) for line in events.poll()] == [f"job.completed of job {ends}: status 200"]


def test_a_batch_that_finishes_is_one_event(events: Events, api: StandIn) -> None:
    batch = Batch.model_validate(examples.BATCH)
    api.batches = [batch]
    assert events.poll() == []
    api.batches = [batch.model_copy(update={"finished_at": batch.created_at})]
    assert [*events.poll(), *events.poll()] == [f"batch.finished of batch {batch.batch_id}: status 200"]
