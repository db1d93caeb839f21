"""``pixelflow batches list``: its columns, and batches that change while they are listed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from tests.unit.client.stand_in import Fault, StandIn
from typer.testing import Result

from pixelflow.contracts.batches import Batch, BatchCounts
from pixelflow.controlplane.api import batch_examples as examples

Run = Callable[..., Result]


def gone(status: int) -> Fault:
    problem = {"type": "urn:x", "title": "T", "status": status, "detail": "D", "code": "not_found", "request_id": "r"}
    return Fault(status, body=json.dumps(problem).encode())


def page(*batches: dict[str, Any]) -> Fault:
    return Fault(200, body=json.dumps({"data": batches, "next_cursor": None}).encode())


def test_counts_have_columns_of_their_own_also_if_a_newer_api_counts_more(pixelflow: Run, api: StandIn) -> None:
    counts = {"paused": 7, "created": 1, "queued": 2, "processing": 3, "succeeded": 4, "failed": 5, "canceled": 6}
    document = {**examples.BATCH, "total": 28, "name": "cards", "preset": "card@1", "jobs": counts, "finished_at": None}
    api.batches = [Batch.model_validate(document)]
    head, row = pixelflow("batches", "list", "--counts").stdout.splitlines()
    columns = ["Batch", "Name", "Preset", "Jobs", *map(str.capitalize, BatchCounts.model_fields)]
    assert head.split() == [*columns, "Created", "at", "Canceled", "at", "Finished", "at"]
    assert row.split()[:10] == [document["batch_id"], "cards", "card@1", "28", *"123456"]


def test_a_batch_that_is_deleted_while_batches_are_counted_is_left_out(pixelflow: Run, api: StandIn) -> None:
    kept = Batch.model_validate(examples.BATCH)
    deleted = {**examples.BATCH, "batch_id": str(uuid4())}
    api.batches = [kept]
    api.fail("batches", page(deleted, kept.model_dump(mode="json")), gone(404))
    result = pixelflow("batches", "list", "--counts", "--json")
    assert (result.exit_code, [each["batch_id"] for each in json.loads(result.stdout)["data"]]) == (
        0,
        [str(kept.batch_id)],
    ), result.output
    api.fail("batches", page(deleted), gone(403))
    assert pixelflow("batches", "list", "--counts").exit_code == 4
