"""One trace from the request to the webhook, as a collector receives it from the whole service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise

import httpx
import pytest
from tests.acceptance.job_steps import create, finished, resize, show, start, upload
from tests.acceptance.pictures import photo
from tests.acceptance.places import secrets_of
from tests.acceptance.running import client_of, service_with, wait_for
from tests.support.otlp_collector import CollectedSpan, Collector, collecting
from tests.support.webhook_receiver import Receiver, receiving

from pixelflow.devstack.stack import Stack

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
OF_AN_OUTPUT = ["format", "width", "height", "bytes"]
STAGES = ["claim", "fetch", "wait", "transform", "store", "finish"]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as opened:
        yield opened


@pytest.fixture(scope="module")
def service(collector: Collector) -> Iterator[Stack]:
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "PIXELFLOW_WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8",
        "PIXELFLOW_WEBHOOK_ALLOW_HTTP": "true",
    }
    with service_with(settings) as stack:
        yield stack


@pytest.fixture(scope="module")
def client(service: Stack) -> Iterator[httpx.Client]:
    with client_of(service) as opened:
        yield opened


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as opened:
        yield opened


def run_job(client: httpx.Client, receiver: Receiver, traceparent: str | None) -> str:
    """A job of two steps, one upon the other, from its creation to its webhook."""
    url = f"{receiver.url}?token=of-the-receiver"
    steps = [resize("large", width=200, format="jpeg"), resize("small", width=50, **{"from": "large"})]
    created = create(client, *steps, size=len(photo(300, 200)), webhook_url=url)
    upload(created, photo(300, 200))
    headers = {"traceparent": traceparent} if traceparent else {}
    answer = client.post(created["start_url"], headers=headers)
    assert answer.status_code == 202
    job_id: str = created["job_id"]
    assert finished(client, job_id)["status"] == "succeeded"
    wait_for(lambda: bool(receiver.received), 10)
    return job_id


def spans_of(collector: Collector, trace_id: str) -> dict[str, CollectedSpan]:
    """By name; a name that stands twice in one trace would be a mistake, but for the steps'."""
    return {
        str(span.attributes.get("pixelflow.step_id", span.name)): span
        for span in collector.spans
        if span.trace_id == trace_id
    }


def test_one_trace_covers_a_job_from_the_request_to_the_webhook(
    client: httpx.Client, receiver: Receiver, collector: Collector
) -> None:
    job_id = run_job(client, receiver, f"00-{TRACE}-{CALLER}-01")
    wait_for(lambda: {"webhook", "attempt"} <= set(spans_of(collector, TRACE)), 10)
    spans = spans_of(collector, TRACE)
    request = spans["POST /v1/jobs/{job_id}/start"]
    queue, attempt, webhook = spans["queue"], spans["attempt"], spans["webhook"]

    assert request.parent_id == CALLER
    assert {span.parent_id for span in (queue, attempt, webhook)} == {request.span_id}
    assert {spans[name].parent_id for name in STAGES} == {attempt.span_id}
    assert {spans[name].parent_id for name in ("source", "large", "small")} == {spans["transform"].span_id}

    in_order = [request, queue, *(spans[name] for name in STAGES), webhook]
    assert all(before.begun_ns <= after.begun_ns for before, after in pairwise(in_order))
    assert all(before.ended_ns <= after.begun_ns for before, after in pairwise(in_order[1:-1]))
    steps = [spans["transform"], spans["source"], spans["large"], spans["small"]]
    assert all(before.begun_ns <= after.begun_ns for before, after in pairwise(steps))
    assert spans["large"].ended_ns <= spans["small"].begun_ns <= spans["small"].ended_ns <= steps[0].ended_ns

    assert [span.service for span in (request, attempt, webhook)] == [
        "pixelflow-api",
        "pixelflow-worker",
        "pixelflow-controller",
    ]
    assert {span.attributes["pixelflow.job_id"] for span in (attempt, webhook)} == {job_id}
    assert not any(span.failed for span in spans.values())
    outputs = {output["step_id"]: output for output in show(client, job_id)["outputs"]}
    for name in ("large", "small"):
        attributes = spans[name].attributes
        assert [attributes[f"pixelflow.{what}"] for what in OF_AN_OUTPUT] == [
            outputs[name][what] for what in OF_AN_OUTPUT
        ]
    assert spans["fetch"].attributes["pixelflow.bytes"] == len(photo(300, 200))
    assert spans["transform"].attributes["pixelflow.width"] == 300
    assert receiver.received[0].headers["traceparent"] == f"00-{TRACE}-{webhook.span_id}-01"


def test_a_request_without_a_traceparent_starts_a_trace(
    client: httpx.Client, receiver: Receiver, collector: Collector
) -> None:
    run_job(client, receiver, None)
    _, trace_id, span_id, flags = receiver.received[0].headers["traceparent"].split("-")
    assert int(flags, 16) & 1, "sampled"
    wait_for(lambda: any(span.span_id == span_id for span in collector.spans), 10)
    assert "attempt" in spans_of(collector, trace_id)


def test_an_unsampled_trace_is_passed_on_and_not_recorded(
    client: httpx.Client, receiver: Receiver, collector: Collector
) -> None:
    unsampled, sampled = TRACE.replace("4b", "5b"), TRACE.replace("4b", "6b")
    run_job(client, receiver, f"00-{unsampled}-{CALLER}-00")
    assert receiver.received[0].headers["traceparent"].startswith(f"00-{unsampled}-")
    assert receiver.received[0].headers["traceparent"].endswith("-00")
    client.get("/v1/jobs", headers={"traceparent": f"00-{sampled}-{CALLER}-01"})
    wait_for(lambda: bool(spans_of(collector, sampled)), 10)  # sent later, and here already
    assert spans_of(collector, unsampled) == {}


def test_a_failed_attempt_marks_its_span_and_the_failed_stage(client: httpx.Client, collector: Collector) -> None:
    trace_id = TRACE.replace("4b", "7b")
    created = create(client, resize(), size=len(b"no picture at all"))
    upload(created, b"no picture at all")
    client.post(created["start_url"], headers={"traceparent": f"00-{trace_id}-{CALLER}-01"})
    code = finished(client, created["job_id"])["error"]["code"]
    wait_for(lambda: "attempt" in spans_of(collector, trace_id), 10)
    spans = spans_of(collector, trace_id)
    assert (spans["transform"].failed, spans["transform"].attributes["error.type"]) == (True, code)
    attempt = spans["attempt"]
    assert (attempt.failed, attempt.attributes["error.type"]) == (True, code)
    assert attempt.attributes["pixelflow.outcome"] == "failed"
    assert not spans["fetch"].failed
    assert (spans["finish"].parent_id, spans["finish"].failed) == (attempt.span_id, False)


def test_a_manual_retry_belongs_to_the_trace_of_its_own_request(client: httpx.Client, collector: Collector) -> None:
    first, retry = TRACE.replace("4b", "cb"), TRACE.replace("4b", "db")
    created = create(client, resize(), size=len(b"no picture at all"))
    upload(created, b"no picture at all")
    client.post(created["start_url"], headers={"traceparent": f"00-{first}-{CALLER}-01"})
    finished(client, created["job_id"])
    url = f"/v1/jobs/{created['job_id']}/retry"
    assert client.post(url, headers={"traceparent": f"00-{retry}-{CALLER}-01"}).status_code == 202
    for trace_id in (first, retry):
        wait_for(lambda trace_id=trace_id: "attempt" in spans_of(collector, trace_id), 10)  # type: ignore[misc]


def test_health_checks_are_not_traced_and_clients_name_no_span(client: httpx.Client, collector: Collector) -> None:
    trace_id = TRACE.replace("4b", "8b")
    headers = {"traceparent": f"00-{trace_id}-{CALLER}-01"}
    client.get("/healthz", headers=headers)
    client.request("PROPFIND", "/pot/of/coffee?secret=1", headers=headers)
    wait_for(lambda: bool(spans_of(collector, trace_id)), 10)
    assert set(spans_of(collector, trace_id)) == {"_OTHER unmatched"}


def test_log_lines_contain_the_trace_id(service: Stack, client: httpx.Client, receiver: Receiver) -> None:
    trace_id = TRACE.replace("4b", "9b")
    run_job(client, receiver, f"00-{trace_id}-{CALLER}-01")

    def events(role: str) -> set[str]:
        lines = (service.home.path / "logs" / f"{role}.log").read_text().splitlines()
        records = [json.loads(line) for line in lines if line.startswith("{")]
        return {line["event"] for line in records if line.get("trace_id") == trace_id}

    assert "request" in events("api")
    assert "succeeded" in events("worker")
    wait_for(lambda: "webhook attempted" in events("controller"), 5)


def test_no_span_contains_a_secret(
    service: Stack, client: httpx.Client, receiver: Receiver, collector: Collector
) -> None:
    job_id = run_job(client, receiver, f"00-{TRACE.replace('4b', 'ab')}-{CALLER}-01")
    wait_for(lambda: any(span.attributes.get("pixelflow.job_id") == job_id for span in collector.spans), 10)
    sent = b"".join(collector.bodies)
    signed = [output["download_url"] for output in show(client, job_id)["outputs"]]
    for secret in [*secrets_of(service).values(), client.headers["authorization"], "of-the-receiver", "Signature="]:
        assert secret.encode() not in sent
    assert signed


def test_a_second_start_stays_in_the_trace_of_the_first(client: httpx.Client, receiver: Receiver) -> None:
    trace_id = TRACE.replace("4b", "bb")
    created = create(client, resize(), size=len(photo(300, 200)), webhook_url=receiver.url)
    upload(created, photo(300, 200))
    client.post(created["start_url"], headers={"traceparent": f"00-{trace_id}-{CALLER}-01"})
    start(client, created)
    wait_for(lambda: bool(receiver.received), 10)
    assert receiver.received[0].headers["traceparent"].split("-")[1] == trace_id
