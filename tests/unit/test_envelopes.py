"""Which messages are taken, deferred to a newer worker, or rejected, whatever bytes are on the queue."""

from __future__ import annotations

import json
from typing import Any

import dramatiq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelflow.adapters.queue.envelopes import MAX_BYTES, Classification, classify, kept_as
from pixelflow.contracts.messages import ACTOR, QUEUE, ProcessImage

TASK_ID = "0198f2c4-5c1e-7d3a-9b60-2f1d4c8e7a56"
BODY: dict[str, Any] = {
    "schema": "pixelflow.process_image",
    "version": 1,
    "job_id": "0198f2c4-5c1e-7d3a-9b60-2f1d4c8e7a55",
    "requested_at": "2026-11-23T14:01:12.604123Z",
    "traceparent": None,
}
ENVELOPE: dict[str, Any] = {
    "queue_name": QUEUE,
    "actor_name": ACTOR,
    "args": [BODY],
    "kwargs": {},
    "options": {"redis_message_id": TASK_ID},
    "message_id": TASK_ID,
    "message_timestamp": 1_795_000_000_000,
}


def envelope(**fields: object) -> bytes:
    """A message with these fields of its envelope."""
    return json.dumps({**ENVELOPE, **fields}).encode()


def body(**fields: object) -> bytes:
    """A message with these fields of its body."""
    return envelope(args=[{**BODY, **fields}])


def without(field: str) -> bytes:
    """A message whose body lacks a field."""
    return envelope(args=[{name: value for name, value in BODY.items() if name != field}])


TAKEN = {
    "as it is sent": envelope(),
    "a field that a newer sender of the same version added": body(priority=3),
    "without its optional field": without("traceparent"),
    "as long as allowed": body(x="y" * (MAX_BYTES - len(body(x="")))),
}
DEFERRED = {
    "the next version": body(version=2),
    "a version far away": body(version=10**30),
    "a version that says all else in another way": envelope(
        args=[{"schema": BODY["schema"], "version": 2, "jobs": [1, 2]}]
    ),
    "a version whose envelope has more": envelope(args=[{**BODY, "version": 2}], options={"new": 1}, priority=1),
}
REJECTED = {
    "nothing": b"",
    "bytes": bytes(range(256)),
    "beyond UTF-8": envelope().replace(TASK_ID.encode(), b"\xff"),
    "with a byte order mark": b"\xef\xbb\xbf" + envelope(),
    "cut off": envelope()[:-1],
    "null": b"null",
    "a number": b"17",
    "a list": b"[]",
    "an empty object": b"{}",
    "the body alone": json.dumps(BODY).encode(),
    "one byte too long": body(x="y" * (MAX_BYTES + 1 - len(body(x="")))),
    "huge": b"x" * 10_000_000,
    "deeply nested": b"[" * 16_000,
    "deeply nested within": body(x=0).replace(b'"x": 0', b'"x": ' + b"[" * 7000 + b"]" * 7000),
    "a number that no Python reads": body(x=0).replace(b'"x": 0', b'"x": ' + b"1" * 5000),
    "another queue": envelope(queue_name="other"),
    "another actor": envelope(actor_name="os_system"),
    "no argument": envelope(args=[]),
    "two arguments": envelope(args=[BODY, BODY]),
    "an argument that is no object": envelope(args=["x"]),
    "arguments that are no list": envelope(args={"0": BODY}),
    "a keyword": envelope(kwargs={"message": BODY}),
    "no id": envelope(options={}),
    "an empty id": envelope(options={"redis_message_id": ""}),
    "an id that is no text": envelope(options={"redis_message_id": 17}),
    "an id without end": envelope(options={"redis_message_id": "x" * 65}),
    "an id that is half a character": envelope(options={"redis_message_id": "\ud800"}),
    "to be delayed": envelope(options={"redis_message_id": TASK_ID, "eta": 9_999_999_999_999}),
    "to be sent on": envelope(options={"redis_message_id": TASK_ID, "pipe_target": ENVELOPE}),
    "an envelope with more": envelope(priority=1),
    "a time that is no number": envelope(message_timestamp="now"),
    "another schema": body(schema="pixelflow.erase"),
    "another schema of a newer version": body(schema="pixelflow.erase", version=2),
    "no schema": without("schema"),
    "no version": without("version"),
    "version 0": body(version=0),
    "a version below": body(version=-1),
    "a version as text": body(version="1"),
    "a newer version as text": body(version="2"),
    "a version that is true": body(version=True),
    "a version that is a fraction": body(version=1.5),
    "a version that is 1.0": body(version=1.0),
    "a version that is a list": body(version=[1]),
    "no job": without("job_id"),
    "a job that is none": body(job_id="../etc"),
    "a time that is none": body(requested_at="yesterday"),
    "a trace that is none": body(traceparent=17),
}


@pytest.mark.parametrize("raw", TAKEN.values(), ids=TAKEN)
def test_messages_of_this_release_are_taken(raw: bytes) -> None:
    assert classify(raw) is Classification.TAKE
    assert kept_as(raw) == TASK_ID


@pytest.mark.parametrize("raw", DEFERRED.values(), ids=DEFERRED)
def test_a_newer_version_is_deferred(raw: bytes) -> None:
    assert classify(raw) is Classification.DEFER


@pytest.mark.parametrize("raw", REJECTED.values(), ids=REJECTED)
def test_anything_else_is_rejected(raw: bytes) -> None:
    assert classify(raw) is Classification.REJECT


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def _mutated(where: str) -> st.SearchStrategy[bytes]:
    """A message with some fields of its envelope, its body or its options made anything."""
    kept = {"envelope": ENVELOPE, "body": BODY, "options": ENVELOPE["options"]}[where]
    changes = st.dictionaries(st.sampled_from([*kept, "eta", "x"]), JSON, min_size=1, max_size=3)
    return changes.map(
        lambda fields: {
            "envelope": lambda: envelope(**fields),
            "body": lambda: body(**fields),
            "options": lambda: envelope(options={**ENVELOPE["options"], **fields}),
        }[where]()
    )


@given(
    st.binary(max_size=200)
    | JSON.map(lambda value: json.dumps(value).encode())
    | _mutated("envelope")
    | _mutated("body")
    | _mutated("options")
)
def test_no_bytes_make_classify_raise_and_taken_messages_are_valid(raw: bytes) -> None:
    if classify(raw) is Classification.TAKE:
        message: dramatiq.Message[Any] = dramatiq.Message.decode(raw)
        assert (message.queue_name, message.actor_name, message.kwargs) == (QUEUE, ACTOR, {})
        assert set(message.options) == {"redis_message_id"}
        assert kept_as(raw).encode()
        ProcessImage.model_validate(*message.args)
